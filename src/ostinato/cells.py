"""The equations. A cell is one function, `update`; all else follows from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.gated_cell import GatedCell, HiddenState, Norm, identity
from ostinato.linear_cells import MinGRUCell, MinLSTMCell, RGLRUCell


class RNNCell(GatedCell):
    """h' = tanh(x + h)      (Elman 1990)"""

    gates, State = ("h",), HiddenState
    aten = "rnn_tanh"

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.tanh(x.h + h.h))


class SigmoidRNNCell(GatedCell):
    """h' = σ(x + h)      (Elman 1990, with the logistic units of the time)

    For study: σ' is at most 1/4, so that a step back in time divides the gradient by four or more wherever W_hh keeps
    the length of a vector (Hochreiter 1991; Bengio et al. 1994, section III).
    """

    gates, State = ("h",), HiddenState

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.sigmoid(x.h + h.h))


class ReLURNNCell(GatedCell):
    """h' = max(0, x + h); as in `torch.nn.RNN`; see `IRNNCell` for how to start it"""

    gates, State = ("h",), HiddenState
    aten = "rnn_relu"

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.relu(x.h + h.h))


class IRNNCell(ReLURNNCell):
    """h' = max(0, x + h), and W_hh starts as the identity: it keeps the state      (Le, Jaitly & Hinton 2015)"""

    own_recurrent_init = "identity"


class IndRNNCell(GatedCell):
    """h' = max(0, x + u ⊙ h): units recur on themselves alone      (Li et al. 2018, eq. 2)

    u starts in U(0, 1), the paper's range [0, 2^(1/T)] for long sequences.
    """

    gates, State, vectors, recurrent = ("h",), HiddenState, ("u",), False

    @staticmethod
    def reset_vectors(v: Any) -> None:
        """U(0, 1)."""
        v.u.uniform_(0, 1)

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState, v: Any) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.relu(x.h + v.u * state.hidden))


class GRUCell(GatedCell):
    """r, z = σ(x + h);  n = tanh(x_n + r ⊙ h_n);  h' = (1 − z) ⊙ n + z ⊙ h      (Cho et al. 2014, PyTorch's variant)

    The reset gate applies after the product W_hn·h + b_hn, as in cuDNN.
    """

    gates, State = ("r", "z", "n"), HiddenState
    aten = "gru"

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:
        """See the class."""
        r = torch.sigmoid(x.r + h.r)
        z = torch.sigmoid(x.z + h.z)
        n = torch.tanh(x.n + r * h.n)
        return HiddenState((1 - z) * n + z * state.hidden)


class ResetFirstGRUCell(GatedCell):
    """r, z = σ(x + h);  n = tanh(x_n + W_hn·(r ⊙ h) + b_hn);  h' = (1 − z) ⊙ n + z ⊙ h      (Cho et al. 2014, eq. 5-8)

    The reset gate applies before the product, as first published.
    """

    gates, State, late = ("r", "z", "n"), HiddenState, ("n",)

    @staticmethod
    def late_input(x: Any, h: Any, state: HiddenState) -> Tensor:
        """What W_hn reads: r ⊙ h."""
        return torch.sigmoid(x.r + h.r) * state.hidden

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:
        """See the class."""
        z = torch.sigmoid(x.z + h.z)
        n = torch.tanh(x.n + h.n)
        return HiddenState((1 - z) * n + z * state.hidden)


class MGUCell(GatedCell):
    """f = σ(x + h);  n = tanh(x_n + W_hn·(f ⊙ h) + b_hn);  h' = (1 − f) ⊙ h + f ⊙ n      (Zhou et al. 2016, eq. 7)

    The minimal gated unit as published, which forgets before the product: one gate is reset and update at once.
    """

    gates, State, late = ("f", "n"), HiddenState, ("n",)

    @staticmethod
    def late_input(x: Any, h: Any, state: HiddenState) -> Tensor:
        """What W_hn reads: f ⊙ h."""
        return torch.sigmoid(x.f + h.f) * state.hidden

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:
        """See the class."""
        f = torch.sigmoid(x.f + h.f)
        n = torch.tanh(x.n + h.n)
        return HiddenState((1 - f) * state.hidden + f * n)


class LSTMState(NamedTuple):
    """The state of an LSTM."""

    hidden: Tensor
    """h, [batch, hidden]: what the cell shows."""
    cell: Tensor
    """c, [batch, hidden]: what it keeps."""


class LSTMCell(GatedCell):
    """i, f, o = σ(x + h);  g = tanh(x_g + h_g);  c' = f ⊙ c + i ⊙ g;  h' = o ⊙ tanh(c')

    (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)
    """

    gates, State = ("i", "f", "g", "o"), LSTMState
    forget_gate = "f"
    aten = "lstm"

    @staticmethod
    def update(x: Any, h: Any, state: LSTMState, norm: Norm = identity) -> LSTMState:
        """See the class."""
        i = torch.sigmoid(x.i + h.i)
        f = torch.sigmoid(x.f + h.f)
        g = torch.tanh(x.g + h.g)
        o = torch.sigmoid(x.o + h.o)
        cell = f * state.cell + i * g
        return LSTMState(o * torch.tanh(norm(cell)), cell)


class PeepholeLSTMCell(GatedCell):
    """i, f = σ(x + h + p ⊙ c);  g = tanh(x + h);  c' = f ⊙ c + i ⊙ g;  o = σ(x + h + p ⊙ c');  h' = o ⊙ tanh(c')

    (Gers & Schmidhuber 2000): the gates see the cell, the output gate the new one. p starts at zero.
    """

    gates, State, vectors = ("i", "f", "g", "o"), LSTMState, ("i", "f", "o")
    forget_gate = "f"

    @staticmethod
    def update(x: Any, h: Any, state: LSTMState, v: Any, norm: Norm = identity) -> LSTMState:
        """See the class."""
        i = torch.sigmoid(x.i + h.i + v.i * state.cell)
        f = torch.sigmoid(x.f + h.f + v.f * state.cell)
        g = torch.tanh(x.g + h.g)
        cell = f * state.cell + i * g
        o = torch.sigmoid(x.o + h.o + v.o * cell)
        return LSTMState(o * torch.tanh(norm(cell)), cell)


class SLSTMState(NamedTuple):
    """The state of an sLSTM."""

    hidden: Tensor
    """h, [batch, hidden]: what the cell shows."""
    cell: Tensor
    """c, [batch, hidden]: what it keeps, in units of e^m."""
    normaliser: Tensor
    """n, [batch, hidden]: the weights of what it keeps, in units of e^m; never negative, zero before the first step."""
    stabiliser: Tensor
    """m, [batch, hidden]: the logarithm of the unit."""


class SLSTMCell(GatedCell):
    """c' = f ⊙ c + i ⊙ tanh(x_z + h_z);  n' = f ⊙ n + i;  h' = σ(x_o + h_o) ⊙ c' / n'      (Beck et al. 2024, eq. 8-17)

    with i = exp(x_i + h_i − m'), f = exp(log σ(x_f + h_f) + m − m') and m' = max(log σ(x_f + h_f) + m, x_i + h_i): no
    exponential overflows, and h' does not depend on m. Of the paper's two forget gates this is the sigmoid; its W_hh is
    of one head.
    """

    gates, State = ("i", "f", "z", "o"), SLSTMState
    scaled = ("cell", "normaliser", "stabiliser")
    forget_gate = "f"

    @staticmethod
    def update(x: Any, h: Any, state: SLSTMState) -> SLSTMState:
        """See the class."""
        log_i = x.i + h.i
        # a state of zeros has no unit yet; with that of its first input n' is 1, not what may underflow to 0
        m = torch.where(state.normaliser == 0, log_i, state.stabiliser)
        log_f = functional.logsigmoid(x.f + h.f) + m
        stabiliser = torch.maximum(log_f, log_i)
        i, f = torch.exp(log_i - stabiliser), torch.exp(log_f - stabiliser)
        cell = f * state.cell + i * torch.tanh(x.z + h.z)
        normaliser = f * state.normaliser + i
        return SLSTMState(torch.sigmoid(x.o + h.o) * cell / normaliser, cell, normaliser, stabiliser)


CELLS: dict[str, type[GatedCell]] = {
    "rnn": RNNCell,
    "sigmoid-rnn": SigmoidRNNCell,
    "relu-rnn": ReLURNNCell,
    "irnn": IRNNCell,
    "indrnn": IndRNNCell,
    "gru": GRUCell,
    "reset-first-gru": ResetFirstGRUCell,
    "mgu": MGUCell,
    "lstm": LSTMCell,
    "peephole-lstm": PeepholeLSTMCell,
    "slstm": SLSTMCell,
    "min-gru": MinGRUCell,
    "min-lstm": MinLSTMCell,
    "rg-lru": RGLRUCell,
}
"""The cells by the name that a setting takes."""
