"""How long does each cell remember? A symbol is shown, noise follows, and after the delay it is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from ostinato.experiments.figures import draw_curves
from ostinato.experiments.frame import Curve, Experiment, Outcome, Part, Work
from ostinato.experiments.training import Batch, CellsSettings, drawing, learn, recurrent_network

SYMBOLS = 4
"""Shown and asked for; as many others are the noise between, so that a cell has to choose what it keeps."""
_EVALUATED = 1000


class RecallProblem:
    """One symbol of four, then d − 1 others from an alphabet of their own, then a question: which was the first?

    Args:
        delay_steps: d, from the symbol to the question.
        seed: of the sequences.

    Shapes:
        inputs [d + 1, batch, 9], one feature a symbol: the four, four of noise, the question. targets int64 [batch].

    >>> batch = RecallProblem(4, seed=0).batch("train", 0, 2)
    >>> batch.inputs.argmax(2).t().tolist(), batch.targets.tolist()
    ([[2, 6, 5, 4, 8], [3, 5, 4, 4, 8]], [2, 3])
    """

    input_size, output_size, every_step = 2 * SYMBOLS + 1, SYMBOLS, False

    def __init__(self, delay_steps: int, seed: int) -> None:
        self.delay_steps, self._seed = delay_steps, seed
        self.needed_steps: int | None = delay_steps

    def batch(self, part: str, index: int, size: int) -> Batch:
        """See `Problem`."""
        draw = drawing(self._seed, part, index)
        ids = draw.integers(SYMBOLS, 2 * SYMBOLS, (self.delay_steps + 1, size))
        ids[0], ids[-1] = draw.integers(0, SYMBOLS, size), 2 * SYMBOLS
        return Batch(
            functional.one_hot(torch.from_numpy(ids), self.input_size).float(), torch.from_numpy(ids[0].copy())
        )

    def batches(self, part: str, size: int) -> int:  # noqa: ARG002
        """Of a thousand sequences."""
        return math.ceil(_EVALUATED / size)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Σ −log p of the symbol, nats."""
        return functional.cross_entropy(scores, batch.targets, reduction="sum")

    def count(self, batch: Batch) -> int:
        """Sequences."""
        return len(batch.targets)

    def figures(self, scores: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """How many are right."""
        return {"accuracy": (scores.argmax(1) == batch.targets).sum()}


class MemorySettings(CellsSettings):
    """How long cells remember."""

    cells: list[str] = Field(
        ["rnn", "irnn", "indrnn", "gru", "lstm", "slstm", "min-gru", "min-lstm", "rg-lru"], min_length=1,
        description="to compare",
    )  # fmt: skip
    delays: list[int] = Field([10, 30, 100, 200], min_length=1, description="steps from the symbol to the question")
    threshold: float = Field(0.9, gt=1 / SYMBOLS, le=1, description="accuracy that counts as remembered")
    chrono: bool = Field(False, description="gates start with memories as long as the delay")
    hidden_size: int = Field(32, ge=1, description="units of a layer")
    steps: int = Field(400, ge=1, description="batches to learn from, at each delay")
    evaluations: int = Field(4, ge=1, description="of the validation part, on the way")

    @field_validator("delays")
    @classmethod
    def _rising(cls, delays: list[int]) -> list[int]:
        if delays != sorted(set(delays)) or delays[0] < 1:
            raise ValueError("delays: expected numbers of steps from 1 on, each above the one before")
        return delays


class Memory(Experiment):
    """Each cell is trained anew at each delay, with the same batches, until one is too long for it."""

    name, Settings = "memory", MemorySettings

    def headings(self) -> dict[str, str]:
        """A column for each delay."""
        delays = {f"at_{delay}": f"d = {delay}" for delay in self.settings.delays}
        return {"cell": "cell", "parameters": "parameters", **delays, "remembers": "remembers, steps"}

    def jobs(self) -> list[str]:
        """A cell each."""
        return list(self.settings.cells)

    def measure(self, job: str, work: Work) -> Part:
        """From the shortest delay on; after the first that is not learned no longer one is tried."""
        s = self.settings
        found: list[float] = []
        size = 0
        for delay in s.delays:
            problem = RecallProblem(delay, s.seed)
            here = Work(work.folder / str(delay), work.reporter)
            here.folder.mkdir(exist_ok=True)

            def make(problem: RecallProblem = problem) -> nn.Module:
                return recurrent_network(job, problem, s, problem.delay_steps)

            learned = learn(job, make, problem, s, here)
            size = learned.parameters
            found.append(learned.test["accuracy"])
            if not found[-1] >= s.threshold:
                break
        row: dict[str, Any] = {"cell": job, "parameters": size}
        row |= {f"at_{delay}": value for delay, value in zip(s.delays, found, strict=False)}
        row["remembers"] = remembered(s.delays, found, s.threshold)
        return Part([row], [Curve(job, [float(delay) for delay in s.delays[: len(found)]], found)])

    def read(self, outcome: Outcome) -> str:
        """Who remembers shortest and longest."""
        rows = sorted(outcome.rows, key=lambda row: row["remembers"])
        longest = self.settings.delays[-1]
        all_the_way = [row["cell"] for row in rows if row["remembers"] >= longest]
        text = (
            f"After {self.settings.steps} batches the {rows[0]['cell']} recalls a symbol over "
            f"{rows[0]['remembers']:.0f} steps with an accuracy of {self.settings.threshold:.0%}"
        )
        return text + (f"; {', '.join(all_the_way)} over all {longest} that were tried." if all_the_way else ".")

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """Accuracy over the delay."""
        axes = figure.subplots()
        axes.axhline(self.settings.threshold, color="grey", ls=":", lw=1)
        axes.axhline(1 / SYMBOLS, color="grey", ls="--", lw=1, label="guessing")
        draw_curves(axes, outcome.curves, "delay, steps", "test accuracy", markers=True, xscale="log")
        axes.get_legend().remove()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
        axes.set_xticks(self.settings.delays, [f"{delay:,}" for delay in self.settings.delays])
        axes.minorticks_off()
        axes.set(ylim=(0, 1.05), title=f"Recall of one symbol of {SYMBOLS} after {self.settings.steps} batches")


def remembered(delays: list[int], accuracies: list[float], threshold: float) -> float:
    """The delay at which accuracy falls under a threshold, on a line from the last that holds to the next.

    Over the logarithm of the delay. 0 if not even the first holds; the last if all do.

    >>> remembered([10, 100, 1000], [1.0, 0.95, 0.5], 0.95), remembered([10, 100], [1.0, 0.5], 0.75)
    (100.0, 31.6)
    """
    for at, accuracy in enumerate(accuracies):
        if not accuracy >= threshold:
            if at == 0:
                return 0.0
            above, low, high = accuracies[at - 1], math.log(delays[at - 1]), math.log(delays[at])
            share = (above - threshold) / (above - accuracy)
            return round(math.exp(low + share * (high - low)), 1) if math.isfinite(share) else float(delays[at - 1])
    return float(delays[len(accuracies) - 1])
