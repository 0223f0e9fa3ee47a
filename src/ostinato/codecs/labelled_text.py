"""The codec of a classifier by a network: a text to the ids of its words, and what its labels are called."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ostinato.analysis import Analyzer
from ostinato.bundle import read_json
from ostinato.codecs.vocabulary import UNKNOWN, Vocabulary
from ostinato.errors import BundleError, DataError, OstinatoError
from ostinato.files import write_text

_ABOUT, _WORDS = "labels.json", "vocabulary.json"
KINDS = ("single", "multi", "ordinal", "number")


@dataclass(frozen=True)
class Labels:
    """What there is to tell.

    Args:
        kind: one label a text (`single`), any number (`multi`), one in an order (`ordinal`), or a `number`.
        names: of the labels, in the order of a head's probabilities; of a number none.
        counts: texts of each in training.
        texts: of training.
        mean: of the numbers in training.
        deviation: theirs.
        python: what labels are in Python: str, int, float or bool.
    """

    kind: str
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    texts: int = 0
    mean: float = 0.0
    deviation: float = 1.0
    python: str = "str"

    @classmethod
    def from_dict(cls, about: dict[str, Any]) -> Self:
        """What `asdict` gave, read from JSON.

        Raises:
            TypeError, KeyError, ValueError: if it is damaged.
        """
        values: dict[str, Any] = about | {name: tuple(about[name]) for name in ("names", "counts")}
        found = cls(**values)
        if found.kind not in KINDS or len(found.names) != len(found.counts):
            raise ValueError("labels and counts are not those of a classifier")
        return found

    @cached_property
    def ids(self) -> dict[str, int]:
        """Of the names."""
        return {name: index for index, name in enumerate(self.names)}

    @classmethod
    def learn(cls, kind: str, order: Sequence[str] | None, given: Iterable[tuple[str, ...]], python: str) -> Self:
        """From the labels of training texts.

        Args:
            kind: one of `KINDS`, or auto: multi if a text has several labels, else single.
            order: of ordinal labels; by their value as numbers if None.
            given: the labels of each text.
            python: as of the class.

        Raises:
            DataError: if there is nothing to tell apart, or the labels are not what `kind` says.
        """
        counts: Counter[str] = Counter()
        total = squares = 0.0
        texts = most = 0
        for labels in given:
            texts, most = texts + 1, max(most, len(labels))
            counts.update(labels)
            if kind == "number":
                value = as_number(labels)
                total, squares = total + value, squares + value * value
        if not texts:
            raise DataError("no training examples are left: give more")
        if kind == "auto":
            kind = "multi" if most > 1 else "single"
        if len(counts) < 2:
            raise DataError(
                f"all {texts:,} examples have one label, {''.join(counts)!r}: there is nothing to tell apart"
            )
        if kind == "number":
            mean = total / texts
            return cls(
                kind, texts=texts, mean=mean, deviation=max(squares / texts - mean * mean, 1e-12) ** 0.5, python="float"
            )
        if kind != "multi" and most > 1:
            raise DataError(f"kind = {kind}, but a text has {most} labels: with several it is multi")
        names = tuple(sorted(counts)) if kind != "ordinal" else _ordered(counts, order)
        return cls(kind, names, tuple(counts[name] for name in names), texts, python=python)


def as_number(labels: Sequence[str]) -> float:
    """The number that a text has for a label.

    Raises:
        DataError: if it is none.
    """
    try:
        value = float(labels[0])
    except ValueError:
        value = float("nan")
    if len(labels) != 1 or not abs(value) < float("inf"):
        raise DataError(f"expected a number for a label, found {', '.join(labels)[:40]!r}")
    return value


def _ordered(counts: Counter[str], order: Sequence[str] | None) -> tuple[str, ...]:
    if order is not None:
        if len(set(order)) != len(order) or set(order) != set(counts):
            odd = ", ".join(sorted(set(order) ^ set(counts))[:5]) or "a label twice"
            raise DataError(
                f"order = {','.join(order)}: expected each label of the training texts once; look at: {odd}"
            )
        return tuple(order)
    try:
        return tuple(sorted(counts, key=float))
    except ValueError:
        held = ", ".join(sorted(counts)[:5])
        raise DataError(
            f"kind = ordinal: labels are no numbers ({held}): name them with --order, the least first"
        ) from None


@dataclass(frozen=True)
class LabelledText:
    """Words as ids, and labels.

    Args:
        analyzer: what a word is.
        words: their ids.
        labels: what there is to tell.

    >>> labels = Labels.learn("auto", None, [("good",), ("bad",), ("good",)], "str")
    >>> labels.names, labels.counts
    (('bad', 'good'), (1, 2))
    >>> codec = LabelledText(Analyzer(tokens="words"), Vocabulary.learn([["a", "fine", "fish"]]), labels)
    >>> codec.words.ids(codec.analyzer("A fine fowl")).tolist()
    [1, 2, 0]
    """

    analyzer: Analyzer
    words: Vocabulary
    labels_of: Labels

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, in the order of a head's probabilities."""
        return self.labels_of.names

    @property
    def several(self) -> bool:
        """Whether a text may have more than one."""
        return self.labels_of.kind == "multi"

    @property
    def python(self) -> str:
        """What labels are in Python."""
        return self.labels_of.python

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words by id."""
        return self.words.tokens

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        folder.mkdir(exist_ok=True)
        self.words.save(folder / _WORDS)
        about = {"analyzer": self.analyzer.to_dict(), **asdict(self.labels_of)}
        write_text(folder / _ABOUT, json.dumps(about, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about: dict[str, Any] = read_json(folder / _ABOUT)
        words = Vocabulary.load(folder / _WORDS)
        try:
            analyzer = Analyzer.from_dict(about.pop("analyzer"))
            labels = Labels.from_dict(about)
            if words.tokens[:1] != (UNKNOWN,):
                raise ValueError("the vocabulary is not that of a classifier")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, OstinatoError) and not isinstance(error, ValueError):
                raise
            raise BundleError(f"{folder / _ABOUT}: damaged: {error}") from None
        return cls(analyzer, words, labels)
