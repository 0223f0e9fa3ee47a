"""The contract of cells: every cell that there is, on every backend that serves it, in every shape."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import ostinato.cells
from ostinato import Deep, GatedCell, Recurrent, backend
from ostinato.cells import CELLS, HiddenState
from ostinato.errors import BackendUnavailable
from ostinato.initialisers import INITIALISERS
from ostinato.kernels.aten import fused_name
from ostinato.kernels.cell_kernels import native_module, why_no_kernel
from ostinato.kernels.reference import live_steps
from ostinato.kernels.scan import coefficients
from ostinato.networks import flatten_state, map_state
from tests.contract import (
    ALL,
    KERNELS,
    TOLERANCE,
    check_call,
    close,
    derive,
    leaves,
    network,
    random_call,
    random_state,
    randomise,
    run_everywhere,
)

PEERS = {"rnn_tanh": (nn.RNN, {"nonlinearity": "tanh"}), "rnn_relu": (nn.RNN, {"nonlinearity": "relu"})}
PEERS |= {"gru": (nn.GRU, {}), "lstm": (nn.LSTM, {})}

SHAPES = [(1, 1, 1, 1), (7, 1, 3, 5), (1, 7, 2, 17), (5, 3, 1, 1), (6, 5, 7, 33)]
"""Time, batch, input, hidden."""
OPTIONS = ["ragged", "reverse", "resets", "zoneout", "mask", "norm", "every", "low_memory"]
PRESETS: list[dict[str, bool]] = [
    {},
    {"bias": False, "low_memory": True},
    {"every": True, "reverse": True},
    {"ragged": True, "resets": True, "every": True},
    {"ragged": True, "reverse": True},
    {"norm": True, "mask": True},
    {"norm": True, "ragged": True, "reverse": True},
    {"zoneout": True, "resets": True},
    dict.fromkeys(OPTIONS, True),
    dict.fromkeys([option for option in OPTIONS if option != "mask"], True),
]
"""The native loop has no mask: what it does of the rest is seen where there is none."""
TWICE = ["reference", "scan", "native"]
"""The backends that can be differentiated twice."""


def test_every_cell_has_a_name() -> None:
    assert set(CELLS.values()) == set(ALL)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ALL)
def test_backends_agree(kind: type[GatedCell], dtype: torch.dtype) -> None:
    """Outputs, states and every gradient of one layer, with each option and all at once."""
    for shape in SHAPES:
        for options in PRESETS:
            served = check_call(random_call(kind, shape, dtype, **options))
            assert "native" in served or "mask" in options or native_module() is None or why_no_kernel(kind)
            assert "scan" in served or not coefficients(kind) or "low_memory" in options
            assert "aten" in served or not fused_name(kind) or set(options) - {"bias"}


@pytest.mark.parametrize(
    "options", [[], ["ragged", "reverse", "low_memory"], ["zoneout", "norm", "low_memory"]], ids=str
)
@pytest.mark.parametrize("kind", ALL)
def test_backends_agree_over_many_steps(kind: type[GatedCell], options: list[str]) -> None:
    """So many that kernels take them in pieces: projections, gradients of weights, what low_memory keeps."""
    call = random_call(kind, (331, 3, 2, 9), torch.float64, **dict.fromkeys(options, True))
    with torch.no_grad():  # else small differences grow from step to step
        for part in (call.weights.weight_hh, *call.weights.vectors):
            if part is not None:
                part.mul_(0.3)
    check_call(call)


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(ALL),
    shape=st.tuples(*[st.integers(1, 9)] * 4),
    options=st.sets(st.sampled_from(OPTIONS)),
    bias=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**31),
)
def test_backends_agree_in_any_call(
    kind: type[GatedCell], shape: tuple[int, ...], options: set[str], bias: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    check_call(random_call(kind, shape, dtype, bias=bias, **dict.fromkeys(options, True)))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_backends_agree_in_depth(kind: type[GatedCell], bidirectional: bool) -> None:
    """Three layers, ragged rows, resets, non-zero states."""
    for ragged in (False, True):
        net = network(kind, [5, 7, 7, 7], bidirectional, torch.float64)
        state, resets = random_state(net, 3, torch.float64), torch.rand(9, 3) < 0.2 if ragged else None
        lengths = torch.tensor([9, 4, 1]) if ragged else None
        found = run_everywhere(net, torch.randn(9, 3, 5, dtype=torch.float64), state, lengths, resets)
        for name, (results, gradients) in found.items():
            close(results, found["reference"][0], torch.float64, name)
            close(gradients, found["reference"][1], torch.float64, f"{name}, gradient")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in ALL if "aten" in vars(kind)])
def test_agrees_with_torch_nn(kind: type[GatedCell], bidirectional: bool, dtype: torch.dtype) -> None:
    """Three layers, odd sizes, non-zero states: outputs, states and every gradient."""
    peer_class, options = PEERS[str(fused_name(kind))]
    peer = peer_class(5, 7, num_layers=3, bidirectional=bidirectional, **options).to(dtype)
    randomise(peer)
    ours = network(kind, [5, 7, 7, 7], bidirectional, dtype)
    cells = [module for module in ours.modules() if isinstance(module, GatedCell)]
    names = [f"{layer}{way}" for layer in range(3) for way in (("", "_reverse") if bidirectional else ("",))]
    with torch.no_grad():
        for cell, name in zip(cells, names, strict=True):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, part).copy_(getattr(peer, f"{part}_l{name}"))
    inputs = torch.randn(9, 3, 5, dtype=dtype)
    state = random_state(ours, 3, dtype)
    # torch.nn: one tensor for each part of the state, [layers·directions, batch, hidden]
    by_part = list(
        zip(*[flatten_state(state)[i :: len(kind.State._fields)] for i in range(len(kind.State._fields))], strict=True)
    )
    stacked = [
        torch.stack([row[i] for row in by_part]).detach().requires_grad_() for i in range(len(kind.State._fields))
    ]
    theirs_in = inputs.clone().requires_grad_()
    outputs, final = peer(theirs_in, tuple(stacked) if len(stacked) > 1 else stacked[0])
    final = list(final) if isinstance(final, tuple) else [final]
    flat_final = [final[i][row] for row in range(len(by_part)) for i in range(len(final))]
    weights = [
        getattr(peer, f"{part}_l{name}") for name in names for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    by_input, *rest = derive([outputs, *flat_final], [theirs_in, *stacked, *weights])
    by_state, by_weights = rest[: len(stacked)], rest[len(stacked) :]
    wanted = [by_input, *(part[:, row] for row in range(len(by_part)) for part in by_state), *by_weights]
    found = run_everywhere(ours, inputs, state)
    assert {"reference", "aten"} <= set(found)
    for name, (results, gradients) in found.items():
        close(results, [outputs, *flat_final], dtype, name)
        close(gradients, wanted, dtype, f"{name}, gradient")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_ragged_rows_are_rows_alone(kind: type[GatedCell], bidirectional: bool) -> None:
    """Each row of a ragged batch gives what it gives alone, though the padding holds NaN; one row is empty."""
    net = network(kind, [3, 4, 4, 4], bidirectional, torch.float64)
    lengths = torch.tensor([6, 1, 4, 0])
    inputs, state = torch.randn(6, 4, 3, dtype=torch.float64), random_state(net, 4, torch.float64)
    for row, length in enumerate(lengths):
        inputs[length:, row] = torch.nan
    for (outputs, *final), gradients in run_everywhere(net, inputs, state, lengths).values():
        assert not any(gradient.isnan().any() for gradient in gradients)
        for row, length in enumerate(lengths.tolist()):
            assert (outputs[length:, row] == 0).all()
            if not length:
                for part, initial in zip(final, flatten_state(state), strict=True):
                    assert torch.equal(part[row], initial[row])
                continue
            alone = map_state(lambda part, row=row: part[row : row + 1], state)
            wanted, wanted_final = net(inputs[:length, row : row + 1], alone)
            torch.testing.assert_close(outputs[:length, row : row + 1], wanted)
            for part, single in zip(final, flatten_state(wanted_final), strict=True):
                torch.testing.assert_close(part[row : row + 1], single)


@pytest.mark.parametrize("kind", ALL)
def test_padding_changes_nothing_to_the_bit(kind: type[GatedCell]) -> None:
    net = network(kind, [3, 4, 4], False, torch.float32)
    lengths = torch.tensor([5, 2, 3])
    inputs, state = torch.randn(5, 3, 3), random_state(net, 3, torch.float32)
    dirty = inputs.clone()
    for row, length in enumerate(lengths):
        inputs[length:, row], dirty[length:, row] = 0.0, torch.nan
    found = run_everywhere(net, dirty, state, lengths)
    for name, wanted in run_everywhere(net, inputs, state, lengths).items():
        for clean, other in zip(wanted, found[name], strict=True):
            for a, b in zip(clean, other, strict=True):
                assert torch.equal(a, b)


@pytest.mark.parametrize("options", [(), OPTIONS], ids=["plain", "options"])
@pytest.mark.parametrize("kind", ALL)
def test_gradients_by_finite_differences(kind: type[GatedCell], options: list[str]) -> None:
    """First and second order, by inputs, initial state and every weight."""
    call = random_call(kind, (3, 2, 2, 2), torch.float64, **dict.fromkeys(options, True))
    if call.lengths is not None:  # finite differences would differ NaN
        lengths = torch.tensor([3, 2])
        inputs = torch.where(live_steps(lengths, 3, lengths.device), torch.randn_like(call.inputs), 0.0).detach()
        call = call._replace(lengths=lengths, inputs=inputs.requires_grad_())
    for name in TWICE:
        serves, kernel = KERNELS[name]
        if serves(call) is not None:
            continue

        def function(*tensors: Tensor, kernel: Any = kernel) -> tuple[Tensor, ...]:
            rest = iter(tensors[1 + len(call.state) :])
            weights = [next(rest) if isinstance(part, Tensor) else part for part in call.weights]
            weights = call.weights._make(weights)._replace(vectors=tuple(rest))
            state = type(call.state)(*tensors[1 : 1 + len(call.state)])
            result = kernel(call._replace(inputs=tensors[0], state=state, weights=weights))
            return result.outputs, *result.state, *(result.states or ())

        assert torch.autograd.gradcheck(function, leaves(call))
        assert torch.autograd.gradgradcheck(function, leaves(call), fast_mode=bool(options))


@pytest.mark.parametrize("kind", ALL)
def test_carried_state_is_one_run(kind: type[GatedCell]) -> None:
    """A thousand steps at once, and cut at random points with the state carried."""
    net = network(kind, [2, 5, 5], False, torch.float64)
    inputs = torch.randn(1000, 2, 2, dtype=torch.float64)
    state = random_state(net, 2, torch.float64)
    with torch.no_grad():
        whole, final = net(inputs, state)
        cuts = [0, *sorted(torch.randperm(998)[:7].add(1).tolist()), 1000]
        pieces, carried = [], state
        for start, end in pairwise(cuts):
            outputs, carried = net(inputs[start:end], carried)
            pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces), whole)
    for a, b in zip(flatten_state(carried), flatten_state(final), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", ALL)
def test_one_step_is_the_loop(kind: type[GatedCell]) -> None:
    cell = kind(3, 4)
    randomise(cell)
    inputs, state = torch.randn(4, 2, 3), cell.initial_state(2)
    layer = Recurrent(cell)
    outputs, final = layer(inputs, state)
    stepped = state
    for t in range(4):
        state = cell(inputs[t], state)
        torch.testing.assert_close(state[0], outputs[t])
        out, stepped = layer.step(inputs[t], stepped)
        torch.testing.assert_close(out, outputs[t])
    for a, b in zip(state, final, strict=True):
        torch.testing.assert_close(a, b)


class Doubled(ostinato.cells.LSTMCell):
    """An LSTM with equations of its own: PyTorch's loop must not serve it."""

    @staticmethod
    def update(x: Any, h: Any, state: Any) -> Any:
        new = ostinato.cells.LSTMCell.update(x, h, state)
        return new._replace(hidden=2 * new.hidden)


def test_changed_equations_run_on_the_reference() -> None:
    net = Recurrent(Doubled(2, 3))
    plain = Recurrent(ostinato.cells.LSTMCell(2, 3))
    plain.load_state_dict(net.state_dict())
    inputs = torch.randn(1, 2, 2)
    torch.testing.assert_close(net(inputs)[0], 2 * plain(inputs)[0])
    with backend("aten"), pytest.raises(BackendUnavailable, match="no fused Doubled"):
        net(inputs)


def test_forced_backend_does_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    net, inputs = Recurrent(CELLS["gru"](2, 3)), torch.zeros(4, 2, 2)
    monkeypatch.setenv("OSTINATO_BACKEND", "aten")
    net(inputs)
    with pytest.raises(BackendUnavailable, match="ragged"):
        net(inputs, lengths=torch.tensor([4, 2]))
    monkeypatch.setenv("OSTINATO_BACKEND", "atem")
    with pytest.raises(ValueError, match="did you mean aten"):
        net(inputs)


def test_wrong_shapes_are_named() -> None:
    net = Recurrent(CELLS["gru"](2, 3))
    with pytest.raises(ValueError, match=r"expected \[time, batch, 2\], found \[4, 2, 5\]"):
        net(torch.zeros(4, 2, 5))
    with pytest.raises(ValueError, match="at least one step"):
        net(torch.zeros(0, 2, 2))
    with pytest.raises(ValueError, match=r"state.hidden: expected \[2, 3\], found \[1, 3\]"):
        net(torch.zeros(4, 2, 2), HiddenState(torch.zeros(1, 3)))
    with pytest.raises(ValueError, match=r"lengths: expected \[2\], found \[3\]"):
        net(torch.zeros(4, 2, 2), lengths=torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="lengths: expected values from 0 to 4, found 1 to 5"):
        net(torch.zeros(4, 2, 2), lengths=torch.tensor([1, 5]))
    with pytest.raises(ValueError, match="layer 0 gives 3 features, layer 1 takes 2"):
        Deep([net, net])


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers_have_the_spread_they_state(name: str) -> None:
    cell = CELLS["lstm"](400, 400, weight_init=name, recurrent_init=name)
    wanted = {"xavier": (6 / 800) ** 0.5 / 3**0.5, "he": (2 / 400) ** 0.5, "normal": 0.01, "uniform": 0.05 / 3**0.5}
    for gate in cell.weight_hh.detach().chunk(4):
        if name == "orthogonal":
            torch.testing.assert_close(gate @ gate.t(), torch.eye(400), atol=1e-4, rtol=0)
        elif name == "identity":
            assert torch.equal(gate, torch.eye(400))
        else:
            assert abs(float(gate.std()) / wanted[name] - 1) < 0.02
            assert abs(float(gate.mean())) < 0.001
    assert cell.bias_ih is not None
    assert cell.bias_hh is not None
    forget = cell.bias_ih.detach().chunk(4)[1]
    assert (forget == 1).all()
    assert float(cell.bias_ih.detach().sum()) == 400
    assert not cell.bias_hh.detach().any()
