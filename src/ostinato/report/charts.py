"""What a chart shows, apart from who draws it: plotly in the page, matplotlib for print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ostinato.diagnostics.findings import Text

MOST_POINTS = 1200
"""Of a line; of a longer one, this many are shown."""
_DIGITS = 5  # of a number in the page: more than a pixel shows


@dataclass(frozen=True)
class Axis:
    """What an axis measures."""

    title: Text
    log: bool = False
    share: bool = False
    """From 0 to 1, told in per cent."""


@dataclass(frozen=True)
class Line:
    """A curve, or points."""

    name: Text
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    second: bool = False
    """On the axis at the right."""
    points: bool = False
    """Points without a line."""
    dashed: bool = False
    colour: int | None = None
    """Which of the colours; by its place among the lines if None."""


@dataclass(frozen=True)
class Grid:
    """A value for each pair of a row and a column, as a colour."""

    columns: Sequence[Any] | np.ndarray
    """Numbers, or texts: what each column is."""
    rows: Sequence[Any] | np.ndarray
    values: np.ndarray
    """[rows, columns]"""
    unit: Text
    log: bool = False
    """Whether colours tell powers of ten."""
    even: bool = False
    """Whether all rows are of one height, whatever their numbers."""
    counted: bool = False
    """Whether values are written into their fields."""


@dataclass(frozen=True)
class Chart:
    """One picture.

    >>> chart = Chart("loss", Text("Loss", "损失"), Axis(Text("step", "步")), Axis(Text("nats", "奈特")))
    >>> chart.plain()["title"], chart.empty
    ({'en': 'Loss', 'zh': '损失'}, True)
    """

    name: str
    """Of its file, and of its place in the page."""
    title: Text
    x: Axis
    y: Axis
    lines: list[Line] = field(default_factory=list)
    second: Axis | None = None
    grid: Grid | None = None
    note: Text | None = None
    """How it is read."""
    circle: bool = False
    """Whether both axes have one scale, and a circle of radius one is drawn: the complex plane."""
    wide: bool = False
    """Whether it takes the width of the page."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return self.grid is None and not any(len(line.x) for line in self.lines)

    def plain(self) -> dict[str, Any]:
        """The same as JSON has it."""
        found: dict[str, Any] = {"name": self.name, "title": self.title._asdict(), "circle": self.circle}
        found |= {"x": _axis(self.x), "y": _axis(self.y), "wide": self.wide}
        if self.second is not None:
            found["second"] = _axis(self.second)
        if self.note is not None:
            found["note"] = self.note._asdict()
        found["lines"] = [_line(line) for line in self.lines]
        if self.grid is not None:
            grid = self.grid
            found["grid"] = {
                "columns": plain(grid.columns), "rows": plain(grid.rows), "values": [plain(row) for row in grid.values],
                "unit": grid.unit._asdict(), "log": grid.log, "even": grid.even, "counted": grid.counted,
            }  # fmt: skip
        return found


def _axis(axis: Axis) -> dict[str, Any]:
    return {"title": axis.title._asdict(), "log": axis.log, "share": axis.share}


def _line(line: Line) -> dict[str, Any]:
    shown = thinned(len(line.x))
    x, y = np.asarray(line.x, float)[shown], np.asarray(line.y, float)[shown]
    options: dict[str, Any] = {name: True for name in ("second", "points", "dashed") if getattr(line, name)}
    options |= {} if line.colour is None else {"colour": line.colour}
    return {"name": line.name._asdict(), "x": plain(x), "y": plain(y), **options}


def thinned(length: int, most: int = MOST_POINTS) -> np.ndarray:
    """Which of so many points are shown, the first and the last among them.

    >>> thinned(5, 3).tolist(), thinned(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    return np.arange(length) if length <= most else np.linspace(0, length - 1, most).round().astype(int)


def plain(values: Iterable[Any]) -> list[Any]:
    """Numbers as short as they may be, and null for what is not finite; texts as they are.

    >>> plain(np.array([1.0, 0.1234567, np.inf])), plain(["a"])
    ([1, 0.12346, None], ['a'])
    """
    return [value if isinstance(value, str) else _short(float(value)) for value in values]


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
