"""How results are printed: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_BLOCKS = "▁▂▃▄▅▆▇█"


def emit(values: Mapping[str, Any], as_json: bool) -> None:
    """Print figures by name on standard output."""
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<{width}}  {number(value)}")


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
