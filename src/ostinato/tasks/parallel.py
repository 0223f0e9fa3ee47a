"""Parallel text: sentences and their translations, from the files that the field uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ostinato.data import TextReader, fingerprint
from ostinato.errors import DataError
from ostinato.records import Record, RecordReader
from ostinato.settings import Settings

_TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".json"}
_COLUMNS = (("source", "1"), ("target", "2"))  # where nobody named them: with a header, and without


class ParallelSettings(Settings):
    """How parallel text is read."""

    format: Literal["auto", "tsv", "csv", "jsonl", "parallel"] = Field(
        "auto", description="of the files; parallel: two of lines, the source's first; auto: by their names"
    )
    source_column: str | None = Field(None, description="of a table [default: source, or the first]")
    target_column: str | None = Field(None, description="of a table [default: target, or the second]")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="pairs kept for validation, drawn at random")


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class ParallelReader:
    r"""Pairs from files, as a stream.

    Two files whose names tell no table, such as train.de and train.en, are parallel: line n of the second translates
    line n of the first; four files are two such pairs. A file alone is a table: `tsv` (also of any other name), `csv`
    or `jsonl` as `RecordReader` has them. The first row of TSV and CSV names the columns if it holds `source` and
    `target`, or a name that the settings give; otherwise the columns are called 1, 2 and so on, and it is a pair
    itself. Columns beyond the two are passed over.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "train.tsv"
    >>> _ = path.write_text("ein Hund\ta dog\tsomebody\n")
    >>> list(ParallelReader([path], ParallelSettings()).examples())
    [Pair(source='ein Hund', target='a dog')]
    """

    files: Sequence[Path]
    settings: ParallelSettings

    def examples(self) -> Iterator[Pair]:
        """Pairs in order.

        Raises:
            DataError: with file and line, if a file cannot be read, a row has no such column, or the numbers of lines
                of two parallel files do not agree.
        """
        if not self._parallel():
            for path in self.files:
                yield from self._table(path)
            return
        if len(self.files) % 2:
            names = ", ".join(path.name for path in self.files)
            raise DataError(f"parallel files come two by two, the source's first; found {len(self.files)}: {names}")
        for first, second in zip(self.files[::2], self.files[1::2], strict=True):
            yield from self._lines(first, second)

    def sources(self) -> Iterator[str]:
        """Texts to translate: a line each, or a column of a table that need have no translations."""
        s = self.settings
        for path in self.files:
            if s.format == "parallel" or (s.format == "auto" and not _is_table(path)):
                yield from RecordReader([path], "text", s.encoding, s.errors).texts()
            else:
                for record, (column, _) in self._records(path, needed=1):
                    yield record.text(column)

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it."""
        return asdict(fingerprint(TextReader(self.files, self.settings.encoding, self.settings.errors)))

    def _parallel(self) -> bool:
        if self.settings.format != "auto":
            return self.settings.format == "parallel"
        return len(self.files) > 1 and not any(_is_table(path) for path in self.files)

    def _lines(self, first: Path, second: Path) -> Iterator[Pair]:
        s = self.settings
        both = [RecordReader([path], "text", s.encoding, s.errors).texts() for path in (first, second)]
        for line, (source, target) in enumerate(zip_longest(*both), 1):
            if source is None or target is None:
                shorter, longer = (first, second) if source is None else (second, first)
                raise DataError(
                    f"{shorter}: ends after line {line - 1:,}, but {longer.name} goes on: line n of the one must "
                    "translate line n of the other"
                )
            yield Pair(source, target)

    def _table(self, path: Path) -> Iterator[Pair]:
        for record, (source, target) in self._records(path, needed=2):
            yield Pair(record.text(source), record.text(target))

    def _records(self, path: Path, needed: int) -> Iterator[tuple[Record, tuple[str, str]]]:
        """Records, and the names of their columns of source and target."""
        s = self.settings
        kind = s.format if s.format != "auto" else "auto" if _is_table(path) else "tsv"
        asked = (s.source_column, s.target_column)
        named = tuple(name or usual[0] for name, usual in zip(asked, _COLUMNS, strict=True))[:needed]
        if kind == "jsonl" or (kind == "auto" and _suffix(path) not in (".csv", ".tsv")):
            header = True
        else:
            first = next(RecordReader([path], kind, s.encoding, s.errors, header=False).records(), None)
            held = set(first.fields.values()) if first is not None else set()
            header = set(named) <= held or any(name in held for name in asked if name and not name.isdecimal())
        columns = (named[0], named[-1]) if header else (asked[0] or "1", asked[1] or "2")
        for record in RecordReader([path], kind, s.encoding, s.errors, header).records():
            yield record, columns


def _suffix(path: Path) -> str:
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "")


def _is_table(path: Path) -> bool:
    return _suffix(path) in _TABLES
