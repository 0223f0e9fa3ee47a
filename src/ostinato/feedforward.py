"""Networks over time without recurrence, called like `Recurrent`: what a recurrent network has to be better than."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ostinato.recurrent import check_inputs


class Seen(NamedTuple):
    """The last inputs, from which a convolution goes on in the next window."""

    inputs: Tensor
    """[widest − 1, batch, input]."""


class Convolution(nn.Module):
    """h_t = ReLU(W_k · [x_{t−k+1}, …, x_t] + b_k) for filters of several widths k, side by side (Kim 2014, section 2).

    Before the first step stand zeros. With max pooling this is Kim's network; what a window needs of the one before it
    is its state, so that a long sequence can be read in windows.

    Args:
        input_size: features of x.
        filters: of each width.
        widths: k, in steps.

    Shapes:
        inputs [time, batch, input] → outputs [time, batch, filters · widths].

    >>> net = Convolution(3, 5, widths=(2, 3))
    >>> outputs, state = net(torch.randn(7, 2, 3))
    >>> outputs.shape, state.inputs.shape
    (torch.Size([7, 2, 10]), torch.Size([2, 2, 3]))
    """

    def __init__(self, input_size: int, filters: int, widths: Sequence[int] = (3, 4, 5)) -> None:
        super().__init__()
        self.input_size, self.output_size, self.widest = input_size, filters * len(widths), max(widths)
        self.widths = tuple(widths)
        self.layers = nn.ModuleList(nn.Conv1d(input_size, filters, width) for width in widths)
        for layer in self.layers:
            assert isinstance(layer, nn.Conv1d) and layer.bias is not None  # noqa: S101
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def initial_state(self, batch_size: int) -> Seen:
        """Zeros."""
        weight = next(self.parameters())
        return Seen(weight.new_zeros(self.widest - 1, batch_size, self.input_size))

    def forward(self, inputs: Tensor, state: Seen | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Seen]:
        """Run all steps; outputs beyond a row's length mean nothing, and its state is of use only if it goes on."""
        check_inputs(inputs, self.input_size, lengths)
        state = state or self.initial_state(inputs.shape[1])
        padded = torch.cat([state.inputs.to(inputs.dtype), inputs])
        across = padded.permute(1, 2, 0)  # [batch, input, time]
        found = [
            layer(across[:, :, self.widest - width :])  # each width begins where its first window ends at step 0
            for layer, width in zip(self.layers, self.widths, strict=True)
        ]
        return torch.cat(found, dim=1).relu().permute(2, 0, 1), Seen(padded[len(inputs) :])


class Unchanged(nn.Module):
    """h_t = x_t: with mean pooling a bag of embeddings.

    Args:
        input_size: features of x.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = self.output_size = input_size

    def initial_state(self, batch_size: int) -> tuple[()]:  # noqa: ARG002
        """There is none."""
        return ()

    def forward(self, inputs: Tensor, state: tuple[()] = (), lengths: Tensor | None = None) -> tuple[Tensor, tuple[()]]:
        """The inputs [time, batch, input]."""
        check_inputs(inputs, self.input_size, lengths)
        return inputs, state
