"""Windows of series: the steps that a forecaster reads, and those that it is to tell, cut out as they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.codecs.series_codec import COLUMNS, SeriesCodec
from ostinato.table import Table
from ostinato.tasks.forecast_scores import Actual

_CONSTANT = 1e-6  # of a window's level: it varies less than that


class WindowBatch(NamedTuple):
    """Windows side by side; the network's numbers are y' = (y − location) / scale."""

    inputs: Tensor
    """What is read, float32 [context, batch, feature]; shorter windows end earlier."""
    ahead: Tensor
    """What is known of the steps to be told, float32 [horizon, batch, feature]."""
    base: Tensor
    """y' of the simple forecast that the network's output is added to, float32 [horizon, batch, target]."""
    targets: Tensor
    """y', float32 [horizon, batch, target]; 0 where missing."""
    known: Tensor
    """Which of them are not missing, bool [horizon, batch, target]."""
    lengths: Tensor
    """Steps of each context, int64 [batch]."""
    location: Tensor
    """float64 [batch, target]."""
    scale: Tensor
    """float64 [batch, target]."""
    places: Tensor
    """The series of each window, and its first step that is told, int64 [batch, 2]."""


class WindowSettings(NamedTuple):
    """How windows are cut."""

    context: int
    horizon: int
    scaling: str
    base: str


class SeriesWindows:
    """All windows of some series.

    Args:
        rows: of `SeriesCodec.encode`, or a table of them.
        codec: that encoded them.
        settings: how they are cut.
    """

    def __init__(self, rows: Table | Sequence[Mapping[str, Any]], codec: SeriesCodec, settings: WindowSettings) -> None:
        self.codec, self.settings = codec, settings
        k = len(codec.targets)
        column = _of_table(rows) if isinstance(rows, Table) else _of_rows(rows)
        values, lengths = column("values")
        self.values = values.reshape(-1, k)
        self.present = column("present")[0].reshape(-1, k)
        self.lengths = lengths // k
        """Steps of each series, int64 [series]."""
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.observed = column("observed")[0].reshape(len(self.values), len(codec.observed))
        total = len(self.values) + len(self.lengths) * codec.horizon
        self.ahead = column("ahead")[0].reshape(total, codec.ahead_size)
        self.ahead_starts = self.starts + np.arange(len(self.lengths)) * codec.horizon
        self.scale = column("scale")[0].reshape(-1, 2, k)

    def every(self, stride: int) -> np.ndarray:
        """All windows to learn from, int64 [windows, 2]: the series, and the first step that is told.

        They begin where the whole context is there; in a short series, once half of what may be read is.
        """
        found = []
        for row, length in enumerate(self.lengths.tolist()):
            last = length - self.settings.horizon
            first = min(self.settings.context, max(1, (last + 1) // 2))
            origins = np.arange(last, first - 1, -stride)[::-1]
            found.append(np.stack([np.full(len(origins), row), origins], axis=1))
        return self._told(np.concatenate([*found, np.zeros((0, 2), np.int64)]))

    def at_end(self, count: int, stride: int | None = None) -> np.ndarray:
        """The last windows of each series, `stride` steps apart; `horizon` steps if None, all that there are if 0."""
        horizon = self.settings.horizon
        found = []
        for row, length in enumerate(self.lengths.tolist()):
            origins = np.arange(length - horizon, 0, -(stride or horizon))[: count or None][::-1]
            found.append(np.stack([np.full(len(origins), row), origins], axis=1))
        return self._told(np.concatenate([*found, np.zeros((0, 2), np.int64)]))

    def _told(self, places: np.ndarray) -> np.ndarray:
        """Those with a target that is not missing."""
        total = np.append(0, np.cumsum(self.present.any(axis=1)))
        first = self.starts[places[:, 0]] + places[:, 1]
        return places[total[first + self.settings.horizon] > total[first]]

    def batch(self, places: np.ndarray) -> WindowBatch:
        """Windows [batch, 2] side by side."""
        s, lags = self.settings, self.codec.lags
        row, origin = places[:, 0], places[:, 1]
        begin = np.maximum(origin - s.context, 0)
        lengths = origin - begin
        steps = begin + np.arange(int(lengths.max()))[:, None]  # [context, batch]
        live = steps < origin
        at = self.starts[row] + np.minimum(steps, origin - 1)
        read = self.values[at]
        location, scale = self._scaling(read, live, row)

        def inner(values: np.ndarray) -> np.ndarray:
            return ((values - location) / scale).astype(np.float32)

        parts = [inner(read), self.present[at].astype(np.float32)]
        for lag in lags:
            there = (steps >= lag)[:, :, None]
            parts.append(np.where(there, inner(self.values[np.maximum(at - lag, 0)]), 0))
        parts += [self.observed[at], self.ahead[self.ahead_starts[row] + np.minimum(steps, origin - 1)]]
        inputs = np.concatenate(parts, axis=2, dtype=np.float32)
        inputs[~live] = 0

        future = np.arange(s.horizon)[:, None]
        seen = [inner(self.cycled(row, origin, lag)) for lag in lags]
        parts = [*seen, self.ahead[self.ahead_starts[row] + origin + future]]
        parts.append(np.broadcast_to(((future + 1) / s.horizon)[:, :, None], (s.horizon, len(row), 1)))
        base = self.base(row, origin)
        told = origin + future
        there = (told < self.lengths[row])[:, :, None]
        at = np.minimum(self.starts[row] + told, len(self.values) - 1)
        known = (self.present[at] > 0) & there
        return WindowBatch(
            *map(torch.from_numpy, (
                inputs, np.concatenate(parts, axis=2, dtype=np.float32),
                np.zeros_like(inner(base)) if s.base == "none" else inner(base),
                np.where(known, inner(self.values[at]), 0).astype(np.float32), known, lengths, location, scale,
                np.ascontiguousarray(places),
            ))
        )  # fmt: skip

    def cycled(self, row: np.ndarray, origin: np.ndarray, lag: int) -> np.ndarray:
        """What stood `lag` steps before each step that is told, or 2·lag and so on where that is not known yet.

        Returns:
            [horizon, batch, target]; the last value where the series has not begun so far back.
        """
        future = np.arange(self.settings.horizon)[:, None]
        back = origin + future - lag * (future // lag + 1)
        back = np.where(back >= 0, back, origin - 1)
        return self.values[self.starts[row] + back]

    def base(self, row: np.ndarray, origin: np.ndarray) -> np.ndarray:
        r"""The simple forecast of each step, [horizon, batch, target].

        last: y_t. seasonal: y_t+k−m. drift: y_t+k−m + ⌈k/m⌉·d, with d the mean of y_s − y_s−m over the last quarter of
        a season: what a month has gained on that of the year before, say.
        """
        season = self.codec.season
        if self.settings.base in ("last", "none") or season == 1:
            return self.cycled(row, origin, 1)
        found = self.cycled(row, origin, season)
        if self.settings.base == "drift":
            back = origin - 1 - np.arange(max(1, season // 4))[:, None]
            there = (back >= season)[:, :, None]
            at = self.starts[row] + np.maximum(back, season)
            at = np.minimum(at, len(self.values) - 1)
            change = np.where(there, self.values[at] - self.values[at - season], 0).sum(0) / np.maximum(there.sum(0), 1)
            found = found + (np.arange(self.settings.horizon)[:, None, None] // season + 1) * change
        return found

    def actual(self, places: np.ndarray) -> Actual:
        """What came after some places, and what simple forecasts would have said, in the units of the files."""
        row, origin = places[:, 0], places[:, 1]
        told = origin + np.arange(self.settings.horizon)[:, None]
        at = np.minimum(self.starts[row] + told, len(self.values) - 1)
        known = (self.present[at] > 0) & (told < self.lengths[row])[:, :, None]
        outer, season = self.codec.outer, self.codec.season
        total, count = self._season_errors
        end = self.starts[row] + origin
        begin = np.minimum(self.starts[row] + season, end)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = (total[end] - total[begin]) / (count[end] - count[begin])
        error = np.where(error > 0, error, np.nan)
        naive, seasonal = (outer(self.cycled(row, origin, lag)) for lag in (1, season))
        return Actual(np.where(known, outer(self.values[at]), np.nan), naive, seasonal, error)

    @cached_property
    def _season_errors(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ |y_t − y_t−m| and how many, up to each step of all series on end, [steps + 1, target]."""
        season, values = self.codec.season, self.codec.outer(np.asarray(self.values))
        error, known = np.zeros_like(values), np.zeros_like(values)
        present = self.present > 0
        error[season:] = np.abs(values[season:] - values[:-season])
        known[season:] = present[season:] & present[:-season]
        start = np.zeros((1, values.shape[1]))
        sums = [np.concatenate([start, np.cumsum(part, axis=0)]) for part in (error * known, known)]
        return sums[0], sums[1]

    def _scaling(self, read: np.ndarray, live: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale of each window, float64 [batch, target]."""
        how = self.settings.scaling
        mean, deviation = np.array(self.scale[row, 0]), np.array(self.scale[row, 1])
        if how == "none":
            return np.zeros_like(mean), np.ones_like(mean)
        if how == "series":
            return mean, deviation
        count = live.sum(0)[:, None]
        there = live[:, :, None]
        if how == "level":
            level = np.where(there, np.abs(read), 0).sum(0) / count
            return np.zeros_like(mean), np.where(level > 0, level, deviation)
        location = np.where(there, read, 0).sum(0) / count
        spread = np.sqrt(np.where(there, (read - location) ** 2, 0).sum(0) / count)
        return location, np.where(spread > _CONSTANT * np.abs(location), spread, deviation)


def _of_table(table: Table) -> Any:
    return lambda column: (table.values(column), table.lengths(column))


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    def column(name: str) -> tuple[np.ndarray, np.ndarray]:
        found = [np.asarray(row[name], COLUMNS[name]) for row in rows]
        return np.concatenate(found), np.array([len(each) for each in found], np.int64)

    return column
