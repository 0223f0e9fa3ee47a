"""What is timed: one recurrent layer of some size, and the numbers that go through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ostinato.errors import SettingsError, nearest

STEPS = 100
SHORTEST = 10
"""Steps of the shortest row that a ragged batch may have."""
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
DTYPES = ("float32", "bf16")


@dataclass(frozen=True)
class Shape:
    """Size of a batch and of a layer; inputs have as many features as the layer has units."""

    batch_size: int
    hidden_size: int
    ragged: bool = False
    """Whether rows are from 10 to 100 steps long, instead of 100."""

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read `B,H` or `B,H,ragged`.

        >>> Shape.parse("32,128,ragged")
        Shape(batch_size=32, hidden_size=128, ragged=True)
        >>> Shape.parse("32x128")
        Traceback (most recent call last):
        ostinato.errors.SettingsError: shape '32x128': expected B,H such as 32,128, or 32,128,ragged
        """
        sizes, ragged = text.replace(" ", "").split(","), False
        if len(sizes) == 3 and sizes[2] == "ragged":
            sizes, ragged = sizes[:2], True
        if len(sizes) != 2 or not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
            raise SettingsError(f"shape {text!r}: expected B,H such as 32,128, or 32,128,ragged")
        return cls(int(sizes[0]), int(sizes[1]), ragged)

    def __str__(self) -> str:
        return f"B {self.batch_size}, H {self.hidden_size}{', ragged' if self.ragged else ''}"


SHAPES = (Shape(1, 64), Shape(32, 64), Shape(32, 128), Shape(32, 256), Shape(64, 512), Shape(32, 128, ragged=True))


def known(option: str, value: str, names: Any) -> str:
    """The value, if it is one of the names.

    Raises:
        SettingsError: with the names that there are.
    """
    if value not in names:
        raise SettingsError(f"{option} {value!r}: one of {', '.join(names)}{nearest(value, names)}")
    return value


class Numbers(NamedTuple):
    """What goes through a layer, float32."""

    inputs: np.ndarray
    """[time, batch, hidden]."""
    weights: list[list[np.ndarray]]
    """For each direction: weight_ih, weight_hh, bias_ih, bias_hh, as `torch.nn` lays them out."""
    gradient: np.ndarray
    """Of the outputs, [time, batch, directions·hidden]."""
    lengths: np.ndarray | None
    """int64 [batch]."""


@dataclass(frozen=True)
class Job:
    """One layer."""

    cell: str
    shape: Shape
    bidirectional: bool = False
    dtype: str = "float32"

    def numbers(self) -> Numbers:
        """Always the same ones, from a fixed seed."""
        random = np.random.default_rng(1)
        batch, hidden, directions = self.shape.batch_size, self.shape.hidden_size, 1 + self.bidirectional
        rows, bound = GATES[self.cell] * hidden, hidden**-0.5
        sizes = ((rows, hidden), (rows, hidden), (rows,), (rows,))
        lengths = random.integers(SHORTEST, STEPS + 1, batch) if self.shape.ragged else None
        return Numbers(
            random.standard_normal((STEPS, batch, hidden), np.float32),
            [[random.uniform(-bound, bound, size).astype(np.float32) for size in sizes] for _ in range(directions)],
            random.standard_normal((STEPS, batch, directions * hidden), np.float32),
            lengths,
        )

    def gemm_flop(self, numbers: Numbers, training: bool) -> float:
        """Of the products with W_ih and W_hh over the steps that count; training has two more for each product."""
        hidden = self.shape.hidden_size
        steps = STEPS * self.shape.batch_size if numbers.lengths is None else int(numbers.lengths.sum())
        forward = 2.0 * steps * GATES[self.cell] * hidden * (hidden + hidden) * (1 + self.bidirectional)
        return 3 * forward if training else forward
