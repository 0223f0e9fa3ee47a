"""The charts of a report by matplotlib, for print."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ostinato.diagnostics.findings import Language
from ostinato.errors import MissingExtra
from ostinato.files import write_bytes
from ostinato.fonts import font_families
from ostinato.report.charts import Axis, Chart, Grid

Form = Literal["png", "svg", "pdf"]
_COLOURS = ("#1f6f8b", "#c8602b", "#5d8a3a", "#8a5a9e", "#b7902a", "#44597a", "#a8455b", "#3f8f86")
_SHADES = ("#f6f3ea", "#d6e0da", "#94bfc6", "#4b93b0", "#25638f", "#14325c")
_INCHES = 0.3  # of a row or a column with a name
_LETTERS = 14  # of such a name


def draw_figures(charts: Iterable[Chart], folder: Path, form: Form = "png", lang: Language = "en") -> list[Path]:
    """Draw charts into files of a folder, which is made if it is not there; each whole or not at all.

    Args:
        charts: see `ostinato.report.charts`.
        folder: where.
        form: png (at 200 dots an inch), svg or pdf.
        lang: of titles and axes, `en` or `zh`.

    Returns:
        The files, by the charts' names.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "drawing figures")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    style: Any = {
        "font.family": font_families(), "svg.hashsalt": "ostinato", "axes.unicode_minus": False, "text.usetex": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#8b94a0", "axes.titlesize": 11,
        "axes.labelsize": 9.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5,
        "axes.titleweight": "bold", "axes.grid": True, "grid.color": "#e4e0d6", "grid.linewidth": 0.7,
    }  # fmt: skip
    for chart in charts:
        with mpl.rc_context(style):
            figure = Figure(figsize=_size(chart), layout="constrained")
            _draw(figure, chart, lang)
            picture = BytesIO()
            metadata = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
            figure.savefig(picture, format=form, dpi=200, metadata=metadata)  # the same chart gives the same bytes
        paths.append(folder / f"{chart.name}.{form}")
        write_bytes(paths[-1], picture.getvalue())
    return paths


def _size(chart: Chart) -> tuple[float, float]:
    if chart.circle:
        return 4.6, 4.6
    if chart.grid is not None and _named(chart.grid):
        rows, columns = len(chart.grid.rows), len(chart.grid.columns)
        return max(4.5, min(14.0, _INCHES * columns + 2.2)), max(3.2, min(14.0, _INCHES * rows + 1.6))
    return (7.2, 3.6) if chart.wide else (5.4, 3.6)


def _draw(figure: Any, chart: Chart, lang: Language) -> None:
    axes = figure.add_subplot()
    axes.set_title(plain_text(chart.title.said(lang)), loc="left")
    _axis(axes.xaxis, axes.set_xscale, chart.x, lang)
    _axis(axes.yaxis, axes.set_yscale, chart.y, lang)
    if chart.grid is not None:
        _grid(figure, axes, chart.grid, lang)
        return
    second = axes.twinx() if chart.second is not None else None
    if second is not None and chart.second is not None:
        _axis(second.yaxis, second.set_yscale, chart.second, lang)
        second.grid(visible=False)
        second.spines["right"].set_visible(True)
        if chart.second.share:
            second.set_ylim(0, 1.02)
    for index, line in enumerate(chart.lines):
        colour = _COLOURS[(index if line.colour is None else line.colour) % len(_COLOURS)]
        where = second if line.second and second is not None else axes
        y = np.asarray(line.y, float)
        y = np.where(y > 0, y, np.nan) if chart.y.log and not line.second else y
        few = {"marker": "o", "markersize": 3.5} if len(line.x) <= 24 else {}
        style: dict[str, Any] = {"linestyle": ":" if line.dashed else "-", "linewidth": 1.6, **few}
        if line.points:
            style = {"linestyle": "none", "marker": "o", "markersize": 3, "alpha": 0.7}
        where.plot(line.x, y, color=colour, label=plain_text(line.name.said(lang)), **style)
    if chart.y.share:
        axes.set_ylim(0, 1.02)
    if chart.circle:
        around = np.linspace(0, 2 * np.pi, 200)
        axes.plot(np.cos(around), np.sin(around), color="#8b94a0", linewidth=0.8, linestyle=":")
        axes.set_aspect("equal")
    elif len(chart.lines) > 1:
        figure.legend(loc="outside lower left", ncols=4, frameon=False)


def _axis(axis: Any, set_scale: Any, about: Axis, lang: Language) -> None:
    axis.set_label_text(plain_text(about.title.said(lang)))
    if about.log:
        set_scale("log")
    if about.share:
        from matplotlib.ticker import PercentFormatter

        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _grid(figure: Any, axes: Any, grid: Grid, lang: Language) -> None:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    axes.grid(visible=False)
    values = np.ma.masked_invalid(np.asarray(grid.values, float))
    norm = None
    if grid.log:
        values = np.ma.masked_less_equal(values, 0)
        if values.count():
            high = float(values.max())
            norm = LogNorm(max(float(values.min()), high * 1e-5), max(high, float(values.min()) * (1 + 1e-6)))
    shades = LinearSegmentedColormap.from_list("shades", _SHADES)
    named = _named(grid)
    columns = np.arange(len(grid.columns)) if named else np.asarray(grid.columns, float)
    rows = np.arange(len(grid.rows)) if named or grid.even else np.asarray(grid.rows, float)
    picture = axes.pcolormesh(columns, rows, values, norm=norm, cmap=shades, shading="nearest")
    figure.colorbar(picture, ax=axes, label=plain_text(grid.unit.said(lang)))
    if not named:
        if grid.even:
            axes.set_yticks(rows[::3], [f"{float(each):g}" for each in grid.rows[::3]])
        return
    axes.invert_yaxis()
    axes.set_xticks(columns, [_cut(each) for each in grid.columns], rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(rows, [_cut(each) for each in grid.rows])
    if grid.counted:
        for (row, column), value in np.ndenumerate(np.asarray(grid.values)):
            dark = value > 0.55 * float(np.max(grid.values))
            axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=8, color="w" if dark else "#1b2330")


def plain_text(text: str) -> str:
    r"""A text that matplotlib does not take for mathematics.

    >>> plain_text("5 $ and 6 $")
    '5 \\$ and 6 \\$'
    """
    return text.replace("$", r"\$")


def _cut(name: Any) -> str:
    shown = str(name).replace("\n", "⏎")
    return plain_text(shown if len(shown) <= _LETTERS else shown[: _LETTERS - 1] + "…")


def _named(grid: Grid) -> bool:
    return any(isinstance(each, str) for each in grid.columns)
