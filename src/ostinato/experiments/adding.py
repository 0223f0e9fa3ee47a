"""The adding problem (Hochreiter & Schmidhuber 1997, section 5.4): two numbers, far apart, have to be added."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ostinato.experiments.figures import draw_curves
from ostinato.experiments.frame import Curve, Experiment, Outcome, Part, Work
from ostinato.experiments.training import Batch, CellsSettings, drawing, learn, recurrent_network

TRIVIAL = 1 / 6
"""Mean squared error of the constant answer 1: the variance of a sum of two numbers from U(0, 1)."""
_EVALUATED = 2000


class AddingProblem:
    """Steps of (value from U(0, 1), mark); one mark is in each half. The answer: the sum of the two marked values.

    Args:
        time_steps: T, at least 2.
        seed: of the sequences.

    Shapes:
        inputs [time, batch, 2], targets [batch].

    >>> batch = AddingProblem(6, seed=0).batch("train", 0, 2)
    >>> values, marks = batch.inputs[:, 0].unbind(1)
    >>> marks.tolist(), float(values @ marks - batch.targets[0])
    ([0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 0.0)
    """

    input_size, output_size, every_step = 2, 1, False

    def __init__(self, time_steps: int, seed: int) -> None:
        self.time_steps, self._seed = time_steps, seed
        self.needed_steps: int | None = time_steps // 2  # one mark is in the first half

    def batch(self, part: str, index: int, size: int) -> Batch:
        """See `Problem`."""
        draw, columns, half = drawing(self._seed, part, index), np.arange(size), self.time_steps // 2
        values = draw.random((self.time_steps, size), np.float32)
        first, second = draw.integers(0, half, size), draw.integers(half, self.time_steps, size)
        marks = np.zeros_like(values)
        marks[first, columns] = marks[second, columns] = 1
        sums = values[first, columns] + values[second, columns]
        return Batch(torch.from_numpy(np.stack([values, marks], 2)), torch.from_numpy(sums))

    def batches(self, part: str, size: int) -> int:
        """Of two thousand sequences; of ten thousand in the test part."""
        return math.ceil(_EVALUATED * (5 if part == "test" else 1) / size)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Σ (y − ŷ)²."""
        return (scores.squeeze(1) - batch.targets).square().sum()

    def count(self, batch: Batch) -> int:
        """Sequences."""
        return len(batch.targets)

    def figures(self, scores: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """How many sums are within 0.04, as Hochreiter & Schmidhuber count a sequence as learned."""
        return {"within_0.04": ((scores.squeeze(1) - batch.targets).abs() < 0.04).sum()}


class AddingSettings(CellsSettings):
    """The adding problem."""

    cells: list[str] = Field(["rnn", "irnn", "lstm", "gru"], min_length=1, description="to compare")
    time_steps: int = Field(100, ge=2, description="T, the length of a sequence")
    steps: int = Field(1000, ge=1, description="batches to learn from")


class Adding(Experiment):
    """Cells on the adding problem, with the same batches, units and steps."""

    name, Settings = "adding", AddingSettings
    columns: ClassVar[dict[str, str]] = {
        "cell": "cell", "parameters": "parameters", "test_mse": "test MSE", "within": "sums within 0.04",
        "best_step": "best step", "seconds": "seconds",
    }  # fmt: skip

    def jobs(self) -> list[str]:
        """A cell each."""
        return list(self.settings.cells)

    def measure(self, job: str, work: Work) -> Part:
        """Train the cell, test its best."""
        s = self.settings
        problem = AddingProblem(s.time_steps, s.seed)
        learned = learn(job, lambda: recurrent_network(job, problem, s, s.time_steps), problem, s, work)
        row = {
            "cell": job, "parameters": learned.parameters, "test_mse": learned.test["loss"],
            "within": learned.test["within_0.04"], "best_step": learned.best_step,
            "seconds": round(learned.seconds, 1), "verdict": learned.judged,
        }  # fmt: skip
        return Part([row], [learned.curves["loss"]])

    def read(self, outcome: Outcome) -> str:
        """Who is below a hundredth of the trivial error, and who stays at it."""
        rows, time = outcome.rows, self.settings.time_steps
        learned = [row["cell"] for row in rows if row["test_mse"] < TRIVIAL / 100]
        failed = [row["cell"] for row in rows if not row["test_mse"] < TRIVIAL / 2]
        parts = [f"The constant answer 1 has a mean squared error of 1/6 = {TRIVIAL:.4f}."]
        if learned:
            parts.append(f"Over {time} steps {', '.join(learned)} learned to add: below a hundredth of it.")
        if failed:
            parts.append(f"{', '.join(failed)} did no better than half of it: the marks did not reach the end.")
        # what does learn needs no explanation, and a trained GRU's gates may well stand open
        parts += [f"{row['cell']}: {row['verdict']}" for row in rows if row["cell"] in failed and row["verdict"]]
        return " ".join(parts)

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """The validation error over the steps."""
        axes = figure.subplots()
        shown = [Curve(c.name, c.x, [max(y, 1e-7) for y in c.y]) for c in outcome.curves]
        title = f"Adding problem, T = {self.settings.time_steps}"
        axes.axhline(TRIVIAL, color="grey", ls=":", lw=1, label="always 1")
        draw_curves(axes, shown, "batches", "mean squared error, validation", yscale="log")
        axes.set_title(title)
