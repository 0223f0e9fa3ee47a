"""Forecasts as a picture: what was, what is forecast, and between which values it should lie."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ostinato.errors import MissingExtra, SettingsError
from ostinato.files import write_bytes
from ostinato.fonts import font_families
from ostinato.time_stamps import read_stamp

if TYPE_CHECKING:
    from ostinato.tasks.forecaster import Forecast

FORMS = ("png", "svg", "pdf")
_WAS, _WILL = "#44597a", "#c8602b"
_STYLE: Any = {
    "svg.hashsalt": "ostinato", "axes.unicode_minus": False, "text.usetex": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#8b94a0", "axes.titlesize": 10, "axes.titleweight": "bold",
    "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8.5, "axes.grid": True, "grid.color": "#e4e0d6",
}  # fmt: skip


def check_picture(path: Path) -> None:
    """See that a picture can be drawn there.

    Raises:
        SettingsError: if its name is not that of a form in `FORMS`.
        MissingExtra: if matplotlib is not installed.
    """
    if path.suffix.removeprefix(".") not in FORMS:
        raise SettingsError(f"{path}: a picture is a {', '.join('.' + form for form in FORMS)} file")
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "drawing forecasts")


def draw(
    forecasts: Sequence[Forecast], targets: Sequence[str], edges: Sequence[np.ndarray], interval: float, path: Path
) -> None:
    """Draw forecasts, a field for each series and target.

    Args:
        forecasts: of some series.
        targets: their names.
        edges: how much each level counts in the interval's low and high end, [level] each.
        interval: its share of what comes, for the legend.
        path: a .png, .svg or .pdf file.

    Raises:
        SettingsError: if it is none of them.
        MissingExtra: if matplotlib is not installed.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    fields = [(each, at) for each in forecasts for at in range(len(targets))]
    columns = 1 if len(fields) == 1 else 2
    rows = -(-max(1, len(fields)) // columns)
    with mpl.rc_context(_STYLE | {"font.family": font_families()}):
        figure = Figure(figsize=(7.2 if columns == 1 else 10.8, 3.4 if rows == 1 else 2.4 * rows), layout="constrained")
        for number, (forecast, at) in enumerate(fields):
            axes = figure.add_subplot(rows, columns, number + 1)
            _field(axes, forecast, at, [forecast.quantiles[:, at] @ weights for weights in edges])
            names = [forecast.series] if forecast.series else []
            axes.set_title(" · ".join([*names, targets[at]]).replace("$", r"\$"), loc="left")
            if number == 0:
                handles = axes.get_lines()[:2] + axes.collections[:1]
                figure.legend(handles, ["was", "forecast", f"{interval:.0%} interval"], loc="outside lower left",
                              ncols=3, frameon=False)  # fmt: skip
        picture, form = BytesIO(), path.suffix.removeprefix(".")
        metadata = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
        figure.savefig(picture, format=form, dpi=150, metadata=metadata)  # the same forecasts give the same bytes
    write_bytes(path, picture.getvalue())


def _field(axes: Any, forecast: Forecast, at: int, edges: Sequence[np.ndarray]) -> None:
    """One target of one series."""
    was, will = _positions(forecast.history_times), _positions(forecast.times)
    axes.plot(was, forecast.history[:, at], color=_WAS, linewidth=1.3)
    axes.plot(will, forecast.point[:, at], color=_WILL, linewidth=1.6)
    axes.fill_between(will, edges[0], edges[1], color=_WILL, alpha=0.22, linewidth=0)
    if not isinstance(forecast.times[0], int):
        import matplotlib.dates as dates

        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))


def _positions(times: Sequence[str | int]) -> Any:
    """Where stamps stand on the axis."""
    if times and isinstance(times[0], int):
        return np.array(times)
    found = [read_stamp(each) for each in times]
    return np.array([each.at for each in found if each is not None], "datetime64[us]")
