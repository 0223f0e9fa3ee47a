"""Learning from real sentences, before judged ones: which are real, and which have a mistake in them?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from ostinato import bundle
from ostinato.data import find_files
from ostinato.errors import DataError
from ostinato.records import RecordReader
from ostinato.settings import Settings
from ostinato.table import Table
from ostinato.tasks.corruption import Corruption
from ostinato.tasks.supervised import FromExamples, Prepared
from ostinato.training.find_rate import find_rate
from ostinato.training.loop import Trainer
from ostinato.training.settings import TrainingSettings

_TRAIN, _VALIDATION = "real", "real-validation"  # tables
_LEARNED = "real.safetensors"  # of run/: the weights that training begins with
_HELD_OUT = 20  # every so manyth sentence is for validation


class RealSettings(Settings):
    """Whether a judge learns from unlabelled sentences first."""

    real: str | None = Field(
        None, description="text, a sentence a line: first learn to tell these from such with a mistake made in them"
    )
    real_epochs: int | None = Field(
        None, ge=0, description="passes over real sentences, the acceptable ones too [default: 5 with real, else 0]"
    )

    real_ngrams: int = Field(
        0, ge=0, description="tokens of the longest n-gram of real sentences, asked beside the network; 0: none are"
    )

    @property
    def passes(self) -> int:
        """Over the real sentences."""
        return self.real_epochs if self.real_epochs is not None else 5 if self.real is not None else 0


def real_lines(path: str, settings: Any) -> Iterator[str]:
    """The lines of files.

    Raises:
        DataError: with file and line, if they cannot be read.
    """
    reader = RecordReader(find_files([path]), "text", settings.encoding, settings.errors)
    return (record.fields["text"] for record in reader.records())


def write_real_sentences(model: Any, sentences: Iterable[str], run: Path) -> dict[str, Any]:
    """Write sentences, and each once more with a mistake, as tables of examples.

    Args:
        model: an `Acceptability`, with its codec.
        sentences: as text; those too short for a mistake are passed over.
        run: the folder.

    Returns:
        How many sentences there are.

    Raises:
        DataError: if there are too few.
    """
    wrong, right = model.codec.labels
    corruption = Corruption(model.codec.vocabulary[1:], model.settings.seed)
    held_out: list[Any] = []
    count = 0

    def rows() -> Iterator[Any]:
        nonlocal count
        for sentence in sentences:
            words: Sequence[str] = model.codec.analyzer(sentence)
            corrupted = corruption(words)
            if corrupted is None:
                continue
            count += 1
            both = [model.row(words, (right,)), model.row(corrupted, (wrong,))]
            if count % _HELD_OUT:
                yield from both
            else:
                held_out.extend(both)

    Table.write(run, _TRAIN, rows(), model.columns)
    if not held_out:
        raise DataError(f"{count} real sentences of at least three words: expected {_HELD_OUT} or more, give others")
    Table.write(run, _VALIDATION, held_out, model.columns)
    return {"real_sentences": count}


class _FromSentences(FromExamples):
    """Keeps its best weights apart, since they are not yet the model's."""

    def save_best(self, step: int, loss: float) -> None:  # noqa: ARG002
        assert self.model._folder is not None  # noqa: S101
        self.model.write_weights(self.model._folder / bundle.RUN / "real" / bundle.WEIGHTS, {})


def learn_real_sentences(model: Any, corpus: Prepared, folder: Path) -> dict[str, float]:
    """Train the model's network to tell real sentences from corrupted ones, or take what an earlier call learned.

    What it learns is of the same kind as what it is to judge, in more sentences than anyone labels: the order of words,
    agreement, what stands beside what (Warstadt, Singh & Bowman 2019, section 5).

    Args:
        model: an `Acceptability`, with its network.
        corpus: of its training.
        folder: of the model. A training that was stopped goes on, to the same bits.

    Returns:
        `real_mcc`, on sentences of which none was trained on.
    """
    run = folder / bundle.RUN
    if not (run / _LEARNED).exists():
        s = model.settings
        objective = _FromSentences(model, Prepared(corpus.codec, Table(run, _TRAIN), Table(run, _VALIDATION), {}))
        changes: dict[str, Any] = {"epochs": s.passes, "max_steps": None, "evaluate_every": None, "patience": None}
        training = model._part(TrainingSettings).model_copy(update=changes)
        if training.learning_rate == "auto":
            found = find_rate(objective, training).suggestion
            training = training.model_copy(update={"learning_rate": found})
        model.reporter.message(f"first, real sentences and corrupted ones: {len(objective.windows):,} batches an epoch")
        (inner := run / "real").mkdir(exist_ok=True)
        position = Trainer(objective, training, inner, inner / bundle.HISTORY, model.reporter).train()
        if not (inner / bundle.WEIGHTS).exists():
            raise DataError("no evaluation on real sentences gave a finite loss: lower --learning-rate")
        model.read_weights(model.network, inner / bundle.WEIGHTS)
        model.write_weights(run / _LEARNED, {"mcc": repr(position.best_figures["mcc"])})
        for path in inner.iterdir():
            path.unlink()
        inner.rmdir()
        torch.manual_seed(s.seed)  # as where an earlier call had learned it
    model.read_weights(model.network, run / _LEARNED)
    return {"real_mcc": float(bundle.read_tensors(run / _LEARNED)[1]["mcc"])}
