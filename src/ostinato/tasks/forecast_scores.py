"""How good forecasts are: the figures of the M4 competition, quantile losses, and whether intervals hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Actual(NamedTuple):
    """What came, and what simple forecasts would have said; in the units of the files."""

    values: np.ndarray
    """y, float64 [horizon, windows, target], NaN where missing."""
    naive: np.ndarray
    """The last value, of the same shape."""
    seasonal: np.ndarray
    """What stood there a season before."""
    season_error: np.ndarray
    """Mean |y_t − y_t−m| before the window, [windows, target]; the scale of MASE. NaN where there is none."""


class ForecastTally:
    r"""Figures of forecasts, added up over windows.

    smape is the mean of 200·|y − ŷ| / (|y| + |ŷ|), 0 where both are 0; mase that of |y − ŷ| / mean |y_t − y_t−m| of the
    steps before (Makridakis et al. 2020, section 2.2; Hyndman & Koehler 2006). Both are means over a window, then over
    windows, as are those of the competition. rmse and mae are over all values; pinball is the mean of ρ_τ over levels.
    coverage_90 is the share of values within the interval of 90 %, width_90 that interval's mean width.

    Args:
        levels: of the quantiles, if there are any.

    >>> tally = ForecastTally()
    >>> actual = Actual(np.array([[[2.0]], [[4.0]]]), *np.zeros((2, 2, 1, 1)), np.array([[0.5]]))
    >>> tally.add(actual, np.array([[[2.0]], [[3.0]]]))
    >>> {name: round(value, 3) for name, value in tally.figures().items()}
    {'smape': 14.286, 'mase': 1.0, 'rmse': 0.707, 'mae': 0.5}
    """

    def __init__(self, levels: Sequence[float] = ()) -> None:
        self.levels = np.array(levels)
        self._smape: list[np.ndarray] = []
        self._mase: list[np.ndarray] = []
        self._square = self._absolute = self._count = 0.0
        self._pinball = 0.0
        self._pairs = [(at, len(levels) - 1 - at) for at in range(len(levels) // 2)]
        self._within, self._width = np.zeros(len(self._pairs)), np.zeros(len(self._pairs))

    def add(self, actual: Actual, point: np.ndarray, quantiles: np.ndarray | None = None) -> None:
        """Forecasts of some windows.

        Args:
            actual: what came.
            point: ŷ, [horizon, windows, target].
            quantiles: [horizon, windows, target, level], if there are levels.
        """
        known = np.isfinite(actual.values)
        y = np.where(known, actual.values, 0)
        error = np.where(known, np.abs(y - point), 0)
        size = np.abs(y) + np.abs(point)
        count = known.sum(0)
        told = count > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(size > 0, 200 * error / np.where(size > 0, size, 1), 0)
            self._smape.append((relative.sum(0) / count)[told])
            mase = error.sum(0) / count / actual.season_error
        self._mase.append(mase[told & np.isfinite(mase)])
        self._square += float((error**2).sum())
        self._absolute += float(error.sum())
        self._count += float(known.sum())
        if quantiles is None:
            return
        short = np.where(known, y, 0)[..., None] - quantiles
        loss = np.maximum(self.levels * short, (self.levels - 1) * short).mean(-1)
        self._pinball += float(np.where(known, loss, 0).sum())
        for pair, (low, high) in enumerate(self._pairs):
            within = (quantiles[..., low] <= y) & (y <= quantiles[..., high])
            self._within[pair] += float((within & known).sum())
            self._width[pair] += float(np.where(known, quantiles[..., high] - quantiles[..., low], 0).sum())

    def figures(self) -> dict[str, float]:
        """By name; those that no window has are left out."""
        found: dict[str, float] = {}
        for name, parts in (("smape", self._smape), ("mase", self._mase)):
            if len(every := np.concatenate([*parts, np.zeros(0)])):
                found[name] = float(every.mean())
        if not self._count:
            return found
        found["rmse"] = float(np.sqrt(self._square / self._count))
        found["mae"] = self._absolute / self._count
        if len(self.levels):
            found["pinball"] = self._pinball / self._count
        for (low, high), within, width in zip(self._pairs, self._within, self._width, strict=True):
            if round(self.levels[low] + self.levels[high], 6) == 1:
                name = f"{100 * (self.levels[high] - self.levels[low]):g}"
                found[f"coverage_{name}"] = float(within / self._count)
                found[f"width_{name}"] = float(width / self._count)
        return found
