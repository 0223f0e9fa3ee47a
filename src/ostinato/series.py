"""Files of rows → series: numbers at even steps, with what is known beside them, and each error with file and line."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.data import TextReader, fingerprint, fingerprint_of_bytes
from ostinato.errors import DataError
from ostinato.records import TEXT, Record, RecordFormat, RecordReader, record_format
from ostinato.settings import Settings
from ostinato.time_stamps import Frequency, Kind, find_frequency, read_stamp, write_stamp

_TIMES = ("time", "date", "datetime", "timestamp", "ds", "month", "day", "hour", "year", "Month", "Date", "Time")
_TARGETS = ("target", "value", "y")
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "nat"})
_LARGEST = 1e100  # whose square is a number still
_LONGEST_GAP = 50_000_000  # steps of a series: a wrong year would fill the memory


class SeriesSettings(Settings):
    """How files of series are read."""

    format: RecordFormat = Field("auto", description="of the files; auto: by name, else CSV")
    time: str | None = Field(
        None, description="column of the time stamps; none: rows are in order [default: time, date, timestamp, ds, …]"
    )
    target: list[str] = Field(
        [], description="columns that are forecast [default: target, value, y, or the only one that is left]"
    )
    series: list[str] = Field([], description="columns that name the series, where a file has many")
    known: list[str] = Field([], description="further columns that are known in the future too, such as a price")
    observed: list[str] = Field([], description="further columns that are known up to now, such as the weather")
    static: list[str] = Field([], description="further columns with one value, or word, for all of a series")
    time_format: str | None = Field(
        None, description="of the stamps, as %d/%m/%Y; unix and unix-ms count from 1970 [default: ISO 8601, or numbers]"
    )
    frequency: str | None = Field(
        None, description="the step: 30s, 15min, h, d, week, month, quarter, year, step [default: found]"
    )
    duplicates: Literal["error", "mean", "sum", "first", "last"] = Field(
        "error", description="what becomes of two rows of a series within one step"
    )
    header: bool = Field(True, description="the first row of a table names its columns; else they are called 1, 2, …")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class Series(NamedTuple):
    """Numbers at even steps; of a step that no row told, all are NaN."""

    name: str
    """What its columns say, with / between; empty where there is but one."""
    values: np.ndarray
    """Targets, float64 [time, target], NaN where missing; at the end there may be steps of which only `known` tells."""
    known: np.ndarray
    """[time, known]."""
    observed: np.ndarray
    """[time, observed]."""
    static: tuple[str, ...]
    start: int
    """The first stamp; see `ostinato.time_stamps.Stamp`."""
    kind: Kind
    frequency: Frequency
    where: str
    """File and line of its first row, as an error begins."""
    rows: int
    """That the file has; the other steps are gaps."""

    @property
    def history(self) -> int:
        """Steps up to the last that has a target; what comes after is the future."""
        told = np.flatnonzero(np.isfinite(self.values).any(axis=1))
        return int(told[-1]) + 1 if len(told) else 0

    def stamps(self, first: int, count: int) -> np.ndarray:
        """Of some steps, which may lie beyond the end."""
        return self.frequency.stamps(self.start, first, count)

    def told(self, step: int) -> str | int:
        """The stamp of a step, for people."""
        return write_stamp(int(self.stamps(step, 1)[0]), self.kind, self.frequency)


@dataclass
class _Rows:
    """The rows of a series as they come."""

    where: str
    static: tuple[str, ...]
    times: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    paths: array[int] = field(default_factory=lambda: array("i"))


@dataclass(frozen=True)
class SeriesReader:
    r"""Series from files of rows in long form, a row a time stamp (and series); see `RecordReader` for formats.

    Rows may come in any order, those of several series mixed, and a series may go on in another file. Rows are read as
    a stream, but all numbers are held: 8 bytes for each.

    Args:
        files: what to read, together.
        settings: which columns, and how.
        frequency: the step, where the settings do not state one; found if None.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sales.csv"
    >>> _ = path.write_text("date,store,units\n2024-01-01,a,3\n2024-01-02,a,5\n2024-01-04,a,4\n")
    >>> [series] = SeriesReader([path], SeriesSettings(target=["units"], series=["store"])).examples()
    >>> series.name, str(series.frequency), series.values[:, 0].tolist(), series.told(3)
    ('a', 'day', [3.0, 5.0, nan, 4.0], '2024-01-04')
    """

    files: Sequence[Path]
    settings: SeriesSettings
    frequency: Frequency | None = None

    def examples(self) -> Iterator[Series]:
        """All series, in the order of their first rows.

        Raises:
            DataError: with file and line, if a cell is not what its column should hold, stamps have zones and none,
                two rows of a series stand at one step, a stamp lies between steps, or no step can be found.
        """
        s = self.settings
        columns: _Columns | None = None
        found: dict[str, _Rows] = {}
        kind: Kind | None = None
        files = list(self.files)
        for record in records(files, s):
            if columns is None:
                columns = _Columns.of(record, s)
            name = "/".join(_name(record, column) for column in s.series)
            rows = found.get(name)
            if rows is None:
                static = tuple(_name(record, column) for column in s.static)
                rows = found[name] = _Rows(record.where, static)
            elif s.static and (static := tuple(_name(record, column) for column in s.static)) != rows.static:
                raise DataError(
                    f"{record.where}: series {name!r}: static columns say {', '.join(static)}, but "
                    f"{', '.join(rows.static)} at {rows.where}"
                )
            stamp = columns.stamp(record, len(rows.times), s.time_format)
            if kind is not None and stamp[1] != kind:
                raise DataError(
                    f"{record.where}: column {columns.time!r}: {record.value(columns.time or '')!r} is a {stamp[1]}, "
                    f"but the rows before have a {kind}: give all of them a zone, or none"
                )
            kind = stamp[1]
            rows.times.append(stamp[0])
            for column in columns.numbers:
                rows.numbers.append(read_number(record, column))
            rows.lines.append(record.line)
            rows.paths.append(files.index(record.path))
        if columns is None or kind is None:
            raise DataError(f"{', '.join(str(path) for path in files[:3])}: holds no rows, so there are no series")
        yield from self._series(found, columns, kind)

    def _series(self, found: dict[str, _Rows], columns: _Columns, kind: Kind) -> Iterator[Series]:
        s = self.settings
        numbers = kind == "number"
        frequency = Frequency.parse(s.frequency) if s.frequency else self.frequency
        if frequency is not None and (frequency.unit == "step") != numbers:
            what = "counts steps" if numbers else "are times"
            raise DataError(
                f"{self.files[0]}: column {columns.time!r}: {what}, which a step of {frequency} does not fit "
                "(--frequency, or that of the model)"
            )
        if frequency is None:
            frequency = find_frequency((np.sort(np.array(rows.times, np.int64)) for rows in found.values()), numbers)
        if frequency is None:
            first = next(iter(found.values()))
            raise DataError(
                f"{first.where}: no series has two different time stamps, so the step between them is not known: give "
                "more rows, or state --frequency"
            )
        for name, rows in found.items():
            yield self._even(name, rows, columns, kind, frequency)

    def _even(self, name: str, rows: _Rows, columns: _Columns, kind: Kind, frequency: Frequency) -> Series:
        """A series at even steps."""
        s = self.settings
        times = np.array(rows.times, np.int64)
        order = np.argsort(times, kind="stable")
        start, resampled = int(times[order[0]]), bool(s.frequency) and s.duplicates != "error"
        if resampled:  # rows within a step are put together
            start = frequency.floor(start)
        steps = frequency.steps(times[order], start)
        if resampled:
            steps = np.floor(steps + 1e-9)
        at = np.rint(steps).astype(np.int64)

        def place(position: int) -> str:
            row = int(order[position])
            of = f" of series {name!r}" if name else ""
            stamp = write_stamp(int(times[row]), kind, Frequency(1, "microsecond"))
            return f"{self.files[rows.paths[row]]}: line {rows.lines[row]}: {stamp}{of}"

        if (odd := np.flatnonzero(np.abs(steps - at) > 1e-6)).size:
            raise DataError(
                f"{place(int(odd[0]))}: lies between steps of {frequency} from "
                f"{write_stamp(start, kind, frequency)}: state another --frequency, or put together what lies in a "
                "step with --frequency and --duplicates mean"
            )
        if at[-1] >= _LONGEST_GAP:
            raise DataError(f"{place(len(at) - 1)}: {int(at[-1]):,} steps of {frequency} after the first: is it right?")
        same = np.flatnonzero(np.diff(at) == 0)
        if len(same) and s.duplicates == "error":
            other = int(order[int(same[0])])
            raise DataError(
                f"{place(int(same[0]) + 1)}: the same time stamp as in line {rows.lines[other]}: are there several "
                "series (--series)? else say what becomes of them: --duplicates mean, sum, first or last"
            )
        values = np.array(rows.numbers, np.float64).reshape(len(times), -1)[order]
        even = _together(values, at, s.duplicates) if len(same) else _spread(values, at)
        k, c = len(columns.targets), len(columns.targets) + len(s.known)
        parts = even[:, :k], even[:, k:c], even[:, c:]
        return Series(name, *parts, rows.static, start, kind, frequency, rows.where, len(times))

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it; of Parquet the bytes, of all else the text."""
        if any(path.suffix == ".parquet" for path in self.files) or self.settings.format == "parquet":
            return fingerprint_of_bytes(self.files)
        return asdict(fingerprint(TextReader(self.files, self.settings.encoding, self.settings.errors)))


def records(files: Sequence[Path], settings: SeriesSettings) -> Iterator[Record]:
    """Rows of files; those whose names say no format, such as standard input, are CSV."""
    s = settings
    for path in files:
        form = "csv" if s.format == "auto" and record_format(path, str) == TEXT else s.format
        yield from RecordReader([path], form, s.encoding, s.errors, s.header).records()


class _Columns(NamedTuple):
    """Which column is what, as settings and the first row say."""

    time: str | None
    targets: list[str]
    numbers: list[str]
    """All that are read as numbers: targets, known, observed."""

    @classmethod
    def of(cls, record: Record, s: SeriesSettings) -> _Columns:
        time = s.time
        if time is None:
            time = next((name for name in _TIMES if name in record.fields), None)
        elif time == "none":
            time = None
        else:
            record.value(time)
        targets = list(s.target)
        if not targets:
            named = [name for name in _TARGETS if name in record.fields]
            taken = {time, *s.series, *s.known, *s.observed, *s.static}
            left = [name for name in record.fields if name not in taken]
            if not named and len(left) != 1:
                raise DataError(
                    f"{record.where}: which column is to be forecast? (--target; columns: {', '.join(record.fields)})"
                )
            targets = named[:1] or left
        for name in (*targets, *s.series, *s.known, *s.observed, *s.static):
            record.value(name)
        return cls(time, targets, [*targets, *s.known, *s.observed])

    def stamp(self, record: Record, row: int, form: str | None) -> tuple[int, Kind]:
        """When a row is; without a column of times, as the rows of its series are counted."""
        if self.time is None:
            return row, "number"
        value = record.value(self.time)
        found = read_stamp(value, form)
        if found is None:
            wanted = f"a time as {form}" if form else "an ISO 8601 time, such as 2024-01-31 or 2024-01-31T06:00"
            more = "" if form else "; other forms are told by --time-format, such as %d/%m/%Y"
            raise DataError(f"{record.where}: column {self.time!r}: expected {wanted}, found {value!r}{more}")
        return found.at, found.kind


def target_names(files: Sequence[Path], settings: SeriesSettings) -> list[str]:
    """The columns that are forecast, as the first row has them where the settings leave it open."""
    for record in records(files, settings):
        return _Columns.of(record, settings).targets
    raise DataError(f"{files[0]}: empty: there are no rows, so there are no series")


def _name(record: Record, column: str) -> str:
    value = record.value(column)
    if value is None or value == "":
        raise DataError(f"{record.where}: column {column!r}: empty: expected which series the row is of")
    return str(value)


def read_number(record: Record, column: str) -> float:
    """A number of a row; NaN where the cell is empty, or says that it is missing.

    Raises:
        DataError: if it is something else, or infinite.
    """
    value = record.value(column)
    if value is None:
        return math.nan
    if isinstance(value, str) and value.strip().lower() in _MISSING:
        return math.nan
    try:
        if isinstance(value, list | dict):
            raise ValueError
        found = float(value)
    except (ValueError, TypeError):
        hint = "; a decimal comma? write 3.5" if isinstance(value, str) and "," in value else ""
        raise DataError(f"{record.where}: column {column!r}: expected a number, found {value!r}{hint}") from None
    if abs(found) > _LARGEST:
        raise DataError(f"{record.where}: column {column!r}: {value!r}: expected a finite number, or an empty cell")
    return found


def _spread(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows [rows, column] at their steps, NaN between."""
    even = np.full((int(at[-1]) + 1, values.shape[1]), np.nan)
    even[at] = values
    return even


def _together(values: np.ndarray, at: np.ndarray, how: str) -> np.ndarray:
    """The same where several rows are of a step; what is missing in some is told by the others."""
    if how in ("first", "last"):
        _, keep = np.unique(at if how == "first" else at[::-1], return_index=True)
        keep = keep if how == "first" else len(at) - 1 - keep
        return _spread(values[keep], at[keep])
    size = int(at[-1]) + 1
    total, count = np.zeros((size, values.shape[1])), np.zeros((size, values.shape[1]))
    np.add.at(total, at, np.nan_to_num(values))
    np.add.at(count, at, np.isfinite(values))
    return np.where(count > 0, total / (np.maximum(count, 1) if how == "mean" else 1), np.nan)
