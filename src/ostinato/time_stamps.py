"""Time stamps: text to instants, the step between them, and where in a day, a week or a year they lie."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple

import numpy as np

from ostinato.errors import SettingsError

Kind = Literal["number", "time", "zoned time"]
Unit = Literal["step", "microsecond", "month"]

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
_EPOCH, _EPOCH_UTC, _MICROSECOND = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_UNITS: dict[str, tuple[int, Unit]] = {
    "us": (1, "microsecond"),
    **dict.fromkeys(("ms", "millisecond"), (1000, "microsecond")),
    **dict.fromkeys(("s", "sec", "second"), (SECOND, "microsecond")),
    **dict.fromkeys(("min", "minute"), (60 * SECOND, "microsecond")),
    **dict.fromkeys(("h", "hour"), (3600 * SECOND, "microsecond")),
    **dict.fromkeys(("d", "day"), (DAY, "microsecond")),
    **dict.fromkeys(("w", "week"), (7 * DAY, "microsecond")),
    "month": (1, "month"),
    **dict.fromkeys(("q", "quarter"), (3, "month")),
    **dict.fromkeys(("y", "year"), (12, "month")),
    "step": (1, "step"),
}
_NAMES = (
    (7 * DAY, "week"),
    (DAY, "day"),
    (3600 * SECOND, "h"),
    (60 * SECOND, "min"),
    (SECOND, "s"),
    (1000, "ms"),
    (1, "us"),
)
_LONGEST_SEASON = 1440  # steps: a day in minutes

CYCLES = ("day", "week", "year")


class Stamp(NamedTuple):
    """An instant: a number of its own, or microseconds since 1970 (of UTC if it has a zone)."""

    at: int
    kind: Kind
    offset: int = 0
    """Of its zone from UTC, minutes."""


class Frequency(NamedTuple):
    """The step between the stamps of a series.

    >>> str(Frequency(900 * SECOND, "microsecond")), str(Frequency(3, "month")), str(Frequency(1, "step"))
    ('15min', 'quarter', 'step')
    """

    size: int
    unit: Unit

    def __str__(self) -> str:
        if self.unit == "month":
            name, count = {1: ("month", 1), 3: ("quarter", 1), 12: ("year", 1)}.get(self.size, ("month", self.size))
        elif self.unit == "step":
            name, count = "step", self.size
        else:
            size, name = next(((size, name) for size, name in _NAMES if self.size % size == 0), (1, "us"))
            count = self.size // size
        if name in ("h", "min", "s", "ms", "us"):
            return f"{count}{name}"
        return name if count == 1 else f"{count} {name}s"

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Of `15min`, `h`, `2d`, `week`, `month`, `quarter`, `year` or `step`, and of pandas' names for them.

        Raises:
            SettingsError: if it is none of them.

        >>> Frequency.parse("15min").size // SECOND, Frequency.parse("MS"), Frequency.parse("Q").size
        (900, Frequency(size=1, unit='month'), 3)
        """
        found = re.fullmatch(r"(\d*)\s*([A-Za-z]+)", text.strip())
        if found:
            count, name = int(found[1] or 1), found[2]
            if name in ("M", "MS", "ME"):
                name = "month"  # `m` alone would be a minute to some
            elif name in ("QS", "QE", "YS", "YE", "A", "AS"):
                name = "q" if name[0] == "Q" else "y"
            elif name.lower() not in _UNITS:
                name = name.lower().removesuffix("s")
            size, unit = _UNITS.get(name.lower(), (0, "step"))
            if size and count:
                return cls(size * count, unit)
        known = "30s, 15min, h, d, week, month, quarter, year, or step for numbered rows"
        raise SettingsError(f"frequency = {text!r}: expected such as {known}")

    def season(self) -> int:
        """Steps of the season that is looked for first: a day's in hours, a week's in days, a year's in months.

        >>> [Frequency.parse(each).season() for each in ("h", "15min", "d", "week", "month", "quarter", "year", "s")]
        [24, 96, 7, 52, 12, 4, 1, 1]
        """
        if self.unit == "step":
            return 1
        if self.unit == "month":
            return 12 // self.size if 12 % self.size == 0 else 1
        for period in (DAY, 7 * DAY, 364 * DAY):
            steps = period / self.size
            if 1 < steps <= _LONGEST_SEASON and steps.is_integer():
                return int(steps)
        return 1

    def lags(self) -> list[int]:
        """How many steps back a series is likely to have been alike: the season, and a week below a day's steps."""
        season = self.season()
        week = 7 * DAY // self.size if self.unit == "microsecond" and self.size < DAY else 0
        return [each for each in (season, week) if each > 1 and each <= 7 * _LONGEST_SEASON]

    def steps(self, stamps: np.ndarray, start: int) -> np.ndarray:
        """How many steps after `start` stamps lie, float64: a whole number where they lie on the grid."""
        if self.unit != "month":
            return (stamps - start) / self.size
        month, rest = _months(np.append(stamps, start))
        month, rest, first = month[:-1], rest[:-1], month[-1]
        # the same day of the month, or the last of both
        days = rest // DAY
        same = (rest == rest[0]) | (rest - days * DAY == rest[0] % DAY) & _last_day(stamps) & _last_day(stamps[:1])
        return (month - first) / self.size + np.where(same, 0.0, 0.5)

    def floor(self, at: int) -> int:
        """Where the step that an instant lies in begins: weeks on Mondays, months on their first.

        >>> Frequency.parse("week").floor(0) // DAY, Frequency.parse("month").floor(40 * DAY) // DAY
        (-3, 31)
        """
        if self.unit == "month":
            month = int(_months(np.array([at]))[0][0]) // self.size * self.size
            return int(_month_start(np.array([month]))[0])
        monday = 3 * DAY if self.unit == "microsecond" and self.size % (7 * DAY) == 0 else 0
        return (at + monday) // self.size * self.size - monday

    def stamps(self, start: int, first: int, count: int) -> np.ndarray:
        """The stamps of some steps after `start`, int64 [count], counted from step `first`."""
        at = np.arange(first, first + count, dtype=np.int64) * self.size
        if self.unit != "month":
            return start + at
        month, rest = (int(each[0]) for each in _months(np.array([start])))
        begin = _month_start(month + at)
        length = _month_start(month + at + 1) - begin
        day, of_day = rest // DAY, rest % DAY
        if bool(_last_day(np.array([start]))[0]):
            day = 31
        return begin + np.minimum(day * DAY, length - DAY) + of_day


def _months(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Months since 1970, and microseconds since the month's beginning."""
    month = stamps.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return month, stamps - _month_start(month)


def _month_start(month: np.ndarray) -> np.ndarray:
    return np.asarray(month).astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)


def _last_day(stamps: np.ndarray) -> np.ndarray:
    return _months(stamps)[0] != _months(stamps + DAY)[0]


def read_stamp(value: Any, form: str | None = None) -> Stamp | None:
    """A cell as an instant; None if it is none.

    Args:
        value: ISO 8601 (a blank for the T, and slashes, are taken too), a month (`1949-01`), a quarter (`1949Q1`), a
            whole number, which counts steps, or what Parquet has for times.
        form: of the text, as `strptime` has it; or `unix`, `unix-ms`, seconds or milliseconds since 1970.

    >>> read_stamp("1970-01-02T01:00+01:00"), read_stamp("1970-02").at // DAY, read_stamp("7"), read_stamp("soon")
    (Stamp(at=86400000000, kind='zoned time', offset=60), 31, Stamp(at=7, kind='number', offset=0), None)
    """
    try:
        if form in ("unix", "unix-ms"):
            at = round(float(value) * (SECOND if form == "unix" else 1000))
            return Stamp(at, "zoned time")
        if isinstance(value, datetime):
            return _of_datetime(value)
        if isinstance(value, date):
            return _of_datetime(datetime(value.year, value.month, value.day))
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return Stamp(int(value), "number") if math.isfinite(value) and value == int(value) else None
        text = str(value).strip()
        if form is not None:
            return _of_datetime(datetime.strptime(text, form))
        if re.fullmatch(r"-?\d+(\.0*)?", text) and not re.fullmatch(r"[12]\d{7}", text):
            return Stamp(int(text.partition(".")[0]), "number")
        if found := re.fullmatch(r"(\d{4})[-/](\d{1,2})", text):
            return _of_datetime(datetime(int(found[1]), int(found[2]), 1))
        if found := re.fullmatch(r"(\d{4})[- ]?[Qq]([1-4])", text):
            return _of_datetime(datetime(int(found[1]), 3 * int(found[2]) - 2, 1))
        if re.match(r"\d{4}/\d\d/\d\d", text):
            text = text.replace("/", "-")
        return _of_datetime(datetime.fromisoformat(text))
    except (ValueError, OverflowError, TypeError):
        return None


def _of_datetime(value: datetime) -> Stamp:
    offset = value.utcoffset()
    if offset is None:
        return Stamp((value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND, "time")
    return Stamp((value - _EPOCH_UTC) // _MICROSECOND, "zoned time", int(offset.total_seconds()) // 60)


def write_stamp(at: int, kind: Kind, frequency: Frequency) -> str | int:
    """An instant as ISO 8601, no finer than its steps; a number as it is.

    >>> write_stamp(DAY, "time", Frequency.parse("d")), write_stamp(DAY, "zoned time", Frequency.parse("h"))
    ('1970-01-02', '1970-01-02T00:00:00+00:00')
    """
    if kind == "number":
        return at
    when = _EPOCH + timedelta(microseconds=at)
    whole_days = frequency.unit == "month" or frequency.size % DAY == 0
    if kind == "time" and whole_days and at % DAY == 0:
        return when.date().isoformat()
    return when.isoformat() + ("+00:00" if kind == "zoned time" else "")


def find_frequency(series: Iterable[np.ndarray], numbers: bool) -> Frequency | None:
    """The step that is most frequent between neighbouring stamps; None where no series has two.

    Stamps that all stand on one day of their months, or all on the last, count months.

    Args:
        series: the stamps of each, int64, sorted.
        numbers: whether they are numbers of their own.

    >>> days = [np.array([0, 31, 59, 120], np.int64) * DAY]
    >>> find_frequency(days, False), find_frequency([np.array([2, 4, 6, 10])], True)
    (Frequency(size=1, unit='month'), Frequency(size=2, unit='step'))
    """
    counts: Counter[int] = Counter()
    kept: list[np.ndarray] = []
    monthly = not numbers
    for stamps in series:
        gaps = np.diff(np.unique(stamps))
        counts.update(dict(zip(*(each.tolist() for each in np.unique(gaps, return_counts=True)), strict=True)))
        if monthly and len(gaps):
            rest = _months(stamps)[1]
            monthly = bool(((rest == rest[0]).all() or _last_day(stamps).all()) and gaps.min() >= 28 * DAY)
            kept.append(stamps)
    if not counts:
        return None
    if monthly:
        months = Counter(gap for stamps in kept for gap in np.diff(np.unique(_months(stamps)[0])).tolist())
        return Frequency(_most_frequent(months), "month")
    return Frequency(_most_frequent(counts), "step" if numbers else "microsecond")


def _most_frequent(counts: Counter[int]) -> int:
    return min(counts, key=lambda gap: (-counts[gap], gap))


def cycles_within(frequency: Frequency, steps: int) -> list[str]:
    """Which of `CYCLES` are longer than a step and were seen at least twice in so many steps.

    >>> cycles_within(Frequency.parse("h"), 24 * 60), cycles_within(Frequency.parse("month"), 144)
    (['day', 'week'], ['year'])
    """
    if frequency.unit == "step":
        return []
    length = frequency.size * (30 * DAY if frequency.unit == "month" else 1)
    periods = dict(zip(CYCLES, (DAY, 7 * DAY, 365 * DAY), strict=True))
    return [name for name, period in periods.items() if length < period and 2 * period <= steps * length]


def calendar(stamps: np.ndarray, cycles: Sequence[str]) -> np.ndarray:
    """Where stamps lie in each cycle, as sine and cosine: float32 [time, 2·cycles].

    >>> calendar(np.array([0, DAY // 4]), ["day"]).round(2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    found = [np.zeros((len(stamps), 0))]
    for name in cycles:
        if name == "year":
            year = stamps.astype("datetime64[us]").astype("datetime64[Y]").astype("datetime64[us]").astype(np.int64)
            phase = (stamps - year) / (365.25 * DAY)
        else:
            phase = (
                (stamps + (0 if name == "day" else 3 * DAY)) % (period := DAY if name == "day" else 7 * DAY)
            ) / period
        found.append(np.stack([np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)], axis=1))
    return np.concatenate(found, axis=1).astype(np.float32)
