"""The two passes of the native loop over torch's tensors: memory, addresses, and pieces of time for `low_memory`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.kernels.cell_kernels import Kernel, native_module

_WORK_OF_A_THREAD = 1 << 13  # multiplications in a step below which a second thread would only be waited for


class Problem(NamedTuple):
    """What both passes are given."""

    kernel: Kernel
    inputs: Tensor
    state: list[Tensor]
    weight_ih: Tensor
    weight_hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    vectors: Tensor | None
    norm_ih: Tensor | None
    norm_hh: Tensor | None
    norm_state: Tensor | None
    lengths: Tensor | None
    resets: Tensor | None
    zoneout: list[Tensor]
    reverse: bool
    bf16: bool
    low_memory: bool

    @property
    def weights(self) -> tuple[Tensor | None, ...]:
        """From weight_ih to norm_state: what has gradients of its own."""
        return self[3:11]

    @property
    def norms(self) -> tuple[Tensor | None, ...]:
        """The gains of the three normalisations."""
        return self[8:11]


def saved_width(kernel: Kernel, hidden_size: Any, dtype: torch.dtype, zoneout: bool, norms: Sequence[Any]) -> Any:
    """Numbers that are kept of a step of a row; see `NormPlaces` for those of normalisation."""
    lanes = native_module().vector_bytes(kernel.isa) // dtype.itemsize
    padded = (hidden_size + lanes - 1) // lanes * lanes
    norm_ih, norm_hh, norm_state = (part is not None for part in norms)
    parts = kernel.saved + kernel.gates * (norm_ih + norm_hh) + norm_state
    return (parts + (kernel.states if zoneout else 0)) * padded + (lanes if norm_ih or norm_hh or norm_state else 0)


def segment_steps(steps: Any, batch: Any) -> Any:
    """Steps between the states that `low_memory` keeps: about √time of them, and enough for full products."""
    return max(int(steps**0.5), -(-512 // max(1, batch)))


def forward(p: Problem, keep: bool, every: bool) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """The state after every step (the first part, or all), the last one, and what the backward pass needs."""
    steps, batch, _ = p.inputs.shape
    hidden, count = p.state[0].shape[1], len(p.state)
    new, p = p.inputs.new_empty, with_contiguous(p)
    low = p.low_memory and keep
    history = [new(steps, batch, hidden) for _ in range(count if every or (keep and not low) else 1)]
    final = [new(batch, hidden) for _ in range(count)]
    if not low:
        width = saved_width(p.kernel, hidden, p.inputs.dtype, bool(p.zoneout), p.norms)
        saved = new(steps * batch, width) if keep else None
        _run(p, history, final, saved)
        return history, final, saved
    pieces = list(_segments(p))
    checkpoints = new(len(pieces), count, batch, hidden)
    before = p.state
    for index, (piece, part) in enumerate(pieces):
        for at, value in enumerate(before):
            checkpoints[index, at] = value
        after = [new(batch, hidden) for _ in range(count)]
        _run(piece._replace(state=before), [each[part] for each in history], after, None)
        before = after
    for target, value in zip(final, before, strict=True):
        target.copy_(value)
    return history, final, checkpoints


class Gradients(NamedTuple):
    """By what went in; None where it is not wanted or there is nothing."""

    inputs: Tensor | None
    state: list[Tensor]
    weight_ih: Tensor
    weight_hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    vectors: Tensor | None
    norm_ih: Tensor | None
    norm_hh: Tensor | None
    norm_state: Tensor | None


def backward(
    p: Problem,
    history: list[Tensor],
    saved: Tensor,
    d_history: list[Tensor | None],
    d_final: list[Tensor | None],
    wants_inputs: bool,
) -> Gradients:
    """The gradient by all that went in."""
    p = with_contiguous(p)
    weights = p.weights
    d_history = [None if part is None else part.contiguous() for part in d_history]
    d_final = [None if part is None else part.contiguous() for part in d_final]
    out = Gradients(
        torch.empty_like(p.inputs) if wants_inputs else None,
        [torch.empty_like(part) for part in p.state],
        *(None if part is None else torch.empty_like(part) for part in weights),  # pyright: ignore[reportArgumentType]
    )
    if not p.low_memory:
        _run_back(p, history, saved, d_history, d_final, out, False)
        return out
    pieces = list(_segments(p))
    steps = max(len(piece.inputs) for piece, _ in pieces)
    batch, hidden = p.state[0].shape
    held = [p.inputs.new_empty(steps, batch, hidden) for _ in p.state]
    kept = p.inputs.new_empty(steps * batch, saved_width(p.kernel, hidden, p.inputs.dtype, bool(p.zoneout), p.norms))
    scratch = [torch.empty_like(part) for part in p.state]
    for index in reversed(range(len(pieces))):
        piece, part = pieces[index]
        piece = piece._replace(state=list(saved[index].unbind()))
        _run(piece, held, scratch, kept)
        outside = [None if each is None else each[part] for each in d_history]
        d_inputs = None if out.inputs is None else out.inputs[part]
        _run_back(
            piece, held, kept, outside, d_final, out._replace(inputs=d_inputs), accumulate=index < len(pieces) - 1
        )
        d_final = list(out.state)
        if index:
            out = out._replace(state=[torch.empty_like(part) for part in p.state])
    return out


def _segments(p: Problem) -> Iterator[tuple[Problem, slice]]:
    """Pieces of time in the order of travel, each a problem of its own but for its initial state."""
    steps = len(p.inputs)
    size = segment_steps(steps, p.inputs.shape[1])
    starts = range(0, steps, size)
    for start in reversed(starts) if p.reverse else starts:
        part = slice(start, min(start + size, steps))
        yield (
            p._replace(
                inputs=p.inputs[part],
                lengths=None if p.lengths is None else (p.lengths - start).clamp(0, part.stop - start),
                resets=None if p.resets is None else p.resets[part],
                zoneout=[each[part] for each in p.zoneout],
            ),
            part,
        )


def with_contiguous(p: Problem) -> Problem:
    """The same with every array in row-major order."""
    tensors = (p.inputs, *p.state, *p.weights, p.lengths, p.resets, *p.zoneout)
    if all(part is None or part.is_contiguous() for part in tensors):
        return p

    def ordered(part: Any) -> Any:
        if isinstance(part, list):
            return [each.contiguous() for each in part]
        return part.contiguous() if isinstance(part, Tensor) else part

    return Problem._make(ordered(part) for part in p)


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def layer_of(p: Problem, history: list[Tensor], saved: Tensor | None) -> Any:
    """What the native module takes: sizes and addresses."""
    arrays = (p.inputs, *p.weights, p.lengths, p.resets, saved)
    return native_module().layer(
        *p.inputs.shape,
        p.state[0].shape[1],
        p.reverse,
        p.bf16,
        _addresses(arrays),
        _addresses(p.state),
        _addresses(p.zoneout),
        _addresses(history),
    )


def threads_for(p: Problem) -> int:
    """As many as torch has, where there is work for them."""
    batch, hidden = p.state[0].shape
    work = batch * hidden * p.kernel.gates * (hidden if p.weight_hh is not None else 1)
    return max(1, min(torch.get_num_threads(), work // _WORK_OF_A_THREAD + 1, max(batch, hidden // 16)))


def _run(p: Problem, history: list[Tensor], final: list[Tensor], saved: Tensor | None) -> None:
    if p.inputs.shape[1] == 0:
        return
    k = p.kernel
    where = (k.address, k.isa, p.inputs.dtype == torch.float64, threads_for(p))
    native_module().forward(layer_of(p, history, saved), _addresses(final), *where)


def _run_back(
    p: Problem,
    history: list[Tensor],
    saved: Tensor,
    d_history: list[Tensor | None],
    d_final: list[Tensor | None],
    out: Gradients,
    accumulate: bool,
) -> None:
    if p.inputs.shape[1] == 0:
        for part in out[2:]:
            if part is not None and not accumulate:
                part.zero_()
        return
    # where x and h are only ever added their gradients are one, and so are those of the biases
    one = not p.kernel.split
    d_bias = out.bias_hh if one and out.bias_ih is None else out.bias_ih
    d_arrays = (out.inputs, out.weight_ih, out.weight_hh, d_bias, *out[5:])
    given = (_addresses(d_history), _addresses(d_final), _addresses(out.state), _addresses(d_arrays))
    k = p.kernel
    where = (k.address, k.isa, p.inputs.dtype == torch.float64, threads_for(p))
    native_module().backward(layer_of(p, history, saved), accumulate, *given, *where)
    if one and out.bias_hh is not None and d_bias is not None and d_bias is not out.bias_hh:
        out.bias_hh.copy_(d_bias)
