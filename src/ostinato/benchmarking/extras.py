"""What `torch.nn` has no layer for, beside the Python loop that people write; and one step of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.benchmarking.jobs import Job, Numbers, Shape
from ostinato.benchmarking.layers import measure_layer
from ostinato.benchmarking.peers import torch_side
from ostinato.benchmarking.timing import Side, compare
from ostinato.cells import GatedCell, HiddenState, LSTMCell, LSTMState
from ostinato.networks import Recurrent

LOOP_SHAPE = Shape(32, 128)
STREAM_HIDDEN = 64
BF16_SHAPES = (Shape(32, 256), Shape(64, 512))


class MGUCell(GatedCell):
    """f = σ(x + h);  n = tanh(x_n + f ⊙ h_n);  h' = (1 − f) ⊙ h + f ⊙ n      (Zhou et al. 2016)

    Stands for a cell that a user writes.
    """

    gates, State = ("f", "n"), HiddenState

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:
        """See the class."""
        f = torch.sigmoid(x.f + h.f)
        n = torch.tanh(x.n + f * h.n)
        return HiddenState((1 - f) * state.hidden + f * n)


class MGULoop(nn.Module):
    """The same as a module of torch operations, called step by step."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input, self.hidden = nn.Linear(size, 2 * size), nn.Linear(size, 2 * size)

    def read(self, inputs: Tensor) -> Tensor:
        """The part that does not depend on the state."""
        return self.input(inputs)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step from what was read."""
        x_f, x_n = x.chunk(2, 1)
        h_f, h_n = self.hidden(state[0]).chunk(2, 1)
        f = torch.sigmoid(x_f + h_f)
        return ((1 - f) * state[0] + f * torch.tanh(x_n + f * h_n),)


class LayerNormLSTMLoop(nn.Module):
    """An LSTM with `nn.LayerNorm` on both products and on the cell (Ba et al. 2016, eqs. 20-22), step by step."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input, self.hidden = (nn.Linear(size, 4 * size, bias=False) for _ in range(2))
        self.norm_input, self.norm_hidden, self.norm_cell = (nn.LayerNorm(n * size) for n in (4, 4, 1))

    def read(self, inputs: Tensor) -> Tensor:
        """The part that does not depend on the state."""
        return self.norm_input(self.input(inputs))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step from what was read."""
        i, f, g, o = (x + self.norm_hidden(self.hidden(state[0]))).chunk(4, 1)
        cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norm_cell(cell)), cell


Loop = MGULoop | LayerNormLSTMLoop


def loop(module: Loop, parts: int, hoisted: bool) -> Callable[[Tensor], Tensor]:
    """The usual loop; hoisted, all inputs are read at once before it, as the careful write it."""

    def forward(inputs: Tensor) -> Tensor:
        state, outputs = (torch.zeros_like(inputs[0]),) * parts, []
        for x in module.read(inputs) if hoisted else inputs:
            state = module.step(x if hoisted else module.read(x), state)
            outputs.append(state[0])
        return torch.stack(outputs)

    return forward


def mgu_sides(training: bool) -> dict[str, Side]:
    """A cell that a user writes, on `Recurrent`, and in both loops."""
    hidden = LOOP_SHAPE.hidden_size
    torch.manual_seed(0)
    module, layer = MGULoop(hidden), Recurrent(MGUCell(hidden, hidden))
    parameters = [module.input.weight, module.hidden.weight, module.input.bias, module.hidden.bias]
    own = [getattr(layer.cell, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    return _loop_sides(layer, own, module, parameters, 1, training)


def layer_norm_sides(training: bool) -> dict[str, Side]:
    """An LSTM with layer normalisation, on `Recurrent`, and in both loops."""
    hidden = LOOP_SHAPE.hidden_size
    torch.manual_seed(0)
    module, layer = LayerNormLSTMLoop(hidden), Recurrent(LSTMCell(hidden, hidden), layer_norm=True)
    norms = (module.norm_input, module.norm_hidden, module.norm_cell)
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.1, 0.5)  # gains of one make it chaotic: rounding would grow from step to step
            norm.bias.uniform_(-0.2, 0.2)
    parameters = [module.input.weight, module.hidden.weight, *(part for n in norms for part in (n.weight, n.bias))]
    cell = layer.cell
    own = [cell.weight_ih, cell.weight_hh, layer.norm_ih, cell.bias_ih, layer.norm_hh, cell.bias_hh, layer.norm_state]
    return _loop_sides(layer, own, module, parameters, 2, training)


def _loop_sides(
    layer: Recurrent, own: list[Any], module: Loop, parameters: list[Tensor], parts: int, training: bool
) -> dict[str, Side]:
    """Ours, given the values of the peer's parameters, and both loops."""
    numbers = Job("lstm", LOOP_SHAPE).numbers()
    with torch.no_grad():
        values = torch.cat([each.flatten() for each in parameters]).split([each.numel() for each in own])
        for mine, value in zip(own, values, strict=True):
            mine.copy_(value.view_as(mine))
    sides = {"ours": _flat(lambda inputs: layer(inputs)[0], own, numbers, training)}
    for name, hoisted in (("torch_loop", False), ("torch_loop_hoisted", True)):
        sides[name] = _flat(loop(module, parts, hoisted), parameters, numbers, training)
    return sides


def _flat(forward: Callable[[Tensor], Tensor], parameters: list[Tensor], numbers: Numbers, training: bool) -> Side:
    """A side whose parameters' gradients are read as one array, for ours keeps gain and shift in one tensor."""
    side = torch_side(forward, parameters, numbers, training)

    def read(result: Any) -> list[np.ndarray]:
        arrays = side.read(result)
        return arrays[:2] + ([np.concatenate([each.ravel() for each in arrays[2:]])] if training else [])

    return Side(side.run, read)


def step_sides() -> dict[str, Side]:
    """One step of an LSTM at batch 1, called from Python."""
    hidden = STREAM_HIDDEN
    torch.manual_seed(0)
    whole, single, cell = nn.LSTM(hidden, hidden), nn.LSTMCell(hidden, hidden), LSTMCell(hidden, hidden)
    for name, parameter in cell.named_parameters():
        for peer in (getattr(whole, f"{name}_l0"), getattr(single, name)):
            peer.data.copy_(parameter.data)
    x, h, c = (torch.randn(1, hidden) for _ in range(3))
    state, x_of_one, state_of_one = LSTMState(h, c), x.unsqueeze(0), (h.unsqueeze(0), c.unsqueeze(0))
    layer = Recurrent(cell)
    after = layer.initial_state(1)

    def read(result: Any) -> list[np.ndarray]:
        return [result[0].numpy().reshape(1, hidden)]

    return {
        "ours": Side(lambda: layer.step(x, state, out=after), read),
        "torch_nn_lstm": Side(lambda: whole(x_of_one, state_of_one), read),
        "torch_nn_lstm_cell": Side(lambda: single(x, (h, c)), read),
    }


def measure_extras(cells: list[str], rounds: int, told: Callable[[str], None]) -> list[dict[str, Any]]:
    """The rows of the table of extras.

    Args:
        cells: for bf16 beside float32.
        rounds: see `ostinato.benchmarking.timing.in_turn`.
        told: what is going on.
    """
    rows = []
    kinds = {"layer_norm_lstm": ("LayerNorm-LSTM", layer_norm_sides), "mgu": ("a cell of one's own (MGU)", mgu_sides)}
    for kind, (title, make) in kinds.items():
        for training in (True, False):
            mode = "training" if training else "inference"
            told(f"{title}, {LOOP_SHAPE}, {mode}")
            with torch.inference_mode(not training):
                times = compare(make(training), rounds)
            rows.append({"what": kind, "title": f"{title}, {LOOP_SHAPE}", "mode": mode, **times})
    title = f"one step of an LSTM, B 1, H {STREAM_HIDDEN}"
    told(title)
    sides = step_sides()  # made outside: weights that are born in inference mode leave no mark of a change
    with torch.inference_mode():
        rows.append({"what": "step", "title": title, "mode": "inference", **compare(sides, rounds)})
    for cell in cells:
        for shape in BF16_SHAPES:
            for training in (True, False):
                mode, title = "training" if training else "inference", f"{cell}, {shape}"
                told(f"bf16 {title}, {mode}")
                row = measure_layer(Job(cell, shape, dtype="bf16"), training, rounds)
                times = {name: row[name] for name in ("seconds", "spread", "ratio", "best_ratio")}
                rows.append({"what": "bf16", "title": title, "mode": mode, **times})
    return rows
