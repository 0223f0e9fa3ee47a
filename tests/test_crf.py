"""The conditional random field beside sums over all paths, gradients beside finite differences, and its conditions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from ostinato import crf
from ostinato.crf import CRF, Scores, negative_log_likelihood, plain_negative_log_likelihood, viterbi

SHAPES = [(1, 1, 1), (1, 3, 4), (4, 1, 1), (5, 3, 3), (6, 4, 2), (4, 7, 4)]


def make(
    shape: tuple[int, int, int], masked: bool = False, scale: float = 1.0
) -> tuple[Tensor, Scores, Tensor, Tensor]:
    """Emissions with NaN in the padding, scores, tags and lengths."""
    time, batch, labels = shape
    emissions = scale * torch.randn(time, batch, labels, dtype=torch.float64)
    lengths = torch.randint(1, time + 1, (batch,))
    lengths[0] = time
    live = torch.arange(time)[:, None] < lengths
    scores = Scores(*(torch.randn(size, dtype=torch.float64) for size in ((labels, labels), labels, labels)))
    tags = torch.randint(labels, (time, batch))
    if masked and labels > 1:  # the last label comes only after itself or label 0, and is no start; label 1 is no end
        illegal = torch.zeros(labels, labels, dtype=torch.bool)
        illegal[1:-1, -1] = True
        scores = Scores(scores.transitions.masked_fill(illegal, -math.inf), scores.start.clone(), scores.end.clone())
        scores.start[-1] = -math.inf
        tags = torch.zeros_like(tags)
        if labels > 2:
            scores.end[1] = -math.inf
            tags[1:] = labels - 1
    return emissions.masked_fill(~live.unsqueeze(2), torch.nan), scores, tags.masked_fill(~live, -100), lengths


def all_paths(emissions: Tensor, scores: Scores, length: int, row: int) -> list[tuple[float, tuple[int, ...]]]:
    """Every sequence of labels of a row with its score, one by one."""
    found = []
    for path in itertools.product(range(emissions.shape[2]), repeat=length):
        score = float(scores.start[path[0]] + scores.end[path[-1]])
        score += sum(float(emissions[step, row, label]) for step, label in enumerate(path))
        score += sum(float(scores.transitions[a, b]) for a, b in itertools.pairwise(path))
        found.append((score, path))
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_paths(shape: tuple[int, int, int], masked: bool) -> None:
    emissions, scores, tags, lengths = make(shape, masked)
    found = negative_log_likelihood(emissions, scores, tags, lengths, detour=2)
    best, best_score = viterbi(emissions, scores, lengths)
    for row, length in enumerate(lengths.tolist()):
        paths = all_paths(emissions, scores, length, row)
        log_z = torch.tensor([score for score, _ in paths], dtype=torch.float64).logsumexp(0)
        gold = next(score for score, path in paths if list(path) == tags[:length, row].tolist())
        assert found[row].item() == pytest.approx(float(log_z) - gold, rel=1e-10, abs=1e-10)
        highest, path = max(paths)
        assert best[:length, row].tolist() == list(path) and best_score[row].item() == pytest.approx(highest)
        assert not best[length:, row].any()
    assert plain_negative_log_likelihood(emissions, scores, tags, lengths).tolist() == pytest.approx(found.tolist())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_by_finite_differences(shape: tuple[int, int, int]) -> None:
    emissions, scores, tags, lengths = make(shape)
    live = torch.arange(shape[0])[:, None, None] < lengths[:, None]
    leaves = [part.requires_grad_() for part in (torch.where(live, emissions, 0), *scores)]

    def losses(emissions: Tensor, *scores: Tensor) -> Tensor:
        return negative_log_likelihood(emissions, Scores(*scores), tags, lengths)

    assert torch.autograd.gradcheck(losses, leaves)  # each row's own loss, so that rows are weighted apart


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_where_something_is_illegal(shape: tuple[int, int, int]) -> None:
    emissions, scores, tags, lengths = make(shape, masked=True)
    weights = torch.rand(shape[1], dtype=torch.float64)
    found = []
    for function in (negative_log_likelihood, plain_negative_log_likelihood):
        leaves = [part.detach().clone().requires_grad_() for part in (emissions, *scores)]
        total = (function(leaves[0], Scores(*leaves[1:]), tags, lengths) * weights).sum()
        found.append(torch.autograd.grad(total, leaves, materialize_grads=True))
    for ours, plain, score in zip(*found, (emissions, *scores), strict=True):
        torch.testing.assert_close(ours, torch.where(score.isfinite(), plain, 0))
        assert not ours[~score.isfinite()].any()  # neither padding nor what is illegal


def test_scores_far_apart_are_summed_in_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    emissions, scores, tags, lengths = make((6, 4, 3), scale=400.0)
    plain = plain_negative_log_likelihood(emissions, scores, tags, lengths)
    leaf = emissions.clone().requires_grad_()
    found = negative_log_likelihood(leaf, scores, tags, lengths)
    found.sum().backward()
    torch.testing.assert_close(found.detach(), plain)
    assert leaf.grad is not None and leaf.grad[torch.arange(6)[:, None] < lengths].isfinite().all()
    # and not at everyday scores, of which the fast way alone is fit for training
    monkeypatch.setattr(crf, "plain_negative_log_likelihood", None)
    emissions, scores, tags, lengths = make((6, 4, 3), scale=10.0)
    assert negative_log_likelihood(emissions, scores, tags, lengths, detour=3).isfinite().all()


def test_long_and_wide_in_float32() -> None:
    emissions, scores, tags, lengths = make((300, 3, 127), scale=3.0)
    plain = plain_negative_log_likelihood(emissions, scores, tags, lengths)
    short = Scores(*(part.float() for part in scores))
    found = negative_log_likelihood(emissions.float(), short, tags, lengths)
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=0)


def test_head_learns_and_never_takes_an_illegal_step() -> None:
    legal = torch.ones(3, 3, dtype=torch.bool)
    legal[0, 2] = legal[2, 1] = False
    begins, ends = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    head = CRF(5, 3, legal, begins, ends)
    before = head.transitions.detach().clone()
    tags, lengths = torch.tensor([[0, 1], [1, 2], [2, 2], [0, -100]]), torch.tensor([4, 3])
    hidden = torch.randn(4, 2, 5)
    optimizer = torch.optim.AdamW(head.parameters(), 0.1, weight_decay=0)
    first = head.loss(hidden, tags, lengths).item()
    for _ in range(60):
        optimizer.zero_grad()
        head.loss(hidden, tags, lengths).backward()
        optimizer.step()
    assert head.loss(hidden, tags, lengths).item() < 0.2 * first
    assert head.decode(hidden, lengths).tolist() == tags.clamp(min=0).tolist()
    assert (head.transitions[~legal] == before[~legal]).all() and (head.transitions[legal] != before[legal]).all()
    for _ in range(20):
        lengths = torch.randint(1, 10, (8,))
        found = head.decode(20 * torch.randn(9, 8, 5), lengths)
        for path, length in zip(found.t(), lengths, strict=True):
            labels = path[:length].tolist()
            assert begins[labels[0]] and ends[labels[-1]] and all(legal[a, b] for a, b in itertools.pairwise(labels))
    wrong = torch.tensor([[0], [2]])
    assert head.losses(hidden[:2, :1], wrong, torch.tensor([2])).item() == math.inf


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"legal: expected bool \[3, 3\], found float32 \[3, 3\]"):
        CRF(4, 3, torch.ones(3, 3))
    with pytest.raises(ValueError, match="every label needs a successor"):
        CRF(4, 2, torch.tensor([[True, True], [False, False]]))
    head, tags = CRF(4, 2), torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="lengths: expected values from 1 to 3, found 0 to 3"):
        head.loss(torch.zeros(3, 2, 4), tags, torch.tensor([3, 0]))
    with pytest.raises(ValueError, match=r"tags: expected \[4, 2\], found \[3, 2\]"):
        head.loss(torch.zeros(4, 2, 4), tags, torch.tensor([3, 1]))
    with pytest.raises(ValueError, match="emissions and lengths: expected"):
        head.decode(torch.zeros(4, 2, 4), torch.tensor([3, 1, 1]))
