"""Initial values by name, each with its source."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ostinato.errors import SettingsError, nearest


def xavier(weight: Tensor) -> None:
    """U(−a, a), a = √(6 / (fan_in + fan_out)): keeps variance both ways (Glorot & Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(weight)


def he(weight: Tensor) -> None:
    """N(0, 2 / fan_in), which keeps the variance through ReLU (He et al. 2015, eq. 10)."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def normal(weight: Tensor) -> None:
    """N(0, 0.01²), small Gaussian values (as Krizhevsky et al. 2012, section 5)."""
    nn.init.normal_(weight, std=0.01)


def orthogonal(weight: Tensor) -> None:
    """A random orthogonal matrix: every singular value is 1 (Saxe et al. 2014, section 3)."""
    nn.init.orthogonal_(weight)


def identity(weight: Tensor) -> None:
    """The identity: a ReLU network starts by keeping its state, IRNN (Le, Jaitly & Hinton 2015, section 2)."""
    nn.init.eye_(weight)


def uniform(weight: Tensor) -> None:
    """U(−1/√n, 1/√n), n the columns: what the recurrent weights of `torch.nn` start from."""
    bound = 1 / math.sqrt(weight.shape[-1])
    nn.init.uniform_(weight, -bound, bound)


INITIALISERS: dict[str, Callable[[Tensor], None]] = {
    function.__name__: function for function in (xavier, he, normal, orthogonal, identity, uniform)
}
"""By name, what `initialise` knows."""


def initialise(weight: Tensor, name: str, blocks: int = 1) -> None:
    """Fill a matrix in place, gate by gate.

    Args:
        weight: [blocks·rows, columns].
        name: of an initialiser.
        blocks: gates that are stacked in the rows, each initialised as a matrix of its own.

    Raises:
        SettingsError: if there is no such initialiser, with the nearest that there is.

    >>> weight = torch.empty(6, 3)
    >>> initialise(weight, "identity", blocks=2)
    >>> weight.tolist()[:4]
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if name not in INITIALISERS:
        raise SettingsError(f"initialiser {name!r}: one of {', '.join(INITIALISERS)}{nearest(name, INITIALISERS)}")
    with torch.no_grad():
        for block in weight.chunk(blocks):
            INITIALISERS[name](block)
