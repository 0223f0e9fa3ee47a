"""n-gram baselines against the same formula, written down with dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostinato.tasks.baselines import ngram_loss

SIZE = 5
ids = st.lists(st.integers(0, SIZE - 1), max_size=30)


def direct(train: list[int], held_out: list[int], order: int, size: int) -> float:
    """Mean −log p by recursion on p_n(w | h) = (c(h w) + T(h)·p_{n−1}(w | h')) / (c(h) + T(h))."""
    after = defaultdict(Counter)
    for n in range(1, order + 1):
        for end in range(n - 1, len(train)):
            after[tuple(train[end - n + 1 : end])][train[end]] += 1

    def p(word: int, history: tuple[int, ...]) -> float:
        lower = p(word, history[1:]) if history else 1 / size
        counts = after.get(history)
        if not counts:
            return lower
        return (counts[word] + len(counts) * lower) / (counts.total() + len(counts))

    scored = [p(held_out[at], tuple(held_out[at - order + 1 : at])) for at in range(order - 1, len(held_out))]
    return -sum(map(math.log, scored)) / len(scored)


@given(train=ids, held_out=st.lists(st.integers(0, SIZE - 1), min_size=3, max_size=30))
@example(train=[0, 1, 0, 1], held_out=[4, 4, 4, 0, 1, 0])  # tokens and histories that were never seen
@example(train=[0, 0, 0, 1], held_out=[0, 1, 0, 1, 1])  # a history that only ends the training part
@example(train=[3, 4], held_out=[3, 4, 3])  # shorter than a trigram
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_it_is_the_formula(order, train, held_out):
    held_out = held_out + held_out[:1]
    found = ngram_loss(np.array(train, np.uint16), np.array(held_out, np.uint16), order, SIZE)
    assert found == pytest.approx(direct(train, held_out, order, SIZE), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("size", "dtype"), [(70_000, np.uint32), (65_536, np.uint16)])
def test_large_vocabularies_do_not_overflow(order, size, dtype):
    draw = np.random.default_rng(order)
    pool = np.array([0, 1, size - 2, size - 1])
    train, held_out = (pool[draw.integers(0, 4, count)].astype(dtype) for count in (400, 100))
    held_out[::9] = 12_345
    found = ngram_loss(train, held_out, order, size)
    assert found == pytest.approx(direct(train.tolist(), held_out.tolist(), order, size), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("train", [[], [0], [0, 1, 1, 2, 0, 1, 0]])
def test_probabilities_sum_to_one(order, train):
    for history in ([0, 1], [1, 2], [4, 4]):
        scores = [
            ngram_loss(np.array(train, np.int64), np.array([*history[: order - 1], word]), order, SIZE)
            for word in range(SIZE)
        ]
        assert sum(math.exp(-score) for score in scores) == pytest.approx(1)


def test_without_training_text_it_is_uniform():
    assert ngram_loss(np.array([], np.uint16), np.array([1, 2, 3, 4]), 3, SIZE) == pytest.approx(math.log(SIZE))
