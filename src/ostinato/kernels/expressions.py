"""What equations are made of: values and operations as a graph, and which of them the backward pass needs kept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

COMPARISONS = {"lt", "le", "gt", "ge", "eq", "ne"}
_HEAVY = {"sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "/", "reciprocal"}


@dataclass(frozen=True, eq=False)
class Node:
    """One value of the equations: a leaf by name, a constant, or an operation on others. Equal ones are one object."""

    op: str
    args: tuple[Any, ...] = ()
    is_mask: bool = False

    _known: ClassVar[dict[Any, Node]] = {}

    def __new__(cls, op: str, args: tuple[Any, ...] = (), is_mask: bool = False) -> Node:
        """The one that is known: to compare two would else be to walk all that they are made of, along every path."""
        return cls._known.setdefault((op, args, is_mask), super().__new__(cls))


NORMED = Node("normed")


def constant(value: float) -> Node:
    """A number; zero has no sign, and NaN is one."""
    return Node("constant", (math.nan if math.isnan(value) else float(value) + 0.0,))


def apply(op: str, *args: Node) -> Node:
    """An operation, simplified where a constant settles it."""
    logic = op in ("&", "|", "!")
    args = tuple(
        as_mask(arg) if logic or (op == "select" and not at) else as_number(arg) for at, arg in enumerate(args)
    )
    zero, one = constant(0), constant(1)
    first = args[0]
    if op == "+" and zero in args:
        return args[1] if first == zero else first
    if op == "-" and len(args) == 2 and args[1] == zero:
        return first
    if op == "*" and zero in args:
        return zero
    if op == "*" and one in args:
        return args[1] if first == one else first
    if op == "/" and (first == zero or args[1] == one):
        return first
    if op == "select" and len(set(args[1:])) == 1:
        return args[1]
    return Node(op, args, op in COMPARISONS or logic)


def as_number(node: Node) -> Node:
    """Of a mask 1 where it holds, else 0."""
    return apply("select", node, constant(1), constant(0)) if node.is_mask else node


def as_mask(node: Node) -> Node:
    """Of a number where it is not 0."""
    return node if node.is_mask else apply("ne", node, constant(0))


@dataclass(frozen=True)
class Equations:
    """What `update` and its gradient come to."""

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    vectors: tuple[str, ...]
    recurrent: bool
    new: tuple[Node, ...]
    """The new state by part."""
    gradients: dict[str, Node]
    """By leaf (`x_i`, `h_i`, `before_cell`, `v_u`), from `d_hidden`, `d_cell`, ... and the forward pass's values."""

    value: Node | None = None
    """What is layer-normalised within the step, if anything; the leaf `normed` stands for the result."""

    @property
    def split(self) -> bool:
        """Whether the gradients of the two parts of a pre-activation differ."""
        return self.recurrent and any(self.gradients[f"x_{g}"] != self.gradients[f"h_{g}"] for g in self.gates)


def identifier(cell: Any) -> str:
    """A cell's name as C++ and file systems take it."""
    return re.sub(r"^(?=\d)|\W", "_", cell.__name__, flags=re.ASCII)


def walk(roots: Iterable[Node], stop: Callable[[Node], bool]) -> list[Node]:
    """Every node that the roots are made of, arguments first; not beyond those where it stops."""
    seen: dict[Node, None] = {}
    stack = [(root, False) for root in roots][::-1]
    while stack:
        node, after_its_arguments = stack.pop()
        if node in seen or node.op == "constant":
            continue
        if after_its_arguments or not node.args or stop(node):
            seen[node] = None
        else:
            stack += [(node, True), *((arg, False) for arg in reversed(node.args))]
    return list(seen)


def choose_saved(equations: Equations) -> list[Node]:
    """What the forward pass keeps for the backward pass, beside the states that are kept anyway.

    A value is recomputed if what is at hand gives it with at most one function beyond arithmetic, as tanh(c') from c';
    else it is kept, or what it is made of, whichever is fewer.
    """
    tangents = {"d__value", *(f"d_{part}" for part in equations.states)}
    on_tangent: dict[Node, bool] = {}
    for node in walk(equations.gradients.values(), lambda _: False):
        on_tangent[node] = node.op in tangents or any(on_tangent.get(arg) for arg in node.args)

    at_hand = {NORMED, *equations.new, *(Node(f"before_{part}") for part in equations.states)}
    at_hand |= {Node(f"v_{name}") for name in equations.vectors}
    saved: list[Node] = []

    def is_there(node: Node) -> bool:
        return node in at_hand or node.op == "constant"

    def functions(node: Node) -> float:
        needed = walk([node], is_there)
        if any(not each.args and not is_there(each) for each in needed):
            return float("inf")  # it hangs on a pre-activation
        return sum(each.op in _HEAVY for each in needed if not is_there(each))

    def missing(wanted: Node) -> list[Node]:
        needs: dict[Node, list[Node]] = {}
        for node in walk([wanted], lambda node: node.op in _HEAVY or is_there(node) or functions(node) <= 1):
            if is_there(node) or functions(node) <= 1:
                needs[node] = []
            elif not node.args or node.op in _HEAVY:
                needs[node] = [node]
            else:
                below = list(dict.fromkeys(each for arg in node.args for each in needs.get(arg, ())))
                needs[node] = [node] if len(below) > 1 and not node.is_mask else below
        return needs[wanted]

    for node in walk(equations.gradients.values(), lambda node: not on_tangent[node]):
        if not on_tangent[node]:
            for each in missing(node):
                saved.append(each)
                at_hand.add(each)
    return saved
