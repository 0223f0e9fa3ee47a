"""Records: rows of every format with the line at which each begins, and errors that name it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import data
from ostinato.errors import DataError, SettingsError
from ostinato.records import RecordReader

# no line ends but \n, which the reader makes of the others
field = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=12)


@pytest.fixture
def write(tmp_path):
    def make(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def read(path, **options):
    return [(record.fields, record.line) for record in RecordReader([path], **options).records()]


@given(st.lists(st.lists(field, min_size=2, max_size=2), max_size=6))
@settings(max_examples=50, deadline=None)
def test_csv_comes_back_as_it_was_written(tmp_path_factory, rows):
    rows = [row for row in rows if row != [""]]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    path.write_bytes(text.getvalue().encode())
    assert [list(fields.values()) for fields, _ in read(path)] == rows
    lines = text.getvalue().split("\n")
    for fields, line in read(path):  # where it says that a row begins, one does
        assert next(csv.reader(io.StringIO("\n".join(lines[line - 1 :])))) == list(fields.values())


@given(st.lists(st.dictionaries(field, field | st.integers() | st.none() | st.lists(field), max_size=3), max_size=6))
@settings(max_examples=50, deadline=None)
def test_jsonl_comes_back_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    assert read(path) == [(row, at + 1) for at, row in enumerate(rows)]


def test_csv_with_quotes_line_ends_and_a_mark(write):
    content = '\ufeffname,text\r\n"a ""b""","one\r\ntwo"\r\n\r\nc,"d,e"\r\n'
    assert read(write("rows.csv", content)) == [
        ({"name": 'a "b"', "text": "one\ntwo"}, 2),
        ({"name": "c", "text": "d,e"}, 5),
    ]


def test_tsv_takes_quotes_for_characters(write):
    path = write("rows.tsv", 'a\tb\n"x\ty"\n\nz\t\n')
    assert read(path) == [({"a": '"x', "b": 'y"'}, 2), ({"a": "z", "b": ""}, 4)]
    assert read(path, header=False)[0] == ({"1": "a", "2": "b"}, 1)


def test_lines_of_text_are_records(write):
    path = write("notes.txt", "one\n\ntwo \u2028 three\x0b\nend")
    assert read(path) == [
        ({"text": "one"}, 1),
        ({"text": ""}, 2),
        ({"text": "two \u2028 three\x0b"}, 3),
        ({"text": "end"}, 4),
    ]
    assert read(write("empty.txt", "")) == []


def test_labels_of_fasttext(write):
    path = write("train.txt", "__label__a __label__b-c How much?\n\n__label__a  two  words \nnone here\n")
    assert read(path) == [
        ({"label": ["a", "b-c"], "text": "How much?"}, 1),
        ({"label": ["a"], "text": "two words"}, 3),
        ({"label": [], "text": "none here"}, 4),
    ]
    assert read(path, format="text")[1] == ({"text": ""}, 2)


def test_the_name_decides_the_format(write):
    for name, content in (("a.csv", "x,y\n1,2\n"), ("A.TSV", "x\ty\n1\t2\n"), ("b.jsonl", '{"x": "1", "y": "2"}\n')):
        assert [fields for fields, _ in read(write(name, content))] == [{"x": "1", "y": "2"}]
        assert [fields for fields, _ in read(write(name + ".gz", gzip.compress(content.encode())))] == [
            {"x": "1", "y": "2"}
        ]
    assert read(write("odd.data", "x,y\n1,2\n"), format="csv") == [({"x": "1", "y": "2"}, 2)]


def test_files_one_after_another(write):
    paths = [write("a.csv", "x\n1"), write("b.csv", "x\n2\n")]
    assert [(r.fields["x"], r.path.name, r.line) for r in RecordReader(paths).records()] == [
        ("1", "a.csv", 2),
        ("2", "b.csv", 2),
    ]


def test_texts_of_a_column(write):
    path = write("rows.csv", "id,text,more\n1,a,b\n2,c,d\n")
    assert list(RecordReader([path]).texts()) == ["a", "c"]
    assert list(RecordReader([path]).texts("more")) == ["b", "d"]
    assert list(RecordReader([write("one.jsonl", '{"body": "a"}')]).texts()) == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", r"rows\.csv: empty: expected rows, the first with the columns' names"),
        ("rows.csv", "a,b\n1,2\n3\n", r"rows\.csv: line 3: 1 columns, but there are 2 \(a, b\)"),
        ("rows.csv", 'a,b\n1,"x\ny"\n1,2,3\n', r"line 4: 3 columns, but there are 2"),
        ("rows.csv", 'a,b\n1,2\n3,"never\nclosed\n', "line 3: not CSV: unexpected end of data"),
        ("rows.csv", 'a,b\n1,"x"y\n', "line 2: not CSV: ',' expected after '\"'"),
        ("rows.csv", "a,a\n1,2\n", "line 1: two columns have one name: a, a"),
        ("rows.tsv", "a\tb\nx\n", r"line 2: 1 columns, but there are 2 \(a, b\)"),
        (
            "rows.jsonl",
            '{"a": 1}\n\n{"a": \n',
            r"line 3: not JSON: Expecting value: line 1 column \d+ .* \(expected an object",
        ),
        ("rows.jsonl", "[1]\n", "line 1: expected a JSON object, found list"),
        ("rows.csv", b"a,b\n1,\xff\n", "line 2, byte 6: ff is not utf-8"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(name, content, message, write):
    with pytest.raises(DataError, match=message):
        read(write(name, content))


def test_columns_that_are_not_there(write):
    reader = RecordReader([write("rows.csv", "label,review\n1,good\n")])
    with pytest.raises(
        DataError, match=r"rows\.csv: line 2: no column 'reviews' \(columns: label, review\) \(did you mean review\?"
    ):
        list(reader.texts("reviews"))
    with pytest.raises(DataError, match=r"line 2: in which column is the text\? \(columns: label, review\)"):
        list(reader.texts())
    with pytest.raises(DataError, match=r"line 1: column 'text': expected text, found null"):
        list(RecordReader([write("rows.jsonl", '{"text": null}')]).texts())


def test_settings_that_are_wrong(write):
    path = write("a.txt", "a")
    with pytest.raises(SettingsError, match=r"format = 'cvs': one of auto, .* \(did you mean csv\?\)"):
        RecordReader([path], format="cvs")
    with pytest.raises(SettingsError, match="encoding = 'utf-7-or-so'"):
        RecordReader([path], encoding="utf-7-or-so")


def test_a_large_file_is_streamed(write, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_BYTES", 1 << 13)
    path = write("rows.csv", "text\n" + "a few words that are a row\n" * 40_000)  # 1 MB
    assert sum(1 for _ in RecordReader([path]).texts()) == 40_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in RecordReader([path]).texts():
        pass
    assert tracemalloc.get_traced_memory()[1] - before < 300_000
    tracemalloc.stop()


def test_a_field_longer_than_pythons_csv_takes_by_itself(write):
    assert len(read(write("long.csv", "text\n" + "x" * 200_000 + "\n"))[0][0]["text"]) == 200_000


def test_passages_of_a_corpus_on_a_single_line(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_BYTES", 16)
    text = "the cat sat on the mat " * 40
    (path := tmp_path / "corpus.txt").write_text(text + "\nand the dog\n")
    pieces = list(RecordReader([path]).passages())
    assert len(pieces) > 3 and max(map(len, pieces)) <= 9 * 16
    assert " ".join(pieces).split() == (text + "and the dog").split()
    (table := tmp_path / "table.csv").write_text("text,n\nthe cat,1\n")
    (labels := tmp_path / "labels").write_text("__label__a the dog\n")
    assert list(RecordReader([table, labels]).passages()) == ["the cat", "the dog"]
    with pytest.raises(DataError, match="no column 'words'"):
        list(RecordReader([path]).passages("words"))
