"""Labelled examples: texts and their labels, from the files that the field uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ostinato.data import TextReader, fingerprint, fingerprint_of_bytes
from ostinato.errors import DataError
from ostinato.records import LABEL, TEXT, Record, RecordFormat, RecordReader, record_format
from ostinato.settings import Settings

LABEL_COLUMNS = ("label", "labels")


class ExampleSettings(Settings):
    """How labelled files are read."""

    format: RecordFormat | Literal["folders"] = Field(
        "auto", description="of the files; auto: by name or first line, and folders where texts lie in one per label"
    )
    text: str | None = Field(None, description="column of the text [default: text, or the only one beside the label]")
    label: str | None = Field(None, description="column of the label, or a list of them [default: label or labels]")
    label_separator: str | None = Field(None, min_length=1, description="between the labels of a column that has many")
    header: bool = Field(True, description="the first row of a table names its columns; else they are called 1, 2, …")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="examples kept for validation, drawn at random")


class Example(NamedTuple):
    """A text and what it is."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ExampleReader:
    r"""Examples from files of rows, see `RecordReader`, as a stream.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "train.txt"
    >>> _ = path.write_text("__label__knife __label__care How to sharpen it?\n")
    >>> list(ExampleReader([path], ExampleSettings()).examples())
    [Example(text='How to sharpen it?', labels=('knife', 'care'))]
    """

    files: Sequence[Path]
    settings: ExampleSettings

    def records(self, labelled: bool = True) -> Iterator[Record]:
        """Rows with all their fields; of a folder of texts for each label the columns `text` and `label`.

        Args:
            labelled: whether they need a label, without which plain text is lines and not files of a folder.
        """
        s = self.settings
        if s.format == "folders" or (labelled and s.format == "auto" and self._one_folder_a_label()):
            for path in self.files:
                text = "".join(TextReader([path], s.encoding, s.errors).blocks())
                yield Record({TEXT: text.strip(), "label": path.parent.name}, path, 1)
        else:
            yield from RecordReader(self.files, s.format, s.encoding, s.errors, s.header).records()

    def _one_folder_a_label(self) -> bool:
        """Whether the files are plain text in at least two folders."""
        return len({path.parent for path in self.files}) > 1 and all(
            record_format(path, partial(self._beginning, path)) == "text" for path in self.files
        )

    def _beginning(self, path: Path) -> str:
        return next(TextReader([path], self.settings.encoding, self.settings.errors).blocks(), "")

    def examples(self) -> Iterator[Example]:
        """Texts with their labels.

        Raises:
            DataError: with file and line, if a file cannot be read, a column is not there, or a row has no label.
        """
        for record in self.records():
            yield Example(
                self.text_of(record), labels_of(record, self.label_column(record), self.settings.label_separator)
            )

    def texts(self) -> Iterator[str]:
        """Texts alone, of files that need have no labels."""
        return (self.text_of(record) for record in self.records(labelled=False))

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it; of Parquet the bytes, of all else the text."""
        if any(path.suffix == ".parquet" for path in self.files) or self.settings.format == "parquet":
            return fingerprint_of_bytes(self.files)
        return asdict(fingerprint(TextReader(self.files, self.settings.encoding, self.settings.errors)))

    def text_of(self, record: Record) -> str:
        """The text of a row.

        Raises:
            DataError: if no column is it, or it is no text.
        """
        column = self.settings.text
        if column is None:
            others = [name for name in record.fields if name not in (*LABEL_COLUMNS, self.settings.label)]
            column = others[0] if len(others) == 1 and TEXT not in record.fields else None
        return record.text(column if column is not None else RecordReader.text_column(record))

    def label_column(self, record: Record) -> str:
        """Where the label of a row stands.

        Raises:
            DataError: if no column is it.
        """
        column = self.settings.label or next((name for name in LABEL_COLUMNS if name in record.fields), None)
        if column is None:
            held = ", ".join(record.fields)
            raise DataError(
                f"{record.where}: in which column is the label? (columns: {held}; or a text begins with {LABEL}…, "
                "or files lie in one folder for each label)"
            )
        return column


def labels_of(record: Record, column: str, separator: str | None) -> tuple[str, ...]:
    """The labels that a row has in a column.

    Raises:
        DataError: if there is none.
    """
    found = record.value(column)
    if isinstance(found, str):
        found = found.split(separator) if separator else [found]
    labels = tuple(dict.fromkeys(_label(each, record) for each in (found if isinstance(found, list) else [found])))
    labels = tuple(label for label in labels if label)
    if not labels:
        raise DataError(f"{record.where}: there is no label")
    return labels


def _label(found: Any, record: Record) -> str:
    if isinstance(found, str):
        return found.strip()
    if found is None or isinstance(found, dict | list):
        raise DataError(f"{record.where}: expected a label, found {json.dumps(found, default=str)[:40]}")
    return json.dumps(found, default=str)  # a number, true, or a date
