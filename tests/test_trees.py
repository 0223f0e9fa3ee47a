"""Recursive networks: batched by level, beside the equations written down again node by node."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ostinato import backend
from ostinato.errors import SettingsError
from ostinato.tree_cells import TREE_CELLS, ChildSumTreeLSTMCell, NaryTreeLSTMCell, RecursiveCell
from ostinato.trees import Forest, Recursive, forest, node_heights

HIDDEN = 3


def random_tree(rng: np.random.Generator, leaves: int, arity: int) -> np.ndarray:
    """Parents of a tree with nodes of 1 to `arity` children."""
    parents: list[int] = []

    def grow(count: int) -> int:
        if count == 1 and rng.random() < 0.7:
            parents.append(-1)
            return len(parents) - 1
        parts = int(rng.integers(1, min(arity, count) + 1))
        cuts = np.sort(rng.permutation(np.arange(1, count))[: parts - 1]).tolist()
        children = [grow(end - start) for start, end in zip([0, *cuts], [*cuts, count], strict=True)]
        parents.append(-1)
        for child in children:
            parents[child] = len(parents) - 1
        return len(parents) - 1

    grow(leaves)
    return np.array(parents)


def laid_out(trees: list[np.ndarray], arity: int | None) -> Forest:
    return forest(trees, [node_heights(tree) for tree in trees], arity)


def make_cell(name: str, **options: Any) -> Any:
    cell = TREE_CELLS[name](HIDDEN, HIDDEN, **options).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.uniform_(-0.7, 0.7)
    return cell


def lstm(i: Tensor, o: Tensor, u: Tensor, kept: Any) -> tuple[Tensor, Tensor]:
    c = torch.sigmoid(i) * torch.tanh(u) + kept
    return torch.sigmoid(o) * torch.tanh(c), c


def by_the_paper(cell: Any, x: Tensor | None, children: list[Any]) -> tuple[Tensor, ...]:
    """The state of one node, from the equations; x is None where there is no word."""
    n, zero = HIDDEN, torch.zeros(HIDDEN, dtype=torch.float64)
    if isinstance(cell, RecursiveCell):
        if not children:
            return (zero if x is None else x,)
        a = torch.cat([*(h for (h,) in children), zero])[: 2 * n]
        total = cell.weight @ a + cell.bias + (zero if x is None else x)
        if hasattr(cell, "tensor"):
            total = total + torch.stack([a @ cell.tensor[unit] @ a for unit in range(n)])
        return (torch.tanh(total),)
    given = cell.bias + (cell.weight_ih @ x if x is not None else 0)
    f, i, o, u = given.split(n)
    w = cell.weight_hh
    if isinstance(cell, ChildSumTreeLSTMCell):
        total = sum((h for h, _ in children), zero)
        kept = sum((torch.sigmoid(f + w[:n] @ h) * c for h, c in children), zero)
        return lstm(i + w[n : 2 * n] @ total, o + w[2 * n : 3 * n] @ total, u + w[3 * n :] @ total, kept)
    hs = torch.cat([h for h, _ in children] + [zero] * (cell.arity - len(children)))
    kept = sum((torch.sigmoid(f + w[k * n : k * n + n] @ hs) * c for k, (_, c) in enumerate(children)), zero)
    i, o, u = (part + w[(cell.arity + k) * n :][:n] @ hs for k, part in enumerate((i, o, u)))
    return lstm(i, o, u, kept)


def node_by_node(cell: Any, inputs: list[Tensor | None], trees: list[np.ndarray]) -> list[Tensor]:
    """Every part of the state, all nodes as given."""
    states: list[Any] = []
    for tree in trees:
        start = len(states)
        for node in range(len(tree)):
            children = [states[start + child] for child in np.flatnonzero(tree == node)]
            states.append(by_the_paper(cell, inputs[start + node], children))
    return [torch.stack(parts) for parts in zip(*states, strict=True)]


def compare(name: str, trees: list[np.ndarray], words_inside: bool, **options: Any) -> None:
    cell = make_cell(name, **options)
    shape = laid_out(trees, cell.arity)
    inputs = torch.randn(len(shape.order) if words_inside else shape.leaves, HIDDEN, dtype=torch.float64)
    inputs.requires_grad_()
    rows: list[Tensor | None] = [None] * len(shape.order)
    for place, node in enumerate(shape.order[: len(inputs)].tolist()):
        rows[node] = inputs[place]
    wanted = node_by_node(cell, rows, trees)
    leaves = [inputs, *cell.parameters()]
    for kernel in ("auto", "reference"):
        with backend(kernel):
            states = Recursive(cell)(inputs, shape)
            check(states, wanted, leaves)
            with torch.no_grad():
                again = Recursive(cell)(inputs, shape)
        for a, b in zip(again, states, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def check(states: Any, wanted: list[Tensor], leaves: list[Tensor]) -> None:
    for _ in range(2):  # of random sums, so that nothing cancels
        weights = [torch.randn_like(part) for part in wanted]
        sums = [sum((part * weight).sum() for part, weight in zip(of, weights, strict=True)) for of in (states, wanted)]
        gradients = [torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True) for total in sums]
        for found, right, leaf in zip(*gradients, leaves, strict=True):
            right = torch.zeros_like(leaf) if right is None else right
            torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-10)
    for found, right in zip(states, wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", TREE_CELLS)
@given(seed=st.integers(0, 10_000), words_inside=st.booleans())
@settings(max_examples=12, deadline=None)
def test_states_and_all_gradients_are_those_of_the_equations(name: str, seed: int, words_inside: bool) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    arity = 5 if TREE_CELLS[name].arity is None else 2
    trees = [random_tree(rng, int(rng.integers(1, 9)), arity) for _ in range(int(rng.integers(1, 5)))]
    compare(name, trees, words_inside)


def test_more_than_two_children_in_their_order() -> None:
    rng = np.random.default_rng(3)
    compare("tree-lstm", [random_tree(rng, 9, 4) for _ in range(3)], words_inside=True, arity=4)


@pytest.mark.parametrize("name", TREE_CELLS)
@pytest.mark.parametrize("words_inside", [False, True])
def test_trees_of_one_leaf_and_chains(name: str, words_inside: bool) -> None:
    leaf, chain = np.array([-1]), np.array([1, 2, 3, -1])
    compare(name, [leaf], words_inside)
    compare(name, [leaf, chain, leaf], words_inside)


def test_a_tree_5000_deep_needs_no_stack() -> None:
    assert sys.getrecursionlimit() < 5000
    # a leaf and a chain of nodes, each with one more leaf: 2 i + 1 and 2 i + 2 are under 2 i + 3
    depth, tree = 5000, [2]
    for level in range(depth):
        tree += [2 * level + 2, 2 * level + 4]
    tree[-1] = -1
    parents = np.array(tree)
    cell = make_cell("tree-lstm")
    shape = laid_out([parents], 2)
    assert len(shape.levels) == depth + 1
    inputs = torch.randn(shape.leaves, HIDDEN, dtype=torch.float64, requires_grad=True)
    states = Recursive(cell)(inputs, shape)
    states.hidden[-1].sum().backward()
    assert states.hidden.isfinite().all() and inputs.grad is not None and inputs.grad.isfinite().all()
    row = {int(node): place for place, node in enumerate(shape.order.tolist())}
    h, c = by_the_paper(cell, inputs[row[0]], [])
    for level in range(depth):
        leaf = by_the_paper(cell, inputs[row[2 * level + 1]], [])
        h, c = (part.detach() for part in by_the_paper(cell, None, [(h, c), leaf]))
    torch.testing.assert_close(states.hidden[-1].detach(), h, rtol=1e-9, atol=1e-12)


def test_a_node_of_very_many_children() -> None:
    many = 20_000
    cell = make_cell("child-sum")
    with torch.no_grad():
        cell.weight_hh.div_(100)
    shape = laid_out([np.array([*[many] * many, -1])], None)
    inputs = torch.randn(many, HIDDEN, dtype=torch.float64, requires_grad=True)
    states = Recursive(cell)(inputs, shape)
    states.hidden[-1].sum().backward()
    of_leaves = [(states.hidden[k].detach(), states.cell[k].detach()) for k in range(many)]
    torch.testing.assert_close(states.hidden[-1].detach(), by_the_paper(cell, None, of_leaves)[0], rtol=1e-9, atol=0)
    assert inputs.grad is not None and inputs.grad.isfinite().all()


def test_heights_are_in_levels_and_children_on_end() -> None:
    rng = np.random.default_rng(0)
    trees = [random_tree(rng, 12, 2) for _ in range(7)]
    shape = laid_out(trees, 2)
    heights = np.concatenate([node_heights(tree) for tree in trees])
    assert heights[shape.order].tolist() == sorted(heights.tolist())
    assert [level.last - level.first for level in shape.levels] == np.bincount(heights).tolist()
    starts = np.cumsum([0, *map(len, trees)])
    for number, (tree, start) in enumerate(zip(trees, starts, strict=False)):
        assert shape.roots[number] == start + len(tree) - 1
        for node in range(len(tree)):
            places = shape.places[start + np.flatnonzero(tree == node)].tolist()
            assert places == list(range(places[0], places[0] + len(places))) if places else heights[start + node] == 0
    assert len(set(shape.places.tolist())) == len(shape.order)


def test_the_sizes_that_do_not_fit_are_told() -> None:
    shape = laid_out([np.array([2, 2, -1])], 2)
    with pytest.raises(ValueError, match=r"expected \[2, input\].*or \[3, input\].*found \[4, 3\]"):
        Recursive(NaryTreeLSTMCell(3, 3))(torch.zeros(4, 3), shape)
    with pytest.raises(SettingsError, match="must agree"):
        RecursiveCell(3, 4)
