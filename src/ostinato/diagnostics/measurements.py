"""What is measured of a model and its training: numbers and arrays, to and from JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from types import NoneType
from typing import Any, Self, get_args, get_origin, get_type_hints

import numpy as np

from ostinato.errors import DataError

FORMAT = 1
"""Of the JSON; a file of another is refused."""


@dataclass(frozen=True)
class LayerMeasurements:
    """One recurrent layer in one direction, over the rows and steps that were measured.

    h is the hidden state, s the whole state (for an LSTM h and c side by side). A step is one of the layer's own time:
    for a backward direction the step before is the one to the right.
    """

    name: str
    """For people: `layer 0`, `layer 0, backward`, `encoder, layer 1`."""
    module: str
    """Its name within the network, as `named_modules` has it."""
    cell: str
    """Its name in `CELLS`, or that of its class."""
    hidden_size: int
    gates: tuple[str, ...]
    state_parts: tuple[str, ...]
    """Names of the parts of s; the first is `hidden`."""
    reverse: bool
    rows: int
    """Sequences measured, side by side."""
    steps: int
    """Their length, of the longest."""

    gradient_by_lag: np.ndarray
    """[lags], ‖∂L_t/∂h_{t−k}‖₂ for k = 0, 1, …: mean over rows, nats a unit (Pascanu et al. 2013, eq. 4-5).

    L_t is the loss at one late step t of each row; h_{t−k} is moved alone, as the next step and the layer above read
    it, while other parts of s stay. For layers below the top one the ways through the layers above are included. inf
    where it left the range of floats; a single 0 where the loss reads nothing of the layer.
    """
    gradient_by_part: dict[str, np.ndarray]
    """The same with respect to each part of s: `hidden` is `gradient_by_lag`; that of `cell` is an LSTM's memory."""
    half_life_steps: float
    """Steps in which the gradient halves, of the exponential fitted to `gradient_by_lag` from k = 1 on, as long as a
    thousandth of it is left; inf where it does not fall."""
    fit_quality: float
    """R² of that fit of ln ‖∂L_t/∂h_{t−k}‖ against k: near 1 the fading is exponential. NaN where there is no fit."""

    jacobian_lags: np.ndarray
    """int [m], the k of `jacobian_log_singular`."""
    jacobian_log_singular: np.ndarray
    """[m, n], ln of the n largest singular values of ∂s_t/∂s_{t−k}, mean over rows. A vanishing gradient: all far
    below 0; an exploding one: the first far above (Bengio et al. 1994; Pascanu et al. 2013, section 2.1)."""
    lyapunov: np.ndarray
    """[n], the leading Lyapunov exponents, nats a step: lim ln σᵢ(∂s_t/∂s_{t−k}) / k, by QR (Benettin et al. 1980).
    Below 0 the state forgets, above 0 it is chaotic (Engelken et al. 2023; Vogt et al. 2022). These and the singular
    values are NaN, and there are no eigenvalues, where a state left the range of floats."""
    eigenvalues: np.ndarray
    """complex [parts · hidden], of the mean one-step Jacobian ∂s_t/∂s_{t−1}, largest modulus first."""
    spectral_radius: float
    """The largest modulus of `eigenvalues`."""

    growth: float
    """Mean log₂ ‖λ_{t−1}‖/‖λ_t‖ of the gradient λ = ∂L/∂s carried back one step: −1/`growth` is the half-life where
    it falls steadily."""
    derivative_part: float
    """The same of λ → diag φ′(a) λ, to the pre-activations a of all gates; NaN without a recurrent matrix."""
    weight_part: float
    """The same of W_hhᵀ: for a vanilla RNN J = diag φ′(a) W, and `derivative_part` + `weight_part` = `growth`."""
    direct_part: float
    """The same of the way from s_t to s_{t−1} that meets no matrix (f ⊙ of an LSTM, z ⊙ of a GRU); NaN if there is
    none, as in a vanilla RNN."""

    activations: dict[str, str]
    """Gate → `sigmoid`, `tanh` or `relu`, found in the equations; a gate of another kind is left out."""
    gate_mean: dict[str, np.ndarray]
    """Gate → [hidden], mean value after its activation."""
    saturation: dict[str, np.ndarray]
    """Gate → [2, hidden], the share of steps at which it is at its low and at its high end: sigmoid below 0.1 or above
    0.9 (Karpathy et al. 2016, section 4.2), tanh below −0.95 or above 0.95, relu at 0 (it has no high end)."""
    dead: np.ndarray
    """bool [hidden]: the output is 0 at every step measured."""
    idle: np.ndarray
    """bool [hidden]: not dead, but the output's deviation over all steps is below 1 % of the layer's root mean
    square: a constant."""
    state_norm: dict[str, np.ndarray]
    """Part of s → [time], mean over rows of its ‖·‖₂ after each step, in the layer's own time."""

    @property
    def jacobian_singular(self) -> np.ndarray:
        """[m, n], singular values themselves; those beyond what a float64 holds are 0 or inf."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.jacobian_log_singular)


@dataclass(frozen=True)
class RunMeasurements:
    """What `history.jsonl` tells of a training; what one of an older version lacks is NaN, or empty."""

    step: np.ndarray
    """int [n], optimiser's steps at which the following were written; each is over the steps since the one before."""
    loss: np.ndarray
    """[n], nats a target."""
    learning_rate: np.ndarray
    """[n], at that step."""
    gradient_norm: np.ndarray
    """[n], mean ‖g‖₂ of all parameters before clipping."""
    gradient_norm_max: np.ndarray
    """[n], the largest."""
    clip_rate: np.ndarray
    """[n], share of steps at which something was clipped."""
    update_ratio: np.ndarray
    """[n], ‖Δw‖₂/‖w‖₂ over all parameters, at that step: some 10⁻³ is usual."""
    loss_deviation: np.ndarray
    """[n], standard deviation of the loss between batches, nats a target."""
    skipped_steps: int
    """Steps whose loss or gradient was not finite."""
    returns: int
    """How often the training went back to a checkpoint with half the rate."""
    variance_explained: dict[str, float]
    """What the loss's variance between neighbouring batches goes with: shares by `ostinato.measures.variance`, with
    `unexplained`; empty where there are too few steps."""
    validation_step: np.ndarray
    """int [v]."""
    validation_loss: np.ndarray
    """[v], nats."""
    gradient_step: np.ndarray
    """int [e], steps at which the gradient by lag was measured."""
    gradient_lags: np.ndarray
    """int [k]."""
    gradient_by_lag: dict[str, np.ndarray]
    """Layer's name → [e, k], ‖∂L_t/∂h_{t−k}‖₂ on the same few sequences each time."""


@dataclass(frozen=True)
class Forgetting:
    """The loss against how much the model may see."""

    context_steps: np.ndarray
    """int [c], steps before the target."""
    loss: np.ndarray
    """[c], mean loss of the same targets, nats."""


@dataclass(frozen=True)
class Unlearned:
    """What single tokens further back would still tell a language model; see `unlearned_by_lag`."""

    lags: np.ndarray
    """int [k], steps before the target; 1 is the last token read."""
    gain: np.ndarray
    """[k], nats a token that knowing that token better would save, at least; about 0 where all of it is used."""
    deviation: np.ndarray
    """[k], standard deviation of `gain` by chance."""
    tokens: int
    """Targets counted."""


@dataclass(frozen=True)
class Measurements:
    """All that was measured of a model.

    >>> run = RunMeasurements(
    ...     **{f.name: np.zeros(0) for f in fields(RunMeasurements)}
    ...     | {
    ...         "skipped_steps": 0,
    ...         "returns": 0,
    ...         "variance_explained": {"trend": 0.5, "unexplained": 0.5},
    ...         "gradient_by_lag": {"layer 0": np.array([[1.0, np.inf]])},
    ...     }
    ... )
    >>> measured = Measurements("language-model", 1000, 64, [], Forgetting(np.array([1, 8]), np.array([3.0, 2.5])), run)
    >>> again = Measurements.from_json(measured.to_json())
    >>> again.forgetting.loss, again.run.gradient_by_lag["layer 0"], again.run.variance_explained["trend"]
    (array([3. , 2.5]), array([[ 1., inf]]), 0.5)
    """

    task: str
    steps: int
    """Of the data that were measured, over all rows: tokens for text."""
    truncation_steps: int | None
    """Steps that training propagates through; None: whole sequences."""
    layers: list[LayerMeasurements]
    forgetting: Forgetting | None = None
    """None where the task has no such curve."""
    run: RunMeasurements | None = None
    """None where no history stands with the model."""
    unlearned: Unlearned | None = None
    """None but for language models."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the model, as its bundle has them."""
    sampled: dict[str, Any] = field(default_factory=dict)
    """How much was measured, by name: rows, steps and lags, and what of the data was left out."""
    seconds: float = 0.0
    """That measuring took."""
    needed_steps: int | None = None
    """Steps back to what an answer depends on, where the task is made so that this is known."""

    def to_json(self) -> str:
        """JSON: arrays as lists, complex numbers as [real, imaginary], numbers that are not finite as strings."""
        return json.dumps({"format": FORMAT, **_plain(asdict(self))}, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            DataError: if it is something else, or of another version.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise DataError(f"measurements of another version: expected format {FORMAT}; measure again")
            return _dataclass(cls, values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"not measurements as Measurements.to_json writes them: {error}") from None


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        complex_numbers = np.iscomplexobj(value)
        return _plain((np.stack([value.real, value.imag], -1) if complex_numbers else value).tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _dataclass(kind: Any, values: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    return kind(**{part.name: _typed(hints[part.name], values[part.name], part.name) for part in fields(kind)})


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A value of JSON as the type of its field."""
    inner = get_args(hint)
    if NoneType in inner:  # X | None
        return None if value is None else _typed(next(each for each in inner if each is not NoneType), value, name)
    if hint is np.ndarray:
        return _array(value, name)
    if hint is float:
        return float(value)
    match get_origin(hint):
        case origin if origin is dict:
            return {key: _typed(inner[1], part, name) for key, part in value.items()}
        case origin if origin in (list, tuple):
            return origin(_typed(inner[0], part, name) for part in value)
        case _:
            return _dataclass(hint, value) if hasattr(hint, "__dataclass_fields__") else value


_TYPES = {"eigenvalues": np.complex128, "dead": np.bool_, "idle": np.bool_}
_WHOLE = frozenset(
    {"jacobian_lags", "step", "validation_step", "gradient_step", "gradient_lags", "context_steps", "lags"}
)  # counts


def _array(value: Any, name: str) -> np.ndarray:
    kind = np.int64 if name in _WHOLE else _TYPES.get(name, np.float64)
    if kind is np.complex128:
        return np.array([complex(float(real), float(imaginary)) for real, imaginary in value], kind)
    return np.array(value, dtype=object).astype(kind) if value else np.array(value, kind)
