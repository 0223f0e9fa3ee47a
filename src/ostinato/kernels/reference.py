"""The law: one GEMM, or convolution, for all inputs, then a loop of one and `update`. Autograd does the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.kernels.call import CellLike, LayerCall, LayerResult, Weights


class Product(NamedTuple):
    """One product of a step: W·h, normalised if there is a gain, + bias."""

    weight: Tensor
    bias: Tensor | None = None
    gain: Tensor | None = None


Normalise = Callable[[Tensor, Tensor, str], Tensor]
"""(values, gain, place) → normalised values; the place tells the statistics of batch normalisation apart."""


def layer_norm(values: Tensor, gain: Tensor, _place: str = "") -> Tensor:
    """(v − mean) / √(variance + 10⁻⁵) · gain over the last axis (Ba et al. 2016)."""
    return functional.layer_norm(values, gain.shape, gain, eps=1e-5)


def split_gates(cell: type[CellLike], preactivation: Tensor) -> Any:
    """[..., gates·hidden] → a named tuple of [..., hidden], one a gate."""
    return cell.Gates(*preactivation.chunk(len(cell.Gates._fields), dim=-1))


def convolve(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution of odd width that keeps the image's size: [..., height, width, in] → [..., height, width, out].

    Features stand last, as in a product; of the views that are taken here oneDNN makes no copies.

    Args:
        values: of any number of images.
        weight: [out, in, kernel, kernel].
        bias: [out].
    """
    images = values.reshape(-1, *values.shape[-3:]).permute(0, 3, 1, 2)
    made = functional.conv2d(images, weight, bias, padding=weight.shape[-1] // 2).permute(0, 2, 3, 1)
    return made.reshape(*values.shape[:-1], -1)


def multiply(product: Product, values: Tensor, place: str, normalise: Normalise = layer_norm) -> Tensor:
    """A product of values, [..., rows]: with a matrix, or by a convolution if the weight is one's."""
    apply = functional.linear if product.weight.dim() == 2 else convolve
    if product.gain is None:
        return apply(values, product.weight, product.bias)
    normal = normalise(apply(values, product.weight), product.gain, place)
    return normal if product.bias is None else normal + product.bias


def project(weights: Weights, inputs: Tensor, normalise: Normalise = layer_norm) -> Tensor:
    """W_ih·x + b_ih, [..., gates·hidden]."""
    return multiply(Product(weights.weight_ih, weights.bias_ih, weights.norm_ih), inputs, "ih", normalise)


def recurrent_products(cell: type[CellLike], weights: Weights) -> dict[str, Product]:
    """The products of a step by place: `hh` of the hidden state, `late` of the cell's `late_input`."""
    if weights.weight_hh is None:
        return {}
    parts = (weights.weight_hh, weights.bias_hh, weights.norm_hh)
    if not cell.late:
        return {"hh": Product(*parts)}
    gates = len(cell.Gates._fields)
    rows = [len(parts[0]) // gates * count for count in (gates - len(cell.late), len(cell.late))]
    early, late = zip(*((None, None) if part is None else part.split(rows) for part in parts), strict=True)
    # a cell whose gates are all late has no product of the hidden state itself
    return ({"hh": Product(*early)} if rows[0] else {}) | {"late": Product(*late)}


def step(
    cell: type[CellLike],
    weights: Weights,
    projected: Tensor,
    state: Any,
    mask: Tensor | None = None,
    normalise: Normalise = layer_norm,
    products: dict[str, Product] | None = None,
) -> Any:
    """One step from the projected input W_ih·x + b_ih, [batch, gates·hidden].

    Args:
        cell: its equations.
        weights: its parameters.
        projected: from `project`.
        state: before the step.
        mask: see `LayerCall.hidden_mask`.
        normalise: by what, where the weights have gains.
        products: from `recurrent_products`, for a loop that splits the weights once.
    """
    x = split_gates(cell, projected)
    h: list[Any] = []
    for place, product in (recurrent_products(cell, weights) if products is None else products).items():
        known = cell.Gates(*h, *[None] * (len(x) - len(h)))
        hidden = state[0] if place == "hh" else cell.late_input(x, known, state)
        values = multiply(product, hidden if mask is None else hidden * mask, place, normalise)
        h += values.to(projected.dtype).split(x[0].shape[-1], dim=-1)
    arguments = [x, cell.Gates(*h) if h else (), state]
    if weights.vectors:
        arguments.append(cell.Vectors(*weights.vectors))
    if weights.norm_state is None:
        state = cell.update(*arguments)
    else:
        gain, shift = weights.norm_state
        state = cell.update(*arguments, norm=lambda values: normalise(values, gain, "state") + shift)
    if weights.weight_hr is not None:
        state = state._replace(**{state._fields[0]: functional.linear(state[0], weights.weight_hr)})
    return state


def run(call: LayerCall) -> LayerResult:
    """All steps.

    A row's state stops at its length and its outputs beyond are zero; a reversed row starts at its own end.
    """
    cell, weights, inputs, state, kind = call.cell, call.weights, call.inputs, call.state, type(call.state)
    steps, carried = len(inputs), call.state[0].dtype
    rank = state[0].dim()
    live = None if call.lengths is None else widened(live_steps(call.lengths, steps, inputs.device), 1 + rank)
    if live is not None:  # padding may hold NaN, and 0 · NaN would come back through the weights' gradient
        inputs = torch.where(live, inputs, inputs.new_zeros(()))
    products, normalise = recurrent_products(cell, weights), layer_norm
    # unbind, whose gradient is put together once; that of an index would fill a tensor of all steps at each
    projected = () if call.batch_norm is not None else project(weights, inputs).to(carried).unbind()
    history: list[Any] = []
    for t in reversed(range(steps)) if call.reverse else range(steps):
        before = state
        if call.resets is not None:
            keep = ~widened(call.resets[t], rank)
            before = kind(*(torch.where(keep, part, part.new_zeros(())) for part in state))
        if call.batch_norm is None:
            x = projected[t]
        else:  # each step has statistics of its own
            normalise = call.batch_norm.at(len(history), None if live is None else live[t])
            x = project(weights, inputs[t], normalise).to(carried)
        new = step(cell, weights, x, before, call.hidden_mask, normalise, products)
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


def widened(mask: Tensor, rank: int) -> Tensor:
    """The same with axes of 1 at the end, so that it holds for all features, and places of an image."""
    return mask[(..., *[None] * (rank - mask.dim()))]


def live_steps(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """[time, batch, 1], whether the row has not ended."""
    return torch.arange(steps, device=device)[:, None, None] < lengths.to(device)[None, :, None]
