"""Recursive networks: a tree cell over all trees of a batch, a level at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ostinato.errors import BackendUnavailable
from ostinato.kernels import tree_lstm
from ostinato.kernels.recurrence import forced
from ostinato.tree_cells import Level, TreeCell, is_tree_lstm


class Forest(NamedTuple):
    """The shape of the trees of a batch, as `Recursive` runs over it; see `forest`."""

    order: Tensor
    """The nodes by their height, the leaves first, int64 [nodes]: indices into the nodes as they were given."""
    places: Tensor
    """Where the state of each node stands among all children, nodes as given, int64 [nodes]."""
    ordered_places: Tensor
    """The same, in the order of levels."""
    roots: Tensor
    """The root of each tree among the nodes as given, int64 [trees]."""
    starts: Tensor
    """Where the children of each node above the leaves begin, in the order of levels, and where the last's end, int64
    [nodes − leaves + 1]."""
    ends: Tensor
    """The nodes up to the end of each level, and their children among places, int64 [2, levels]."""
    leaves: int
    size: int
    """Places in all."""
    levels: tuple[Level, ...]


def node_heights(parents: np.ndarray) -> np.ndarray:
    """The height of each node of a tree: 0 for a leaf, else one more than its highest child's.

    Args:
        parents: the node above each, int [nodes], every child before its parent; -1 for the root, which is last.

    >>> node_heights(np.array([2, 2, 4, 4, -1])).tolist()
    [0, 0, 1, 0, 2]
    """
    heights = [0] * len(parents)
    for node, above in enumerate(parents.tolist()):
        if above >= 0 and heights[above] <= heights[node]:
            heights[above] = heights[node] + 1
    return np.array(heights, np.int32)


def forest(parents: Sequence[np.ndarray], heights: Sequence[np.ndarray], arity: int | None) -> Forest:
    """Lay out some trees so that the children of one level stand on end.

    A node is the child of one parent only, so children can be stored in the order in which they are read: first those
    of all nodes of height 1, siblings together, then of height 2, and so on; the roots come last. What a level reads is
    then a view, and only what it writes is scattered.

    Args:
        parents: of each tree, see `node_heights`.
        heights: of each tree.
        arity: places kept for the children of a node, zero where one is missing; None: as many as there are.

    >>> two = [np.array([2, 2, -1]), np.array([1, -1])]
    >>> shape = forest(two, [node_heights(tree) for tree in two], arity=2)
    >>> shape.order.tolist(), shape.places.tolist(), shape.roots.tolist(), shape.size
    ([0, 1, 3, 2, 4], [0, 1, 4, 2, 5], [2, 4], 6)
    """
    sizes = np.array([len(tree) for tree in parents], np.int64)
    starts = np.cumsum(sizes) - sizes
    height = np.concatenate(heights)
    above = np.concatenate([tree + start if start else tree for tree, start in zip(parents, starts, strict=True)])
    roots = starts + sizes - 1
    above[roots] = -1
    nodes = len(above)
    order = np.argsort(height, kind="stable")
    rank = np.empty(nodes, np.int64)
    rank[order] = np.arange(nodes)
    ends = np.cumsum(np.bincount(height))
    leaves = int(ends[0])

    children = np.flatnonzero(above >= 0)
    parent_rank = rank[above[children]]
    by_parent = np.argsort(parent_rank, kind="stable")
    children, parent_rank = children[by_parent], parent_rank[by_parent]
    first_child = np.searchsorted(parent_rank, np.arange(leaves, nodes + 1))  # of each inner node, among all children
    places = np.empty(nodes, np.int64)
    if arity is None:
        places[children] = np.arange(len(children))
        starts, child_ends = first_child, first_child[ends - leaves]
    else:
        sibling = np.arange(len(children)) - first_child[parent_rank - leaves]
        places[children] = (parent_rank - leaves) * arity + sibling
        starts, child_ends = np.arange(nodes - leaves + 1) * arity, (ends - leaves) * arity
    places[roots] = child_ends[-1] + np.arange(len(roots))

    levels, before = [], 0
    owners = torch.from_numpy(parent_rank)
    for at, (last, last_child) in enumerate(zip(ends.tolist(), child_ends.tolist(), strict=True)):
        first_place = 0 if at == 0 else int(child_ends[at - 1])
        whose = owners[first_place:last_child] - before if arity is None and at else None
        levels.append(Level(before, last, first_place, last_child, whose))
        before = last
    arrays = (order, places, places[order], roots, starts, np.stack([ends, child_ends]))
    a, b, c, d, e, f = (torch.from_numpy(each) for each in arrays)
    return Forest(a, b, c, d, e, f, leaves, int(child_ends[-1]) + len(roots), tuple(levels))


class Recursive(nn.Module):
    """A tree cell over trees, from the leaves to the roots: all nodes of one height of all trees in one product.

    Args:
        cell: the equations.

    Shapes:
        inputs [leaves or nodes, input] → state of every node, each part [nodes, hidden].

    >>> from ostinato.tree_cells import NaryTreeLSTMCell
    >>> tree = np.array([2, 2, -1])  # two leaves and a root
    >>> shape = forest([tree], [node_heights(tree)], arity=2)
    >>> Recursive(NaryTreeLSTMCell(4, 5))(torch.randn(2, 4), shape).hidden.shape
    torch.Size([3, 5])
    """

    def __init__(self, cell: TreeCell) -> None:
        super().__init__()
        self.cell = cell
        self.output_size = cell.hidden_size

    def forward(self, inputs: Tensor, shape: Forest) -> Any:
        """Inputs of the leaves, or of all nodes, in the order of levels → the states of the nodes as given.

        There is no second derivative.

        Raises:
            ValueError: if there are inputs for neither the leaves nor all nodes.
            BackendUnavailable: if the native backend is forced and cannot run this; see `ostinato.backend`.
        """
        nodes = len(shape.order)
        if inputs.dim() != 2 or len(inputs) not in (shape.leaves, nodes):
            raise ValueError(
                f"inputs: expected [{shape.leaves}, input], a row a leaf, or [{nodes}, input], a row a node, in the "
                f"order of levels; found {list(inputs.shape)}"
            )
        x, rest = self.cell.first(inputs, shape.leaves)
        weights = self.cell.weights()
        x, rest = x.to(weights[0].dtype), rest.to(weights[0].dtype)  # autocast makes them lower
        if self._native((x, rest, *weights)):
            states = tree_lstm.run(shape, self.cell.arity, x, rest, weights)
        else:
            states = _Upwards.apply(self.cell, shape, torch.is_grad_enabled(), x, rest, *weights)
        return self.cell.State(*(part.index_select(0, shape.places) for part in states))

    def _native(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether the native pass runs: it does where it can, unless the reference is forced."""
        wanted = forced()
        if wanted not in ("auto", "native"):
            return False
        why = tree_lstm.serves(tensors) if is_tree_lstm(self.cell) else "the native pass runs Tree-LSTMs only"
        if why is not None and wanted == "native":
            raise BackendUnavailable(f"backend 'native' was asked for: {why}")
        return why is None


class _Upwards(torch.autograd.Function):
    """The levels from the leaves to the roots; backwards from the roots to the leaves. The reference: for any cell.

    A level is differentiated by autograd, as a graph of its own, but for the weights: the gradient of each is one
    product over all levels.
    """

    @staticmethod
    def forward(
        ctx: Any, cell: TreeCell, shape: Forest, differentiable: bool, x: Tensor, rest: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        states = tuple(x.new_zeros(shape.size, cell.hidden_size) for _ in cell.State._fields)
        kept = []
        with torch.set_grad_enabled(differentiable):
            for level in shape.levels:
                first = x[level.first : level.last] if level.last <= len(x) else rest
                first = first.detach().requires_grad_(differentiable)
                children: Any = None
                operands: tuple[Tensor, ...] = ()
                if level.first:
                    # .data: what is written to other places later is no change of these
                    parts = (part.data[level.first_child : level.last_child] for part in states)
                    if cell.arity is not None:
                        parts = (part.unflatten(0, (-1, cell.arity)) for part in parts)
                    children = cell.State(*(part.detach().requires_grad_(differentiable) for part in parts))
                    operands = cell.operands(children, level)
                products = tuple(
                    each @ weight.detach().t() for each, weight in zip(operands, weights[: len(operands)], strict=True)
                )
                products = tuple(each.to(x.dtype) for each in products)  # autocast makes them lower
                new = cell.update(first, products, children, level)
                at = shape.ordered_places[level.first : level.last]
                for part, each in zip(states, new, strict=True):
                    part.index_copy_(0, at, each.detach())
                if differentiable:
                    kept.append((first, children, [each.detach() for each in operands], products, new))
        ctx.shape, ctx.kept = shape, kept
        ctx.save_for_backward(x, rest, *weights)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        shape: Forest = ctx.shape
        x, rest, *weights = ctx.saved_tensors
        d_x, d_rest = torch.zeros_like(x), torch.zeros_like(rest)
        d_states = [each.clone(memory_format=torch.contiguous_format) for each in gradients]
        factors: list[list[tuple[Tensor, Tensor]]] = [[] for _ in weights]
        for level, (first, children, operands, products, new) in zip(shape.levels[::-1], ctx.kept[::-1], strict=True):
            at = shape.ordered_places[level.first : level.last]
            d_new = [each.index_select(0, at) for each in d_states]
            wanted = [first, *products, *(children or ())]
            d_first, *found = torch.autograd.grad(new, wanted, d_new, retain_graph=True, allow_unused=True)
            if level.last <= len(x):
                d_x[level.first : level.last] = d_first
            else:
                d_rest += d_first
            if children is None:
                continue
            d_products, d_children = found[: len(products)], found[len(products) :]
            for factor, operand, each in zip(factors, operands, d_products, strict=True):
                factor.append((each, operand))
            for d_state, part in zip(d_states, d_children, strict=True):
                if part is not None:
                    d_state[level.first_child : level.last_child] += part.flatten(0, -2)
        d_weights = [
            torch.cat([each for each, _ in factor]).t() @ torch.cat([operand for _, operand in factor])
            if factor
            else torch.zeros_like(weight)
            for factor, weight in zip(factors, weights, strict=True)
        ]
        return None, None, None, d_x, d_rest, *d_weights
