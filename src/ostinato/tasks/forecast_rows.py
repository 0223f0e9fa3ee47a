"""Forecasts as rows: for files, for people, and for a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ostinato.errors import SettingsError
from ostinato.tasks.forecast_picture import check_picture, draw
from ostinato.tasks.model import Predicted

if TYPE_CHECKING:
    from ostinato.tasks.forecaster import Forecast
    from ostinato.tasks.forecaster_settings import PredictSettings


def predictions(model: Any, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
    """A row a step and series: `series`, `time`, and of each target its point, `_low` and `_high`.

    Raises:
        SettingsError: if the interval is wider than the quantiles that were learned.
    """
    levels = np.array(model.settings.quantiles)
    edges = [_at(levels, (1 - options.interval) / 2), _at(levels, (1 + options.interval) / 2)]
    reading = {name: getattr(options, name) for name in ("format", "encoding", "errors")}
    if options.plot:
        check_picture(Path(options.plot))  # before any work
    shown: list[Forecast] = []
    names: set[str] = set()
    for forecast in model.predict(files, **reading):
        names.add(forecast.series)
        if options.only and forecast.series not in options.only:
            continue
        if len(shown) < options.plot_series:
            shown.append(forecast)
        low, high = (forecast.quantiles @ weights for weights in edges)
        for step, time in enumerate(forecast.times):
            row: dict[str, Any] = {"series": forecast.series} if model.settings.series else {}
            row["time"] = time
            for at, target in enumerate(model.codec.targets):
                row[target] = _round(forecast.point[step, at])
                row |= {f"{target}_low": _round(low[step, at]), f"{target}_high": _round(high[step, at])}
            if model.settings.series:
                row["seen"] = forecast.seen
            told = [value for name, value in row.items() if name != "seen"]
            yield Predicted(row, "\t".join(f"{each:g}" if isinstance(each, float) else str(each) for each in told))
    if odd := sorted(set(options.only) - names):
        raise SettingsError(f"--only {odd[0]}: the files have no such series, but {', '.join(sorted(names)[:5])}")
    if options.plot:
        draw(shown, model.codec.targets, edges, options.interval, Path(options.plot))


def _at(levels: np.ndarray, level: float) -> np.ndarray:
    """How much each level counts in the quantile of another, [level]: neighbours by distance.

    >>> _at(np.array([0.1, 0.5, 0.9]), 0.2).round(2).tolist()
    [0.75, 0.25, 0.0]
    """
    if not levels[0] - 1e-9 <= level <= levels[-1] + 1e-9:
        known = ", ".join(f"{each:g}" for each in levels)
        raise SettingsError(
            f"interval: needs the quantile {level:g}, beyond those that were learned ({known}): ask for less, or train "
            f"with --quantiles {level:g},…"
        )
    return np.array([np.interp(level, levels, each) for each in np.eye(len(levels))])


def _round(value: float) -> float:
    """To eight digits: a forecast has fewer."""
    return float(f"{float(value):.8g}")
