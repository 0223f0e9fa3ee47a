"""What every task's model can do: be saved, loaded and told about."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import nn

from ostinato import bundle, hub
from ostinato.codecs.text import TextCodec
from ostinato.devices import pick_device
from ostinato.errors import BundleError, SettingsError
from ostinato.files import write_text
from ostinato.networks import load_weights, named_weights
from ostinato.settings import Settings
from ostinato.tasks.card import model_card
from ostinato.topologies import count_parameters
from ostinato.training.history import read_history


class Predicted(NamedTuple):
    """What a model says of an example."""

    row: dict[str, Any]
    """All of it, by name; values are what JSON has."""
    text: str
    """The same for people, a line or several."""


class Model(ABC):
    """Weights of some kind with their codec, settings and record.

    Args:
        settings: by name; an unknown one is an error that names the nearest known.
    """

    task: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    codec_type: ClassVar[Any] = TextCodec
    """What turns raw input into what the weights are for: it has `save(folder)` and `load(folder)`."""
    pipeline_tag: ClassVar[str] = "text-generation"
    """What the Hub calls the task."""

    def __init__(self, **settings: Any) -> None:
        self.settings: Any = self.Settings.checked(settings)
        self._codec: Any = None
        self.metrics: dict[str, Any] = {}
        """What the last training reached."""
        self.data: dict[str, Any] = {}
        """Fingerprint and sizes of what it was trained on."""
        self.history: list[dict[str, Any]] = []
        """The records of `history.jsonl`."""

    @property
    def codec(self) -> Any:
        """The codec.

        Raises:
            SettingsError: before `fit`.
        """
        if self._codec is None:
            raise SettingsError(f"this {type(self).__name__} has not been trained: call fit first")
        return self._codec

    @abstractmethod
    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write the weights alone, whole or not at all."""

    @abstractmethod
    def load_weights(self, path: Path, device: str) -> None:
        """Take the weights that `write_weights` wrote; settings and codec stand already.

        Raises:
            BundleError: if they are damaged, or not those that the settings describe.
            SettingsError: if there is no such device here, or it is not one for this model.
        """

    @abstractmethod
    def size(self) -> str:
        """How large the model is, for people."""

    def sample(self) -> str:
        """Something for the model card that shows what the model does."""
        return ""

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the model as a folder.

        Raises:
            BundleError: if something stands there that would be lost.
        """
        folder = Path(path)
        with bundle.writing_bundle(folder, overwrite) as new:
            self.write_weights(new / bundle.WEIGHTS, {})
            (new / bundle.CODEC).mkdir()
            self.codec.save(new / bundle.CODEC)
            write_text(new / bundle.HISTORY, "".join(json.dumps(record) + "\n" for record in self.history))
            self.write_about(new)
        return folder

    save_pretrained = save

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None, device: str = "cpu") -> Self:
        """The model in a folder, or in a repository of the Hugging Face Hub (`owner/name`) if there is no such folder.

        Raises:
            BundleError: if it is no model of this task, or cannot be had.
            MissingExtra: if it is not on this machine and huggingface_hub is not installed.
        """
        folder = Path(name) if Path(name).exists() else hub.download(str(name), revision)
        return cls.from_bundle(folder, device)

    def push_to_hub(self, name: str, private: bool = True, message: str = "Upload a model") -> str:
        """Upload the model to a repository of the Hugging Face Hub, made if it is not there.

        Returns:
            The address of the commit.

        Raises:
            MissingExtra: if huggingface_hub is not installed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            return hub.upload(self.save(Path(scratch) / "model"), name, private, message)

    def write_about(self, folder: Path) -> None:
        """Write the model card and the manifest of a trained model."""
        write_text(folder / bundle.CARD, model_card(self, self.sample()))
        self.write_manifest(folder, "complete")

    def write_manifest(self, folder: Path, status: str) -> None:
        """Write what is known: while a training runs, settings and data; then metrics too."""
        manifest = {"task": self.task, "status": status, "settings": self.settings.plain()}
        if status == "complete":
            manifest["size"] = self.size()
        bundle.write_manifest(folder, manifest | {"metrics": self.metrics, "data": self.data})

    @classmethod
    def from_bundle(cls, folder: Path, device: str = "cpu") -> Self:
        """The model that stands in a folder; see `ostinato.load`."""
        manifest = bundle.read_manifest(folder)
        if manifest["task"] != cls.task:
            raise BundleError(f"{folder}: holds a {manifest['task']}, not a {cls.task}")
        if not (folder / bundle.WEIGHTS).exists() and manifest.get("status") == "training":
            raise BundleError(
                f"{folder}: its training has not reached an evaluation yet: resume it first (--resume {folder})"
            )
        try:
            model = cls(**manifest["settings"])
        except (SettingsError, KeyError, TypeError) as error:
            raise BundleError(f"{folder / bundle.MANIFEST}: damaged settings: {error}") from None
        model.metrics, model.data = manifest.get("metrics", {}), manifest.get("data", {})
        model._codec = cls.codec_type.load(folder / bundle.CODEC)
        model.history = read_history(folder / bundle.HISTORY)
        model.load_weights(folder / bundle.WEIGHTS, device)
        return model

    def __repr__(self) -> str:
        chosen = ", ".join(
            f"{name}={getattr(self.settings, name)!r}" for name in sorted(self.settings.model_fields_set)
        )
        return f"{type(self).__name__}({chosen})"

    def _part(self, kind: type[Settings]) -> Any:
        return kind(**{name: getattr(self.settings, name) for name in kind.model_fields})


class NetworkModel(Model):
    """A model whose weights are those of a network."""

    _network: nn.Module | None = None

    @property
    def network(self) -> Any:
        """The network.

        Raises:
            SettingsError: before `fit`.
        """
        if self._network is None:
            raise SettingsError(f"this {type(self).__name__} has not been trained: call fit first")
        return self._network

    @abstractmethod
    def build(self) -> nn.Module:
        """The network that the settings and the codec describe, untrained."""

    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write the weights alone, whole or not at all."""
        arrays = {name: value.detach().cpu().numpy() for name, value in named_weights(self.network).items()}
        bundle.write_tensors(path, arrays, notes)

    def load_weights(self, path: Path, device: str) -> None:
        """Build the network and fill it."""
        with torch.random.fork_rng(devices=[]):
            network = self.build()
        self.read_weights(network, path)
        self._network = network.to(pick_device(device)).eval()

    def size(self) -> str:
        """Trained numbers, shared ones once."""
        return f"{count_parameters(self.network):,} parameters"

    @staticmethod
    def read_weights(network: nn.Module, path: Path) -> None:
        """Fill a network with what `write_weights` wrote.

        Raises:
            BundleError: naming the tensor and both shapes, if they are not the network's.
        """
        arrays, _ = bundle.read_tensors(path)
        wanted = named_weights(network)
        if arrays.keys() != wanted.keys():
            odd = sorted(arrays.keys() ^ wanted.keys())
            raise BundleError(f"{path}: does not fit ostinato.json: missing or unknown: {', '.join(odd[:5])}")
        for name, array in arrays.items():
            if array.shape != tuple(wanted[name].shape):
                shapes = f"{list(array.shape)}, ostinato.json describes {list(wanted[name].shape)}"
                raise BundleError(f"{path}: {name} is {shapes}")
        load_weights(network, {name: torch.from_numpy(array) for name, array in arrays.items()})
