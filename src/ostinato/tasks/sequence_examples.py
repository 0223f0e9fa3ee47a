"""Labelled sequences that are no texts: from tables, and from files that each hold one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from ostinato.codecs.labelled_frames import INPUTS
from ostinato.data import fingerprint_of_bytes
from ostinato.errors import DataError, SettingsError
from ostinato.records import TABLES, Record, RecordReader, record_format
from ostinato.settings import Settings
from ostinato.tasks.examples import LABEL_COLUMNS, labels_of
from ostinato.tasks.sequence_cells import (
    channels_of,
    in_time,
    is_number,
    items_of,
    named_columns,
    number_of,
    path_of,
    steps_of,
)

SEQUENCE = "sequence"
_OF_FILES = ("file", "path", "filename", "audio", "wav", "image", "midi")
"""Columns that hold a path where nobody says which does, the likeliest first."""


class SequenceSettings(Settings):
    """How labelled sequences are read."""

    input: Literal[tuple(INPUTS)] = Field(  # pyright: ignore[reportInvalidTypeForm] - those of the registry
        "series", description=f"what a sequence is: text, or {', '.join(INPUTS)} [default: text]"
    )
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "folders"] = Field(
        "auto", description="of the files; auto: by name, and folders where sequences lie in one per label"
    )
    column: list[str] | None = Field(
        None,
        description="columns with whole sequences, of series one a channel; or t1..t96, columns of one step each "
        "[default: sequence, or the only one beside the label, or all of them, one a step]",
    )
    label: str | None = Field(None, description="column of the label, or a list of them [default: label or labels]")
    label_separator: str | None = Field(None, min_length=1, description="between the labels of a column that has many")
    series: str | None = Field(None, description="a row is a step: column that says of which sequence")
    time: str | None = Field(None, description="a row is a step: column of its time, by which steps are ordered")
    header: bool | None = Field(
        None, description="the first row of a table names its columns; [default: unless it holds numbers only]"
    )
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="examples kept for validation, drawn at random")

    @field_validator("column", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class SequenceExample(NamedTuple):
    """A sequence and what it is."""

    sequence: Any
    """As a `FrameCodec` takes it."""
    labels: tuple[str, ...]
    where: str = ""
    """File, and line."""
    fields: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What its row says beside."""


@dataclass(frozen=True)
class SequenceReader:
    r"""Sequences with their labels, from files, as a stream.

    | a table | of |
    |---|---|
    | `label,sequence` | numbers or items between blanks; in JSON and Parquet a list, or a list of lists by channel |
    | `label,x,y` with `column = x,y` | the same, a column a channel |
    | `label,t1,t2,…` | a column a step; empty cells at the end are no steps |
    | numbers alone, no header | the archive's layout (UCR): the label, then a column a step |
    | `label,id,time,x,y` with `series`, `time` | a row a step, those of a sequence together; all else is channels |
    | `label,file` | paths, from the table's own folder |

    Files of another kind are sequences themselves, whose label is their folder's name.

    Args:
        files: what to read, in this order.
        settings: how.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "beats.csv"
    >>> _ = path.write_text("label,t1,t2,t3\nfast,1,2,1\nslow,1,1,\n")
    >>> [(each.labels, each.sequence.tolist()) for each in SequenceReader([path], SequenceSettings()).examples()]
    [(('fast',), [[1.0], [2.0], [1.0]]), (('slow',), [[1.0], [1.0]])]
    """

    files: Sequence[Path]
    settings: SequenceSettings

    @cached_property
    def _of_files(self) -> bool:
        return INPUTS[self.settings.input].of_files

    def examples(self) -> Iterator[SequenceExample]:
        """Sequences with their labels.

        Raises:
            DataError: with file, line and column, if something cannot be read or a row has no label.
        """
        return self.sequences(labelled=True)

    def sequences(self, labelled: bool) -> Iterator[SequenceExample]:
        """The same, or what need have no labels."""
        for path in self.files:
            if self._of_files and not self._is_table(path):
                if labelled and len({each.parent for each in self.files}) < 2:
                    raise DataError(
                        f"{path}: which is its label? give a table with columns such as file,label, or one folder for "
                        "each label"
                    )
                fields = {"file": str(path)}
                yield SequenceExample(path, (path.parent.name,) if labelled else (), str(path), fields)
            elif self.settings.series is not None:
                yield from self._by_steps(path, labelled)
            else:
                yield from self._by_rows(path, labelled)

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it."""
        return fingerprint_of_bytes(self.files)

    def _is_table(self, path: Path) -> bool:
        if self.settings.format != "auto":
            return self.settings.format != "folders"
        return record_format(path, str) in TABLES

    def _records(self, path: Path) -> Iterator[Record]:
        s = self.settings
        kind = s.format if s.format not in ("auto", "folders") else record_format(path, str)
        if kind not in TABLES:
            raise DataError(f"{path}: expected a table (.csv, .tsv, .jsonl, .parquet), or name its --format")
        header = s.header
        if header is None:
            header = kind not in ("csv", "tsv") or not self._only_numbers(path, kind)
        return RecordReader([path], kind, s.encoding, s.errors, header).records()

    def _only_numbers(self, path: Path, kind: str) -> bool:
        """Whether the first row has several cells, and none that could name a column."""
        reader = RecordReader([path], kind, self.settings.encoding, self.settings.errors, header=False)
        first = next(reader.records(), None)
        return first is not None and len(first.fields) > 1 and all(map(is_number, first.fields.values()))

    def _by_rows(self, path: Path, labelled: bool) -> Iterator[SequenceExample]:
        layout: _Layout | None = None
        for record in self._records(path):
            if layout is None:
                layout = self._layout(record, labelled)
            held = () if self._of_files else layout.columns
            others = {name: value for name, value in record.fields.items() if name not in held}
            labels = labels_of(record, layout.label, self.settings.label_separator) if labelled else ()
            found = layout.read(record)
            where = f"{record.where}: {found}" if isinstance(found, Path) else record.where
            yield SequenceExample(found, labels, where, others)

    def _layout(self, record: Record, labelled: bool) -> _Layout:
        """What stands where, by the first row."""
        s, names = self.settings, list(record.fields)
        label = s.label or next((name for name in LABEL_COLUMNS if name in names), None)
        unnamed = names == [str(number) for number in range(1, len(names) + 1)]
        if label is None and unnamed and labelled:
            label = "1"  # of the UCR archive
        if labelled and label is None:
            some = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            raise DataError(f"{record.where}: in which column is the label? (columns: {some})")
        others, held = [name for name in names if name != label], ", ".join(names)
        by_step = False
        if s.column is not None:
            columns = named_columns(s.column, names, record)
            by_step = len(s.column) == 1 and ".." in s.column[0]
        elif SEQUENCE in others:
            columns = [SEQUENCE]
        elif s.input == "series":
            columns, by_step = others, len(others) > 1
        else:
            columns = [name for name in _OF_FILES if name in others][:1] if self._of_files else []
            columns = columns or others
            if len(columns) > 1:
                raise DataError(f"{record.where}: which column holds the {s.input}? name it with --column ({held})")
        if not columns:
            raise DataError(f"{record.where}: there is no column beside the label")
        of_numbers = steps_of if by_step else channels_of
        return _Layout(label or "", columns, {"items": items_of, "series": of_numbers}.get(s.input, path_of))

    def _by_steps(self, path: Path, labelled: bool) -> Iterator[SequenceExample]:
        """A row a step; those of a sequence stand together."""
        s = self.settings
        if s.input not in ("series", "items"):
            raise SettingsError(f"series: is of rows that are steps, and input = {s.input} is of files")
        assert s.series is not None  # noqa: S101
        seen: set[str] = set()
        held: list[Record] = []
        for record in self._records(path):
            name = str(record.value(s.series))
            if held and name != str(held[0].fields[s.series]):
                yield self._of_steps(held, labelled)
                held = []
            if not held and name in seen:
                raise DataError(f"{record.where}: sequence {name!r} began earlier: sort the rows by {s.series}")
            seen.add(name)
            held.append(record)
        if held:
            yield self._of_steps(held, labelled)

    def _of_steps(self, records: list[Record], labelled: bool) -> SequenceExample:
        s, first = self.settings, records[0]
        label = s.label or next((name for name in LABEL_COLUMNS if name in first.fields), None)
        if labelled and label is None:
            raise DataError(f"{first.where}: in which column is the label? (columns: {', '.join(first.fields)})")
        labels: tuple[str, ...] = ()
        if labelled and label is not None:
            labels = labels_of(first, label, s.label_separator)
            for record in records:
                if labels_of(record, label, s.label_separator) != labels:
                    told = f"{record.fields[label]!r}, but {first.fields[label]!r} at line {first.line}"
                    raise DataError(f"{record.where}: column {label!r}: {told}: a sequence has one label")
        if s.time is not None:
            records = in_time(records, s.time)
        names = list(first.fields)
        columns = [name for name in names if name not in (s.series, s.time, label)]
        if s.column is not None:
            columns = named_columns(s.column, names, first)
        if not columns:
            raise DataError(f"{first.where}: there is no column beside those of label, series and time")
        fields = {s.series: first.fields[s.series]} if s.series else {}
        if s.input == "items":
            if len(columns) > 1:
                raise DataError(f"{first.where}: which column holds the items? name it with --column ({columns})")
            return SequenceExample([str(each.value(columns[0])) for each in records], labels, first.where, fields)
        values = np.array([[number_of(each, name) for name in columns] for each in records])
        return SequenceExample(values, labels, first.where, fields)


class _Layout(NamedTuple):
    label: str
    columns: list[str]
    how: Callable[[Record, list[str]], Any]

    def read(self, record: Record) -> Any:
        """The sequence of a row."""
        return self.how(record, self.columns)
