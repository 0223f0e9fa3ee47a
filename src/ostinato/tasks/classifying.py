"""What every classifier can do: name the labels of a text, and be measured."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.errors import DataError, SettingsError
from ostinato.records import RecordFormat
from ostinato.settings import Settings
from ostinato.tasks.corpus import Sources, resolve
from ostinato.tasks.estimator import TextEstimator, as_given
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings
from ostinato.tasks.label_figures import LabelFigures
from ostinato.tasks.model import Model, Predicted


class Prediction(NamedTuple):
    """Labels of a text with their scores, the best first."""

    labels: list[str]
    scores: list[float]


class WordWeight(NamedTuple):
    """A word of a text, where it stands, and how much it speaks for a label."""

    word: str
    start: int
    end: int
    weight: float


class PredictSettings(Settings):
    """How texts are read, and what is said of them."""

    top: int = Field(1, ge=1, description="how many labels, the best first")
    explain: bool = Field(False, description="say which words speak for the best label, and which against it")
    text: str | None = Field(None, description="of a table: column of the text [default: text, or the only one]")
    format: RecordFormat | Literal["folders"] = Field(
        "auto",
        description="text (a line a document), csv, tsv, jsonl, parquet, fasttext, folders (a file a document), or "
        "auto: by the file's name",
    )
    header: bool = Field(True, description="the first row of a table names its columns")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class ClassifyingModel(TextEstimator, Model):
    """A model that scores the labels of a text; its settings hold `ExampleSettings`, its codec `labels`, `several`."""

    __repr__ = Model.__repr__  # pyright: ignore[reportAssignmentType] - not all settings, as scikit-learn has it
    pipeline_tag = "text-classification"
    PredictSettings = PredictSettings
    reader_type: type[ExampleReader] = ExampleReader

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order of the scores."""
        return self.codec.labels

    @property
    def classes_(self) -> np.ndarray:
        """The labels as they were given to `fit`."""
        return as_given(self.labels, self.codec.python)

    @property
    @abstractmethod
    def threshold(self) -> float:
        """Where a text may have several labels, it has those that score above this, and at least one."""

    @abstractmethod
    def scores(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Scores of texts as they come, float [texts, labels], a block at a time; the highest is the likeliest."""

    @staticmethod
    def sequence_of(example: Any) -> Any:
        """What of an example `predict` is given: its text."""
        return example.text

    def explain(self, texts: Iterable[str]) -> Iterator[list[WordWeight]]:  # noqa: ARG002 - others can
        """How much each word of each text speaks for its best label.

        Raises:
            SettingsError: if the model cannot tell.
        """
        raise SettingsError(f"a {self.task} cannot say which words mattered")

    def reader(self, files: Sequence[Path], **changes: Any) -> ExampleReader:
        """Reads labelled texts as the settings say, but for changes of them."""
        settings = ExampleSettings.checked({}) if self._in_memory else self._part(ExampleSettings)
        return self.reader_type(files, settings.model_copy(update=changes))

    def rank(self, texts: Iterable[str], top: int = 1) -> Iterator[Prediction]:
        """The best labels of each text with their scores, as the texts come.

        Args:
            texts: any iterable of strings.
            top: how many labels.

        Raises:
            DataError: if something is no text.
            SettingsError: if `top` is not from 1 to the number of labels.
        """
        if isinstance(texts, str):
            raise DataError(f"expected many {self.things}, such as a list of strings, found one string")
        if not 1 <= top <= len(self.labels):
            raise SettingsError(f"top = {top}: from 1 to {len(self.labels)}, the number of labels")
        return (prediction for block in self.scores(texts) for prediction in self._ranked(block, top))

    def _ranked(self, scores: np.ndarray, top: int) -> Iterator[Prediction]:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        for row, best in zip(scores, order, strict=True):
            yield Prediction([self.labels[at] for at in best], row[best].tolist())

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The label of each text, as labels were given to `fit`; where there may be several, a tuple of them.

        Raises:
            DataError: if something is no text.
        """
        if isinstance(texts, str):
            raise DataError(f"expected many {self.things}, such as a list of strings, found one string")
        classes = self.classes_
        if not self.codec.several:
            return classes[[at for block in self.scores(texts) for at in block.argmax(1).tolist()]]
        chosen = [self._above(row) for block in self.scores(texts) for row in block]
        if self.codec.python == "matrix":
            found = np.zeros((len(chosen), int(classes.max()) + 1), np.int64)
            for row, ids in enumerate(chosen):
                found[row, classes[ids]] = 1
            return found
        listed = np.empty(len(chosen), object)
        listed[:] = [tuple(classes[ids].tolist()) for ids in chosen]
        return listed

    def _above(self, scores: np.ndarray) -> list[int]:
        """The labels above the threshold, the best first, or the best."""
        order = np.argsort(-scores, kind="stable")
        return order[scores[order] > self.threshold].tolist() or [int(order[0])]

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """The probability of each label, float [texts, labels], in the order of `classes_`.

        Raises:
            SettingsError: if scores of this model are no probabilities.
        """
        if not self.probabilistic:
            raise SettingsError("scores of a support vector machine are no probabilities: train with loss = logistic")
        return np.concatenate([*self.scores(texts), np.zeros((0, len(self.labels)), np.float32)])

    @property
    def probabilistic(self) -> bool:
        """Whether scores are probabilities."""
        return True

    def score(self, X: Sequence[str], y: Sequence[Any], sample_weight: Any = None) -> float:  # noqa: N803 - theirs
        """The share of texts X that get their labels y and no others."""
        told, labels = self.predict(X), y
        if told.ndim == 2:
            right = (told == np.asarray(labels)).all(1)
        elif self.codec.several:
            right = np.array([set(a) == set(b) for a, b in zip(told, labels, strict=True)])
        else:
            right = told == np.asarray(labels)
        return float(np.average(right, weights=sample_weight))

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """The columns of each row with its best labels; see `ostinato predict`.

        To the row's own fields come `label` and `score`, with several labels `labels` and `scores`, and with `explain`
        `words`; what stood there under such a name is kept as `given_label` and so on.
        """
        settings = options.plain()
        top, explain = settings.pop("top"), settings.pop("explain")
        reader = self.reader_type(files, ExampleSettings.checked(settings))
        first, second, third = tee(reader.records(labelled=False), 3)
        told = self.rank((reader.text_of(record) for record in first), top)
        reasons = self.explain(reader.text_of(record) for record in second) if explain else None
        for record, found in zip(third, told, strict=False):
            words = next(reasons) if reasons is not None else None
            if reasons is None:
                next(second)
            yield self._predicted(record.fields, found, top, words)

    def _predicted(
        self, fields: dict[str, Any], found: Prediction, top: int, words: list[WordWeight] | None
    ) -> Predicted:
        several = top > 1 or self.codec.several
        said: dict[str, Any] = {"label": found.labels[0], "score": found.scores[0]}
        if several:
            said = {"labels": found.labels, "scores": found.scores}
        text = "\t".join(f"{label}\t{score:.4f}" for label, score in zip(*found, strict=True))
        if words is not None:
            said["words"] = [[each.word, each.start, each.end, round(each.weight, 4)] for each in words]
            strongest = sorted(words, key=lambda each: -abs(each.weight))[:8]
            text += "\t" + " ".join(f"{each.word} {each.weight:+.2f}" for each in strongest)
        kept = {f"given_{name}" if name in said else name: value for name, value in fields.items()}
        return Predicted(kept | said, text)

    def evaluate(
        self,
        corpus: Sources,
        batch_size: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
    ) -> dict[str, Any]:
        """Compare with the labels of files, which are read as in training.

        Args:
            corpus: files, folders or patterns.
            batch_size: is of language models; None.
            encoding: of the files; as in training if None.
            errors: at bytes that are not text: strict, replace or ignore; as in training if None.

        Returns:
            As `LabelFigures.figures`, and where a text has one label, `confusion`: the right label → what was told →
            how often.
        """
        if batch_size is not None:
            raise SettingsError("batch_size: a classifier reads its texts one by one; leave it out")
        given = {name: value for name, value in (("encoding", encoding), ("errors", errors)) if value is not None}
        with tempfile.TemporaryDirectory() as folder:
            files = resolve([corpus] if isinstance(corpus, str | Path) else corpus, Path(folder))
            return self.compare(self.reader(files, **given).examples())

    def compare(self, examples: Iterable[Example], confusion: bool = True) -> dict[str, Any]:
        """How well examples are told, as they come; see `evaluate`.

        Raises:
            DataError: if there are none.
        """
        first, second = tee(examples)  # the second lags by a block
        names: defaultdict[str, int] = defaultdict(lambda: len(names))  # a label never seen in training comes after all
        for label in self.labels:
            names[label]
        figures = self.tally()
        for block in self.scores(map(self.sequence_of, first)):
            labels = [next(second).labels for _ in block]
            figures.add(block, [tuple(names[label] for label in each) for each in labels])
        if not figures.texts:
            raise DataError("no examples to measure; for validation a larger share may help, or a file of its own")
        found: dict[str, Any] = figures.figures()
        if confusion and not self.codec.several:
            called = list(names)
            counts = figures.confusion()
            found["confusion"] = {called[a]: {called[b]: n for b, n in row.items()} for a, row in counts.items()}
        return found

    def tally(self) -> LabelFigures:
        """What counts how well labels are told."""
        return LabelFigures(len(self.labels), self.codec.several, self.threshold, probabilities=self.probabilistic)
