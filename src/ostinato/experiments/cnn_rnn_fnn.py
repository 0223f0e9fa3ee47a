"""CNN against RNN against FNN: the same sequences, the same number of weights, three ways to read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.cells import CELLS
from ostinato.experiments.figures import COLOURS
from ostinato.experiments.frame import Experiment, Outcome, Part, Work
from ostinato.experiments.images import DigitProblem, Images, load_images
from ostinato.experiments.training import LearningSettings, Reader, learn
from ostinato.feedforward import Convolution
from ostinato.networks import Deep
from ostinato.recurrent import Recurrent

MIDDLE, SHIFTED, IN_TEST = "in the middle", "shifted", "shifted in the test only"
DATA = (MIDDLE, SHIFTED, IN_TEST)
"""What is read: images as they are; moved, in training and test; as they are in training, moved in the test."""
NETWORKS = ("FNN", "CNN", "RNN")


class Flat(nn.Module):
    """h = ReLU(W [x_1, …, x_T] + b), all steps at once: a feed-forward network has weights for every place.

    Args:
        time_steps: T.
        input_size: features of x.
        hidden_size: units.
    """

    def __init__(self, time_steps: int, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(time_steps * input_size, hidden_size)
        self.output_size = hidden_size

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Inputs [time, batch, feature] → outputs [1, batch, hidden]."""
        return torch.relu(self.layer(inputs.transpose(0, 1).flatten(1))).unsqueeze(0), None


def by_budget(make: Callable[[int], nn.Module], parameters: int) -> nn.Module:
    """The widest network within a number of parameters.

    Args:
        make: width → network; wider ones have more parameters.
        parameters: at most so many.

    >>> sum(p.numel() for p in by_budget(lambda width: nn.Linear(3, width), 22).parameters())
    20
    """

    def fits(width: int) -> bool:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in make(width).parameters()) <= parameters

    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return make(low)


def make_network(kind: str, problem: DigitProblem, cell: str, parameters: int) -> nn.Module:
    """One of `NETWORKS` with at most so many parameters."""
    features, answers = problem.input_size, problem.output_size

    def largest(outputs: Tensor) -> Tensor:
        return outputs.amax(0)

    makers: dict[str, Callable[[int], nn.Module]] = {
        "FNN": lambda width: Reader(Flat(problem.time_steps, features, width), answers, every_step=False),
        "CNN": lambda width: Reader(Convolution(features, width), answers, every_step=False, pooling=largest),
        "RNN": lambda width: Reader(Deep([Recurrent(CELLS[cell](features, width))]), answers, every_step=False),
    }
    return by_budget(makers[kind], parameters)


class CNNAgainstRNNSettings(LearningSettings):
    """The three networks."""

    cell: str = Field("gru", description="of the RNN")
    parameters: int = Field(12_000, ge=500, description="of each network, at most")
    data: str | None = Field(None, description="folder of MNIST's four files [default: mnist in $OSTINATO_DATA]")
    shift: int = Field(2, ge=1, description="pixels by which a shifted image is moved at most, down and across")
    steps: int = Field(800, ge=1, description="batches to learn from")
    batch_size: int = Field(64, ge=1, description="sequences in a batch")
    learning_rate: float = Field(0.003, gt=0, description="peak rate")
    evaluations: int = Field(4, ge=1, description="of the validation part, on the way")


class CNNAgainstRNN(Experiment):
    """Digits row by row, in the middle and shifted, by three networks of one size."""

    name, Settings = "cnn-rnn-fnn", CNNAgainstRNNSettings
    columns: ClassVar[dict[str, str]] = {
        "network": "network", "parameters": "parameters", **{name: name for name in DATA}, "seconds": "seconds",
    }  # fmt: skip
    _images: Images | None = None

    def jobs(self) -> list[str]:
        """The networks."""
        return list(NETWORKS)

    def measure(self, job: str, work: Work) -> Part:
        """Train on images in the middle and on shifted ones; the first is also tested on shifted ones."""
        s = self.settings
        images = self._images = self._images or load_images(s.data, s.seed, work.reporter.message)
        row: dict[str, Any] = {"network": job, "images": images.name}
        seconds = 0.0
        middle = DigitProblem(images, s.seed, shift=s.shift)
        shifted = DigitProblem(images, s.seed, shift=s.shift, move_train=True, move_test=True)
        in_test = DigitProblem(images, s.seed, shift=s.shift, move_test=True)
        for problem, also, names in ((middle, [in_test], (MIDDLE, IN_TEST)), (shifted, [], (SHIFTED,))):
            here = Work(work.folder / names[0].replace(" ", "-"), work.reporter)
            here.folder.mkdir(exist_ok=True)

            def make(problem: DigitProblem = problem) -> nn.Module:
                return make_network(job, problem, s.cell, s.parameters)

            learned = learn(job, make, problem, s, here, also)
            row |= {"parameters": learned.parameters}
            row |= {name: found["accuracy"] for name, found in zip(names, (learned.test, *learned.also), strict=True)}
            seconds += learned.seconds
        return Part([row | {"seconds": round(seconds, 1)}])

    def read(self, outcome: Outcome) -> str:
        """What moving the image costs each network."""
        parts = []
        for row in outcome.rows:
            middle, shifted, only = (row[name] for name in DATA)
            parts.append(f"{row['network']} {middle:.1%} → {shifted:.1%} (never trained on shifted ones: {only:.1%})")
        return (
            f"Accuracy on {outcome.rows[0]['images']} in the middle → shifted by up to {self.settings.shift} pixels: "
            + ("; ".join(parts) + ".")
        )

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """Bars by network and data."""
        axes = figure.subplots()
        for index, name in enumerate(DATA):
            places = [at + 0.27 * (index - 1) for at in range(len(outcome.rows))]
            bars = axes.bar(places, [row[name] for row in outcome.rows], 0.25, color=COLOURS[index], label=name)
            axes.bar_label(bars, fmt="{:.1%}", fontsize="x-small", padding=2)
        axes.set_xticks(
            range(len(outcome.rows)), [f"{r['network']}\n{r['parameters']:,} parameters" for r in outcome.rows]
        )
        axes.set(ylim=(0, 1.15), ylabel="test accuracy", title=f"{outcome.rows[0]['images']}, row by row")
        axes.legend(frameon=False, ncols=3, fontsize="small", loc="upper center")
        axes.spines[["top", "right"]].set_visible(False)
