"""The cells of a table of sequences: numbers, items, paths and times, with line and column in every error."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from ostinato.errors import DataError, SettingsError, nearest
from ostinato.records import Record


def named_columns(given: Sequence[str], names: list[str], record: Record) -> list[str]:
    """The columns that a user named, or the first and the last of: t1..t96."""
    first, dots, last = given[0].partition("..")
    wanted = [first, last] if dots and len(given) == 1 else list(given)
    for name in wanted:
        if name not in names:
            held = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            raise DataError(f"{record.where}: no column {name!r} (columns: {held}){nearest(name, names)}")
    if not dots or len(given) > 1:
        return wanted
    a, b = names.index(first), names.index(last)
    if b < a:
        raise SettingsError(f"column = {given[0]}: {last!r} stands before {first!r}")
    return names[a : b + 1]


def steps_of(record: Record, columns: list[str]) -> np.ndarray:
    """A column a step: float64 [time, 1]; empty cells, or such without a number, at the end are no steps."""
    cells = [record.value(name) for name in columns]
    count = len(cells)
    while count and (cells[count - 1] is None or str(cells[count - 1]).strip().lower() in ("", "nan")):
        count -= 1
    try:
        values = np.array(cells[:count], np.float64)
    except (TypeError, ValueError):
        values = np.full(count, np.nan)
    if not np.isfinite(values).all():
        values = np.array([number_of(record, name) for name in columns[:count]])
    return values[:, None]


def number_of(record: Record, column: str) -> float:
    """A number that a cell holds.

    Raises:
        DataError: with line and column.
    """
    return _checked(record.value(column), f"{record.where}, column {column!r}")


def _checked(cell: Any, where: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or isinstance(cell, bool):
        told = "an empty cell" if cell in (None, "") else f"{str(cell)[:30]!r}"
        raise DataError(f"{where}: expected a number, found {told}; fill gaps, or leave such steps out")
    return value


def channels_of(record: Record, columns: list[str]) -> np.ndarray:
    """A column a channel, float64 [time, channels]."""
    parts = [_listed(record.value(name), f"{record.where}, column {name!r}") for name in columns]
    if len(parts) == 1:
        return parts[0]
    for name, part in zip(columns, parts, strict=True):
        if part.shape[1] != 1 or len(part) != len(parts[0]):
            told = f"{len(part)} steps, but column {columns[0]!r} has {len(parts[0])}"
            raise DataError(f"{record.where}, column {name!r}: {told}: channels are of one length")
    return np.concatenate(parts, axis=1)


def _listed(cell: Any, where: str) -> np.ndarray:
    """Numbers between blanks, or a list of them, or a list of lists: float64 [time, channels]."""
    given: Any = cell
    if isinstance(cell, str):
        given = json.loads(cell) if cell.lstrip().startswith("[") and _is_json(cell) else cell.split()
    if given is None or not isinstance(given, list):
        given = [given]
    try:
        values = np.array(given, np.float64)
        if values.ndim in (1, 2) and np.isfinite(values).all():
            return values if values.ndim == 2 else values[:, None]
    except (TypeError, ValueError):
        pass
    steps = [each if isinstance(each, list) else [each] for each in given]
    for step, each in enumerate(steps, 1):
        if len(each) != len(steps[0]):
            raise DataError(f"{where}, value {step}: {len(each)} channels, but the first has {len(steps[0])}")
        for number in each:
            _checked(number, f"{where}, value {step}")
    raise DataError(f"{where}: expected numbers between blanks, or a list")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def items_of(record: Record, columns: list[str]) -> Any:
    """Items of a cell: a text with blanks between them, or a list."""
    if len(columns) != 1:
        raise DataError(f"{record.where}: items stand in one column, but {', '.join(columns)} were named")
    found = record.value(columns[0])
    if not isinstance(found, str | list | int):
        raise DataError(f"{record.where}, column {columns[0]!r}: expected items between blanks, or a list")
    return [str(each) for each in found] if isinstance(found, list) else str(found)


def path_of(record: Record, columns: list[str]) -> Any:
    """The file that a cell names, from the table's own folder; of JSON perhaps what such a file would hold, a list."""
    found = record.value(columns[0])
    if isinstance(found, list):
        return found
    path = record.path.parent / record.text(columns[0]).strip()
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{record.where}, column {columns[0]!r}: no such file: {path}{nearest(path.name, beside)}")
    return path


def in_time(records: list[Record], column: str) -> list[Record]:
    """Steps in the order of their times.

    Raises:
        DataError: if a time is none, or two steps of a sequence have one.
    """
    times = [_time(record, column) for record in records]
    try:
        order = sorted(range(len(records)), key=times.__getitem__)
    except TypeError:
        told = "times with a zone and times without one cannot be ordered"
        raise DataError(f"{records[0].where}, column {column!r}: {told}") from None
    for before, after in pairwise(order):
        if times[before] == times[after]:
            told = f"{records[after].fields[column]!r} stood at line {records[before].line} already"
            raise DataError(f"{records[after].where}, column {column!r}: {told}: a step has a time of its own")
    return [records[at] for at in order]


def _time(record: Record, column: str) -> Any:
    found = record.value(column)
    if isinstance(found, datetime | int | float):
        return found
    text = str(found).strip()
    try:
        value = float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{record.where}, column {column!r}: expected a number, or a time such as 2026-01-31T12:00, found {text!r}"
        )
    return value


def is_number(cell: Any) -> bool:
    """Whether a cell holds a number, or nothing, as in a table without a header."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return str(cell).strip() == ""
    return True
