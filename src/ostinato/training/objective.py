"""What is trained, and where a training is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ostinato.training.windows import Window, Windows


class Objective(Protocol):
    """What is trained: a network, its data, its loss and its figure of merit."""

    network: Any
    windows: Windows

    def begin_epoch(self, epoch: int) -> None:
        """Take the windows of an epoch, counted from 0; also called where a training goes on in the middle of it."""

    def initial_state(self) -> Any:
        """The state at the beginning of an epoch."""

    def loss(self, window: Window, state: Any) -> tuple[Tensor, int, Any]:
        """Σ of the loss over the targets that count, nats; how many they are; the state after."""
        ...

    def evaluate(self) -> float:
        """Mean loss on the validation data, nats."""
        ...

    def figures(self, loss: float) -> dict[str, float]:
        """What the field quotes of a loss: perplexity, or bits per character."""
        ...

    def save_best(self, step: int, loss: float) -> None:
        """Keep the network as it is now: it is the best so far."""


@dataclass
class Position:
    """Where a training is: what a checkpoint holds beside tensors."""

    step: int = 0
    epoch: int = 0
    window: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    without_gain: int = 0
    plateaus: int = 0
    plateau_wait: int = 0
    rate_scale: float = 1.0
    skipped: int = 0
    finite_steps: int = 0  # since the last return to a checkpoint
    tokens: int = 0
    seconds: float = 0.0
    history_bytes: int = 0
    stopped_early: bool = False
    finished: bool = False
