"""Beam search beside looking at every sequence there is."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato.beam_search import Beam, beam_search

VOCABULARY, LONGEST = 4, 4  # id 0 ends


def tables(batch: int) -> Tensor:
    """log p of the next given the last and the length, for each sequence of a batch."""
    return torch.randn(batch, LONGEST + 1, VOCABULARY, VOCABULARY).log_softmax(-1)


class Toy:
    """A model whose state is how long it has read and which row of the tables it is."""

    def __init__(self, table: Tensor, source: int = 0) -> None:
        self.table, self.source = table, source
        self.attended = torch.rand(len(table), LONGEST + 1, VOCABULARY, source).softmax(-1) if source else None

    def step(self, ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        at = state[:, 0], state[:, 1].clamp(max=LONGEST), ids
        weights = None if self.attended is None else self.attended[at]
        return self.table[at], weights, torch.stack([state[:, 0], state[:, 1] + 1], 1)

    def search(self, limits: list[int], mask: Tensor | None = None, **beam: Any) -> Any:
        first = torch.stack([torch.arange(len(limits)), torch.zeros(len(limits), dtype=torch.int64)], 1)
        return beam_search(
            self.step, first, lambda state, rows: state[rows], 0, 0, torch.tensor(limits), Beam(**beam), mask
        )

    def rated(self, row: int, ids: tuple[int, ...], limit: int, alpha: float, beta: float = 0.0) -> float:
        """The score of a sequence by hand: with its end, unless it is cut at the limit."""
        told = [*ids] if len(ids) == limit else [*ids, 0]
        read = [0, *told[:-1]]
        log_p = sum(float(self.table[row, at, a, b]) for at, (a, b) in enumerate(zip(read, told, strict=True)))
        cp = 0.0
        if self.attended is not None and beta:
            total = sum(self.attended[row, at, a] for at, a in enumerate(read))
            assert isinstance(total, Tensor)
            cp = beta * float(total.clamp(max=1).log().sum())
        return log_p / ((5 + len(told)) / 6) ** alpha + cp

    def all(self, row: int, limit: int, alpha: float, beta: float = 0.0) -> list[tuple[float, tuple[int, ...]]]:
        every = (ids for length in range(limit + 1) for ids in itertools.product(range(1, VOCABULARY), repeat=length))
        return sorted(((self.rated(row, ids, limit, alpha, beta), ids) for ids in every), reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_what_is_told_of_each_hypothesis_is_so(alpha: float) -> None:
    toy, limits = Toy(tables(5)), [4, 1, 3, 4, 2]
    found = toy.search(limits, size=3, most=3, length_penalty=alpha)
    for row, limit in enumerate(limits):
        best = toy.all(row, limit, alpha)
        assert found[row][0].score <= best[0][0] + 1e-5
        for each in found[row]:
            assert each.score == pytest.approx(toy.rated(row, tuple(each.ids), limit, alpha), abs=1e-5)
        if limit == 1:
            assert [tuple(each.ids) for each in found[row]] == [ids for _, ids in best[:3]]
    assert all(len(each) == 3 for each in found)
    assert all(one.score >= two.score for each in found for one, two in itertools.pairwise(each))


def test_greedy_is_the_likeliest_token_at_each_step() -> None:
    toy, limits = Toy(tables(6)), [4, 2, 4, 3, 4, 1]
    for row, (only,) in enumerate(toy.search(limits, size=1)):
        ids: list[int] = []
        while len(ids) < limits[row]:
            following = int(toy.table[row, len(ids), ids[-1] if ids else 0].argmax())
            if following == 0:
                break
            ids.append(following)
        assert only.ids == ids


def test_a_wider_beam_finds_what_greed_misses() -> None:
    table = torch.full((1, LONGEST + 1, VOCABULARY, VOCABULARY), -9.0)
    table[0, 0, 0, 1], table[0, 0, 0, 2] = math.log(0.6), math.log(0.4)
    table[0, 1, 1, 3] = table[0, 1, 1, 0] = math.log(0.5)
    table[0, 2, 3, 0] = math.log(1.0)
    table[0, 1, 2, 0] = math.log(1.0)
    toy = Toy(table)
    assert toy.search([4], size=1, length_penalty=0.0)[0][0].ids in ([1], [1, 3])
    best = toy.search([4], size=2, length_penalty=0.0)[0][0]
    assert best.ids == [2] and best.log_probability == pytest.approx(math.log(0.4), abs=1e-5)


def test_a_longer_one_gains_by_the_length_penalty() -> None:
    table = torch.full((1, LONGEST + 1, VOCABULARY, VOCABULARY), -9.0)
    table[0, 0, 0, 0], table[0, 0, 0, 1] = math.log(0.45), math.log(0.55)
    table[0, 1, 1, 1] = math.log(0.9)
    table[0, 2, 1, 1] = math.log(0.9)
    table[0, 3, 1, 0] = math.log(0.95)
    toy = Toy(table)
    assert toy.search([4], size=3, length_penalty=0.0)[0][0].ids == []
    assert toy.search([4], size=3, length_penalty=2.0)[0][0].ids == [1, 1, 1]


def test_coverage_and_weights() -> None:
    toy = Toy(tables(3), source=3)
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    found = toy.search([4, 4, 4], None, size=3, most=3, coverage_penalty=0.5)
    for row, each in ((at, one) for at in range(3) for one in found[at]):
        assert each.score == pytest.approx(toy.rated(row, tuple(each.ids), 4, 1.0, 0.5), abs=1e-4)
        read = [0, *each.ids[:-1]][: len(each.ids)]
        assert toy.attended is not None
        if each.ids:
            expected = torch.stack([toy.attended[row, at, a] for at, a in enumerate(read)])
            torch.testing.assert_close(each.weights, expected)
    masked = toy.search([4, 4, 4], mask, size=3, coverage_penalty=0.5)
    free = toy.search([4, 4, 4], mask, size=3, coverage_penalty=0.0)
    assert masked[2][0].score > found[2][0].score  # less to be covered
    assert free[0][0].score >= masked[0][0].score


def test_what_is_banned_is_never_chosen_and_rows_do_not_mix() -> None:
    toy = Toy(tables(4))
    for each in toy.search([4] * 4, size=2, most=2, banned=(1,)):
        assert all(1 not in one.ids for one in each)
    together = toy.search([4, 3, 4, 2], size=3)
    for row, limit in enumerate([4, 3, 4, 2]):
        alone = Toy(toy.table[row : row + 1]).search([limit], size=3)
        assert alone[0][0].ids == together[row][0].ids
        assert alone[0][0].score == pytest.approx(together[row][0].score)


def test_a_beam_wider_than_the_vocabulary_finds_the_best_there_is() -> None:
    toy = Toy(tables(2))
    for row, each in enumerate(toy.search([2, 2], size=13, most=13, length_penalty=0.5)):
        best = toy.all(row, 2, 0.5)  # all thirteen there are
        assert [tuple(one.ids) for one in each] == [ids for _, ids in best]
        assert [one.score for one in each] == pytest.approx([score for score, _ in best], abs=1e-5)
