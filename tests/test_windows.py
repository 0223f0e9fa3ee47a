"""Windows over tokens: each token once, rows without a gap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.errors import DataError
from ostinato.training.windows import Windows


def test_windows_give_every_token_once() -> None:
    ids = np.arange(100, 198)
    for batch_size, steps in [(1, 7), (3, 5), (8, 4), (8, 0), (48, 1), (97, 3)]:
        windows = Windows(ids, batch_size, steps)
        counted = []
        for window in (windows[index] for index in range(len(windows))):
            counts = window.targets >= 0
            assert torch.equal(window.inputs[counts] + 1, window.targets[counts])
            counted += window.targets[counts].tolist()
        assert sorted(counted) == list(range(101, 198))
        assert windows.targets == 97
    assert len(Windows(ids, 8, 0)) == 1


def test_rows_are_contiguous_from_window_to_window() -> None:
    windows = Windows(np.arange(41), 4, 3)
    rows = torch.cat([windows[index].inputs for index in range(len(windows))]).t().tolist()
    assert rows == [list(range(10 * row, 10 * row + 10)) for row in range(4)]


def test_too_short_says_how_much_is_needed() -> None:
    with pytest.raises(DataError, match="too short: 5 tokens, but 8 streams side by side need at least 9"):
        Windows(np.zeros(5), 8, 4)
