"""Sequential MNIST: an image is read as a sequence, and named after its last step (Le, Jaitly & Hinton 2015)."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from ostinato.experiments.figures import draw_curves
from ostinato.experiments.frame import Curve, Experiment, Outcome, Part, Work
from ostinato.experiments.images import DigitProblem, Images, load_images
from ostinato.experiments.training import CellsSettings, learn, recurrent_network


class SequentialMNISTSettings(CellsSettings):
    """Sequential MNIST."""

    cells: list[str] = Field(["rnn", "lstm", "gru"], min_length=1, description="to compare")
    data: str | None = Field(None, description="folder of MNIST's four files [default: mnist in $OSTINATO_DATA]")
    by: Literal["rows", "pixels", "permuted"] = Field("rows", description="what a step reads")
    hidden_size: int = Field(128, ge=1, description="units of a layer")
    batch_size: int = Field(64, ge=1, description="sequences in a batch")
    learning_rate: float = Field(0.003, gt=0, description="peak rate")
    epochs: float = Field(2.0, gt=0, description="passes over the training part, where it is MNIST")
    steps: int = Field(600, ge=1, description="batches to learn from, where there is no MNIST")
    chrono: bool = Field(False, description="gates start with memories as long as an image")
    evaluations: int = Field(10, ge=1, description="of the validation part, on the way")


class SequentialMNIST(Experiment):
    """Cells on images, a row or a pixel a step."""

    name, Settings = "sequential-mnist", SequentialMNISTSettings
    columns: ClassVar[dict[str, str]] = {
        "cell": "cell", "images": "images", "time_steps": "steps of an image", "parameters": "parameters",
        "accuracy": "test accuracy", "loss": "test loss", "epochs": "epochs", "seconds": "seconds",
    }  # fmt: skip
    _images: Images | None = None

    def jobs(self) -> list[str]:
        """A cell each."""
        return list(self.settings.cells)

    def measure(self, job: str, work: Work) -> Part:
        """Train the cell, test its best."""
        s = self.settings
        images = self._images = self._images or load_images(s.data, s.seed, work.reporter.message)
        problem = DigitProblem(images, s.seed, s.by)
        a_pass = problem.epoch_steps(s.batch_size)
        steps = math.ceil(s.epochs * a_pass) if images.name == "MNIST" else s.steps
        how = s.model_copy(update={"steps": steps})

        def make() -> nn.Module:
            return recurrent_network(job, problem, how, problem.time_steps)

        learned = learn(job, make, problem, how, work)
        row = {
            "cell": job, "images": images.name, "time_steps": problem.time_steps, "parameters": learned.parameters,
            "accuracy": learned.test["accuracy"], "loss": learned.test["loss"], "epochs": round(steps / a_pass, 2),
            "seconds": round(learned.seconds, 1),
        }  # fmt: skip
        return Part([row], [learned.curves["accuracy"]])

    def read(self, outcome: Outcome) -> str:
        """Who is best, on what."""
        best = max(outcome.rows, key=lambda row: row["accuracy"])
        how = {"rows": "row by row", "pixels": "pixel by pixel", "permuted": "pixel by pixel in a random order"}
        return (
            f"Of {best['images']}, read {how[self.settings.by]} in {best['time_steps']} steps, the {best['cell']} "
            f"names {best['accuracy']:.2%} of the test part."
        )

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """The validation error over the steps."""
        axes = figure.subplots()
        wrong = [Curve(c.name, c.x, [max(100 * (1 - y), 0.01) for y in c.y]) for c in outcome.curves]
        draw_curves(axes, wrong, "batches", "wrong on the validation part, %", yscale="log")
        axes.set_title(f"{outcome.rows[0]['images']}, by {self.settings.by}")
