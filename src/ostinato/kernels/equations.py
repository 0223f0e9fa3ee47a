"""A cell's equations as a graph: `update` and its vector-Jacobian product, traced once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from ostinato.errors import BackendUnavailable

aten = torch.ops.aten
_DECOMPOSED: Any = get_decompositions(
    [
        aten.addcmul, aten.clamp, aten.elu, aten.elu_backward, aten.gelu, aten.gelu_backward, aten.hardsigmoid,
        aten.hardsigmoid_backward, aten.hardtanh, aten.hardtanh_backward, aten.leaky_relu, aten.leaky_relu_backward,
        aten.lerp, aten.log_sigmoid_backward,
        aten.log_sigmoid_forward, aten.logaddexp, aten.new_zeros, aten.ones_like, aten.rsub,
        aten.silu, aten.silu_backward, aten.softplus, aten.softplus_backward, aten.square,
        aten.threshold_backward, aten.zeros_like,
    ]
)  # fmt: skip

# by ATen's name, what vec.hpp calls it
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_FUNCTIONS = {
    "sigmoid": "sigmoid", "tanh": "tanh", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "sqrt": "sqrt", "reciprocal": "reciprocal", "abs": "abs", "relu": "relu", "sgn": "sign", "sign": "sign",
    "maximum": "maximum", "minimum": "minimum",
}  # fmt: skip
_COMPARISONS = {"lt", "le", "gt", "ge", "eq", "ne"}
_LOGIC = {"logical_and": "&", "logical_and_": "&", "bitwise_and": "&", "logical_or": "|", "bitwise_or": "|"}
_SAME = {"alias", "clone", "detach", "_to_copy", "expand", "view", "lift_fresh_copy"}
_CONSTANTS = {"scalar_tensor": 0, "full": 1, "full_like": 1}
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
    """A number."""
    return Node("constant", (float(value),))


def _apply(op: str, *args: Node) -> Node:
    """An operation, simplified where a constant settles it."""
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
    return Node(op, args, op in _COMPARISONS or op in ("&", "|", "!"))


def _translate(name: str, args: list[Any], kwargs: dict[str, Any]) -> Node:
    """One ATen call as nodes."""
    nodes = [arg if isinstance(arg, Node) else constant(arg) for arg in args if isinstance(arg, Node | int | float)]
    if name in _SAME and getattr(kwargs.get("dtype"), "is_floating_point", True):
        return nodes[0]
    if name in _CONSTANTS:
        return constant(args[_CONSTANTS[name]])
    if name in ("add", "sub") and kwargs.get("alpha", 1) != 1:
        nodes[1] = _apply("*", nodes[1], constant(kwargs["alpha"]))
    if name in _INFIX and not kwargs.get("rounding_mode"):
        return _apply(_INFIX[name], *nodes)
    if name in _FUNCTIONS:
        return _apply(_FUNCTIONS[name], *nodes)
    if name in _COMPARISONS:
        return _apply(name, *nodes)
    if name in _LOGIC:
        return _apply(_LOGIC[name], *nodes)
    if name in ("logical_not", "bitwise_not"):
        return _apply("!", *nodes)
    if name == "sigmoid_backward":
        return _sigmoid_backward(*nodes)
    if name == "tanh_backward":
        return _apply("-", nodes[0], _apply("*", _apply("*", *nodes), nodes[1]))
    if name == "neg":
        return constant(0) if nodes[0] == constant(0) else _apply("neg", *nodes)
    if name == "where":
        return _apply("select", *nodes)
    if name == "isnan":
        return _apply("ne", nodes[0], nodes[0])
    if name in ("masked_fill", "masked_fill_"):
        return _apply("select", nodes[1], nodes[2], nodes[0])
    if name == "rsqrt":
        return _apply("reciprocal", _apply("sqrt", nodes[0]))
    if name == "pow" and isinstance(args[1], int | float):
        return _power(nodes[0], float(args[1]))
    raise BackendUnavailable(f"no kernel for the operation {name}: the equations must be point-wise arithmetic")


def _sigmoid_backward(gradient: Node, y: Node) -> Node:
    """d·y·(1 − y) as p − p·y with p = d·y, which is one fused operation after p.

    A gate mostly multiplies something, y ⊙ v: then d = u·v, and u·y is at hand as the gradient by v.
    """
    if gradient.op == "*":
        first, second = gradient.args
        product = _apply("*", _apply("*", first, y), second)
    else:
        product = _apply("*", gradient, y)
    return _apply("-", product, _apply("*", product, y))


def _power(base: Node, exponent: float) -> Node:
    if exponent < 0:
        return _apply("reciprocal", _power(base, -exponent))
    if exponent == 0:
        return constant(1)
    if exponent == 0.5:
        return _apply("sqrt", base)
    if exponent.is_integer() and exponent <= 64:
        half = _power(base, exponent // 2) if exponent > 1 else constant(1)
        squared = _apply("*", half, half)
        return _apply("*", squared, base) if exponent % 2 else squared
    if exponent.is_integer():
        raise BackendUnavailable(f"no kernel for the power {exponent:.0f}: the largest whole one is 64")
    return _apply("exp", _apply("*", constant(exponent), _apply("log", base)))


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


def trace(cell: Any, normed: bool = False) -> Equations:
    """The equations of a cell type; `normed`: with layer normalisation at the cell's own place for it.

    Raises:
        BackendUnavailable: if `update` is more than point-wise arithmetic, or branches on values.
    """
    equations = _trace(cell, normed, (2, 3))
    if _trace(cell, normed, (3, 5)) != equations:
        raise BackendUnavailable(f"{cell.__name__}.update depends on the size of what it gets")
    return equations


def _trace(cell: Any, normed: bool, shape: tuple[int, int]) -> Equations:
    gates, states = cell.Gates._fields, cell.State._fields
    vectors = cell.Vectors._fields if cell.vectors else ()
    leaves = [f"x_{gate}" for gate in gates] + [f"h_{gate}" for gate in gates if cell.recurrent]
    leaves += [f"before_{part}" for part in states] + [f"v_{name}" for name in vectors]
    leaves += ["normed"] if normed else []
    outputs = [*states, "value"] if normed else [*states]

    def update(*values: Tensor) -> tuple[Tensor, ...]:
        by_name = dict(zip(leaves, values, strict=True))
        arguments = [cell.Gates(*(by_name[f"x_{gate}"] for gate in gates))]
        arguments.append(cell.Gates(*(by_name[f"h_{gate}"] for gate in gates)) if cell.recurrent else ())
        arguments.append(cell.State(*(by_name[f"before_{part}"] for part in states)))
        if vectors:
            arguments.append(cell.Vectors(*(by_name[f"v_{name}"] for name in vectors)))
        if not normed:
            return tuple(cell.update(*arguments))
        values_normed: list[Tensor] = []
        new = cell.update(*arguments, norm=lambda each: (values_normed.append(each), by_name["normed"])[1])
        return *new, *values_normed

    def joint(values: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> Any:
        new, pull_back = torch.func.vjp(update, *values)[:2]
        return new, pull_back(given)

    def example(count: int) -> tuple[Tensor, ...]:
        return tuple(torch.rand(shape, dtype=torch.float64) for _ in range(count))

    try:
        graph = make_fx(joint, decomposition_table=_DECOMPOSED)(example(len(leaves)), example(len(outputs))).graph
    except BackendUnavailable:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackendUnavailable(f"{cell.__name__}.update cannot be traced: {reason}") from None
    nodes: dict[Any, Node] = {}
    names = iter(leaves + [f"d_{part}" for part in outputs])
    results: list[Node] = []
    for fx in graph.nodes:
        if fx.op == "placeholder":
            nodes[fx] = Node(next(names))
        elif fx.op == "output":
            results = [nodes[value] for value in tree_leaves(fx.args[0])]
        elif fx.op == "get_attr":
            raise BackendUnavailable(f"{cell.__name__}.update holds a tensor of its own: make it one of its `vectors`")
        else:
            args = [nodes.get(arg, arg) if isinstance(arg, torch.fx.Node) else arg for arg in fx.args]
            nodes[fx] = _translate(fx.target.__name__.split(".")[0], args, fx.kwargs)
    gradients = dict(zip(leaves, results[len(outputs) :], strict=True))
    new, value = tuple(results[: len(states)]), results[len(states)] if normed else None
    name = f"{cell.__name__}_norm" if normed else cell.__name__
    return Equations(name, gates, states, vectors, cell.recurrent, new, gradients, value)


def walk(roots: Iterable[Node], stop: Callable[[Node], bool]) -> list[Node]:
    """Every node that the roots are made of, arguments first; not beyond those where it stops."""
    seen: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node in seen or node.op == "constant":
            return
        if not stop(node):
            for arg in node.args:
                visit(arg)
        seen[node] = None

    for root in roots:
        visit(root)
    return list(seen)


def choose_saved(equations: Equations) -> list[Node]:
    """What the forward pass keeps for the backward pass, beside the states that are kept anyway.

    A value is recomputed if what is at hand gives it with at most one function beyond arithmetic, as tanh(c') from c';
    else it is kept, or what it is made of, whichever is fewer.
    """
    tangents = {"d_value", *(f"d_{part}" for part in equations.states)}
    depends: dict[Node, bool] = {}

    def on_tangent(node: Node) -> bool:
        if node not in depends:
            depends[node] = node.op in tangents or any(isinstance(a, Node) and on_tangent(a) for a in node.args)
        return depends[node]

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

    def missing(node: Node) -> list[Node]:
        if is_there(node) or functions(node) <= 1:
            return []
        if not node.args or node.op in _HEAVY:
            return [node]
        below = [each for arg in node.args for each in missing(arg)]
        below = list(dict.fromkeys(below))
        return [node] if len(below) > 1 and not node.is_mask else below

    for node in walk(equations.gradients.values(), lambda node: not on_tangent(node)):
        if not on_tangent(node):
            for each in missing(node):
                saved.append(each)
                at_hand.add(each)
    return saved
