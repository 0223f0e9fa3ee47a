"""Heads for labels: each loss is the −log p that its probabilities say, and each probability its formula."""

from __future__ import annotations

import math

import pytest
import torch

from ostinato.label_heads import Number, OneLabel, OrderedLabels, SeveralLabels, SharedLabels

TARGETS = torch.tensor([0, 2, 1, -100, 2])


def _at(kind: type, logits: torch.Tensor) -> torch.Tensor:
    """Probabilities at temperature 1."""
    plain = kind(4, 3)
    return plain.probabilities(logits)


@pytest.mark.parametrize("kind", [OneLabel, OrderedLabels])
def test_the_loss_of_one_label_is_that_of_its_probability(kind: type) -> None:
    torch.manual_seed(1)
    weights = torch.tensor([1.0, 0.5, 3.0])
    head = kind(4, 3, weights)
    logits = head.logits(torch.randn(5, 4) * 3).detach()
    p = head.probabilities(logits)
    torch.testing.assert_close(p.sum(1), torch.ones(5))
    wanted = sum(
        -weights[target] * math.log(p[row, target]) for row, target in enumerate(TARGETS.tolist()) if target >= 0
    )
    assert head.loss(logits, TARGETS).item() == pytest.approx(float(wanted), rel=1e-5)
    head.temperature.fill_(2.0)
    assert head.probabilities(logits).max() < p.max()
    torch.testing.assert_close(head.probabilities(logits), _at(kind, logits / 2))
    assert head.loss(logits, TARGETS).item() == pytest.approx(float(wanted), rel=1e-5)  # training knows no temperature


@pytest.mark.parametrize("kind", [OneLabel, SeveralLabels, SharedLabels])
def test_scores_of_labels_need_an_offset_alone(kind: type) -> None:
    head = kind(None, 3)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    assert head.logits(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 3.0, 2.0]]
    assert sum(parameter.numel() for parameter in head.parameters()) == 3


def test_ordered_labels_are_differences_of_sigmoids_and_finite_far_out() -> None:
    head = OrderedLabels(4, 4)
    with torch.no_grad():
        head.gaps.copy_(torch.tensor([0.3, -2.0]))
    borders = head.borders()
    assert (borders.diff() > 0).all()
    score = torch.tensor([[0.7]])
    above = torch.sigmoid(score - borders)
    p = head.probabilities(score - borders).detach()[0].tolist()
    a, b, c = above.detach()[0].tolist()
    wanted = [1 - a, a - b, b - c, c]
    assert p == pytest.approx(wanted, abs=1e-6)
    vector = torch.full((2, 4), 1e4, requires_grad=True)
    loss = head.loss(head.logits(vector), torch.tensor([0, 3]))
    loss.backward()
    assert vector.grad is not None and math.isfinite(loss.item()) and vector.grad.isfinite().all()
    assert OrderedLabels(4, 2).logits(torch.zeros(1, 4)).shape == (1, 1)


def test_several_labels_are_decisions() -> None:
    weights = torch.tensor([1.0, 4.0])
    head = SeveralLabels(3, 2, weights)
    logits, targets = torch.randn(6, 2), torch.tensor([[1.0, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 0]])
    p = head.probabilities(logits)
    wanted = -(targets * weights * p.log() + (1 - targets) * (1 - p).log()).sum()
    assert head.loss(logits, targets).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_shared_labels_are_one_softmax() -> None:
    head = SharedLabels(3, 3)
    logits, targets = torch.randn(3, 3), torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]])
    log_p = logits.log_softmax(1)
    wanted = -(log_p[0, 0] + log_p[0, 1]) / 2 - log_p[2, 2]
    assert head.loss(logits, targets).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert head.probabilities(logits).sum(1).tolist() == pytest.approx([1, 1, 1])


def test_a_number_is_normal() -> None:
    head = Number(3, mean=10.0, scale=4.0)
    with torch.no_grad():
        head.log_deviation.fill_(-0.5)
    logits, targets = torch.randn(5, 1), torch.randn(5) + 10
    spread = torch.distributions.Normal(10 + 4 * logits[:, 0], 4 * math.exp(-0.5))
    assert head.loss(logits, targets).item() == pytest.approx(-spread.log_prob(targets).sum().item(), rel=1e-5)
    assert head.probabilities(logits)[:, 0].tolist() == pytest.approx(spread.mean.tolist())


@pytest.mark.parametrize("kind", [OneLabel, OrderedLabels, SeveralLabels, SharedLabels])
def test_smoothing_spreads_a_share_of_the_target(kind: type) -> None:
    head = kind(4, 3)
    logits = head.logits(torch.randn(1, 4)).detach()
    one = [torch.tensor([k]) if kind in (OneLabel, OrderedLabels) else torch.eye(3)[k : k + 1] for k in range(3)]
    plain = [head.loss(logits, each).item() for each in one]
    smooth = head.loss(logits, one[1], label_smoothing=0.3).item()
    if kind is SeveralLabels:  # towards one half, decision by decision
        half = head.loss(logits, torch.full((1, 3), 0.5)).item()
        assert smooth == pytest.approx(0.7 * plain[1] + 0.3 * half, rel=1e-5)
    else:
        assert smooth == pytest.approx(0.7 * plain[1] + 0.3 * sum(plain) / 3, rel=1e-5)


@pytest.mark.parametrize("kind", [OneLabel, SharedLabels, SeveralLabels])
def test_the_divergence_is_that_of_kullback_and_leibler_both_ways(kind: type) -> None:
    head = kind(4, 3)
    first, second = torch.randn(5, 3), torch.randn(5, 3)
    p, q = head.probabilities(first), head.probabilities(second)
    sides = [(p, q)] if kind is not SeveralLabels else [(p, q), (1 - p, 1 - q)]
    wanted = sum((a * (a / b).log() + b * (b / a).log()).sum() for a, b in sides) / 2
    torch.testing.assert_close(head.divergence(first, second), wanted)
    assert head.divergence(first, first).item() == 0
    head.temperature.fill_(3.0)
    torch.testing.assert_close(head.divergence(first, second), wanted)  # training knows no temperature


def test_the_divergence_of_borders_and_of_numbers() -> None:
    above = torch.tensor([[1.0, -1.0]])
    a, b = above.sigmoid(), (above + 1).sigmoid()
    wanted = (a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()).sum()
    wanted = (wanted + (b * (b / a).log() + (1 - b) * ((1 - b) / (1 - a)).log()).sum()) / 2
    torch.testing.assert_close(OrderedLabels(4, 3).divergence(above, above + 1), wanted)
    two, five = torch.tensor([[2.0]]), torch.tensor([[5.0]])
    assert Number(4, 1.0, 1.0).divergence(two, five).item() == pytest.approx(4.5)  # ½·3²
