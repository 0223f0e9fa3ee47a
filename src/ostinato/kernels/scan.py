"""All steps at once, for cells that are linear in their state: h' = a ⊙ h + b, by an associative scan over time.

Two steps (a₁, b₁), (a₂, b₂) in a row are one step (a₂·a₁, a₂·b₁ + b₂), so neighbours are joined, half as many steps are
scanned, and the results are spread again: 2·log₂(time) passes, each over all rows and units (Blelloch 1990; Martin &
Cundy 2018).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.kernels.call import LayerCall, LayerResult
from ostinato.kernels.reference import live_steps, project, split_gates


def serves(call: LayerCall) -> str | None:
    """None, or why the steps cannot run at once."""
    if coefficients(call.cell) is None:
        return f"{call.cell.__name__} does not state its step as h' = a·h + b"
    if call.low_memory and torch.is_grad_enabled():
        return "the scan keeps what every step made"
    if call.batch_norm is not None:
        return "the scan has no batch normalisation"
    if call.weights.weight_hr is not None:
        return "the scan has no projection of the hidden state"
    return None


def coefficients(cell_type: Any) -> Any:
    """A cell's function of that name, if its `update` is made of it and not written anew by a derived class."""
    for parent in cell_type.__mro__:
        if "update" in vars(parent):
            return cell_type.coefficients if "coefficients" in vars(parent) else None
    return None


def run(call: LayerCall) -> LayerResult:
    """All steps; see `ostinato.kernels.reference.run` for what they give."""
    cell, weights, inputs, (initial,) = call.cell, call.weights, call.inputs, call.state
    live = None if call.lengths is None else live_steps(call.lengths, len(inputs), inputs.device)
    if live is not None:  # as in the reference: NaN in the padding must not reach a gradient
        inputs = torch.where(live, inputs, inputs.new_zeros(()))
    x = split_gates(cell, project(weights, inputs).to(initial.dtype))
    a, b = coefficients(cell)(x, *((cell.Vectors(*weights.vectors),) if weights.vectors else ()))
    if call.zoneout is not None and (stay := call.zoneout[0]) is not None:
        a, b = a + stay * (1 - a), b * (1 - stay)
    if call.resets is not None:
        a = torch.where(call.resets.unsqueeze(2), a.new_zeros(()), a)
    if live is not None:
        a, b = torch.where(live, a, a.new_ones(())), torch.where(live, b, b.new_zeros(()))
    if call.reverse:
        a, b = a.flip(0), b.flip(0)
    hidden = scan(a, torch.cat([(a[0] * initial + b[0]).unsqueeze(0), b[1:]]))
    kind, final = type(call.state), hidden[-1]
    if call.reverse:
        hidden = hidden.flip(0)
    if live is not None:
        hidden = torch.where(live, hidden, hidden.new_zeros(()))
    return LayerResult(hidden, kind(final), kind(hidden) if call.every else None)


def scan(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t ⊙ h_{t−1} + b_t along the first axis, h_{−1} = 0; differentiable to any order.

    >>> scan(torch.full((4,), 0.5), torch.ones(4))
    tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    return _Scan.apply(a, b)


def _scan(a: Tensor, b: Tensor) -> Tensor:
    steps = len(b)
    if steps == 1:
        return b
    pairs = steps // 2 * 2
    early_a, late_a = a[0:pairs:2], a[1:pairs:2]
    odd = _scan(late_a * early_a, torch.addcmul(b[1:pairs:2], late_a, b[0:pairs:2]))
    result = torch.empty_like(b)
    result[0], result[1::2] = b[0], odd
    result[2::2] = torch.addcmul(b[2::2], a[2::2], odd[: (steps - 1) // 2])
    return result


class _Scan(torch.autograd.Function):
    """The gradient by b is the same scan, backwards: d_t = a_{t+1} ⊙ d_{t+1} + g_t, where g is the gradient by h.

    So a and h are kept, where autograd would keep every level.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        """See `scan`."""
        return _scan(a, b) if len(b) > 1 else b.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep a and h."""
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """By a and b."""
        a, h = ctx.saved_tensors
        after = torch.cat([a[1:], torch.zeros_like(a[:1])])
        by_b = scan(after.flip(0), gradients[0].flip(0)).flip(0)
        return by_b * torch.cat([torch.zeros_like(h[:1]), h[:-1]]), by_b
