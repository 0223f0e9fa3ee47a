"""What the loss's variance from batch to batch goes with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_NEIGHBOURS = 25  # steps on either side of which the running mean is taken
FEWEST = 100
"""Steps without which nothing is said."""


def without_trend(values: np.ndarray, neighbours: int = _NEIGHBOURS) -> np.ndarray:
    """Values less their running mean over so many neighbours on either side, [n]; NaN is passed over.

    >>> abs(without_trend(np.arange(200.0))[60:140]).max() < 1e-9
    np.True_
    """
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    at = np.arange(len(values))
    low, high = np.maximum(at - neighbours, 0), np.minimum(at + neighbours + 1, len(values))
    return values - (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)


def explained_variance(loss: np.ndarray, causes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Shares of the variance of the loss between neighbouring batches that go with each of some causes.

    Loss and causes are taken less their running means, so that learning itself, and what changes as slowly, plays no
    part. Then y = X b + e by least squares, R² adjusted for the number of regressors, and the share of a cause is what
    R² loses without it (its squared semipartial correlation; Cohen et al. 2003, section 3.3): `shared` is what several
    explain alike, `unexplained` the rest. All are at least 0 and add up to 1 but for rounding at 0.

    Args:
        loss: of each step's batch, [n]; NaN where there was none.
        causes: by name, [n] or [n, several].

    Returns:
        Shares by name; nothing with less than 100 steps, or where the loss does not vary.

    >>> draw = np.random.default_rng(0)
    >>> length, rate = draw.normal(size=(2, 1000))
    >>> found = explained_variance(2 * length + draw.normal(size=1000), {"length": length, "rate": rate})
    >>> {name: round(share, 1) for name, share in found.items()}
    {'length': 0.8, 'rate': 0.0, 'shared': 0.0, 'unexplained': 0.2}
    """
    y = without_trend(np.asarray(loss, float))
    columns = {
        name: np.stack([without_trend(column) for column in np.atleast_2d(np.asarray(values, float).T)])
        for name, values in causes.items()
    }
    usable = np.isfinite(y) & np.all([np.isfinite(part).all(0) for part in columns.values()], axis=0)
    y = y[usable]
    if len(y) < FEWEST or not columns or y.var() == 0:
        return {}

    def fitted(names: list[str]) -> float:
        """Adjusted R², at least 0."""
        parts = [part[:, usable] for name in names for part in [columns[name]]]
        varying = [row for part in parts for row in part if row.std() > 1e-12]
        if not varying:
            return 0.0
        x = np.stack([np.ones(len(y)), *((row - row.mean()) / row.std() for row in varying)], 1)
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        plain = 1 - float(left @ left) / float(((y - y.mean()) ** 2).sum())
        return max(0.0, 1 - (1 - plain) * (len(y) - 1) / (len(y) - x.shape[1]))

    whole = fitted(list(columns))
    shares = {name: max(0.0, whole - fitted([other for other in columns if other != name])) for name in columns}
    return shares | {"shared": max(0.0, whole - sum(shares.values())), "unexplained": 1 - whole}


def seen_before(values: np.ndarray, period: int) -> np.ndarray:
    """The mean of the same batch's values in the other epochs, where each epoch has the same batches in one order.

    Args:
        values: of each step, without trend, [n]; NaN where there is none.
        period: batches in an epoch.

    Returns:
        [n]; 0 for a batch that was met once.

    >>> seen_before(np.array([1.0, 0.0, 3.0, 0.0, 2.0]), 2).tolist()
    [2.5, 0.0, 1.5, 0.0, 2.0]
    """
    which = np.arange(len(values)) % period
    known = np.isfinite(values)
    sums = np.bincount(which, np.where(known, values, 0.0), minlength=period)
    counts = np.bincount(which, known, minlength=period)
    others = counts[which] - known
    return np.where(others > 0, (sums[which] - np.where(known, values, 0.0)) / np.maximum(others, 1), 0.0)
