"""The cliff: the error of a network of one unit, and gradient descent at it (Pascanu et al. 2013, figure 6)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ostinato.experiments.figures import COLOURS
from ostinato.experiments.frame import Curve, Experiment, ExperimentSettings, Outcome, Part, Work
from ostinato.training.optimise import clip_gradients, make_optimizer
from ostinato.training.settings import TrainingSettings

MODES = {"no clipping": (False, False), "by norm": (True, False), "by value": (False, True)}
"""name → whether the norm is clipped, whether each value is."""
_ARRIVED = 1e-3


class Slope(NamedTuple):
    """Where a point of the surface is, and how steep."""

    error: np.ndarray
    by_weight: np.ndarray
    by_bias: np.ndarray


def slope(weight: Any, bias: Any, time_steps: int = 50, first: float = 0.5, target: float = 0.7) -> Slope:
    """E = (h_T − target)² of h_t = σ(w h_{t−1} + b), and its gradient, forward over time.

    ∂h_t/∂w = φ' (h_{t−1} + w ∂h_{t−1}/∂w) and ∂h_t/∂b = φ' (1 + w ∂h_{t−1}/∂b), with φ' = h_t (1 − h_t): the factor
    φ' w of each step multiplies what the steps before gave, and where it stays above 1 the slope grows like its power.

    Args:
        weight: w, any shape.
        bias: b, of the same shape.
        time_steps: T.
        first: h_0.
        target: of h_T.

    >>> found = slope(0.0, 0.0)  # h_T = σ(0) = 1/2
    >>> round(float(found.error), 4), round(float(found.by_bias), 4)  # (1/2 − 0.7)², 2 (1/2 − 0.7) / 4
    (0.04, -0.1)
    """
    weight, bias = np.asarray(weight, float), np.asarray(bias, float)
    h = np.full(np.broadcast(weight, bias).shape, first)
    by_weight, by_bias = np.zeros_like(h), np.zeros_like(h)
    for _ in range(time_steps):
        after = 0.5 * (1 + np.tanh(0.5 * (weight * h + bias)))  # σ, which does not overflow
        derivative = after * (1 - after)
        by_weight, by_bias = derivative * (h + weight * by_weight), derivative * (1 + weight * by_bias)
        h = after
    twice = 2 * (h - target)
    return Slope((h - target) ** 2, twice * by_weight, twice * by_bias)


class ClippingSettings(ExperimentSettings):
    """The cliff."""

    time_steps: int = Field(50, ge=1, description="T, over which the unit runs")
    steps: int = Field(400, ge=1, description="of gradient descent")
    learning_rate: float = Field(0.5, gt=0, description="of gradient descent")
    clip: float = Field(0.1, gt=0, description="threshold, of the norm or of each value")
    weight: float = Field(5.5, description="w where the drawn paths begin")
    bias: float = Field(-2.6, description="b where the drawn paths begin")
    starts: int = Field(40, ge=0, description="random places around it, from which each way is tried too")


class Clipping(Experiment):
    """Gradient descent with and without clipping, from one place and from many around it."""

    name, Settings = "clipping", ClippingSettings
    columns: ClassVar[dict[str, str]] = {
        "clipping": "clipping", "steepest": "largest gradient", "longest": "longest step", "final": "error at the end",
        "weight": "w", "bias": "b", "arrived": "of all starts below 0.001", "lost": "thrown out of the map",
    }  # fmt: skip

    def jobs(self) -> list[str]:
        """The ways to clip."""
        return list(MODES)

    def measure(self, job: str, work: Work) -> Part:  # noqa: ARG002 - done in seconds
        """One path in full, and the ends of the others."""
        s = self.settings
        path, steepest = self._descend(job, s.weight, s.bias)
        errors = [float(slope(*point, s.time_steps).error) for point in path]
        jumps = [math.dist(*both) for both in pairwise(path)]
        draw = np.random.default_rng(s.seed)
        ends = [
            self._descend(job, *place)[0][-1]
            for place in np.array([s.weight, s.bias]) + draw.uniform(-0.5, 0.5, (s.starts, 2))
        ]
        arrived = [float(slope(*end, s.time_steps).error) < _ARRIVED for end in ends]
        lost = [math.dist(end, (s.weight, s.bias)) > 5 for end in ends]
        row = {
            "clipping": job, "steepest": steepest, "longest": max(jumps), "final": errors[-1], "weight": path[-1][0],
            "bias": path[-1][1], "arrived": sum(arrived) / s.starts if s.starts else None,
            "lost": sum(lost) / s.starts if s.starts else None,
        }  # fmt: skip
        curves = [
            Curve(f"{job}: path", [point[0] for point in path], [point[1] for point in path]),
            Curve(f"{job}: error", [float(at) for at in range(len(errors))], errors),
        ]
        return Part([row], curves)

    def _descend(self, mode: str, weight: float, bias: float) -> tuple[list[tuple[float, float]], float]:
        """The places (w, b) from the first on, and the largest norm of a gradient."""
        s, (norm, value) = self.settings, MODES[mode]
        place = nn.Parameter(torch.tensor([weight, bias], dtype=torch.float64))
        optimizer = make_optimizer(
            [place], TrainingSettings.checked({"optimizer": "sgd", "learning_rate": s.learning_rate})
        )
        path, steepest = [(float(weight), float(bias))], 0.0
        for _ in range(s.steps):
            found = slope(path[-1][0], path[-1][1], s.time_steps)
            place.grad = torch.tensor([float(found.by_weight), float(found.by_bias)], dtype=torch.float64)
            before, _ = clip_gradients([place], s.clip if norm else None, s.clip if value else None)
            optimizer.step()
            steepest = max(steepest, before)
            path.append(tuple(place.tolist()))
        return path, steepest

    def read(self, outcome: Outcome) -> str:
        """How far the cliff throws, and what of it clipping keeps."""
        parts = [
            f"{row['clipping']}: the largest gradient is {row['steepest']:.3g}, the longest step {row['longest']:.3g}, "
            f"and the error ends at {row['final']:.2g}"
            + (f"; of {self.settings.starts} starts {row['arrived']:.0%} arrive." if self.settings.starts else ".")
            for row in outcome.rows
        ]
        return " ".join(part[0].upper() + part[1:] for part in parts)

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """The surface with the paths on it, and the error along them."""
        s = self.settings
        surface, errors = figure.subplots(1, 2, width_ratios=(1.5, 1))
        weights, biases = np.linspace(s.weight - 2.5, s.weight + 1.5, 240), np.linspace(s.bias - 1.4, s.bias + 2.1, 240)
        heights = slope(weights[None], biases[:, None], s.time_steps).error
        levels = np.geomspace(1e-4, 0.5, 16)
        shown = surface.contourf(
            weights, biases, np.clip(heights, 1.01e-4, None), levels, norm="log", cmap="Greys_r", alpha=0.75
        )
        figure.colorbar(shown, ax=surface, ticks=[1e-4, 1e-3, 1e-2, 1e-1, 0.5], format="%g")
        by_name = {curve.name: curve for curve in outcome.curves}
        for colour, row in zip(COLOURS, outcome.rows, strict=False):
            path = by_name[f"{row['clipping']}: path"]
            surface.plot(path.x, path.y, "o-", color=colour, ms=1.5, lw=0.7, label=row["clipping"])
        surface.plot(s.weight, s.bias, "k*", ms=10, label="start")
        surface.set(
            xlim=weights[[0, -1]], ylim=biases[[0, -1]], xlabel="recurrent weight w", ylabel="bias b",
        )  # fmt: skip
        surface.set_title(
            rf"$E = (h_T - 0.7)^2,\ h_t = \sigma(w\,h_{{t-1}} + b),\ T = {s.time_steps}$", fontsize="medium"
        )
        surface.legend(fontsize="x-small", loc="upper right")
        for colour, row in zip(COLOURS, outcome.rows, strict=False):
            along = by_name[f"{row['clipping']}: error"]
            errors.plot(along.x, along.y, ".", color=colour, ms=2.5, label=row["clipping"])
        errors.set(yscale="log", xlabel="step of gradient descent", ylabel="error E")
        errors.grid(alpha=0.25)
