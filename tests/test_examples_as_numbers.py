"""Examples on disk, and their batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.errors import DataError
from ostinato.table import Table
from ostinato.training.batches import LengthBatches


def test_a_table_holds_what_was_written(tmp_path: Path) -> None:
    rows = [{"ids": [5, 70_000, -1], "score": [0.5]}, {"ids": [], "score": [-2.0]}, {"ids": [7], "score": [1.0]}]
    table = Table.write(tmp_path, "train", iter(rows), {"ids": "<i4", "score": "<f4"})
    for found in (table, Table(tmp_path, "train")):
        assert len(found) == 3
        assert [found.entry("ids", row).tolist() for row in range(3)] == [row["ids"] for row in rows]
        assert [each.tolist() for each in found.entries("score", [2, 0])] == [[1.0], [0.5]]
        assert found.lengths("ids").tolist() == [3, 0, 1]
        assert found.values("ids").tolist() == [5, 70_000, -1, 7]
    empty = Table.write(tmp_path, "none", [], {"ids": "<i4"})
    assert (len(empty), empty.lengths("ids").tolist()) == (0, [])


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    rows = [{"ids": [1, 2]}, {"ids": [3]}]
    Table.write(tmp_path, "train", rows, {"ids": "<i4"})
    whole = (tmp_path / "train.ids").read_bytes()
    for content in (whole[:-4], whole[:-1], b""):
        (tmp_path / "train.ids").write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            Table(tmp_path, "train")
    with pytest.raises(DataError, match=r"other: damaged: .*No such file"):
        Table(tmp_path, "other")


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=400), size=st.integers(1, 9), seed=st.integers(0, 3))
def test_every_epoch_has_every_sequence_once(lengths: list[int], size: int, seed: int) -> None:
    batches = LengthBatches(np.array(lengths), size, lambda indices: indices.tolist(), seed)
    for epoch in (0, 1, 7):
        batches.begin(epoch)
        found = list(batches)
        assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
        assert len(found) == len(batches)
        assert all(len(batch) <= size for batch in found)
        batches.begin(3)
        batches.begin(epoch)
        assert list(batches) == found


def test_batches_are_of_like_lengths_and_change() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 3000)
    batches = LengthBatches(lengths, 16, lambda indices: indices, seed=1)
    first = list(batches)
    padded = sum(len(batch) * lengths[batch].max() for batch in first)
    assert padded / lengths.sum() < 1.05
    batches.begin(1)
    again = {tuple(sorted(batch.tolist())) for batch in batches}
    assert len(again & {tuple(sorted(batch.tolist())) for batch in first}) < 3
    longest = [lengths[batch].max() for batch in first[:20]]
    assert longest != sorted(longest)
    with pytest.raises(IndexError):
        batches[len(batches)]
