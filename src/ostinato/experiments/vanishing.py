"""How a gradient fades on its way back through time, and with it the terms of back-propagation."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ostinato.cells import GRUCell, IRNNCell, LSTMCell, ReLURNNCell, RNNCell
from ostinato.experiments.chrono import chrono
from ostinato.experiments.figures import draw_curves
from ostinato.experiments.frame import Curve, Experiment, ExperimentSettings, Outcome, Part, Work
from ostinato.gated_cell import GatedCell, HiddenState
from ostinato.kernels.reference import project, step
from ostinato.measures.gradients import half_life
from ostinato.recurrent import Recurrent


class SigmoidRNNCell(GatedCell):
    """h' = σ(x + h): the derivative of σ is at most 1/4, so a step keeps at most ‖W‖ / 4 of a gradient"""

    gates, State = ("h",), HiddenState

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.sigmoid(x.h + h.h))


class Start(NamedTuple):
    """A cell and how its gates start."""

    cell: type[GatedCell]
    chrono: bool = False


STARTS = {
    "sigmoid RNN": Start(SigmoidRNNCell), "tanh RNN": Start(RNNCell), "ReLU RNN": Start(ReLURNNCell),
    "IRNN": Start(IRNNCell), "GRU": Start(GRUCell), "LSTM": Start(LSTMCell),
    "GRU, chrono": Start(GRUCell, chrono=True), "LSTM, chrono": Start(LSTMCell, chrono=True),
}  # fmt: skip
_TINY, _FLOOR = 1e-300, 1e-16  # what a logarithm takes for zero, and what the figure shows
_TERMS = ": terms"  # of the name of a curve


class Terms(NamedTuple):
    """Back-propagation by the book, of one loss L_T = v·h_T."""

    by_lag: np.ndarray
    """‖∂L_T/∂s_{T−k}‖ for k = 0 … T−1, a mean over the batch; s is the whole state, [lags]."""
    term_norms: np.ndarray
    """‖∂L_T/∂s_k · ∂⁺s_k/∂W_hh‖, the term of each lag, [lags]."""
    disagreement: float
    """Largest difference of Σ terms from the gradient of a training, as a share of that gradient's largest value."""


def back_propagate(cell: GatedCell, inputs: Tensor, direction: Tensor) -> Terms:
    """∂L_T/∂W = Σ_k ∂L_T/∂s_k ∂⁺s_k/∂W, term by term, where ∂⁺ holds s_{k−1} fixed (Pascanu et al. 2013, eq. 3-5).

    W gets a copy for each step, so that the gradient by the copy of step k is the term of k.

    Args:
        cell: with W_hh, in float64.
        inputs: [time, batch, input].
        direction: v, [batch, hidden].

    >>> cell = SigmoidRNNCell(1, 1).double()
    >>> with torch.no_grad():
    ...     _ = cell.weight_hh.fill_(0.8)
    >>> found = back_propagate(cell, torch.zeros(5, 1, 1).double(), torch.ones(1, 1).double())
    >>> bool((found.by_lag[1:] / found.by_lag[:-1] < 0.8 / 4).all()), found.disagreement < 1e-12
    (True, True)
    """
    weights = cell.weights()
    assert weights.weight_hh is not None  # noqa: S101
    copies = [weights.weight_hh.detach().clone().requires_grad_() for _ in inputs]
    state = cell.initial_state(inputs.shape[1])
    states = []
    for at, copy in zip(inputs, copies, strict=True):
        held = weights._replace(weight_hh=copy)
        state = step(type(cell), held, project(held, at), state)
        states.append(state)
    loss = (state[0] * direction).sum()
    parts = [part for each in states for part in each]
    found = torch.autograd.grad(loss, [*parts, *copies], allow_unused=True, materialize_grads=True)
    width = len(states[0])  # parts of a state
    of_states = [torch.cat(found[at : at + width], 1) for at in range(0, len(parts), width)]
    terms = found[len(parts) :]
    outputs, _ = Recurrent(cell)(inputs)
    whole = torch.autograd.grad((outputs[-1] * direction).sum(), weights.weight_hh)[0]
    return Terms(
        np.array([float(each.norm(dim=1).mean()) for each in reversed(of_states)]),
        np.array([float(term.norm()) for term in reversed(terms)]),
        float((torch.stack(terms).sum(0) - whole).abs().max() / whole.abs().max().clamp(min=_TINY)),
    )


def kept_a_step(by_lag: np.ndarray) -> float:
    """The factor q of an exponential c·q^k fitted to norms by lag: least squares of the logarithms.

    >>> kept_a_step(0.5 ** np.arange(10)), kept_a_step(1.5 ** np.arange(10))
    (0.5, 1.5)
    """
    kept = by_lag > _TINY
    if kept.sum() < 2:
        return 0.0
    return round(math.exp(np.polyfit(np.arange(len(by_lag))[kept], np.log(by_lag[kept]), 1)[0]), 9)


class VanishingSettings(ExperimentSettings):
    """How gradients fade."""

    time_steps: int = Field(100, ge=2, description="T, and the longest lag")
    hidden_size: int = Field(64, ge=1, description="units")
    input_size: int = Field(16, ge=1, description="features of an input, normally distributed")
    batch_size: int = Field(8, ge=1, description="sequences, over which norms are averaged")
    draws: int = Field(5, ge=1, description="of weights and inputs, over which the logarithms are averaged")
    scale: float = Field(1.0, gt=0, description="what the recurrent weights are multiplied with at first")


class Vanishing(Experiment):
    """The gradient of a loss at the last step by the states before it, for cells as they start."""

    name, Settings = "vanishing", VanishingSettings
    columns: ClassVar[dict[str, str]] = {
        "cell": "cell", "lag_1": "lag 1", "lag_10": "lag 10", "lag_middle": "half of T", "lag_last": "T − 1",
        "per_step": "a step keeps", "half_life": "half-life", "lags_of_weight": "lags of 99 % of ∂L/∂W",
        "disagreement": "Σ terms − gradient",
    }  # fmt: skip

    def jobs(self) -> list[str]:
        """The cells."""
        return list(STARTS)

    def measure(self, job: str, work: Work) -> Part:  # noqa: ARG002 - done in seconds
        """The mean of the logarithms over some draws of weights and inputs."""
        s, start = self.settings, STARTS[job]
        found = []
        for index in range(s.draws):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(s.seed * 1000 + index)
                cell = start.cell(s.input_size, s.hidden_size).double()
                assert cell.weight_hh is not None  # noqa: S101
                with torch.no_grad():
                    cell.weight_hh.mul_(s.scale)
                if start.chrono:
                    chrono(cell, s.time_steps)
                inputs = torch.randn(s.time_steps, s.batch_size, s.input_size, dtype=torch.float64)
                direction = torch.randn(s.batch_size, s.hidden_size, dtype=torch.float64)
                direction /= direction.norm(dim=1, keepdim=True)
                found.append(back_propagate(cell, inputs, direction))
        lags = _mean([each.by_lag / each.by_lag[0] for each in found])
        terms = _mean([each.term_norms for each in found])
        last = s.time_steps - 1
        reached = np.cumsum(terms) / terms.sum()
        kept = kept_a_step(lags)
        row = {
            "cell": job, "lag_1": lags[1], "lag_10": lags[min(10, last)], "lag_middle": lags[s.time_steps // 2],
            "lag_last": lags[last], "per_step": kept, "half_life": half_life(lags).half_life_steps,
            "lags_of_weight": int(np.searchsorted(reached, 0.99)) + 1,
            "disagreement": max(each.disagreement for each in found),
        }  # fmt: skip
        row = {name: float(value) if isinstance(value, np.floating) else value for name, value in row.items()}
        steps = [float(lag) for lag in range(s.time_steps)]
        return Part([row], [Curve(job, steps, lags.tolist()), Curve(job + _TERMS, steps[:-1], terms.tolist()[:-1])])

    def read(self, outcome: Outcome) -> str:
        """Who forgets fastest, and who longest."""
        rows = sorted(outcome.rows, key=lambda row: row["lag_last"])
        first, last = rows[0], rows[-1]
        most = max(row["disagreement"] for row in rows)
        return (
            f"After {self.settings.time_steps - 1} steps the gradient of the {first['cell']} is "
            f"{first['lag_last']:.1e} of what it was, that of the {last['cell']} {last['lag_last']:.1e} of it. "
            f"The terms of ∂L/∂W add up to the gradient of training: the largest difference is {most:.0e} of it."
        )

    def draw(self, figure: Any, outcome: Outcome) -> None:
        """Gradients by lag, and terms of the weight's gradient by lag."""
        left, right = figure.subplots(1, 2)
        shown = [Curve(c.name, c.x, [max(y, _FLOOR / 10) for y in c.y]) for c in outcome.curves]
        states, terms = [c for c in shown if _TERMS not in c.name], [c for c in shown if _TERMS in c.name]
        lag, norm = "lag k, steps", r"$\|\partial L_T/\partial s_{T-k}\|\ /\ \|\partial L_T/\partial s_T\|$"
        draw_curves(left, states, lag, norm, yscale="log")
        draw_curves(
            right, terms, lag, r"norm of the term of step $T-k$ in $\partial L_T/\partial W_{hh}$", yscale="log"
        )
        for axes, title in ((left, "the gradient by the state"), (right, "its terms in the gradient by the weight")):
            axes.set_ylim(bottom=_FLOOR)
            axes.set_title(title, fontsize="medium")
            axes.get_legend().remove()
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)


def _mean(values: list[np.ndarray]) -> np.ndarray:
    """The geometric mean."""
    return np.exp(np.mean([np.log(np.maximum(value, _TINY)) for value in values], axis=0))
