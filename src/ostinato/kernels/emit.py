"""Equations → kernels: a cell's two functions, printed as C++."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ostinato.kernels.equations import NORMED, Equations, Node, choose_saved, trace, walk


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
        for node in walk(roots, self.names.__contains__):
            if node not in self.names:
                self.names[node] = f"n{len(self.names)}"
                kind = "Mask<T>" if node.is_mask else "V"
                self.lines.append(f"const {kind} {self.names[node]} = {_expression(node, self.name)};")


def _leaves(roots: Iterable[Node], stop: Callable[[Node], bool] = lambda _: False) -> set[str]:
    return {node.op for node in walk(roots, stop) if not node.args}


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


def _forward(equations: Equations, saved: list[Node], name: str, new: dict[int, Node], value: Node | None) -> str:
    """The states by place, what is saved of them, and the value that is to be normalised."""
    out, gates = _Printer(), len(equations.gates)
    kept = dict(enumerate(saved))
    if equations.value is not None:  # each is kept by the half that needs it, the second if both do
        first = {node for node in equations.new if not _on(node, NORMED)}
        second = set(walk([node for node in equations.new if node not in first], first.__contains__)) - first
        kept = {at: node for at, node in kept.items() if (node in second) == (value is None)}
    roots = [*new.values(), *kept.values(), *([] if value is None else [value])]
    # what the first half has made is read back: it may stand in place of what it was made of
    made = {} if value is not None else {node: at for at, node in enumerate(equations.new) if at not in new}
    used = _leaves(roots, made.__contains__)
    for node, at in made.items():
        if node in walk(roots, made.__contains__):
            out.given(node, f"after_{equations.states[at]}", f"V::load(t.after[{at}][m] + u, lanes)")
    if "normed" in used:
        out.given(NORMED, "normed", "V::load(t.normed[m] + u)")
    for at, gate in enumerate(equations.gates):
        if f"x_{gate}" in used:
            out.given(Node(f"x_{gate}"), f"x_{gate}", f"V::load(t.x[m] + u * {gates} + {at} * W)")
        if f"h_{gate}" in used:
            source = f"V::load(t.h + ((m * t.blocks + b) * {gates} + {at}) * W)"
            out.given(Node(f"h_{gate}"), f"h_{gate}", source)
    _load_state(equations, used, out)
    out.make(roots)
    for at, node in new.items():
        out.lines.append(f"{out.name(node)}.store(t.after[{at}][m] + u, lanes);")
    if value is not None:
        out.lines.append(f"{out.name(value)}.first(lanes).store(t.normed[m] + u);")
    if kept:
        stores = [f"{out.name(node)}.store(t.saved[m] + {at} * t.stride + u);" for at, node in kept.items()]
        out.lines.append("if (t.saved) {\n        " + "\n        ".join(stores) + "\n      }")
    return _function(name, out.lines)


def _on(node: Node, leaf: Node) -> bool:
    """Whether a value is made of a leaf."""
    return leaf in walk([node], lambda _: False)


def _load_state(equations: Equations, used: set[str], out: _Printer) -> None:
    for at, part in enumerate(equations.states):
        if f"before_{part}" in used:
            out.given(Node(f"before_{part}"), f"before_{part}", f"V::load(t.before[{at}][m] + u, lanes)")
    for at, vector in enumerate(equations.vectors):
        if f"v_{vector}" in used:
            out.given(Node(f"v_{vector}"), f"v_{vector}", f"V::load(t.vectors + {at} * t.stride + u)")


def _begin_backward(equations: Equations, saved: list[Node], roots: list[Node]) -> _Printer:
    """What the forward pass left, and the gradients that come in."""
    out, at_hand = _Printer(), {*saved, *equations.new}
    needed = set(walk(roots, at_hand.__contains__))
    ops = {node.op for node in needed if not node.args}
    _load_state(equations, ops, out)
    if "normed" in ops:
        out.given(NORMED, "normed", "V::load(t.normed[m] + u)")
    for at, node in enumerate(saved):
        if node in needed and node not in out.names:
            out.given(node, f"saved_{at}", f"V::load(t.saved[m] + {at} * t.stride + u)")
    for at, (part, node) in enumerate(zip(equations.states, equations.new, strict=True)):
        if node in needed and node not in out.names:
            out.given(node, f"after_{part}", f"V::load(t.after[{at}][m] + u, lanes)")
    for at, part in enumerate(equations.states):
        if f"d_{part}" in ops:
            carried = f"V::load(t.d_after[{at}][m] + u)"
            outside = f"(t.d_history[{at}] ? V::load(t.d_history[{at}][m] + u, lanes) : V(T(0)))"
            out.given(Node(f"d_{part}"), f"d_{part}", f"{carried} + {outside}")
    if "d_value" in ops:
        out.given(Node("d_value"), "d_value", "V::load(t.d_normed[m] + u)")
    out.make(roots)
    return out


def _backward_to_norm(equations: Equations, saved: list[Node], name: str) -> str:
    """The gradient by the normalised value."""
    gradient = equations.gradients["normed"]
    out = _begin_backward(equations, saved, [gradient])
    out.lines.append(f"{out.name(gradient)}.first(lanes).store(t.d_normed[m] + u);")
    return _function(name, out.lines)


def _backward(equations: Equations, saved: list[Node], name: str) -> str:
    gradients = {leaf: node for leaf, node in equations.gradients.items() if leaf != "normed"}
    out = _begin_backward(equations, saved, list(gradients.values()))
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


def emit(cell: Any, normed: bool = False) -> Code:
    """The functions of a cell type, and how they are entered in a table."""
    equations = trace(cell, normed)
    saved = choose_saved(equations)
    names = [f"{equations.name}_{way}" for way in ("forward", "backward")]
    first = {at: node for at, node in enumerate(equations.new) if not _on(node, NORMED)}
    second = {at: node for at, node in enumerate(equations.new) if at not in first}
    functions = [
        _forward(equations, saved, names[0], first, equations.value),
        _backward(equations, saved, names[1]),
    ]
    if normed:
        names += [f"{equations.name}_forward_after", f"{equations.name}_backward_before"]
        functions.append(_forward(equations, saved, names[2], second, None))
        functions.append(_backward_to_norm(equations, saved, names[3]))
    text = "\n".join(functions)
    sizes = [len(equations.gates), len(equations.states), len(saved), len(equations.vectors)]
    facts = ", ".join([*map(str, sizes), *(str(flag).lower() for flag in (equations.recurrent, equations.split))])
    fingerprint = hashlib.sha256(f"{facts}\n{text}".encode()).hexdigest()[:16]
    passes = [", ".join(f"{name}<{kind}>" for name in names) for kind in ("float", "double")]
    tables = ", ".join(f"{{{each}}}" for each in passes)
    entry = f'{{"{equations.name}", "{fingerprint}", {facts}, {tables}}}'
    return Code(text, entry, fingerprint)
