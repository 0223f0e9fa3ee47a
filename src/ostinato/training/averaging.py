"""An average of the weights over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_PREFIX = "average."


class WeightAverage:
    """w̄_t = d_t·w̄_{t−1} + (1 − d_t)·w_t with d_t = min(d, (1 + t) / (10 + t)).

    Steps on small batches scatter around where they lead; their average is nearer to it (Polyak & Juditsky 1992), and
    lies in a flatter place (Izmailov et al. 2018). The decay rises to d, so that early weights, which are far off,
    are soon forgotten. Buffers are not averaged: they are the network's.

    Args:
        network: whose parameters are averaged.
        decay: d; 0.999 averages over about the last thousand steps.

    >>> network = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(network.weight)
    >>> average = WeightAverage(network, 0.999)
    >>> _ = nn.init.ones_(network.weight)
    >>> average.update(1)
    >>> with average.applied():
    ...     round(network.weight.item(), 4)  # 2/11 of 0, and 9/11 of 1
    0.8182
    >>> network.weight.item()
    1.0
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(network.named_parameters())
        self._average = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after step t, counted from 1, into the average."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in self._parameters.items():
            self._average[name].lerp_(value, share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the average for its weights, and its own again afterwards."""
        own = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._fill(self._average)
        try:
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in self._parameters.items():
            value.copy_(weights[name])

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {_PREFIX + name: value for name, value in self._average.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for name, value in self._average.items():
            value.copy_(tensors[_PREFIX + name])
