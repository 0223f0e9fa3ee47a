"""Event logs: what is read, in which order, what is passed over, and what is told of a bad one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.codecs.items import ItemCodec, ItemSettings
from ostinato.errors import DataError, SettingsError
from ostinato.item_neighbours import ItemNeighbours
from ostinato.tasks.events import EventReader, EventSettings
from ostinato.training.session_parallel import SessionParallel

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "events.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def histories(path: Path, **options: Any) -> list[tuple[str, list[str]]]:
    reader = EventReader([path], EventSettings.checked(options))
    return [(each.user, list(each.items)) for each in reader.examples()]


def test_events_are_ordered_by_time_whatever_the_rows(write: Write) -> None:
    path = write("user,item,ts\r\nann,茶,30\r\nbob,奶,5\r\nann,杯 子,10\r\nbob,茶,1\r\n")
    assert histories(path) == [("ann", ["杯 子", "茶"]), ("bob", ["茶", "奶"])]
    assert histories(path, time="ts", user="user", item="item") == histories(path)
    plain = write("user,item\nann,b\nbob,c\nann,a\n")
    assert histories(plain) == [("ann", ["b", "a"]), ("bob", ["c"])]


def test_all_formats_say_the_same(write: Write, tmp_path: Path) -> None:
    rows = [("ann", "tea", 30), ("bob", "milk", 5), ("ann", "cup", 10)]
    wanted = [("ann", ["cup", "tea"]), ("bob", ["milk"])]
    assert (
        histories(write("session_id\titem_id\ttime\n" + "".join(f"{u}\t{i}\t{t}\n" for u, i, t in rows), "e.tsv"))
        == wanted
    )
    lines = [json.dumps({"user": u, "item": i, "ts": t}) for u, i, t in rows]
    assert histories(write("\n".join(lines), "e.jsonl")) == wanted
    columns = {name: [row[at] for row in rows] for at, name in enumerate(("user", "item", "ts"))}
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    assert histories(tmp_path / "e.parquet") == wanted
    dat = write("".join(f"{u}::{i}::5::{t}\n" for u, i, t in rows), "ratings.dat")
    assert histories(dat, separator="::", user="1", item="2", time="4") == wanted
    assert histories(write("ann cup\nann  tea\n\nbob milk\n", "e.txt"), separator=" ", user="1", item="2") == wanted
    wide = [
        {"user": "ann", "items": ["cup", "tea"], "times": [10, 30]},
        {"user": "bob", "items": ["milk"], "times": [5]},
    ]
    assert histories(write("\n".join(map(json.dumps, wide)), "w.jsonl")) == wanted
    nameless = histories(write('{"items": ["cup", "tea"]}\n', "n.jsonl"))
    assert nameless == [("n.jsonl:1", ["cup", "tea"])]


def test_times_of_any_kind_are_seconds(write: Write) -> None:
    for first, second in (("1700000000", "1700000060"), ("1700000000000", "1700000060000"),
                          ("2023-11-14T22:13:20", "2023-11-14T22:14:20"),
                          ("2023-11-14T22:13:20Z", "2023-11-14T23:14:20+01:00")):  # fmt: skip
        path = write(f"user,item,time\nann,b,{second}\nann,a,{first}\n")
        [history] = EventReader([path], EventSettings.checked({})).examples()
        assert list(history.items) == ["a", "b"]
        assert history.gaps is not None and np.isnan(history.gaps[0]) and history.gaps[1] == pytest.approx(60)


def test_a_long_pause_begins_a_new_history(write: Write) -> None:
    path = write("user,item,time\nann,a,0\nann,b,100\nann,c,2000\nbob,d,2001\n")
    assert [items for _, items in histories(path, session_gap="30m")] == [["a", "b"], ["c"], ["d"]]
    assert [items for _, items in histories(path, session_gap="1h")] == [["a", "b", "c"], ["d"]]
    with pytest.raises(SettingsError, match="session_gap = 'soon': expected a span of time such as 90s"):
        EventSettings.checked({"session_gap": "soon"})
    with pytest.raises(DataError, match="session_gap: the log tells no times"):
        histories(write("user,item\nann,a\n"), session_gap="30m")


def test_duplicates_are_dropped_and_counted(write: Write) -> None:
    path = write("user,item,time\n" + "ann,a,1\nann,b,1\nann,a,1\nann,b,2\nann,b,3\nann,a,4\n")
    told: list[str] = []
    reader = EventReader([path], EventSettings.checked({}), tell=told.append)
    assert [list(each.items) for each in reader.examples()] == [["a", "b", "b", "b", "a"]]
    assert told == ["1 events passed over: the same user, item and time as another"] and reader.skipped.total() == 1
    assert histories(path, duplicates="merge") == [("ann", ["a", "b", "a"])]
    assert histories(path, duplicates="keep") == [("ann", ["a", "b", "a", "b", "b", "a"])]
    without_time = write("user,item\nann,a\nann,a\n", "n.csv")
    assert histories(without_time) == [("ann", ["a", "a"])]  # who knows


def test_rows_without_a_name_are_passed_over_and_counted(write: Write) -> None:
    path = write("user,item\nann,a\n,b\nann,\nann,  \nann,c\n")
    told: list[str] = []
    assert [list(h.items) for h in EventReader([path], EventSettings.checked({}), tell=told.append).examples()] == [
        ["a", "c"]
    ]
    assert told == [
        "1 events passed over: no user (the first at events.csv: line 3)",
        "2 events passed over: no item (the first at events.csv: line 4)",
    ]


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("", {}, "empty: expected rows"),
        ("user,item\n", {}, "holds no events"),
        ("user,item,ts\na,b,1\na,c,yesterday\n", {}, r"line 3: column 'ts': expected a time, .* \"yesterday\""),
        ("user,item,ts\na,b,nan\n", {}, "line 2: column 'ts': expected a time"),
        ("user,item,ts\na,b,\n", {}, "line 2: column 'ts': expected a time"),
        ("user,item,ts\na,b,1\na,c,2024-01-01\n", {}, "line 3: .* a time without a zone, but a number at .*line 2"),
        ("user,item,ts\na,b,2024-01-01T00:00Z\na,c,2024-01-01\n", {}, "without a zone, but a time with a zone at"),
        ("who,what\na,b\n", {}, r"line 2: which column is the item\? give --item COLUMN \(columns: who, what\)"),
        ("who,item\na,b\n", {}, r"line 2: which column is the user\? give --user COLUMN"),
        ("user,item\na,b\n", {"item": "itm"}, r"line 2: no column 'itm' .* \(did you mean item\?\)"),
        ("user,item\na,b\n", {"time": "ts"}, "line 2: no column 'ts'"),
        (b"user,item\na,\xff\n", {}, "line 2, byte 12: ff"),
    ],
)  # fmt: skip
def test_a_bad_log_is_told_with_its_line(
    write: Write, content: str | bytes, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        histories(write(content), **options)


def test_bad_lists_are_told(write: Write) -> None:
    with pytest.raises(DataError, match="line 1: 2 items, but 1 times: expected as many"):
        histories(write('{"user": "a", "items": ["x", "y"], "times": [1]}', "e.jsonl"))
    with pytest.raises(DataError, match=r"line 2: no time, unlike .*line 1"):
        histories(write('{"user": "a", "item": "x", "time": 1}\n{"user": "a", "item": "y"}', "f.jsonl"))
    with pytest.raises(DataError, match=r"which column is the item.*or --separator for plain lines"):
        histories(write("a b\n", "e.txt"))


def test_items_are_numbered_by_count_and_found_again(tmp_path: Path) -> None:
    logs = [["茶", "cup", "茶"], ["茶", "milk"], ["cup", "rare"]]
    codec = ItemCodec.learn(lambda: iter(logs), ItemSettings(min_item_count=1, neighbours=5))
    assert codec.vocabulary.tokens == ("<unk>", "茶", "cup", "milk", "rare") and codec.counts.tolist() == [
        0,
        3,
        2,
        1,
        1,
    ]
    codec.save(tmp_path)
    again = ItemCodec.load(tmp_path)
    assert again.vocabulary.tokens == codec.vocabulary.tokens
    assert all(map(np.array_equal, again.neighbours, codec.neighbours))
    few = ItemCodec.learn(lambda: iter(logs), ItemSettings(min_item_count=2, neighbours=5))
    assert few.known(["rare", "cup", "milk", "茶"]).ids.tolist() == [2, 1]
    with pytest.raises(DataError, match="less than min_item_count = 9 times"):
        ItemCodec.learn(lambda: iter(logs), ItemSettings(min_item_count=9, neighbours=5))


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=9), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_neighbours_are_those_of_the_cosine(logs: list[list[int]]) -> None:
    dense = np.zeros((len(logs), 7))
    for row, items in enumerate(logs):
        dense[row, items] = 1
    norms = np.maximum(np.linalg.norm(dense, axis=0), 1)
    cosine = (dense / norms).T @ (dense / norms)
    np.fill_diagonal(cosine, 0)
    found = ItemNeighbours.learn(logs, 7, most=7)
    np.testing.assert_allclose(found.scores([[0, 3, 3]])[0], cosine[0] + cosine[3], atol=1e-6)
    nearest = ItemNeighbours.learn(logs, 7, most=1)
    np.testing.assert_allclose(nearest.scores([[2]])[0].max(), cosine[2].max(), atol=1e-6)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20).filter(lambda sizes: max(sizes) > 1),
    st.integers(1, 5), st.integers(0, 4), st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_item_but_the_first_is_a_target_once(sizes: list[int], batch: int, steps: int, epoch: int) -> None:
    ends = np.cumsum(sizes)
    values = np.arange(1, ends[-1] + 1)  # so that an item tells its place
    firsts = set((np.concatenate([[0], ends[:-1]]) + 1).tolist())
    windows = SessionParallel((values,), ends, batch, steps, seed=1)
    length = len(windows)
    windows.begin(epoch)
    assert len(windows) == length
    targets, resets = [], 0
    rows: dict[int, tuple[int, int]] = {}
    for window in windows:
        inputs = window.columns[0]
        for t in range(len(inputs)):
            for row in range(inputs.shape[1]):
                read, wanted, reset = int(inputs[t, row]), int(window.targets[t, row]), bool(window.resets[t, row])
                if wanted < 0:
                    continue
                assert wanted == read + 1 and reset == (read in firsts)
                if not reset and row in rows:  # else a row's end has cut the session
                    assert rows[row] == (read - 1, read)
                rows[row] = (read, wanted)
                targets.append(wanted)
                resets += reset
    assert sorted(targets) == [value for value in values.tolist() if value not in firsts]
    assert resets == sum(size > 1 for size in sizes) and windows.targets == len(targets)


def test_histories_of_one_item_alone_give_no_windows() -> None:
    with pytest.raises(DataError, match="no history has two items"):
        SessionParallel((np.array([1, 2]),), np.array([1, 2]), 2, 2, 0)
