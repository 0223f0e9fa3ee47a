"""Each cell against its paper's formulas, written down again in NumPy, a row and a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ostinato import GatedCell, Recurrent, backend
from ostinato.cells import CELLS, IRNNCell, LSTMCell, RGLRUCell, SLSTMCell
from tests.contract import random_state, randomise

Array = np.ndarray[Any, Any]
State = tuple[Array, ...]


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def norm(v: Array) -> Array:
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


class Parameters:
    """The blocks of a cell's weights by gate, and its vectors by name."""

    def __init__(self, cell: GatedCell) -> None:
        blocks = {name: part.detach().numpy() for name, part in cell.named_parameters()}
        size = cell.hidden_size
        for short, name in (("w", "weight_ih"), ("u", "weight_hh"), ("b", "bias_ih"), ("c", "bias_hh")):
            part = blocks.pop(name, None)
            split = {} if part is None else dict(zip(cell.gates, part.reshape(-1, size, *part.shape[1:]), strict=True))
            setattr(self, short, split)
        self.v = {name.removeprefix("vector_"): part for name, part in blocks.items()}

    w: dict[str, Array]
    u: dict[str, Array]
    b: dict[str, Array]
    c: dict[str, Array]

    def x(self, gate: str, x: Array) -> Array:
        return self.w[gate] @ x + self.b[gate]

    def a(self, gate: str, x: Array, h: Array) -> Array:
        """The whole pre-activation."""
        return self.x(gate, x) + self.u[gate] @ h + self.c[gate]


def relu_rnn(p: Parameters, x: Array, h: Array) -> State:
    return (np.maximum(0, p.a("h", x, h)),)


def sigmoid_rnn(p: Parameters, x: Array, h: Array) -> State:
    return (sigmoid(p.a("h", x, h)),)


def indrnn(p: Parameters, x: Array, h: Array) -> State:
    return (np.maximum(0, p.x("h", x) + p.v["u"] * h),)


def reset_first_gru(p: Parameters, x: Array, h: Array) -> State:
    r, z = sigmoid(p.a("r", x, h)), sigmoid(p.a("z", x, h))
    candidate = np.tanh(p.x("n", x) + p.u["n"] @ (r * h) + p.c["n"])
    return (z * h + (1 - z) * candidate,)


def mgu(p: Parameters, x: Array, h: Array) -> State:
    f = sigmoid(p.a("f", x, h))
    candidate = np.tanh(p.x("n", x) + p.u["n"] @ (f * h) + p.c["n"])
    return ((1 - f) * h + f * candidate,)


def peephole_lstm(p: Parameters, x: Array, h: Array, c: Array) -> State:
    i = sigmoid(p.a("i", x, h) + p.v["i"] * c)
    f = sigmoid(p.a("f", x, h) + p.v["f"] * c)
    new = f * c + i * np.tanh(p.a("g", x, h))
    return sigmoid(p.a("o", x, h) + p.v["o"] * new) * np.tanh(new), new


def slstm(p: Parameters, x: Array, h: Array, c: Array, n: Array, m: Array) -> State:
    """Equations 8 to 14, with no stabiliser: what is kept is in units of e^m."""
    c, n = c * np.exp(m), n * np.exp(m)
    i, f = np.exp(p.a("i", x, h)), sigmoid(p.a("f", x, h))
    c, n = f * c + i * np.tanh(p.a("z", x, h)), f * n + i
    return sigmoid(p.a("o", x, h)) * c / n, c, n, np.zeros_like(m)


def min_gru(p: Parameters, x: Array, h: Array) -> State:
    z = sigmoid(p.x("z", x))
    return ((1 - z) * h + z * p.x("n", x),)


def min_lstm(p: Parameters, x: Array, h: Array) -> State:
    i, f = sigmoid(p.x("i", x)), sigmoid(p.x("f", x))
    return (f / (f + i) * h + i / (f + i) * p.x("n", x),)


def rg_lru(p: Parameters, x: Array, h: Array) -> State:
    r, i = sigmoid(p.x("r", x)), sigmoid(p.x("i", x))
    a = sigmoid(p.v["decay"]) ** (8 * r)
    return (a * h + np.sqrt(1 - a**2) * (i * p.x("v", x)),)


EQUATIONS: dict[str, Callable[..., State]] = {
    "sigmoid-rnn": sigmoid_rnn, "irnn": relu_rnn, "indrnn": indrnn, "reset-first-gru": reset_first_gru, "mgu": mgu,
    "peephole-lstm": peephole_lstm, "slstm": slstm, "min-gru": min_gru, "min-lstm": min_lstm, "rg-lru": rg_lru,
}  # fmt: skip


def test_every_cell_is_checked() -> None:
    """`test_cells.py` holds those that PyTorch has against `torch.nn`."""
    assert set(EQUATIONS) == {name for name, kind in CELLS.items() if "aten" not in vars(kind)}


@pytest.mark.parametrize("zero", [False, True], ids=["any state", "zeros"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_cell_is_its_papers_formula(name: str, zero: bool) -> None:
    cell = CELLS[name](3, 4).double()
    randomise(cell)
    inputs = torch.randn(5, 2, 3, dtype=torch.float64)
    state = cell.initial_state(2) if zero else random_state(cell, 2, torch.float64)
    with torch.no_grad():
        outputs, final = Recurrent(cell)(inputs, state)
    p = Parameters(cell)
    for row in range(2):
        expected = tuple(part[row].detach().numpy() for part in state)
        for t in range(5):
            expected = EQUATIONS[name](p, inputs[t, row].numpy(), *expected)
            np.testing.assert_allclose(outputs[t, row].numpy(), expected[0], rtol=0, atol=1e-13)
        found = [part[row].numpy() for part in final]
        if name == "slstm":
            found = [found[0], found[1] * np.exp(found[3]), found[2] * np.exp(found[3]), 0 * found[3]]
        for part, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
def test_extreme_inputs_give_finite_gradients(name: str) -> None:
    """Saturated gates must not put 0 / 0 or 0 · ∞ into a training."""
    cell = CELLS[name](3, 4)
    for size in (1e2, 1e4):
        outputs, final = Recurrent(cell)(torch.randn(6, 5, 3) * size)
        gradients = torch.autograd.grad(outputs.sum() + sum(part.sum() for part in final), list(cell.parameters()))
        assert all(part.isfinite().all() for part in (outputs, *final, *gradients))


def test_slstm_does_not_depend_on_its_stabiliser() -> None:
    cell = SLSTMCell(3, 4).double()
    randomise(cell)
    inputs, state = torch.randn(5, 2, 3, dtype=torch.float64), random_state(cell, 2, torch.float64)
    shifted = state._replace(
        cell=state.cell * 2.0, normaliser=state.normaliser * 2.0, stabiliser=state.stabiliser - np.log(2.0)
    )
    torch.testing.assert_close(Recurrent(cell)(inputs, shifted)[0], Recurrent(cell)(inputs, state)[0])
    # a first input of any size: alone it is all there is, and h' = o ⊙ tanh(z)
    with torch.no_grad():
        assert cell.bias_ih is not None
        cell.bias_ih.chunk(4)[0].fill_(-1000.0)
    alone = Recurrent(cell)(inputs[:1])[0][0]
    p = Parameters(cell)
    x = inputs[0, 0].numpy()
    wanted = sigmoid(p.a("o", x, np.zeros(4))) * np.tanh(p.a("z", x, np.zeros(4)))
    np.testing.assert_allclose(alone[0].detach().numpy(), wanted, atol=1e-13)


def test_layer_norm_is_the_papers_formula() -> None:
    """Ba et al. 2016, equations 20 to 22."""
    layer = Recurrent(LSTMCell(3, 4), layer_norm=True).double()
    randomise(layer)
    cell, inputs = layer.cell, torch.randn(5, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = layer(inputs)
    w, u, b, d = (part.numpy() for part in cell.state_dict().values())
    gain_x, gain_h, (gain_c, shift_c) = (
        getattr(layer, name).detach().numpy() for name in ("norm_ih", "norm_hh", "norm_state")
    )
    h = c = np.zeros(4)
    for t in range(5):
        gates = norm(w @ inputs[t, 0].numpy()) * gain_x + b + norm(u @ h) * gain_h + d
        i, f, g, o = gates.reshape(4, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(norm(c) * gain_c + shift_c)
        np.testing.assert_allclose(outputs[t, 0].numpy(), h, atol=1e-13)


def test_layer_norm_of_two_products() -> None:
    """A product that waits for a gate is normalised by itself."""
    layer = Recurrent(CELLS["reset-first-gru"](3, 4), layer_norm=True).double()
    randomise(layer)
    inputs, p = torch.randn(5, 1, 3, dtype=torch.float64), Parameters(layer.cell)
    with torch.no_grad():
        outputs, _ = layer(inputs)
    gain_x, gain_h = (getattr(layer, name).detach().numpy() for name in ("norm_ih", "norm_hh"))
    w, b = np.concatenate([p.w[gate] for gate in "rzn"]), np.concatenate([p.b[gate] for gate in "rzn"])
    early, h = np.concatenate([p.u["r"], p.u["z"]]), np.zeros(4)
    for t in range(5):
        x = (norm(w @ inputs[t, 0].numpy()) * gain_x + b).reshape(3, 4)
        r, z = sigmoid(x[:2] + (norm(early @ h) * gain_h[:8]).reshape(2, 4) + np.stack([p.c["r"], p.c["z"]]))
        n = np.tanh(x[2] + norm(p.u["n"] @ (r * h)) * gain_h[8:] + p.c["n"])
        h = (1 - z) * n + z * h
        np.testing.assert_allclose(outputs[t, 0].numpy(), h, atol=1e-13)


def test_first_values_of_cells() -> None:
    irnn = IRNNCell(3, 5)
    assert irnn.weight_hh is not None
    assert torch.equal(irnn.weight_hh, torch.eye(5))
    assert not torch.equal(IRNNCell(3, 5, recurrent_init="orthogonal").state_dict()["weight_hh"], torch.eye(5))
    start = torch.sigmoid(RGLRUCell(3, 1000).state_dict()["vector_decay"].double()) ** 8
    assert 0.9 <= start.min() < 0.901
    assert 0.998 < start.max() <= 0.999
    u = CELLS["indrnn"](3, 1000).state_dict()["vector_u"]
    assert 0 <= u.min() < 0.01 < 0.99 < u.max() <= 1
    peephole, plain = CELLS["peephole-lstm"](3, 5), LSTMCell(3, 5)
    plain.load_state_dict({name: part for name, part in peephole.state_dict().items() if "vector" not in name})
    inputs = torch.randn(4, 2, 3)
    with backend("reference"):
        torch.testing.assert_close(Recurrent(peephole)(inputs)[0], Recurrent(plain)(inputs)[0])


def test_late_gates_are_the_last() -> None:
    with pytest.raises(TypeError, match=r"late = \('r',\) must be the last of gates = \('r', 'n'\)"):

        class Wrong(GatedCell):
            gates, late = ("r", "n"), ("r",)
