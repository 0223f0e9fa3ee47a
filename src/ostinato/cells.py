"""The equations. A cell is one function, `update`; all else follows from it."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.initialisers import initialise
from ostinato.kernels.reference import Weights, project, step


class HiddenState(NamedTuple):
    """The state of a cell that carries one vector."""

    hidden: Tensor
    """h, [batch, hidden]."""


class LSTMState(NamedTuple):
    """The state of an LSTM."""

    hidden: Tensor
    """h, [batch, hidden]: what the cell shows."""
    cell: Tensor
    """c, [batch, hidden]: what it keeps."""


class GatedCell(nn.Module):
    r"""A recurrent cell: x = W_ih·input + b_ih and h = W_hh·hidden + b_hh, then `update(x, h, state)`.

    A subclass states `gates` (the order of the rows of every weight), `State` (a named tuple whose first part is the
    output) and `update`; it runs wherever a built-in cell does.

    Args:
        input_size: features of an input.
        hidden_size: units.
        bias: whether b_ih and b_hh exist.
        weight_init: initialiser of W_ih by name (see `ostinato.initialisers`).
        recurrent_init: initialiser of W_hh by name.
        forget_bias: value of b_ih at the gate named by `forget_gate`, so that the cell remembers at first
            (Gers et al. 2000; Jozefowicz et al. 2015, section 5); all other biases start at zero.

    Shapes:
        weight_ih [gates·hidden, input], weight_hh [gates·hidden, hidden], bias_ih and bias_hh [gates·hidden].

    >>> class MGU(GatedCell):
    ...     '''Minimal gated unit (Zhou et al. 2016): one gate forgets and updates.'''
    ...
    ...     gates, State = ("f", "n"), HiddenState
    ...
    ...     @staticmethod
    ...     def update(x, h, state):
    ...         f = torch.sigmoid(x.f + h.f)
    ...         n = torch.tanh(x.n + f * h.n)
    ...         return HiddenState((1 - f) * state.hidden + f * n)
    >>> cell = MGU(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).hidden.shape
    torch.Size([2, 5])
    """

    gates: ClassVar[tuple[str, ...]]
    State: ClassVar[Any]
    Gates: ClassVar[Any]
    Vectors: ClassVar[Any] = None
    forget_gate: ClassVar[str | None] = None
    aten: ClassVar[str | None] = None
    """PyTorch's own loop for the same equations, if it has one."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "gates" in vars(cls):
            cls.Gates = namedtuple("Gates", cls.gates)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        weight_init: str = "xavier",
        recurrent_init: str = "orthogonal",
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"input_size = {input_size}, hidden_size = {hidden_size}: both must be at least 1")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_init, self.recurrent_init, self.forget_bias = weight_init, recurrent_init, forget_bias
        rows = len(self.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights anew."""
        initialise(self.weight_ih, self.weight_init, len(self.gates))
        initialise(self.weight_hh, self.recurrent_init, len(self.gates))
        with torch.no_grad():
            for bias in (self.bias_ih, self.bias_hh):
                if bias is not None:
                    bias.zero_()
            if self.bias_ih is not None and self.forget_gate is not None:
                self.bias_ih.chunk(len(self.gates))[self.gates.index(self.forget_gate)].fill_(self.forget_bias)

    @staticmethod
    def update(x: Any, h: Any, state: Any) -> Any:
        """The equations: the state after a step.

        Args:
            x: pre-activations from the input by gate, [batch, hidden] each.
            h: pre-activations from the hidden state by gate, [batch, hidden] each.
            state: before the step.
        """
        raise NotImplementedError("a cell states its equations in update(x, h, state)")

    def weights(self) -> Weights:
        """The parameters, as a time loop takes them."""
        return Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def initial_state(self, batch_size: int) -> Any:
        """Zeros, [batch, hidden] for each part of the state, like the weights in type and place."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return self.State(*(zeros for _ in self.State._fields))

    def forward(self, inputs: Tensor, state: Any) -> Any:
        """One step: inputs [batch, input], the state before → the state after."""
        weights = self.weights()
        return step(type(self), weights, project(weights, inputs), state)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias_ih is not None}"


class RNNCell(GatedCell):
    """h' = tanh(x + h)      (Elman 1990)"""

    gates, State = ("h",), HiddenState
    aten = "rnn_tanh"

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.tanh(x.h + h.h))


class ReLURNNCell(GatedCell):
    """h' = max(0, x + h); with `recurrent_init="identity"` it is the IRNN      (Le, Jaitly & Hinton 2015)"""

    gates, State = ("h",), HiddenState
    aten = "rnn_relu"

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState) -> HiddenState:  # noqa: ARG004
        """See the class."""
        return HiddenState(torch.relu(x.h + h.h))


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


class LSTMCell(GatedCell):
    """i, f, o = σ(x + h);  g = tanh(x_g + h_g);  c' = f ⊙ c + i ⊙ g;  h' = o ⊙ tanh(c')

    (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)
    """

    gates, State = ("i", "f", "g", "o"), LSTMState
    forget_gate = "f"
    aten = "lstm"

    @staticmethod
    def update(x: Any, h: Any, state: LSTMState) -> LSTMState:
        """See the class."""
        i = torch.sigmoid(x.i + h.i)
        f = torch.sigmoid(x.f + h.f)
        g = torch.tanh(x.g + h.g)
        o = torch.sigmoid(x.o + h.o)
        cell = f * state.cell + i * g
        return LSTMState(o * torch.tanh(cell), cell)


CELLS: dict[str, type[GatedCell]] = {"rnn": RNNCell, "relu-rnn": ReLURNNCell, "gru": GRUCell, "lstm": LSTMCell}
"""The cells by the name that a setting takes."""
