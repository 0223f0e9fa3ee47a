"""CTC: its loss beside the sum over all paths, its best path, and prefix beam search beside all labellings."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise, product
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.ctc import CTC, aligned, greedy, needed_steps, spoken
from ostinato.ctc_search import prefix_search
from ostinato.error_rates import ErrorRates, edit_distance
from ostinato.spec_augment import Sounds, SpecAugment


def distribution(steps: int, batch: int, classes: int, seed: int, sharp: float = 1.0) -> np.ndarray:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(steps, batch, classes)) * sharp)
    return torch.log_softmax(logits, -1).numpy()


def labellings(log_y: np.ndarray) -> dict[tuple[int, ...], float]:
    """p of every labelling, as the sum over all paths; log_y [time, classes]."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(log_y.shape[1]), repeat=len(log_y)):
        p = np.exp(sum(log_y[step, label] for step, label in enumerate(path)))
        found[tuple(each.label for each in spoken(path))] += float(p)
    return found


def test_the_loss_is_the_sum_over_all_paths() -> None:
    head = CTC(3, 3).double()
    hidden = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_y = head.log_probabilities(hidden).detach().double().numpy()
    for labels in ([1], [1, 1], [2, 1, 2]):
        for row, length in ((0, 5), (1, 3)):
            wanted = labellings(log_y[:length, row]).get(tuple(labels), 0.0)
            targets, counts = torch.tensor([labels] * 2), torch.tensor([len(labels)] * 2)
            found = head.losses(hidden, targets, torch.tensor([5, length]), counts)[row].detach()
            assert float(torch.exp(-found)) == pytest.approx(wanted, rel=1e-5, abs=1e-12)
    assert needed_steps([1, 1]) == 3


def test_the_gradient_is_that_of_finite_differences() -> None:
    head = CTC(3, 4).double()
    hidden = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    targets, lengths, counts = torch.tensor([[1, 1, 3], [2, 0, 0]]), torch.tensor([6, 4]), torch.tensor([3, 1])
    log_y = torch.nn.functional.linear(hidden, head.weight, head.bias)

    def loss(x: torch.Tensor) -> torch.Tensor:
        y = torch.log_softmax(x, -1)
        return torch.nn.functional.ctc_loss(y, targets, lengths, counts, reduction="sum")

    assert torch.autograd.gradcheck(loss, (log_y.detach().requires_grad_(),))
    total = head.losses(hidden, targets, lengths, counts).sum()  # in float32, as trained
    assert total.item() == pytest.approx(loss(log_y).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(total, hidden)
    assert not gradient[4:, 1].any() and gradient[:4, 1].any()  # nothing comes from the padding


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 99), st.sampled_from([0.5, 2.0]))
def test_a_wide_beam_finds_every_labelling_with_its_probability(
    steps: int, classes: int, seed: int, sharp: float
) -> None:
    log_y = distribution(steps, 2, classes, seed, sharp)
    lengths = np.array([steps, max(1, steps - 2)])
    for row, found in enumerate(prefix_search(log_y, lengths, 400, most_labels=None)):
        wanted = labellings(log_y[: lengths[row], row])
        assert {tuple(each.labels) for each in found} == set(wanted)
        for each in found:
            assert np.exp(each.log_p) == pytest.approx(wanted[tuple(each.labels)], rel=1e-9)
        assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def plain_search(log_y: np.ndarray, size: int) -> list[tuple[tuple[int, ...], float]]:
    """The algorithm of Hannun et al. 2014, without a language model, with dicts; log_y [time, classes]."""
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    for y in np.exp(log_y):
        after: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, label) in beam.items():
            after[prefix][0] += y[0] * (blank + label)
            if prefix:
                after[prefix][1] += y[prefix[-1]] * label
            for k in range(1, len(y)):
                after[(*prefix, k)][1] += y[k] * (blank if prefix and prefix[-1] == k else blank + label)
        best = sorted(after, key=lambda prefix: -sum(after[prefix]))[:size]
        beam = {prefix: (after[prefix][0], after[prefix][1]) for prefix in best}
    return sorted(((prefix, sum(p)) for prefix, p in beam.items()), key=lambda each: -each[1])


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_a_narrow_beam_is_that_of_the_paper(size: int) -> None:
    log_y = distribution(20, 7, 6, 3, 1.5)
    lengths = np.array([20, 20, 1, 7, 13, 20, 4])
    for row, found in enumerate(prefix_search(log_y, lengths, size, most_labels=None)):
        wanted = plain_search(log_y[: lengths[row], row], size)
        assert [tuple(each.labels) for each in found] == [prefix for prefix, _ in wanted]
        np.testing.assert_allclose([np.exp(each.log_p) for each in found], [p for _, p in wanted], rtol=1e-9)


class Bigrams:
    """A scorer by a table: log p of a label after another; 0 stands before the first, and at the end."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def begin(self) -> int:
        return 0

    def scores(self, state: int) -> np.ndarray:
        return self.table[state]

    def advance(self, state: int, label: int) -> int:
        del state
        return label

    def end(self, state: int) -> float:
        return float(self.table[state, 0])


def test_a_scorer_is_added_and_finds_what_is_best_together() -> None:
    table = np.random.default_rng(8).normal(size=(4, 4)) * 2
    for seed in range(5):
        log_y = distribution(5, 1, 4, seed)
        wanted: dict[tuple[int, ...], float] = {}
        for labels, p in labellings(log_y[:, 0]).items():
            read = (0, *labels, 0)
            wanted[labels] = float(np.log(p) + sum(table[a, b] for a, b in pairwise(read)))
        best = prefix_search(log_y, np.array([5]), 400, Bigrams(table), None)[0][0]
        assert tuple(best.labels) == max(wanted, key=lambda labels: wanted[labels])
        assert best.score == pytest.approx(wanted[tuple(best.labels)], rel=1e-9)


def test_few_labels_a_step_are_enough_where_they_are_likely() -> None:
    log_y = distribution(12, 3, 50, 4, 4.0)
    lengths = np.array([12, 12, 5])
    few, all_of_them = (prefix_search(log_y, lengths, 8, most_labels=most) for most in (15, None))
    assert [each[0].labels for each in few] == [each[0].labels for each in all_of_them]
    assert prefix_search(log_y, np.array([0, 0, 0]), 3)[0] == [([], 0.0, 0.0)]


def test_the_likeliest_path_and_its_steps() -> None:
    log_y = np.log(np.full((6, 1, 3), 0.1) + 0.7 * np.eye(3)[[0, 2, 2, 0, 2, 1]][:, None])
    (found,) = greedy(torch.from_numpy(log_y), torch.tensor([6]))
    assert found == [(2, 1, 2), (2, 4, 4), (1, 5, 5)]
    assert greedy(torch.from_numpy(log_y), torch.tensor([3]))[0] == [(2, 1, 2)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(1, 3), max_size=3))
def test_an_alignment_is_the_likeliest_path_of_its_labels(seed: int, labels: list[int]) -> None:
    log_y = distribution(5, 1, 4, seed)[:, 0]
    paths = [path for path in product(range(4), repeat=5) if [each.label for each in spoken(path)] == labels]
    if not paths:
        with pytest.raises(ValueError, match="need at least"):
            aligned(log_y, labels)
        return
    found = aligned(log_y, labels)
    assert [each.label for each in spoken(found)] == labels
    score = max(sum(log_y[step, label] for step, label in enumerate(path)) for path in paths)
    assert sum(log_y[step, label] for step, label in enumerate(found)) == pytest.approx(score)


WORDS = st.lists(st.sampled_from(["one", "two", "to", "tow", "猫", "x"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_error_rates_are_those_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    rates = ErrorRates()
    for told, right in pairs:
        rates = rates.add(told, right)
    told, right = ([pair[side] for pair in pairs] for side in (0, 1))
    figures = rates.figures()
    assert figures["word_error_rate"] == pytest.approx(jiwer.wer(right, told))
    assert figures["character_error_rate"] == pytest.approx(jiwer.cer(right, told))
    assert edit_distance("", "abc") == 3 and edit_distance("abc", "") == 3 and edit_distance("", "") == 0


def sounds(steps: int = 40, batch: int = 30, bands: int = 8, stack: int = 2) -> Sounds:
    lengths = torch.arange(batch) + steps - batch + 1
    none: Any = torch.zeros(batch, 0)
    return Sounds(torch.ones(steps, batch, bands * stack), lengths, none, none, [""] * batch)


def test_masks_take_bands_of_all_steps_and_steps_of_all_bands() -> None:
    torch.manual_seed(0)
    given = sounds()
    found = SpecAugment(8, band_masks=1, widest_bands=3, time_masks=0, longest_steps=4)(given).unflatten(2, (2, 8))
    assert torch.equal(found[:, :, 0], found[:, :, 1]) and torch.equal(found[0], found[-1])
    silenced = (found[0, :, 0] == 0).sum(-1)
    assert silenced.min() == 0 and silenced.max() == 3
    found = SpecAugment(8, band_masks=0, widest_bands=3, time_masks=1, longest_steps=4)(given)
    gone = (found == 0).all(-1)
    assert torch.equal(gone, (found == 0).any(-1))
    longest = gone.sum(0)
    assert longest.max() == 4 and (longest <= given.lengths // 5).all()
    beyond = torch.arange(40).unsqueeze(1) >= given.lengths
    assert not (gone & beyond).any()
    assert torch.equal(SpecAugment(8, 2, 8, 2, 40).eval()(given), given.features)
