"""What the experiments train, and how: batches that are drawn, a network, and the loop of `ostinato.training`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ostinato.bundle import read_tensors, write_tensors
from ostinato.cells import CELLS
from ostinato.diagnostics.measure import measure_layers
from ostinato.diagnostics.measurements import Measurements
from ostinato.diagnostics.verdict import complaints, verdict
from ostinato.errors import TrainingError, nearest
from ostinato.experiments.chrono import chrono
from ostinato.experiments.frame import Curve, ExperimentSettings, Work
from ostinato.networks import Deep, load_weights, named_weights
from ostinato.recurrent import Recurrent
from ostinato.training.history import read_history
from ostinato.training.loop import Trainer
from ostinato.training.objective import Evaluation
from ostinato.training.settings import TrainingSettings

_JUDGED = 8  # sequences on which a trained network is measured


class LearningSettings(ExperimentSettings):
    """How the networks of an experiment learn: Adam, a rate that falls along a cosine, gradients clipped by norm."""

    batch_size: int = Field(32, ge=1, description="sequences in a batch")
    steps: int = Field(1000, ge=1, description="batches to learn from")
    learning_rate: float = Field(0.005, gt=0, description="peak rate")
    final_rate: float = Field(0.01, ge=0, le=1, description="rate at the end as a share of the peak")
    clip_norm: float | None = Field(1.0, gt=0, description="scale the gradient down to this norm (none: off)")
    evaluations: int = Field(20, ge=1, description="of the validation part, on the way")


class CellsSettings(LearningSettings):
    """Networks of several cells that are compared."""

    cells: list[str] = Field(["rnn", "gru", "lstm"], min_length=1, description="to compare")
    hidden_size: int = Field(64, ge=1, description="units of a layer")
    num_layers: int = Field(1, ge=1, description="recurrent layers")
    chrono: bool = Field(True, description="gates start with memories as long as the task asks for")
    input_scale: float = Field(1.0, gt=0, description="what the weights of the inputs are multiplied with at first")

    @field_validator("cells")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return known_cells(names)


class Batch(NamedTuple):
    """Sequences side by side."""

    inputs: Tensor
    """[time, batch, feature]."""
    targets: Tensor
    """What the problem says: [batch] or [time, batch]."""


class Problem(Protocol):
    """What is learned."""

    input_size: int
    output_size: int
    every_step: bool
    """Whether there is an answer at each step, or one after the last."""
    needed_steps: int | None
    """Steps back from an answer to the nearest of what it cannot do without; None if that is not known."""

    def batch(self, part: str, index: int, size: int) -> Batch:
        """A batch of `train`, `validation` or `test`: always the same for its number."""
        ...

    def batches(self, part: str, size: int) -> int:
        """How many batches `validation` and `test` have."""
        ...

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Σ of the loss over the answers that count, by which gradients are made."""
        ...

    def count(self, batch: Batch) -> int:
        """How many answers count."""
        ...

    def figures(self, scores: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Sums, over the answers that count, of what is told beside the loss."""
        ...


def known_cells(names: list[str]) -> list[str]:
    """The names, which may stand between commas.

    >>> known_cells(["rnn,gru", "lstm"])
    ['rnn', 'gru', 'lstm']

    Raises:
        ValueError: if there is no cell of a name, or a name twice.
    """
    names = [part.strip() for name in names for part in name.split(",")]
    for name in names:
        if name not in CELLS:
            raise ValueError(f"{name!r} is no cell: one of {', '.join(CELLS)}{nearest(name, CELLS)}")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} stands there twice")
    return names


def drawing(seed: int, part: str, index: int) -> np.random.Generator:
    """The generator of a batch: of its own for each seed, part and number."""
    return np.random.default_rng([seed, ("train", "validation", "test").index(part), index])


class Reader(nn.Module):
    """scores = W h + b of a recurrent network, at each step or after the last.

    Args:
        network: over time; or any module that gives outputs [time, batch, features] and a state.
        output_size: scores.
        every_step: at each step; else of the last outputs.
        pooling: of the outputs of all steps, instead of the last.

    >>> from ostinato.cells import GRUCell
    >>> Reader(Deep([Recurrent(GRUCell(3, 5))]), 2, every_step=False)(torch.zeros(7, 4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self, network: Any, output_size: int, every_step: bool, pooling: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network, self.every_step, self.pooling = network, every_step, pooling
        self.output = nn.Linear(network.output_size, output_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [time, batch, feature] → scores [time, batch, output], or [batch, output]."""
        outputs = self.network(inputs)[0]
        if self.every_step:
            return self.output(outputs)
        return self.output(outputs[-1] if self.pooling is None else self.pooling(outputs))


def recurrent_network(cell: str, problem: Problem, settings: CellsSettings, longest_steps: int) -> Reader:
    """Layers of a cell with the scores of a problem.

    Args:
        cell: by its name in `CELLS`.
        problem: whose inputs and scores.
        settings: how large, and how it starts.
        longest_steps: what the memory of a unit has to reach, for `chrono`; a cell without such gates is left as it is.
    """
    layers, width = [], problem.input_size
    for _ in range(settings.num_layers):
        made = CELLS[cell](width, settings.hidden_size)
        with torch.no_grad():
            made.weight_ih.mul_(settings.input_scale)
        if settings.chrono:
            chrono(made, longest_steps)
        layers.append(Recurrent(made))
        width = settings.hidden_size
    return Reader(Deep(layers), problem.output_size, problem.every_step)


class _Drawn:
    """The batches of an epoch, drawn when they are asked for."""

    def __init__(self, problem: Problem, size: int, steps: int) -> None:
        self._problem, self._size, self._steps = problem, size, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> Batch:
        return self._problem.batch("train", index, self._size)


class Learning:
    """A problem as the loop of `ostinato.training` takes it (see `Objective`).

    Args:
        network: inputs → scores.
        problem: what it learns.
        settings: with `batch_size` and `steps`.
        best: file of the best weights.
    """

    def __init__(self, network: nn.Module, problem: Problem, settings: Any, best: Path) -> None:
        self.network, self.problem, self._best, self._size = network, problem, best, settings.batch_size
        self.windows = _Drawn(problem, settings.batch_size, settings.steps)

    def begin_epoch(self, epoch: int) -> None:
        """There is one, of all steps."""

    def initial_state(self) -> tuple[()]:
        """Nothing is carried from batch to batch."""
        return ()

    def count(self, window: Batch) -> int:
        """Answers that count."""
        return self.problem.count(window)

    def loss(self, window: Batch, state: Any) -> tuple[Tensor, Any]:
        """Σ of the loss."""
        return self.problem.loss(self.network(window.inputs), window), state

    def evaluate(self) -> Evaluation:
        """The means over the validation part."""
        figures = self.means("validation")
        loss = figures.pop("loss")
        return Evaluation(loss, loss, figures)

    def means(self, part: str, problem: Problem | None = None) -> dict[str, float]:
        """`loss`, and the problem's figures, of a part; of another problem's if one is given."""
        problem = problem or self.problem
        sums: dict[str, float] = {}
        total = 0
        with torch.inference_mode():
            for index in range(problem.batches(part, self._size)):
                batch = problem.batch(part, index, self._size)
                scores = self.network(batch.inputs)
                for name, value in {
                    "loss": problem.loss(scores, batch),
                    **problem.figures(scores, batch),
                }.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                total += problem.count(batch)
        return {name: value / total for name, value in sums.items()}

    def figures(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        """Nothing beside the loss."""
        return {}

    def save_best(self, step: int, loss: float) -> None:
        """Write the weights."""
        arrays = {name: weight.detach().numpy() for name, weight in named_weights(self.network).items()}
        write_tensors(self._best, arrays, {"step": str(step), "loss": repr(loss)})

    def load_best(self) -> None:
        """Read them again."""
        arrays, _ = read_tensors(self._best)
        load_weights(self.network, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


class Learned(NamedTuple):
    """What a training came to."""

    test: dict[str, float]
    """The figures of the test part at the step that was best on the validation part; NaN if none was finite."""
    best_step: int
    seconds: float
    parameters: int
    curves: dict[str, Curve]
    """Of the validation part, over the steps: `loss` and the problem's figures."""
    also: list[dict[str, float]]
    """The figures of the test parts of further problems."""
    judged: str = ""
    """What the verdict on the trained network complains of first, with its evidence; empty if of nothing."""


def learn(
    name: str,
    make: Callable[[], nn.Module],
    problem: Problem,
    settings: LearningSettings,
    work: Work,
    also: Sequence[Problem] = (),
) -> Learned:
    """Train a network on a problem, resume if it was stopped, and test the best.

    Args:
        name: of the curves.
        make: makes the network, whose weights are drawn with the seed.
        problem: what it learns.
        settings: how, with the seed of the weights.
        work: folder of checkpoints, and who is told.
        also: further problems, on whose test parts the network is tried.

    Raises:
        Interrupted: at SIGINT or SIGTERM, after a checkpoint.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        network = make()
        objective = Learning(network, problem, settings, work.folder / "best.safetensors")
        how = TrainingSettings.checked(
            {
                "epochs": 1, "batch_size": settings.batch_size, "optimizer": "adam", "device": "cpu",
                "seed": settings.seed, "learning_rate": settings.learning_rate, "final_rate": settings.final_rate,
                "clip_norm": settings.clip_norm, "checkpoint_every": 1000,
                "evaluate_every": math.ceil(settings.steps / settings.evaluations),
            }
        )  # fmt: skip
        history = work.folder / "history.jsonl"
        trainer = Trainer(objective, how, work.folder, history, work.reporter)
        try:
            position = trainer.train()
        except TrainingError as error:  # a network that cannot learn is a finding, not a failure
            work.reporter.message(f"{name}: {error}")
            position = trainer.position
    curves = validation_curves(name, history)
    size = sum(parameter.numel() for parameter in network.parameters())
    if math.isinf(position.best_loss):
        nothing: dict[str, float] = defaultdict(lambda: math.nan)
        return Learned(nothing, 0, position.seconds, size, curves, [nothing for _ in also])
    objective.load_best()
    network.eval()
    others = [objective.means("test", other) for other in also]
    test, judged = objective.means("test"), judge(network, problem, settings)
    return Learned(test, position.best_step, position.seconds, size, curves, others, judged)


def judge(network: nn.Module, problem: Problem, settings: LearningSettings) -> str:
    """What the verdict on a network complains of first, on a batch of the validation part."""
    batch = problem.batch("validation", 0, min(settings.batch_size, _JUDGED))
    layers = measure_layers(network, lambda: problem.loss(network(batch.inputs), batch), len(batch.inputs) - 1)
    steps = batch.inputs.shape[0] * batch.inputs.shape[1]
    cells = {"cell": layers[0].cell, "clip_norm": settings.clip_norm} if layers else {}
    measured = Measurements("classifier", steps, None, layers, needed_steps=problem.needed_steps, settings=cells)
    found = complaints(verdict(measured))
    return f"{found[0].title.en}: {found[0].seen.en}" if found else ""


def validation_curves(name: str, history: Path) -> dict[str, Curve]:
    """The validation figures of a history over its steps, by the name of the figure."""
    records = [record for record in read_history(history) if record["kind"] == "validation"]
    figures = set().union(*(record.keys() for record in records)) - {"kind", "step", "epoch", "best", "seconds"}
    steps = [float(record["step"]) for record in records]
    curves = {figure: Curve(name, steps, [record[figure] for record in records]) for figure in sorted(figures)}
    return defaultdict(lambda: Curve(name, [], []), curves)
