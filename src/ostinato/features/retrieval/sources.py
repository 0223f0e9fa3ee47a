"""Files to documents: text, Markdown, HTML, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from ostinato.data import TextReader, find_files
from ostinato.errors import DataError, SettingsError
from ostinato.features.retrieval.html_text import VisibleText, declared_encoding
from ostinato.features.retrieval.index import Document
from ostinato.records import Record, RecordReader
from ostinato.settings import Settings

_KINDS = {
    **dict.fromkeys((".txt", ".text", ".md", ".markdown", ".rst", ".log", ""), "text"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".csv": "csv",
    ".tsv": "tsv",
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
}
TABLES = ("csv", "tsv", "jsonl", "fasttext")
LONGEST = 1 << 20  # characters of a document that is made of lines; a longer file becomes several


class SourceSettings(Settings):
    """What is read, and what a document is."""

    column: list[str] = Field([], description="of a table: where the text stands, several joined [default: text]")
    id_column: str | None = Field(None, description="of a table: what names a document [default: id, if there is one]")
    per: Literal["file", "paragraph", "line"] = Field("file", description="of text and HTML: what a document is")
    format: Literal["auto", "text", "html", "csv", "tsv", "jsonl", "fasttext"] = Field(
        "auto", description="of all files; auto: by their names"
    )
    header: bool = Field(True, description="whether the first row of a table names its columns")
    encoding: str | None = Field(
        None, description="of the files, by Python's name [default: utf-8, or what an HTML file says]"
    )
    errors: Literal["strict", "replace", "ignore"] = Field("strict", description="at bytes that are not text")


def find_documents(
    sources: Sequence[str | Path], settings: SourceSettings, passed_over: Callable[[list[Path]], None]
) -> list[tuple[Path, str]]:
    """The files of some sources, each with its format.

    Args:
        sources: files, folders (every file below, but hidden ones) and patterns.
        settings: what to take them for.
        passed_over: is told of the files of folders that are not known to hold text.

    Raises:
        DataError: if a source names nothing, or nothing that can be read.
        SettingsError: if a setting concerns none of the files.
    """
    found: list[tuple[Path, str]] = []
    other: list[Path] = []
    for source in sources:
        for path in find_files([source]):
            kind = settings.format if settings.format != "auto" else _KINDS.get(_suffix(path))
            if kind is None and path != Path(source):
                other.append(path)
            else:
                found.append((path, kind or "text"))
    if other:
        passed_over(other)
    if not found:
        raise DataError(f"{sources[0]}: no text, Markdown, HTML, CSV, TSV or JSONL (a file that is named is text)")
    tables = {kind in TABLES for _, kind in found}
    if tables == {True} and settings.per != "file":
        raise SettingsError(f"per = {settings.per!r}: of a table each row is a document, and there are only tables")
    if tables == {False}:
        for name in ("column", "id_column", "header"):
            if getattr(settings, name) != SourceSettings.model_fields[name].default:
                raise SettingsError(f"{name}: there is no table among the files")
    return found


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_documents(files: Iterable[tuple[Path, str]], settings: SourceSettings) -> Iterator[Document]:
    """The documents of some files, read as a stream.

    A file of text, Markdown or HTML is a document, or each of its paragraphs or lines is. Its id is its path, after a
    colon the line if it is not the whole file, and `path`, `line` and of HTML the `title` are its metadata. Of a table
    each row is a document, its id file and line unless there is a column for it, its metadata the other columns.

    Raises:
        DataError: with file and line, if something cannot be read.
    """
    for path, kind in files:
        if kind in TABLES:
            reader = RecordReader([path], kind, settings.encoding or "utf-8", settings.errors, settings.header)
            yield from (_row(record, settings) for record in reader.records())
        else:
            yield from _lines(path, kind, settings)


def _row(record: Record, settings: SourceSettings) -> Document:
    columns = settings.column or [RecordReader.text_column(record)]
    name = settings.id_column or ("id" if "id" in record.fields and "id" not in columns else None)
    own = record.value(name) if name is not None else f"{record.path}:{record.line}"
    if isinstance(own, bool) or not isinstance(own, str | int) or own == "":
        raise DataError(f"{record.where}: column {name!r}: expected what names the document, found {own!r}")
    text = "\n".join(record.text(column) for column in columns)
    rest = {key: value for key, value in record.fields.items() if key not in columns and key != name}
    for taken in {"id", "text"} & rest.keys():  # a column of this name that is neither
        rest[f"{taken}_"] = rest.pop(taken)
    return Document(text, own, rest, record.where)


def _lines(path: Path, kind: str, settings: SourceSettings) -> Iterator[Document]:
    html = kind == "html"
    encoding = settings.encoding or (declared_encoding(path) if html else None) or "utf-8"
    blocks: Iterable[str] = TextReader([path], encoding, settings.errors).blocks()
    page = VisibleText()
    for count, (text, line) in enumerate(_pieces(page.texts(blocks) if html else blocks, settings.per), 1):
        whole = settings.per == "file" and count == 1
        metadata: dict[str, str | int] = {"path": str(path)}
        if html:
            metadata |= {"title": page.title} if page.title else {}
        elif not whole:
            metadata["line"] = line
        place = "" if whole else f"#{count}" if html else f":{line}"
        yield Document(text, f"{path}{place}", metadata, f"{path}: line {line}")


def _pieces(blocks: Iterable[str], per: str) -> Iterator[tuple[str, int]]:
    """Files, paragraphs or lines, each with the line at which it begins; nothing that is blank."""
    held: list[str] = []
    size, start = 0, 1
    for line, number in _numbered(blocks):
        blank = not line.strip()
        if held and (per == "line" or (per == "paragraph" and blank) or size + len(line) > LONGEST):
            if any(map(str.strip, held)):
                yield "\n".join(held), start
            held, size = [], 0
        if blank and per != "file":
            continue
        start = start if held else number
        held.append(line)
        size += len(line) + 1
    if any(map(str.strip, held)):
        yield "\n".join(held), start


def _numbered(blocks: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Lines and their numbers; of a line that is longer than a document may be, pieces."""
    rest, number = "", 1
    for block in blocks:
        *whole, rest = (rest + block).split("\n")
        for line in whole:
            yield line, number
            number += 1
        while len(rest) > LONGEST:
            yield rest[:LONGEST], number
            rest = rest[LONGEST:]
    if rest:
        yield rest, number
