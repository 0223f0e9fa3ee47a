"""Fitting a model in a folder: begin, survive, resume, end with the best."""

from __future__ import annotations

import json
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from ostinato import bundle
from ostinato.errors import BundleError, SettingsError, TrainingError
from ostinato.files import locked, remove_unfinished, write_text
from ostinato.networks import load_weights
from ostinato.tasks.corpus import Sources, source_names
from ostinato.tasks.embeddings import begin_with_rows, keep_rows, open_vectors
from ostinato.tasks.model import NetworkModel, pick_device
from ostinato.training.checkpoint import list_checkpoints, read_checkpoint
from ostinato.training.find_rate import find_rate
from ostinato.training.history import event_writer, read_history
from ostinato.training.loop import Trainer
from ostinato.training.objective import Objective
from ostinato.training.optimise import make_optimizer
from ostinato.training.report import Reporter, Silent, make_reporter
from ostinato.training.settings import TrainingSettings
from ostinato.training.signals import Interrupted


class FittedModel(NetworkModel):
    """A network that is trained on files by the loop of `ostinato.training`."""

    resumable: ClassVar[frozenset[str]] = frozenset(
        {"epochs", "max_steps", "max_minutes", "patience", "log_every", "threads", "device", "tensorboard"}
        | {"gradient_by_lag"}
    )
    """Settings that a resumed training may change."""

    command: ClassVar[str] = ""
    """What `ostinato fit` calls the task, if not by its name."""
    reporter: Reporter = Silent()
    _folder: Path | None = None

    def fit(
        self,
        corpus: Sources,
        validation: Sources | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
    ) -> Self:
        """Train.

        Args:
            corpus: a file, a folder, a pattern, several of them, or `-` for standard input.
            validation: the same for the validation data; the end of the corpus if None.
            output: folder of the model, in which the training can be resumed; a temporary one if None.
            overwrite: replace the model that stands in `output`.
            progress: show it; None: a display on a terminal, lines elsewhere.

        Raises:
            DataError: if the data cannot be read or are too short.
            BundleError: if something stands at `output` already.
            Interrupted: at SIGINT or SIGTERM, after a checkpoint.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model" if output is None else Path(output)
            names = source_names(corpus, validation)
            self.reporter = make_reporter(progress)
            # read before anything is replaced, so that bad input loses nothing
            with bundle.writing_bundle(folder, overwrite) as new:
                (new / bundle.RUN).mkdir()
                write_text(new / bundle.RUN / "sources.json", json.dumps(names))
                self._rehearse(self._prepare_all(names["corpus"], names["validation"], new), new)
                self.write_manifest(new, "training")
            return self._train(folder, lasting=output is not None)

    @classmethod
    def resume(cls, path: str | Path, progress: bool | None = None, **changes: Any) -> Self:
        """Go on with a training that was stopped, to the same bits as if it had not been; or train longer.

        Args:
            path: the folder that `fit` was given as `output`.
            progress: as in `fit`.
            changes: settings to change, of those in `resumable`.

        Raises:
            BundleError: if there is no training in that folder.
            SettingsError: if a setting cannot change any more.
        """
        folder = Path(path)
        manifest = bundle.read_manifest(folder)
        if manifest["task"] != cls.task:
            raise BundleError(f"{folder}: holds a {manifest['task']}, not a {cls.task}")
        if not (folder / bundle.RUN / "sources.json").exists():
            raise BundleError(f"{folder}: no training to resume: its run/ is missing")
        if (folder / bundle.WEIGHTS).exists() and not list_checkpoints(folder / bundle.RUN):
            raise BundleError(f"{folder}: no training to resume: run/ holds no checkpoint")
        before = cls.Settings.checked(manifest["settings"]).plain()  # a setting that came later stands as it was then
        after = cls.Settings.checked(manifest["settings"] | changes).plain()
        changed = {name for name, value in after.items() if value != before[name]}
        if fixed := sorted(changed - cls.resumable):
            raise SettingsError(f"{', '.join(fixed)}: cannot change on resume; {', '.join(sorted(cls.resumable))} can")
        model = cls(**{**manifest["settings"], **changes})
        model.data = manifest.get("data", {})
        model.reporter = make_reporter(progress)
        return model._train(folder, lasting=True)

    def fit_again(self, trained: str | Path, output: str | Path, progress: bool | None = None) -> Self:
        """Train anew, with these settings, on the very numbers that another model of the task was trained on.

        Args:
            trained: that model's folder, which is only read. What its data were made to must suit these settings too:
                those of reading and of the codec are the same.
            output: folder of the new model; nothing may stand there.
            progress: as in `fit`.

        Raises:
            BundleError: if the data do not stand with that model any more, or something stands at `output`.
        """
        source, folder = Path(trained), Path(output)
        manifest = bundle.read_manifest(source)
        if manifest["task"] != self.task:
            raise BundleError(f"{source}: holds a {manifest['task']}, not a {self.task}")
        if not (source / bundle.RUN / "sources.json").exists():
            raise BundleError(f"{source}: its run/, which held the numbers that it was trained on, is missing")
        self.reporter = make_reporter(progress)
        checkpoints = {path.name for _, path in list_checkpoints(source / bundle.RUN)}
        with bundle.writing_bundle(folder, overwrite=False) as new:
            shutil.copytree(source / bundle.CODEC, new / bundle.CODEC)
            (new / bundle.RUN).mkdir()
            for entry in (source / bundle.RUN).iterdir():
                if entry.is_file() and entry.name not in checkpoints | {"lock"} and not entry.name.startswith("."):
                    shutil.copyfile(entry, new / bundle.RUN / entry.name)
            self.write_manifest(new, "training")
        return self._train(folder, lasting=True)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """The model as the newest checkpoint has it: all that there is of a training without a finite evaluation.

        Raises:
            BundleError: if the folder holds no checkpoint that is whole.
        """
        folder = Path(path)
        manifest = bundle.read_manifest(folder)
        model = cls(**manifest["settings"])
        model.data, model.history = manifest.get("data", {}), read_history(folder / bundle.HISTORY)
        model._codec = cls.codec_type.load(folder / bundle.CODEC)
        why = "there is none"
        for _, found in list_checkpoints(folder / bundle.RUN):
            try:
                tensors, _ = read_checkpoint(found)
            except BundleError as error:
                why = str(error)
                continue
            with torch.random.fork_rng(devices=[]):
                model._network = model.build()
            named = {name: value for name, value in tensors.items() if name.startswith("network.")}
            load_weights(model._network, {name.removeprefix("network."): value for name, value in named.items()})
            model._network.eval()
            return model
        raise BundleError(f"{folder}: neither weights nor a checkpoint that is whole: {why}")

    def _prepare_all(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Any:
        """`prepare`, and the word vectors that the embedding begins with, if the settings name some."""
        vectors, self.settings = open_vectors(self.settings)
        corpus = self.prepare(sources, validation, folder)
        if vectors is not None:
            self.reporter.message(keep_rows(vectors, *self.embedded(corpus), folder / bundle.RUN))
        return corpus

    def _begin_network(self, folder: Path) -> dict[str, Any]:
        """Build the network with its first weights; gives what of it is not random, by name."""
        network = self.build()
        covered = begin_with_rows(network, folder / bundle.RUN)
        self._network = network.to(pick_device(self.settings.device))
        return covered

    def _rehearse(self, corpus: Any, folder: Path) -> None:
        """Build all that training needs, once, so that what cannot work is refused before a model is replaced."""
        with torch.random.fork_rng():
            self._codec = corpus.codec
            self._begin_network(folder)
            self.objective(corpus)
            make_optimizer(self.network.parameters(), self._part(TrainingSettings))
            if self.settings.tensorboard:
                event_writer(self.settings.tensorboard).close()

    def _train(self, folder: Path, lasting: bool) -> Self:
        with locked(folder / bundle.RUN / "lock", f"{folder}: is being trained"):
            try:
                return self._train_alone(folder)
            except Interrupted as stop:
                how = f"go on with: ostinato fit {self.command or self.task} --resume {folder}"
                stop.args = (f"{stop}; {how if lasting else 'without an output folder there is nothing to resume'}",)
                raise

    def _train_alone(self, folder: Path) -> Self:
        self._folder = folder
        run = folder / bundle.RUN
        remove_unfinished(folder)
        remove_unfinished(run)
        settings = self.settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        names = bundle.read_json(run / "sources.json")
        corpus = self.prepare(names["corpus"], names["validation"], folder)
        self._codec, self.data = corpus.codec, corpus.about
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(settings.seed)
            self.data |= self._begin_network(folder)
            self.begin(corpus, folder)
            objective = self.objective(corpus)
            if settings.learning_rate == "auto":
                rate = find_rate(objective, self._part(TrainingSettings)).suggestion
                self.reporter.message(f"learning rate found: {rate:.2g}")
                self.settings = settings = settings.model_copy(update={"learning_rate": rate})
            self.write_manifest(folder, "training")
            training = self._part(TrainingSettings)
            trainer = Trainer(objective, training, run, folder / bundle.HISTORY, self.reporter)
            position = trainer.train()
        if not (folder / bundle.WEIGHTS).exists():
            raise TrainingError(f"{folder}: no evaluation gave a finite loss, so there is no best model to keep")
        self.read_weights(self.network, folder / bundle.WEIGHTS)  # early stopping restores the best
        self.network.eval()
        further = self.finish(corpus)
        self.history = read_history(folder / bundle.HISTORY)
        figures = {"loss": position.best_loss, **position.best_figures, **further}
        self.metrics = {f"validation_{name}": value for name, value in figures.items()}
        self.metrics |= {"best_step": position.best_step, "steps": position.step, "epochs": position.epoch}
        self.metrics |= {"skipped_steps": position.skipped, "training_seconds": round(position.seconds, 1)}
        self.write_about(folder)
        return self

    def begin(self, corpus: Any, folder: Path) -> None:
        """What the network learns before its training, from other data; an interrupted run comes here again."""

    def finish(self, corpus: Any) -> dict[str, float]:  # noqa: ARG002
        """What is done once the best weights stand, such as a calibration; gives figures of the validation data."""
        return {}

    def keep_best(self, step: int, loss: float) -> None:
        """Put the weights as they are into the bundle, whose model they are from now on."""
        assert self._folder is not None  # noqa: S101
        self.write_weights(self._folder / bundle.WEIGHTS, {"step": str(step), "validation_loss": repr(loss)})

    def find_learning_rate(self, corpus: Sources, progress: bool | None = False) -> Any:
        """Sweep the learning rate over a short training on a corpus; see `ostinato.training.find_rate`."""
        with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng():
            folder = Path(scratch)
            (folder / bundle.RUN).mkdir()
            self.reporter = make_reporter(progress)
            prepared = self._prepare_all(source_names(corpus, None)["corpus"], [], folder)
            self._codec = prepared.codec
            torch.manual_seed(self.settings.seed)
            self._begin_network(folder)
            found = find_rate(self.objective(prepared), self._part(TrainingSettings))
            self._codec = self._network = None  # not a trained model
            return found

    def embedded(self, corpus: Any) -> tuple[Sequence[str], Iterable[np.ndarray]]:
        """The tokens of the embedding, by id, and the ids of the training text in blocks; for `--vectors`."""
        return corpus.codec.vocabulary, corpus.train.blocks()

    @abstractmethod
    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Any:
        """Codec and data, made in a folder or found there."""

    @abstractmethod
    def objective(self, corpus: Any) -> Objective:
        """What training descends."""
