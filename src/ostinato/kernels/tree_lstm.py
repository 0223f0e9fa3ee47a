"""Tree-LSTMs by the level: a product with torch, the point-wise rest natively, into buffers that are made once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ostinato.kernels.aten import in_transform
from ostinato.kernels.cell_kernels import instruction_set, native_module

_FORWARD, _BACKWARD, _SUM, _SHARE = range(4)  # passes of the native module
_WORK_OF_A_THREAD = 1 << 15  # units of a level below which a second thread would only be waited for


def serves(tensors: tuple[Tensor, ...]) -> str | None:
    """None, or why the native pass does not run over these inputs and weights."""
    if native_module() is None:
        return "the native module was not built: there was no C++ compiler when ostinato was installed"
    if other := next((each.device for each in tensors if each.device.type != "cpu"), None):
        return f"the native pass over trees runs on a CPU, found {other}"
    kinds = {each.dtype for each in tensors}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(str(kind) for kind in kinds))
        return f"the native pass over trees takes float32 or float64 throughout, found {found}"
    if torch.is_autocast_enabled("cpu"):
        return "the native pass over trees takes no part in autocast"
    if in_transform() or torch.compiler.is_compiling():
        return "a transform of torch.func or torch.compile is at work, which sees plain operations only"
    return None


def run(shape: Any, arity: int | None, x: Tensor, rest: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """All levels of a Tree-LSTM.

    Args:
        shape: an `ostinato.trees.Forest` of S places; the children of an inner node stand on end.
        arity: children of a node, N; None for the child-sum.
        x: [leaves, 3·hidden], rows i o u; or [nodes, gates], with f before them as in `rest`.
        rest: [1, gates], of inner nodes without an input.
        weights: U [(N + 3)·hidden, N·hidden]; of the child-sum U_f [hidden, hidden] and U_iou [3·hidden, hidden].

    Returns:
        h and c by place, [S, hidden]. There is no second derivative.
    """
    tensors = (x.contiguous(), rest.contiguous(), *(each.contiguous() for each in weights))
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        return _TreeLSTM.apply(shape, arity, *tensors)
    return _upwards(shape, arity, False, *tensors)[:2]


class _Nodes(NamedTuple):
    """One pass over a level, as the native module takes it (nodes.hpp, `Nodes` of layer.hpp)."""

    places: Tensor
    starts: Tensor | None = None
    x: Tensor | None = None
    gates: Tensor | None = None
    forget: Tensor | None = None
    h: Tensor | None = None
    c: Tensor | None = None
    d_gates: Tensor | None = None
    d_forget: Tensor | None = None
    d_h: Tensor | None = None
    d_c: Tensor | None = None
    sums: Tensor | None = None

    def run(self, what: int, hidden: int, isa: str, of_child: int = 0, forget_row: int = 0) -> None:
        """`of_child`: from the part of x for one child's f to the next's; `forget_row`: from one node's f to another's."""
        nodes = len(self.places)
        gates_row, d_gates_row = (0 if each is None else each.stride(0) for each in (self.gates, self.d_gates))
        x_row, x_gates = (0, 0) if self.x is None else (self.x.stride(0), self.x.shape[1] - 3 * hidden)
        if self.x is not None and len(self.x) < nodes:
            x_row = 0
        sizes = [nodes, hidden, gates_row, d_gates_row, x_row, x_gates, of_child, forget_row]
        kind = next(each for each in self[2:] if each is not None).dtype
        threads = max(1, min(torch.get_num_threads(), nodes * hidden // _WORK_OF_A_THREAD))
        addresses = [0 if each is None else each.data_ptr() for each in self]
        native_module().nodes(what, sizes, addresses, isa, kind == torch.float64, threads)


def _parts(shape: Any, level: Any, keep: bool) -> tuple[slice, slice, Tensor, Tensor]:
    """Of a level of inner nodes: its nodes among those, its children among places, and both for the native module.

    Where nothing is kept every level writes to the rows of the first.
    """
    places = shape.ordered_places[level.first : level.last]
    starts = shape.starts[level.first - shape.leaves : level.last - shape.leaves + 1]
    before = level.first - shape.leaves if keep else 0
    nodes = slice(before, before + level.last - level.first)
    return nodes, slice(level.first_child, level.last_child), places, starts


def _upwards(
    shape: Any, arity: int | None, keep: bool, x: Tensor, rest: Tensor, *weights: Tensor
) -> tuple[Tensor, ...]:
    """States by place, h and c, and what is kept of the leaves' gates, of the others', of f and of h̃."""
    size, isa = weights[-1].shape[0] // 3 if arity is None else weights[0].shape[0] // (arity + 3), instruction_set()
    h, c = x.new_zeros(shape.size, size), x.new_zeros(shape.size, size)
    of_leaves = x.new_empty(shape.leaves if keep else 0, 3 * size)
    leaves = _Nodes(shape.ordered_places[: shape.leaves], x=x[: shape.leaves], h=h, c=c)
    leaves._replace(gates=of_leaves if keep else None).run(_FORWARD, size, isa)
    above = shape.levels[1:]
    nodes = sum(level.last - level.first for level in above) if keep else _most(above, "first", "last")
    if arity is not None:
        gates = x.new_empty(nodes, (arity + 3) * size)
        turned = weights[0].t()
        for level in above:
            its, children, places, starts = _parts(shape, level, keep)
            its_x = x[level.first : level.last] if level.last <= len(x) else rest
            torch.mm(h[children].view(-1, arity * size), turned, out=gates[its])
            iou = gates[its, arity * size :]
            level_nodes = _Nodes(places, starts, its_x, iou, gates[its], h, c)
            level_nodes.run(_FORWARD, size, isa, size, gates.shape[1])
        return h, c, of_leaves, gates, gates, gates
    children_kept = (above[-1].last_child if above else 0) if keep else _most(above, "first_child", "last_child")
    gates, forget = x.new_empty(nodes, 3 * size), x.new_empty(children_kept, size)
    sums = x.new_empty(nodes, size)
    turned_f, turned = (each.t() for each in weights)
    for level in above:
        its, children, places, starts = _parts(shape, level, keep)
        its_x = x[level.first : level.last] if level.last <= len(x) else rest
        its_forget = forget[children if keep else slice(0, level.last_child - level.first_child)]
        level_nodes = _Nodes(places, starts, its_x, gates[its], its_forget, h, c, sums=sums[its])
        level_nodes.run(_SUM, size, isa)
        torch.mm(h[children], turned_f, out=its_forget)
        torch.mm(sums[its], turned, out=gates[its])
        level_nodes.run(_FORWARD, size, isa)
    return h, c, of_leaves, gates, forget, sums


def _most(levels: Any, first: str, last: str) -> int:
    return max((getattr(level, last) - getattr(level, first) for level in levels), default=0)


class _TreeLSTM(torch.autograd.Function):
    """The levels upwards, and back; the gradient of a weight is one product over all nodes."""

    @staticmethod
    def forward(ctx: Any, shape: Any, arity: int | None, x: Tensor, rest: Tensor, *weights: Tensor) -> Any:
        h, c, *kept = _upwards(shape, arity, True, x, rest, *weights)
        ctx.shape, ctx.arity = shape, arity
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, rest, *weights, h, c, *kept)
        return h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        shape, arity, isa = ctx.shape, ctx.arity, instruction_set()
        *went_in, h, c, of_leaves, gates, forget, sums = ctx.saved_tensors
        x, rest, *weights = went_in
        size, leaves, above = h.shape[1], shape.leaves, shape.levels[1:]
        d_h, d_c = (h.new_zeros(h.shape) if each is None else each.contiguous().clone() for each in given)
        d_gates, d_forget = torch.empty_like(gates), forget if arity is not None else torch.empty_like(forget)
        d_sums = None if arity is not None else h.new_empty(_most(above, "first", "last"), size)
        for level in above[::-1]:
            its, children, places, starts = _parts(shape, level, True)
            if arity is not None:
                iou, d_iou = gates[its, arity * size :], d_gates[its, arity * size :]
                nodes = _Nodes(places, starts, None, iou, gates[its], h, c, d_iou, d_gates[its], d_h, d_c)
                nodes.run(_BACKWARD, size, isa, forget_row=gates.shape[1])
                d_h[children].view(-1, arity * size).addmm_(d_gates[its], weights[0])
                continue
            mine = _Nodes(places, starts, None, gates[its], forget[children], h, c, d_gates[its], d_forget[children])
            mine = mine._replace(d_h=d_h, d_c=d_c, sums=None if d_sums is None else d_sums[: len(places)])
            mine.run(_BACKWARD, size, isa)
            torch.mm(d_gates[its], weights[1], out=mine.sums)
            mine.run(_SHARE, size, isa)
            d_h[children].addmm_(d_forget[children], weights[0])
        d_x = torch.zeros_like(x) if x.shape[1] > 3 * size else torch.empty_like(x)
        nodes = _Nodes(shape.ordered_places[:leaves], None, None, of_leaves, None, h, c, d_x[:leaves, -3 * size :])
        nodes._replace(d_h=d_h, d_c=d_c).run(_BACKWARD, size, isa)
        inner = len(gates)
        d_rest = torch.zeros_like(rest)
        if arity is not None:
            d_weights = [d_gates.t() @ h[: inner * arity].view(inner, arity * size)]
            of_nodes = d_gates
        else:
            d_weights = [d_forget.t() @ h[: len(forget)], d_gates.t() @ sums]
            of_nodes = None
        if len(x) > leaves:
            if of_nodes is None:
                owners = torch.repeat_interleave(shape.starts.diff())
                d_x[leaves:, :size].index_add_(0, owners, d_forget)
                d_x[leaves:, size:] = d_gates
            else:
                d_x[leaves:] = of_nodes
        elif of_nodes is None:
            d_rest[:, :size], d_rest[:, size:] = d_forget.sum(0), d_gates.sum(0)
        else:
            d_rest[:] = of_nodes.sum(0)
        return None, None, d_x, d_rest, *d_weights
