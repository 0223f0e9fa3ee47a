"""Intervals that hold: how far the quantiles of a forecaster must be moved, and how its errors hang together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from ostinato.quantile_heads import conformal_factors

_FEWEST = 20  # values of a target, with which an interval of 90 % can be widened at all
_EDGE = 0.001  # of what lies beyond the outermost quantile


@torch.inference_mode()
def calibrate(model: Any, batches: Iterable[Any]) -> dict[str, float]:
    """Set the factors of a forecaster's head, and the correlation of its errors, from validation windows.

    The factors are those of `conformal_factors`, one a target and level over all steps. The correlation is that of
    z_k and z_k+1, where z_k = Φ⁻¹(F_k(y)) and F_k is the calibrated distribution of step k: what sampled paths need.

    Returns:
        The share of the validation values within the widest interval before and after; nothing of too few values.
    """
    head = model.network.head
    head.factors.fill_(1.0)
    levels = head.levels.double().cpu().numpy()
    quantiles, targets = [], []
    for batch, _ in batches:
        batch = model.on_device(batch)
        quantiles.append(head.quantiles(model.network(batch)).double().cpu().numpy())
        targets.append(torch.where(batch.known, batch.targets.double(), torch.nan).cpu().numpy())
    q, y = np.concatenate(quantiles, axis=1), np.concatenate(targets, axis=1)
    known = np.isfinite(y)
    fewest = int(known.sum((0, 1)).min())
    if fewest < _FEWEST:
        model.reporter.message(
            f"{fewest} validation values are too few to calibrate (at least {_FEWEST}): intervals "
            "stay as the network says them; --validation-windows keeps more"
        )
        return {}
    before = _share(y, q)
    for target in range(y.shape[2]):
        there = known[:, :, target]
        factors = conformal_factors(y[..., target][there], q[:, :, target][there], levels.tolist())
        head.factors[target] = torch.from_numpy(factors)
    middle = q[..., head.middle : head.middle + 1]
    q = np.sort(middle + head.factors.cpu().numpy() * (q - middle), axis=-1)
    z = norm.ppf(distribution(y, q, levels))
    for target in range(y.shape[2] if len(y) > 1 else 0):
        pairs = np.stack([z[:-1, :, target].ravel(), z[1:, :, target].ravel()])
        pairs = pairs[:, np.isfinite(pairs).all(0)]
        if pairs.shape[1] > 2 and (pairs.std(1) > 0).all():
            head.correlation[target] = float(np.corrcoef(pairs)[0, 1])
    widest = f"{100 * (levels[-1] - levels[0]):g}"
    return {f"uncalibrated_coverage_{widest}": before, f"coverage_{widest}": _share(y, q)}


def _share(y: np.ndarray, q: np.ndarray) -> float:
    known = np.isfinite(y)
    within = (q[..., 0] <= y) & (y <= q[..., -1])
    return float(within[known].mean())


def distribution(y: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """F(y) where F is linear between quantiles and exponential beyond them, within (0, 1); NaN where y is.

    Args:
        y: [...].
        quantiles: [..., level], rising.
        levels: [level].

    >>> distribution(np.array([0.0, 0.5, 9.0]), np.array([[0.0, 1.0]] * 3), np.array([0.1, 0.9])).round(3).tolist()
    [0.1, 0.5, 0.999]
    """
    y = y[..., None]
    at = np.clip((quantiles < y).sum(-1, keepdims=True), 1, len(levels) - 1)
    low, high = np.take_along_axis(quantiles, at - 1, -1), np.take_along_axis(quantiles, at, -1)
    slope = (levels[at] - levels[at - 1]) / np.maximum(high - low, 1e-12)
    found = levels[at - 1] + (y - low) * slope
    span = np.maximum(quantiles[..., -1:] - quantiles[..., :1], 1e-12)
    below = levels[0] * np.exp(np.minimum((y - quantiles[..., :1]) / span * 4, 0))
    above = 1 - (1 - levels[-1]) * np.exp(np.minimum((quantiles[..., -1:] - y) / span * 4, 0))
    found = np.where(y < quantiles[..., :1], below, np.where(y > quantiles[..., -1:], above, found))
    return np.clip(found[..., 0], _EDGE, 1 - _EDGE)


def quantile(u: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The inverse of `distribution`: y with F(y) = u, of u [...] and quantiles [..., level].

    >>> quantile(np.array([0.1, 0.5]), np.array([[0.0, 1.0]] * 2), np.array([0.1, 0.9])).round(3).tolist()
    [0.0, 0.5]
    """
    u = np.clip(u, _EDGE, 1 - _EDGE)[..., None]
    at = np.clip((levels < u).sum(-1, keepdims=True), 1, len(levels) - 1)
    low, high = np.take_along_axis(quantiles, at - 1, -1), np.take_along_axis(quantiles, at, -1)
    found = low + (u - levels[at - 1]) / (levels[at] - levels[at - 1]) * (high - low)
    span = np.maximum(quantiles[..., -1:] - quantiles[..., :1], 1e-12)
    below = quantiles[..., :1] + span / 4 * np.log(np.minimum(u / levels[0], 1))
    above = quantiles[..., -1:] - span / 4 * np.log(np.minimum((1 - u) / (1 - levels[-1]), 1))
    found = np.where(u < levels[0], below, np.where(u > levels[-1], above, found))
    return found[..., 0]
