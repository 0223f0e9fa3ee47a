"""Records: files of rows to one record at a time, with file and line in every error."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ostinato.data import TextReader
from ostinato.errors import DataError, MissingExtra, SettingsError, nearest

RecordFormat = Literal["auto", "text", "csv", "tsv", "jsonl", "fasttext", "parquet"]
TABLES = ("csv", "tsv", "jsonl", "parquet")  # formats whose rows have columns
LABEL = "__label__"  # what fastText puts before a label
TEXT = "text"
_SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"
}  # fmt: skip
_ROWS_OF_PARQUET = 1024  # in memory at once
_LONGEST_FIELD = 1 << 24  # characters; a quotation mark that is never closed would take in the rest of the file


class Record(NamedTuple):
    """A row, and where it begins."""

    fields: dict[str, Any]
    path: Path
    line: int

    @property
    def where(self) -> str:
        """File and line, as an error begins."""
        return f"{self.path}: line {self.line}"

    def value(self, column: str) -> Any:
        """What stands in a column.

        Raises:
            DataError: if there is no such column.
        """
        if column not in self.fields:
            held = ", ".join(self.fields) or "none"
            raise DataError(f"{self.where}: no column {column!r} (columns: {held}){nearest(column, self.fields)}")
        return self.fields[column]

    def text(self, column: str) -> str:
        """The text in a column.

        Raises:
            DataError: if there is no such column, or something else than text in it.
        """
        found = self.value(column)
        if not isinstance(found, str):
            raise DataError(
                f"{self.where}: column {column!r}: expected text, found {json.dumps(found, default=str)[:40]}"
            )
        return found


@dataclass(frozen=True)
class RecordReader:
    r"""Records from files of rows, read as a stream.

    | format | of | a record is |
    |---|---|---|
    | `csv` | .csv | a row of comma-separated values; quoted ones may hold commas and line ends |
    | `tsv` | .tsv | a line of values between tabs, in which a quotation mark is a character like others |
    | `jsonl` | .jsonl, .ndjson, .json | a line with a JSON object; empty lines are passed over |
    | `parquet` | .parquet | a row, its number being the line (the extra `data`); read by row groups |
    | `fasttext` | see below | a line with labels, such as `__label__pos`, and a text: the columns `label` and `text` |
    | `text` | all else | a line: the column `text` |

    With `auto` the file's name decides, before any `.gz`; a file of lines whose first begins with `__label__` is
    fastText's.

    Args:
        files: what to read, in this order.
        format: one of those, for all files.
        encoding: of the files, by Python's name.
        errors: as of `TextReader`.
        header: the first row of CSV and TSV names the columns; if not, they are called 1, 2 and so on.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text('label,text\n1,"good, really"\n')
    >>> [record.fields for record in RecordReader([path]).records()]
    [{'label': '1', 'text': 'good, really'}]
    """

    files: Sequence[Path]
    format: str = "auto"
    encoding: str = "utf-8"
    errors: str = "strict"
    header: bool = True

    def __post_init__(self) -> None:
        if self.format not in (known := get_args(RecordFormat)):
            raise SettingsError(f"format = {self.format!r}: one of {', '.join(known)}{nearest(self.format, known)}")
        TextReader(self.files, self.encoding, self.errors)  # which checks the other two

    def records(self) -> Iterator[Record]:
        """Records in order.

        Raises:
            DataError: with file and line, if a file cannot be read or a row is not what its format says.
        """
        for path in self.files:
            lines = _Lines(path, TextReader([path], self.encoding, self.errors).blocks())
            kind = record_format(path, lines.first) if self.format == "auto" else self.format
            rows = _parquet(path) if kind == "parquet" else _READERS[kind](lines, self.header)
            for fields, line in rows:
                yield Record(fields, path, line)

    def texts(self, column: str | None = None) -> Iterator[str]:
        """The text of each record.

        Args:
            column: where it stands; `text`, or the only column there is, if None.
        """
        for record in self.records():
            yield record.text(column if column is not None else self.text_column(record))

    def passages(self, column: str | None = None) -> Iterator[str]:
        """The same for what needs no whole texts: a line of plain text beyond some MiB comes in pieces, cut at blanks.

        So a corpus that is a single line does not have to fit in memory.
        """
        for path in self.files:
            blocks = TextReader([path], self.encoding, self.errors).blocks
            kind = record_format(path, lambda: next(blocks(), "")) if self.format == "auto" else self.format  # noqa: B023 - called here
            if kind == "text" and column in (None, TEXT):
                for block in blocks():
                    yield from block.split("\n")
            else:
                yield from RecordReader([path], kind, self.encoding, self.errors, self.header).texts(column)

    @staticmethod
    def text_column(record: Record) -> str:
        """The column that holds the text, where nobody has named it.

        Raises:
            DataError: if several could.
        """
        if TEXT in record.fields:
            return TEXT
        if len(record.fields) == 1:
            return next(iter(record.fields))
        raise DataError(f"{record.where}: in which column is the text? (columns: {', '.join(record.fields)})")


class _Lines:
    """Lines without their ends, counted."""

    def __init__(self, path: Path, blocks: Iterator[str]) -> None:
        self.path, self.number = path, 0
        self._lines = self._split(blocks)
        self._held: list[str] = []

    @staticmethod
    def _split(blocks: Iterator[str]) -> Iterator[str]:
        rest: list[str] = []
        for block in blocks:  # a line may go on through many blocks
            *whole, last = block.split("\n")
            for line in whole:
                yield "".join([*rest, line])
                rest = []
            rest.append(last)
        if last := "".join(rest):
            yield last

    def first(self) -> str:
        """The first line, which is read again afterwards."""
        self._held = [line for line in (next(self._lines, None),) if line is not None]
        return self._held[0] if self._held else ""

    def __iter__(self) -> Iterator[str]:
        for line in chain(self._held, self._lines):
            self.number += 1
            yield line


def record_format(path: Path, first: Callable[[], str]) -> str:
    """The format of a file by its name, or else by its first line."""
    suffix = next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "")
    return _SUFFIXES.get(suffix) or ("fasttext" if first().startswith(LABEL) else "text")


Rows = Iterator[tuple[dict[str, Any], int]]  # fields, and the line at which they begin


def _text(lines: _Lines, _: bool) -> Rows:
    for line in lines:
        yield {TEXT: line}, lines.number


def _fasttext(lines: _Lines, _: bool) -> Rows:
    for line in lines:
        words = line.split()
        labels = [word.removeprefix(LABEL) for word in words if word.startswith(LABEL)]
        if words:
            yield {"label": labels, TEXT: " ".join(w for w in words if not w.startswith(LABEL))}, lines.number


def _jsonl(lines: _Lines, _: bool) -> Rows:
    for line in lines:
        if not line.strip():
            continue
        where = f"{lines.path}: line {lines.number}"
        try:
            fields = json.loads(line, object_pairs_hook=_once)
        except KeyError as error:
            raise DataError(f"{where}: two columns have one name: {error.args[0]}") from None
        except ValueError as error:
            raise DataError(f"{where}: not JSON: {error} (expected an object a line)") from None
        if not isinstance(fields, dict):
            raise DataError(f"{where}: expected a JSON object, found {type(fields).__name__}")
        yield fields, lines.number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose names all differ; else a KeyError, with the name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise KeyError(next(name for at, (name, _) in enumerate(pairs) if name in dict(pairs[:at])))
    return found


def _csv(lines: _Lines, header: bool) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))  # one for the whole process
    rows = csv.reader((line + "\n" for line in lines), strict=True)

    def numbered() -> Iterator[tuple[list[str], int]]:
        while True:
            line = lines.number + 1
            try:
                yield next(rows), line
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(f"{lines.path}: line {line}: not CSV: {error}") from None

    return _table(lines.path, numbered(), header)


def _tsv(lines: _Lines, header: bool) -> Rows:
    return _table(lines.path, ((line.split("\t") if line else [], lines.number) for line in lines), header)


def _table(path: Path, rows: Iterator[tuple[list[str], int]], header: bool) -> Rows:
    """Rows by the names of their columns; empty ones are passed over."""
    filled = ((row, line) for row, line in rows if row)
    first, at = next(filled, ([], 1))
    if not first:
        raise DataError(f"{path}: empty: expected rows" + (", the first with the columns' names" if header else ""))
    names = first if header else [str(number) for number in range(1, len(first) + 1)]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: line {at}: two columns have one name: {', '.join(names)}")
    for row, line in filled if header else chain([(first, at)], filled):
        if len(row) != len(names):
            what = f"{len(row)} columns, but there are {len(names)}"
            raise DataError(f"{path}: line {line}: {what} ({', '.join(names)})")
        yield dict(zip(names, row, strict=True)), line


def _parquet(path: Path) -> Rows:
    """Rows of a Parquet file, a row group at a time, by number."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "data", f"{path}: reading Parquet") from None
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(f"{path}: two columns have one name: {', '.join(names)}")
            batches = file.iter_batches(_ROWS_OF_PARQUET)
            rows = chain.from_iterable(batch.to_pylist() for batch in batches)
            for number, row in enumerate(rows, 1):
                yield row, number
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not Parquet, or damaged: {error}") from None


_READERS: dict[str, Callable[[_Lines, bool], Rows]] = {
    "text": _text, "csv": _csv, "tsv": _tsv, "jsonl": _jsonl, "fasttext": _fasttext
}  # fmt: skip


def numbered_lines(path: Path, encoding: str = "utf-8", errors: str = "strict") -> Iterator[tuple[int, str]]:
    """The lines of a file without their ends, each with its number, from 1; see `TextReader`."""
    lines = _Lines(path, TextReader([path], encoding, errors).blocks())
    for line in lines:
        yield lines.number, line
