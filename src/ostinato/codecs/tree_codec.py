"""Trees ↔ numbers: words and labels by id, the shape as the node above each."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from ostinato.analysis import Analyzer, tokens_for
from ostinato.bundle import read_json
from ostinato.codecs.trees import Tree, balanced
from ostinato.codecs.vocabulary import Vocabulary
from ostinato.errors import BundleError, DataError
from ostinato.files import write_text
from ostinato.settings import Settings

NONE = -1  # no word, or no label
_CONTRACTION = re.compile(r"(?i)(.+?)(n't|'(?:s|re|ve|ll|d|m))$")
NEGATIVE, POSITIVE = "negative", "positive"


class UnknownLabel(DataError):
    """A label that was not among those learned."""


class TreeTextSettings(Settings):
    """What words and labels are."""

    lowercase: bool = Field(True, description="fold words to lower case")
    min_count: int = Field(1, ge=1, description="rarer words are unknown")
    max_size: int | None = Field(None, ge=2, description="of the vocabulary: the most frequent words")
    binary: bool = Field(
        False, description="two labels: below and above the middle of a scale of numbers; the middle is none"
    )
    tokens: Literal["auto", "words", "chinese"] = Field(
        "auto", description="words of plain text; chinese: by a dictionary (the extra zh); auto: as it is needed"
    )


class TreeCodec:
    """Vocabulary and labels of trees, and the words of plain text.

    Args:
        settings: what words and labels are.
        vocabulary: of words.
        labels: by id; numbers in their order, else by name.
        scale: of a binary codec, the lowest and the highest number; the labels are `negative` and `positive`.

    >>> from ostinato.codecs.trees import read_brackets
    >>> trees = [tree for tree, _ in read_brackets(["(3 (2 very) (4 good)) (0 bad)"])]
    >>> codec = TreeCodec.learn(trees, TreeTextSettings(binary=True))
    >>> codec.labels, codec.row(trees[0])["labels"].tolist()
    (('negative', 'positive'), [-1, 1, 1])
    """

    def __init__(
        self,
        settings: TreeTextSettings,
        vocabulary: Vocabulary,
        labels: tuple[str, ...],
        scale: tuple[float, float] | None = None,
    ) -> None:
        self.settings, self.vocabulary, self.labels, self.scale = settings, vocabulary, labels, scale
        self._ids = {label: at for at, label in enumerate(labels)}
        self._analyzer = Analyzer(tokens=settings.tokens, lowercase=False, normalization="nfc")

    @classmethod
    def learn(cls, trees: Iterable[Tree], settings: TreeTextSettings) -> Self:
        """The codec of trees.

        Raises:
            DataError: if there are no labels, one label only, or with `binary` other labels than numbers.
        """
        counts: Counter[str] = Counter()
        labels: set[str] = set()
        for tree in trees:
            words = (word for word in tree.words if word is not None)
            counts.update(map(str.lower, words) if settings.lowercase else words)
            labels.update(label for label in tree.labels if label is not None)
        if settings.tokens == "auto":
            settings = settings.model_copy(update={"tokens": tokens_for(counts, lambda _: None)})
        vocabulary = Vocabulary.of_counts(counts, settings.min_count, settings.max_size)
        numbers = [_number(label) for label in labels]
        ordered = sorted(labels, key=(lambda label: (_number(label), label)) if None not in numbers else None)
        if len(ordered) < 2:
            found = f"there is only the label {ordered[0]!r}" if ordered else "no node has a label"
            raise DataError(f"{found}: a classifier needs at least two different ones")
        if not settings.binary:
            return cls(settings, vocabulary, tuple(ordered))
        if None in numbers:
            odd = next(label for label in sorted(labels) if _number(label) is None)
            raise DataError(f"binary: the labels must be numbers, found {odd!r}")
        values = [value for value in numbers if value is not None]
        return cls(settings, vocabulary, (NEGATIVE, POSITIVE), (min(values), max(values)))

    @property
    def sides(self) -> tuple[list[int], list[int]] | None:
        """Of at least three numbered labels: those below the middle of the scale, and those above it."""
        values = [_number(label) for label in self.labels]
        numbers = [value for value in values if value is not None]
        if len(numbers) < max(3, len(values)):
            return None
        middle = (numbers[0] + numbers[-1]) / 2
        return [at for at, n in enumerate(numbers) if n < middle], [at for at, n in enumerate(numbers) if n > middle]

    def label_id(self, label: str | None) -> int:
        """The id of a label; -1 for none.

        Raises:
            UnknownLabel: if it was not among those learned.
        """
        if label is None:
            return NONE
        if self.scale is None or label in self._ids:
            if label not in self._ids:
                raise UnknownLabel(f"the label {label!r} is not among those learned ({', '.join(self.labels[:10])})")
            return self._ids[label]
        value, middle = _number(label), sum(self.scale) / 2
        if value is None:
            raise UnknownLabel(f"the label {label!r} is no number, as those learned were")
        return NONE if value == middle else int(value > middle)

    def word_ids(self, tree: Tree) -> np.ndarray:
        """Ids of the words, int32 [nodes]; -1 where a node has none."""
        fold = str.lower if self.settings.lowercase else str
        ids = self.vocabulary.ids("" if word is None else fold(word) for word in tree.words)
        ids[[at for at, word in enumerate(tree.words) if word is None]] = NONE
        return ids

    def row(self, tree: Tree) -> dict[str, np.ndarray]:
        """Words, labels and the node above each, int32 [nodes].

        Raises:
            UnknownLabel: for a label that was not learned.
        """
        labels = np.array([self.label_id(label) for label in tree.labels], np.int32)
        return {"words": self.word_ids(tree), "labels": labels, "parents": np.array(tree.parents, np.int32)}

    def tree_of(self, text: str) -> Tree:
        """Plain text → a tree by its punctuation, see `ostinato.codecs.trees.balanced`.

        Raises:
            DataError: if it holds no words.
        """
        return balanced(self.tokens(text))

    def tokens(self, text: str) -> list[str]:
        """Words and signs of plain text; `don't` is `do` and `n't` if the vocabulary has them so, as treebanks do.

        >>> codec = TreeCodec(TreeTextSettings(), Vocabulary(["<unk>", "do", "n't"]), ("0", "1"))
        >>> codec.tokens("Don't -- it's (no) film.")
        ['Do', "n't", '--', "it's", '(', 'no', ')', 'film', '.']
        """
        found: list[str] = []
        end = 0
        for span in self._analyzer.spans(text):
            found += _signs(text[end : span.start])
            found += self._parts(text[span.start : span.end])
            end = span.end
        return found + _signs(text[end:])

    def _parts(self, word: str) -> Iterable[str]:
        fold = str.lower if self.settings.lowercase else str
        if fold(word) not in self.vocabulary and (match := _CONTRACTION.match(word.replace("’", "'"))):
            parts = match.groups()
            if all(fold(part) in self.vocabulary for part in parts):
                return parts
        return (word,)

    def save(self, folder: Path) -> None:
        """Write it as two files."""
        self.vocabulary.save(folder / "vocabulary.json")
        about = {"settings": self.settings.plain(), "labels": self.labels, "scale": self.scale}
        write_text(folder / "trees.json", json.dumps(about, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about: dict[str, Any] = read_json(folder / "trees.json")
        try:
            settings = TreeTextSettings.checked(about["settings"])
            scale = None if about["scale"] is None else (float(about["scale"][0]), float(about["scale"][1]))
            return cls(settings, Vocabulary.load(folder / "vocabulary.json"), tuple(about["labels"]), scale)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / 'trees.json'}: damaged: {error}") from None


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _signs(between: str) -> list[str]:
    """The signs between two words, equal ones that touch together: `--` and `...` are one."""
    return [match[0] for match in re.finditer(r"(\S)\1*", between)]
