"""Tree cells: the equations that make a node's state of its children's; `ostinato.trees` runs them over batches."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.errors import SettingsError
from ostinato.gated_cell import HiddenState
from ostinato.initialisers import uniform


class TreeLSTMState(NamedTuple):
    """The state of a Tree-LSTM at some nodes."""

    hidden: Tensor
    """h, [nodes, hidden]."""
    cell: Tensor
    """c, [nodes, hidden]."""


class Level(NamedTuple):
    """The nodes of one height of all trees of a batch; those of height 0 are the leaves."""

    first: int
    last: int
    """Nodes first … last − 1, in the order of levels."""
    first_child: int
    last_child: int
    """Their children stand on end, the same way."""
    parents: Tensor | None
    """Which of the level's nodes each child belongs to, int64 [children]; None where each node has equally many."""


class TreeCell(nn.Module):
    """h_j of an input x_j and of the states of the children of node j.

    The work at a level is split in what is a product with a weight and what is point-wise, so that the products' weight
    gradients can be taken once for all levels. A subclass has `State` (a named tuple whose first part is the output),
    and

    - `first(inputs, leaves)`: what the inputs alone give, for each node;
    - `operands(children, level)` and `weights()`: matrices [rows, k] of the children's states, and for each the weight
      [g, k] that it is multiplied with;
    - `update(x, products, children, level)`: the point-wise rest, the state of the level's nodes.

    Args:
        input_size: features of an input.
        hidden_size: units.

    Shapes:
        inputs [nodes, input]; the children's state [nodes, arity, hidden], or [children, hidden] if `arity` is None.
    """

    State: Any
    arity: ClassVar[int | None] = 2
    """Children of a node, at most; None: any number."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size

    def extra_repr(self) -> str:
        """Sizes, for print."""
        return f"{self.input_size}, {self.hidden_size}"

    def first(self, inputs: Tensor, leaves: int) -> tuple[Tensor, Tensor]:
        """Of the inputs of the leaves, or of all nodes: their part of every gate, and that of nodes without an input.

        Args:
            inputs: [leaves or nodes, input], the leaves first.
            leaves: how many there are.

        Returns:
            [leaves or nodes, gates], and [1, gates]; `update` at the leaves reads the last columns that it needs.
        """
        raise NotImplementedError

    def operands(self, children: Any, level: Level) -> tuple[Tensor, ...]:
        """What is multiplied with `weights`."""
        raise NotImplementedError

    def weights(self) -> tuple[Tensor, ...]:
        """One for each of the operands."""
        raise NotImplementedError

    def update(self, x: Tensor, products: tuple[Tensor, ...], children: Any, level: Level) -> Any:
        """The state of the level's nodes; for leaves there are neither products nor children."""
        raise NotImplementedError


class RecursiveCell(TreeCell):
    """h = tanh(W [h_1; h_2] + b); at a leaf h is its word's vector (Socher et al. 2011, eq. 3; 2013, section 4.1).

    At an inner node with a word of its own, the word's vector is added before the tanh. At first W takes the mean of
    the children, ½ [I I], plus U(−a, a) with a = 1 / (2 √hidden): a random W would shrink what comes from deep below.

    Raises:
        SettingsError: if input and hidden size differ, since a leaf's state is its input.
    """

    State = HiddenState

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        if input_size != hidden_size:
            what = f"embedding_size = {input_size}, hidden_size = {hidden_size}"
            raise SettingsError(f"{what}: in a recursive net a leaf's state is its word's vector, so they must agree")
        self.weight = nn.Parameter(torch.empty(hidden_size, 2 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        bound = 0.5 / math.sqrt(hidden_size)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound).add_(torch.eye(hidden_size).repeat(1, 2), alpha=0.5)

    def first(self, inputs: Tensor, leaves: int) -> tuple[Tensor, Tensor]:
        """At leaves the input, at inner nodes with the bias."""
        bias = self.bias.unsqueeze(0)
        return torch.cat([inputs[:leaves], inputs[leaves:] + bias]) if len(inputs) > leaves else inputs, bias

    def operands(self, children: HiddenState, level: Level) -> tuple[Tensor, ...]:  # noqa: ARG002
        """[h_1; h_2], [nodes, 2·hidden]."""
        return (children.hidden.flatten(1),)

    def weights(self) -> tuple[Tensor, ...]:
        """W, [hidden, 2·hidden]."""
        return (self.weight,)

    def update(self, x: Tensor, products: tuple[Tensor, ...], children: Any, level: Level) -> HiddenState:  # noqa: ARG002
        """The equation."""
        return HiddenState(torch.tanh(x + products[0]) if products else x)


class RNTNCell(RecursiveCell):
    """h = tanh(aᵀ V a + W a + b) with a = [h_1; h_2]: a recursive neural tensor network (Socher et al. 2013, eq. 2).

    V holds a matrix [2·hidden, 2·hidden] for each unit, 4·hidden³ numbers in all, so hidden sizes are small: 25 to 35
    in the paper. At first V is U(−a, a), a = 1 / (4·hidden); all else as in `RecursiveCell`.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        bound = 0.25 / hidden_size
        self.tensor = nn.Parameter(torch.empty(hidden_size, 2 * hidden_size, 2 * hidden_size).uniform_(-bound, bound))

    def operands(self, children: HiddenState, level: Level) -> tuple[Tensor, ...]:  # noqa: ARG002
        """[a; a aᵀ], [nodes, 2·hidden + 4·hidden²]."""
        a = children.hidden.flatten(1)
        return (torch.cat([a, (a.unsqueeze(2) * a.unsqueeze(1)).flatten(1)], dim=1),)

    def weights(self) -> tuple[Tensor, ...]:
        """[W, V], [hidden, 2·hidden + 4·hidden²]."""
        return (torch.cat([self.weight, self.tensor.flatten(1)], dim=1),)


class NaryTreeLSTMCell(TreeCell):
    r"""An N-ary Tree-LSTM (Tai et al. 2015, eq. 9-14); N = 2 for binary trees.

    i = σ(W_i x + Σ_l U_il h_l + b_i), o and u = tanh(·) likewise, f_k = σ(W_f x + Σ_l U_fkl h_l + b_f);
    c = i ⊙ u + Σ_l f_l ⊙ c_l;  h = o ⊙ tanh(c). Where a child is missing its h and c are zero.

    Args:
        input_size: features of an input.
        hidden_size: units.
        arity: N.
        forget_bias: b_f at first; the paper names none, and its weights start as U(−1/√n, 1/√n), n the columns.

    Shapes:
        weight_ih [4·hidden, input], bias [4·hidden], rows f i o u; weight_hh [(N + 3)·hidden, N·hidden], rows f_1 … f_N
        i o u.
    """

    State = TreeLSTMState

    def __init__(self, input_size: int, hidden_size: int, arity: int = 2, forget_bias: float = 0.0) -> None:
        super().__init__(input_size, hidden_size)
        self.arity = arity  # pyright: ignore[reportAttributeAccessIssue] - of this cell, not of its class
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty((arity + 3) * hidden_size, arity * hidden_size))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))
        uniform(self.weight_ih)
        uniform(self.weight_hh)
        with torch.no_grad():
            self.bias[:hidden_size] = forget_bias

    def first(self, inputs: Tensor, leaves: int) -> tuple[Tensor, Tensor]:
        """W x + b, with the part of f repeated for each child; of leaves without it."""
        size, times = self.hidden_size, self.arity or 1
        forget = self.bias[:size].repeat(times)
        rest = torch.cat([forget, self.bias[size:]]).unsqueeze(0)
        if len(inputs) == leaves:
            return nn.functional.linear(inputs, self.weight_ih[size:], self.bias[size:]), rest
        x = nn.functional.linear(inputs, self.weight_ih, self.bias)
        return torch.cat([x[:, :size].repeat(1, times), x[:, size:]], dim=1), rest

    def operands(self, children: TreeLSTMState, level: Level) -> tuple[Tensor, ...]:  # noqa: ARG002
        """[h_1; … h_N], [nodes, N·hidden]."""
        return (children.hidden.flatten(1),)

    def weights(self) -> tuple[Tensor, ...]:
        """U of all gates and children."""
        return (self.weight_hh,)

    def update(
        self,
        x: Tensor,
        products: tuple[Tensor, ...],
        children: TreeLSTMState | None,
        level: Level,  # noqa: ARG002
    ) -> TreeLSTMState:
        """The equations."""
        size = self.hidden_size
        gates = x + products[0] if products else x[:, -3 * size :]
        sigmoid, u = torch.sigmoid(gates[:, :-size]), torch.tanh(gates[:, -size:])
        i, o = sigmoid[:, -2 * size : -size], sigmoid[:, -size:]
        c = i * u
        if children is not None:
            f = sigmoid[:, : -2 * size].unflatten(1, (-1, size))
            c = c + (f * children.cell).sum(1)
        return TreeLSTMState(o * torch.tanh(c), c)


class ChildSumTreeLSTMCell(TreeCell):
    r"""A child-sum Tree-LSTM (Tai et al. 2015, eq. 2-8), for any number of children in no order.

    h̃ = Σ_k h_k;  i = σ(W_i x + U_i h̃ + b_i), o and u = tanh(·) likewise;  f_k = σ(W_f x + U_f h_k + b_f);
    c = i ⊙ u + Σ_k f_k ⊙ c_k;  h = o ⊙ tanh(c).

    Args:
        input_size: features of an input.
        hidden_size: units.
        forget_bias: b_f at first; the paper names none, and its weights start as U(−1/√n, 1/√n), n the columns.

    Shapes:
        weight_ih [4·hidden, input], weight_hh [4·hidden, hidden], bias [4·hidden], rows f i o u.
    """

    State = TreeLSTMState
    arity = None

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 0.0) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))
        uniform(self.weight_ih)
        uniform(self.weight_hh)
        with torch.no_grad():
            self.bias[:hidden_size] = forget_bias

    def first(self, inputs: Tensor, leaves: int) -> tuple[Tensor, Tensor]:
        """W x + b; of leaves without the part of f."""
        after = self.hidden_size if len(inputs) == leaves else 0
        return nn.functional.linear(inputs, self.weight_ih[after:], self.bias[after:]), self.bias.unsqueeze(0)

    def operands(self, children: TreeLSTMState, level: Level) -> tuple[Tensor, ...]:
        """The h_k, [children, hidden], and h̃, [nodes, hidden]."""
        return children.hidden, _sums(children.hidden, level)

    def weights(self) -> tuple[Tensor, ...]:
        """U_f, and U of the other gates."""
        return self.weight_hh[: self.hidden_size], self.weight_hh[self.hidden_size :]

    def update(
        self, x: Tensor, products: tuple[Tensor, ...], children: TreeLSTMState | None, level: Level
    ) -> TreeLSTMState:
        """The equations."""
        size = self.hidden_size
        gates = x[:, -3 * size :] + products[1] if products else x[:, -3 * size :]
        sigmoid, u = torch.sigmoid(gates[:, : 2 * size]), torch.tanh(gates[:, 2 * size :])
        c = sigmoid[:, :size] * u
        if children is not None:
            of_parents = x[:, :size].expand(level.last - level.first, size).index_select(0, _parents(level))
            c = c + _sums(torch.sigmoid(of_parents + products[0]) * children.cell, level)
        return TreeLSTMState(sigmoid[:, size:] * torch.tanh(c), c)


def _parents(level: Level) -> Tensor:
    assert level.parents is not None, "a forest of any number of children says whose they are"  # noqa: S101
    return level.parents


def _sums(of_children: Tensor, level: Level) -> Tensor:
    """Σ over the children of each node."""
    sums = of_children.new_zeros(level.last - level.first, of_children.shape[1])
    return sums.index_add(0, _parents(level), of_children)


def is_tree_lstm(cell: TreeCell) -> bool:
    """Whether a cell's equations are those of one of the two Tree-LSTMs, and not of a class derived that changes them.

    >>> is_tree_lstm(NaryTreeLSTMCell(3, 4, arity=3)), is_tree_lstm(RecursiveCell(4, 4))
    (True, False)
    """
    equations = {"State", "arity", "first", "operands", "weights", "update"}
    above = next(parent for parent in type(cell).__mro__ if equations & vars(parent).keys())
    return above in (NaryTreeLSTMCell, ChildSumTreeLSTMCell)


TREE_CELLS: dict[str, Any] = {
    "recursive": RecursiveCell,
    "rntn": RNTNCell,
    "tree-lstm": NaryTreeLSTMCell,
    "child-sum": ChildSumTreeLSTMCell,
}
"""By name."""
