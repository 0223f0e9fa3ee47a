"""Heads of two texts: how alike they are, as a score from 0 to 1."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Encoded(NamedTuple):
    """Texts as an encoder has them."""

    vectors: Tensor
    """[texts, features]."""
    words: Tensor | None = None
    """A vector for each word, [texts, time, features]; needed by `Alignment` alone."""
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


class Alignment(nn.Module):
    """What each word of a text finds in the other (after Parikh et al. 2016, sections 3.1-3.3).

    e_ij = (K u_i) · (K v_j) / √k;  β_i = Σ_j softmax_j(e_ij) v_j;  m_i = ReLU(G [u_i ⊙ β_i; |u_i − β_i|] + g);
    of the text [mean_i m_i; max_i m_i], and the sum of both texts' is the same whichever comes first.

    Args:
        features: of a word's vector u or v.
        size: k, and units of m.
        dropout: on what G reads.
    """

    def __init__(self, features: int, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.key, self.match = nn.Linear(features, size, bias=False), nn.Linear(2 * features, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Texts [pairs] → [pairs, 2·size]."""
        assert a.words is not None and b.words is not None  # noqa: S101
        assert a.mask is not None and b.mask is not None  # noqa: S101
        scores = self.key(a.words) @ self.key(b.words).transpose(1, 2) / math.sqrt(self.key.out_features)
        return self._found(a, b, scores, b.mask) + self._found(b, a, scores.transpose(1, 2), a.mask)

    def _found(self, own: Encoded, other: Encoded, scores: Tensor, there: Tensor) -> Tensor:
        weights = scores.masked_fill(~there.unsqueeze(1), torch.finfo(scores.dtype).min).softmax(2)
        words: Any = own.words
        others: Any = other.words
        found = weights @ others
        both = self.dropout(torch.cat([words * found, (words - found).abs()], dim=2))
        own_mask: Any = own.mask
        match = torch.relu(self.match(both)).masked_fill(~own_mask.unsqueeze(2), 0)  # so 0 is no more than any
        return torch.cat([match.sum(1) / own_mask.sum(1, keepdim=True).clamp(min=1), match.amax(1)], dim=1)


class Comparison(nn.Module):
    """h = σ(W₁ (a ⊙ b) + W₂ |a − b| + b_h) (Tai et al. 2015, eq. 15); with words, + W₃ of their `Alignment`.

    It is the same whichever of the two comes first.

    Args:
        features: of a text's vector.
        hidden_size: units of h.
        dropout: on all that it reads, and on h.
        words: features of a word's vector, if words are aligned, else 0.
        align_size: see `Alignment`.
    """

    def __init__(
        self, features: int, hidden_size: int, dropout: float = 0.0, words: int = 0, align_size: int = 100
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * features, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.alignment = Alignment(words, align_size, dropout) if words else None
        if words:
            self.aligned = nn.Linear(2 * align_size, hidden_size, bias=False)

    def forward(self, a: Encoded, b: Encoded) -> Tensor:
        """Texts [pairs], or one of them → h [pairs, hidden]."""
        both = self.dropout(torch.cat([a.vectors * b.vectors, (a.vectors - b.vectors).abs()], dim=-1))
        total = self.linear(both)
        if self.alignment is not None:
            total = total + self.aligned(self.alignment(a, b))
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
