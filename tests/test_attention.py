"""Attention: its formulas written down again, and padding that is no part of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato.attention import SCORES, AdditiveAttention, MultiplicativeAttention, make_attention

LENGTHS = torch.tensor([4, 1, 3, 0])


def make(score: str, coverage: bool = False) -> Any:
    attention = make_attention(score, 3, 3 if score in ("dot", "scaled") else 5, coverage).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.uniform_(-1, 1)
    return attention


@torch.no_grad()
def score_by_hand(attention: Any, query: Tensor, key: Tensor, covered: float) -> float:
    """One query and one step of the memory, from the papers."""
    if isinstance(attention, AdditiveAttention):
        v, w, u, b = attention.score.weight[0], attention.query.weight, attention.key.weight, attention.key.bias
        inner = w @ query + u @ key + b
        if attention.cover is not None:
            inner = inner + attention.cover.weight[:, 0] * covered
        return float((v * torch.tanh(inner)).sum())
    assert isinstance(attention, MultiplicativeAttention)
    score = query @ (attention.key.weight @ key) if hasattr(attention.key, "weight") else query @ key
    score = score / math.sqrt(len(query)) if attention.scale != 1 else score
    return float(score + (attention.cover * covered if attention.cover is not None else 0))


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_weights_and_contexts_by_hand(score: str, coverage: bool) -> None:
    attention = make(score, coverage)
    values = torch.randn(4, 4, attention.memory_size, dtype=torch.float64)
    queries = torch.randn(2, 4, 3, dtype=torch.float64)
    covered = torch.rand(4, 2, 4, dtype=torch.float64) if coverage else None
    contexts, weights = attention(queries, attention.memory(values, LENGTHS), covered)
    for row, length in enumerate(LENGTHS.tolist()):
        for at in range(2):
            e = [
                score_by_hand(
                    attention, queries[at, row], values[s, row], float(covered[row, at, s]) if coverage else 0
                )
                for s in range(length)
            ]
            total = sum(math.exp(each) for each in e)
            alpha = [math.exp(each) / total for each in e] + [0.0] * (4 - length)
            torch.testing.assert_close(weights[row, at], torch.tensor(alpha, dtype=torch.float64))
            expected = sum((a * values[s, row] for s, a in enumerate(alpha)), torch.zeros_like(values[0, row]))
            torch.testing.assert_close(contexts[at, row], expected)


@pytest.mark.parametrize("score", SCORES)
def test_padding_is_no_part_of_it_whatever_it_holds(score: str) -> None:
    attention = make(score)
    values = torch.randn(4, 4, attention.memory_size, dtype=torch.float64)
    queries = torch.randn(2, 4, 3, dtype=torch.float64)
    padded = values.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        padded[length:, row] = math.nan
    padded.requires_grad_()
    contexts, weights = attention(queries, attention.memory(padded, LENGTHS))
    assert torch.isfinite(contexts).all()
    assert (contexts[:, 3] == 0).all() and (weights[3] == 0).all()  # nothing to attend to
    for row, length in enumerate(LENGTHS.tolist()):
        assert (weights[row, :, length:] == 0).all()  # exactly
        if length:
            alone, _ = attention(queries[:, row : row + 1], attention.memory(values[:length, row : row + 1]))
            torch.testing.assert_close(contexts[:, row : row + 1], alone)
    contexts.sum().backward()
    assert padded.grad is not None and torch.isfinite(padded.grad).all()
    assert (padded.grad[1:, 1] == 0).all()


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_gradients(score: str, coverage: bool) -> None:
    attention = make(score, coverage)
    values = torch.randn(3, 2, attention.memory_size, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    covered = torch.rand(2, 2, 3, dtype=torch.float64, requires_grad=True) if coverage else None
    weights = list(attention.parameters())

    def run(values: Tensor, queries: Tensor, *_: Tensor) -> Tensor:
        return attention(queries, attention.memory(values, torch.tensor([3, 2])), covered)[0]

    inputs = [values, queries, *weights, *([covered] if covered is not None else [])]
    assert torch.autograd.gradcheck(run, inputs)


def test_what_does_not_fit_is_told() -> None:
    attention = MultiplicativeAttention(3, 5)
    memory = attention.memory(torch.randn(4, 2, 5))
    with pytest.raises(ValueError, match=r"memory: expected \[source, batch, 5\], found \[4, 2, 3\]"):
        attention.memory(torch.randn(4, 2, 3))
    with pytest.raises(ValueError, match=r"queries: expected \[target, batch, 3\]"):
        attention(torch.randn(1, 2, 5), memory)
    with pytest.raises(ValueError, match="coverage: not taken"):
        attention(torch.randn(1, 2, 3), memory, torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match="coverage: needed"):
        covering = AdditiveAttention(3, 5, coverage=True)
        covering(torch.randn(1, 2, 3), covering.memory(torch.randn(4, 2, 5)))
    with pytest.raises(ValueError, match="3 with 5"):
        MultiplicativeAttention(3, 5, "dot")
    with pytest.raises(ValueError, match="one of general, dot, scaled"):
        MultiplicativeAttention(3, 5, "additive")
