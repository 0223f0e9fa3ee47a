"""Heads of two vectors: how alike what they stand for is, as a score from 0 to 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ManhattanHead(nn.Module):
    """s = exp(−‖a − b‖₁), trained by its squared error (MaLSTM: Mueller & Thyagarajan 2016, eq. 1).

    >>> ManhattanHead()(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]])).tolist()
    [1.0]
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Vectors [pairs, features], or one of them [1, features] → scores [pairs]."""
        return torch.exp(-(a - b).abs().sum(-1))

    def loss(self, a: Tensor, b: Tensor, scores: Tensor) -> Tensor:
        """Σ of the squared error over the pairs."""
        return functional.mse_loss(self(a, b), scores, reduction="sum")


class CosineHead(nn.Module):
    """s = (1 + cos(a, b)) / 2, trained by its squared error.

    >>> CosineHead()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0], [-1.0, 0.0]])).tolist()
    [0.5, 0.0]
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Vectors [pairs, features], or one of them [1, features] → scores [pairs]."""
        return (1 + functional.cosine_similarity(a, b, dim=-1)) / 2

    def loss(self, a: Tensor, b: Tensor, scores: Tensor) -> Tensor:
        """Σ of the squared error over the pairs."""
        return functional.mse_loss(self(a, b), scores, reduction="sum")


class Comparison(nn.Module):
    """h = σ(W₁ (a ⊙ b) + W₂ |a − b| + b_h) (Tai et al. 2015, eq. 15).

    It is the same whichever of the two comes first.

    Args:
        features: of a vector.
        hidden_size: units of h.
        dropout: on both features, and on h.
    """

    def __init__(self, features: int, hidden_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * features, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Vectors [pairs, features], or one of them [1, features] → h [pairs, hidden]."""
        both = self.dropout(torch.cat([a * b, (a - b).abs()], dim=-1))
        return self.dropout(torch.sigmoid(self.linear(both)))


class DistributionHead(nn.Module):
    """p = softmax(W h + b) over K marks from 0 to 1, s = rᵀ p, with h of `Comparison` (Tai et al. 2015, eq. 15-19).

    Training descends KL(q ‖ p), where q has its weight on the two marks beside the score y: with y between marks k and
    k + 1, a distance d from k, q_k = 1 − d and q_{k+1} = d.

    Args:
        features: of a vector.
        hidden_size: units of h.
        marks: K.
        dropout: see `Comparison`.

    >>> head = DistributionHead(4, 8, marks=5)
    >>> head.target(torch.tensor([0.0, 0.375])).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0, 0.0]]
    """

    def __init__(self, features: int, hidden_size: int, marks: int = 5, dropout: float = 0.0) -> None:
        super().__init__()
        self.comparison = Comparison(features, hidden_size, dropout)
        self.output = nn.Linear(hidden_size, marks)
        self.marks = marks

    def log_probabilities(self, a: Tensor, b: Tensor) -> Tensor:
        """Log p, [pairs, marks]."""
        return functional.log_softmax(self.output(self.comparison(a, b)).float(), dim=-1)

    def target(self, scores: Tensor) -> Tensor:
        """The q of scores from 0 to 1, [pairs, marks]."""
        places = scores * (self.marks - 1)
        at = torch.arange(self.marks, device=scores.device)
        return (1 - (places.unsqueeze(1) - at).abs()).clamp(min=0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Vectors [pairs, features], or one of them [1, features] → scores [pairs]."""
        p = self.log_probabilities(a, b).exp()
        return p @ torch.linspace(0, 1, self.marks, device=p.device)

    def loss(self, a: Tensor, b: Tensor, scores: Tensor) -> Tensor:
        """Σ KL(q ‖ p) over the pairs, nats."""
        return functional.kl_div(self.log_probabilities(a, b), self.target(scores), reduction="sum")


PAIR_HEADS = ("distribution", "manhattan", "cosine")
"""By name."""


def make_pair_head(kind: str, features: int, hidden_size: int, marks: int, dropout: float) -> Any:
    """The head of a name in `PAIR_HEADS`, of vectors with so many features."""
    if kind == "distribution":
        return DistributionHead(features, hidden_size, marks, dropout)
    return ManhattanHead() if kind == "manhattan" else CosineHead()
