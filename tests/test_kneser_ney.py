"""Modified Kneser-Ney smoothing against the paper's formulas, written down with dictionaries."""

from __future__ import annotations

import tracemalloc
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostinato.kneser_ney import FALLBACK, KneserNey, discounts
from ostinato.ngram_counts import NGramCounts

SIZE, END = 5, 4
ids = st.lists(st.integers(0, SIZE - 1), max_size=60)
orders = pytest.mark.parametrize("order", [1, 2, 3, 4, 5])


class Direct:
    """p_n(w | h) by recursion; a text is one sequence, or with `lines` each line is one, begun by the line end."""

    def __init__(self, text: list[int], order: int, size: int, lines: bool, start: tuple[int, ...] = (END,)) -> None:
        self.order, self.size = order, size
        sequences = [[*start]]
        for token in text:
            sequences[-1].append(token)
            if lines and token == END:
                sequences.append([END])
        raw: Counter = Counter()
        before = defaultdict(set)
        for number, sequence in enumerate(sequences):
            for at in range(0 if number == 0 and not start else 1, len(sequence)):
                for n in range(1, order + 1):
                    if (first := at + 1 - n) >= 0:
                        gram = tuple(sequence[first : at + 1])
                        raw[gram] += 1
                        before[gram].add(sequence[first - 1] if first else ("begin", number))
        self.count = {gram: raw[gram] if len(gram) == order else len(before[gram]) for gram in raw}
        self.discount = {n: self.estimate([c for g, c in self.count.items() if len(g) == n]) for n in range(order + 1)}
        self.follow = defaultdict(dict)
        for gram, count in self.count.items():
            self.follow[gram[:-1]][gram[-1]] = count

    @staticmethod
    def estimate(counts: list[int]) -> dict[int, float]:
        n1, n2, n3, n4 = (counts.count(k) for k in (1, 2, 3, 4))
        if n1 and n2 and n3:
            y = n1 / (n1 + 2 * n2)
            d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
            if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3:
                return {0: 0.0, 1: d1, 2: d2, 3: d3}
        return {0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5}

    def p(self, word: int, history: tuple[int, ...]) -> float:
        lower = self.p(word, history[1:]) if history else 1 / self.size
        if history not in self.follow:
            return lower
        counts, d = self.follow[history], self.discount[len(history) + 1]
        total = sum(counts.values())
        n1, n2 = (sum(c == k for c in counts.values()) for k in (1, 2))
        n3 = len(counts) - n1 - n2
        gamma = (d[1] * n1 + d[2] * n2 + d[3] * n3) / total
        count = counts.get(word, 0)
        return (count - d[min(count, 3)]) / total + gamma * lower

    def text(self, held_out: list[int], lines: bool) -> list[float]:
        found, history = [], (END,)
        for word in held_out:
            found.append(self.p(word, history[max(0, len(history) - self.order + 1) :]))
            history = (END,) if lines and word == END else (*history, word)[-self.order :]
        return found


def count(text: list[int], order: int, lines: bool = False, size: int = SIZE) -> NGramCounts:
    counts = NGramCounts(order, size, END if lines else None, before=[END])
    counts.add(np.array(text, np.uint16 if size <= 1 << 16 else np.uint32))
    return counts


def started(model: KneserNey) -> np.ndarray:
    return model.advance(np.array([END]), model.begin(1))


@given(train=ids, held_out=st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=30), lines=st.booleans())
@example(train=[], held_out=[1, 2, 3], lines=False)
@example(train=[0, 1, 4, 0, 1, 4, 0, 2, 4, 1, 1, 4], held_out=[0, 1, 4, 3, 0, 1, 4, 4, 0], lines=True)
@example(train=[0, 0, 0, 1], held_out=[0, 1, 0, 1, 1], lines=False)  # a context that only ends the training text
@example(train=[4, 4, 4, 0, 4], held_out=[4, 4, 0, 4, 4], lines=True)  # empty lines
@settings(max_examples=40, deadline=None)
@orders
def test_it_is_the_formula(order, train, held_out, lines):
    model, direct = KneserNey.from_counts(count(train, order, lines)), Direct(train, order, SIZE, lines)
    p, after = model.read(np.array(held_out), started(model))
    np.testing.assert_allclose(p, direct.text(held_out, lines), rtol=1e-10)
    # one token at a time, and in two pieces, it is the same
    state = started(model)
    for token, expected in zip(held_out, p, strict=True):
        np.testing.assert_allclose(model.distribution(state)[0, token], expected, rtol=1e-12)
        state = model.advance(np.array([token]), state)
    np.testing.assert_array_equal(after, state)
    if len(held_out) > 1:
        first, state = model.read(np.array(held_out[:1]), started(model))
        np.testing.assert_array_equal(np.append(first, model.read(np.array(held_out[1:]), state)[0]), p)


def zipf(tokens: int, seed: int, size: int = 400) -> list[int]:
    """Ids whose counts of counts are those of a text: estimated discounts, at all orders that are tested."""
    draw = np.random.default_rng(seed)
    drawn = np.minimum(draw.zipf(1.4, tokens), size) - 1
    drawn[1::3] = (drawn[::3][: len(drawn[1::3])] * 7 + draw.integers(0, 3, len(drawn[1::3]))) % size
    return drawn.tolist()


@pytest.mark.parametrize("lines", [False, True])
@orders
def test_it_is_the_formula_with_estimated_discounts(order, lines):
    train, held_out = zipf(3000, 1), zipf(300, 2)
    model, direct = KneserNey.from_counts(count(train, order, lines, 400)), Direct(train, order, 400, lines)
    assert all(level.estimated for level in model.levels)
    for n, level in enumerate(model.levels, 1):
        assert level.discounts == pytest.approx([direct.discount[n][k] for k in (1, 2, 3)], rel=1e-12)
    p, _ = model.read(np.array(held_out), started(model))
    np.testing.assert_allclose(p, direct.text(held_out, lines), rtol=1e-10)


@given(train=ids, contexts=st.lists(st.lists(st.integers(0, SIZE - 1), min_size=6, max_size=6), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("lines", [False, True])
@orders
def test_every_distribution_sums_to_one(order, lines, train, contexts):
    model = KneserNey.from_counts(count(train, order, lines))
    state = model.begin(len(contexts))
    for column in np.array(contexts).T:
        p = model.distribution(state)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
        assert (p > 0).all()
        state = model.advance(column, state)


@given(train=ids, word=st.integers(0, SIZE - 1))
@settings(max_examples=30, deadline=None)
def test_a_text_may_begin_with_nothing_before_it(train, word):
    counts = NGramCounts(3, SIZE)
    counts.add(np.array(train, np.uint16))
    model, direct = KneserNey.from_counts(counts), Direct(train, 3, SIZE, lines=False, start=())
    for history in ((), (0,), (1, 2), (4, 0)):
        state = model.begin(1)
        for token in history:
            state = model.advance(np.array([token]), state)
        assert model.distribution(state)[0, word] == pytest.approx(direct.p(word, history), rel=1e-10)


@given(text=ids, cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)), lines=st.booleans())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_blocks_and_parts_are_one_pass(order, text, cuts, lines):
    whole = count(text, order, lines)
    first, second = sorted(cuts)
    one = NGramCounts(order, SIZE, END if lines else None, before=[END])
    one.add(np.array(text[:first], np.uint16))
    one.add(np.array(text[first:second], np.uint16))
    other = NGramCounts(order, SIZE, END if lines else None, before=np.array([END, *text[:second]], np.uint16))
    other.add(np.array(text[second:], np.uint16))
    other.merge(one)
    for found, expected in zip([other.table, *other.levels()], [whole.table, *whole.levels()], strict=True):
        np.testing.assert_array_equal(found.grams, expected.grams)
        np.testing.assert_array_equal(found.counts, expected.counts)


def test_texts_of_their_own_add_up():
    """Parts that begin at a line each need no context where lines stand alone."""
    text = [0, 1, END, 1, 1, 2, END, 0, 1, END]
    whole, part, rest = count(text, 3, lines=True), count(text[:7], 3, lines=True), count(text[7:], 3, lines=True)
    part.merge(rest)
    np.testing.assert_array_equal(part.table.grams, whole.table.grams)
    np.testing.assert_array_equal(part.table.counts, whole.table.counts)
    for other in (count(text, 2, lines=True), count(text, 3), count(text, 3, lines=True, size=6)):
        with pytest.raises(ValueError, match=r"(order|line_end|vocabulary_size) = "):
            part.merge(other)


def test_memory_is_that_of_the_different_ngrams():
    text = np.array(zipf(20_000, 3), np.uint16)

    def peak(times: int) -> int:
        counts = NGramCounts(5, 400)
        tracemalloc.start()
        for _ in range(times):
            counts.add(text)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(24) < 1.2 * peak(3)


@pytest.mark.parametrize("size", [70_000, 65_536, 65_535])
@pytest.mark.parametrize("order", [1, 3, 5])
def test_large_vocabularies_do_not_overflow(order, size):
    pool, draw = np.array([0, 1, END, size - 2, size - 1]), np.random.default_rng(order)
    train, held_out = (pool[draw.integers(0, 5, length)].tolist() for length in (400, 100))
    held_out[::9] = [12_345] * len(held_out[::9])
    model, direct = KneserNey.from_counts(count(train, order, size=size)), Direct(train, order, size, lines=False)
    p, _ = model.read(np.array(held_out), started(model))
    np.testing.assert_allclose(p, direct.text(held_out, lines=False), rtol=1e-10)


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ((8, 4, 2, 1), (0.5, 1.25, 2.0)),
        ((8, 4, 2, 0), (0.5, 1.25, 3.0)),  # n4 = 0 is a value, and D3+ = 3 one that leaves a distribution
        ((0, 4, 2, 1), None),
        ((8, 0, 2, 1), None),
        ((8, 4, 0, 1), None),
        ((1, 1, 10, 1), None),  # D2 < 0
        ((4, 1, 1, 1), None),  # D2 = 0 would leave nothing for what follows a context for the first time
        ((1, 1, 1, 9), None),  # D3 < 0
        ((0, 0, 0, 0), None),
    ],
)
def test_discounts_and_where_there_are_none(times, found):
    counts = np.repeat([0, 1, 2, 3, 4, 9], [3, *times, 2])
    assert discounts(counts) == (found if found is None else pytest.approx(found))


def test_a_text_too_small_takes_the_fallback():
    model = KneserNey.from_counts(count([0, 1, 2, 3], 3))  # no n-gram twice
    assert [(level.estimated, level.discounts) for level in model.levels] == [(False, FALLBACK)] * 3
    p, _ = model.read(np.array([0, 1, 2]), started(model))
    assert p[2] == pytest.approx(0.5 + 0.5 * (0.5 + 0.5 * (0.5 / 4 + 0.5 / 5)))


def test_tensors_tell_the_model():
    model = KneserNey.from_counts(count(zipf(500, 4), 3, size=400))
    tensors = model.tensors()
    again = KneserNey.from_tensors(tensors, 3, 400)
    text = np.array(zipf(50, 5))
    np.testing.assert_array_equal(again.read(text, started(again))[0], model.read(text, started(model))[0])
    assert again.size == model.size
    for order, size, change, error in (
        (2, 400, {}, "missing or unknown: counts.3"),
        (3, 401, {}, "order 1, a vocabulary of 401: 400 words"),
        (3, 400, {"words.3": tensors["words.3"][:-1]}, "order 3"),
        (3, 400, {"first.2": tensors["first.2"] + 1}, "order 2"),
    ):
        with pytest.raises(ValueError, match=error):
            KneserNey.from_tensors(tensors | change, order, size)
