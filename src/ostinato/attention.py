"""Attention: what a decoder reads of an encoded sequence at each of its steps; padding is no part of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ostinato.pooling import valid_steps

SCORES = ("additive", "general", "dot", "scaled")


class Memory(NamedTuple):
    """An encoded sequence, ready to be attended to as often as needed."""

    values: Tensor
    """[batch, source, features], zero at padding."""
    keys: Tensor
    """What queries are compared with, [batch, source, attention]; projected once."""
    mask: Tensor | None
    """Which steps are no padding, bool [batch, 1, source]; None where all are."""


class Attention(nn.Module, ABC):
    """c_t = Σ_s α_ts v_s with α_t = softmax_s(e_ts) over the steps s of a memory that are no padding.

    What e is, a subclass says. With coverage, e also knows Σ_{t' < t} α_t's, how much each step was attended to before
    (Tu et al. 2016; See et al. 2017, section 2.3): then queries are answered one at a time.

    Args:
        query_size: features of a query.
        memory_size: features of the memory.
        coverage: whether e takes coverage.

    Shapes:
        queries [target, batch, query], memory [source, batch, features] → contexts [target, batch, features] and
        weights α [batch, target, source].
    """

    def __init__(self, query_size: int, memory_size: int, coverage: bool = False) -> None:
        super().__init__()
        self.query_size, self.memory_size, self.coverage = query_size, memory_size, coverage

    def memory(self, values: Tensor, lengths: Tensor | None = None) -> Memory:
        """What [source, batch, features] is to be attended to, with its keys; what padding holds is no matter."""
        if values.dim() != 3 or values.shape[2] != self.memory_size:
            raise ValueError(f"memory: expected [source, batch, {self.memory_size}], found {list(values.shape)}")
        mask = valid_steps(len(values), lengths, values)
        if mask is not None:
            values = values.masked_fill(~mask.unsqueeze(2), 0)
            mask = mask.t().unsqueeze(1)
        values = values.transpose(0, 1).contiguous()
        return Memory(values, self.keys(values), mask)

    @abstractmethod
    def keys(self, values: Tensor) -> Tensor:
        """The part of e that no query changes: [batch, source, features] → [batch, source, attention]."""

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor, coverage: Tensor | None) -> Tensor:
        """The scores e, [batch, target, source], of queries [batch, target, query]; coverage as the scores."""

    def weights(self, queries: Tensor, memory: Memory, coverage: Tensor | None = None) -> Tensor:
        """The weights α, [batch, target, source]: exactly zero at padding, else of sum one for each query.

        Raises:
            ValueError: if queries are of another size, or coverage is missing, or given where it is not taken.
        """
        if queries.dim() != 3 or queries.shape[2] != self.query_size:
            raise ValueError(f"queries: expected [target, batch, {self.query_size}], found {list(queries.shape)}")
        if (coverage is not None) != self.coverage:
            raise ValueError(f"coverage: {'needed' if self.coverage else 'not taken'} by this attention")
        scores = self.scores(queries.transpose(0, 1), memory.keys, coverage)
        if memory.mask is None:
            return scores.softmax(-1)
        weights = scores.masked_fill(~memory.mask, torch.finfo(scores.dtype).min).softmax(-1)
        return weights.masked_fill(~memory.mask, 0)  # of a sequence without steps too

    def forward(self, queries: Tensor, memory: Memory, coverage: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Contexts and weights of queries."""
        weights = self.weights(queries, memory, coverage)
        return torch.bmm(weights, memory.values).transpose(0, 1), weights


class AdditiveAttention(Attention):
    """e_ts = v · tanh(W_q q_t + W_k m_s + b [+ w_c · coverage_ts]) (Bahdanau et al. 2015, appendix A.1.2).

    Args:
        attention_size: features within tanh; the query's if None.

    >>> attention = AdditiveAttention(4, 3)
    >>> memory = attention.memory(torch.randn(5, 2, 3), torch.tensor([5, 1]))
    >>> contexts, weights = attention(torch.randn(6, 2, 4), memory)
    >>> contexts.shape, weights.shape, weights[1, 0].tolist()
    (torch.Size([6, 2, 3]), torch.Size([2, 6, 5]), [1.0, 0.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self, query_size: int, memory_size: int, attention_size: int | None = None, coverage: bool = False
    ) -> None:
        super().__init__(query_size, memory_size, coverage)
        size = attention_size or query_size
        self.query = nn.Linear(query_size, size, bias=False)
        self.key = nn.Linear(memory_size, size)
        self.score = nn.Linear(size, 1, bias=False)
        self.cover = nn.Linear(1, size, bias=False) if coverage else None

    def keys(self, values: Tensor) -> Tensor:
        """W_k m + b."""
        return self.key(values)

    def scores(self, queries: Tensor, keys: Tensor, coverage: Tensor | None) -> Tensor:
        """A tanh layer of both, and its product with v."""
        summed = self.query(queries).unsqueeze(2) + keys.unsqueeze(1)
        if self.cover is not None and coverage is not None:
            summed = summed + self.cover(coverage.unsqueeze(3))
        return self.score(torch.tanh(summed)).squeeze(3)


class MultiplicativeAttention(Attention):
    """e_ts = q_t · W m_s (general), q_t · m_s (dot), or q_t · m_s / √features (scaled), [+ w_c · coverage_ts].

    Luong et al. 2015, section 3.1; the scaled form is Vaswani et al. 2017, section 3.2.1.

    Args:
        score: general, dot or scaled.

    Raises:
        ValueError: if dot or scaled compare what differs in size.

    >>> attention = MultiplicativeAttention(3, 3, score="dot")
    >>> memory = attention.memory(torch.eye(3).unsqueeze(1))
    >>> attention(torch.tensor([[[9.0, 0.0, 0.0]]]), memory)[1].round(decimals=2).tolist()
    [[[1.0, 0.0, 0.0]]]
    """

    def __init__(self, query_size: int, memory_size: int, score: str = "general", coverage: bool = False) -> None:
        super().__init__(query_size, memory_size, coverage)
        if score not in SCORES[1:]:
            raise ValueError(f"score = {score!r}: one of {', '.join(SCORES[1:])}")
        if score != "general" and query_size != memory_size:
            raise ValueError(f"score = {score!r} compares features one by one: {query_size} with {memory_size}")
        self.key = nn.Linear(memory_size, query_size, bias=False) if score == "general" else nn.Identity()
        self.scale = query_size**-0.5 if score == "scaled" else 1.0
        self.cover = nn.Parameter(torch.zeros(())) if coverage else None

    def keys(self, values: Tensor) -> Tensor:
        """W m, or m."""
        return self.key(values)

    def scores(self, queries: Tensor, keys: Tensor, coverage: Tensor | None) -> Tensor:
        """One product of all queries with all keys of a sequence."""
        scores = torch.bmm(queries * self.scale if self.scale != 1 else queries, keys.transpose(1, 2))
        if self.cover is not None and coverage is not None:
            scores = scores + self.cover * coverage
        return scores


def make_attention(score: str, query_size: int, memory_size: int, coverage: bool = False) -> Attention:
    """The attention of a name in `SCORES`."""
    if score == "additive":
        return AdditiveAttention(query_size, memory_size, coverage=coverage)
    return MultiplicativeAttention(query_size, memory_size, score, coverage)
