"""Examples as numbers on disk, memory-mapped: rows of named columns, whose entries are of any length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ostinato.errors import DataError
from ostinato.files import write_text, writing


class Table:
    """Rows of columns; an entry is a one-dimensional array, such as the ids of a sentence's words or of its labels.

    A column is two files, `NAME.COLUMN` with all its entries on end and `NAME.COLUMN.ends` with where each ends, int64;
    `NAME.json`, written last, says what there is.

    Args:
        folder: where it stands.
        name: of the table.

    Raises:
        DataError: if it is not there, or its files do not fit each other.

    >>> import tempfile
    >>> rows = [{"words": [3, 1], "label": [0]}, {"words": [2], "label": [1]}]
    >>> table = Table.write(Path(tempfile.mkdtemp()), "train", rows, {"words": "<i4", "label": "<i4"})
    >>> len(table), table.lengths("words").tolist(), table.entry("words", 0).tolist()
    (2, [2, 1], [3, 1])
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._values: dict[str, np.ndarray] = {}
        self._ends: dict[str, np.ndarray] = {}
        try:
            about = json.loads((folder / f"{name}.json").read_text("utf-8"))
            for column, dtype in about["columns"].items():
                self._values[column] = _mapped(folder / f"{name}.{column}", dtype)
                self._ends[column] = _mapped(folder / f"{name}.{column}.ends", "<i8")
            self._rows = int(about["rows"])
            for column, ends in self._ends.items():
                if len(ends) != self._rows or (len(ends) and ends[-1] != len(self._values[column])):
                    raise ValueError(f"column {column} does not have its {self._rows:,} rows")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder / name}: damaged: {error}") from None

    def __len__(self) -> int:
        return self._rows

    def entry(self, column: str, row: int) -> np.ndarray:
        """What stands in a column of a row."""
        ends = self._ends[column]
        return self._values[column][ends[row - 1] if row else 0 : ends[row]]

    def entries(self, column: str, rows: Iterable[int]) -> list[np.ndarray]:
        """The entries of a column in some rows."""
        return [self.entry(column, row) for row in rows]

    def lengths(self, column: str) -> np.ndarray:
        """How long each row's entry is, int64 [rows]."""
        return np.diff(self._ends[column], prepend=0)

    def values(self, column: str) -> np.ndarray:
        """All entries of a column on end."""
        return self._values[column]

    @classmethod
    def write(
        cls,
        folder: Path,
        name: str,
        rows: Iterable[Mapping[str, Sequence[float] | np.ndarray]],
        columns: dict[str, str],
    ) -> Table:
        """Write rows as they come.

        Args:
            folder: where.
            name: of the table.
            rows: with an entry for every column.
            columns: name → NumPy's name of its type.
        """
        count, totals = 0, dict.fromkeys(columns, 0)
        with ExitStack() as open_files:
            values = {each: open_files.enter_context(writing(folder / f"{name}.{each}")) for each in columns}
            ends = {each: open_files.enter_context(writing(folder / f"{name}.{each}.ends")) for each in columns}
            for row in rows:
                count += 1
                for column, dtype in columns.items():
                    entry = np.ascontiguousarray(row[column], dtype)
                    totals[column] += len(entry)
                    values[column].write(entry.data)
                    ends[column].write(np.array([totals[column]], "<i8").data)
        write_text(folder / f"{name}.json", json.dumps({"rows": count, "columns": columns}) + "\n")
        return cls(folder, name)


def _mapped(path: Path, dtype: str) -> np.ndarray:
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)
