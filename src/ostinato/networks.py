"""Networks of cells: over time, in both directions, in depth. Each is called alike and can be a part of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.cells import GatedCell
from ostinato.kernels.recurrence import recurrence
from ostinato.kernels.reference import LayerCall


class BidirectionalState(NamedTuple):
    """The states of two directions."""

    forward: Any
    backward: Any


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply a function to each tensor of states of one structure.

    >>> from ostinato.cells import LSTMState
    >>> map_state(lambda part: part + 1, (LSTMState(torch.zeros(1), torch.ones(1)),))
    (LSTMState(hidden=tensor([1.]), cell=tensor([2.])),)
    """
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    parts = [map_state(function, *together) for together in zip(*states, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def detach(state: Any) -> Any:
    """The same state, cut from the graph: truncated back-propagation carries it to the next window."""
    return map_state(Tensor.detach, state)


def flatten_state(state: Any) -> list[Tensor]:
    """The tensors of a state in order."""
    tensors: list[Tensor] = []
    map_state(lambda part: (tensors.append(part), part)[1], state)
    return tensors


def named_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, a shared one once, under its first name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what `named_weights` gave, in place, so that what is shared stays shared."""
    with torch.no_grad():
        for name, weight in named_weights(module).items():
            weight.copy_(weights[name])


def check_inputs(inputs: Tensor, size: int, lengths: Tensor | None) -> None:
    """Refuse what would broadcast or read beyond.

    Raises:
        ValueError: with the shape found and the shape wanted.
    """
    if inputs.dim() != 3 or inputs.shape[2] != size:
        raise ValueError(f"inputs: expected [time, batch, {size}], found {list(inputs.shape)}")
    if len(inputs) == 0:
        raise ValueError(f"inputs: expected at least one step, found {list(inputs.shape)}")
    if lengths is not None:
        if lengths.shape != inputs.shape[1:2]:
            raise ValueError(f"lengths: expected [{inputs.shape[1]}], found {list(lengths.shape)}")
        if lengths.numel() and (lengths.min() < 0 or lengths.max() > len(inputs)):
            found = f"{int(lengths.min())} to {int(lengths.max())}"
            raise ValueError(f"lengths: expected values from 0 to {len(inputs)}, found {found}")


class Recurrent(nn.Module):
    """A cell run over time.

    Args:
        cell: what runs.
        reverse: from the last step to the first.

    Shapes:
        inputs [time, batch, input] → outputs [time, batch, hidden], and the cell's state, [batch, hidden] each.

    >>> from ostinato.cells import GRUCell
    >>> outputs, state = Recurrent(GRUCell(3, 5))(torch.zeros(7, 2, 3), lengths=torch.tensor([7, 4]))
    >>> outputs.shape, state.hidden.shape, outputs[4:, 1].abs().sum().item()
    (torch.Size([7, 2, 5]), torch.Size([2, 5]), 0.0)
    """

    def __init__(self, cell: GatedCell, reverse: bool = False) -> None:
        super().__init__()
        self.cell, self.reverse = cell, reverse
        self.input_size, self.output_size = cell.input_size, cell.hidden_size

    def initial_state(self, batch_size: int) -> Any:
        """The cell's zeros."""
        return self.cell.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """Run; see `ostinato.kernels.reference.LayerCall`."""
        check_inputs(inputs, self.input_size, lengths)
        if state is None:
            state = self.initial_state(inputs.shape[1])
        wanted = (inputs.shape[1], self.output_size)
        for name, part in zip(state._fields, state, strict=True):
            if part.shape != wanted:
                raise ValueError(f"state.{name}: expected {list(wanted)}, found {list(part.shape)}")
        call = LayerCall(type(self.cell), self.cell.weights(), inputs, state, lengths, self.reverse)
        return recurrence(call)[:2]


class Bidirectional(nn.Module):
    """Two cells, one in each direction, side by side (Schuster & Paliwal 1997).

    Shapes:
        inputs [time, batch, input] → outputs [time, batch, forward + backward hidden].

    >>> from ostinato.cells import GRUCell
    >>> outputs, state = Bidirectional(GRUCell(3, 5), GRUCell(3, 4))(torch.zeros(7, 2, 3))
    >>> outputs.shape, state.backward.hidden.shape
    (torch.Size([7, 2, 9]), torch.Size([2, 4]))
    """

    def __init__(self, forward_cell: GatedCell, backward_cell: GatedCell) -> None:
        super().__init__()
        if forward_cell.input_size != backward_cell.input_size:
            sizes = f"{forward_cell.input_size} and {backward_cell.input_size}"
            raise ValueError(f"both directions read the same inputs: expected one input_size, found {sizes}")
        self.forward_layer = Recurrent(forward_cell)
        self.backward_layer = Recurrent(backward_cell, reverse=True)
        self.input_size = forward_cell.input_size
        self.output_size = forward_cell.hidden_size + backward_cell.hidden_size

    def initial_state(self, batch_size: int) -> BidirectionalState:
        """Both cells' zeros."""
        return BidirectionalState(
            self.forward_layer.initial_state(batch_size), self.backward_layer.initial_state(batch_size)
        )

    def forward(
        self, inputs: Tensor, state: BidirectionalState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, BidirectionalState]:
        """Run both directions; each stops, or starts, at its row's own end."""
        check_inputs(inputs, self.input_size, lengths)
        state = state or self.initial_state(inputs.shape[1])
        ahead, forward = self.forward_layer(inputs, state.forward, lengths)
        back, backward = self.backward_layer(inputs, state.backward, lengths)
        return torch.cat([ahead, back], dim=-1), BidirectionalState(forward, backward)


class Deep(nn.Module):
    """Layers upon each other, with dropout on what one hands to the next (Zaremba et al. 2014).

    Args:
        layers: `Recurrent`, `Bidirectional` or `Deep`, the output size of each the input size of the next.
        dropout: probability, between layers only.

    >>> from ostinato.cells import LSTMCell
    >>> net = Deep([Recurrent(LSTMCell(3, 5)), Recurrent(LSTMCell(5, 4))], dropout=0.1)
    >>> outputs, state = net(torch.zeros(7, 2, 3))
    >>> outputs.shape, len(state), state[0].cell.shape
    (torch.Size([7, 2, 4]), 2, torch.Size([2, 5]))
    """

    def __init__(self, layers: Sequence[Recurrent | Bidirectional | Deep], dropout: float = 0.0) -> None:
        super().__init__()
        if not layers:
            raise ValueError("a deep network needs at least one layer")
        for index, (below, above) in enumerate(pairwise(layers)):
            if below.output_size != above.input_size:
                raise ValueError(
                    f"layer {index} gives {below.output_size} features, layer {index + 1} takes {above.input_size}"
                )
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.input_size, self.output_size = layers[0].input_size, layers[-1].output_size

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The state of each layer, from the first."""
        return tuple(layer.initial_state(batch_size) for layer in self.layers)  # pyright: ignore[reportCallIssue]

    def forward(
        self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Run the layers in turn."""
        state = state or self.initial_state(inputs.shape[1])
        final = []
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            inputs, after = layer(self.dropout(inputs) if index else inputs, before, lengths)
            final.append(after)
        return inputs, tuple(final)
