"""Batches of an epoch: whole sequences, such of like lengths side by side, or as many as are drawn of very many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_BATCHES_IN_A_POOL = 64  # sorted by length within a pool, so that every epoch still mixes


class LengthBatches:
    """The batches of one epoch of n sequences, `batch_size` in each but the last.

    Every epoch draws an order from its number and the seed; stretches of 64 batches of it are sorted by length, cut
    into batches, and the batches drawn again. So a batch holds sequences of nearly one length, and each batch of two
    epochs is another.

    Args:
        lengths: of the sequences, int [sequences].
        batch_size: sequences in a batch.
        collate: makes a batch of the indices of its sequences, int64 [batch].
        seed: of the orders; None: always the order of length, for what only measures.

    >>> batches = LengthBatches(np.array([3, 1, 2]), 2, lambda indices: indices.tolist(), seed=None)
    >>> list(batches)
    [[1, 2], [0]]
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, collate: Callable[[np.ndarray], Any], seed: int | None
    ) -> None:
        self._lengths, self._size, self._collate, self._seed = np.asarray(lengths), batch_size, collate, seed
        self._order = np.zeros(0, np.int64)
        self._starts = np.zeros(0, np.int64)
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the batches of an epoch, counted from 0."""
        n, size = len(self._lengths), self._size
        starts = np.arange(0, n, size)
        if self._seed is None:
            self._order, self._starts = np.argsort(self._lengths, kind="stable"), starts
            return
        draw = np.random.default_rng([self._seed, epoch])
        order = draw.permutation(n)
        pool = size * _BATCHES_IN_A_POOL
        for first in range(0, n, pool):
            part = order[first : first + pool]
            order[first : first + pool] = part[np.argsort(self._lengths[part], kind="stable")]
        self._order, self._starts = order, draw.permutation(starts)

    def __len__(self) -> int:
        return math.ceil(len(self._lengths) / self._size)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = self._starts[index]
        return self._collate(self._order[first : first + self._size])


class DrawnBatches:
    """Batches of some of n examples of about one length, drawn anew every epoch from its number and the seed.

    Args:
        examples: n.
        batch_size: examples in a batch.
        collate: makes a batch of the indices of its examples, int64 [batch].
        seed: of the draws; None: all examples, in their order, for what only measures.
        most: examples of an epoch; all if None.

    >>> batches = DrawnBatches(10, 2, lambda indices: indices.tolist(), seed=0, most=4)
    >>> len(batches), len({index for batch in batches for index in batch})
    (2, 4)
    """

    def __init__(
        self, examples: int, batch_size: int, collate: Callable[[np.ndarray], Any], seed: int | None,
        most: int | None = None,
    ) -> None:  # fmt: skip
        self._examples, self._size, self._collate, self._seed = examples, batch_size, collate, seed
        self._drawn = examples if most is None or seed is None else min(most, examples)
        self._order = np.zeros(0, np.int64)
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the batches of an epoch, counted from 0."""
        if self._seed is None:
            self._order = np.arange(self._examples)
        else:
            draw = np.random.default_rng([self._seed, epoch])
            self._order = draw.choice(self._examples, self._drawn, replace=False)

    def __len__(self) -> int:
        return math.ceil(self._drawn / self._size)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._collate(self._order[index * self._size : (index + 1) * self._size])
