"""Vector files of other programs: word2vec's text and binary form, and GloVe's text, read and written as streams."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, NoReturn, cast, get_args

import numpy as np

from ostinato.errors import DataError, SettingsError, nearest
from ostinato.files import writing

VectorFormat = Literal["word2vec", "word2vec-binary", "glove"]
FORMATS: tuple[str, ...] = get_args(VectorFormat)
_LONGEST_WORD, _LONGEST_LINE, _READ_AT_ONCE = 1 << 12, 1 << 24, 1 << 20  # bytes
_MOST_FEATURES = 1 << 20
_UNPRINTED = re.compile(rb"[\0-\x08\x0e-\x1f]")
_FASTTEXT = struct.pack("<i", 793712314)  # what its own models begin with


class VectorFile(NamedTuple):
    """What a file holds."""

    words: list[str]
    vectors: np.ndarray
    """float32 [words, features]."""


def read_vectors(
    path: Path,
    format: str = "auto",  # noqa: A002
    encoding: str = "utf-8",
    errors: str = "strict",
) -> VectorFile:
    r"""Read a file of word vectors; one whose name ends in `.gz` is decompressed.

    | format | |
    |---|---|
    | `word2vec` | a line with the numbers of words and of features, then a line a word: the word, its numbers |
    | `word2vec-binary` | the same first line; then for each word: the word, a blank, its numbers as float32 |
    | `glove` | a line a word, as in `word2vec`, without the first line |

    fastText's `.vec` is `word2vec`. A word may hold blanks, where what stands between them is no number.

    Args:
        path: of the file.
        format: one of those; `auto` looks at the first two lines.
        encoding: of the words, by Python's name; one in which blanks, line ends and digits are those of ASCII.
        errors: `strict` stops at a word that is not text; `replace` puts U+FFFD there; `ignore` drops the bytes.

    Raises:
        DataError: with line or byte, if the file is missing, truncated, of another form, or a word stands there twice.
        SettingsError: if there is no such format or encoding.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "vectors.txt"
    >>> _ = path.write_text("2 3\n猫 1 0 .5\n狗 0 1 .5\n")
    >>> words, vectors = read_vectors(path)
    >>> words, vectors.shape
    (['猫', '狗'], (2, 3))
    """
    if format not in ("auto", *FORMATS):
        raise SettingsError(f"format = {format!r}: one of auto, {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    if errors not in ("strict", "replace", "ignore"):
        raise SettingsError(f"errors = {errors!r}: one of strict, replace, ignore")
    try:
        like_ascii = "0 \n".encode(encoding) == b"0 \n"
    except (LookupError, ValueError):
        raise SettingsError(f"encoding = {encoding!r}: Python knows no such encoding") from None
    if not like_ascii:
        raise SettingsError(f"encoding = {encoding!r}: its blanks and digits are not those of ASCII")
    kind = vector_format(path) if format == "auto" else format
    try:
        with _opened(path) as file, np.errstate(over="ignore"):  # what is too large is found below
            source = _Source(path, file, encoding, errors)
            words, vectors = (_read_binary if kind == "word2vec-binary" else _read_text)(source, kind != "glove")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not words:
        raise DataError(f"{path}: holds no vectors")
    if not (finite := np.isfinite(vectors).all(1)).all():
        at = int(np.argmin(finite))
        raise DataError(f"{path}: the vector of word {at + 1:,}, {words[at]!r}, is not finite")
    return VectorFile(words, vectors)


def vector_format(path: Path) -> str:
    """The format of a file, by its first two lines.

    Raises:
        DataError: if it is no vector file; the text names what it seems to be.
    """
    try:
        with _opened(path) as file:
            begin = file.read(_READ_AT_ONCE)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if begin.startswith(_FASTTEXT):
        raise DataError(f"{path}: a model in fastText's own form: read the .vec beside it")
    if begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(f"{path}: a pickle, which runs code when it is read: write it as word2vec's form first")
    first, _, rest = begin.partition(b"\n")
    if _header(first) is not None:
        second = rest.partition(b"\n")[0].rstrip(b" \r")
        is_text = _number(second.split(b" ")[-1]) is not None or not _UNPRINTED.search(second)
        return "word2vec" if is_text else "word2vec-binary"
    fields = first.rstrip().split(b" ")
    if len(fields) > 1 and _number(fields[-1]) is not None:
        return "glove"
    raise DataError(
        f"{path}: line 1: {_shown(first)} begins no file of vectors: expected the numbers of words and of features "
        "(word2vec), or a word and its numbers (GloVe)"
    )


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


@dataclass
class _Source:
    """A file with what has been found in it."""

    path: Path
    file: BinaryIO
    encoding: str
    errors: str
    seen: dict[str, int] = field(default_factory=dict)
    """Words, and how many stood before each."""

    def add(self, raw: bytes, line: int | None, byte: int) -> None:
        """Take in a word that stands at a place."""
        try:
            word = raw.decode(self.encoding, self.errors)
        except UnicodeDecodeError as error:
            bad = " ".join(f"{each:02x}" for each in raw[error.start : error.end][:4])
            how = "pass the right --encoding, or --errors replace to accept it as U+FFFD"
            self.fail(line, byte + error.start, f"{bad} is not {self.encoding} ({error.reason}); {how}")
        if not word:
            self.fail(line, byte, "no word before the numbers")
        if word in self.seen:
            self.fail(line, byte, f"{word!r} stands there twice, the first time as word {self.seen[word] + 1:,}")
        self.seen[word] = len(self.seen)

    def fail(self, line: int | None, byte: int, what: str) -> NoReturn:
        """End with an error that says where."""
        where = f"byte {byte:,}" if line is None else f"line {line:,} (byte {byte:,})"
        raise DataError(f"{self.path}: {where}: {what}")


def _header(line: bytes) -> tuple[int, int] | None:
    """Words and features, if that is what the line says."""
    fields = line.split()
    if len(fields) != 2 or not all(each.isdigit() and len(each) < 16 for each in fields):
        return None
    return int(fields[0]), int(fields[1])


def _read_header(source: _Source) -> tuple[int, int, int]:
    """Words, features, and bytes of the first line."""
    line = source.file.readline(_LONGEST_WORD)
    found = _header(line)
    if found is None or not line.endswith(b"\n") or not 1 <= found[1] <= _MOST_FEATURES:
        source.fail(1, 0, f"{_shown(line)}: expected the numbers of words and of features, such as 400000 100")
    return *found, len(line)


class _Rows:
    """Vectors that are as many as they turn out to be."""

    def __init__(self, features: int) -> None:
        self.values = np.empty((1024, features), np.float32)

    def put(self, at: int, row: Sequence[float] | np.ndarray) -> None:
        """Set a row."""
        if at == len(self.values):
            self.values.resize((at + at // 2, self.values.shape[1]), refcheck=False)
        self.values[at] = row

    def first(self, rows: int) -> np.ndarray:
        """So many of them, and no memory for more."""
        self.values.resize((rows, self.values.shape[1]), refcheck=False)
        return self.values


def _read_text(source: _Source, with_header: bool) -> tuple[list[str], np.ndarray]:
    wanted, features, byte = _read_header(source) if with_header else (None, 0, 0)
    rows = _Rows(features) if with_header else None
    number, count, empty = int(with_header), 0, 0
    while line := source.file.readline(_LONGEST_LINE):
        number += 1
        text = line.rstrip(b" \r\n")
        if not text:
            empty, byte = empty or number, byte + len(line)
            continue
        if empty:
            source.fail(empty, byte, "an empty line, and vectors after it")
        if wanted is not None and count == wanted:
            source.fail(number, byte, f"more words than the {wanted:,} of the first line")
        fields = text.split(b" ")
        if rows is None:
            features = len(fields) - 1
            rows = _Rows(features)
        values = _numbers(text, fields, features)
        if values is None:
            whole = "" if line.endswith(b"\n") else "; it is the last of the file: truncated?"
            source.fail(number, byte, f"{_shown(text)}: expected a word and {features} numbers{_found(fields)}{whole}")
        if wanted is None and not line.endswith(b"\n"):  # nothing else would tell that the last number is cut
            source.fail(number, byte, "no line end: truncated? a whole file ends with one")
        source.add(b" ".join(fields[: len(fields) - features]), number, byte)
        rows.put(count, values)
        count, byte = count + 1, byte + len(line)
    if wanted is not None and count != wanted:
        source.fail(
            number + 1, byte, f"the file ends after {count:,} words, the first line says {wanted:,}: truncated?"
        )
    return list(source.seen), rows.first(count) if rows is not None else np.empty((0, 0), np.float32)


def _numbers(line: bytes, fields: list[bytes], features: int) -> list[float] | None:
    """The last so many fields of a line as numbers, if what stands before them can be a word."""
    word = len(fields) - features
    if features < 1 or word < 1 or any(_number(each) is not None for each in fields[1:word]):
        return None
    try:
        numbers = list(map(float, fields[word:]))
    except ValueError:
        return None
    # Python takes 1_000 for a number
    return numbers if b"_" not in line[sum(map(len, fields[:word])) + word :] else None


def _found(fields: list[bytes]) -> str:
    numbers = [_number(each) is not None for each in fields[1:]]
    odd = next((each for each, is_number in zip(fields[1:], numbers, strict=True) if not is_number), None)
    return f", found {sum(numbers)}" + (f" and {_shown(odd)}" if odd is not None else "")


def _number(text: bytes) -> float | None:
    try:
        return float(text) if b"_" not in text else None  # Python takes 1_000 for a number
    except ValueError:
        return None


def _read_binary(source: _Source, _: bool) -> tuple[list[str], np.ndarray]:
    wanted, features, byte = _read_header(source)
    rows, size = _Rows(features), 4 * features
    held, at = b"", 0  # bytes that were read, and how many of them are done with
    for count in range(wanted):
        blank = held.find(b" ", at)
        while blank < 0 or len(held) < blank + 1 + size:
            if blank < 0 and len(held) - at > _LONGEST_WORD:
                source.fail(
                    None, byte, f"no blank after word {count + 1:,}: not word2vec's binary form, or not so wide"
                )
            data = source.file.read(max(_READ_AT_ONCE, size))
            if not data:
                of = f"word {count + 1:,} of {wanted:,}"
                source.fail(None, byte + len(held) - at, f"the file ends within {of}: truncated, or a wrong first line")
            held, at = held[at:] + data, 0
            blank = held.find(b" ", at)
        word = held[at:blank]
        start = len(word) - len(word.lstrip(b"\n"))  # some programs end each vector with a line end
        source.add(word[start:], None, byte + start)
        rows.put(count, np.frombuffer(held, "<f4", features, blank + 1))
        byte += blank + 1 + size - at
        at = blank + 1 + size
    if (held[at:] + source.file.read(_LONGEST_WORD)).strip(b"\n"):
        source.fail(None, byte, f"more than the {wanted:,} words of {features} features that the first line says")
    return list(source.seen), rows.first(wanted)


def _shown(text: bytes) -> str:
    shown = text[:40].decode("utf-8", "backslashreplace")
    return repr(shown) + ("…" if len(text) > 40 else "")


def write_vectors(path: Path, words: Sequence[str], vectors: np.ndarray, format: str) -> None:  # noqa: A002
    """Write word vectors, whole or not at all; read again they are the same bits.

    Args:
        path: of the file.
        words: in the order of their rows.
        vectors: float32 [words, features].
        format: as of `read_vectors`.

    Raises:
        DataError: if the format cannot hold a word, such as one with a line end.
        SettingsError: if there is no such format.
    """
    if format not in FORMATS:
        raise SettingsError(f"format = {format!r}: one of {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    with writing(path) as file:
        file.writelines(_lines(words, np.asarray(vectors, "<f4"), format))


def _lines(words: Sequence[str], vectors: np.ndarray, format: str) -> Iterable[bytes]:  # noqa: A002
    binary = format == "word2vec-binary"
    if format != "glove":
        yield f"{len(words)} {vectors.shape[1]}\n".encode()
    for word, row in zip(words, vectors, strict=True):
        name = _encoded(word, binary)
        yield name + (row.tobytes() if binary else b" ".join(b"%.9g" % value for value in row.tolist())) + b"\n"


def _encoded(word: str, binary: bool) -> bytes:
    pieces = word.split(" ")
    unreadable = "\n" in word or not word or word != word.strip(" \r\n")
    try:
        raw = word.encode()
        if not unreadable and (len(pieces) == 1 or not (binary or any(_is_number(each) for each in pieces[1:]))):
            return raw + b" "
    except UnicodeEncodeError:  # a lone surrogate
        pass
    raise DataError(f"{word!r}: a word that could not be read again from this format")


def _is_number(text: str) -> bool:
    return _number(text.encode()) is not None
