"""Heads of two texts: how alike they are, as a score from 0 to 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Encoded(NamedTuple):
    """Texts as an encoder has them."""

    vectors: Tensor
    """[texts, features]."""
    own: Tensor | None = None
    """The own vector of each word, [texts, time, features]; needed by `SoftMatch` alone."""
    mask: Tensor | None = None
    """Which of them are no padding, bool [texts, time]."""


class ManhattanHead(nn.Module):
    """s = exp(−‖a − b‖₁), trained by its squared error (MaLSTM: Mueller & Thyagarajan 2016, eq. 1).

    >>> ManhattanHead()(Encoded(torch.tensor([[1.0, 2.0]])), Encoded(torch.tensor([[1.0, 2.0]]))).tolist()
    [1.0]
    """

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Vectors [pairs, features], or those of one text → scores [pairs]."""
        return torch.exp(-(a.vectors - b.vectors).abs().sum(-1))

    def loss(self, a: Encoded, b: Encoded, scores: Tensor) -> Tensor:
        """Σ of the squared error over the pairs."""
        return functional.mse_loss(self(a, b), scores, reduction="sum")


class CosineHead(nn.Module):
    """s = (1 + cos(a, b)) / 2, trained by its squared error.

    >>> CosineHead()(Encoded(torch.tensor([[1.0, 0.0]])), Encoded(torch.tensor([[0.0, 2.0], [-1.0, 0.0]]))).tolist()
    [0.5, 0.0]
    """

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Vectors [pairs, features], or those of one text → scores [pairs]."""
        return (1 + functional.cosine_similarity(a.vectors, b.vectors, dim=-1)) / 2

    def loss(self, a: Encoded, b: Encoded, scores: Tensor) -> Tensor:
        """Σ of the squared error over the pairs."""
        return functional.mse_loss(self(a, b), scores, reduction="sum")


class SoftMatch(nn.Module):
    """How many words of a text have one like them in the other, and how like (after Xiong et al. 2017, section 3.1).

    b_i = max_j cos(e_i, e'_j);  w_i = σ(v · e_i + d) / Σ σ(·);
    φ_k = Σ_i w_i exp(−(b_i − μ_k)² / (2·0.15²)) with μ = 0, 0.2, … 1;  f = [φ; Σ_i w_i b_i; min_i b_i] of either text,
    and of the pair [f + f'; |f − f'|], the same whichever comes first.

    It reads the words' own vectors, so two words never seen that are one word match.

    Args:
        features: of a word's own vector e.
    """

    size = 16

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Linear(features, 1)

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Texts [pairs] → [pairs, 16]."""
        assert a.own is not None and b.own is not None  # noqa: S101
        cosines = functional.normalize(a.own, dim=2) @ functional.normalize(b.own, dim=2).transpose(1, 2)
        first, second = self._side(cosines, a, b), self._side(cosines.transpose(1, 2), b, a)
        return torch.cat([first + second, (first - second).abs()], dim=1)

    def _side(self, cosines: Tensor, own: Encoded, other: Encoded) -> Tensor:
        mask: Any = own.mask
        there: Any = other.mask
        best = cosines.masked_fill(~there.unsqueeze(1), -1).amax(2)
        words: Any = own.own
        weights = torch.sigmoid(self.weight(words)).squeeze(2) * mask
        weights = (weights / weights.sum(1, keepdim=True).clamp(min=1e-9)).unsqueeze(2)
        means = torch.linspace(0, 1, self.size // 2 - 2, device=best.device)
        counts = (weights * torch.exp(-((best.unsqueeze(2) - means) ** 2) / (2 * 0.15**2))).sum(1)
        least = best.masked_fill(~mask, 1).amin(1, keepdim=True)
        return torch.cat([counts, (weights.squeeze(2) * best).sum(1, keepdim=True), least], dim=1)


class Comparison(nn.Module):
    """h = σ(W₁ (a ⊙ b) + W₂ |a − b| + b_h) (Tai et al. 2015, eq. 15); if words are matched, + W₃ of their `SoftMatch`.

    It is the same whichever of the two comes first.

    Args:
        features: of a text's vector.
        hidden_size: units of h.
        dropout: on what W₁ and W₂ read, and on h.
        words: features of a word's own vector, if words are matched, else 0.
    """

    def __init__(self, features: int, hidden_size: int, dropout: float = 0.0, words: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * features, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.match = SoftMatch(words) if words else None
        if words:
            self.matched = nn.Linear(SoftMatch.size, hidden_size, bias=False)

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Texts [pairs], or one of them → h [pairs, hidden]."""
        both = self.dropout(torch.cat([a.vectors * b.vectors, (a.vectors - b.vectors).abs()], dim=-1))
        total = self.linear(both)
        if self.match is not None:
            total = total + self.matched(self.match(a, b))
        return self.dropout(torch.sigmoid(total))


class DistributionHead(nn.Module):
    """p = softmax(W h + b) over K marks from 0 to 1, s = rᵀ p, with h of a `Comparison` (Tai et al. 2015, eq. 15-19).

    Training descends KL(q ‖ p), where q has its weight on the two marks beside the score y: with y between marks k and
    k + 1, a distance d from k, q_k = 1 − d and q_{k+1} = d.

    Args:
        comparison: of two texts.
        hidden_size: of h.
        marks: K.

    >>> head = DistributionHead(Comparison(4, 8), 8, marks=5)
    >>> head.target(torch.tensor([0.0, 0.375])).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0, 0.0]]
    """

    def __init__(self, comparison: Comparison, hidden_size: int, marks: int = 5) -> None:
        super().__init__()
        self.comparison, self.output, self.marks = comparison, nn.Linear(hidden_size, marks), marks

    def log_probabilities(self, a: Encoded, b: Encoded) -> Tensor:
        """Log p, [pairs, marks]."""
        return functional.log_softmax(self.output(self.comparison(a, b)).float(), dim=-1)

    def target(self, scores: Tensor) -> Tensor:
        """The q of scores from 0 to 1, [pairs, marks]."""
        places = scores * (self.marks - 1)
        at = torch.arange(self.marks, device=scores.device)
        return (1 - (places.unsqueeze(1) - at).abs()).clamp(min=0)

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Texts [pairs], or one of them → scores [pairs]."""
        p = self.log_probabilities(a, b).exp()
        return p @ torch.linspace(0, 1, self.marks, device=p.device)

    def loss(self, a: Encoded, b: Encoded, scores: Tensor) -> Tensor:
        """Σ KL(q ‖ p) over the pairs, nats."""
        return functional.kl_div(self.log_probabilities(a, b), self.target(scores), reduction="sum")


class LabelHead(nn.Module):
    """p = softmax(W h + b) over labels of pairs, with h of a `Comparison`.

    Args:
        comparison: of two texts.
        hidden_size: of h.
        labels: how many.
    """

    def __init__(self, comparison: Comparison, hidden_size: int, labels: int) -> None:
        super().__init__()
        self.comparison, self.output = comparison, nn.Linear(hidden_size, labels)

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Texts [pairs] → log p, [pairs, labels]."""
        return functional.log_softmax(self.output(self.comparison(a, b)).float(), dim=-1)
