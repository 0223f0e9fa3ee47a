"""The native loop as an operator of PyTorch: two passes with their shapes and derivatives, and who may call them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.errors import BackendUnavailable
from ostinato.kernels import passes, reference
from ostinato.kernels.aten import in_transform
from ostinato.kernels.call import LayerCall, LayerResult, Weights
from ostinato.kernels.cell_kernels import Kernel, constant_when_compiled, instruction_set, kernel_of, native_module

_REAL = (torch.float32, torch.float64)
_TENSORS = 10  # what a call takes beside inputs and state: eight weights, lengths and resets
_NORM_STATE = passes.Problem._fields.index("norm_state") - 1  # of what a problem has beside its kernel
_CELLS: dict[str, type] = {}
"""Cells by the name that the operator takes, for it takes no classes."""


def serves(call: LayerCall) -> str | None:
    """None, or why the native loop does not run this call."""
    kernel = kernel_of(call.cell, call.weights.norm_state is not None)
    if isinstance(kernel, str):
        return kernel
    if call.inputs.device.type != "cpu":
        return f"the native loop runs on a CPU, the inputs are on {call.inputs.device}"
    if in_transform():
        return "a transform of torch.func is at work, which only the reference's plain operations take part in"
    if call.weights.weight_hr is not None:
        return "the native loop does not project the hidden state"
    if call.hidden_mask is not None:
        return "the native loop does not mask the hidden state"
    if call.batch_norm is not None:
        return "the native loop has no batch normalisation"
    if call.zoneout is not None and any(stay is not None and stay.requires_grad for stay in call.zoneout):
        return "the native loop has no gradient by how much zoneout keeps"
    return _why_not_types(call)


def _why_not_types(call: LayerCall) -> str | None:
    if _bf16_wanted(call):
        return None if _has_bf16() else "this CPU does not multiply bfloat16"
    if torch.is_autocast_enabled("cpu"):
        return f"the native loop has no {torch.get_autocast_dtype('cpu')}"
    kind, others = call.inputs.dtype, (call.weights.weight_ih, *call.state)
    if kind not in _REAL or any(part.dtype is not kind for part in others):
        kinds = sorted({str(part.dtype) for part in (call.inputs, *others)})
        return f"the native loop takes float32 or float64 throughout, found {', '.join(kinds)}"
    return None


def _bf16_wanted(call: LayerCall) -> bool:
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16 and call.weights.weight_ih.dtype == torch.float32
    return call.weights.weight_ih.dtype == torch.bfloat16 == call.inputs.dtype


def _has_bf16() -> bool:
    return bool(native_module().has_bf16(instruction_set()))


def run(call: LayerCall) -> LayerResult:
    """All steps of one layer."""
    name, kind, bf16 = _name(call.cell), type(call.state), _bf16_wanted(call)
    inputs, state, weights = call.inputs, tuple(call.state), call.weights
    if bf16:  # the operator takes float32 and narrows what it multiplies
        inputs, state = inputs.float(), tuple(part.float() for part in state)
        weights = Weights(*(_floats(part) for part in weights))
    vectors = torch.stack(weights.vectors) if weights.vectors else None
    parts = [weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh, vectors]
    parts += [weights.norm_ih, weights.norm_hh, weights.norm_state]
    keep = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (inputs, *state, *parts))
    lengths = None if call.lengths is None else call.lengths.to(device="cpu", dtype=torch.int64)
    zoneout = [] if call.zoneout is None else [_or_zero(part, inputs, state[0]) for part in call.zoneout]
    flags = (call.reverse, bf16, call.low_memory)
    count = len(state)
    results: Any
    if torch.compiler.is_compiling():
        results = torch.ops.ostinato.recurrence(
            name, inputs, state, *parts, lengths, call.resets, zoneout, *flags, keep, call.every
        )
    elif keep:
        results = _Recurrence.apply(
            name, count, flags, call.every, inputs, *state, *parts, lengths, call.resets, *zoneout
        )
    else:
        problem = _problem(name, inputs, state, *parts, lengths, call.resets, zoneout, *flags)
        history, last, _ = passes.forward(problem, False, call.every)
        results = [*history, *last]
    kept = _history_parts(count, call.low_memory, keep, call.every)
    final = results[kept : kept + count]
    if bf16:
        out = torch.bfloat16
        states = kind(*(part.to(out) for part in results[:count])) if call.every else None
        same = tuple(part.to(old.dtype) for part, old in zip(final, call.state, strict=True))
        return LayerResult(results[0].to(out), kind(*same), states)
    return LayerResult(results[0], kind(*final), kind(*results[:count]) if call.every else None)


def _floats(part: Any) -> Any:
    if part is None or isinstance(part, Tensor):
        return None if part is None else part.float()
    return tuple(each.float() for each in part)


def _or_zero(part: Tensor | None, inputs: Tensor, hidden: Tensor) -> Tensor:
    shape = (*inputs.shape[:2], hidden.shape[1])
    return hidden.new_zeros(shape) if part is None else part.to(hidden.dtype).expand(shape)


@constant_when_compiled  # what it enters must be there when the graph is traced
def _name(cell: type) -> str:
    name = f"{cell.__module__}.{cell.__qualname__}"
    while _CELLS.setdefault(name, cell) is not cell:
        name += "'"  # a class of the same name, written anew
    return name


def _kernel(name: str, normed: bool) -> Kernel:
    kernel = kernel_of(_CELLS[name], normed)
    if isinstance(kernel, str):
        raise BackendUnavailable(kernel)
    return kernel


_WEIGHTS = "Tensor weight_ih, Tensor? weight_hh, Tensor? bias_ih, Tensor? bias_hh, Tensor? vectors, "
_WEIGHTS += "Tensor? norm_ih, Tensor? norm_hh, Tensor? norm_state"
_CALL = "Tensor? lengths, Tensor? resets, Tensor[] zoneout, bool reverse, bool bf16, bool low_memory"
_LIBRARY = torch.library.Library("ostinato", "DEF")
_LIBRARY.define(
    f"recurrence(str cell, Tensor inputs, Tensor[] state, {_WEIGHTS}, {_CALL}, bool keep, bool every) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    f"recurrence_backward(str cell, Tensor inputs, Tensor[] state, {_WEIGHTS}, {_CALL}, bool wants_inputs, "
    "Tensor[] history, Tensor saved, int[] given, Tensor[] d_outputs) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _problem(cell: str, *parts: Any) -> passes.Problem:
    return passes.Problem(_kernel(cell, parts[_NORM_STATE] is not None), *parts)


@torch.library.impl(_LIBRARY, "recurrence", "CPU")
def _recurrence(cell: str, *arguments: Any) -> list[Tensor]:
    *parts, keep, every = arguments
    history, final, saved = passes.forward(_problem(cell, *parts), keep, every)
    return [*history, *final] if saved is None else [*history, *final, saved]


@torch.library.impl(_LIBRARY, "recurrence_backward", "CPU")
def _recurrence_backward(cell: str, *arguments: Any) -> list[Tensor]:
    *parts, wants_inputs, history, saved, given, d_outputs = arguments
    count = len(parts[1])
    d_history, d_final = _spread(given, d_outputs, count)
    return _present(passes.backward(_problem(cell, *parts), history, saved, d_history, d_final, wants_inputs))


def _spread(given: list[int], d_outputs: list[Tensor], count: int) -> tuple[list[Any], list[Any]]:
    """Gradients of the history and of the last state by part, None where none came."""
    d: list[Any] = [None] * (2 * count)
    for at, part in zip(given, d_outputs, strict=True):
        d[at] = part
    return d[:count], d[count:]


def _gather(d_outputs: Any, kept: int, count: int) -> tuple[list[int], list[Tensor]]:
    """Of the gradients of outputs, those that came, and where they stand in `_spread`."""
    places = [*range(kept), *range(count, 2 * count)]
    pairs = [(at, part) for at, part in zip(places, d_outputs, strict=False) if part is not None]
    return [at for at, _ in pairs], [part for _, part in pairs]


@torch.library.register_fake("ostinato::recurrence", lib=_LIBRARY)
def _shapes(cell: str, inputs: Tensor, state: list[Tensor], *arguments: Any) -> list[Tensor]:
    zoneout, _, _, low_memory, keep, every = arguments[-6:]
    norms = arguments[5:8]
    kernel, (steps, batch, _) = _kernel(cell, norms[2] is not None), inputs.shape
    hidden, count = state[0].shape[1], len(state)
    history = _history_parts(count, low_memory, keep, every)
    out = [inputs.new_empty(steps, batch, hidden) for _ in range(history)]
    out += [inputs.new_empty(batch, hidden) for _ in range(count)]
    if keep and low_memory:
        segments = -(-steps // passes.segment_steps(steps, batch))
        out.append(inputs.new_empty(segments, count, batch, hidden))
    elif keep:
        out.append(
            inputs.new_empty(steps * batch, passes.saved_width(kernel, hidden, inputs.dtype, bool(zoneout), norms))
        )
    return out


@torch.library.register_fake("ostinato::recurrence_backward", lib=_LIBRARY)
def _shapes_backward(_: str, inputs: Tensor, state: list[Tensor], *arguments: Any) -> list[Tensor]:
    weights, wants_inputs = arguments[:8], arguments[-5]
    like = [inputs if wants_inputs else None, *state, *weights]
    return [torch.empty_like(part, memory_format=torch.contiguous_format) for part in like if part is not None]


def _history_parts(count: int, low_memory: bool, keep: bool, every: bool) -> int:
    return count if every or (keep and not low_memory) else 1


class _Recurrence(torch.autograd.Function):
    """The same without the dispatcher and its trees of arguments, which cost more than a short sequence does."""

    @staticmethod
    def forward(ctx: Any, name: str, count: int, flags: tuple[bool, ...], every: bool, *tensors: Any) -> Any:
        inputs, state, rest = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        problem = _problem(name, inputs, state, *rest[:_TENSORS], rest[_TENSORS:], *flags)
        history, final, saved = passes.forward(problem, True, every)
        ctx.facts = (name, count, len(rest) - _TENSORS, flags)
        ctx.kept = len(history)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *history, saved)
        return *history, *final

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> Any:
        name, count, zones, flags = ctx.facts
        tensors = ctx.saved_tensors
        inputs, state, rest = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        parts, zoneout, history = rest[:_TENSORS], rest[_TENSORS : _TENSORS + zones], rest[_TENSORS + zones : -1]
        given, d_present = _gather(d_outputs, ctx.kept, count)
        wants = ctx.needs_input_grad[4]
        arguments = (inputs, list(state), *parts, list(zoneout), *flags)
        if torch.is_grad_enabled():  # a second derivative may be wanted: the operator has one
            out = torch.ops.ostinato.recurrence_backward(
                name, *arguments, wants, list(history), rest[-1], given, d_present
            )
        else:
            problem, d = _problem(name, *arguments), _spread(given, d_present, count)
            out = _present(passes.backward(problem, list(history), rest[-1], *d, wants))
        return None, None, None, None, *_by_argument(out, wants, count, parts[:8]), None, None, *[None] * zones


def _present(gradients: passes.Gradients) -> list[Tensor]:
    flat = [gradients.inputs, *gradients.state, *gradients[2:]]
    return [part for part in flat if part is not None]


def _by_argument(out: list[Tensor], wants_inputs: bool, count: int, weights: Any) -> list[Tensor | None]:
    """Gradients of the inputs, the state and the weights, None where there is no such argument."""
    each = iter(out)
    d_inputs = next(each) if wants_inputs else None
    d_state = [next(each) for _ in range(count)]
    return [d_inputs, *d_state, *(None if weight is None else next(each) for weight in weights)]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    """Keep what the backward pass needs."""
    cell, x, state, *rest = inputs
    weights, (lengths, resets, zoneout, reverse, bf16, low_memory, keep, every) = rest[:8], rest[8:]
    ctx.facts = (cell, len(state), len(zoneout), (reverse, bf16, low_memory))
    if not keep:
        return
    ctx.kept = _history_parts(len(state), low_memory, keep, every)
    ctx.save_for_backward(x, *state, *weights, lengths, resets, *zoneout, *output[: ctx.kept], output[-1])


def _pull_back(ctx: Any, d_outputs: list[Tensor | None]) -> Any:
    name, count, zones, flags = ctx.facts
    inputs, *rest = ctx.saved_tensors
    state, rest = rest[:count], rest[count:]
    parts, zoneout, history = rest[:_TENSORS], rest[_TENSORS : _TENSORS + zones], rest[_TENSORS + zones : -1]
    given, d_present = _gather(d_outputs, ctx.kept, count)
    wants = ctx.needs_input_grad[1]
    out = torch.ops.ostinato.recurrence_backward(
        name, inputs, state, *parts, zoneout, *flags, wants, history, rest[-1], given, d_present
    )
    d_inputs, *others = _by_argument(out, wants, count, parts[:8])
    return None, d_inputs, others[:count], *others[count:], None, None, [None] * zones, *[None] * 5


def _remember_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ARG001
    cell, x, state, *rest = inputs
    weights, (lengths, resets, zoneout, reverse, _, _, wants, history, _, given, d_outputs) = rest[:8], rest[8:]
    ctx.facts = (cell, len(state), len(zoneout), reverse, wants, len(history), given)
    ctx.save_for_backward(x, *state, *weights, lengths, resets, *zoneout, *d_outputs)


def _pull_back_twice(ctx: Any, d_gradients: list[Tensor | None]) -> Any:
    """The second derivative, through the reference: it costs what the reference costs, in time and in memory."""
    name, count, zones, reverse, wants, kept, given = ctx.facts
    x, *rest = ctx.saved_tensors
    state, weights, rest = rest[:count], rest[count : count + 8], rest[count + 8 :]
    (lengths, resets), zoneout, d_outputs = rest[:2], rest[2 : 2 + zones], rest[2 + zones :]
    leaves = [x, *state, *weights]
    wanted = [part is not None and (index > 0 or wants) for index, part in enumerate(leaves)]
    with torch.enable_grad():
        leaves = [None if part is None else part.detach().requires_grad_() for part in leaves]
        d_outputs = [part.detach().requires_grad_() for part in d_outputs]
        by_part = [part for each in _spread(given, d_outputs, count) for part in each]
        first = _reference_gradient(_CELLS[name], leaves, count, lengths, resets, zoneout, reverse, by_part, wanted)
        variables = [part for part in (*leaves, *d_outputs) if part is not None]
        pairs = [(gradient, by) for gradient, by in zip(first, d_gradients, strict=True) if by is not None]
        pairs = [(gradient, by) for gradient, by in pairs if gradient.requires_grad]
        second: Any = (None,) * len(variables)
        if pairs:
            roots, by = zip(*pairs, strict=True)
            second = torch.autograd.grad(roots, variables, by, allow_unused=True)
    each = iter(second)
    found = [None if part is None else next(each) for part in (*leaves, *d_outputs)]
    d_x, d_state, d_weights = found[0], found[1 : 1 + count], found[1 + count : 9 + count]
    nothing = [None] * zones, None, None, None, None, [None] * kept, None, None
    return None, d_x, d_state, *d_weights, None, None, *nothing, found[9 + count :]


def _reference_gradient(
    cell: type, leaves: list[Any], count: int, lengths: Any, resets: Any, zoneout: Any, reverse: bool,
    d_outputs: list[Any], wanted: list[bool],
) -> list[Tensor]:  # fmt: skip
    """What `recurrence_backward` computes, by the reference, with a graph behind it."""
    x, state, (*plain, vectors, norm_ih, norm_hh, norm_state) = leaves[0], leaves[1 : 1 + count], leaves[1 + count :]
    stacked = () if vectors is None else tuple(vectors.unbind())
    weights = Weights(*plain, vectors=stacked, norm_ih=norm_ih, norm_hh=norm_hh, norm_state=norm_state)
    kind: Any = cell
    call = LayerCall(kind, weights, x, kind.State(*state), lengths, reverse, resets, tuple(zoneout) or None, every=True)
    result = reference.run(call)
    pairs = zip((*result.states, *result.state), d_outputs, strict=True)
    outputs, by = zip(*[(output, d) for output, d in pairs if d is not None], strict=True)
    by_what = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
    found = torch.autograd.grad(outputs, by_what, by, create_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if part is None else part for part, leaf in zip(found, by_what, strict=True)]


torch.library.register_autograd("ostinato::recurrence", _pull_back, setup_context=_remember, lib=_LIBRARY)
torch.library.register_autograd(
    "ostinato::recurrence_backward", _pull_back_twice, setup_context=_remember_backward, lib=_LIBRARY
)
