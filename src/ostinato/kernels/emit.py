"""Equations → kernels: a cell's two functions, printed as C++."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ostinato.kernels.equations import trace
from ostinato.kernels.expressions import NORMED, Equations, Node, choose_saved, walk


def _expression(node: Node, name: Callable[[Any], str]) -> str:
    if node.op == "neg":
        return f"-{name(node.args[0])}"
    if node.op == "!":
        return f"!{name(node.args[0])}"
    if node.op in ("+", "-", "*", "/", "&", "|"):
        return f" {node.op} ".join(name(arg) for arg in node.args)
    return f"{node.op}({', '.join(name(arg) for arg in node.args)})"


def _number(value: float) -> str:
    if math.isnan(value):
        return '__builtin_nan("")'
    return repr(value) if math.isfinite(value) else f"{'-' * (value < 0)}__builtin_inf()"


class _Printer:
    """Names for values, and the lines that make them; what stands in memory is read where it is first wanted."""

    def __init__(self, by_row: bool) -> None:
        self.names: dict[Node, str] = {}
        self.lines: list[str] = []
        self.by_row, self.rows = by_row, dict[str, str]()
        self._given: dict[Node, str] = {}

    def name(self, node: Node) -> str:
        if node.op == "constant":
            return f"V(T({_number(node.args[0])}))"
        return self.names[node]

    def row(self, array: str) -> str:
        """Where a row of one of the tile's arrays begins; a function that goes along rows asks for it once a row."""
        return self.keep(array, f"t.{array}[m]") if self.by_row else f"t.{array}[m]"

    def keep(self, array: str, source: str) -> str:
        """A name for an address."""
        name = "at_" + array.replace("[", "").replace("]", "")
        self.rows[name] = f"auto* const {name} = {source};"
        return name

    def given(self, node: Node, name: str, source: str) -> None:
        while name in self.names.values():  # a part of the state may be called as one of ours is
            name += "_"
        self.names[node], self._given[node] = name, source

    def make(self, roots: Iterable[Node]) -> None:
        for node in walk(roots, self.names.__contains__):
            if node in self._given:
                self.lines.append(f"const V {self.names[node]} = {self._given.pop(node)};")
            elif node not in self.names:
                self.names[node] = f"n{len(self.names)}"
                kind = "Mask<T>" if node.is_mask else "V"
                self.lines.append(f"const {kind} {self.names[node]} = {_expression(node, self.name)};")


def _leaves(roots: Iterable[Node], stop: Callable[[Node], bool] = lambda _: False) -> set[str]:
    return {node.op for node in walk(roots, stop) if not node.args}


# Of a copy of the tile the compiler knows that no store changes it. The last block of units may be short, and has code
# of its own: the others need not ask. The forward pass gets a few rows of few blocks, and goes over rows, so that the
# constants of functions stay in registers; the backward pass gets whole rows.
_FORWARD = """template <class T>
void {function}(const Tile<T>& tile) {{
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const Tile<T> t = tile;
  const auto block = [&](int m, int b, [[maybe_unused]] int lanes) __attribute__((always_inline)) {{
    const int64_t u = t.unit + b * W;
    {rows}
    {body}
  }};
  const int whole = t.tail == W ? t.blocks : t.blocks - 1;
  for (int b = 0; b < whole; ++b)
    for (int m = 0; m < t.rows; ++m) block(m, b, W);
  for (int m = 0; m < t.rows && whole < t.blocks; ++m) block(m, whole, t.tail);
}}
"""
_BACKWARD = """template <class T>
void {function}(const Tile<T>& tile) {{
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const Tile<T> t = tile;
  const auto row = [&](int m, int begin, int end, [[maybe_unused]] int lanes) __attribute__((always_inline)) {{
    {rows}
    for (int64_t u = t.unit + begin * W; u < t.unit + end * W; u += W) {{
      {body}
    }}
  }};
  const int whole = t.tail == W ? t.blocks : t.blocks - 1;
  for (int m = 0; m < t.rows; ++m) {{
    row(m, 0, whole, W);
    if (whole < t.blocks) row(m, whole, t.blocks, t.tail);
  }}
}}
"""


def _function(template: str, name: str, out: _Printer) -> str:
    indent = "\n      " if template == _BACKWARD else "\n    "
    return template.format(function=name, rows="\n    ".join(out.rows.values()), body=indent.join(out.lines))


def _forward(equations: Equations, saved: list[Node], name: str, new: dict[int, Node], value: Node | None) -> str:
    """The states by place, what is saved of them, and the value that is to be normalised."""
    out, gates = _Printer(by_row=False), len(equations.gates)
    kept = dict(enumerate(saved))
    if equations.value is not None:  # each is kept by the half that needs it, the second if both do
        first = {*new.values()} if value is not None else {*equations.new} - {*new.values()}
        second = set(walk([node for node in equations.new if node not in first], first.__contains__)) - first
        kept = {at: node for at, node in kept.items() if (node in second) == (value is None)}
    roots = [*new.values(), *kept.values(), *([] if value is None else [value])]
    # what the first half has made is read back: it may stand in place of what it was made of
    made = {} if value is not None else {node: at for at, node in enumerate(equations.new) if at not in new}
    used = _leaves(roots, made.__contains__)
    for node, at in made.items():
        if node in walk(roots, made.__contains__):
            out.given(node, f"after_{equations.states[at]}", f"V::load({out.row(f'after[{at}]')} + u, lanes)")
    if "normed" in used:
        out.given(NORMED, "normed", f"V::load({out.row('normed')} + u)")
    for at, gate in enumerate(equations.gates):
        if f"x_{gate}" in used:
            place = out.keep("x", f"t.x[m] + u * {gates}")
            out.given(Node(f"x_{gate}"), f"x_{gate}", f"V::load({place} + {at} * W)")
        if f"h_{gate}" in used:
            place = out.keep("h", f"t.h + (m * t.blocks + b) * {gates} * W")
            out.given(Node(f"h_{gate}"), f"h_{gate}", f"V::load({place} + {at} * W)")
    _load_state(equations, used, out)
    order = walk(new.values(), lambda _: False)
    for at, node in sorted(new.items(), key=lambda each: order.index(each[1]) if each[1] in order else 0):
        before = f"before_{equations.states[at]}"
        out.make([node, Node(before)] if before in used else [node])  # for it may be replaced by the state after
        out.lines.append(f"{out.name(node)}.store({out.row(f'after[{at}]')} + u, lanes);")
    if value is not None:
        out.make([value])
        out.lines.append(f"{out.name(value)}.first(lanes).store({out.row('normed')} + u);")
    if kept:
        out.make(kept.values())
        out.lines += ["if (t.saved) {", "  auto* const at_saved = t.saved[m] + u;"]
        out.lines += [f"  {out.name(node)}.store(at_saved + {at} * t.stride);" for at, node in kept.items()] + ["}"]
    return _function(_FORWARD, name, out)


def _on(node: Node, leaf: Node) -> bool:
    """Whether a value is made of a leaf."""
    return leaf in walk([node], lambda _: False)


def _halves(equations: Equations) -> tuple[dict[int, Node], dict[int, Node]]:
    """The parts of the state by place that are made before the normalisation within the step, and those after it.

    A new value may be written over the old one, so a part whose old value is read after it is made after it too.
    """
    new = dict(enumerate(equations.new))
    late = {at for at, node in new.items() if _on(node, NORMED)}
    while True:
        read = _leaves([new[at] for at in late], {node for at, node in new.items() if at not in late}.__contains__)
        more = {at for at, part in enumerate(equations.states) if f"before_{part}" in read} - late
        if not more:
            return {at: new[at] for at in new if at not in late}, {at: new[at] for at in sorted(late)}
        late |= more


def _load_state(equations: Equations, used: set[str], out: _Printer) -> None:
    for at, part in enumerate(equations.states):
        if f"before_{part}" in used:
            out.given(Node(f"before_{part}"), f"before_{part}", f"V::load({out.row(f'before[{at}]')} + u, lanes)")
    for at, vector in enumerate(equations.vectors):
        if f"v_{vector}" in used:
            out.given(Node(f"v_{vector}"), f"v_{vector}", f"V::load(t.vectors + {at} * t.stride + u)")


def _begin_backward(equations: Equations, saved: list[Node], roots: list[Node]) -> _Printer:
    """What the forward pass left, and the gradients that come in."""
    out, at_hand = _Printer(by_row=True), {*saved, *equations.new}
    needed = set(walk(roots, at_hand.__contains__))
    ops = {node.op for node in needed if not node.args}
    _load_state(equations, ops, out)
    if "normed" in ops:
        out.given(NORMED, "normed", f"V::load({out.row('normed')} + u)")
    for at, node in enumerate(saved):
        if node in needed and node not in out.names:
            out.given(node, f"saved_{at}", f"V::load({out.row('saved')} + {at} * t.stride + u)")
    for at, (part, node) in enumerate(zip(equations.states, equations.new, strict=True)):
        if node in needed and node not in out.names:
            out.given(node, f"after_{part}", f"V::load({out.row(f'after[{at}]')} + u, lanes)")
    for at, part in enumerate(equations.states):
        if f"d_{part}" in ops:
            history = f"t.d_history[{at}]"
            carried, outside = out.row(f"d_after[{at}]"), out.keep(history[2:], f"{history} ? {history}[m] : nullptr")
            source = f"V::load({carried} + u) + ({outside} ? V::load({outside} + u, lanes) : V(T(0)))"
            out.given(Node(f"d_{part}"), f"d_{part}", source)
    if "d__value" in ops:
        out.given(Node("d__value"), "d_value", f"V::load({out.row('d_normed')} + u)")
    out.make(roots)
    return out


def _backward_to_norm(equations: Equations, saved: list[Node], name: str) -> str:
    """The gradient by the normalised value."""
    gradient = equations.gradients["normed"]
    out = _begin_backward(equations, saved, [gradient])
    out.lines.append(f"{out.name(gradient)}.first(lanes).store({out.row('d_normed')} + u);")
    return _function(_BACKWARD, name, out)


def _backward(equations: Equations, saved: list[Node], name: str) -> str:
    gradients = {leaf: node for leaf, node in equations.gradients.items() if leaf != "normed"}
    out = _begin_backward(equations, saved, list(gradients.values()))
    for at, gate in enumerate(equations.gates):
        for part in ("x", "h") if equations.split else ("x",):
            place = f"{out.row(f'd_{part}')} + {at} * t.stride + u"
            out.lines.append(f"{out.name(gradients[f'{part}_{gate}'])}.first(lanes).store({place});")
    for at, part in enumerate(equations.states):
        place = f"{out.row(f'd_after[{at}]')} + u"
        out.lines.append(f"{out.name(gradients[f'before_{part}'])}.first(lanes).store({place});")
    for at, vector in enumerate(equations.vectors):
        place = f"t.d_vectors + {at} * t.stride + u"
        out.lines.append(f"(V::load({place}) + {out.name(gradients[f'v_{vector}'])}.first(lanes)).store({place});")
    return _function(_BACKWARD, name, out)


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
    first, second = _halves(equations)
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
