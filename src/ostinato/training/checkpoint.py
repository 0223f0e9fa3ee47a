"""Checkpoints: everything that the rest of a training depends on, in one file that is whole or absent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ostinato.bundle import read_tensors, write_tensors
from ostinato.errors import BundleError
from ostinato.files import remove_unfinished

_NAME = re.compile(r"(checkpoint|stopped)-(\d+)\.safetensors")
KEPT = 2


def list_checkpoints(folder: Path, kind: str = "") -> list[tuple[int, Path]]:
    """Steps and files, the newest first: `checkpoint`s, which every run of the same settings writes, and the one that
    was written when a signal `stopped` this run.
    """
    matches = [(match, path) for path in folder.glob("*-*.safetensors") if (match := _NAME.fullmatch(path.name))]
    return sorted(((int(match[2]), path) for match, path in matches if kind in ("", match[1])), reverse=True)


def write_checkpoint(folder: Path, kind: str, step: int, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write a checkpoint and remove those that it makes needless: of each kind the newest two stay.

    Raises:
        OSError: if it cannot be written (a full disk); then those before it stand untouched.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    write_tensors(folder / f"{kind}-{step:09d}.safetensors", arrays, {"values": json.dumps(values)})
    for _, path in list_checkpoints(folder, kind)[KEPT:]:
        path.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote.

    Raises:
        BundleError: if it is damaged.
    """
    arrays, notes = read_tensors(path)
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, json.loads(notes["values"])


def read_newest(folder: Path) -> tuple[tuple[dict[str, Tensor], dict[str, Any]] | None, list[str]]:
    """The newest checkpoint that is whole, if there is one, and the reason why each newer one is not.

    What a killed process left half-written is removed.
    """
    remove_unfinished(folder)
    damaged: list[str] = []
    for _, path in list_checkpoints(folder):
        try:
            return read_checkpoint(path), damaged
        except BundleError as error:
            damaged.append(str(error))
    return None, damaged


def optimizer_tensors(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[list[str]]]:
    """The tensors of an optimiser's state by name, and the plain numbers as `[name, value]`."""
    tensors: dict[str, Tensor] = {}
    numbers: list[Any] = []
    for index, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            elif value is not None:
                numbers.append([f"{index}.{name}", value])
    return tensors, numbers


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], numbers: list[Any]) -> None:
    """Put back what `optimizer_tensors` took, each laid out in memory as its weight: a fused optimiser goes by that."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    entries = [
        (name.removeprefix("optimizer."), value) for name, value in tensors.items() if name.startswith("optimizer.")
    ]
    for name, value in [*entries, *numbers]:
        index, key = name.split(".", 1)
        if isinstance(value, Tensor) and value.shape == (weight := weights[int(index)]).shape:
            value = torch.empty_like(weight, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_state() -> dict[str, Tensor]:
    """The states of the generators that training draws from."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"random.cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_state(tensors: dict[str, Tensor]) -> None:
    """Put back what `random_state` took; a device that is not there is left out."""
    torch.set_rng_state(tensors["random.cpu"])
    for index in range(torch.cuda.device_count()):
        if (name := f"random.cuda.{index}") in tensors:
            torch.cuda.set_rng_state(tensors[name], index)
