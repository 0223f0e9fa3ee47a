"""The law: one GEMM for all inputs, then a loop over time of one GEMM and `update`. Autograd does the rest."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class CellLike(Protocol):
    """What a time loop needs to know of a cell: its equations, not its weights."""

    Gates: ClassVar[Any]
    Vectors: ClassVar[Any]
    State: ClassVar[Any]
    update: Any


class Weights(NamedTuple):
    """The parameters of one layer; what a layer lacks is None."""

    weight_ih: Tensor
    """[gates·hidden, input]."""
    weight_hh: Tensor | None = None
    """[gates·hidden, hidden], or [gates·hidden, projection]; None for a cell without a recurrent product."""
    bias_ih: Tensor | None = None
    """[gates·hidden]."""
    bias_hh: Tensor | None = None
    """[gates·hidden]."""
    vectors: tuple[Tensor, ...] = ()
    """[hidden] each: the cell's parameters by unit, in the order of its `vectors`."""
    weight_hr: Tensor | None = None
    """[projection, hidden]: the hidden state is W_hr·h (Sak et al. 2014)."""
    norm_ih: Tensor | None = None
    """[gates·hidden]: the gain of layer normalisation of W_ih·x (Ba et al. 2016, eq. 20); None: not normalised."""
    norm_hh: Tensor | None = None
    """[gates·hidden]: the gain of layer normalisation of W_hh·h."""
    norm_state: Tensor | None = None
    """[2, hidden]: gain and shift of layer normalisation at the cell's own place for it (eq. 22)."""


class LayerCall(NamedTuple):
    """One layer's work, as a backend gets it."""

    cell: type[CellLike]
    weights: Weights
    inputs: Tensor
    """[time, batch, input]."""
    state: Any
    """The cell's `State`, each part [batch, hidden]."""
    lengths: Tensor | None = None
    """int64 [batch]: steps that count in each row; all of them if None."""
    reverse: bool = False
    """From the last step that counts to the first."""
    resets: Tensor | None = None
    """bool [time, batch]: where the state is zero before the step."""
    zoneout: tuple[Tensor | None, ...] | None = None
    """By part of the state, how much of the old value stays, [time, batch, hidden] in 0 to 1 (Krueger et al. 2017)."""
    every: bool = False
    """Whether the full state of every step is wanted."""
    low_memory: bool = False
    """Whether to recompute in the backward pass what need not be kept."""


class LayerResult(NamedTuple):
    """What a backend returns."""

    outputs: Tensor
    """[time, batch, hidden], zero beyond a row's length."""
    state: Any
    """After each row's last step."""
    states: Any = None
    """If asked for, the state after every step, each part [time, batch, hidden], zero beyond a row's length."""


def layer_norm(values: Tensor, gain: Tensor) -> Tensor:
    """(v − mean) / √(variance + 10⁻⁵) · gain over the last axis (Ba et al. 2016)."""
    return functional.layer_norm(values, gain.shape, gain, eps=1e-5)


def split_gates(cell: type[CellLike], preactivation: Tensor) -> Any:
    """[..., gates·hidden] → a named tuple of [..., hidden], one a gate."""
    return cell.Gates(*preactivation.chunk(len(cell.Gates._fields), dim=-1))


def project(weights: Weights, inputs: Tensor) -> Tensor:
    """W_ih·x + b_ih, [..., gates·hidden]."""
    if weights.norm_ih is None:
        return functional.linear(inputs, weights.weight_ih, weights.bias_ih)
    projected = layer_norm(functional.linear(inputs, weights.weight_ih), weights.norm_ih)
    return projected if weights.bias_ih is None else projected + weights.bias_ih


def step(cell: type[CellLike], weights: Weights, projected: Tensor, state: Any) -> Any:
    """One step from the projected input W_ih·x + b_ih, [batch, gates·hidden]."""
    recurrent: Any = ()
    if weights.weight_hh is not None:
        recurrent = functional.linear(
            state[0], weights.weight_hh, None if weights.norm_hh is not None else weights.bias_hh
        )
        if weights.norm_hh is not None:
            recurrent = layer_norm(recurrent, weights.norm_hh)
            recurrent = recurrent if weights.bias_hh is None else recurrent + weights.bias_hh
        recurrent = split_gates(cell, recurrent.to(projected.dtype))
    arguments = [split_gates(cell, projected), recurrent, state]
    if weights.vectors:
        arguments.append(cell.Vectors(*weights.vectors))
    if weights.norm_state is not None:
        gain, shift = weights.norm_state
        state = cell.update(*arguments, norm=lambda values: layer_norm(values, gain) + shift)
    else:
        state = cell.update(*arguments)
    if weights.weight_hr is not None:
        state = state._replace(**{state._fields[0]: functional.linear(state[0], weights.weight_hr)})
    return state


def run(call: LayerCall) -> LayerResult:
    """All steps.

    A row's state stops at its length and its outputs beyond are zero; a reversed row starts at its own end.
    """
    inputs, state, kind = call.inputs, call.state, type(call.state)
    steps, zero = len(inputs), inputs.new_zeros(())
    live = None if call.lengths is None else live_steps(call.lengths, steps, inputs.device)
    if live is not None:  # padding may hold NaN, and 0 · NaN would come back through the weights' gradient
        inputs = torch.where(live, inputs, zero)
    projected = project(call.weights, inputs).to(state[0].dtype)
    history: list[Any] = []
    for t in reversed(range(steps)) if call.reverse else range(steps):
        before = state
        if call.resets is not None:
            keep = ~call.resets[t].unsqueeze(1)
            before = kind(*(torch.where(keep, part, part.new_zeros(())) for part in state))
        new = step(call.cell, call.weights, projected[t], before)
        if call.zoneout is not None:
            new = kind(
                *(
                    after if stay is None else torch.lerp(after, part, stay[t])
                    for after, part, stay in zip(new, before, call.zoneout, strict=True)
                )
            )
        if live is not None:
            new = kind(*(torch.where(live[t], after, part) for after, part in zip(new, state, strict=True)))
        state = new
        history.append(state)
    if call.reverse:
        history.reverse()
    parts = [torch.stack([each[i] for each in history]) for i in range(len(kind._fields) if call.every else 1)]
    if live is not None:
        parts = [torch.where(live, part, part.new_zeros(())) for part in parts]
    return LayerResult(parts[0], state, kind(*parts) if call.every else None)


def live_steps(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """[time, batch, 1], whether the row has not ended."""
    return torch.arange(steps, device=device)[:, None, None] < lengths.to(device)[None, :, None]


def serves(call: LayerCall) -> str | None:  # noqa: ARG001
    """The reference serves every call."""
    return None
