"""What every classifier can do: name the labels of a text, and be measured."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from ostinato.errors import DataError, SettingsError
from ostinato.records import RecordFormat
from ostinato.settings import Settings
from ostinato.tasks.corpus import Sources, resolve
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings
from ostinato.tasks.model import Model, Predicted


class Prediction(NamedTuple):
    """Labels of a text with their scores, the best first."""

    labels: list[str]
    scores: list[float]


class PredictSettings(Settings):
    """How texts are read, and what is said of them."""

    top: int = Field(1, ge=1, description="how many labels, the best first")
    column: str | None = Field(None, description="of a table: where the text stands [default: text, or the only one]")
    format: RecordFormat = Field(
        "auto", description="text (a line a document), csv, tsv, jsonl, fasttext, or auto: by the file's name"
    )
    header: bool = Field(True, description="the first row of a table names its columns")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class ClassifyingModel(Model):
    """A model that scores the labels of a text; its settings hold `ExampleSettings`, its codec `labels`, `several`."""

    pipeline_tag = "text-classification"
    PredictSettings = PredictSettings

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order of the scores."""
        return self.codec.labels

    @property
    @abstractmethod
    def threshold(self) -> float:
        """Where a text may have several labels, it has those that score above this, and at least one."""

    @abstractmethod
    def scores(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Scores of texts as they come, float [texts, labels], a block at a time; the highest is the likeliest."""

    def predict(self, texts: Iterable[str], top: int = 1) -> Iterator[Prediction]:
        """The best labels of each text, as the texts come.

        Args:
            texts: any iterable of strings.
            top: how many labels.

        Raises:
            DataError: if something is no text.
            SettingsError: if `top` is not from 1 to the number of labels.
        """
        if isinstance(texts, str):
            raise DataError("expected many texts, such as a list of strings, found one string")
        if not 1 <= top <= len(self.labels):
            raise SettingsError(f"top = {top}: from 1 to {len(self.labels)}, the number of labels")
        return (prediction for block in self.scores(texts) for prediction in self._ranked(block, top))

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """The best labels of each text of files; see `ostinato predict`."""
        settings = options.plain()
        top, column = settings.pop("top"), settings.pop("column")
        reader = ExampleReader(files, ExampleSettings(text_column=column, **settings))
        texts, again = tee(reader.texts())
        for text, found in zip(again, self.predict(texts, top), strict=False):
            said = "\t".join(f"{label}\t{score:.4f}" for label, score in zip(*found, strict=True))
            yield Predicted({"text": text, "labels": found.labels, "scores": found.scores}, said)

    def _ranked(self, scores: np.ndarray, top: int) -> Iterator[Prediction]:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        for row, best in zip(scores, order, strict=True):
            yield Prediction([self.labels[at] for at in best], row[best].tolist())

    def evaluate(
        self,
        corpus: Sources,
        batch_size: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
    ) -> dict[str, float | int]:
        """Compare with the labels of files, which are read as in training.

        Args:
            corpus: files, folders or patterns.
            batch_size: is of language models; None.
            encoding: of the files; as in training if None.
            errors: at bytes that are not text: strict, replace or ignore; as in training if None.

        Returns:
            As `measure`.
        """
        if batch_size is not None:
            raise SettingsError("batch_size: a classifier reads its texts one by one; leave it out")
        given = {name: value for name, value in (("encoding", encoding), ("errors", errors)) if value is not None}
        with tempfile.TemporaryDirectory() as folder:
            files = resolve([corpus] if isinstance(corpus, str | Path) else corpus, Path(folder))
            reader = ExampleReader(files, self._part(ExampleSettings).model_copy(update=given))
            return self.measure(reader.examples())

    def measure(self, examples: Iterable[Example]) -> dict[str, float | int]:
        """How well examples are told, as they come.

        Returns:
            precision_at_1: the share of texts whose best label is one of theirs;
            recall_at_1: the share of all their labels that is found so;
            accuracy: the share of texts that get their labels and no others;
            f1_micro, f1_macro: 2·tp / (2·tp + fp + fn), over all decisions, and as the mean over the labels that
            occur among those given and those right; examples: how many.

        Raises:
            DataError: if there are none.
        """
        first, second = tee(examples)  # the second lags by a block
        right, false, missed = Counter[str](), Counter[str](), Counter[str]()
        texts = hits = exact = 0
        for block in self.scores(example.text for example in first):
            for row, example in zip(block, second, strict=False):
                best = int(row.argmax())
                chosen = (
                    {self.labels[at] for at in np.flatnonzero(row > self.threshold)} if self.codec.several else set()
                )
                chosen = chosen or {self.labels[best]}
                wanted = set(example.labels)
                right.update(chosen & wanted)
                false.update(chosen - wanted)
                missed.update(wanted - chosen)
                texts += 1
                hits += self.labels[best] in wanted
                exact += chosen == wanted
        if not texts:
            raise DataError("no examples to measure; for validation a larger share may help, or a file of its own")
        f1 = {k: 2 * right[k] / (2 * right[k] + false[k] + missed[k]) for k in {*right, *false, *missed}}
        total = 2 * right.total() + false.total() + missed.total()
        return {
            "precision_at_1": hits / texts,
            "recall_at_1": hits / (right.total() + missed.total()),
            "accuracy": exact / texts,
            "f1_micro": 2 * right.total() / total,
            "f1_macro": sum(f1.values()) / len(f1),
            "examples": texts,
        }
