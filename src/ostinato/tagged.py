"""Tagged sentences: CoNLL-U, columns, JSON lines and the ATIS layout to sentences, and back with other tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ostinato.data import TextReader, fingerprint
from ostinato.errors import DataError, SettingsError, nearest
from ostinato.records import Record, RecordReader, numbered_lines

TaggedFormat = Literal["auto", "conllu", "columns", "jsonl", "atis", "text"]
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_SUFFIXES = {".conllu": "conllu", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_ATIS = ("seq.in", "seq.out", "label")
_ID = re.compile(r"[1-9][0-9]*")
_RANGE, _EMPTY = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)"), re.compile(r"[0-9]+\.[1-9][0-9]*")
_DOCUMENT = "-DOCSTART-"


class Sentence(NamedTuple):
    """Tokens, and what is known of them."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    """One a token."""
    label: str | None = None
    """Of the whole sentence, such as an intent."""
    inputs: tuple[tuple[str, ...], ...] = ()
    """Further columns that are known beforehand, a value a token each."""
    source: Source | None = None

    @property
    def where(self) -> str:
        """File and line, as an error begins."""
        return f"{self.source.path}: line {self.source.line}" if self.source else "sentence"

    def place(self, token: int) -> str:
        """The same of a token."""
        if self.source is None or not self.source.words:
            return self.where
        return f"{self.source.path}: line {self.source.line + self.source.words[token]}"


class Source(NamedTuple):
    """Where a sentence stands, and what else stands there."""

    format: str
    path: Path
    line: int
    lines: tuple[str, ...] = ()
    """As they are in the file."""
    words: tuple[int, ...] = ()
    """Which of them hold a token."""
    column: int = 0
    """CoNLL-U: where the tag stands. Columns: how many there are."""
    fields: dict[str, Any] | None = None
    """JSON: the object."""


@dataclass(frozen=True)
class TaggedReader:
    r"""Tagged sentences from files, as a stream.

    | format | of | a sentence is |
    |---|---|---|
    | `conllu` | .conllu | lines of ten columns up to an empty one; ranges (1-2) and empty nodes (1.1) are no tokens |
    | `jsonl` | .jsonl, .ndjson, .json | an object with the keys `tokens`, `tags` and, if there is one, `label` |
    | `atis` | seq.in | a line of it, with that of `seq.out` and of `label` in the same folder |
    | `columns` | all else | lines of columns between blanks or tabs up to an empty one; -DOCSTART- is no sentence |
    | `text` | only by name | a line: its tokens are found by `split`; no tags |

    A `.gz` at the end of a name does not count.

    Args:
        files: what to read, in this order.
        format: one of those, for all files; auto: by name.
        column: of the tag: a name of CoNLL-U, a number from 1 of columns, a key of JSON [upos; the last; tags].
        token_column: of the token, likewise [form; 1; tokens].
        label_column: key of a label for the sentence [label].
        inputs: further columns to give, likewise.
        encoding: of the files, by Python's name.
        errors: as of `TextReader`.
        tagged: whether tags must be there; if not, they are not looked for.
        split: the tokens of a text.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "chunks.txt"
    >>> _ = path.write_text("The DT B-NP\ncat NN I-NP\n\nIt PRP B-NP\n")
    >>> [(each.tokens, each.tags) for each in TaggedReader([path]).examples()]
    [(('The', 'cat'), ('B-NP', 'I-NP')), (('It',), ('B-NP',))]
    """

    files: Sequence[Path]
    format: str = "auto"
    column: str | None = None
    token_column: str | None = None
    label_column: str | None = None
    inputs: Sequence[str] = ()
    encoding: str = "utf-8"
    errors: str = "strict"
    tagged: bool = True
    split: Any = str.split

    def __post_init__(self) -> None:
        if self.format not in (known := get_args(TaggedFormat)):
            raise SettingsError(f"format = {self.format!r}: one of {', '.join(known)}{nearest(self.format, known)}")
        TextReader(self.files, self.encoding, self.errors)  # which checks the other two

    def format_of(self, path: Path) -> str:
        """The format that a file is read in."""
        if self.format != "auto":
            return self.format
        names = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
        if path.name == _ATIS[0]:
            return "atis"
        return _SUFFIXES.get(names[-1] if names else "", "columns")

    def examples(self) -> Iterator[Sentence]:
        """Sentences in order.

        Raises:
            DataError: with file and line, if a file cannot be read or is not what its format says.
        """
        for path in self.files:
            kind = self.format_of(path)
            if path.name in _ATIS[1:] and path.with_name(_ATIS[0]) in self.files:
                continue  # read with the words
            yield from _READERS[kind](self, path)

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it."""
        return asdict(fingerprint(TextReader(self.files, self.encoding, self.errors)))

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Numbered lines."""
        return numbered_lines(path, self.encoding, self.errors)

    def blocks(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Lines up to an empty one, with the number of the first."""
        held: list[str] = []
        number = 0
        for number, line in self.lines(path):
            if line.strip():
                held.append(line)
            elif held:
                yield number - len(held), held
                held = []
        if held:
            yield number + 1 - len(held), held


def _conllu(reader: TaggedReader, path: Path) -> Iterator[Sentence]:
    at_token, at_tag = _name(reader.token_column or "form"), _name(reader.column or "upos")
    at_inputs = [_name(name) for name in reader.inputs]
    for first, block in reader.blocks(path):
        rows, places = [], []
        for place, line in enumerate(block):
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            where = f"{path}: line {first + place}"
            if len(fields) != len(CONLLU):
                found = f"{len(fields)} columns between tabs"
                raise DataError(f"{where}: {found}, but CoNLL-U has {len(CONLLU)} ({', '.join(CONLLU)})")
            if _is_word(fields[0], len(rows), where):
                if empty := next((name for name, field in zip(CONLLU, fields, strict=True) if not field), None):
                    raise DataError(f"{where}: column {empty}: is empty; what is not known is _ in CoNLL-U")
                rows.append(fields)
                places.append(place)
        source = Source("conllu", path, first, tuple(block), tuple(places), at_tag)
        yield _sentence(rows, at_token, at_tag if reader.tagged else None, at_inputs, source)


def _is_word(number: str, before: int, where: str) -> bool:
    """Whether an ID of CoNLL-U is a word's; one of a range or an empty node is not.

    Raises:
        DataError: if it is none, or not that of the next word.
    """
    if _ID.fullmatch(number):
        if int(number) != before + 1:
            raise DataError(f"{where}: column id: expected {before + 1}, found {number}")
        return True
    pair = _RANGE.fullmatch(number)
    if pair and int(pair[1]) == before + 1 and int(pair[2]) >= int(pair[1]):
        return False
    if _EMPTY.fullmatch(number) and int(number.split(".")[0]) == before:
        return False
    expected = f"{before + 1}, a range such as {before + 1}-{before + 2}, or an empty node such as {before}.1"
    raise DataError(f"{where}: column id: expected {expected}, found {number!r}")


def _name(column: str) -> int:
    """The place of a column of CoNLL-U.

    Raises:
        SettingsError: if it has none of that name.
    """
    if column.lower() not in CONLLU:
        raise SettingsError(f"column {column!r}: CoNLL-U has {', '.join(CONLLU)}{nearest(column.lower(), CONLLU)}")
    return CONLLU.index(column.lower())


def _columns(reader: TaggedReader, path: Path) -> Iterator[Sentence]:
    width, begun = 0, 0
    at_token, at_tag, at_inputs = 0, None, []
    for first, block in reader.blocks(path):
        rows = []
        for place, line in enumerate(block):
            fields = _fields(line)
            if not width:
                width, begun = len(fields), first + place
                where = f"{path}: line {begun}"
                at_token = _number(reader.token_column or "1", width, where)
                at_inputs = [_number(name, width, where) for name in reader.inputs]
                if reader.tagged:
                    at_tag = _number(reader.column or str(width), width, where)
                    if at_tag == at_token:
                        what = f"{width} column{'s' * (width > 1)}, and the tag would be the token itself"
                        raise DataError(f"{where}: {what}; expected lines such as: cat NN B-NP")
            if len(fields) != width:
                found = f"{len(fields)} column{'s' * (len(fields) != 1)}"
                raise DataError(f"{path}: line {first + place}: {found}, but there are {width} in line {begun}")
            rows.append(fields)
        source = Source("columns", path, first, tuple(block), tuple(range(len(block))), width)
        if rows[0][0] == _DOCUMENT:
            source, rows = source._replace(words=()), []
            if reader.tagged:
                continue
        yield _sentence(rows, at_token, at_tag, at_inputs, source)


def _fields(line: str) -> list[str]:
    return line.rstrip().split("\t") if "\t" in line else line.split()


def _number(column: str, width: int, where: str) -> int:
    """The place of a column that is named by its number.

    Raises:
        SettingsError: if it is none.
        DataError: if there are not so many.
    """
    if not column.isdecimal() or column == "0":
        raise SettingsError(f"column {column!r}: columns without names go by their numbers, from 1")
    if int(column) > width:
        raise DataError(f"{where}: no column {column}: there are {width}")
    return int(column) - 1


def _sentence(
    rows: list[list[str]], token: int, tag: int | None, inputs: Sequence[int], source: Source
) -> Sentence:  # fmt: skip
    tags = None if tag is None else tuple(row[tag] for row in rows)
    further = tuple(tuple(row[at] for row in rows) for at in inputs)
    return Sentence(tuple(row[token] for row in rows), tags, None, further, source)


def _jsonl(reader: TaggedReader, path: Path) -> Iterator[Sentence]:
    at_token, at_tag, at_label = (
        reader.token_column or "tokens",
        reader.column or "tags",
        reader.label_column or "label",
    )
    for record in RecordReader([path], "jsonl", reader.encoding, reader.errors).records():
        if not reader.tagged and at_token not in record.fields and isinstance(record.fields.get("text"), str):
            tokens = tuple(reader.split(record.fields["text"]))
        else:
            tokens = _strings(record, at_token)
        columns = [at_tag, *reader.inputs] if reader.tagged else list(reader.inputs)
        values = [_strings(record, name) for name in columns]
        for name, found in zip(columns, values, strict=True):
            if len(found) != len(tokens):
                raise DataError(f"{record.where}: {len(tokens)} {at_token}, but {len(found)} {name}")
        label = record.fields.get(at_label)
        if reader.tagged and (label is not None or reader.label_column) and not isinstance(label, str):
            raise DataError(f"{record.where}: {at_label}: expected text, found {json.dumps(label)[:40]}")
        tags = values.pop(0) if reader.tagged else None
        source = Source("jsonl", path, record.line, fields=record.fields)
        yield Sentence(tokens, tags, label if reader.tagged else None, tuple(values), source)


def _strings(record: Record, column: str) -> tuple[str, ...]:
    found = record.value(column)
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        expected = "expected a list of texts, none of them empty"
        raise DataError(f"{record.where}: {column}: {expected}, found {json.dumps(found, ensure_ascii=False)[:40]}")
    return tuple(found)


def _atis(reader: TaggedReader, path: Path) -> Iterator[Sentence]:
    if reader.inputs:
        raise SettingsError(f"inputs = {list(reader.inputs)}: the files of ATIS have no further columns")
    names = [path] + [path.with_name(name) for name in _ATIS[1:] if reader.tagged and path.with_name(name).exists()]
    if reader.tagged and names[1:2] != [path.with_name(_ATIS[1])]:
        raise DataError(f"{path}: no {_ATIS[1]} with its tags beside it")
    streams = [reader.lines(name) for name in names]
    while True:
        found = [next(stream, None) for stream in streams]
        if all(each is None for each in found):
            return
        if None in found:
            short, long = (names[[each is None for each in found].index(ended)] for ended in (True, False))
            number = next(each[0] for each in found if each is not None)
            raise DataError(f"{long}: line {number}: {short.name} has no such line; each needs one for each sentence")
        number, *values = found[0][0], *(each[1] for each in found if each is not None)  # pyright: ignore[reportOptionalSubscript]
        tokens, tags = tuple(values[0].split()), tuple(values[1].split()) if reader.tagged else None
        if tags is not None and len(tags) != len(tokens):
            raise DataError(f"{names[1]}: line {number}: {len(tags)} tags, but {len(tokens)} tokens in {path.name}")
        label = values[2].strip() if len(values) > 2 else None
        yield Sentence(tokens, tags, label, (), Source("atis", path, number))


def _text(reader: TaggedReader, path: Path) -> Iterator[Sentence]:
    if reader.tagged:
        raise DataError(
            f"{path}: plain text has no tags to learn from; formats with tags: conllu, columns, jsonl, atis"
        )
    for number, line in reader.lines(path):
        yield Sentence(tuple(reader.split(line)), source=Source("text", path, number))


_READERS = {"conllu": _conllu, "columns": _columns, "jsonl": _jsonl, "atis": _atis, "text": _text}


def written(sentence: Sentence, tags: Sequence[str], label: str | None) -> str:
    r"""A sentence with the tags that were found, as a file of its format holds it.

    CoNLL-U gets them in their column, and everything else stays. Columns get one more at the end, as conlleval reads
    it. ATIS: the tags, after the label and a tab if there is one. Text: a token and its tag a line. Formats with a line
    a token end in an empty line, which ends a sentence.

    >>> written(Sentence(("Time", "flies")), ["NOUN", "VERB"], None)
    'Time\tNOUN\nflies\tVERB\n'
    """
    source = sentence.source or Source("text", Path(), 0)
    if source.format == "jsonl":
        return json.dumps(row(sentence, tags, label), ensure_ascii=False)
    if source.format == "atis":
        return "\t".join([*([label] if label is not None else []), " ".join(tags)])
    head = [f"# label = {label}"] if label is not None and sentence.tokens else []
    if source.format == "text":
        return "".join(f"{line}\n" for line in [*head, *map("\t".join, zip(sentence.tokens, tags, strict=True))])
    lines = list(source.lines)
    if source.format == "columns" and not source.words:
        lines = [f"{line}{_between(line)}O" for line in lines]
    for at, tag in zip(source.words, tags, strict=True):
        if source.format == "conllu":
            fields = lines[at].split("\t")
            fields[source.column] = tag
            lines[at] = "\t".join(fields)
        else:
            lines[at] = f"{lines[at].rstrip()}{_between(lines[at])}{tag}"
    return "".join(f"{line}\n" for line in (head if source.format == "conllu" else []) + lines)


def _between(line: str) -> str:
    return "\t" if "\t" in line else " "


def row(sentence: Sentence, tags: Sequence[str], label: str | None) -> dict[str, Any]:
    """The same as JSON has it; of an object of JSON everything else stays."""
    fields = (sentence.source.fields if sentence.source else None) or {}
    found = {**fields, "tokens": list(sentence.tokens), "tags": list(tags)}
    return found if label is None else found | {"label": label}
