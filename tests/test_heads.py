"""Heads and their losses against the plain way, and against what their papers state."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ostinato.errors import SettingsError
from ostinato.heads import AdaptiveSoftmax, SampledSoftmax, Softmax, make_head
from ostinato.kernels import cross_entropy
from ostinato.kernels.cross_entropy import linear_cross_entropy


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 40),
    hidden=st.integers(1, 9),
    vocabulary=st.integers(2, 60),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
    rows=st.integers(1, 50),
)
def test_fused_loss_is_the_plain_loss(tokens: int, hidden: int, vocabulary: int, smoothing: float, rows: int) -> None:
    """The loss and every gradient in float64, however the tokens fall into chunks and whichever do not count."""
    h = torch.randn(tokens, hidden, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocabulary, hidden, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(vocabulary, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,))
    targets[torch.rand(tokens) < 0.3] = -100
    logits = functional.linear(h, weight, bias)
    wanted = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "_CHUNK_ELEMENTS", rows * vocabulary)
        found = linear_cross_entropy(h, weight, bias, targets, smoothing)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    leaves = (h, weight, bias)
    # upstream gradients other than one must reach all of them
    for a, b in zip(torch.autograd.grad(3 * found, leaves), torch.autograd.grad(3 * wanted, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_fused_loss_never_holds_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of the size of all logits is made: the largest softmax is a chunk."""
    monkeypatch.setattr(cross_entropy, "_CHUNK_ELEMENTS", 10 * 1000)
    seen: list[int] = []
    plain = torch.log_softmax
    monkeypatch.setattr(torch, "log_softmax", lambda x, dim, out: (seen.append(x.numel()), plain(x, dim, out=out))[1])
    hidden = torch.randn(95, 4, requires_grad=True)
    linear_cross_entropy(hidden, torch.randn(1000, 4), torch.zeros(1000), torch.randint(1000, (95,))).backward()
    assert max(seen) == 10 * 1000
    assert sum(seen) == 95 * 1000


def test_fused_loss_after_inference_and_in_turn() -> None:
    """What memory is kept from one call serves the next, whatever its size, and inference before training."""
    head = Softmax(8, 30)
    batches = [(torch.randn(n, 8), torch.randint(30, (n,))) for n in (5, 20, 3, 20)]
    with torch.inference_mode():
        scored = [float(head.full_loss(*batch)) for batch in batches]
    for (hidden, targets), before in zip(batches, scored, strict=True):
        loss = head.loss(hidden, targets)
        wanted = functional.cross_entropy(hidden @ head.weight.t() + head.bias, targets, reduction="sum")
        torch.testing.assert_close(loss, wanted)
        assert loss.item() == pytest.approx(before)
        (found,) = torch.autograd.grad(loss, head.weight)
        torch.testing.assert_close(found, torch.autograd.grad(wanted, head.weight)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="one backward a loss"):
        (loss := head.loss(*batches[0])).backward(retain_graph=True)
        loss.backward()


def test_fused_loss_in_bfloat16_is_near() -> None:
    head, hidden, targets = Softmax(32, 50), torch.randn(20, 32), torch.randint(50, (20,))
    exact = head.loss(hidden, targets)
    with torch.autocast("cpu", torch.bfloat16):
        low = head.loss(hidden, targets)
    assert low.dtype == torch.float32
    assert low != exact
    assert abs(low / exact - 1) < 0.01


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"expected \[tokens, hidden\] and \[tokens\], found \[2, 3, 4\] and \[2, 3\]"):
        linear_cross_entropy(
            torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(5), torch.zeros(2, 3, dtype=torch.long)
        )
    with pytest.raises(ValueError, match=r"weight: expected \[5, 4\], found \[5, 3\]"):
        Softmax(4, 5, torch.nn.Parameter(torch.zeros(5, 3)))


@pytest.mark.parametrize("kind", ["full", "sampled", "adaptive"])
def test_full_loss_is_what_the_probabilities_say(kind: str) -> None:
    head = make_head(kind, 16, 40, samples=10, cutoffs=[8, 20])
    hidden, targets = torch.randn(12, 16), torch.randint(40, (12,))
    targets[3] = -100
    log_p = head.log_probabilities(hidden)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(12))
    wanted = -sum(log_p[i, target] for i, target in enumerate(targets.tolist()) if target >= 0)
    torch.testing.assert_close(head.full_loss(hidden, targets), wanted)


def test_sampled_loss_has_the_gradient_of_the_full_one() -> None:
    """On average over draws: the corrected logits estimate the full softmax (Jean et al. 2015, section 3.1)."""
    head = SampledSoftmax(4, 200, samples=120)
    hidden = torch.randn(30, 4) * 0.5
    targets = torch.randint(200, (30,))
    (full,) = torch.autograd.grad(head.full_loss(hidden, targets), head.weight)
    draws = [torch.autograd.grad(head.loss(hidden, targets), head.weight)[0] for _ in range(400)]
    mean = torch.stack(draws).mean(0)
    cosine = functional.cosine_similarity(mean.flatten(), full.flatten(), dim=0)
    assert cosine > 0.99
    assert abs(float(mean.norm() / full.norm()) - 1) < 0.05


def test_sampled_negatives_leave_out_the_target() -> None:
    """With weights that give the target all probability the loss is nearly zero, though the target is drawn too."""
    head = SampledSoftmax(1, 10, samples=9)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-50.0)
        head.bias[0] = 50.0
    assert head.loss(torch.zeros(4, 1), torch.zeros(4, dtype=torch.long)).item() < 1e-6


def test_log_uniform_draws_follow_their_formula() -> None:
    head = SampledSoftmax(2, 1000, samples=300)
    counts = torch.zeros(1000)
    for _ in range(300):
        uniform = torch.rand(300)
        counts[((uniform * math.log(1001)).exp().long() - 1).clamp(0, 999).unique()] += 1
    expected = head._expected_count(torch.arange(1000)) * 300
    assert ((counts - expected).abs() < 6 * expected.sqrt() + 3).all()


def test_heads_refuse_what_does_not_fit() -> None:
    with pytest.raises(SettingsError, match="num_samples = 10: must be below the vocabulary's size, 10"):
        SampledSoftmax(2, 10, samples=10)
    with pytest.raises(SettingsError, match="must rise"):
        AdaptiveSoftmax(16, 10, cutoffs=[5, 3])
    with pytest.raises(SettingsError, match="need hidden features ≥ 16"):
        AdaptiveSoftmax(8, 10, cutoffs=[3, 5])
