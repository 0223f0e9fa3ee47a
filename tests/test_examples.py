"""Labelled files of every kind, and what is wrong in them."""

from __future__ import annotations

import pytest

from ostinato.errors import DataError
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.txt", "__label__x __label__y one two\n\n__label__x three\n", {}),
        ("a.csv", "label,text\nx|y,one two\nx,three\n", {"label_separator": "|"}),
        ("a.csv", 'id,labels,text\n1,"x, y",one two\n2,x,three\n', {"label_separator": ","}),
        ("a.tsv", "x y\tone two\nx\tthree\n", {"header": False, "label": "1", "label_separator": " "}),
        ("a.jsonl", '{"labels": ["x", "y", "x"], "text": "one two"}\n{"labels": "x", "text": "three"}\n', {}),
        (
            "a.jsonl",
            '{"kind": ["x", "y"], "body": "one two"}\n{"kind": ["x"], "body": "three"}',
            {"label": "kind"},
        ),
        (
            "a.data",
            "kind,label,body\na,x;y,one two\nb,x;,three\n",
            {"format": "csv", "text": "body", "label_separator": ";"},
        ),
    ],
)
def test_labelled_files_of_every_kind(name, content, options, tmp_path):
    (tmp_path / name).write_text(content)
    reader = ExampleReader([tmp_path / name], ExampleSettings(**options))
    assert list(reader.examples()) == [Example("one two", ("x", "y")), Example("three", ("x",))]
    assert list(reader.texts()) == ["one two", "three"]


def test_labels_may_be_numbers(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"label": 1, "text": "a"}\n{"label": [2.5, true], "text": "b"}\n')
    found = ExampleReader([tmp_path / "a.jsonl"], ExampleSettings()).examples()
    assert [example.labels for example in found] == [("1",), ("2.5", "true")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "__label__x one\nno label\n", r"a\.txt: line 2: there is no label"),
        (
            "a.txt",
            "plain text\n",
            r"line 1: in which column is the label\? \(columns: text; or a text begins with __label__",
        ),
        ("a.csv", "label,text\nx,one\n ,two\n", "line 3: there is no label"),
        ("a.csv", "kind,text\nx,one\n", r"line 2: in which column is the label\? \(columns: kind, text;"),
        (
            "a.csv",
            "label,title,body\nx,one,two\n",
            r"line 2: in which column is the text\? \(columns: label, title, body\)",
        ),
        ("a.jsonl", '{"label": null, "text": "a"}\n', "line 1: expected a label, found null"),
        ("a.jsonl", '{"label": [["a"]], "text": "a"}\n', r'line 1: expected a label, found \["a"\]'),
        ("a.jsonl", '{"label": "x", "text": 5}\n', "line 1: column 'text': expected text, found 5"),
    ],
)
def test_what_is_wrong_in_a_labelled_file_is_told(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        list(ExampleReader([tmp_path / name], ExampleSettings()).examples())
