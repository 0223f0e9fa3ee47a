"""What is measured of a network: one-step Jacobians, gradients by lag, spectra, units; each beside a known answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato import GatedCell, Recurrent
from ostinato.cells import CELLS
from ostinato.kernels.reference import project, step
from ostinato.measures.calls import watch
from ostinato.measures.linearised import Linearised
from tests.contract import ALL, random_state, randomise


def linearised(layer: Any, inputs: Tensor, **options: Any) -> Linearised:
    _, [stack] = watch(layer, lambda: layer(inputs, **options)[0])
    return Linearised(stack.calls[0])


def layer_of(kind: type[GatedCell], size: int = 3, hidden: int = 5, **options: Any) -> Recurrent:
    layer = Recurrent(kind(size, hidden), **options).double().eval()
    randomise(layer)
    return layer


def by_autograd(layer: Recurrent, inputs: Tensor, before: tuple[Tensor, ...]) -> Tensor:
    """∂s'/∂s of one step of one row, by differentiating the reference's step."""
    kind = type(layer.initial_state(1))

    def after(*state: Tensor) -> Tensor:
        state = kind(*(part.unsqueeze(0) for part in state))
        new = step(type(layer.cell), layer.weights(), project(layer.weights(), inputs.unsqueeze(0)), state)
        for rate, index in zip(layer.zoneout_rates or (), range(len(state)), strict=False):
            new = new._replace(**{state._fields[index]: torch.lerp(new[index], state[index], rate)})
        return torch.cat(list(new), -1)[0]

    return torch.cat(torch.func.jacrev(after, argnums=tuple(range(len(before))))(*before), -1)


@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"zoneout": 0.3}], ids=["plain", "norm", "zoneout"])
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_one_step_jacobians_are_those_of_autograd_for_every_cell(
    kind: type[GatedCell], options: dict[str, Any]
) -> None:
    torch.manual_seed(3)
    layer = layer_of(kind, **options)
    inputs, start = torch.randn(6, 2, 3).double(), random_state(layer, 2, torch.float64)
    found = linearised(layer, inputs, state=start)
    states = layer(inputs, start, every=True)[2]
    for t in (0, 4):
        before = [
            part[1].detach() if t == 0 else every[t - 1, 1].detach() for part, every in zip(start, states, strict=True)
        ]
        wanted = by_autograd(layer, inputs[t, 1], tuple(before))
        torch.testing.assert_close(found.matrices(t)[1], wanted, rtol=1e-9, atol=1e-11)
        covector = torch.randn(2, found.size).double()
        pulled = torch.cat(found.pull(t, covector.split(5, -1)).state, -1)
        torch.testing.assert_close(pulled[1], covector[1] @ wanted, rtol=1e-9, atol=1e-11)


def test_batch_normalised_steps_have_the_statistics_of_their_own() -> None:
    torch.manual_seed(1)
    layer = Recurrent(CELLS["lstm"](3, 5), reverse=True, batch_norm=3).double()
    randomise(layer)
    layer(torch.randn(6, 4, 3).double())  # moves the statistics
    layer.eval()
    inputs, lengths = torch.randn(6, 2, 3).double(), torch.tensor([6, 4])
    found = linearised(layer, inputs, lengths=lengths)
    outputs = layer(inputs, lengths=lengths)[0]
    torch.testing.assert_close(found.states[0][0, 1], outputs[3, 1].detach())
    # a nudge of the state before a step in the middle moves the state after it as J says
    row, nudge = 1, 1e-6 * torch.randn(1, 10).double()
    state = layer.initial_state(2)
    start = type(state)(*(found.states[i][1] for i in range(2)))
    moved = type(state)(*(s.clone() for s in start))
    for part, change in zip(moved, nudge.split(5, -1), strict=True):
        part[row] += change[0]
    at = 2  # own step of the row; the third from its end
    product = found.matrices(at)[row] @ nudge[0]
    kind, where = type(layer.cell), layer.batch_norm.at(6 - 4 + at)

    def after(s: Any) -> Tensor:
        weights = layer.weights()
        x = project(weights, inputs[3 - at], where)
        return torch.cat(list(step(kind, weights, x, s, None, where)), -1)[row]

    torch.testing.assert_close(after(moved) - after(start), product, rtol=1e-4, atol=1e-11)
