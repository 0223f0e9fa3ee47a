"""One layer's work, as a backend gets it, and what a backend gives back."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor


class CellLike(Protocol):
    """What a time loop needs to know of a cell: its equations, not its weights."""

    Gates: ClassVar[Any]
    Vectors: ClassVar[Any]
    State: Any
    late: ClassVar[tuple[str, ...]]
    update: Any
    late_input: Any


class Weights(NamedTuple):
    """The parameters of one layer; what a layer lacks is None."""

    weight_ih: Tensor
    """[gates·hidden, input]."""
    weight_hh: Tensor | None = None
    """[gates·hidden, hidden], or [gates·hidden, projection]; None for a cell without a recurrent product."""
    bias_ih: Tensor | None = None
    """[gates·hidden]."""
    bias_hh: Tensor | None = None
    """[gates·hidden]."""
    vectors: tuple[Tensor, ...] = ()
    """[hidden] each: the cell's parameters by unit, in the order of its `vectors`."""
    weight_hr: Tensor | None = None
    """[projection, hidden]: the hidden state is W_hr·h (Sak et al. 2014)."""
    norm_ih: Tensor | None = None
    """[gates·hidden]: the gain of layer normalisation of W_ih·x (Ba et al. 2016, eq. 20); None: not normalised."""
    norm_hh: Tensor | None = None
    """[gates·hidden]: the gain of layer normalisation of W_hh·h."""
    norm_state: Tensor | None = None
    """[2, hidden]: gain and shift of layer normalisation at the cell's own place for it (eq. 22)."""


class LayerCall(NamedTuple):
    """One layer's work, as a backend gets it."""

    cell: type[CellLike]
    weights: Weights
    inputs: Tensor
    """[time, batch, input]."""
    state: Any
    """The cell's `State`, each part [batch, hidden]."""
    lengths: Tensor | None = None
    """int64 [batch]: steps that count in each row; all of them if None."""
    reverse: bool = False
    """From the last step that counts to the first."""
    resets: Tensor | None = None
    """bool [time, batch]: where the state is zero before the step."""
    zoneout: tuple[Tensor | None, ...] | None = None
    """By part of the state, how much of the old value stays, [time, batch, hidden] in 0 to 1 (Krueger et al. 2017)."""
    every: bool = False
    """Whether the full state of every step is wanted."""
    low_memory: bool = False
    """Whether to recompute in the backward pass what need not be kept."""
    hidden_mask: Tensor | None = None
    """[batch, hidden]: what multiplies the hidden state before every product with W_hh (Gal & Ghahramani 2016)."""
    batch_norm: Any = None
    """What normalises in place of layer normalisation where `weights` has gains: `batch_norm.at(step, live)`."""


class LayerResult(NamedTuple):
    """What a backend returns."""

    outputs: Tensor
    """[time, batch, hidden], zero beyond a row's length."""
    state: Any
    """After each row's last step."""
    states: Any = None
    """If asked for, the state after every step, each part [time, batch, hidden], zero beyond a row's length."""
