"""Cells of images: the equations of all others, with convolutions; and the layer that runs them over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from ostinato import Deep, Recurrent, backend
from ostinato.cells import CELLS
from ostinato.conv_cells import CONV_CELLS, ConvCell, ConvLSTMCell, ConvPeepholeLSTMCell, ConvRecurrent
from ostinato.kernels.reference import convolve
from ostinato.networks import flatten_state
from tests.contract import TOLERANCE, close, derive, random_like, randomise

KINDS = list(CONV_CELLS.values())


def layer(kind: type[ConvCell], *sizes: Any, **options: Any) -> ConvRecurrent:
    made = ConvRecurrent(kind(*sizes), **options).double()
    randomise(made)
    return made


def state_of(net: Any, *shape: int) -> Any:
    return random_like(net.initial_state(*shape), torch.float64)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CELLS)
def test_on_one_pixel_with_a_kernel_of_one_it_is_the_cell_itself(name: str, dtype: torch.dtype) -> None:
    """Every cell that there is, not only those that have a name here: outputs, state and every gradient."""

    class Over(ConvCell):
        equations = CELLS[name]

    plain, over = Recurrent(CELLS[name](3, 5)).to(dtype), ConvRecurrent(Over(3, 5, 1)).to(dtype)
    randomise(plain)
    own = dict(plain.named_parameters())
    with torch.no_grad():
        for key, weight in over.named_parameters():
            weight.copy_(own[key].view_as(weight))
    inputs, lengths = torch.randn(7, 4, 3, dtype=dtype), torch.tensor([7, 3, 0, 5])
    resets = torch.rand(7, 4) < 0.3
    state = random_like(plain.initial_state(4), dtype)
    found = []
    for net, shape in ((plain, ()), (over, (1, 1))):
        x = inputs.view(7, 4, *shape, 3).clone().requires_grad_()
        before = type(state)(*(part.detach().view(4, *shape, 5).clone().requires_grad_() for part in state))
        with backend("reference"):
            outputs, after = net(x, before, lengths, resets)
        results = [outputs.view(7, 4, 5), *(part.view(4, 5) for part in after)]
        by = [x, *before, *(dict(net.named_parameters())[key] for key in own)]
        found.append((results, [part.flatten() for part in derive(results, by)]))
    close(found[1][0], found[0][0], dtype)
    close(found[1][1], found[0][1], dtype, "gradient")


def test_it_is_what_the_paper_says() -> None:
    """Shi et al. 2015, eq. 3, written down again a pixel map at a time, with peepholes of every place."""
    cell = ConvPeepholeLSTMCell(2, 3, 5, (6, 4)).double()
    randomise(cell)
    inputs = torch.randn(2, 6, 4, 2, dtype=torch.float64)
    state = random_like(cell.initial_state(2), torch.float64)
    after = cell(inputs, state)
    w, u, b, c = (
        part.detach().numpy().reshape(4, 3, *part.shape[1:])
        for part in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    )
    peepholes = {name: getattr(cell, f"vector_{name}").detach().numpy() for name in "ifo"}

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    def over(weight: np.ndarray, image: np.ndarray) -> np.ndarray:
        return sum(correlate2d(image[..., k], weight[k], mode="same") for k in range(len(weight)))  # type: ignore[return-value]

    for row in range(2):
        x, (h, m) = inputs[row].numpy(), (part[row].detach().numpy() for part in state)
        for unit in range(3):
            i, f, g, o = (
                over(w[gate, unit], x) + over(u[gate, unit], h) + b[gate, unit] + c[gate, unit] for gate in range(4)
            )
            old = m[..., unit]
            new = sigmoid(f + peepholes["f"][..., unit] * old) * old
            new += sigmoid(i + peepholes["i"][..., unit] * old) * np.tanh(g)
            shown = sigmoid(o + peepholes["o"][..., unit] * new) * np.tanh(new)
            np.testing.assert_allclose(after.cell[row, ..., unit].detach().numpy(), new, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(after.hidden[row, ..., unit].detach().numpy(), shown, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("image", [None, (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: type[ConvCell], image: tuple[int, int] | None) -> None:
    """To second order, by all that goes in: ragged rows, resets, and the state before."""
    net = layer(kind, 1, 2, 3, image)
    lengths, resets = torch.tensor([3, 2]), torch.tensor([[False, False], [False, True], [False, False]])
    names = [name for name, _ in net.named_parameters()]
    state = state_of(net, 2, 3, 2)

    def run(inputs: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        before, weights = type(state)(*rest[: len(state)]), dict(zip(names, rest[len(state) :], strict=True))
        outputs, after = torch.func.functional_call(net, weights, (inputs, before, lengths, resets))
        return outputs, *after

    given = [torch.randn(3, 2, 3, 2, 1, dtype=torch.float64, requires_grad=True), *state, *net.parameters()]
    assert torch.autograd.gradcheck(run, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_rows_and_resets_are_as_if_each_ran_alone(kind: type[ConvCell]) -> None:
    net = layer(kind, 2, 3, 3)
    inputs, lengths = torch.randn(6, 3, 5, 4, 2, dtype=torch.float64), torch.tensor([6, 0, 4])
    inputs = torch.where(
        torch.arange(6)[:, None, None, None, None] < lengths[None, :, None, None, None], inputs, torch.nan
    )
    state = state_of(net, 3, 5, 4)
    outputs, after, states = net(inputs, state, lengths, every=True)
    for row, length in enumerate(lengths.tolist()):
        assert not outputs[length:, row].any()
        before = type(state)(*(part[row : row + 1] for part in state))
        if not length:
            assert all(torch.equal(part[row], old[row]) for part, old in zip(after, state, strict=True))
            continue
        alone, last = net(inputs[:length, row : row + 1], before)
        close([outputs[:length, row : row + 1]], [alone], torch.float64)
        close([part[row : row + 1] for part in after], list(last), torch.float64)
        close([part[length - 1, row] for part in states], [part[0] for part in last], torch.float64)
    resets = torch.zeros(6, 3, dtype=torch.bool)
    resets[2, 0] = True
    cut, _ = net(inputs[:, :1], None, resets=resets[:, :1])
    close([cut[2:]], [net(inputs[2:, :1])[0]], torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_low_memory_is_the_same(kind: type[ConvCell]) -> None:
    fast, low = layer(kind, 2, 3, 3), layer(kind, 2, 3, 3, memory="low")
    low.load_state_dict(fast.state_dict())
    inputs = torch.randn(7, 2, 4, 5, 2, dtype=torch.float64, requires_grad=True)
    state, found = state_of(fast, 2, 4, 5), []
    for net in (fast, low):
        outputs, after, states = net(inputs, state, every=True)
        results = [outputs, *after, *states]
        found.append(results + derive(results, [inputs, *state, *net.parameters()]))
    close(found[1], found[0], torch.float64)


def test_steps_one_by_one_and_layers_upon_each_other() -> None:
    net = Deep([layer(kind, size, 3, 3) for kind, size in zip(KINDS, (2, 3, 3), strict=True)])
    inputs = torch.randn(5, 2, 4, 4, 2, dtype=torch.float64)
    outputs, after = net(inputs)
    state: Any = None
    for t, frame in enumerate(inputs):
        shown, state = net.step(frame, state)
        close([shown], [outputs[t]], torch.float64)
    close(flatten_state(state), flatten_state(after), torch.float64)
    held = net.initial_state(2, 4, 4)
    for frame in inputs:
        net.step(frame, held, out=held)
    close([part.detach() for part in flatten_state(held)], flatten_state(after), torch.float64)
    assert sum(len(each) for each in after) == 5  # LSTMs have two parts


def test_what_moves_in_the_image_moves_in_the_state() -> None:
    """A convolution knows no places; near the border it meets zeros."""
    net = layer(ConvLSTMCell, 1, 3, 3)
    inputs = torch.zeros(3, 1, 16, 16, 1, dtype=torch.float64)
    inputs[:, :, 6:9, 5:8] = torch.randn(3, 1, 3, 3, 1, dtype=torch.float64)
    here, there = (net(frames)[0] for frames in (inputs, inputs.roll((2, 3), (2, 3))))
    close([there[:, :, 6:12, 7:12]], [here[:, :, 4:10, 4:9]], torch.float64)


def test_first_values() -> None:
    cell = ConvLSTMCell(2, 3, 5, recurrent_init="identity", forget_bias=0.7)
    assert cell.bias_ih is not None and cell.weight_hh is not None
    assert cell.bias_ih.tolist() == pytest.approx([0.0] * 3 + [0.7] * 3 + [0.0] * 6)
    images = torch.randn(1, 6, 6, 3)
    close([convolve(images, cell.weight_hh[3:6])], [images], torch.float32)
    rows = ConvLSTMCell(2, 3, 3).weight_hh
    assert rows is not None
    block = rows[:3].detach().flatten(1)
    close([block @ block.t()], [torch.eye(3)], torch.float32)
    assert not ConvPeepholeLSTMCell(2, 3, 3, (4, 5)).vector_i.any()
    assert ConvPeepholeLSTMCell(2, 3, 3, (4, 5)).vector_i.shape == (4, 5, 3)


def test_wrong_shapes_are_told() -> None:
    net = ConvRecurrent(ConvLSTMCell(2, 3, 3, (4, 5)))
    good = torch.zeros(2, 1, 4, 5, 2)
    for inputs in (good[..., :1], good[:, :, :3], good[0], good[:0]):
        with pytest.raises(ValueError, match=r"inputs: expected \[time ≥ 1, batch, 4, 5, 2\], found"):
            net(inputs)
    with pytest.raises(ValueError, match=r"state.hidden: expected \[1, 4, 5, 3\], found \[2, 4, 5, 3\]"):
        net(good, net.initial_state(2))
    with pytest.raises(ValueError, match=r"lengths: expected \[1\] of 0 to 2, found \[3\]"):
        net(good, lengths=torch.tensor([3]))
    with pytest.raises(ValueError, match=r"resets: expected bool \[2, 1\], found float32 \[2, 1\]"):
        net(good, resets=torch.zeros(2, 1))
    with pytest.raises(ValueError, match="kernel_size = 4: must be odd"):
        ConvLSTMCell(2, 3, 4)
    with pytest.raises(ValueError, match="all must be at least 1"):
        ConvLSTMCell(0, 3)
    with pytest.raises(ValueError, match="how large is the image"):
        ConvLSTMCell(2, 3).initial_state(1)
    with pytest.raises(ValueError, match="expected 'fast' or 'low'"):
        ConvRecurrent(ConvLSTMCell(2, 3), memory="lo")  # type: ignore[arg-type]
