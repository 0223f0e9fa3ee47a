"""Cells of images: the equations of `cells.py`, with convolutions where they have products with matrices."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ostinato.cells import GRUCell, LSTMCell, PeepholeLSTMCell
from ostinato.gated_cell import GatedCell
from ostinato.initialisers import initialise
from ostinato.kernels import checkpointed
from ostinato.kernels.call import LayerCall, Weights
from ostinato.kernels.reference import project, step


class ConvCell(nn.Module):
    r"""A recurrent cell of images: x = W_ih ∗ input + b_ih and h = W_hh ∗ hidden + b_hh, then `update(x, h, state)`.

    ∗ is a convolution that keeps the image's size; beyond the border stand zeros, "no prior knowledge" (Shi et al.
    2015, section 3.1). `update`, gates and state are those of another cell, its `equations`: on an image of one pixel
    with a kernel of one, this is that cell. Features stand last, as everywhere here, which is also the order that a
    convolution on a CPU wants.

    Args:
        input_size: features of a pixel of the input.
        hidden_size: features of a pixel of the state.
        kernel_size: width and height of both kernels, odd.
        image_size: (height, width), if the cell's parameters by unit, such as peepholes, are to differ from place to
            place, as in the paper; without it they hold for a feature at every place, and images may be of any size.
        bias: whether b_ih and b_hh exist.
        weight_init: initialiser of W_ih by name (see `ostinato.initialisers`), as a matrix [hidden, input·kernel²] for
            each gate; `identity` is 1 at the kernel's centre.
        recurrent_init: likewise of W_hh; the equations' own if None, which is orthogonal for most.
        forget_bias: value of b_ih at the gate named by `forget_gate`; all other biases start at zero.

    Shapes:
        inputs [batch, height, width, input]; each part of the state [batch, height, width, hidden];
        weight_ih [gates·hidden, input, kernel, kernel], weight_hh [gates·hidden, hidden, kernel, kernel],
        bias_ih and bias_hh [gates·hidden], vector_<name> [hidden] or [height, width, hidden].

    Raises:
        ValueError: for a size that is not positive, or a kernel that is even.

    >>> from ostinato.cells import MGUCell
    >>> class ConvMGUCell(ConvCell):
    ...     '''The minimal gated unit over images.'''
    ...
    ...     equations = MGUCell
    >>> cell = ConvMGUCell(3, 5)
    >>> cell(torch.zeros(2, 8, 6, 3), cell.initial_state(2, 8, 6)).hidden.shape
    torch.Size([2, 8, 6, 5])
    """

    equations: ClassVar[type[GatedCell]]
    """Whose gates, state and `update` are used."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int = 3,
        image_size: tuple[int, int] | None = None,
        bias: bool = True,
        weight_init: str = "xavier",
        recurrent_init: str | None = None,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, kernel_size, *(image_size or ())) < 1:
            sizes = f"input_size = {input_size}, hidden_size = {hidden_size}, kernel_size = {kernel_size}"
            raise ValueError(f"{sizes}, image_size = {image_size}: all must be at least 1")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size = {kernel_size}: must be odd, so that a kernel has a centre")
        kind = self.equations
        self.input_size, self.hidden_size, self.kernel_size = input_size, hidden_size, kernel_size
        self.image_size, self.weight_init, self.forget_bias = image_size, weight_init, forget_bias
        self.recurrent_init = recurrent_init or kind.own_recurrent_init
        rows, kernel = len(kind.gates) * hidden_size, (kernel_size, kernel_size)
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size, *kernel))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size, *kernel)) if kind.recurrent else None
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias and kind.recurrent else None
        for name in kind.vectors:
            self.register_parameter(f"vector_{name}", nn.Parameter(torch.empty(*(image_size or ()), hidden_size)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights anew."""
        kind = self.equations
        self._initialise(self.weight_ih, self.weight_init)
        if self.weight_hh is not None:
            self._initialise(self.weight_hh, self.recurrent_init)
        with torch.no_grad():
            if kind.vectors:
                kind.reset_vectors(kind.Vectors(*self.weights().vectors))
            for bias in (self.bias_ih, self.bias_hh):
                if bias is not None:
                    bias.zero_()
            if self.bias_ih is not None and kind.forget_gate is not None:
                self.bias_ih.chunk(len(kind.gates))[kind.gates.index(kind.forget_gate)].fill_(self.forget_bias)

    @torch.no_grad()
    def _initialise(self, weight: Tensor, name: str) -> None:
        blocks, centre = len(self.equations.gates), self.kernel_size // 2
        if name == "identity":
            weight.zero_()
            initialise(weight[:, :, centre, centre], name, blocks)
        else:
            initialise(weight.flatten(1), name, blocks)

    def weights(self) -> Weights:
        """The parameters, as a time loop takes them."""
        vectors = tuple(getattr(self, f"vector_{name}") for name in self.equations.vectors)
        return Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, vectors)

    def initial_state(self, batch_size: int, height: int | None = None, width: int | None = None) -> Any:
        """Zeros, [batch, height, width, hidden] for each part of the state, like the weights in type and place.

        Raises:
            ValueError: if the image's size is given neither here nor to the cell.
        """
        image = self.image_size if height is None or width is None else (height, width)
        if image is None:
            raise ValueError("initial_state: how large is the image? give height and width, or the cell an image_size")
        shape = (batch_size, *image, self.hidden_size)
        return self.equations.State._make(self.weight_ih.new_zeros(shape) for _ in self.equations.State._fields)

    def forward(self, inputs: Tensor, state: Any) -> Any:
        """One step: inputs [batch, height, width, input], the state before → the state after."""
        weights = self.weights()
        return step(self.equations, weights, project(weights, inputs), state)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        size = f", image_size={self.image_size}" if self.image_size else ""
        bias = self.bias_ih is not None
        return f"{self.input_size}, {self.hidden_size}, kernel_size={self.kernel_size}{size}, bias={bias}"


class ConvLSTMCell(ConvCell):
    """i, f, o = σ(x + h);  g = tanh(x_g + h_g);  c' = f ⊙ c + i ⊙ g;  h' = o ⊙ tanh(c')

    (Shi et al. 2015, eq. 3, without its peepholes, as it is mostly used)
    """

    equations = LSTMCell


class ConvPeepholeLSTMCell(ConvCell):
    """i, f = σ(x + h + p ⊙ c);  g = tanh(x + h);  c' = f ⊙ c + i ⊙ g;  o = σ(x + h + p ⊙ c');  h' = o ⊙ tanh(c')

    (Shi et al. 2015, eq. 3): with an `image_size`, p is of every place, [height, width, hidden], as there.
    """

    equations = PeepholeLSTMCell


class ConvGRUCell(ConvCell):
    """r, z = σ(x + h);  n = tanh(x_n + r ⊙ h_n);  h' = (1 − z) ⊙ n + z ⊙ h

    (Ballas et al. 2016, eq. 6-9, with the reset gate after the convolution, as in `GRUCell`)
    """

    equations = GRUCell


CONV_CELLS: dict[str, type[ConvCell]] = {
    "conv-lstm": ConvLSTMCell,
    "conv-peephole-lstm": ConvPeepholeLSTMCell,
    "conv-gru": ConvGRUCell,
}
"""The cells of images by the name that a setting takes."""


class ConvRecurrent(nn.Module):
    """A cell of images run over time; it stands in a `Deep` as `Recurrent` does.

    The inputs of all steps go through one convolution; then each step needs one more, of its hidden state.

    Args:
        cell: what runs.
        memory: "low" keeps the states of every √time-th step and makes the rest again in the backward pass; "fast"
            keeps all.

    Shapes:
        inputs [time, batch, height, width, input] → outputs [time, batch, height, width, hidden], and the cell's
        state, [batch, height, width, hidden] each.

    >>> layer = ConvRecurrent(ConvLSTMCell(1, 4))
    >>> outputs, state = layer(torch.zeros(5, 2, 8, 8, 1))
    >>> outputs.shape, state.cell.shape
    (torch.Size([5, 2, 8, 8, 4]), torch.Size([2, 8, 8, 4]))
    """

    def __init__(self, cell: ConvCell, memory: Literal["fast", "low"] = "fast") -> None:
        super().__init__()
        if memory not in ("fast", "low"):
            raise ValueError(f"memory: expected 'fast' or 'low', found {memory!r}")
        self.cell, self.memory = cell, memory
        self.input_size, self.output_size = cell.input_size, cell.hidden_size

    def initial_state(self, batch_size: int, height: int | None = None, width: int | None = None) -> Any:
        """The cell's zeros."""
        return self.cell.initial_state(batch_size, height, width)

    def forward(
        self,
        inputs: Tensor,
        state: Any = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        every: bool = False,
    ) -> tuple[Any, ...]:
        """Run all steps.

        Args:
            inputs: [time, batch, height, width, input].
            state: before the first step; zeros if None.
            lengths: int64 [batch], how many steps of each row count; all of them if None.
            resets: bool [time, batch], where the state is zero before the step.
            every: whether the state after every step is wanted.

        Returns:
            Outputs and the state after each row's last step; with `every` a third, the state after every step, each
            part [time, batch, height, width, hidden]. Outputs and states of every step are zero beyond a row's length.

        Raises:
            ValueError: with the shape found and the shape wanted.
        """
        self._check(inputs, lengths, resets)
        state = self.initial_state(*inputs.shape[1:4]) if state is None else state
        wanted = (*inputs.shape[1:4], self.output_size)
        for name, part in zip(state._fields, state, strict=True):
            if part.shape != wanted:
                raise ValueError(f"state.{name}: expected {list(wanted)}, found {list(part.shape)}")
        call = LayerCall(
            cell=self.cell.equations,
            weights=self.cell.weights(),
            inputs=inputs,
            state=state,
            lengths=lengths,
            resets=resets,
            every=every,
            low_memory=self.memory == "low",
        )
        result = checkpointed.run(call)
        return (result.outputs, result.state, result.states) if every else (result.outputs, result.state)

    def _check(self, inputs: Tensor, lengths: Tensor | None, resets: Tensor | None) -> None:
        """Refuse what would broadcast or read beyond."""
        size = self.cell.image_size
        height, width = size or ("height", "width")
        fits = inputs.dim() == 5 and inputs.shape[4] == self.input_size and len(inputs) > 0
        if not fits or (size is not None and tuple(inputs.shape[2:4]) != tuple(size)):
            wanted = f"[time ≥ 1, batch, {height}, {width}, {self.input_size}]"
            raise ValueError(f"inputs: expected {wanted}, found {list(inputs.shape)}")
        if lengths is not None and (
            lengths.shape != inputs.shape[1:2] or lengths.min() < 0 or lengths.max() > len(inputs)
        ):
            wanted = f"[{inputs.shape[1]}] of 0 to {len(inputs)}"
            raise ValueError(f"lengths: expected {wanted}, found {lengths.tolist()}")
        if resets is not None and (resets.shape != inputs.shape[:2] or resets.dtype != torch.bool):
            found = f"{str(resets.dtype)[6:]} {list(resets.shape)}"
            raise ValueError(f"resets: expected bool {list(inputs.shape[:2])}, found {found}")

    def step(self, inputs: Tensor, state: Any = None, out: Any = None) -> tuple[Tensor, Any]:
        """One step, as when frames come one by one.

        Args:
            inputs: [batch, height, width, input].
            state: before the step; zeros if None.
            out: a state to write the new one to; `state` itself to go on in place.

        Returns:
            Outputs [batch, height, width, hidden], the first part of the state, and the state after the step.
        """
        outputs, after = self(inputs.unsqueeze(0), state)[:2]
        if out is None:
            return outputs[0], after
        with torch.no_grad():
            for target, part in zip(out, after, strict=True):
                target.copy_(part)
        return out[0], out

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"memory={self.memory}" if self.memory != "fast" else ""
