"""Counting n-grams: a stream of ids, in blocks, to a table of the different ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """Different n-grams and a number of each."""

    grams: np.ndarray
    """Ids [n, different], the oldest token first; sorted by the newest token, then by those before it."""
    counts: np.ndarray
    """int64 [different]."""


class NGramCounts:
    r"""How often each n-gram of one order occurs, at a memory that grows with the different ones, not with the text.

    Every token of the text is counted once, with the order − 1 tokens before it. Where fewer stand before it, since
    the text begins or, with `line_end`, its line, the n-gram is filled up with `pad` at the front. The first context of
    a line is the line end before it, which does the work of the mark <s>, as that of </s> where it is predicted.

    Args:
        order: tokens of an n-gram.
        vocabulary_size: ids run from 0 to one less; `pad` is the first number that is no id.
        line_end: an id at which contexts end; None: they reach over all of the text.
        before: what stands before the text, or, if this is a part of a text, the last tokens of the part before.

    >>> counts = NGramCounts(order=2, vocabulary_size=3, before=[2])
    >>> counts.add(np.array([0, 1, 0]))
    >>> counts.add(np.array([1, 2]))
    >>> grams, numbers = counts.table
    >>> list(zip(grams.T.tolist(), numbers.tolist()))
    [([1, 0], 1), ([2, 0], 1), ([0, 1], 2), ([1, 2], 1)]
    """

    def __init__(
        self,
        order: int,
        vocabulary_size: int,
        line_end: int | None = None,
        before: np.ndarray | list[int] | None = None,
    ) -> None:
        self.order, self.vocabulary_size, self.line_end = order, vocabulary_size, line_end
        self.pad = vocabulary_size
        # ids of two bytes are sorted four times as fast as wider ones: NumPy has a radix sort for them
        self._dtype = np.dtype(np.uint16 if vocabulary_size < 1 << 16 else np.uint32)
        known = np.asarray([] if before is None else before, self._dtype)
        self._before = np.concatenate([np.full(order, self.pad, self._dtype), known])[len(known) + 1 :]
        self._tables: list[Table] = []

    def add(self, ids: np.ndarray) -> None:
        """Count the n-grams that end in `ids`, [tokens], which go on from those of the last call."""
        text = np.concatenate([self._before, ids.astype(self._dtype, copy=False)])
        self._before = text[len(ids) :]
        grams = np.stack([text[n : n + len(ids)] for n in range(self.order)])
        if self.line_end is not None:
            beyond = np.zeros(len(ids), bool)
            for older in grams[-2::-1]:  # from the newest token of the context to the oldest
                older[beyond] = self.pad
                beyond |= older == self.line_end
        self._add(_collapsed(Table(grams, np.ones(len(ids), np.int64))))

    def merge(self, other: NGramCounts) -> None:
        """Add the counts of another text, or of another part of the same (see `before`): they are those of one pass.

        Raises:
            ValueError: if the two do not count the same things.
        """
        for name in ("order", "vocabulary_size", "line_end"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"{name} = {getattr(other, name)}: counts of {name} {getattr(self, name)} stand here")
        self._add(other.table)

    @property
    def table(self) -> Table:
        """All that was counted."""
        while len(self._tables) > 1:
            self._join()
        empty = Table(np.empty((self.order, 0), self._dtype), np.empty(0, np.int64))
        return self._tables[0] if self._tables else empty

    def levels(self) -> list[Table]:
        """What modified Kneser-Ney smoothing counts of the n-grams of 1, 2, …, `order` tokens.

        Of the longest n-grams it is how often they occur. Of others it is N1+(• g), how many different tokens stand
        before g (Chen & Goodman 1999, section 2.7); where g begins a text or a line there is no token before it, and
        each such beginning counts as different from all else.
        """
        table, found = self.table, []
        for _ in range(self.order):
            whole = table.grams[0] != self.pad  # the others are shorter, and wait for their level
            found.append(Table(table.grams[:, whole], table.counts[whole]))
            # without the oldest token they are sorted still
            grams = table.grams[1:]
            starts = runs(grams)
            different = np.where(whole, 1, table.counts)
            table = Table(grams[:, starts], np.add.reduceat(different, starts) if len(starts) else table.counts)
        return found[::-1]

    def _add(self, table: Table) -> None:
        self._tables.append(table)
        # tables at least double in size from one to the next, so that each row is sorted only some times
        while len(self._tables) > 1 and len(self._tables[-2].counts) < 2 * len(self._tables[-1].counts):
            self._join()

    def _join(self) -> None:
        newer, older = self._tables.pop(), self._tables.pop()
        both = Table(np.concatenate([older.grams, newer.grams], 1), np.concatenate([older.counts, newer.counts]))
        self._tables.append(_collapsed(both))


def runs(grams: np.ndarray) -> np.ndarray:
    """Where a column of `grams`, [n, columns], is not the one before it.

    >>> runs(np.array([[1, 1, 2], [5, 5, 5]]))
    array([0, 2])
    """
    changed = np.ones(grams.shape[1], bool)
    changed[1:] = (grams[:, 1:] != grams[:, :-1]).any(axis=0)
    return np.flatnonzero(changed)


def _collapsed(table: Table) -> Table:
    """Sorted, and equal n-grams added up."""
    order = np.lexsort(table.grams)
    grams = table.grams[:, order]
    starts = runs(grams)
    counts = np.add.reduceat(table.counts[order], starts) if len(starts) else table.counts
    return Table(grams[:, starts], counts)
