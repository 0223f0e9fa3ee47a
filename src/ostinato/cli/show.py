"""How results are printed: a table for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_BLOCKS = "▁▂▃▄▅▆▇█"
_CORNER = "right \\ told"
_MATRIX = 12  # labels of a confusion matrix that fits on a screen


def emit(values: Mapping[str, Any], as_json: bool) -> None:
    """Print figures by name on standard output.

    What stands under `beside`, the figures of other models by their name, gives a column each; a list of rows a table
    of its own; `confusion` a matrix.
    """
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    rows = {
        name: value
        for name, value in values.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    plain = {name: value for name, value in values.items() if name not in ("confusion", "beside", *rows)}
    beside: Mapping[str, Mapping[str, Any]] = values.get("beside", {})
    compared = [name for name in plain if any(name in each for each in beside.values())]
    if compared:
        lines = [[name.replace("_", " "), number(plain.pop(name)), *(number(each[name]) if name in each else ""
                  for each in beside.values())] for name in compared]  # fmt: skip
        table("", ["", "model", *beside], lines)
        print()
    width = max((len(name) for name in plain), default=0)
    for name, value in plain.items():
        print(f"{name.replace('_', ' '):<{width}}  {number(value)}")
    for several in rows.values():
        print("\n" + columns(several))
    if "confusion" in values:
        print("\n" + confusion(values["confusion"]))


def columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same figures under their names.

    >>> print(columns([{"frame": 1, "mse": 0.25}, {"frame": 10, "mse": 0.5}]))
    frame     mse
        1  0.2500
       10  0.5000
    """
    names = list(rows[0])
    lines = [[name.replace("_", " ") for name in names], *([number(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    return "\n".join("  ".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)) for line in lines)


def confusion(counts: Mapping[str, Mapping[str, int]]) -> str:
    r"""A confusion matrix; of more than twelve labels the twenty most frequent confusions.

    Args:
        counts: right label → told label → how often.

    >>> print(confusion({"bad": {"bad": 3, "good": 1}, "good": {"good": 5}}))
    right \ told  bad  good
    bad             3     1
    good            0     5
    """
    told = sorted({label for row in counts.values() for label in row} | set(counts))
    if len(told) > _MATRIX:
        pairs = sorted(((n, a, b) for a, row in counts.items() for b, n in row.items() if a != b), reverse=True)[:20]
        return "\n".join(["most often confused, right → told", *(f"{n:6,}  {a} → {b}" for n, a, b in pairs)])
    first = max(len(label) for label in (_CORNER, *told))
    largest = len(f"{max((n for row in counts.values() for n in row.values()), default=0):,}")
    widths = [max(len(label), largest) for label in told]
    header = [f"{_CORNER:<{first}}", *(f"{label:>{width}}" for label, width in zip(told, widths, strict=True))]
    lines = ["  ".join(header)]
    for right, row in counts.items():
        cells = [f"{row.get(label, 0):>{width},}" for label, width in zip(told, widths, strict=True)]
        lines.append("  ".join([f"{right:<{first}}", *cells]))
    return "\n".join(lines)


def number(value: Any) -> str:
    """A figure as people read it.

    >>> number(1234567), number(1.23456), number(True), number("gru")
    ('1,234,567', '1.2346', 'yes', 'gru')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4f}" if isinstance(value, float) else str(value)


def sparkline(values: list[float], width: int = 60) -> str:
    """A curve in one line, its lowest value `▁`.

    >>> sparkline([3.0, 2.0, 1.0])
    '█▅▁'
    """
    if len(values) > width:
        values = [values[index * len(values) // width] for index in range(width)]
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


def table(title: str, headers: list[str], lines: list[list[str]]) -> None:
    """With rules on a terminal that is wide enough, plain elsewhere; all columns but the first to the right."""
    widths = [max(len(text) for text in column) for column in zip(headers, *lines, strict=True)]
    if title:
        print()
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        console = Console()
        if sum(widths) + 3 * len(widths) + 1 <= console.width:
            table = Table(title=title or None, title_justify="left")
            for index, header in enumerate(headers):
                table.add_column(header, justify="right" if index else "left")
            for line in lines:
                table.add_row(*line)
            console.print(table)
            return
    if title:
        print(title)
    for first, *rest in (headers, *lines):
        print("  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip())
