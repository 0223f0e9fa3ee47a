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
from ostinato import Bidirectional, Deep, GatedCell, Recurrent, backend
from ostinato.cells import CELLS, HiddenState
from ostinato.errors import BackendUnavailable
from ostinato.initialisers import INITIALISERS
from ostinato.kernels.aten import fused_name
from ostinato.networks import flatten_state, map_state

ALL = [kind for kind in vars(ostinato.cells).values() if isinstance(kind, type) and issubclass(kind, GatedCell)]
ALL = [kind for kind in ALL if kind is not GatedCell]
# of a tensor's largest value: rounding in a sum is relative to its terms, not to what is left of them
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}
PEERS = {"rnn_tanh": (nn.RNN, {"nonlinearity": "tanh"}), "rnn_relu": (nn.RNN, {"nonlinearity": "relu"})}
PEERS |= {"gru": (nn.GRU, {}), "lstm": (nn.LSTM, {})}


def test_every_cell_has_a_name() -> None:
    assert set(CELLS.values()) == set(ALL)


def randomise(module: nn.Module) -> None:
    """Weights of no special form, biases included."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.5, 0.5)


def network(kind: type[GatedCell], sizes: list[int], bidirectional: bool, dtype: torch.dtype) -> Deep:
    layers, width = [], sizes[0]
    for size in sizes[1:]:
        cells = [kind(width, size) for _ in range(1 + bidirectional)]
        layers.append(Bidirectional(*cells) if bidirectional else Recurrent(cells[0]))
        width = layers[-1].output_size
    deep = Deep(layers).to(dtype)
    randomise(deep)
    return deep


def random_state(net: nn.Module, batch: int, dtype: torch.dtype) -> Any:
    return map_state(lambda part: torch.randn_like(part, dtype=dtype).requires_grad_(), net.initial_state(batch))  # type: ignore[operator]


def run(net: nn.Module, inputs: Tensor, state: Any, lengths: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and final state, and the gradient of a random functional of them by all that goes in."""
    inputs = inputs.clone().requires_grad_()
    leaves = [inputs, *flatten_state(state), *net.parameters()]
    outputs, final = net(inputs, state, lengths)
    results = [outputs, *flatten_state(final)]
    generator = torch.Generator().manual_seed(1)
    total = sum((part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in results)
    return results, list(torch.autograd.grad(total, leaves))  # type: ignore[arg-type]


def close(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> None:
    for a, b in zip(found, wanted, strict=True):
        scale = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-3))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in ALL if fused_name(kind)])
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
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs.shape, generator=generator, dtype=dtype)
    flat_final = [final[i][row] for row in range(len(by_part)) for i in range(len(final))]
    state_weights = [torch.randn(part.shape, generator=generator, dtype=dtype) for part in flat_final]
    total = (outputs * weight).sum() + sum((p * w).sum() for p, w in zip(flat_final, state_weights, strict=True))
    total.backward()
    wanted = [theirs_in.grad]
    wanted += [stacked[i].grad[row] for row in range(len(by_part)) for i in range(len(stacked))]
    wanted += [
        getattr(peer, f"{part}_l{name}").grad
        for name in names
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    for name in ("reference", "aten"):
        with backend(name):
            results, gradients = run(ours, inputs, state, None)
        close(results, [outputs, *flat_final], dtype)
        close(gradients, wanted, dtype)


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from([kind for kind in ALL if fused_name(kind)]),
    shape=st.tuples(*[st.integers(1, 9)] * 4),
    reverse=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_backends_agree(kind: type[GatedCell], shape: tuple[int, ...], reverse: bool, dtype: torch.dtype) -> None:
    steps, batch, inputs, hidden = shape
    net = Recurrent(kind(inputs, hidden), reverse).to(dtype)
    randomise(net)
    x, state = torch.randn(steps, batch, inputs, dtype=dtype), random_state(net, batch, dtype)
    with backend("reference"):
        wanted = run(net, x, state, None)
    with backend("aten"):
        found = run(net, x, state, None)
    close(found[0], wanted[0], dtype)
    close(found[1], wanted[1], dtype)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_ragged_rows_are_rows_alone(kind: type[GatedCell], bidirectional: bool) -> None:
    """Each row of a ragged batch gives what it gives alone, though the padding holds NaN; one row is empty."""
    net = network(kind, [3, 4, 4, 4], bidirectional, torch.float64)
    lengths = torch.tensor([6, 1, 4, 0])
    inputs, state = torch.randn(6, 4, 3, dtype=torch.float64), random_state(net, 4, torch.float64)
    for row, length in enumerate(lengths):
        inputs[length:, row] = torch.nan
    (outputs, *final), gradients = run(net, inputs, state, lengths)
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
    for clean, other in zip(run(net, inputs, state, lengths), run(net, dirty, state, lengths), strict=True):
        for a, b in zip(clean, other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_gradients_by_finite_differences(kind: type[GatedCell], reverse: bool) -> None:
    """First and second order, by inputs, initial state and every weight."""
    net = Recurrent(kind(2, 3), reverse).double()
    randomise(net)
    lengths = torch.tensor([3, 2])
    state = random_state(net, 2, torch.float64)
    names, weights = zip(*net.named_parameters(), strict=True)

    def function(inputs: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        parts, values = leaves[: len(state)], leaves[len(state) :]
        arguments = (inputs, type(state)(*parts), lengths)
        outputs, final = torch.func.functional_call(net, dict(zip(names, values, strict=True)), arguments)
        return outputs, *final

    leaves = (torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True), *state, *weights)
    with backend("reference"):
        assert torch.autograd.gradcheck(function, leaves)
        assert torch.autograd.gradgradcheck(function, leaves)


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
    outputs, final = Recurrent(cell)(inputs, state)
    for t in range(4):
        state = cell(inputs[t], state)
        torch.testing.assert_close(state[0], outputs[t])
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
