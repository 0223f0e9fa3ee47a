"""What a training notes of itself as it goes: its batches, its steps, and how far its gradient reaches."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ostinato.measures.forgetting import doubling
from ostinato.measures.gradients import gradient_by_lag
from ostinato.recurrent import Recurrent
from ostinato.training.objective import Probed

PROBE_STEPS = 128
"""The most steps back that the gradient by lag is followed in a training."""
PROBE_ROWS = 4
"""Sequences on which it is measured."""


@dataclass
class Interval:
    """What was met since the last line of the history."""

    loss: float = 0.0
    tokens: int = 0
    steps: int = 0
    clipped: int = 0
    skipped: int = 0
    update_ratio: float | None = None
    """‖Δw‖₂ / ‖w‖₂ of the last step that it was measured at."""
    batches: list[tuple[float, int, float] | None] = field(default_factory=list)
    """Of each step the loss, nats a target, the targets, and the gradient's norm before clipping; None if skipped."""
    since: float = field(default_factory=time.monotonic)

    def add(self, loss: float, targets: int, norm: float, clipped: bool) -> None:
        """Note a step: Σ of its loss, its targets, its gradient's norm before clipping, and if that was clipped."""
        self.loss, self.tokens, self.steps = self.loss + loss, self.tokens + targets, self.steps + 1
        self.clipped += clipped
        self.batches.append((loss / max(1, targets), targets, norm))

    def skip(self) -> None:
        """Note a step that was none, since a number was not finite."""
        self.skipped += 1
        self.batches.append(None)

    def mean_loss(self) -> float:
        """Nats a target; NaN if there was none."""
        return self.loss / self.tokens if self.tokens else math.nan

    def figures(self) -> dict[str, Any]:
        """What the history gets: gradient_norm is a mean over steps, loss_deviation one of the batches' mean losses."""
        losses = [batch[0] for batch in self.batches if batch is not None]
        norms = [batch[2] for batch in self.batches if batch is not None]
        mean = sum(losses) / len(losses) if losses else math.nan
        steps = max(1, self.steps)
        return {
            "gradient_norm": sum(norms) / steps,
            "gradient_norm_max": max(norms, default=0.0),
            "clip_rate": self.clipped / steps,
            "skipped": self.skipped,
            "update_ratio": self.update_ratio,
            "loss_deviation": math.sqrt(sum((loss - mean) ** 2 for loss in losses) / max(1, len(losses) - 1)),
            "batch_loss": [None if batch is None else short(batch[0]) for batch in self.batches],
            "batch_targets": [None if batch is None else batch[1] for batch in self.batches],
            "batch_norm": [None if batch is None else short(batch[2]) for batch in self.batches],
        }


def short(value: float) -> float | None:
    """Five figures, which is what a chart shows of them; None for what JSON has no number for.

    >>> short(2.345678901), short(math.inf)
    (2.3457, None)
    """
    return float(f"{value:.5g}") if math.isfinite(value) else None


class UpdateSize:
    """‖Δw‖₂ / ‖w‖₂ over all parameters, of one step: made before it, asked after it.

    Some 10⁻³ is usual; far above, the step is too large for the weights, far below nothing moves.

    >>> weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> size = UpdateSize([weight])
    >>> _ = weight.data.mul_(0.99)
    >>> round(size.ratio(), 6)
    0.01
    """

    @torch.no_grad()
    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._before = [parameter.detach().clone() for parameter in parameters]
        self._norm = float(nn.utils.get_total_norm(self._before))

    @torch.no_grad()
    def ratio(self) -> float:
        """Of what has happened since; 0 of weights that are all 0."""
        for before, parameter in zip(self._before, self._parameters, strict=True):
            before.sub_(parameter)
        return float(nn.utils.get_total_norm(self._before)) / self._norm if self._norm else 0.0


class GradientProbe:
    """‖∂L_t/∂h_{t−k}‖ of every layer on a few fixed sequences of the validation data, for the history.

    It leaves no trace in the training: the network is in evaluation mode, random numbers and gradients are as before.

    Args:
        objective: of the training; without recurrent layers, or sequences to probe, there is nothing to note.
    """

    def __init__(self, objective: Any) -> None:
        self._network: nn.Module = objective.network
        recurrent = any(isinstance(module, Recurrent) for module in self._network.modules())
        self._objective: Probed | None = objective if recurrent and isinstance(objective, Probed) else None

    def record(self, step: int) -> dict[str, Any] | None:
        """The record of a step, or None: `lags`, some 2 to an octave, and by layer the norms there."""
        if self._objective is None:
            return None
        loss: Any = self._objective.probe
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices=devices):
            found = gradient_by_lag(self._network, loss, PROBE_STEPS)
        longest = max((len(each.by_lag) for each in found), default=0)
        if longest < 2:
            return None
        powers = doubling(longest - 1)
        lags = sorted({0, *powers.tolist(), *(3 * powers // 2)[1:].tolist()} & set(range(longest)))
        layers = {
            each.name: [short(float(each.by_lag[lag])) for lag in lags if lag < len(each.by_lag)] for each in found
        }
        return {"kind": "gradient", "step": step, "lags": lags, "layers": layers}
