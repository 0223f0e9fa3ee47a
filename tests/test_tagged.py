"""Files of tagged sentences: each format read and written, and every way in which one can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ostinato.errors import DataError, SettingsError
from ostinato.tagged import Sentence, TaggedReader, row, written

CONLLU = """# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tyendo\tir\tVERB\t_\t_\t_\t_\t1:dep\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No

1\t我\t_\tPRON\t_\t_\t2\tnsubj\t_\t_
2\t走\t_\tVERB\t_\t_\t0\troot\t_\t_
"""


def read(path: Path, **options: object) -> list[Sentence]:
    return list(TaggedReader([path], **options).examples())  # type: ignore[arg-type]


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_conllu(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("x.conllu.gz" if packed else "x.conllu")
    path.write_bytes(gzip.compress(CONLLU.encode()) if packed else CONLLU.replace("\n", "\r\n").encode())
    first, second = read(path, inputs=["deprel"])
    assert first.tokens == ("vamos", "nos", "a", "el", "mar")  # words, not ranges and empty nodes
    assert first.tags == ("VERB", "PRON", "ADP", "DET", "NOUN") and first.inputs[0][-1] == "obl"
    assert second.tokens == ("我", "走") and second.where == f"{path}: line 12"
    assert read(path, column="FEATS")[0].tags == ("Mood=Imp", "_", "_", "_", "_")
    found = "\n".join(written(each, ["X"] * len(each.tokens), None) for each in read(path, tagged=False))
    wanted = [line.split("\t") for line in CONLLU.splitlines()]
    for fields in wanted:
        if fields[0].isdecimal():
            fields[3] = "X"
    assert found == "".join("\t".join(fields) + "\n" for fields in wanted)  # all else as it was
    assert written(second, ["A", "B"], "greeting").startswith("# label = greeting\n1\t我\t_\tA\t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ta\tb\n", "line 1: 3 columns between tabs, but CoNLL-U has 10 "),
        ("1 a _ X _ _ _ _ _ _\n", "line 1: 1 columns between tabs"),
        ("# c\n2\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", "line 2: column id: expected 1, found 2"),
        ("1\ta\t_\t\t_\t_\t_\t_\t_\t_\n", "line 1: column upos: is empty"),
        ("x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", "line 1: column id: expected 1, a range such as 1-2, .* found 'x'"),
        ("2-1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", "line 1: column id: expected 1, a range"),
        ("3.1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", "line 1: column id: expected 1, a range"),
    ],
)
def test_conllu_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"x.conllu: {message}"):
        read(put(tmp_path / "x.conllu", text))
    with pytest.raises(SettingsError, match=r"column 'upo': CoNLL-U has .* \(did you mean upos\?\)"):
        read(put(tmp_path / "x.conllu", CONLLU), column="upo")


def test_columns(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O\r\n\r\nU.N. NNP B-ORG\r\nofficial NN O\r\n\r\n\r\n# SYM O\r\n"
    path = put(tmp_path / "x.txt", text)
    found = read(path)
    assert [each.tokens for each in found] == [("U.N.", "official"), ("#",)]  # no comment: a token
    assert found[0].tags == ("B-ORG", "O") and found[0].where == f"{path}: line 3" and found[1].where.endswith("line 7")
    assert [each.tags for each in read(path, column="2", inputs=["3"])] == [("NNP", "NN"), ("SYM",)]
    second = read(path, token_column="2")  # noqa: S106 - no password
    assert second[0].tokens == ("NNP", "NN")
    plain = read(path, tagged=False)
    assert [each.tokens for each in plain] == [
        (),
        ("U.N.", "official"),
        ("#",),
    ]  # the document's line is passed through
    assert written(plain[0], [], None) == "-DOCSTART- -X- O O\n"
    assert written(plain[1], ["B-ORG", "I-ORG"], None) == "U.N. NNP B-ORG B-ORG\nofficial NN O I-ORG\n"
    tabs = put(tmp_path / "y.tsv", "new york\tB-LOC\nis\tO\n")
    assert read(tabs)[0].tokens == ("new york", "is") and written(read(tabs)[0], ["A", "B"], None).endswith(
        "is\tO\tB\n"
    )
    assert read(put(tmp_path / "empty.txt", "")) == [] and read(put(tmp_path / "blank.txt", "\n\r\n \n")) == []


def test_columns_that_are_none(tmp_path: Path) -> None:
    ragged = put(tmp_path / "x.txt", "a DT O\n\nb NN\n")
    with pytest.raises(DataError, match=r"x.txt: line 3: 2 columns, but there are 3 in line 1"):
        read(ragged)
    with pytest.raises(DataError, match=r"line 1: no column 4: there are 3"):
        read(ragged, column="4")
    with pytest.raises(SettingsError, match="column 'upos': columns without names go by their numbers"):
        read(ragged, column="upos")
    with pytest.raises(DataError, match="line 1: 1 column, and the tag would be the token itself"):
        read(put(tmp_path / "y.txt", "word\n"))
    with pytest.raises(SettingsError, match=r"format = 'conlu': one of .* \(did you mean conllu\?\)"):
        read(ragged, format="conlu")
    with pytest.raises(DataError, match="plain text has no tags"):
        read(ragged, format="text")


def test_json_lines(tmp_path: Path) -> None:
    objects = [
        {"id": 7, "tokens": ["to", "Oslo"], "tags": ["O", "B-city"], "label": "flight"},
        {"tokens": ["嗨"], "tags": ["O"], "label": "greet"},
    ]
    path = put(tmp_path / "x.jsonl", "\r\n".join(json.dumps(each) for each in objects))
    found = read(path)
    assert [(each.tokens, each.tags, each.label) for each in found] == [
        (("to", "Oslo"), ("O", "B-city"), "flight"), (("嗨",), ("O",), "greet")
    ]  # fmt: skip
    assert json.loads(written(found[0], ["B-x", "O"], "y")) == objects[0] | {"tags": ["B-x", "O"], "label": "y"}
    texts = put(tmp_path / "t.jsonl", '{"text": "a b", "n": 1}\n')
    plain = read(texts, tagged=False)
    assert row(plain[0], ["X", "Y"], None) == {"text": "a b", "n": 1, "tokens": ["a", "b"], "tags": ["X", "Y"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"tokens": ["a", "b"], "tags": ["O"]}', "line 1: 2 tokens, but 1 tags"),
        ('{"tokens": ["a"]}', r"line 1: no column 'tags' \(columns: tokens\)"),
        ('{"tokens": "a", "tags": ["O"]}', 'line 1: tokens: expected a list of texts, none of them empty, found "a"'),
        ('{"tokens": ["a", ""], "tags": ["O", "O"]}', "tokens: expected a list of texts"),
        ('{"tokens": ["a"], "tags": [null]}', "tags: expected a list of texts"),
        ('{"tokens": ["a"], "tags": ["O"], "label": 3}', "line 1: label: expected text, found 3"),
        ('{"tokens": ["a"', "line 1: not JSON"),
        ('{"tokens": ["a"], "tags": ["O"], "tags": ["B-x"]}', "line 1: two columns have one name: tags"),
    ],
)
def test_json_lines_that_are_none(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(put(tmp_path / "x.jsonl", line))


def make_atis(folder: Path, words: str, tags: str | None, labels: str | None) -> Path:
    folder.mkdir()
    for name, text in (("seq.in", words), ("seq.out", tags), ("label", labels)):
        if text is not None:
            put(folder / name, text)
    return folder


def test_atis(tmp_path: Path) -> None:
    folder = make_atis(tmp_path / "a", "to oslo \nhi\n", "O B-city\nO\n", "flight\ngreet\n")
    files = sorted(folder.iterdir())
    found = list(TaggedReader(files).examples())
    assert [(each.tokens, each.tags, each.label) for each in found] == [
        (("to", "oslo"), ("O", "B-city"), "flight"), (("hi",), ("O",), "greet")
    ]  # fmt: skip
    assert written(found[0], ["O", "O"], "x") == "x\tO O" and written(found[0], ["O", "O"], None) == "O O"
    alone = make_atis(tmp_path / "b", "to oslo\n", None, None)
    assert next(TaggedReader([alone / "seq.in"], tagged=False).examples()).tags is None
    with pytest.raises(DataError, match=r"seq.in: no seq.out with its tags beside it"):
        list(TaggedReader([alone / "seq.in"]).examples())
    assert next(TaggedReader([make_atis(tmp_path / "c", "a\n", "O\n", None) / "seq.in"]).examples()).label is None


def test_atis_that_is_none(tmp_path: Path) -> None:
    short = make_atis(tmp_path / "a", "a b\nc\n", "O O\nO\n", "x\n")
    with pytest.raises(DataError, match=r"seq.in: line 2: label has no such line"):
        read(short / "seq.in")
    wrong = make_atis(tmp_path / "b", "a b\n", "O\n", "x\n")
    with pytest.raises(DataError, match=r"seq.out: line 1: 1 tags, but 2 tokens in seq.in"):
        read(wrong / "seq.in")
    with pytest.raises(SettingsError, match="the files of ATIS have no further columns"):
        read(wrong / "seq.in", inputs=["2"])


def test_text_is_split_by_what_is_given(tmp_path: Path) -> None:
    path = put(tmp_path / "x", "a b\n\nc")
    found = read(path, format="text", tagged=False, split=str.split)
    assert [each.tokens for each in found] == [("a", "b"), (), ("c",)]  # an empty line stays one
    assert [written(each, ["T"] * len(each.tokens), None) for each in found] == ["a\tT\nb\tT\n", "", "c\tT\n"]
