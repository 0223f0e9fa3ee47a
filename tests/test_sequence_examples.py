"""Sequences of tables and files: every layout, and what is wrong with a row, by line and column."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.errors import DataError, SettingsError
from ostinato.tasks.sequence_examples import SequenceReader, SequenceSettings

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(name: str, content: str) -> Path:
        (path := tmp_path / name).write_text(content, encoding="utf-8")
        return path

    return made


def read(path: Path, labelled: bool = True, **settings: Any) -> list[Any]:
    return list(SequenceReader([path], SequenceSettings.checked(settings)).sequences(labelled))


def plain(found: list[Any]) -> list[tuple[tuple[str, ...], Any]]:
    return [(each.labels, np.asarray(each.sequence).tolist()) for each in found]


WIDE = [(("fast",), [[1.0], [2.0], [1.5]]), (("slow",), [[1.0], [-1.0]])]


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("wide.csv", "label,t1,t2,t3\r\nfast,1,2,1.5\r\nslow,1,-1,\r\n", {}),
        ("标签.csv", "标签,t1,t2,t3\nfast,1,2,1.5\nslow,1,-1,NaN\n", {"label": "标签"}),
        ("some.csv", "id,label,t1,t2,t3\nx,fast,1,2,1.5\ny,slow,1,-1,\n", {"column": "t1..t3"}),
        ("blanks.tsv", "sequence\tlabel\n1 2 1.5\tfast\n1 -1\tslow\n", {}),
        ("only.csv", "label,wave\nfast,1 2 1.5\nslow,1 -1\n", {}),
        ("lists.jsonl", '{"label": "fast", "sequence": [1, 2, 1.5]}\n{"label": "slow", "sequence": [[1], [-1]]}\n', {}),
        ("cells.csv", 'label,sequence\nfast,"[1, 2, 1.5]"\nslow,"[1, -1]"\n', {}),
        (
            "long.csv",
            "id,time,label,x\na,2,fast,2\na,1,fast,1\na,3,fast,1.5\nb,1,slow,1\nb,2,slow,-1\n",
            {"series": "id", "time": "time"},
        ),
        (
            "days.csv",
            "id,day,label,x\na,2026-01-02,fast,2\na,2026-01-01,fast,1\na,2026-03-01,fast,1.5\nb,1999,slow,1\nb,2000,slow,-1\n",
            {"series": "id", "time": "day"},
        ),
    ],
)  # fmt: skip
def test_layouts_of_one_channel(write: Write, name: str, content: str, settings: dict[str, Any]) -> None:
    assert plain(read(write(name, content), **settings)) == WIDE


def test_the_archives_layout_has_no_header(write: Write) -> None:
    path = write("Beats_TRAIN.tsv", "1\t0.5\t1\t2\n-1\t3\t4\tNaN\n")
    assert plain(read(path)) == [(("1",), [[0.5], [1.0], [2.0]]), (("-1",), [[3.0], [4.0]])]
    unlabelled = read(path, labelled=False, label="1")
    assert [each.sequence.tolist() for each in unlabelled] == [[[0.5], [1.0], [2.0]], [[3.0], [4.0]]]
    named = write("named.csv", "2024,2025\n1,2\n3,4\n")  # years for names: said so
    assert [each.labels for each in read(named, header=True, label="2025")] == [("2",), ("4",)]


def test_several_channels(write: Write) -> None:
    wanted = [(("walk",), [[1.0, 5.0], [2.0, 6.0]])]
    assert plain(read(write("a.csv", "label,x,y\nwalk,1 2,5 6\n"), column="x,y")) == wanted
    assert plain(read(write("b.jsonl", '{"label": "walk", "sequence": [[1, 5], [2, 6]]}'))) == wanted
    assert plain(read(write("c.csv", "who,label,x,y\na,walk,1,5\na,walk,2,6\n"), series="who")) == wanted


def test_items(write: Write) -> None:
    path = write("clicks.csv", "label,id,sequence\nbuys,7,a b\nleaves,8,猫\n")
    assert [each.sequence for each in read(path, input="items")] == ["a b", "猫"]
    assert [each.fields["id"] for each in read(path, labelled=False, input="items")] == ["7", "8"]
    assert [each.sequence for each in read(write("c.jsonl", '{"label": 1, "sequence": [3, 4]}'), input="items")] == [
        ["3", "4"]
    ]
    steps = write("steps.csv", "session,label,item\ns1,buys,a\ns1,buys,b\ns2,leaves,c\n")
    found = read(steps, input="items", series="session")
    assert [(each.sequence, each.labels) for each in found] == [(["a", "b"], ("buys",)), (["c"], ("leaves",))]


def test_files_of_a_table_and_of_folders(tmp_path: Path) -> None:
    for name in ("好/a.wav", "bad/b.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (table := tmp_path / "music.csv").write_text("file,label\n好/a.wav,good\nbad/b.wav,bad\n", encoding="utf-8")
    found = read(table, input="audio")
    assert [(each.sequence, each.labels) for each in found] == [
        (tmp_path / "好/a.wav", ("good",)), (tmp_path / "bad/b.wav", ("bad",))
    ]  # fmt: skip
    assert found[1].where == f"{table}: line 3: {tmp_path / 'bad/b.wav'}" and found[1].fields["file"] == "bad/b.wav"
    files = [tmp_path / "好/a.wav", tmp_path / "bad/b.wav"]
    reader = SequenceReader(files, SequenceSettings.checked({"input": "audio"}))
    assert [each.labels for each in reader.examples()] == [("好",), ("bad",)]
    assert [each.labels for each in reader.sequences(labelled=False)] == [(), ()]
    with pytest.raises(DataError, match="which is its label"):
        list(SequenceReader(files[:1], SequenceSettings.checked({"input": "audio"})).examples())


@pytest.mark.parametrize(
    ("content", "settings", "told"),
    [
        ("label,t1,t2\na,1,2\nb,nan,2\n", {}, r"line 3, column 't1': expected a number, found 'nan'; fill gaps"),
        ("label,t1,t2\na,1,2\nb,1,-inf\n", {}, r"line 3, column 't2': expected a number, found '-inf'"),
        ("label,t1,t2,t3\na,1,,2\n", {}, r"line 2, column 't2': expected a number, found an empty cell"),
        ("label,id,t1\na,x,2\n", {}, r"line 2, column 'id': expected a number, found 'x'"),
        ("label,w\na,1 2 inf\n", {}, r"line 2, column 'w', value 3: expected a number, found 'inf'"),
        ("label,w\na,1 zwei\n", {}, r"line 2, column 'w', value 2: expected a number, found 'zwei'"),
        ("label,x,y\na,1 2,3\n", {"column": "x,y"}, r"column 'y': 1 steps, but column 'x' has 2: channels"),
        ("id,w\na,1 2\n", {}, r"line 2: in which column is the label\? \(columns: id, w\)"),
        ("label,w\n ,1 2\n", {}, r"line 2: there is no label"),
        ("label,wave\na,1\n", {"column": "wav"}, r"no column 'wav' \(columns: label, wave\) \(did you mean wave\?\)"),
        ("id,label,x\na,1,1\nb,1,1\na,1,2\n", {"series": "id"}, r"line 4: sequence 'a' began earlier: sort the rows"),
        ("id,label,x\na,1,1\na,2,1\n", {"series": "id"}, r"line 3: column 'label': '2', but '1' at line 2"),
        ("id,t,label,x\na,1,1,1\na,1,1,1\n", {"series": "id", "time": "t"}, r"line 3, column 't': '1' stood at line 2"),
        ("id,t,label,x\na,soon,1,1\n", {"series": "id", "time": "t"}, r"line 2, column 't': .* found 'soon'"),
        (
            "id,t,label,x\na,2026-01-01T00:00,1,1\na,2026-01-02T00:00+01:00,1,1\n", {"series": "id", "time": "t"},
            r"line 2, column 't': times with a zone and times without one",
        ),
        ("id,label,x\na,1,nan\n", {"series": "id"}, r"line 2, column 'x': expected a number, found 'nan'"),
        ("label,a,b\nx,1,2\n", {"input": "items"}, r"line 2: which column holds the items\?"),
        ("label,file\nx,none.wav\n", {"input": "audio"}, r"line 2, column 'file': no such file: .*none\.wav"),
        ("label,file\nx,\n", {"input": "midi"}, r"line 2, column 'file': no such file"),
        ("", {}, r"empty: expected rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row(write: Write, content: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(write("bad.csv", content), **settings)


def test_lists_of_unequal_channels(write: Write) -> None:
    path = write("bad.jsonl", json.dumps({"label": "a", "sequence": [[1, 2], [3]]}))
    with pytest.raises(DataError, match=r"line 1, column 'sequence', value 2: 1 channels, but the first has 2"):
        read(path)


def test_what_cannot_be_asked(write: Write) -> None:
    path = write("a.csv", "label,file\na,b.wav\n")
    with pytest.raises(SettingsError, match="series: is of rows that are steps"):
        read(path, input="audio", series="file")
    with pytest.raises(SettingsError, match="'t1' stands before 't2'"):
        read(write("b.csv", "label,t1,t2\na,1,2\n"), column="t2..t1")
    with pytest.raises(DataError, match=r"expected a table \(\.csv"):
        read(write("b.txt", "1 2\n"))
