"""Heads of numbers: quantiles of what is to come, and intervals that hold what they promise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def pinball(targets: Tensor, quantiles: Tensor, levels: Tensor) -> Tensor:
    r"""The quantile loss ρ_τ(y − q) = max(τ·(y − q), (τ − 1)·(y − q)) (Koenker & Bassett 1978, section 3).

    Args:
        targets: y, [...].
        quantiles: q, [..., level].
        levels: τ, [level].

    Returns:
        [..., level]; its mean over y is least where q is the τ-quantile.

    >>> pinball(torch.tensor([3.0]), torch.tensor([[1.0, 3.0, 4.0]]), torch.tensor([0.1, 0.5, 0.9]))[0].tolist()
    [0.2..., 0.0, 0.1...]
    """
    error = targets.unsqueeze(-1) - quantiles
    return torch.maximum(levels * error, (levels - 1) * error)


class QuantileHead(nn.Module):
    r"""q_τ = w_τ·h + b_τ + base for each target and level τ; trained by the sum of ρ_τ, told in order of τ.

    Quantiles that cross are put in order (Chernozhukov et al. 2010), which never makes them worse. Once calibrated,
    q_τ stands f_τ times as far from the median as the network says: see `conformal_factors`.

    Args:
        features: of h.
        targets: how many numbers a step has.
        levels: the τ, rising, 0.5 among them.
        mean: whether a further output tells the mean, trained by its squared error.

    >>> head = QuantileHead(4, 2, [0.1, 0.5, 0.9])
    >>> head(torch.zeros(7, 3, 4), torch.ones(7, 3, 2)).shape
    torch.Size([7, 3, 2, 3])
    """

    levels: Tensor
    factors: Tensor
    correlation: Tensor

    def __init__(self, features: int, targets: int, levels: Sequence[float], mean: bool = False) -> None:
        super().__init__()
        self.targets, self.mean = targets, mean
        self.middle = list(levels).index(0.5)
        self.linear = nn.Linear(features, targets * (len(levels) + mean))
        with torch.no_grad():  # at first, the base itself
            self.linear.weight.mul_(0.1)
        self.register_buffer("levels", torch.tensor(list(levels)))
        self.register_buffer("factors", torch.ones(targets, len(levels)))
        self.register_buffer("correlation", torch.zeros(targets))

    def forward(self, hidden: Tensor, base: Tensor) -> Tensor:
        """Quantiles, and the mean after them if there is one, [..., target, level], of h [..., features]."""
        found = self.linear(hidden).unflatten(-1, (self.targets, -1))
        return found.float() + base.unsqueeze(-1)

    def loss(self, found: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Σ over known targets of the mean of 2·ρ_τ over all τ, and of the mean's squared error."""
        count = len(self.levels)
        total = 2 * pinball(targets, found[..., :count], self.levels).mean(-1)
        if self.mean:
            total = total + (targets - found[..., count]) ** 2
        return total.masked_fill(~known, 0).sum()

    def quantiles(self, found: Tensor, calibrated: bool = True) -> Tensor:
        """What `forward` gave as quantiles in order, [..., target, level]."""
        ordered = found[..., : len(self.levels)].sort(dim=-1).values
        if not calibrated:
            return ordered
        median = ordered[..., self.middle : self.middle + 1]
        return (median + self.factors * (ordered - median)).sort(dim=-1).values  # each level has a factor of its own

    def point(self, found: Tensor) -> Tensor:
        """The mean if there is one, else the median, [..., target]."""
        if self.mean:
            return found[..., -1]
        return self.quantiles(found, calibrated=False)[..., self.middle]


def conformal_factors(targets: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    r"""How much further from the median each quantile must lie to hold on data that were not learned from.

    For τ > ½ the score of an example is r = (y − m) / (q_τ − m), and f_τ the ⌈(n + 1)·τ⌉-th smallest of n scores; for
    τ < ½ the same downwards. So P(y ≤ m + f_τ·(q_τ − m)) ≥ τ for a further example, if it is exchangeable with these:
    split conformal prediction with a normalised score (Lei et al. 2018, section 5.2; Romano et al. 2019).

    Args:
        targets: y, [examples].
        quantiles: q, [examples, level], rising.
        levels: the τ, 0.5 among them.

    Returns:
        f, [level], at least 0; 1 for the median.

    >>> y, q = np.array([0.0, 1.0, 2.0, 3.0]), np.array([[-1.0, 0.0, 1.0]] * 4)
    >>> conformal_factors(y, q, [0.25, 0.5, 0.75]).tolist()
    [0.0, 1.0, 3.0]
    """
    middle, n = list(levels).index(0.5), len(targets)
    found = np.ones(len(levels))
    median = quantiles[:, middle]
    for at, level in enumerate(levels):
        if at == middle or not n:
            continue
        reach = np.abs(quantiles[:, at] - median)
        least = 1e-6 * max(float(reach.mean()), 1e-12)
        score = (targets - median) * (1 if level > 0.5 else -1) / np.maximum(reach, least)
        rank = min(n, int(np.ceil((n + 1) * max(level, 1 - level) - 1e-9)))
        found[at] = max(0.0, float(np.partition(score, rank - 1)[rank - 1]))
    return found
