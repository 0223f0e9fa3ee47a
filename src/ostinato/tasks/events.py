"""Event logs: who met which item, and when; to the history of each, in order of time."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from ostinato.errors import DataError, nearest
from ostinato.records import TEXT, Record, RecordFormat, RecordReader
from ostinato.settings import Settings
from ostinato.tasks.examples import ExampleReader, ExampleSettings

USER_COLUMNS = (
    "user", "user_id", "userid", "session", "session_id", "sessionid", "playlist", "playlist_id", "pid", "customer",
    "customer_id", "visitor", "visitor_id",
)  # fmt: skip
ITEM_COLUMNS = (
    "item", "item_id", "itemid", "items", "product", "product_id", "track", "track_id", "tracks", "song", "movie",
    "movie_id", "artist",
)  # fmt: skip
TIME_COLUMNS = ("time", "timestamp", "times", "ts", "datetime", "date")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SIZES = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (math.inf, 1e-9))
_GAP_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class EventSettings(Settings):
    """How event logs are read."""

    format: RecordFormat = Field("auto", description="of the files; auto: by name")
    user: str | None = Field(
        None, description="column of whoever, or whichever session, the events belong to [default: user, session, …]"
    )
    item: str | None = Field(None, description="column of the item, or of a list of them [default: item, track, …]")
    time: str | None = Field(
        None,
        description="column of the time, numbers or as 2024-05-01T12:30 [default: time, ts, …, or the rows' order]",
    )
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = Field("auto", description="of times as numbers; auto: by size")
    separator: str | None = Field(
        None, min_length=1, description="between the fields of plain lines, such as '::' or ' '; columns are 1, 2, …"
    )
    header: bool = Field(True, description="the first row of a table names its columns; else they are called 1, 2, …")
    session_gap: str | None = Field(
        None, description="a longer pause, such as 30m, 12h or 7d, begins a new history [default: none does]"
    )
    duplicates: Literal["drop", "keep", "merge"] = Field(
        "drop", description="drop: the same user, item and time counts once; merge: an item right after itself too"
    )
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")

    @field_validator("session_gap")
    @classmethod
    def _know_gap(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_of(value)
        return value


def seconds_of(gap: str) -> float:
    """Seconds of a span such as 90, 30m, 12h or 7d.

    >>> seconds_of("30m")
    1800.0
    """
    number, unit = (gap[:-1], gap[-1]) if gap[-1:] in _GAP_UNITS else (gap, "s")
    try:
        seconds = float(number) * _GAP_UNITS[unit]
    except ValueError:
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError("expected a span of time such as 90s, 30m, 12h or 7d")
    return seconds


class History(NamedTuple):
    """The events of a user, or of a session, in order."""

    user: str
    items: Sequence[str]
    times: np.ndarray | None
    """Seconds, float64 [items]; None where the log tells none."""
    first: int = 1
    """From which item on they are to be told from those before it."""
    groups: Sequence[str] | None = None
    """What else the log says of each item, such as its artist; empty where it says nothing."""

    @property
    def gaps(self) -> np.ndarray | None:
        """Seconds since the item before, float64 [items]; that of the first is NaN."""
        return None if self.times is None else np.diff(self.times, prepend=math.nan)


class _Log(NamedTuple):
    """All events, sorted, as numbers."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    groups: np.ndarray | None
    starts: np.ndarray
    """Where each history begins, and the end."""


@dataclass(frozen=True)
class EventReader:
    r"""Histories from event logs, see `RecordReader` for the formats; a row is an event, or a whole history as lists.

    A file is read once, as a stream; kept are the names of users and items, and sixteen bytes an event.

    Args:
        files: what to read.
        settings: how.
        group: a column of something else that is known of an item, such as its artist.
        tell: hears what was passed over.
        group_columns: usual names of that column, for where it is not named.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.csv"
    >>> _ = path.write_text("user,item,ts\nann,tea,30\nbob,milk,5\nann,cup,10\n")
    >>> [(each.user, list(each.items)) for each in EventReader([path], EventSettings()).examples()]
    [('ann', ['cup', 'tea']), ('bob', ['milk'])]
    """

    files: Sequence[Path]
    settings: EventSettings
    group: str | None = None
    tell: Callable[[str], None] = lambda _: None
    group_columns: Sequence[str] = ()
    skipped: Counter[str] = field(default_factory=Counter)
    """Why events were passed over, and how many."""
    _names: tuple[dict[str, int], dict[str, int], dict[str, int]] = field(default_factory=lambda: ({}, {}, {}))

    def __len__(self) -> int:
        return len(self._log.starts) - 1

    def examples(self) -> Iterator[History]:
        """The histories, in the order in which their users come.

        Raises:
            DataError: with file and line, if a file cannot be read, a column is not there, or a time is none.
        """
        log = self._log
        users, items, groups = (list(names) for names in self._names)
        for start, end in zip(log.starts[:-1].tolist(), log.starts[1:].tolist(), strict=True):
            times = None if log.times is None else log.times[start:end]
            told = None if log.groups is None else [groups[each] for each in log.groups[start:end].tolist()]
            yield History(users[log.users[start]], [items[i] for i in log.items[start:end].tolist()], times, 1, told)

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it."""
        s = self.settings
        settings = ExampleSettings.checked({"format": s.format, "encoding": s.encoding, "errors": s.errors})
        return ExampleReader(self.files, settings).fingerprint()

    @cached_property
    def begins(self) -> np.ndarray:
        """The time at which each history begins, seconds, float64 [histories].

        Raises:
            DataError: if the log tells no times.
        """
        if self._log.times is None:
            raise DataError(f"{self.files[0]}: which column is the time? give --time COLUMN")
        return self._log.times[self._log.starts[:-1]]

    @cached_property
    def _log(self) -> _Log:
        users, items, groups, times = array("i"), array("i"), array("i"), array("d")
        clock = _Clock(self.settings.time_unit)
        known, catalogue, others = self._names
        timed: bool | None = None
        first = ""
        for record in self._records():
            for user, item, time, group in self._events(record, clock):
                if timed is None:
                    timed, first = time is not None, record.where
                elif timed != (time is not None):
                    raise DataError(f"{record.where}: {'no time' if timed else 'a time'}, unlike {first}")
                users.append(known.setdefault(user, len(known)))
                items.append(catalogue.setdefault(item, len(catalogue)))
                groups.append(others.setdefault(group, len(others)))
                if time is not None:
                    times.append(time)
        for reason, count in self.skipped.items():
            self.tell(f"{count:,} events passed over: {reason}")
        if not users:
            raise DataError(f"{self.files[0]}: holds no events; expected rows of a user, an item and perhaps a time")
        if self.settings.session_gap and not timed:
            raise DataError("session_gap: the log tells no times; give --time COLUMN, or leave it out")
        named = np.asarray(groups) if len(others) > 1 else None
        return self._sorted(np.asarray(users), np.asarray(items), np.asarray(times) if timed else None, named)

    def _sorted(
        self, users: np.ndarray, items: np.ndarray, times: np.ndarray | None, groups: np.ndarray | None
    ) -> _Log:
        s = self.settings
        order = np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))
        if times is not None and s.duplicates != "keep":
            same = np.lexsort((items, times, users))  # stable: of equal ones the first in the file comes first
            again = np.zeros(len(users), bool)
            again[same[1:]] = np.all([np.diff(each[same]) == 0 for each in (users, times, items)], axis=0)
            order = self._without(order, again, "the same user, item and time as another")
        if s.duplicates == "merge":
            again = np.zeros(len(users), bool)
            again[order[1:]] = (np.diff(users[order]) == 0) & (np.diff(items[order]) == 0)
            order = self._without(order, again, "the same item as the one before")
        users, items = users[order], items[order]
        times = None if times is None else times[order]
        begins = np.diff(users, prepend=-1) != 0
        if s.session_gap and times is not None:
            begins |= np.diff(times, prepend=times[0]) > seconds_of(s.session_gap)
        starts = np.append(np.flatnonzero(begins), len(users))
        return _Log(users, items, times, None if groups is None else groups[order], starts)

    def _without(self, order: np.ndarray, left_out: np.ndarray, why: str) -> np.ndarray:
        if count := int(left_out.sum()):
            self.skipped[why] += count
            self.tell(f"{count:,} events passed over: {why}")
        return order[~left_out[order]]

    def _records(self) -> Iterator[Record]:
        s = self.settings
        if s.separator is None:
            yield from RecordReader(self.files, s.format, s.encoding, s.errors, s.header).records()
            return
        separator = s.separator.encode().decode("unicode_escape") if "\\" in s.separator else s.separator
        for record in RecordReader(self.files, "text", s.encoding, s.errors).records():
            line: str = record.fields[TEXT]
            if line.strip():
                parts = line.split() if separator == " " else line.split(separator)
                yield record._replace(fields={str(number): part.strip() for number, part in enumerate(parts, 1)})

    def _events(self, record: Record, clock: _Clock) -> Iterator[tuple[str, str, float | None, str]]:
        """The events of a row."""
        s = self.settings
        item_column = _column(record, s.item, ITEM_COLUMNS, "item")
        assert item_column is not None  # noqa: S101
        found = record.value(item_column)
        if s.user is None and isinstance(found, list):
            user_column = next((name for name in USER_COLUMNS if name in record.fields), None)
        else:
            user_column = _column(record, s.user, USER_COLUMNS, "user")
        user = f"{record.path.name}:{record.line}" if user_column is None else _name(record.value(user_column))
        time_column = _column(record, s.time, TIME_COLUMNS, None)
        times = None if time_column is None else record.value(time_column)
        group_column = _column(record, self.group, self.group_columns, None)
        if group_column == item_column:
            group_column = None
        group = "" if group_column is None else record.value(group_column)
        if not user:
            self._skip("no user", record)
            return
        if not isinstance(found, list):
            if item := _name(found):
                yield (
                    user,
                    item,
                    None if time_column is None else clock.seconds(times, record, time_column),
                    _name(group),
                )
            else:
                self._skip("no item", record)
            return
        if times is not None and (not isinstance(times, list) or len(times) != len(found)):
            told = f"{len(times):,} times" if isinstance(times, list) else "one time"
            raise DataError(f"{record.where}: {len(found):,} items, but {told}: expected as many")
        for at, each in enumerate(found):
            if item := _name(each):
                time = None if times is None or time_column is None else clock.seconds(times[at], record, time_column)
                yield user, item, time, _name(group[at] if isinstance(group, list) and at < len(group) else group)
            else:
                self._skip("no item", record)

    def _skip(self, why: str, record: Record) -> None:
        first = next((reason for reason in self.skipped if reason.startswith(why)), None)
        self.skipped[first or f"{why} (the first at {record.path.name}: line {record.line})"] += 1


class _Clock:
    """Times as seconds; all of a log are of one kind."""

    def __init__(self, unit: str) -> None:
        self._scale = None if unit == "auto" else _UNITS[unit]
        self._kind, self._first = "", ""

    def seconds(self, value: Any, record: Record, column: str) -> float:
        """Of a value.

        Raises:
            DataError: with file and line, if it is no time, or of another kind than those before.
        """
        kind, time = _time(value)
        if not kind:
            shown = json.dumps(value, ensure_ascii=False, default=str)[:40]
            raise DataError(
                f"{record.where}: column {column!r}: expected a time, a number or as 2024-05-01T12:30, found {shown}"
            )
        if not self._kind:
            self._kind, self._first = kind, record.where
            if kind == "a number" and self._scale is None:  # seconds of today are of ten digits
                self._scale = next(scale for size, scale in _SIZES if abs(time) < size)
        if kind != self._kind:
            raise DataError(
                f"{record.where}: column {column!r}: {kind}, but {self._kind} at {self._first}: make all of one kind"
            )
        return time * (self._scale or 1.0) if kind == "a number" else time


def _time(value: Any) -> tuple[str, float]:
    """The kind of a time and its value; no kind if it is none."""
    if isinstance(value, bool) or value is None:
        return "", 0.0
    if isinstance(value, datetime):
        read = value
    else:
        try:
            number = float(value)
            return ("a number", number) if math.isfinite(number) else ("", 0.0)
        except (TypeError, ValueError):
            pass
        try:
            read = datetime.fromisoformat(str(value).strip())
        except ValueError:
            return "", 0.0
    if read.tzinfo is None:
        return "a time without a zone", read.replace(tzinfo=UTC).timestamp()
    return "a time with a zone", read.timestamp()


def _name(value: Any) -> str:
    """The name of a user or an item; empty if there is none."""
    if value is None or isinstance(value, dict | list):
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def _column(record: Record, given: str | None, usual: Sequence[str], what: str | None) -> str | None:
    """The column that is named, or else the first of the usual ones that is there."""
    if given is not None:
        if given not in record.fields:
            record.value(given)  # which tells the columns there are
        return given
    lower = {name.lower(): name for name in record.fields}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None and what is not None:
        held = ", ".join(record.fields) or "none"
        hint = "; or --separator for plain lines" if list(record.fields) == [TEXT] else nearest(what, record.fields)
        raise DataError(f"{record.where}: which column is the {what}? give --{what} COLUMN (columns: {held}){hint}")
    return found
