"""Histories as a network reads them: side by side to be measured, session-parallel to be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.kernels.cross_entropy import IGNORED
from ostinato.tasks.supervised import FromExamples, Prepared, Row, pad
from ostinato.training.session_parallel import SessionParallel, SessionWindow


class ItemEmbedding(nn.Embedding):
    """A vector for each item; with gaps, one for how long ago the item before was is added.

    Args:
        items: how many.
        features: of a vector.
        gaps: classes of pauses; 0 to read none.
    """

    def __init__(self, items: int, features: int, gaps: int) -> None:
        super().__init__(items, features)
        self.gaps = nn.Embedding(gaps, features) if gaps else None

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Items and pauses, int64 [time, batch] each → [time, batch, feature]."""
        items = super().forward(inputs[0])
        return items if self.gaps is None else items + self.gaps(inputs[1])


class HistoryBatch(NamedTuple):
    """Histories side by side."""

    columns: tuple[Tensor, ...]
    """Items and pauses, int64 [time, batch] each."""
    targets: Tensor
    """The item after each, int64 [time, batch]; −100 where none is to be told."""
    lengths: Tensor
    missed: Tensor
    """Items to be told that training never met, or before which none is known, int64 [batch]."""


def history_batch(rows: Sequence[Row]) -> HistoryBatch:
    """Histories side by side; every item is read, the last one too, which tells the next of all.

    Args:
        rows: with the columns `items`, `gaps`, `first`, from which item on they are to be told, and `missed`.

    >>> batch = history_batch([{"items": [5, 6, 7], "gaps": [0, 1, 1], "first": [2], "missed": [0]}])
    >>> batch.columns[0].flatten().tolist(), batch.targets.flatten().tolist()
    ([5, 6, 7], [-100, 7, -100])
    """
    items, lengths = pad([row["items"] for row in rows])
    gaps, _ = pad([row["gaps"] for row in rows])
    if not len(items):  # nothing of any of them is known
        items, gaps = (torch.zeros(1, len(rows), dtype=torch.int64) for _ in range(2))
    targets = torch.full_like(items, IGNORED)
    targets[:-1] = torch.where(items[1:] > 0, items[1:], IGNORED)
    for column, row in enumerate(rows):
        targets[: int(row["first"][0]) - 1, column] = IGNORED
    missed = torch.tensor([int(row["missed"][0]) for row in rows])
    return HistoryBatch((items, gaps), targets, lengths, missed)


class FromSessions(FromExamples):
    """The objective: the next item, over session-parallel windows through which the state is carried."""

    def __init__(self, model: Any, corpus: Prepared) -> None:
        super().__init__(model, corpus)
        self._model, s, table = model, model.settings, corpus.train
        columns = (table.values("items"), table.values("gaps"))
        ends = np.cumsum(table.lengths("items"))
        self.windows = SessionParallel(columns, ends, s.batch_size, s.bptt_steps, s.seed)

    def initial_state(self) -> Any:
        """Zeros."""
        return self.network.initial_state(self.windows.batch_size)

    def count(self, window: SessionWindow) -> int:
        """Items to tell."""
        return int((window.targets >= 0).sum())

    def loss(self, window: SessionWindow, state: Any) -> tuple[Tensor, Any]:
        """Σ of the loss over a window, and the state after it."""
        s = self._model.settings
        batch = self._model.on_device(window)
        state = state if s.carry_state else self.initial_state()
        with torch.autocast(batch.targets.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            hidden, state = self.network(batch.columns, state, resets=batch.resets)
            return self._model.descended(hidden, batch.targets), state
