"""What is measured of a network: one-step Jacobians, gradients by lag, spectra, units; each beside a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ostinato import Bidirectional, Deep, GatedCell, HiddenState, Recurrent
from ostinato.cells import CELLS
from ostinato.kernels.reference import project, step
from ostinato.measures.calls import watch
from ostinato.measures.gradients import gradient_by_lag, half_life
from ostinato.measures.linearised import Linearised
from ostinato.measures.spectra import eigenvalues, log_singular_values, lyapunov_exponents, mean_jacobian
from ostinato.measures.units import units
from ostinato.measures.variance import explained_variance, seen_before, without_trend
from tests.contract import ALL, network, random_state, randomise


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


def nudged(net: Any, inputs: Tensor, nudges: dict[str, Tensor], prefix: str = "") -> Tensor:
    """The outputs of layers run a step at a time by the reference, with something added to every state after a step."""
    if isinstance(net, Deep):
        for index, layer in enumerate(net.layers):
            inputs = nudged(layer, inputs, nudges, f"layers.{index}")
        return inputs
    if isinstance(net, Bidirectional):
        ways = (("forward_layer", net.forward_layer), ("backward_layer", net.backward_layer))
        return torch.cat([nudged(layer, inputs, nudges, f"{prefix}.{name}") for name, layer in ways], -1)
    state, found = net.initial_state(inputs.shape[1]), []
    for t in reversed(range(len(inputs))) if net.reverse else range(len(inputs)):
        state = net.cell(inputs[t], state)
        parts = nudges[prefix][t].chunk(len(state), -1)
        state = type(state)(*(part + more for part, more in zip(state, parts, strict=True)))
        found.append(state[0])
    return torch.stack(found[::-1] if net.reverse else found)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("name", ["lstm", "reset-first-gru"])
def test_the_gradient_by_lag_is_that_of_autograd_through_all_layers(name: str, bidirectional: bool) -> None:
    torch.manual_seed(4)
    net = network(CELLS[name], [3, 5, 4, 6], bidirectional, torch.float64)
    inputs, read = torch.randn(8, 2, 3).double(), torch.randn(8, 2, 6 * (1 + bidirectional)).double()
    found = gradient_by_lag(net, lambda: torch.sum((net(inputs)[0] * read).square()))
    assert [each.name for each in found][:2] == (
        ["layer 0, forward", "layer 0, backward"] if bidirectional else ["layer 0", "layer 1"]
    )
    for each in found:
        layer, label = each.linearised.call.layer, each.linearised.call.name
        sizes = {key: m.output_size * len(m.initial_state(1)) for key, m in net.named_modules() if type(m) is Recurrent}
        nudges = {key: torch.zeros(8, 2, size).double().requires_grad_() for key, size in sizes.items()}
        at = 0 if layer.reverse else 7  # its own last step
        outputs = nudged(net, inputs, nudges)
        slopes = torch.autograd.grad((outputs[at] * read[at]).square().sum(), nudges[label])[0]
        norms = slopes[..., : layer.output_size].norm(dim=-1).mean(1)
        torch.testing.assert_close(
            torch.from_numpy(each.by_lag), norms if layer.reverse else norms.flip(0), rtol=1e-9, atol=1e-13
        )


def test_ragged_rows_are_followed_from_their_own_ends_and_padding_may_hold_anything() -> None:
    torch.manual_seed(6)
    layer, inputs = layer_of(CELLS["gru"]), torch.randn(9, 2, 3).double()
    padded = inputs.clone()
    padded[6:, 1] = torch.nan
    [both] = gradient_by_lag(layer, lambda: torch.sum(layer(padded, lengths=torch.tensor([9, 6]))[1].hidden))

    def alone(part: Tensor) -> np.ndarray:
        return gradient_by_lag(layer, lambda: torch.sum(layer(part)[0][-1]))[0].by_lag

    first, second = alone(inputs[:, :1]), alone(inputs[:6, 1:])
    np.testing.assert_allclose(both.by_lag[:6], (first[:6] + second) / 2, rtol=1e-9)
    np.testing.assert_allclose(both.by_lag[6:], first[6:], rtol=1e-9)


def test_measuring_leaves_the_network_as_it_was() -> None:
    layer = layer_of(CELLS["lstm"], locked_dropout=0.5).train()
    before = torch.random.get_rng_state()
    gradient_by_lag(layer, lambda: torch.sum(layer(torch.ones(5, 2, 3).double())[0]))
    assert layer.training and layer.cell.training and all(part.grad is None for part in layer.parameters())
    assert not layer._forward_hooks and torch.equal(before, torch.random.get_rng_state())


def test_the_split_of_a_vanilla_rnn_adds_up_and_gates_have_a_way_past_the_matrices() -> None:
    torch.manual_seed(0)
    layer, inputs = layer_of(CELLS["rnn"], hidden=8), torch.randn(40, 4, 3).double()
    [found] = gradient_by_lag(layer, lambda: torch.sum(layer(inputs)[0][-1]))
    assert found.derivative_part < 0 and np.isnan(found.direct_part)
    assert found.derivative_part + found.weight_part == pytest.approx(found.growth, abs=1e-9)
    open_gates = Recurrent(CELLS["lstm"](3, 8, forget_bias=20.0)).double()
    [kept] = gradient_by_lag(open_gates, lambda: torch.sum(open_gates(inputs)[0][-1]))
    assert kept.direct_part > -0.2  # f ⊙ c with f = 1: the cell's share of the gradient stays
    assert half_life(kept.by_part["cell"]).half_life_steps > 30 > half_life(found.by_lag).half_life_steps


class Linear(GatedCell):
    """h' = x + W h: its Jacobian is W."""

    gates, State = ("h",), HiddenState

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        return HiddenState(x.h + h.h)


def linear(matrix: Tensor, steps: int) -> Linearised:
    layer = Recurrent(Linear(1, len(matrix))).double().eval()
    layer.cell.weight_hh.data.copy_(matrix)
    return linearised(layer, torch.zeros(steps, 1, 1).double())


def test_lyapunov_exponents_of_a_linear_network_are_the_logarithms_of_its_eigenvalues() -> None:
    torch.manual_seed(2)
    basis = torch.randn(6, 6).double()
    moduli = torch.tensor([0.95, 0.8, 0.6, 0.4, 0.3, 0.2], dtype=torch.float64)
    steps = linear(basis @ moduli.diag() @ torch.linalg.inv(basis), 600)
    np.testing.assert_allclose(lyapunov_exponents(steps, 3), moduli[:3].log(), atol=0.01)
    np.testing.assert_allclose(abs(eigenvalues(mean_jacobian(steps))), moduli, rtol=1e-8)
    orthogonal = torch.linalg.qr(basis).Q
    np.testing.assert_allclose(lyapunov_exponents(linear(orthogonal, 300), 4), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "lstm", "mgu", "rg-lru"])
def test_singular_values_of_products_are_those_of_the_product_formed(name: str) -> None:
    torch.manual_seed(7)
    layer = Recurrent(CELLS[name](3, 12)).double().eval()
    steps = linearised(layer, torch.randn(30, 2, 3).double())
    lags = [1, 2, 5, 30]
    wanted = []
    for lag in lags:
        product = torch.eye(steps.size).double().expand(2, -1, -1)
        for t in range(30 - lag, 30):
            product = steps.matrices(t) @ product
        wanted.append(torch.linalg.svdvals(product)[:, :3].log().mean(0))
    np.testing.assert_allclose(log_singular_values(steps, lags, 3), torch.stack(wanted), atol=5e-3)


def test_singular_values_far_beyond_a_float_are_found() -> None:
    steps = linear(torch.diag(torch.tensor([1e-3, 1e-5, 1e-6], dtype=torch.float64)), 400)
    found = log_singular_values(steps, [400], 3)[0]
    np.testing.assert_allclose(found, 400 * np.log([1e-3, 1e-5, 1e-6]), rtol=1e-9)


@pytest.mark.parametrize("name", list(CELLS))
def test_every_cell_is_measured_over_long_lags(name: str) -> None:
    torch.manual_seed(1)
    net = Deep([Recurrent(CELLS[name](4, 16)), Recurrent(CELLS[name](16, 16))])
    inputs = torch.randn(400, 2, 4)
    layers = gradient_by_lag(net, lambda: torch.sum(net(inputs)[0][-1]))
    for layer in layers:
        steps = layer.linearised
        found = units(steps)
        assert layer.by_lag.shape == (400,) and (layer.by_lag >= 0).all() and layer.by_lag[0] > 0
        assert set(found.saturation) == set(found.activations) <= set(steps.cell.gates) and found.activations
        assert all(((part >= 0) & (part <= 1)).all() for part in found.saturation.values())
        assert found.state_norm["hidden"].shape == (400,) and found.dead.shape == (16,)
        # the largest singular value bounds how the gradient of the whole state grows over the same steps
        first, *_, last = lyapunov_exponents(steps, 4)
        assert first >= last and not np.isnan(first)


def test_stuck_and_dead_and_idle_units_are_told() -> None:
    torch.manual_seed(0)
    layer = Recurrent(CELLS["relu-rnn"](3, 4)).eval()
    layer.cell.bias_ih.data.copy_(torch.tensor([-1e3, 0.0, 1.0, 1.0]))  # the first never opens
    layer.cell.weight_ih.data[3] = layer.cell.weight_hh.data[3] = 0  # the last is a constant
    found = units(linearised(layer, torch.randn(50, 4, 3)))
    assert found.dead.tolist() == [True, False, False, False] and found.idle.tolist() == [False, False, False, True]
    assert found.saturation["h"][0, 0] == 1.0 and found.saturation["h"][0, 3] == 0.0
    lstm = Recurrent(CELLS["lstm"](3, 4, forget_bias=30.0)).eval()
    lstm.cell.weight_ih.data[4:8] = lstm.cell.weight_hh.data[4:8] = 0
    found = units(linearised(lstm, torch.randn(50, 4, 3)))
    assert (found.saturation["f"] == [[0.0] * 4, [1.0] * 4]).all() and found.gate_mean["f"] == pytest.approx(1.0)
    assert found.state_norm["cell"][-1] > 1.5 * found.state_norm["cell"][4]  # nothing is forgotten


def test_batches_that_come_again_and_steps_too_large_are_told_apart() -> None:
    draw = np.random.default_rng(1)
    level = draw.normal(size=50)
    loss = np.tile(level, 20) + 0.3 * draw.normal(size=1000) + np.linspace(3, 1, 1000)
    again = seen_before(without_trend(loss), 50)
    size = draw.normal(size=1000)
    found = explained_variance(loss, {"step size": size, "batch composition": again})
    assert found["batch composition"] > 0.75 and found["step size"] < 0.02
    found = explained_variance(loss + 3 * size, {"step size": size, "batch composition": again})
    assert found["step size"] > 0.75 and sum(found.values()) == pytest.approx(1, abs=1e-6)
    assert explained_variance(loss[:50], {"step size": size[:50]}) == {}


def test_a_state_beyond_all_floats_is_told_and_not_multiplied() -> None:
    layer = Recurrent(CELLS["relu-rnn"](3, 4))
    layer.cell.weight_hh.data.copy_(3 * torch.eye(4))
    inputs = torch.ones(120, 2, 3)
    layer.cell.weight_ih.data.abs_()
    [found] = gradient_by_lag(layer, lambda: torch.sum(layer(inputs)[0][-1]))
    assert not found.linearised.finite and not np.isfinite(units(found.linearised).state_norm["hidden"][-1])
    [short] = gradient_by_lag(layer, lambda: torch.sum(layer(inputs[:60])[0][-1]))
    assert (
        short.linearised.finite and short.growth == pytest.approx(np.log2(3)) and np.isinf(half_life(short.by_lag)[0])
    )
    [unread] = gradient_by_lag(layer, lambda: torch.sum(0 * layer(inputs[:9])[0]))
    assert unread.by_lag.tolist() == [0.0] and np.isnan(half_life(unread.by_lag)[0])
