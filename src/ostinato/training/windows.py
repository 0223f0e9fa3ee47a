"""Windows over a stream of tokens: every row of a batch is a contiguous stretch of the corpus."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.errors import DataError
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.tokens import TokenFile

_RELEASED_EVERY = 256  # windows; the pages of a memory-mapped corpus that were read are let go


class Window(NamedTuple):
    """Inputs and the tokens that follow them, both int64 [time, batch]; a target of −100 does not count."""

    inputs: Tensor
    targets: Tensor


class Windows:
    """The windows of one epoch. Each of n tokens but the first is a target exactly once.

    The stream is cut into `batch_size` rows of ⌈(n − 1) / batch_size⌉ tokens and each row into windows of `steps`, so
    that a row's state can be carried from one window to the next; the last row's end is padded with targets of −100.

    Args:
        tokens: the file, or ids [tokens].
        batch_size: rows.
        steps: tokens of a row in a window; 0 for the whole row.
        start, end: the part of the stream.

    Raises:
        DataError: if there is not a target for every row.

    >>> windows = Windows(np.arange(8), batch_size=2, steps=3)
    >>> [window.inputs.t().tolist() for window in windows]
    [[[0, 1, 2], [4, 5, 6]], [[3], [0]]]
    >>> [window.targets.t().tolist() for window in windows]
    [[[1, 2, 3], [5, 6, 7]], [[4], [-100]]]
    """

    def __init__(
        self, tokens: TokenFile | np.ndarray, batch_size: int, steps: int, start: int = 0, end: int | None = None
    ) -> None:
        self._file = tokens if isinstance(tokens, TokenFile) else None
        ids = tokens.ids if isinstance(tokens, TokenFile) else tokens
        self._ids = ids[start:end]
        needed = batch_size + 1
        if len(self._ids) < needed:
            advice = "give more text or a smaller --batch-size" if batch_size > 1 else "give more text"
            found = (
                f"too short: {len(self._ids):,} tokens, but {batch_size} streams side by side need at least {needed:,}"
            )
            raise DataError(f"{found}; {advice}")
        self.batch_size = batch_size
        self.row_length = math.ceil((len(self._ids) - 1) / batch_size)
        self.steps = min(steps or self.row_length, self.row_length)
        self._served = 0

    def __len__(self) -> int:
        return math.ceil(self.row_length / self.steps)

    @property
    def targets(self) -> int:
        """Tokens that count in an epoch."""
        return len(self._ids) - 1

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = index * self.steps
        length = min(self.steps, self.row_length - first)
        inputs = np.zeros((self.batch_size, length), np.int64)
        targets = np.full((self.batch_size, length), IGNORED, np.int64)
        for row in range(self.batch_size):
            at = row * self.row_length + first
            ids = self._ids[at : at + length + 1]
            if len(ids) > 1:
                inputs[row, : len(ids) - 1] = ids[:-1]
                targets[row, : len(ids) - 1] = ids[1:]
        self._served += 1
        if self._file is not None and self._served % _RELEASED_EVERY == 0:
            self._file.release()
        return Window(torch.from_numpy(inputs.T.copy()), torch.from_numpy(targets.T.copy()))
