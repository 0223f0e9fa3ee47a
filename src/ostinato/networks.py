"""Networks of cells: in both directions, in depth. Each is called like `Recurrent` and can be a part of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.conv_cells import ConvRecurrent
from ostinato.gated_cell import GatedCell
from ostinato.recurrent import Recurrent, check_inputs, sequence_ends


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


class Bidirectional(nn.Module):
    """Two cells, one in each direction, side by side (Schuster & Paliwal 1997).

    Args:
        forward_cell: what runs from the first step to the last.
        backward_cell: what runs from the last step to the first.
        options: of both layers, see `Recurrent`.

    Shapes:
        inputs [time, batch, input] → outputs [time, batch, forward + backward hidden].

    >>> from ostinato.cells import GRUCell
    >>> outputs, state = Bidirectional(GRUCell(3, 5), GRUCell(3, 4))(torch.zeros(7, 2, 3))
    >>> outputs.shape, state.backward.hidden.shape
    (torch.Size([7, 2, 9]), torch.Size([2, 4]))
    """

    def __init__(self, forward_cell: GatedCell, backward_cell: GatedCell, **options: Any) -> None:
        super().__init__()
        if forward_cell.input_size != backward_cell.input_size:
            sizes = f"{forward_cell.input_size} and {backward_cell.input_size}"
            raise ValueError(f"both directions read the same inputs: expected one input_size, found {sizes}")
        self.forward_layer = Recurrent(forward_cell, **options)
        self.backward_layer = Recurrent(backward_cell, reverse=True, **options)
        self.input_size = forward_cell.input_size
        self.output_size = forward_cell.hidden_size + backward_cell.hidden_size

    def initial_state(self, batch_size: int) -> BidirectionalState:
        """Both cells' zeros."""
        return BidirectionalState(
            self.forward_layer.initial_state(batch_size), self.backward_layer.initial_state(batch_size)
        )

    def forward(
        self,
        inputs: Tensor,
        state: BidirectionalState | None = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        every: bool = False,
    ) -> tuple[Any, ...]:
        """Run both directions; each stops, or starts, at its row's own end. See `Recurrent.forward`.

        A reset says that another sequence begins at the step: backwards, that is where the one before it ends.
        """
        check_inputs(inputs, self.input_size, lengths, resets)
        state = state or self.initial_state(inputs.shape[1])
        ends = sequence_ends(resets, lengths)
        ahead = self.forward_layer(inputs, state.forward, lengths, resets, every)
        back = self.backward_layer(inputs, state.backward, lengths, ends, every)
        outputs = torch.cat([ahead[0], back[0]], dim=-1)
        return outputs, *(BidirectionalState(*both) for both in zip(ahead[1:], back[1:], strict=True))

    def step(self, *_: Any) -> tuple[Tensor, Any]:
        """There is none.

        Raises:
            TypeError: always, and it says why.
        """
        raise TypeError("a bidirectional layer has no single step: its first output waits for the last input")


class Deep(nn.Module):
    """Layers upon each other, with dropout on what one hands to the next (Zaremba et al. 2014).

    Args:
        layers: `Recurrent`, `Bidirectional`, `ConvRecurrent` or `Deep`, the output size of each the input size of the
            next.
        dropout: probability, between layers only.

    >>> from ostinato.cells import LSTMCell
    >>> net = Deep([Recurrent(LSTMCell(3, 5)), Recurrent(LSTMCell(5, 4))], dropout=0.1)
    >>> outputs, state = net(torch.zeros(7, 2, 3))
    >>> outputs.shape, len(state), state[0].cell.shape
    (torch.Size([7, 2, 4]), 2, torch.Size([2, 5]))
    """

    def __init__(
        self, layers: Sequence[Recurrent | Bidirectional | ConvRecurrent | Deep], dropout: float = 0.0
    ) -> None:
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

    def initial_state(self, batch_size: int, *image: int) -> tuple[Any, ...]:
        """The state of each layer, from the first; of layers over images also by height and width."""
        return tuple(layer.initial_state(batch_size, *image) for layer in self.layers)  # pyright: ignore[reportCallIssue]

    def forward(
        self,
        inputs: Tensor,
        state: Any = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        every: bool = False,
    ) -> tuple[Any, ...]:
        """Run the layers in turn; see `Recurrent.forward`. States are a tuple, an entry a layer."""
        state = state or (None,) * len(self.layers)  # each knows its own zeros
        found = []
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            inputs, *after = layer(self.dropout(inputs) if index else inputs, before, lengths, resets, every)
            found.append(after)
        return inputs, *zip(*found, strict=True)

    def step(self, inputs: Tensor, state: Any = None, out: Any = None) -> tuple[Tensor, tuple[Any, ...]]:
        """One step of each layer; see `Recurrent.step`."""
        state = state or (None,) * len(self.layers)
        final = []
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            advance: Any = layer.step
            inputs = self.dropout(inputs) if index and self.training else inputs
            inputs, after = advance(inputs, before, None if out is None else out[index])
            final.append(after)
        return inputs, tuple(final)
