"""Back-propagation through time by the book: the gradient of one step's loss, term by term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.kernels.call import Weights
from ostinato.kernels.reference import project, step
from ostinato.recurrent import Recurrent


class Terms(NamedTuple):
    """∂L_t/∂W = Σ_k of what W did at step k, for each parameter W of a layer."""

    loss: float
    """L_t, nats."""
    by_step: dict[str, Tensor]
    """Parameter → [t + 1, *its shape], the terms for k = 0 … t."""
    jacobian_norm: np.ndarray
    """[t + 1], ‖∏_{j=k+1..t} ∂s_j/∂s_{j−1}‖₂ for each k; 1 for k = t."""

    def total(self, name: str) -> Tensor:
        """∂L_t/∂W, what autograd gives."""
        return self.by_step[name].sum(0)

    def norms(self, name: str) -> np.ndarray:
        """[t + 1], the Frobenius norm of each term: how each fades."""
        return self.by_step[name].flatten(1).norm(dim=1).cpu().numpy()


def bptt_terms(layer: Recurrent, inputs: Tensor, loss: Callable[[Tensor], Tensor], t: int | None = None) -> Terms:
    r"""The gradient of the loss at one step with respect to parameters, by the step at which each had its part.

        ∂L_t/∂W = Σ_{k ≤ t} (∂L_t/∂o_t) (∂o_t/∂s_t) (∏_{j=k+1..t} ∂s_j/∂s_{j−1}) (∂⁺s_k/∂W)

    with the Jacobians written out as matrices and multiplied in this order, and ∂⁺s_k/∂W the immediate derivative, in
    which s_{k−1} is a constant (Werbos 1990; Pascanu et al. 2013, eq. 3-5). Nothing here goes through time by itself:
    it is the reference's single step, differentiated at each step apart. Slow, for few units, and for one sequence;
    what training does in one sweep is the sum (see `tests/test_bptt.py`).

    Args:
        layer: of one direction, without zoneout and batch normalisation.
        inputs: one sequence, [time, input].
        loss: o_t = h_t, [hidden] → L_t, a scalar.
        t: the step; the last if None.

    Raises:
        ValueError: for another layer.

    >>> from ostinato.cells import RNNCell
    >>> layer = Recurrent(RNNCell(3, 5)).double()
    >>> inputs = torch.randn(8, 3).double()
    >>> found = bptt_terms(layer, inputs, lambda output: output.square().sum())
    >>> layer(inputs.unsqueeze(1))[0][-1].square().sum().backward()
    >>> torch.allclose(found.total("weight_hh"), layer.cell.weight_hh.grad), found.norms("weight_hh").shape
    (True, (8,))
    """
    if layer.reverse or layer.zoneout_rates or layer.batch_norm is not None:
        raise ValueError("term by term: expected a forward layer without zoneout and batch normalisation")
    t = len(inputs) - 1 if t is None else t
    if not 0 <= t < len(inputs):
        raise ValueError(f"t = {t}: expected a step of the {len(inputs)}")
    kind, cell = type(layer.initial_state(1)), type(layer.cell)
    weights = layer.weights()
    named = {name: part.detach() for name, part in weights._asdict().items() if isinstance(part, Tensor)}
    named |= {f"vector_{name}": part.detach() for name, part in zip(layer.cell.vectors, weights.vectors, strict=True)}

    def stepped(state: Tensor, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        """One step of the reference; states as one vector, [parts · hidden]."""
        vectors = tuple(parameters[f"vector_{name}"] for name in layer.cell.vectors)
        used = Weights(**{name: parameters.get(name) for name in Weights._fields if name != "vectors"}, vectors=vectors)  # pyright: ignore[reportArgumentType]
        before = kind(*(part.unsqueeze(0) for part in state.chunk(len(kind._fields))))
        return torch.cat(list(step(cell, used, project(used, x.unsqueeze(0)), before)), -1)[0]

    states = [torch.cat(list(layer.initial_state(1)), -1)[0].to(inputs.dtype)]
    for x in inputs[: t + 1]:
        states.append(stepped(states[-1], named, x).detach())
    output = states[-1][: layer.output_size].clone().requires_grad_()
    value = loss(output)
    # ∂L_t/∂s_t: the loss reads the first part of the state
    row = torch.zeros_like(states[-1])
    row[: layer.output_size] = torch.autograd.grad(value, output)[0]
    terms: dict[str, list[Tensor]] = {name: [] for name in named}
    product, norms = torch.eye(len(row), dtype=row.dtype, device=row.device), []
    by_state, by_weights = torch.func.jacrev(stepped, 0), _immediate(stepped)
    start = row
    for k in range(t, -1, -1):
        norms.append(float(torch.linalg.matrix_norm(product, 2)))
        carried = start @ product
        for name, term in by_weights(carried, states[k], named, inputs[k]).items():
            terms[name].append(term)
        product = product @ by_state(states[k], named, inputs[k])
    found = {name: torch.stack(parts[::-1]) for name, parts in terms.items()}
    return Terms(float(value.detach()), found, np.array(norms[::-1]))


def _immediate(stepped: Callable[..., Tensor]) -> Callable[..., Any]:
    """(row, state, parameters, x) → row · ∂⁺s_k/∂W by parameter."""

    def pulled(row: Tensor, state: Tensor, parameters: dict[str, Tensor], x: Tensor) -> Any:
        pull = torch.func.vjp(lambda each: stepped(state, each, x), parameters)[1]
        return pull(row)[0]

    return pulled
