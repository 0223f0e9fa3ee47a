"""Readers: files of any number, size and quality to blocks of clean text, with file, line and byte in every error."""

from __future__ import annotations

import codecs
import glob
import gzip
import hashlib
import io
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ostinato.errors import DataError, SettingsError, nearest

BLOCK_BYTES = 1 << 20
_BOMS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def find_files(sources: Sequence[str | Path]) -> list[Path]:
    """The files that `sources` name, in order: files, folders (every file below, hidden ones left out) and globs.

    Raises:
        DataError: if a source names nothing.
    """
    files: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(
                entry
                for entry in path.rglob("*")
                if entry.is_file() and not any(part.startswith(".") for part in entry.relative_to(path).parts)
            )
            if not found:
                raise DataError(f"{path}: the folder holds no files")
        elif path.exists():
            found = [path]
        elif glob.has_magic(str(source)):
            found = sorted(Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file())  # noqa: PTH207
            if not found:
                raise DataError(f"{source}: no file matches this pattern")
        else:
            beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(f"{source}: no such file or folder{nearest(path.name, beside)}")
        files += found
    if not files:
        raise DataError("no input: name a file, a folder, a pattern, or - for standard input")
    return files


def spool_standard_input(path: Path) -> None:
    """Copy standard input to `path`, since a corpus is read more than once."""
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, BLOCK_BYTES)


@dataclass(frozen=True)
class TextReader:
    r"""Text from files as blocks that end at a line's end where there is one.

    A byte-order mark is dropped, and CRLF and CR become LF. Files whose name ends in `.gz` are decompressed. Two files
    are kept apart by a line end.

    Args:
        files: what to read, in this order.
        encoding: of the files, by Python's name.
        errors: `strict` stops at a byte that is not text; `replace` puts U+FFFD there; `ignore` drops it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> _ = path.write_bytes(b"One.\r\nTwo.\r\n")
    >>> list(TextReader([path]).blocks())
    ['One.\nTwo.\n']
    """

    files: Sequence[Path]
    encoding: str = "utf-8"
    errors: str = "strict"

    def __post_init__(self) -> None:
        try:
            "".encode(self.encoding)  # unlike codecs.lookup, this refuses what turns no bytes into text, such as hex
        except (LookupError, ValueError):
            raise SettingsError(f"encoding = {self.encoding!r}: Python knows no such encoding") from None
        if self.errors not in ("strict", "replace", "ignore"):
            raise SettingsError(f"errors = {self.errors!r}: one of strict, replace, ignore")

    def blocks(self) -> Iterator[str]:
        """Blocks of about a mebibyte of text, in order.

        Raises:
            DataError: with file, line and byte, if a file cannot be read or decoded.
        """
        for index, path in enumerate(self.files):
            text = self._decoded(path)
            yield from _at_line_ends(text if index + 1 == len(self.files) else _ended(text))

    def _decoded(self, path: Path) -> Iterator[str]:
        name = codecs.lookup(self.encoding).name.removesuffix("-sig")  # the mark is dropped here, and counted
        decoder = codecs.getincrementaldecoder(name)(self.errors)
        line_ends = io.IncrementalNewlineDecoder(None, translate=True)
        read, line = 0, 1
        for block in _byte_blocks(path):
            data = block if read or name != "utf-8" else _without_bom(path, block)
            read += len(block)
            start = read - len(data) - len(decoder.getstate()[0])
            try:
                text = line_ends.decode(decoder.decode(data))
            except UnicodeDecodeError as error:
                raise self._not_text(path, start, line + _lines_before(error, line_ends), error) from None
            except UnicodeError as error:  # UTF-16 and UTF-32 without the mark that tells the order of their bytes
                raise DataError(f"{path}: not {self.encoding}: {error}; pass the right --encoding") from None
            line += text.count("\n")
            yield text
        pending = len(decoder.getstate()[0])
        try:
            yield line_ends.decode(decoder.decode(b"", final=True), final=True)
        except UnicodeDecodeError as error:
            raise self._not_text(path, read - pending, line + _lines_before(error, line_ends), error) from None

    def _not_text(self, path: Path, start: int, line: int, error: UnicodeDecodeError) -> DataError:
        found = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.end][:4])
        where = f"{path}: line {line:,}, byte {start + error.start:,}"
        how = "or --errors replace to accept it as U+FFFD"
        return DataError(f"{where}: {found} is not {self.encoding} ({error.reason}); pass the right --encoding, {how}")


def _lines_before(error: UnicodeDecodeError, line_ends: io.IncrementalNewlineDecoder) -> int:
    """How many lines end before the wrong bytes in what was decoded with them."""
    text = error.object[: error.start].decode(error.encoding, "replace")
    return line_ends.decode(text, final=True).count("\n")


def _byte_blocks(path: Path) -> Iterator[bytes]:
    try:
        with cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            while data := file.read(BLOCK_BYTES):
                yield data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _without_bom(path: Path, data: bytes) -> bytes:
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            raise DataError(f"{path}: begins with the mark of {encoding.upper()}: pass --encoding {encoding}")
    return data.removeprefix(codecs.BOM_UTF8)


def _ended(blocks: Iterable[str]) -> Iterator[str]:
    """The same text with a line end after its last line, if it has a line at all."""
    last = ""
    for block in blocks:
        yield block
        last = block[-1:] or last
    if last not in ("", "\n"):
        yield "\n"


def _at_line_ends(blocks: Iterable[str]) -> Iterator[str]:
    """The same text cut after line ends, or before blanks, or anywhere if a line grows beyond eight blocks.

    Before blanks, since a word-level or byte-pair token begins with the blank before the word.
    """
    rest: list[str] = []
    held = 0
    for block in blocks:
        cut = block.rfind("\n") + 1
        if not cut and held + len(block) > 8 * BLOCK_BYTES:
            cut = max(block.rfind(" "), 0) or len(block)
        if cut:
            yield "".join([*rest, block[:cut]])
            rest, held = [], 0
        if tail := block[cut:]:
            rest.append(tail)
            held += len(tail)
    if rest:
        yield "".join(rest)


@dataclass(frozen=True)
class Fingerprint:
    """What a corpus was: the SHA-256 of its text as UTF-8 after decoding, and its sizes."""

    sha256: str
    characters: int
    files: tuple[str, ...]


def fingerprint(reader: TextReader) -> Fingerprint:
    """Read a corpus once and say what it is."""
    digest, characters = hashlib.sha256(), 0
    for block in reader.blocks():
        digest.update(block.encode("utf-8", "surrogatepass"))
        characters += len(block)
    return Fingerprint(digest.hexdigest(), characters, tuple(path.name for path in reader.files))


def fingerprint_of_bytes(files: Sequence[Path]) -> dict[str, Any]:
    """The same of files that are no text: their bytes."""
    digest, size = hashlib.sha256(), 0
    for path in files:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
    return {"sha256": digest.hexdigest(), "bytes": size, "files": tuple(path.name for path in files)}


def split_at(blocks: Iterable[str], characters: int, whole_lines: bool) -> Iterator[tuple[int, str]]:
    """Each block with its part: 0 for the first `characters` characters, 1 for those after.

    With `whole_lines` the cut moves to the end of the line that it falls into, or, where that line is the last of its
    block, to the next blank, so that a corpus of a single line has two parts as well.
    """
    part, before = 0, 0
    for block in blocks:
        if part == 0 and before + len(block) > characters:
            cut = max(characters - before, 0)
            if whole_lines and cut and block[cut - 1] != "\n":
                line_end = block.find("\n", cut, len(block) - 1) + 1
                cut = line_end or (blank if (blank := block.find(" ", cut)) >= 0 else cut)
            if block[:cut]:
                yield 0, block[:cut]
            if block[cut:]:
                part = 1
                yield 1, block[cut:]
        else:
            yield part, block
        before += len(block)
