"""What is trained, and where a training is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Batches(Protocol):
    """The windows, or batches, of one epoch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Evaluation(NamedTuple):
    """What the validation data say."""

    loss: float
    """Mean, nats."""
    criterion: float
    """What the best model has least of: the loss, or minus what the field quotes."""
    figures: Mapping[str, float]
    """What the field quotes, by name."""


class Objective(Protocol):
    """What is trained: a network, its data, its loss and its figure of merit."""

    network: Any

    @property
    def windows(self) -> Batches:
        """Those of the epoch that has begun; there are as many in each."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Take the windows of an epoch, counted from 0; also called where a training goes on in the middle of it."""

    def initial_state(self) -> Any:
        """The state at the beginning of an epoch."""

    def count(self, window: Any) -> int:
        """How many targets of a window count."""
        ...

    def loss(self, window: Any, state: Any) -> tuple[Tensor, Any]:
        """Σ of the loss over the targets that count, nats, and the state after."""
        ...

    def evaluate(self) -> Evaluation:
        """How good the network is on the validation data."""
        ...

    def figures(self, loss: float) -> dict[str, float]:
        """What the field makes of a mean loss alone: perplexity, or bits per character."""
        ...

    def save_best(self, step: int, loss: float) -> None:
        """Keep the network as it is now: it is the best so far."""


@runtime_checkable
class Probed(Protocol):
    """An objective on whose validation data the gradient can be followed back through time."""

    def probe(self) -> Tensor:
        """Σ of the loss over a few sequences of the validation data, the same each time, nats."""
        ...


@dataclass
class Position:
    """Where a training is: what a checkpoint holds beside tensors."""

    step: int = 0
    epoch: int = 0
    window: int = 0
    best_criterion: float = math.inf
    best_loss: float = math.inf
    best_figures: dict[str, float] = field(default_factory=dict)
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
