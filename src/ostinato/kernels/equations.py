"""A cell's equations: `update` and its vector-Jacobian product, traced once."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from ostinato.errors import BackendUnavailable
from ostinato.kernels.expressions import (
    COMPARISONS,
    Equations,
    Node,
    apply,
    as_mask,
    as_number,
    constant,
    identifier,
    walk,
)

aten = torch.ops.aten
_DECOMPOSED: Any = get_decompositions(
    [
        aten.addcdiv, aten.addcmul, aten.celu, aten.clamp, aten.elu, aten.elu_backward, aten.hardshrink,
        aten.hardsigmoid, aten.hardsigmoid_backward, aten.hardswish, aten.hardswish_backward, aten.hardtanh,
        aten.hardtanh_backward, aten.leaky_relu, aten.leaky_relu_backward, aten.lerp, aten.log_sigmoid_backward,
        aten.log_sigmoid_forward, aten.logaddexp, aten.mish, aten.mish_backward, aten.new_ones, aten.new_zeros,
        aten.ones, aten.ones_like, aten.rsub, aten.silu, aten.silu_backward,
        aten.softplus, aten.softplus_backward, aten.softshrink, aten.square, aten.threshold,
        aten.threshold_backward, aten.zeros, aten.zeros_like,
    ]
)  # fmt: skip


def _if_tanh(decomposition: Any) -> Any:
    """Of GELU's two forms the one that has a kernel; the other stays whole, to be refused by its own name."""

    def decompose(*args: Any, approximate: str = "none") -> Any:
        return decomposition(*args, approximate=approximate) if approximate == "tanh" else NotImplemented

    return decompose


_DECOMPOSED |= {op: _if_tanh(each) for op, each in get_decompositions([aten.gelu, aten.gelu_backward]).items()}

# by ATen's name, what vec.hpp calls it
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_FUNCTIONS = {
    "sigmoid": "sigmoid", "tanh": "tanh", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "sqrt": "sqrt", "reciprocal": "reciprocal", "abs": "abs", "relu": "relu", "sgn": "sign", "sign": "sign",
    "maximum": "maximum", "minimum": "minimum",
}  # fmt: skip
_LOGIC = {"logical_and": "&", "bitwise_and": "&", "logical_or": "|", "bitwise_or": "|"}
_UNEQUAL = {"logical_xor", "bitwise_xor"}
_NOT = {"logical_not", "bitwise_not"}
_OTHERS = {"neg", "where", "isnan", "masked_fill", "index_put", "rsqrt", "pow", "sigmoid_backward", "tanh_backward"}
_SAME = {"alias", "clone", "detach", "_to_copy", "expand", "view", "lift_fresh_copy"}
_CONSTANTS = {"scalar_tensor": 0, "full": 1, "full_like": 1, "fill": 1, "new_full": 2}
_KNOWN = {*_INFIX, *_FUNCTIONS, *COMPARISONS, *_LOGIC, *_UNEQUAL, *_NOT, *_OTHERS, *_SAME, *_CONSTANTS}
_WIDE = {torch.float32, torch.float64, torch.int32, torch.int64}


def trace(cell: Any, normed: bool = False) -> Equations:
    """The equations of a cell type; `normed`: with layer normalisation at the cell's own place for it.

    Raises:
        BackendUnavailable: if `update` is more than point-wise arithmetic, or branches on values.
    """
    with ThreadPoolExecutor(1) as alone:  # a thread has no mode, transform, autocast or compilation of its caller
        graph = alone.submit(_graph, cell, normed, (2, 3), torch.float64).result()
        equations = _equations(cell, normed, graph)
        other = alone.submit(_graph, cell, normed, (3, 5), torch.float32).result()
    if _equations(cell, normed, graph, single=True) != _equations(cell, normed, other, single=True):
        raise BackendUnavailable(f"{cell.__name__}.update depends on the size or the type of what it gets")
    return equations


def _names(cell: Any, normed: bool) -> tuple[list[str], list[str]]:
    """Of what goes in and of what comes out. No part of a state begins with _, so `_value` is none."""
    gates, states = cell.Gates._fields, cell.State._fields
    leaves = [f"x_{gate}" for gate in gates] + [f"h_{gate}" for gate in gates if cell.recurrent]
    leaves += [f"before_{part}" for part in states]
    leaves += [f"v_{name}" for name in cell.Vectors._fields] if cell.vectors else []
    return leaves + ["normed"] * normed, [*states, *["_value"] * normed]


def _graph(cell: Any, normed: bool, shape: tuple[int, int], dtype: torch.dtype) -> torch.fx.GraphModule:
    """`update` and its vector-Jacobian product as calls of ATen, from the leaves and then the outputs' gradients."""
    leaves, outputs = _names(cell, normed)

    def update(*values: Tensor) -> tuple[Tensor, ...]:
        by_name = dict(zip(leaves, values, strict=True))
        gates, states = cell.Gates._fields, cell.State._fields
        arguments = [cell.Gates(*(by_name[f"x_{gate}"] for gate in gates))]
        arguments.append(cell.Gates(*(by_name[f"h_{gate}"] for gate in gates)) if cell.recurrent else ())
        arguments.append(cell.State(*(by_name[f"before_{part}"] for part in states)))
        if cell.vectors:
            arguments.append(cell.Vectors(*(by_name[f"v_{name}"] for name in cell.Vectors._fields)))
        if not normed:
            return tuple(cell.update(*arguments))
        values_normed: list[Tensor] = []
        new = cell.update(*arguments, norm=lambda each: (values_normed.append(each), by_name["normed"])[1])
        return *new, *values_normed

    def joint(values: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> Any:
        new, pull_back = torch.func.vjp(update, *values)[:2]
        return new, pull_back(given)

    def example(count: int) -> tuple[Tensor, ...]:
        return tuple(torch.full(shape, 0.5, dtype=dtype) for _ in range(count))

    try:
        with torch.random.fork_rng(devices=[]):  # an update that draws is refused, and then it has drawn nothing
            function = torch.func.functionalize(joint, remove="mutations")
            return make_fx(function, decomposition_table=_DECOMPOSED)(example(len(leaves)), example(len(outputs)))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "_local_scalar_dense" in reason:
            reason = "it reads a value out of a tensor, as an `if` does: choose by torch.where"
        raise BackendUnavailable(f"{cell.__name__}.update cannot be traced: {reason}") from None


def _equations(cell: Any, normed: bool, module: torch.fx.GraphModule, single: bool = False) -> Equations:
    (leaves, outputs), nodes = _names(cell, normed), {}
    names = iter(leaves + [f"d_{part}" for part in outputs])
    first = next(iter(module.graph.nodes)).meta["val"]
    for fx in module.graph.nodes:
        if fx.op == "placeholder":
            nodes[fx] = Node(next(names))
        elif fx.op == "get_attr":
            tensor = getattr(module, fx.target)
            made_here = all(user.target == aten.lift_fresh_copy.default for user in fx.users)
            if tensor.numel() != 1 or tensor.is_complex() or not made_here:
                why = "make it one of its `vectors`, or a number"
                raise BackendUnavailable(f"{cell.__name__}.update holds a tensor of its own: {why}")
            nodes[fx] = _number(float(tensor), single)
        elif fx.op != "output":
            nodes[fx] = _read(fx, nodes, first.dtype, single)
    given = tree_leaves(module.graph.output_node().args[0])
    for name, fx in zip(outputs, given, strict=False):
        if (kind := fx.meta["val"].dtype) != first.dtype:
            kinds = f"{str(kind)[6:]} where the state is {str(first.dtype)[6:]}"
            raise BackendUnavailable(f"{cell.__name__}.update gives {name} in {kinds}")
    results = [nodes[fx] for fx in given]
    if (unread := next((each for each in results if isinstance(each, _Unread)), None)) is not None:
        raise _refusal(unread)
    gradients = dict(zip(leaves, results[len(outputs) :], strict=True))
    states, vectors = cell.State._fields, cell.Vectors._fields if cell.vectors else ()
    new, value = tuple(results[: len(states)]), results[len(states)] if normed else None
    name = identifier(cell) + "_norm" * normed
    return Equations(name, cell.Gates._fields, states, vectors, cell.recurrent, new, gradients, value)


def _number(value: float, single: bool) -> Node:
    return constant(ctypes.c_float(value).value if single else value)


def _of_values(node: Node) -> bool:
    """Whether a number is made of those that come in, and not of masks and constants alone."""
    return any(not each.args for each in walk([node], lambda each: each.is_mask))


class _Unread(str):
    """The name of an operation without a kernel, whose result nothing has read yet."""


def _refusal(what: str, why: str = "the equations must be point-wise arithmetic") -> BackendUnavailable:
    return BackendUnavailable(f"no kernel for the operation {what}: {why}")


def _read(fx: Any, nodes: dict[Any, Any], dtype: torch.dtype, single: bool) -> Node | _Unread:
    """One call of a traced graph; `single`: with its numbers as float32 has them."""
    name: str = fx.target.__name__.split(".")[0]
    args = [nodes[arg] if isinstance(arg, torch.fx.Node) else arg for arg in fx.args]
    unread = next((arg for arg in args if isinstance(arg, _Unread)), None)
    if getattr(fx.target, "namespace", "aten") != "aten":
        raise _refusal(str(fx.target))
    if name in _CONSTANTS:
        args, unread = [args[_CONSTANTS[name]]], None
    if name not in _KNOWN or unread is not None:
        # an unknown view is only how another operation is told of: what reads it says more
        if getattr(fx.target, "is_view", False) or name == "getitem" or "empty" in name:
            return unread or _Unread(name.strip("_"))
        raise _refusal(unread if unread is not None and name in _KNOWN else name.strip("_"))
    kind = fx.meta["val"].dtype
    if kind not in (dtype, torch.bool):
        if kind not in _WIDE or any(isinstance(arg, Node) and not arg.is_mask and _of_values(arg) for arg in args):
            found = f"{name.strip('_')}, which gives {str(kind)[6:]} where the state is {str(dtype)[6:]}"
            raise _refusal(found, "a kernel has one type for all")
        single = single or kind == torch.float32

    operands = [_number(arg, single) if isinstance(arg, int | float) else arg for arg in args]
    operands = [arg for arg in operands if isinstance(arg, Node)]
    if (alpha := fx.kwargs.get("alpha", 1)) != 1:
        operands[1] = apply("*", operands[1], _number(alpha, single))
    if name == "index_put":  # of a mask; else its values have another shape
        mask = nodes.get(args[1][0]) if len(args[1]) == 1 else None
        if not isinstance(mask, Node) or not mask.is_mask or args[2] is not operands[-1] or _of_values(operands[-1]):
            raise _refusal(name)
        operands.insert(1, mask)
    if fx.kwargs.get("rounding_mode"):
        raise _refusal(f"{name} that rounds")
    out = _translate(name, operands, args)
    return as_mask(out) if kind == torch.bool else as_number(out)


def _translate(name: str, nodes: list[Node], args: list[Any]) -> Node:
    """One ATen call by name."""
    if name in _SAME or name in _CONSTANTS:
        return nodes[0]
    if name in _UNEQUAL:
        return apply("ne", *map(as_mask, nodes))
    if name in _NOT:
        return apply("!", *nodes)
    if name == "sigmoid_backward":
        return _sigmoid_backward(*nodes)
    if name == "tanh_backward":
        return apply("-", nodes[0], apply("*", apply("*", *nodes), nodes[1]))
    if name == "neg":
        return constant(0) if nodes[0] == constant(0) else apply("neg", *nodes)
    if name == "where":
        return apply("select", *nodes)
    if name == "isnan":
        return apply("ne", nodes[0], nodes[0])
    if name in ("masked_fill", "index_put"):
        return apply("select", nodes[1], nodes[2], nodes[0])
    if name == "rsqrt":
        return apply("reciprocal", apply("sqrt", nodes[0]))
    if name == "pow":
        if not isinstance(args[1], int | float):
            raise _refusal("pow of a tensor", "the exponent must be a number")
        return _power(nodes[0], float(args[1]))
    return apply({**_INFIX, **_FUNCTIONS, **_LOGIC}.get(name, name), *nodes)


def _sigmoid_backward(gradient: Node, y: Node) -> Node:
    """d·y·(1 − y) as p − p·y with p = d·y, which is one fused operation after p.

    A gate mostly multiplies something, y ⊙ v: then d = u·v, and u·y is at hand as the gradient by v.
    """
    if gradient.op == "*":
        first, second = gradient.args
        product = apply("*", apply("*", first, y), second)
    else:
        product = apply("*", gradient, y)
    return apply("-", product, apply("*", product, y))


def _power(base: Node, exponent: float) -> Node:
    if exponent < 0:
        return apply("reciprocal", _power(base, -exponent))
    if exponent == 0:
        return constant(1)
    if exponent == 0.5:
        return apply("sqrt", base)
    if exponent.is_integer() and exponent <= 64:
        half = _power(base, exponent // 2) if exponent > 1 else constant(1)
        squared = apply("*", half, half)
        return apply("*", squared, base) if exponent % 2 else squared
    if exponent.is_integer():
        raise BackendUnavailable(f"no kernel for the power {exponent:.0f}: the largest whole one is 64")
    return apply("exp", apply("*", constant(exponent), apply("log", base)))
