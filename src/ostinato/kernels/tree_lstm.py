"""Tree-LSTMs over all trees of a batch, natively: level after level into buffers that are made once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ostinato.kernels.aten import in_transform
from ostinato.kernels.cell_kernels import instruction_set, native_module

_WORK_OF_A_THREAD = 1 << 18  # multiplications in a mean level below which a second thread would only be waited for


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
        shape: an `ostinato.trees.Forest`; the children of a node stand on end.
        arity: children of a node, N; None for the child-sum.
        x: [leaves, 3·hidden], columns i o u; or [nodes, gates], with f before them as in `rest`.
        rest: [1, gates], of inner nodes without an input.
        weights: U [(N + 3)·hidden, N·hidden]; of the child-sum U_f [hidden, hidden] and U_iou [3·hidden, hidden].

    Returns:
        h and c by place, [places, hidden]. There is no second derivative.
    """
    tensors = (x.contiguous(), rest.contiguous(), *(each.contiguous() for each in weights))
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        return _TreeLSTM.apply(shape, arity, *tensors)
    sweep = _Sweep(shape, arity, *tensors)
    h, c, *_ = sweep.up(False)
    return h, c


class _Sweep:
    """What both passes are given, and the buffers that they fill."""

    def __init__(self, shape: Any, arity: int | None, x: Tensor, rest: Tensor, *weights: Tensor) -> None:
        self.shape, self.arity, self.x, self.rest, self.weights = shape, arity or 0, x, rest, weights
        self.hidden = weights[0].shape[0] // (arity + 3) if arity else weights[0].shape[0]
        self.inner, self.children = len(shape.order) - shape.leaves, int(shape.starts[-1])
        self.widest = max((level.last - level.first for level in shape.levels[1:]), default=0)

    def up(self, keep: bool) -> tuple[Tensor, ...]:
        """Of all places h and c; i o u of the leaves; the gates of the nodes above, f of the child-sum, and h̃."""
        new, hidden = self.x.new_empty, self.hidden
        h, c = (self.x.new_zeros(self.shape.size, hidden) for _ in range(2))  # a child that is missing has zeros
        leaves = new(self.shape.leaves if keep else 0, 3 * hidden)
        gates = new(self.inner if keep else self.widest, (3 + self.arity) * hidden)
        if self.arity:
            forget = sums = new(0, hidden)
        else:
            widest = max((level.last_child - level.first_child for level in self.shape.levels[1:]), default=0)
            forget, sums = new(self.children if keep else widest, hidden), new(len(gates), hidden)
        self._call(False, keep, [h, c, leaves if keep else None, gates, forget, sums])
        return h, c, leaves, gates, forget, sums

    def down(self, kept: list[Tensor], d_h: Tensor, d_c: Tensor) -> tuple[Tensor, ...]:
        """The gradients by x, `rest` and the weights; d_h and d_c are changed."""
        h, _, _, gates, forget, sums = kept
        x, hidden, leaves = self.x, self.hidden, self.shape.leaves
        d_x = torch.zeros_like(x) if x.shape[1] > 3 * hidden else torch.empty_like(x)
        d_gates, d_forget, d_sums = torch.empty_like(gates), torch.empty_like(forget), h.new_empty(self.widest, hidden)
        self._call(True, True, [*kept, d_x, d_gates, d_forget, d_sums, d_h, d_c])
        if self.arity:
            d_weights = [d_gates.t() @ h[: self.children].view(self.inner, self.arity * hidden)]
        else:
            d_weights = [d_forget.t() @ h[: self.children], d_gates.t() @ sums]
        if len(x) == leaves:
            d_rest = d_gates.sum(0) if self.arity else torch.cat([d_forget.sum(0), d_gates.sum(0)])
            return d_x, d_rest.unsqueeze(0), *d_weights
        if self.arity:
            d_x[leaves:] = d_gates
        else:  # the part of f is one for all children
            d_x[leaves:, :hidden].index_add_(0, torch.repeat_interleave(self.shape.starts.diff()), d_forget)
            d_x[leaves:, hidden:] = d_gates
        return d_x, torch.zeros_like(self.rest), *d_weights

    def _call(self, backward: bool, keep: bool, buffers: list[Tensor | None]) -> None:
        """One pass; see `Trees` of layer.hpp."""
        shape, x, hidden = self.shape, self.x, self.hidden
        sizes = [len(shape.levels), self.arity, hidden, len(x), x.shape[1], self.rest.shape[1]]
        ends, child_ends = shape.ends
        arrays = [ends, child_ends, shape.ordered_places, shape.starts, *self.weights]
        arrays += [None] * (2 - len(self.weights)) + [x, self.rest, *buffers] + [None] * (12 - len(buffers))
        addresses = [0 if each is None else each.data_ptr() for each in arrays]
        work = self.weights[0].numel() * len(self.weights) * self.inner // max(1, len(shape.levels))
        threads = max(1, min(torch.get_num_threads(), work // _WORK_OF_A_THREAD))
        native_module().trees(backward, keep, sizes, addresses, instruction_set(), x.dtype == torch.float64, threads)


class _TreeLSTM(torch.autograd.Function):
    """The levels upwards, and back; the gradient of a weight is one product over all nodes."""

    @staticmethod
    def forward(ctx: Any, shape: Any, arity: int | None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        kept = _Sweep(shape, arity, *tensors).up(True)
        ctx.shape, ctx.arity, ctx.given = shape, arity, len(tensors)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *kept)
        return kept[0], kept[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        given, kept = ctx.saved_tensors[: ctx.given], ctx.saved_tensors[ctx.given :]
        d_h, d_c = (
            torch.zeros_like(kept[0]) if each is None else each.clone(memory_format=torch.contiguous_format)
            for each in gradients
        )
        return None, None, *_Sweep(ctx.shape, ctx.arity, *given).down(list(kept), d_h, d_c)
