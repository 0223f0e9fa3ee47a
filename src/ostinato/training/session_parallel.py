"""Session-parallel batches: in every row one session follows the other, and the state begins anew where one does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.errors import DataError
from ostinato.kernels.cross_entropy import IGNORED


class SessionWindow(NamedTuple):
    """Some steps of all rows."""

    columns: tuple[Tensor, ...]
    """What is read, int64 [time, batch] each."""
    targets: Tensor
    """The item that follows, int64 [time, batch]; −100 where none does."""
    resets: Tensor
    """Where a session begins, bool [time, batch]."""


class SessionParallel:
    """The windows of one epoch, without padding but at the very end (Hidasi et al. 2016, section 3.1.1).

    All sessions, in another order every epoch, are laid end to end and cut into `batch_size` rows, each row into
    windows of `steps`; the state is carried from window to window, and reset where a session begins. So every item but
    a session's first is a target exactly once. The batch_size − 1 sessions that a row's end cuts go on in the next row
    without what went before. Hidasi et al. step once for every event, which is `steps` = 1.

    Args:
        columns: values of all sessions on end, the first column being the items.
        ends: where each session ends in them, int64 [sessions].
        batch_size: rows.
        steps: of a window; 0 for whole rows.
        seed: of the orders.

    Raises:
        DataError: if no session has two items.

    >>> windows = SessionParallel((np.array([5, 6, 7, 8, 9]),), np.array([3, 5]), batch_size=1, steps=4, seed=0)
    >>> [window] = list(windows)
    >>> sorted(window.targets.flatten().tolist()), window.resets.sum().item()
    ([6, 7, 9], 2)
    """

    def __init__(
        self, columns: tuple[np.ndarray, ...], ends: np.ndarray, batch_size: int, steps: int, seed: int
    ) -> None:
        starts = np.concatenate([[0], ends[:-1]])
        steps_of = ends - starts - 1  # each item but the last is read, to tell the next
        kept = np.flatnonzero(steps_of > 0)
        self._columns, self._seed = columns, seed
        self._starts, self._steps_of = starts[kept], steps_of[kept]
        self.targets = int(self._steps_of.sum())
        if not self.targets:
            raise DataError("no history has two items that are known; give longer ones, or a smaller --min-item-count")
        self.batch_size = min(batch_size, self.targets)
        self.row_length = math.ceil(self.targets / self.batch_size)
        self.steps = min(steps or self.row_length, self.row_length)
        self._ordered = self._starts
        self._ends = np.cumsum(self._steps_of)
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._starts))
        self._ordered = self._starts[order]
        self._ends = np.cumsum(self._steps_of[order])

    def __len__(self) -> int:
        return math.ceil(self.row_length / self.steps)

    def __iter__(self) -> Iterator[SessionWindow]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> SessionWindow:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = index * self.steps
        steps = min(self.steps, self.row_length - first)
        # places in the stream of all steps, [time, batch], and the session that each is in
        places = np.arange(first, first + steps)[:, None] + self.row_length * np.arange(self.batch_size)
        real = places < self.targets
        places = np.where(real, places, 0)
        session = np.searchsorted(self._ends, places, side="right")
        begin = np.where(session > 0, self._ends[session - 1], 0)
        at = self._ordered[session] + places - begin
        columns = tuple(torch.from_numpy(column[at].astype(np.int64)) for column in self._columns)
        targets = np.where(real, self._columns[0][at + 1], IGNORED).astype(np.int64)
        return SessionWindow(columns, torch.from_numpy(targets), torch.from_numpy((places == begin) & real))
