"""What all cells are: weights, a state, and one function, `update`, from which all else follows."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.initialisers import initialise
from ostinato.kernels.reference import Weights, project, step


class HiddenState(NamedTuple):
    """The state of a cell that carries one vector."""

    hidden: Tensor
    """h, [batch, hidden]."""


Norm = Callable[[Tensor], Tensor]


def identity(values: Tensor) -> Tensor:
    """No normalisation: the place for one, where the layer has none."""
    return values


def parameter(module: nn.Module, name: str) -> Any:
    """A module's parameter by name, without the search of `nn.Module.__getattr__`, as long as a short step."""
    try:
        return module._parameters[name]
    except KeyError:  # a parametrisation stands in its place
        return getattr(module, name)


class GatedCell(nn.Module):
    r"""A recurrent cell: x = W_ih·input + b_ih and h = W_hh·hidden + b_hh, then `update(x, h, state)`.

    A subclass states `gates` (the order of the rows of every weight), `State` (a named tuple whose first part is the
    output) and `update`; it runs wherever a built-in cell does. What else its equations may need:

    - `vectors`: parameters by unit, which `update(x, h, state, v)` gets by name; `reset_vectors` fills them at first;
    - `recurrent = False`: no W_hh and no b_hh; `h` is the empty tuple;
    - `late`: the last of the gates, whose product reads `late_input(x, h, state)` instead of the hidden state;
    - `update(..., norm=identity)`: `norm` goes where layer normalisation of the state has its place.

    Args:
        input_size: features of an input.
        hidden_size: units.
        bias: whether b_ih and b_hh exist.
        weight_init: initialiser of W_ih by name (see `ostinato.initialisers`).
        recurrent_init: initialiser of W_hh by name; the cell's own if None, which is orthogonal for most.
        forget_bias: value of b_ih at the gate named by `forget_gate`, so that the cell remembers at first
            (Gers et al. 2000; Jozefowicz et al. 2015, section 5); all other biases start at zero.

    Shapes:
        weight_ih [gates·hidden, input], weight_hh [gates·hidden, hidden], bias_ih and bias_hh [gates·hidden],
        vector_<name> [hidden].

    >>> class Leaky(GatedCell):
    ...     '''h' = a ⊙ h + (1 − a) ⊙ tanh(x + h), each unit with a pace of its own.'''
    ...
    ...     gates, State, vectors = ("h",), HiddenState, ("pace",)
    ...
    ...     @staticmethod
    ...     def update(x, h, state, v):
    ...         a = torch.sigmoid(v.pace)
    ...         return HiddenState(a * state.hidden + (1 - a) * torch.tanh(x.h + h.h))
    >>> cell = Leaky(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).hidden.shape
    torch.Size([2, 5])
    """

    gates: ClassVar[tuple[str, ...]]
    State: Any
    Gates: ClassVar[Any]
    vectors: ClassVar[tuple[str, ...]] = ()
    Vectors: ClassVar[Any] = None
    recurrent: ClassVar[bool] = True
    late: ClassVar[tuple[str, ...]] = ()
    normalises: ClassVar[bool] = False
    """Whether `update` takes `norm`: found from its signature."""
    scaled: ClassVar[tuple[str, ...]] = ()
    """Parts of the state whose scale one of them sets: none of these can keep an old value while another moves on."""
    forget_gate: ClassVar[str | None] = None
    own_recurrent_init: ClassVar[str] = "orthogonal"
    aten: ClassVar[str | None] = None
    """PyTorch's own loop for the same equations, if it has one."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "gates" in vars(cls):
            cls.Gates = namedtuple("Gates", cls.gates)
        if "vectors" in vars(cls):
            cls.Vectors = namedtuple("Vectors", cls.vectors) if cls.vectors else None
        if "update" in vars(cls):
            cls.normalises = "norm" in inspect.signature(cls.update).parameters
        if cls.late and (cls.gates[-len(cls.late) :] != cls.late or not cls.recurrent):
            raise TypeError(f"{cls.__name__}: late = {cls.late} must be the last of gates = {cls.gates}, and recurrent")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        weight_init: str = "xavier",
        recurrent_init: str | None = None,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"input_size = {input_size}, hidden_size = {hidden_size}: both must be at least 1")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_init, self.forget_bias = weight_init, forget_bias
        self.recurrent_init = recurrent_init or self.own_recurrent_init
        rows = len(self.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size)) if self.recurrent else None
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias and self.recurrent else None
        for name in self.vectors:
            self.register_parameter(f"vector_{name}", nn.Parameter(torch.empty(hidden_size)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights anew."""
        initialise(self.weight_ih, self.weight_init, len(self.gates))
        if self.weight_hh is not None:
            initialise(self.weight_hh, self.recurrent_init, len(self.gates))
        with torch.no_grad():
            if self.vectors:
                self.reset_vectors(self.Vectors(*self.weights().vectors))
            for bias in (self.bias_ih, self.bias_hh):
                if bias is not None:
                    bias.zero_()
            if self.bias_ih is not None and self.forget_gate is not None:
                self.bias_ih.chunk(len(self.gates))[self.gates.index(self.forget_gate)].fill_(self.forget_bias)

    @staticmethod
    def reset_vectors(v: Any) -> None:
        """Fill the parameters by unit in place: zeros, unless a cell says otherwise.

        Args:
            v: by name, [hidden] each.
        """
        for vector in v:
            vector.zero_()

    # typed as a value, so that a cell may take what it needs of (x, h, state, v, norm)
    update: Callable[..., Any]
    """The equations, a static method: the state after a step.

    It gets `x`, pre-activations from the input by gate, [batch, hidden] each; `h`, those from the hidden state;
    `state`, before the step; and, if the cell has `vectors`, `v`. Point-wise operations only, each on whole tensors,
    none in place: kernels are derived from it by tracing.
    """

    @staticmethod
    def late_input(x: Any, h: Any, state: Any) -> Tensor:
        """What the product of the `late` gates reads instead of the hidden state, [batch, hidden].

        Args:
            x: pre-activations from the input by gate.
            h: those from the hidden state, None at the late gates.
            state: before the step.
        """
        raise NotImplementedError("a cell with late gates says what they read in late_input(x, h, state)")

    def weights(self) -> Weights:
        """The parameters, as a time loop takes them."""
        vectors = tuple(getattr(self, f"vector_{name}") for name in self.vectors) if self.vectors else ()
        return Weights(
            parameter(self, "weight_ih"),
            parameter(self, "weight_hh"),
            parameter(self, "bias_ih"),
            parameter(self, "bias_hh"),
            vectors,
        )

    def initial_state(self, batch_size: int) -> Any:
        """Zeros, [batch, hidden] for each part of the state, like the weights in type and place."""
        weight, shape = parameter(self, "weight_ih"), (batch_size, self.hidden_size)
        return self.State._make(weight.new_zeros(shape) for _ in self.State._fields)

    def forward(self, inputs: Tensor, state: Any) -> Any:
        """One step: inputs [batch, input], the state before → the state after."""
        weights = self.weights()
        return step(type(self), weights, project(weights, inputs), state)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias_ih is not None}"
