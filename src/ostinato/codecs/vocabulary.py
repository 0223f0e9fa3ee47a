"""A vocabulary: tokens ↔ ids, learned by counting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from ostinato.errors import BundleError, DataError
from ostinato.files import write_text

UNKNOWN = "<unk>"


class Vocabulary:
    """Tokens by id; id 0 is `<unk>`, for all that it does not hold.

    Args:
        tokens: by id, `<unk>` first.

    >>> vocabulary = Vocabulary.learn([["猫", "喜欢", "鱼"], ["狗", "喜欢", "鱼"]], min_count=2)
    >>> vocabulary.tokens, vocabulary.ids(["狗", "喜欢"]).tolist()
    (('<unk>', '喜欢', '鱼'), [0, 1])
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: index for index, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def ids(self, tokens: Iterable[str]) -> np.ndarray:
        """Ids of tokens, int32 [tokens]."""
        known = self._ids
        return np.array([known.get(token, 0) for token in tokens], np.int32)

    @classmethod
    def learn(cls, texts: Iterable[Iterable[str]], min_count: int = 1, max_size: int | None = None) -> Self:
        """The vocabulary of texts, given as their tokens.

        Args:
            texts: tokens of each.
            min_count: rarer tokens are unknown.
            max_size: keep the most frequent, `<unk>` counted in.

        Raises:
            DataError: if no token is frequent enough.
        """
        counts: Counter[str] = Counter()
        for tokens in texts:
            counts.update(tokens)
        return cls.of_counts(counts, min_count, max_size)

    @classmethod
    def of_counts(cls, counts: Counter[str], min_count: int = 1, max_size: int | None = None) -> Self:
        """The same of counts; see `learn`."""
        tokens = most_frequent(counts, min_count, max_size)
        if len(tokens) == 1:
            raise DataError(
                f"each of {len(counts):,} different tokens occurs less than min_count = {min_count} times, so the "
                "vocabulary is empty; give more text, or a smaller min_count"
            )
        return cls(tokens)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.tokens, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        try:
            tokens = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise BundleError(f"{error.filename}: {error.strerror}") from None
        except ValueError as error:
            raise BundleError(f"{path}: damaged: {error}") from None
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise BundleError(f"{path}: damaged: expected a list of strings")
        return cls(tokens)


def most_frequent(counts: Counter[str], min_count: int, max_size: int | None) -> list[str]:
    """`<unk>`, then tokens by falling count, equal counts by their text.

    Raises:
        DataError: if nothing was counted.
    """
    if not counts:
        raise DataError("the corpus is empty: there is nothing to learn a vocabulary from")
    counts.pop(UNKNOWN, None)
    ordered = sorted((-count, token) for token, count in counts.items() if count >= min_count)
    return [UNKNOWN, *(token for _, token in ordered[: max_size - 1 if max_size else None])]
