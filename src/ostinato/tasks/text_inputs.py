"""What a classifier's network reads: the words of texts of any length, a window of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.features.subwords import ngram_buckets

FEWEST, MOST = 3, 5  # characters of an n-gram, with the marks of a word's ends


@lru_cache(maxsize=1 << 17)
def pieces_of(word: str, buckets: int) -> tuple[int, ...]:
    """The n-grams of a word's characters, hashed to 1 … buckets; 0 is for none.

    >>> len(pieces_of("fish", 1000))
    9
    """
    return tuple(bucket + 1 for bucket in ngram_buckets(word, FEWEST, MOST, buckets))


class Window(NamedTuple):
    """Some steps of a batch."""

    words: Tensor
    """Ids, int64 [time, batch]."""
    pieces: Tensor | None
    """Of n-grams, int64 [time, batch, most of a word]; 0 is padding."""
    vectors: Tensor | None
    """Frozen vectors, float32 [time, batch, features]."""


class TextInputs:
    """The rows of a batch, whose slices are `Window`s: a text of a million words is never padded as a whole.

    Args:
        rows: with the column `words`; `pieces`, those of all words on end, and `counts`, how many each word has; and
            `vectors`, flat.
        device: where windows go.

    >>> inputs = TextInputs([{"words": np.array([3, 1, 4])}, {"words": np.array([5])}])
    >>> len(inputs), inputs[1:].words.tolist()
    (3, [[1, 0], [4, 0]])
    """

    def __init__(self, rows: Sequence[Any], device: torch.device | str = "cpu") -> None:
        self._rows, self._device = rows, device
        self._ends = [np.cumsum(row["counts"], dtype=np.int64) if "counts" in row else None for row in rows]
        self._length = max((len(row["words"]) for row in rows), default=0)

    def __len__(self) -> int:
        return self._length

    def to(self, device: torch.device | str) -> Self:
        """The same, with windows on a device."""
        return type(self)(self._rows, device)

    def __getitem__(self, window: slice) -> Window:
        start, stop, _ = window.indices(self._length)
        words = np.zeros((stop - start, len(self._rows)), np.int64)
        for column, row in enumerate(self._rows):
            part = row["words"][start:stop]
            words[: len(part), column] = part
        parts = (words, self._pieces(start, stop), self._vectors(start, stop))
        return Window(*(None if part is None else torch.from_numpy(part).to(self._device) for part in parts))  # type: ignore[arg-type]

    def _pieces(self, start: int, stop: int) -> np.ndarray | None:
        if not self._rows or "pieces" not in self._rows[0]:
            return None
        counts = [row["counts"][start:stop] for row in self._rows]
        most = max(int(each.max(initial=0)) for each in counts)
        padded = np.zeros((stop - start, len(self._rows), max(most, 1)), np.int64)
        for column, (row, each, ends) in enumerate(zip(self._rows, counts, self._ends, strict=True)):
            if len(each) and ends is not None:
                first, last = ends[start] - each[0], ends[start + len(each) - 1]
                padded[: len(each), column][np.arange(padded.shape[2]) < each[:, None]] = row["pieces"][first:last]
        return padded

    def _vectors(self, start: int, stop: int) -> np.ndarray | None:
        if not self._rows or "vectors" not in self._rows[0]:
            return None
        width = next(len(row["vectors"]) // len(row["words"]) for row in self._rows)
        padded = np.zeros((stop - start, len(self._rows), width), np.float32)
        for column, row in enumerate(self._rows):
            part = row["vectors"][start * width : stop * width].reshape(-1, width)
            padded[: len(part), column] = part
        return padded


class TextEmbedding(nn.Module):
    """x = e_word + mean over its n-grams of e_n-gram (Bojanowski et al. 2017, section 3.2); a word's is a table's row.

    Args:
        words: rows of the table; 0 is for unknown words.
        size: features of x.
        buckets: of n-grams; 0 for none.
        word_dropout: probability that a word is taken for unknown, in training, so that unknown words mean something.

    >>> embedding = TextEmbedding(10, 4, buckets=20)
    >>> window = Window(torch.zeros(7, 2, dtype=torch.int64), torch.ones(7, 2, 3, dtype=torch.int64), None)
    >>> embedding(window).shape
    torch.Size([7, 2, 4])
    """

    def __init__(self, words: int, size: int, buckets: int = 0, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.words, self.word_dropout, self.output_size = nn.Embedding(words, size), word_dropout, size
        nn.init.normal_(self.words.weight, std=size**-0.5)
        self.pieces = nn.Embedding(buckets + 1, size, padding_idx=0) if buckets else None
        if self.pieces is not None:
            nn.init.normal_(self.pieces.weight[1:], std=size**-0.5)

    def forward(self, window: Window | TextInputs) -> Tensor:
        """Features, [time, batch, size], of a window or of whole texts."""
        window = window[:] if isinstance(window, TextInputs) else window
        words = window.words
        if self.training and self.word_dropout:
            kept = torch.rand(words.shape, device=words.device) >= self.word_dropout
            words = words * kept
        found = self.words(words)
        if self.pieces is None or window.pieces is None:
            return found
        flat = window.pieces.flatten(0, 1)
        bag = functional.embedding_bag(flat, self.pieces.weight, mode="mean", padding_idx=0)
        return found + bag.unflatten(0, words.shape)


class FrozenVectors(nn.Module):
    """x: the vectors that a window holds, which are not trained.

    Args:
        size: features of x.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, window: Window | TextInputs) -> Tensor:
        """Features, [time, batch, size], of a window or of whole texts."""
        window = window[:] if isinstance(window, TextInputs) else window
        assert window.vectors is not None  # noqa: S101
        return window.vectors
