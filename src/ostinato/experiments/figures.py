"""Figures by matplotlib, which is the extra `plot`: without a display, without a global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ostinato.errors import MissingExtra
from ostinato.files import write_bytes

FORMATS = ("png", "svg", "pdf")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Okabe & Ito 2008, which people who cannot tell red from green can tell apart."""
MARKERS = "osv^D*Pd"


def save_figure(
    draw: Callable[[Any], None], path: Path, formats: Sequence[str], inches: tuple[float, float] = (7.2, 4.2)
) -> list[str]:
    """Draw a figure and write it once for each format, `path` with the format as its suffix.

    Raises:
        MissingExtra: without matplotlib.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "a figure")
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    draw(figure)
    written = []
    for kind in formats:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=120)
        target = path.with_suffix(f".{kind}")
        write_bytes(target, buffer.getvalue())
        written.append(str(target))
    return written


def draw_curves(axes: Any, curves: Iterable[Any], x: str, y: str, markers: bool = False, **scales: str) -> None:
    """Lines with a legend, each with a colour and a dash or a marker of its own.

    Args:
        axes: of matplotlib.
        curves: each with `name`, `x` and `y`.
        x: what the horizontal axis is, with its unit.
        y: what the vertical axis is, with its unit.
        markers: whether points are shown.
        scales: `xscale`, `yscale` as matplotlib names them.
    """
    curves = list(curves)
    for index, curve in enumerate(curves):
        style = {"marker": MARKERS[index % len(MARKERS)], "markersize": 4} if markers else {}
        dash = "-" if index < len(COLOURS) else "--"
        axes.plot(curve.x, curve.y, dash, color=COLOURS[index % len(COLOURS)], label=curve.name, lw=1.5, **style)
    axes.set(xlabel=x, ylabel=y, **scales)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if curves:
        axes.legend(frameon=False, fontsize="small")
