"""Backtests: forecasts from many points of the past, beside what simpler methods would have said there."""

from __future__ import annotations

import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ostinato.errors import DataError, MissingExtra, SettingsError
from ostinato.tasks.corpus import Sources, resolve
from ostinato.tasks.forecast_scores import Actual, ForecastTally
from ostinato.tasks.series_windows import SeriesWindows
from ostinato.time_stamps import read_stamp, write_stamp

_SEASONS = 20  # that ETS learns from: older ones tell little, and take long
_FEWEST_STEPS = 500
MODEL = "this model"


class Backtest(NamedTuple):
    """What came out."""

    windows: int
    series: int
    first: str | int
    """The first step that was told."""
    last: str | int
    table: dict[str, dict[str, float]]
    """Method → its figures, see `ForecastTally`."""
    by_target: dict[str, dict[str, float]]
    """Target → this model's figures; empty where there is but one."""
    notes: list[str]
    """What is to be known of the table."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return self._asdict()


def backtest(
    model: Any, corpus: Sources, windows: int = 1, stride: int | None = None, since: str | None = None,
    ets: int = 200, batch_size: int | None = None,
) -> Backtest:  # fmt: skip
    """Forecast from rolling origins: each window of `horizon` steps is told from what came before it alone.

    The network stays as it is; naive forecasts are the last value and that of a season before; ETS is fitted anew to
    each window's past: additive error and season, damped additive trend (Hyndman & Athanasopoulos 2021, chapter 8).

    Args:
        model: a `Forecaster`.
        corpus: files with the past as well as with what came; several are read as one.
        windows: of each series, from its end back; 0: all.
        stride: steps between them; the horizon if None.
        since: stamp; only windows all of whose steps lie at or after it.
        ets: most windows that ETS is fitted to, drawn evenly; 0: without it.
        batch_size: windows side by side; as in training if None.

    Raises:
        DataError: if the files cannot be read, or hold no such window.
        MissingExtra: if ETS is wanted, and statsmodels is not installed.
    """
    if ets and find_spec("statsmodels") is None:
        raise MissingExtra("statsmodels", "series", "ETS beside the model (--ets 0 leaves it out)")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = [corpus] if isinstance(corpus, str | Path) else list(corpus)
        series = list(model.reader(resolve(sources, folder)).examples())
        table = model._written(folder, "examples", series)
        cut = model.cut_windows(table)
        begins = np.array(table.values("start"), np.int64)
        places = cut.at_end(windows, stride)
        if since is not None:
            places = _since(model, places, begins, since)
        if not len(places):
            raise DataError(
                f"{sources[0]}: no window of {model.codec.horizon} steps{f' since {since}' if since else ''}: give "
                "more of the series, or another --since"
            )
        found, told = model.tallied(model.batches_at(cut, places, None, batch_size))
        rows = {MODEL: found} | told
        notes: list[str] = []
        if ets:
            some = places[np.linspace(0, len(places) - 1, min(ets, len(places))).round().astype(int)]
            rows |= _beside_ets(model, cut, some, len(places), notes)
        stamps = [_stamp(model, int(begins[row]), int(step), series[0].kind) for row, step in places.tolist()]
        order = np.argsort([model.codec.frequency.stamps(int(begins[row]), int(step), 1)[0] for row, step in places])
        return Backtest(
            len(places), len(np.unique(places[:, 0])), stamps[order[0]], stamps[order[-1]], rows,
            _by_target(model, cut, places, batch_size), notes,
        )  # fmt: skip


def _stamp(model: Any, start: int, step: int, kind: Any) -> str | int:
    frequency = model.codec.frequency
    return write_stamp(int(frequency.stamps(start, step, 1)[0]), kind, frequency)


def _since(model: Any, places: np.ndarray, begins: np.ndarray, since: str) -> np.ndarray:
    """Those that begin at a stamp, or later."""
    wanted = read_stamp(since, model.settings.time_format) or read_stamp(since)
    if wanted is None or (wanted.kind == "number") != (model.codec.kind == "number"):
        raise SettingsError(f"since = {since!r}: expected a stamp such as those of the files")
    frequency = model.codec.frequency
    stamps = np.array([frequency.stamps(int(begins[row]), int(step), 1)[0] for row, step in places.tolist()])
    return places[stamps >= wanted.at] if len(places) else places


def _beside_ets(
    model: Any, cut: SeriesWindows, places: np.ndarray, every: int, notes: list[str]
) -> dict[str, dict[str, float]]:
    """ETS on some windows, and the model on the same if they are not all."""
    tally, failed = ForecastTally(model.settings.quantiles), 0
    levels = np.array(model.settings.quantiles)
    for place in places:
        point, quantiles = ets_forecast(model.codec, cut, place, levels)
        actual = cut.actual(place[None])
        if point is None or quantiles is None:
            failed += 1
            point = actual.seasonal[:, 0]
            quantiles = np.repeat(point[..., None], len(levels), axis=2)
        tally.add(actual, point[:, None], quantiles[:, None])
    if failed:
        notes.append(f"ETS could not be fitted to {failed:,} windows, where the seasonal naive forecast stands for it")
    if len(places) == every:
        return {"ETS": tally.figures()}
    notes.append(f"ETS stands on {len(places):,} of {every:,} windows, drawn evenly; so does the model's second row")
    same = model.tallied(model.batches_at(cut, places))[0]
    return {"ETS (some)": tally.figures(), f"{MODEL} (the same)": same}


def ets_forecast(
    codec: Any, cut: SeriesWindows, place: np.ndarray, levels: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Points [horizon, target] and quantiles [horizon, target, level] of exponential smoothing; None where it fails.

    Quantiles are those of a normal distribution whose variance grows as that of a simple exponential smoothing does.
    """
    from scipy.stats import norm
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    row, step = int(place[0]), int(place[1])
    m, horizon = codec.season, codec.horizon
    begin = max(0, step - max(_SEASONS * m, _FEWEST_STEPS))
    past = codec.outer(np.asarray(cut.values[cut.starts[row] + begin : cut.starts[row] + step]))
    seasonal = m > 1 and len(past) >= 2 * m + 2
    points, spread = [], []
    for column in past.T:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                fitted = ExponentialSmoothing(
                    column, trend="add" if len(column) > 10 else None, damped_trend=len(column) > 10,
                    seasonal="add" if seasonal else None, seasonal_periods=m if seasonal else None,
                    initialization_method="heuristic" if len(column) > 10 else "estimated",
                ).fit()  # fmt: skip
                point = np.asarray(fitted.forecast(horizon), float)
                alpha = float(fitted.params["smoothing_level"])
                sigma = float(np.sqrt(np.mean(np.asarray(fitted.resid) ** 2)))
        except (ValueError, IndexError, np.linalg.LinAlgError, ZeroDivisionError):
            return None, None
        if not np.isfinite(point).all() or not np.isfinite(sigma):
            return None, None
        points.append(point)
        spread.append(sigma * np.sqrt(1 + np.arange(horizon) * alpha**2))
    point, sigma = np.stack(points, axis=1), np.stack(spread, axis=1)
    return point, point[..., None] + sigma[..., None] * norm.ppf(levels)


@torch.inference_mode()
def _by_target(
    model: Any, cut: SeriesWindows, places: np.ndarray, batch_size: int | None
) -> dict[str, dict[str, float]]:
    names = model.codec.targets
    if len(names) < 2:
        return {}
    tallies = [ForecastTally(model.settings.quantiles) for _ in names]
    for batch, actual in model.batches_at(cut, places, None, batch_size):
        batch = model.on_device(batch)
        point, quantiles = model.outer(batch, model.network(batch))
        for at, tally in enumerate(tallies):
            one = slice(at, at + 1)
            tally.add(Actual(*(part[..., one] for part in actual)), point[..., one], quantiles[..., one, :])
    return {name: tally.figures() for name, tally in zip(names, tallies, strict=True)}
