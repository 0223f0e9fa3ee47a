"""What the units of a layer do: how open its gates are, which of them are stuck, how the state grows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ostinato.measures.linearised import Linearised

THRESHOLDS: dict[str, tuple[float, float]] = {
    "sigmoid": (0.1, 0.9),
    "tanh": (-0.95, 0.95),
    "relu": (0.0, float("inf")),
}
"""Activation → at most this is its low end, at least that its high one. There the slope is at most 36 % of sigmoid's
largest, 10 % of tanh's, and 0. Sigmoid's are those of Karpathy et al. 2016, section 4.2."""

IDLE = 0.01
"""Share of the layer's root mean square that the deviation of a unit falls below if it is idle."""

_VALUES: dict[str, Any] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
# a gate in the logarithm saturates where the gate itself does
_KINDS: dict[Any, str] = {
    torch.sigmoid: "sigmoid",
    Tensor.sigmoid: "sigmoid",
    functional.logsigmoid: "sigmoid",
    torch.tanh: "tanh",
    Tensor.tanh: "tanh",
    torch.relu: "relu",
    Tensor.relu: "relu",
    functional.relu: "relu",
}


class Units(NamedTuple):
    """Over all steps and rows that count."""

    activations: dict[str, str]
    """Gate → `sigmoid`, `tanh` or `relu`; a gate that meets none of them alone is left out."""
    gate_mean: dict[str, np.ndarray]
    """Gate → [hidden], mean after the activation."""
    saturation: dict[str, np.ndarray]
    """Gate → [2, hidden], the share of steps at the low and at the high end (see `THRESHOLDS`)."""
    dead: np.ndarray
    """bool [hidden]: 0 at every step."""
    idle: np.ndarray
    """bool [hidden]: a constant, or nearly (see `IDLE`), but not 0."""
    state_norm: dict[str, np.ndarray]
    """Part of the state → [time], ‖·‖₂ after each step of the layer's own time, mean over the rows that reach it."""


@torch.no_grad()
def units(steps: Linearised) -> Units:
    """How the units of a layer behave along its steps.

    Which function a gate goes through is seen in the cell's own equations as they run: the first sigmoid, tanh or relu
    of an argument in which the gate's pre-activation stands alone, with slope 1.

    >>> from ostinato.cells import GRUCell
    >>> from ostinato.measures.calls import watch
    >>> from ostinato.recurrent import Recurrent
    >>> layer = Recurrent(GRUCell(3, 5)).eval()
    >>> _ = layer.cell.bias_ih.data[5:10].fill_(9.0)  # z, which keeps the state
    >>> _, [stack] = watch(layer, lambda: layer(torch.randn(7, 2, 3))[0])
    >>> found = units(Linearised(stack.calls[0]))
    >>> found.activations, found.saturation["z"].tolist()
    ({'r': 'sigmoid', 'z': 'sigmoid', 'n': 'tanh'}, [[0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    """
    live = torch.arange(steps.steps).unsqueeze(1) < steps.lengths
    live = live.to(steps.states[0].device)
    kinds, means, stuck = {}, {}, {}
    for gate, (kind, argument) in _activated(steps).items():
        values, (low, high) = _VALUES[kind](argument)[live], THRESHOLDS[kind]
        kinds[gate], means[gate] = kind, values.mean(0).cpu().numpy()
        stuck[gate] = torch.stack([(values <= low).double().mean(0), (values >= high).double().mean(0)]).cpu().numpy()
    outputs = steps.states[0][live]
    dead = (outputs == 0).all(0)
    idle = (outputs.std(0, correction=0) < IDLE * outputs.square().mean().sqrt()) & ~dead
    counts = live.sum(1)
    norms = {
        part: ((values.norm(dim=-1) * live).sum(1) / counts)[counts > 0].cpu().numpy()
        for part, values in zip(steps.before._fields, steps.states, strict=True)
    }
    return Units(kinds, means, stuck, dead.cpu().numpy(), idle.cpu().numpy(), norms)


def _activated(steps: Linearised) -> dict[str, tuple[str, Tensor]]:
    """Gate → its function and that function's argument, [time, batch, hidden]; in the order of the gates."""
    seen: list[tuple[str, Tensor]] = []

    class Seeing(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in _KINDS and args:
                seen.append((_KINDS[func], args[0]))
            return func(*args, **(kwargs or {}))

    gates = steps.cell.gates
    with torch.enable_grad():
        x = steps.cell.Gates(*(part.detach().requires_grad_() for part in steps.x))
        with Seeing():
            if steps.cell.late:
                early = len(gates) - len(steps.cell.late)
                known = steps.cell.Gates(*steps.h[:early], *[None] * len(steps.cell.late))
                steps.cell.late_input(x, known, steps.before)
            steps.update(x=x)
        found: dict[str, tuple[str, Tensor]] = {}
        for kind, argument in seen:
            if not argument.requires_grad:
                continue
            slopes = torch.autograd.grad(argument.sum(), list(x), allow_unused=True, retain_graph=True)
            alone = [
                gate
                for gate, slope in zip(gates, slopes, strict=True)
                if slope is not None and bool((slope == 1).all())
            ]
            if len(alone) == 1:
                found.setdefault(alone[0], (kind, argument.detach()))
    return {gate: found[gate] for gate in gates if gate in found}
