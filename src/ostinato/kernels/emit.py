"""Equations → kernels: a cell's `update` and its vector-Jacobian product, traced once and printed as C++."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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
        aten.log_sigmoid_forward, aten.logaddexp, aten.new_zeros, aten.ones_like, aten.rsub, aten.sigmoid_backward,
        aten.silu, aten.silu_backward, aten.softplus, aten.softplus_backward, aten.square, aten.tanh_backward,
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


@dataclass(frozen=True)
class Node:
    """One value of the equations: a leaf by name, a constant, or an operation on others."""

    op: str
    args: tuple[Any, ...] = ()
    is_mask: bool = False


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

    @property
    def split(self) -> bool:
        """Whether the gradients of the two parts of a pre-activation differ."""
        return self.recurrent and any(self.gradients[f"x_{g}"] != self.gradients[f"h_{g}"] for g in self.gates)


def trace(cell: Any) -> Equations:
    """The equations of a cell type.

    Raises:
        BackendUnavailable: if `update` is more than point-wise arithmetic, or branches on values.
    """
    gates, states = cell.Gates._fields, cell.State._fields
    vectors = cell.Vectors._fields if cell.vectors else ()
    leaves = [f"x_{gate}" for gate in gates] + [f"h_{gate}" for gate in gates if cell.recurrent]
    leaves += [f"before_{part}" for part in states] + [f"v_{name}" for name in vectors]

    def update(*values: Tensor) -> tuple[Tensor, ...]:
        by_name = dict(zip(leaves, values, strict=True))
        arguments = [cell.Gates(*(by_name[f"x_{gate}"] for gate in gates))]
        arguments.append(cell.Gates(*(by_name[f"h_{gate}"] for gate in gates)) if cell.recurrent else ())
        arguments.append(cell.State(*(by_name[f"before_{part}"] for part in states)))
        if vectors:
            arguments.append(cell.Vectors(*(by_name[f"v_{name}"] for name in vectors)))
        return tuple(cell.update(*arguments))

    def joint(values: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> Any:
        new, pull_back = torch.func.vjp(update, *values)[:2]
        return new, pull_back(given)

    def example(count: int) -> tuple[Tensor, ...]:
        return tuple(torch.rand(2, 3, dtype=torch.float64) for _ in range(count))

    try:
        graph = make_fx(joint, decomposition_table=_DECOMPOSED)(example(len(leaves)), example(len(states))).graph
    except BackendUnavailable:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackendUnavailable(f"{cell.__name__}.update cannot be traced: {reason}") from None
    nodes: dict[Any, Node] = {}
    names = iter(leaves + [f"d_{part}" for part in states])
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
    gradients = dict(zip(leaves, results[len(states) :], strict=True))
    new = tuple(results[: len(states)])
    return Equations(cell.__name__, gates, states, vectors, cell.recurrent, new, gradients)


def _walk(roots: Iterable[Node], stop: Callable[[Node], bool]) -> list[Node]:
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
    tangents = {f"d_{part}" for part in equations.states}
    depends: dict[Node, bool] = {}

    def on_tangent(node: Node) -> bool:
        if node not in depends:
            depends[node] = node.op in tangents or any(isinstance(a, Node) and on_tangent(a) for a in node.args)
        return depends[node]

    at_hand = {*equations.new, *(Node(f"before_{part}") for part in equations.states)}
    at_hand |= {Node(f"v_{name}") for name in equations.vectors}
    saved: list[Node] = []

    def is_there(node: Node) -> bool:
        return node in at_hand or node.op == "constant"

    def functions(node: Node) -> float:
        needed = _walk([node], is_there)
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

    for node in _walk(equations.gradients.values(), lambda node: not on_tangent(node)):
        if not on_tangent(node):
            for each in missing(node):
                saved.append(each)
                at_hand.add(each)
    return saved


def _expression(node: Node, name: Callable[[Any], str]) -> str:
    if node.op == "neg":
        return f"-{name(node.args[0])}"
    if node.op == "!":
        return f"!{name(node.args[0])}"
    if node.op in ("+", "-", "*", "/", "&", "|"):
        return f" {node.op} ".join(name(arg) for arg in node.args)
    return f"{node.op}({', '.join(name(arg) for arg in node.args)})"


class _Printer:
    """Names for values, and the lines that make them."""

    def __init__(self) -> None:
        self.names: dict[Node, str] = {}
        self.lines: list[str] = []

    def name(self, node: Node) -> str:
        if node.op == "constant":
            return f"V(T({node.args[0]!r}))"
        return self.names[node]

    def given(self, node: Node, name: str, source: str) -> None:
        self.names[node] = name
        self.lines.append(f"const V {name} = {source};")

    def make(self, roots: Iterable[Node]) -> None:
        for node in _walk(roots, self.names.__contains__):
            if node not in self.names:
                self.names[node] = f"n{len(self.names)}"
                kind = "Mask<T>" if node.is_mask else "V"
                self.lines.append(f"const {kind} {self.names[node]} = {_expression(node, self.name)};")


def _leaves(roots: Iterable[Node], stop: Callable[[Node], bool] = lambda _: False) -> set[str]:
    return {node.op for node in _walk(roots, stop) if not node.args}


_FUNCTION = """template <class T>
void {function}(const Tile<T>& t) {{
  using V = Vec<T>;
  constexpr int W = V::lanes;
  for (int m = 0; m < t.rows; ++m)
    for (int b = 0; b < t.blocks; ++b) {{
      [[maybe_unused]] const int lanes = b + 1 == t.blocks ? t.tail : W;
      const int64_t u = t.unit + b * W;
      {body}
    }}
}}
"""


def _function(name: str, lines: list[str]) -> str:
    return _FUNCTION.format(function=name, body="\n      ".join(lines))


def _forward(equations: Equations, saved: list[Node], name: str) -> str:
    out, gates = _Printer(), len(equations.gates)
    used = _leaves([*equations.new, *saved])
    for at, gate in enumerate(equations.gates):
        if f"x_{gate}" in used:
            out.given(Node(f"x_{gate}"), f"x_{gate}", f"V::load(t.x[m] + u * {gates} + {at} * W)")
        if f"h_{gate}" in used:
            source = f"V::load(t.h + ((m * t.blocks + b) * {gates} + {at}) * W)"
            out.given(Node(f"h_{gate}"), f"h_{gate}", source)
    _load_state(equations, used, out)
    out.make([*equations.new, *saved])
    for at, node in enumerate(equations.new):
        out.lines.append(f"{out.name(node)}.store(t.after[{at}][m] + u, lanes);")
    if saved:
        stores = [f"{out.name(node)}.store(t.saved[m] + {at} * t.stride + u);" for at, node in enumerate(saved)]
        out.lines.append("if (t.saved) {\n        " + "\n        ".join(stores) + "\n      }")
    return _function(name, out.lines)


def _load_state(equations: Equations, used: set[str], out: _Printer) -> None:
    for at, part in enumerate(equations.states):
        if f"before_{part}" in used:
            out.given(Node(f"before_{part}"), f"before_{part}", f"V::load(t.before[{at}][m] + u, lanes)")
    for at, vector in enumerate(equations.vectors):
        if f"v_{vector}" in used:
            out.given(Node(f"v_{vector}"), f"v_{vector}", f"V::load(t.vectors + {at} * t.stride + u)")


def _backward(equations: Equations, saved: list[Node], name: str) -> str:
    out, gradients = _Printer(), equations.gradients
    at_hand = {*saved, *equations.new}
    needed = set(_walk(gradients.values(), at_hand.__contains__))
    _load_state(equations, {node.op for node in needed if not node.args}, out)
    for at, node in enumerate(saved):
        if node not in out.names:
            out.given(node, f"saved_{at}", f"V::load(t.saved[m] + {at} * t.stride + u)")
    for at, (part, node) in enumerate(zip(equations.states, equations.new, strict=True)):
        if node in needed and node not in out.names:
            out.given(node, f"after_{part}", f"V::load(t.after[{at}][m] + u, lanes)")
    for at, part in enumerate(equations.states):
        if f"d_{part}" in {each.op for each in needed}:
            carried = f"V::load(t.d_after[{at}][m] + u)"
            outside = f"(t.d_history[{at}] ? V::load(t.d_history[{at}][m] + u, lanes) : V(T(0)))"
            out.given(Node(f"d_{part}"), f"d_{part}", f"{carried} + {outside}")
    out.make(gradients.values())
    for at, gate in enumerate(equations.gates):
        out.lines.append(f"{out.name(gradients[f'x_{gate}'])}.first(lanes).store(t.d_x[m] + {at} * t.stride + u);")
        if equations.split:
            out.lines.append(f"{out.name(gradients[f'h_{gate}'])}.first(lanes).store(t.d_h[m] + {at} * t.stride + u);")
    for at, part in enumerate(equations.states):
        out.lines.append(f"{out.name(gradients[f'before_{part}'])}.first(lanes).store(t.d_after[{at}][m] + u);")
    for at, vector in enumerate(equations.vectors):
        place = f"t.d_vectors + {at} * t.stride + u"
        out.lines.append(f"(V::load({place}) + {out.name(gradients[f'v_{vector}'])}.first(lanes)).store({place});")
    return _function(name, out.lines)


@dataclass(frozen=True)
class Code:
    """A cell in C++."""

    functions: str
    entry: str
    """The initialiser of its `Cell`."""
    fingerprint: str


def emit(cell: Any) -> Code:
    """The two functions of a cell type, and how they are entered in a table."""
    equations = trace(cell)
    saved = choose_saved(equations)
    forward, backward = f"{equations.name}_forward", f"{equations.name}_backward"
    functions = _forward(equations, saved, forward) + "\n" + _backward(equations, saved, backward)
    sizes = [len(equations.gates), len(equations.states), len(saved), len(equations.vectors)]
    facts = ", ".join([*map(str, sizes), *(str(flag).lower() for flag in (equations.recurrent, equations.split))])
    fingerprint = hashlib.sha256(f"{facts}\n{functions}".encode()).hexdigest()[:16]
    passes = ", ".join(f"{name}<{kind}>" for kind in ("float", "double") for name in (forward, backward))
    entry = f'{{"{equations.name}", "{fingerprint}", {facts}, {passes}}}'
    return Code(functions, entry, fingerprint)
