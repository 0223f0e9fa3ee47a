"""Copy memory (Hochreiter & Schmidhuber 1997; the form of Arjovsky et al. 2016, section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ostinato.experiments.figures import draw_curves
from ostinato.experiments.frame import Experiment, Outcome, Part, Work
from ostinato.experiments.training import Batch, CellsSettings, drawing, learn, recurrent_network

SYMBOLS, COPIED = 8, 10
BLANK, GO = 0, SYMBOLS + 1
_EVALUATED = 320


def memoryless(delay_steps: int) -> float:
    """10 log 8 / (T + 20), nats a step: the cross-entropy of blanks, then of guesses.

    >>> round(memoryless(1000), 4)
    0.0204
    """
    return COPIED * math.log(SYMBOLS) / (delay_steps + 2 * COPIED)


def without_order(delay_steps: int) -> float:
    """10 E[H] / (T + 20), nats a step: the least of one who knows which symbols there were, but not in what order.

    H = −Σ_s (n_s / 10) log(n_s / 10) with n_s, how often s was drawn, binomial: ten draws of a chance of one eighth.

    >>> round(without_order(1000), 4)
    0.0163
    """
    chance = 1 / SYMBOLS
    entropy = -SYMBOLS * sum(
        math.comb(COPIED, n) * chance**n * (1 - chance) ** (COPIED - n) * n / COPIED * math.log(n / COPIED)
        for n in range(1, COPIED + 1)
    )
    return COPIED * entropy / (delay_steps + 2 * COPIED)


class CopyProblem:
    """Ten symbols of eight, T − 1 blanks, a sign to go, ten blanks; the answer: T + 10 blanks, then the ten symbols.

    Args:
        delay_steps: T.
        seed: of the sequences.

    Shapes:
        inputs [T + 20, batch, 10], one feature a symbol: the blank, the eight, the sign. targets int64 [T + 20, batch].

    >>> batch = CopyProblem(3, seed=0).batch("train", 0, 1)
    >>> batch.inputs.argmax(2).squeeze(1).tolist()
    [7, 6, 5, 3, 3, 1, 1, 1, 2, 7, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    >>> batch.targets.squeeze(1).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 6, 5, 3, 3, 1, 1, 1, 2, 7]
    """

    input_size, output_size, every_step = SYMBOLS + 2, SYMBOLS + 1, True

    def __init__(self, delay_steps: int, seed: int) -> None:
        self.delay_steps, self._seed = delay_steps, seed
        self.needed_steps: int | None = delay_steps + COPIED

    def batch(self, part: str, index: int, size: int) -> Batch:
        """See `Problem`."""
        symbols = drawing(self._seed, part, index).integers(1, SYMBOLS + 1, (COPIED, size))
        ids = np.zeros((self.delay_steps + 2 * COPIED, size), np.int64)
        targets = ids.copy()
        ids[:COPIED], ids[COPIED + self.delay_steps - 1], targets[-COPIED:] = symbols, GO, symbols
        return Batch(functional.one_hot(torch.from_numpy(ids), self.input_size).float(), torch.from_numpy(targets))

    def batches(self, part: str, size: int) -> int:
        """Of 320 sequences; of 1,600 in the test part."""
        return math.ceil(_EVALUATED * (5 if part == "test" else 1) / size)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Σ −log p over all steps, nats."""
        return functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), reduction="sum")

    def count(self, batch: Batch) -> int:
        """Steps of all sequences."""
        return batch.targets.numel()

    def figures(self, scores: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Symbols that are right, in units of all steps."""
        right = (scores[-COPIED:].argmax(2) == batch.targets[-COPIED:]).sum()
        return {"right": right * (self.delay_steps + 2 * COPIED) / COPIED}


class CopySettings(CellsSettings):
    """Copy memory."""

    cells: list[str] = Field(["rnn", "lstm", "min-gru"], min_length=1, description="to compare")
    delay_steps: int = Field(30, ge=1, description="T, steps from the last symbol to the sign to go")
    num_layers: int = Field(2, ge=1, description="recurrent layers")
    # what gates start with for a long memory writes 1/T of a symbol; large weights let some units write all of it
    input_scale: float = Field(8.0, gt=0, description="what the weights of the inputs are multiplied with at first")
    learning_rate: float = Field(0.01, gt=0, description="peak rate")
    batch_size: int = Field(16, ge=1, description="sequences in a batch")
    evaluations: int = Field(10, ge=1, description="of the validation part, on the way")
    steps: int = Field(600, ge=1, description="batches to learn from")


class Copying(Experiment):
    """Cells on copy memory, with the same batches, units and steps."""

    name, Settings = "copy", CopySettings
    columns: ClassVar[dict[str, str]] = {
        "cell": "cell", "parameters": "parameters", "test_loss": "test cross-entropy", "baseline": "memoryless",
        "orderless": "without order", "right": "symbols right", "best_step": "best step", "seconds": "seconds",
    }  # fmt: skip

    def jobs(self) -> list[str]:
        """A cell each."""
        return list(self.settings.cells)

    def measure(self, job: str, work: Work) -> Part:
        """Train the cell, test its best."""
        s = self.settings
        problem = CopyProblem(s.delay_steps, s.seed)
        learned = learn(job, lambda: recurrent_network(job, problem, s, s.delay_steps), problem, s, work)
        row = {
            "cell": job, "parameters": learned.parameters, "test_loss": learned.test["loss"],
            "baseline": memoryless(s.delay_steps), "orderless": without_order(s.delay_steps),
            "right": learned.test["right"], "best_step": learned.best_step, "seconds": round(learned.seconds, 1),
        }  # fmt: skip
        return Part([row], [learned.curves["loss"]])

    def read(self, outcome: Outcome) -> str:
        """Who is better than one without memory."""
        baseline, orderless = memoryless(self.settings.delay_steps), without_order(self.settings.delay_steps)
        better = [f"{row['cell']} ({row['right']:.0%} right)" for row in outcome.rows if row["test_loss"] < baseline]
        ordered = [row["cell"] for row in outcome.rows if row["test_loss"] < orderless]
        return (
            f"Without memory the cross-entropy is 10 log 8 / (T + 20) = {baseline:.4f} nats a step; better than that: "
            f"{', '.join(better) or 'none'}. Who knows the symbols but not their order has {orderless:.4f} at best; "
            f"better than that: {', '.join(ordered) or 'none'}."
        )

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """The validation loss over the steps."""
        axes = figure.subplots()
        baseline = memoryless(self.settings.delay_steps)
        axes.axhline(baseline, color="grey", ls=":", lw=1, label="memoryless")
        axes.axhline(without_order(self.settings.delay_steps), color="grey", ls="--", lw=1, label="without the order")
        draw_curves(axes, outcome.curves, "batches", "cross-entropy, nats a step, validation")
        axes.set_ylim(0, 1.5 * baseline)
        axes.set_title(f"Copy memory, T = {self.settings.delay_steps}")
