"""What a network reads of texts: their words, of texts of any length, some steps at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Self

import numpy as np
import torch

from ostinato.codecs.vocabulary import Vocabulary
from ostinato.features.subwords import word_buckets
from ostinato.subword_embedding import Words

NGRAMS = (3, 5)  # fewest and most characters of an n-gram, with the marks of a word's ends


def word_row(tokens: Sequence[str], words: Vocabulary, subwords: int) -> dict[str, np.ndarray]:
    """The words of a text as numbers.

    Args:
        tokens: of the text.
        words: their ids.
        subwords: buckets of n-grams; 0: none.

    Returns:
        The columns `words`, and with n-grams `buckets` and `counts`; see `TextInputs`.

    >>> row = word_row(["fish"], Vocabulary(["<unk>", "fish"]), 100)
    >>> row["words"].tolist(), row["counts"].tolist(), len(row["buckets"])
    ([1], [9], 9)
    """
    row = {"words": words.ids(tokens)}
    if subwords:
        found = [word_buckets(token, *NGRAMS, subwords) for token in tokens]
        row["counts"] = np.fromiter(map(len, found), np.int32, len(found))
        row["buckets"] = np.fromiter(chain.from_iterable(found), np.int32)
    return row


class TextInputs:
    """The rows of a batch, whose slices are `Words`: a text of a million words is never padded as a whole.

    Args:
        rows: with the column `words`; `buckets`, those of the n-grams of all words on end, and `counts`, how many each
            word has; or `vectors`, flat.
        device: where slices go.

    >>> inputs = TextInputs([{"words": np.array([3, 1, 4])}, {"words": np.array([5])}])
    >>> len(inputs), inputs[1:].ids.tolist()
    (3, [[1, 0], [4, 0]])
    """

    def __init__(self, rows: Sequence[Any], device: torch.device | str = "cpu") -> None:
        self._rows, self._device = rows, device
        self._ends = [np.cumsum(row["counts"], dtype=np.int64) if "counts" in row else None for row in rows]
        self._length = max((len(row["words"]) for row in rows), default=0)

    def __len__(self) -> int:
        return self._length

    def to(self, device: torch.device | str) -> Self:
        """The same, with slices on a device."""
        return type(self)(self._rows, device)

    def __getitem__(self, window: slice) -> Words:
        start, stop, _ = window.indices(self._length)
        ids = np.zeros((stop - start, len(self._rows)), np.int64)
        for column, row in enumerate(self._rows):
            part = row["words"][start:stop]
            ids[: len(part), column] = part
        parts = (ids, *self._ngrams(start, stop), self._vectors(start, stop))
        return Words(*(None if part is None else torch.from_numpy(part).to(self._device) for part in parts))  # type: ignore[arg-type]

    def _ngrams(self, start: int, stop: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        if not self._rows or "buckets" not in self._rows[0]:
            return None, None
        flat: list[np.ndarray] = []
        counts = np.zeros((len(self._rows), stop - start), np.int64)
        for index, (row, ends) in enumerate(zip(self._rows, self._ends, strict=True)):
            part = row["counts"][start:stop]
            if len(part) and ends is not None:
                counts[index, : len(part)] = part
                flat.append(row["buckets"][ends[start] - part[0] : ends[start + len(part) - 1]])
        buckets = np.concatenate(flat).astype(np.int64) if flat else np.zeros(0, np.int64)
        return buckets, np.cumsum(counts) - counts.ravel()

    def _vectors(self, start: int, stop: int) -> np.ndarray | None:
        if not self._rows or "vectors" not in self._rows[0]:
            return None
        width = next(len(row["vectors"]) // len(row["words"]) for row in self._rows)
        padded = np.zeros((stop - start, len(self._rows), width), np.float32)
        for column, row in enumerate(self._rows):
            part = row["vectors"][start * width : stop * width].reshape(-1, width)
            padded[: len(part), column] = part
        return padded
