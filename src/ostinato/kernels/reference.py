"""The law: one GEMM for all inputs, then a loop over time of one GEMM and `update`. Autograd does the rest."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class CellLike(Protocol):
    """What a time loop needs to know of a cell."""

    Gates: ClassVar[Any]
    State: ClassVar[Any]
    update: Any
    hidden_size: int

    @property
    def weight_ih(self) -> Tensor:
        """[gates·hidden, input]."""
        ...

    @property
    def weight_hh(self) -> Tensor:
        """[gates·hidden, hidden]."""
        ...

    @property
    def bias_ih(self) -> Tensor | None:
        """[gates·hidden]."""
        ...

    @property
    def bias_hh(self) -> Tensor | None:
        """[gates·hidden]."""
        ...


def split_gates(cell: CellLike, preactivation: Tensor) -> Any:
    """[..., gates·hidden] → a named tuple of [..., hidden], one a gate."""
    return cell.Gates(*preactivation.split(cell.hidden_size, dim=-1))


def step(cell: CellLike, projected: Tensor, state: StateT) -> StateT:
    """One step from the projected input W_ih x + b_ih, [batch, gates·hidden]."""
    recurrent = functional.linear(state[0], cell.weight_hh, cell.bias_hh).to(projected.dtype)
    return cell.update(split_gates(cell, projected), split_gates(cell, recurrent), state)


def run(cell: CellLike, inputs: Tensor, state: StateT, lengths: Tensor | None, reverse: bool) -> tuple[Tensor, StateT]:
    """All steps. Inputs [time, batch, input]; outputs [time, batch, hidden], the final state.

    A row's state stops at its length and its outputs beyond are zero; a reversed row starts at its own end.
    """
    class_of_state: type[Any] = type(state)
    live = None if lengths is None else _live(lengths, len(inputs), inputs.device)
    if live is not None:  # padding may hold NaN, and 0 · NaN would come back through the weights' gradient
        inputs = torch.where(live, inputs, inputs.new_zeros(()))
    projected = functional.linear(inputs, cell.weight_ih, cell.bias_ih).to(state[0].dtype)
    outputs: list[Tensor] = []
    for t in reversed(range(len(inputs))) if reverse else range(len(inputs)):
        new = step(cell, projected[t], state)
        if live is not None:
            new = class_of_state(
                *(torch.where(live[t], after, before) for after, before in zip(new, state, strict=True))
            )
        state = new
        outputs.append(state[0] if live is None else torch.where(live[t], state[0], state[0].new_zeros(())))
    return torch.stack(outputs[::-1] if reverse else outputs), state


def _live(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """[time, batch, 1], whether the row has not ended."""
    return torch.arange(steps, device=device)[:, None, None] < lengths.to(device)[None, :, None]


class LayerCall(NamedTuple):
    """One layer's work, as a backend gets it."""

    cell: CellLike
    inputs: Tensor
    state: Any
    lengths: Tensor | None
    reverse: bool


def serves(call: LayerCall) -> str | None:  # noqa: ARG001
    """The reference serves every call."""
    return None
