"""A cell over time, and the options of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.batch_norm import StepBatchNorm
from ostinato.gated_cell import GatedCell
from ostinato.kernels.call import LayerCall, Weights
from ostinato.kernels.recurrence import forced, recurrence
from ostinato.kernels.reference import live_steps
from ostinato.kernels.streaming import Stream, possible
from ostinato.kernels.streaming import serves as streams


def check_inputs(inputs: Tensor, size: int, lengths: Tensor | None, resets: Tensor | None = None) -> None:
    """Refuse what would broadcast or read beyond.

    Raises:
        ValueError: with the shape found and the shape wanted.
    """
    if inputs.dim() != 3 or inputs.shape[2] != size:
        raise ValueError(f"inputs: expected [time, batch, {size}], found {list(inputs.shape)}")
    if len(inputs) == 0:
        raise ValueError(f"inputs: expected at least one step, found {list(inputs.shape)}")
    if lengths is not None:
        if lengths.shape != inputs.shape[1:2]:
            raise ValueError(f"lengths: expected [{inputs.shape[1]}], found {list(lengths.shape)}")
        compiling = torch.compiler.is_compiling()  # then a branch on values would break the graph
        if not compiling and lengths.numel() and (lengths.min() < 0 or lengths.max() > len(inputs)):
            found = f"{int(lengths.min())} to {int(lengths.max())}"
            raise ValueError(f"lengths: expected values from 0 to {len(inputs)}, found {found}")
    if resets is not None and (resets.shape != inputs.shape[:2] or resets.dtype != torch.bool):
        wanted, found = f"bool {list(inputs.shape[:2])}", f"{str(resets.dtype)[6:]} {list(resets.shape)}"
        raise ValueError(f"resets: expected {wanted}, found {found}")


def check_rate(name: str, rate: float) -> float:
    """Refuse what is no probability below 1."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name} = {rate}: expected a probability, from 0 to less than 1")
    return rate


def sequence_ends(resets: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """Where a sequence ends that another follows, bool [time, batch]: the resets of the backward direction.

    >>> sequence_ends(torch.tensor([[True], [False], [True]]), None).squeeze(1)
    tensor([False,  True, False])
    """
    if resets is None:
        return None
    if lengths is not None:  # what the padding says begins nothing
        resets = resets & live_steps(lengths, len(resets), resets.device).squeeze(2)
    return torch.cat([resets[1:], torch.zeros_like(resets[:1])])


class Recurrent(nn.Module):
    r"""A cell run over time.

    Args:
        cell: what runs.
        reverse: from the last step to the first.
        layer_norm: whether W_ih·x and W_hh·h are normalised, each over all its gates, and c in h = o ⊙ tanh(c) where
            the cell has such a place: LN(v) = (v − mean) / √(variance + 10⁻⁵) ⊙ gain (Ba et al. 2016, eq. 20-22).
        batch_norm: if not 0, the same places are normalised over the batch instead, by statistics of each step's own
            up to so many steps; gains start at 0.1 (Cooijmans et al. 2017, eq. 6-8; see `StepBatchNorm`).
        zoneout: probability that a unit keeps its old value, h' = m ⊙ h + (1 − m) ⊙ update(h), with m drawn anew at
            every step; in evaluation m is the probability (Krueger et al. 2017, section 3). One for all parts of the
            state, or by part, as {"hidden": 0.05, "cell": 0.5}.
        locked_dropout: probability that a feature of the inputs is zero for the whole call, in all its steps
            (variational dropout, Gal & Ghahramani 2016, section 4).
        recurrent_dropout: the same of the hidden state, where W_hh multiplies it.
        weight_dropout: probability that an element of W_hh is zero for the whole call (DropConnect; Merity et al.
            2018, section 2).
        memory: "low" recomputes in the backward pass what need not be kept; "fast" keeps it.

    What is dropped in training is scaled by 1 / (1 − probability) where it is not. Masks come from torch's global
    generator on the inputs' device.

    Shapes:
        inputs [time, batch, input] → outputs [time, batch, hidden], and the cell's state, [batch, hidden] each.
        norm_ih, norm_hh [gates·hidden] and norm_state [2, hidden] (gain, shift), of either normalisation.

    >>> from ostinato.cells import GRUCell
    >>> outputs, state = Recurrent(GRUCell(3, 5))(torch.zeros(7, 2, 3), lengths=torch.tensor([7, 4]))
    >>> outputs.shape, state.hidden.shape, outputs[4:, 1].abs().sum().item()
    (torch.Size([7, 2, 5]), torch.Size([2, 5]), 0.0)
    >>> Recurrent(GRUCell(3, 5), layer_norm=True, zoneout=0.1)
    Recurrent(
      layer_norm=True, zoneout=0.1
      (cell): GRUCell(3, 5, bias=True)
    )
    """

    def __init__(
        self,
        cell: GatedCell,
        reverse: bool = False,
        *,
        layer_norm: bool = False,
        batch_norm: int = 0,
        zoneout: float | Mapping[str, float] = 0.0,
        locked_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        memory: Literal["fast", "low"] = "fast",
    ) -> None:
        super().__init__()
        self.cell, self.reverse = cell, reverse
        self.input_size, self.output_size = cell.input_size, cell.hidden_size
        self._stream: Stream | None = None
        self.layer_norm, self.zoneout = layer_norm, zoneout
        self.locked_dropout = check_rate("locked_dropout", locked_dropout)
        self.recurrent_dropout = check_rate("recurrent_dropout", recurrent_dropout)
        self.weight_dropout = check_rate("weight_dropout", weight_dropout)
        if not cell.recurrent and (recurrent_dropout or weight_dropout):
            raise ValueError(f"recurrent_dropout, weight_dropout: {type(cell).__name__} has no W_hh to drop from")
        if memory not in ("fast", "low"):
            raise ValueError(f"memory: expected 'fast' or 'low', found {memory!r}")
        self.memory = memory
        self.zoneout_rates = self._rates(zoneout)
        if batch_norm < 0 or (batch_norm and layer_norm):
            raise ValueError(f"batch_norm = {batch_norm}: expected a number of steps, and no layer_norm beside it")
        rows, late = len(cell.gates) * cell.hidden_size, len(cell.late) * cell.hidden_size
        # where there is something to normalise, and how wide it is
        widths = {"ih": rows}
        widths |= {"hh": rows - late} if cell.recurrent else {}
        widths |= {"late": late} if late else {}
        widths |= {"state": cell.hidden_size} if cell.normalises else {}
        self.batch_norm = StepBatchNorm(batch_norm, widths) if batch_norm else None
        on, gain = layer_norm or batch_norm > 0, 0.1 if batch_norm else 1.0
        self.norm_ih = nn.Parameter(torch.full((rows,), gain)) if on else None
        self.norm_hh = nn.Parameter(torch.full((rows,), gain)) if on and cell.recurrent else None
        start = torch.tensor([[gain], [0.0]]).repeat(1, cell.hidden_size)
        self.norm_state = nn.Parameter(start) if on and cell.normalises else None

    def _rates(self, zoneout: float | Mapping[str, float]) -> tuple[float, ...] | None:
        """The probability by part of the state; None if nothing is kept."""
        parts, scaled, name = self.cell.State._fields, self.cell.scaled, type(self.cell).__name__
        if isinstance(zoneout, Mapping):
            for part in zoneout:
                if part not in parts or part in scaled:
                    free = ", ".join(each for each in parts if each not in scaled)
                    raise ValueError(f"zoneout of {part!r}: of a {name}'s state these can keep old values: {free}")
            rates = tuple(check_rate(f"zoneout of {part!r}", zoneout.get(part, 0.0)) for part in parts)
        else:
            check_rate("zoneout", zoneout)
            rates = tuple(0.0 if part in scaled else zoneout for part in parts)
        return rates if any(rates) else None

    def initial_state(self, batch_size: int) -> Any:
        """The cell's zeros."""
        return self.cell.initial_state(batch_size)

    def weights(self) -> Weights:
        """The parameters of this call: in training, W_hh with what is dropped from it."""
        weights = self.cell.weights()
        if self.weight_dropout and self.training and weights.weight_hh is not None:
            weights = weights._replace(weight_hh=functional.dropout(weights.weight_hh, self.weight_dropout))
        if not self.layer_norm and self.batch_norm is None:
            return weights
        return weights._replace(norm_ih=self.norm_ih, norm_hh=self.norm_hh, norm_state=self.norm_state)

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
            inputs: [time, batch, input].
            state: before the first step; zeros if None.
            lengths: int64 [batch], how many steps of each row count; all of them if None.
            resets: bool [time, batch], where the state is zero before the step.
            every: whether the state after every step is wanted.

        Returns:
            Outputs and the state after each row's last step; with `every` a third, the state after every step, each
            part [time, batch, hidden]. Outputs and states of every step are zero beyond a row's length.
        """
        check_inputs(inputs, self.input_size, lengths, resets)
        if state is None:
            state = self.initial_state(inputs.shape[1])
        wanted = (inputs.shape[1], self.output_size)
        for name, part in zip(state._fields, state, strict=True):
            if part.shape != wanted:
                raise ValueError(f"state.{name}: expected {list(wanted)}, found {list(part.shape)}")
        mask = None
        if self.training and self.locked_dropout:
            inputs = inputs * functional.dropout(torch.ones_like(inputs[:1]), self.locked_dropout)
        if self.training and self.recurrent_dropout:
            mask = functional.dropout(torch.ones_like(state[0]), self.recurrent_dropout)
        result = recurrence(
            LayerCall(
                cell=type(self.cell),
                weights=self.weights(),
                inputs=inputs,
                state=state,
                lengths=lengths,
                reverse=self.reverse,
                resets=resets,
                zoneout=self._zoneout(inputs, state),
                every=every,
                low_memory=self.memory == "low",
                hidden_mask=mask,
                batch_norm=self.batch_norm,
            )
        )
        return (result.outputs, result.state, result.states) if every else (result.outputs, result.state)

    def _zoneout(self, inputs: Tensor, state: Any) -> tuple[Tensor | None, ...] | None:
        """How much stays, [time, batch, hidden] by part of the state."""
        if self.zoneout_rates is None:
            return None
        kept = []
        for rate, part in zip(self.zoneout_rates, state, strict=True):
            shape = (len(inputs), *part.shape)
            stay = part.new_full(shape, rate) if rate else None
            kept.append(torch.bernoulli(stay) if stay is not None and self.training else stay)
        return tuple(kept)

    def step(self, inputs: Tensor, state: Any = None, out: Any = None) -> tuple[Tensor, Any]:
        """One step, as when a sequence comes piece by piece; in training each has masks of its own.

        Without gradients, on the native loop, a step of a layer without options costs a few microseconds: the weights
        are packed at the first and again when they change, and nothing else is allocated where `out` is given.

        Args:
            inputs: [batch, input].
            state: before the step; zeros if None.
            out: a state to write the new one to; `state` itself to go on in place.

        Returns:
            Outputs [batch, hidden], the first part of the state, and the state after the step.

        Raises:
            ValueError: for a state of another shape; and with batch normalisation, whose statistics go by the step.

        >>> from ostinato.cells import GRUCell
        >>> net = Recurrent(GRUCell(3, 5))
        >>> state = net.initial_state(2)
        >>> with torch.inference_mode():
        ...     for inputs in torch.zeros(7, 2, 3):
        ...         outputs, state = net.step(inputs, state, out=state)
        >>> outputs.shape
        torch.Size([2, 5])
        """
        if self.batch_norm is not None:
            raise ValueError("batch_norm has statistics of each step, and one step alone does not know which it is")
        state = self.initial_state(len(inputs)) if state is None else state
        stream = None if torch.is_grad_enabled() else self._native_stream(inputs, state)
        if stream is not None:
            after = stream.step(inputs, state, out)
            return after[0], after
        outputs, after = self(inputs.unsqueeze(0), state)[:2]
        if out is not None:
            with torch.no_grad():
                for target, part in zip(out, after, strict=True):
                    target.copy_(part)
            return out[0], out
        return outputs[0], after

    def _native_stream(self, inputs: Tensor, state: Any) -> Stream | None:
        """The stream of the last step, or a new one; None where the native loop does not run this layer's steps."""
        drops = self.training and (self.locked_dropout or self.recurrent_dropout or self.weight_dropout)
        if drops or self.layer_norm or self.zoneout_rates or not possible() or forced() not in ("auto", "native"):
            return None
        cell: Any = self._modules["cell"]  # the short way
        tensors: list[Tensor] = [part for part in cell._parameters.values() if part is not None]
        if self._stream is None or not self._stream.holds(tensors, inputs):
            check_inputs(inputs.unsqueeze(0), self.input_size, None)
            call = LayerCall(type(cell), cell.weights(), inputs.unsqueeze(0), state)
            self._stream = Stream(call, tensors) if streams(call) else None
        return self._stream

    def train(self, mode: bool = True) -> Recurrent:
        """Training or evaluation; what single steps keep of the weights is packed anew, since a fused optimiser of
        PyTorch changes them without a mark.
        """
        self._stream = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_stream": None}  # packed weights are no part of a copy

    def extra_repr(self) -> str:
        """What `repr` shows: the options that are on."""
        options = {name: getattr(self, name) for name in ("reverse", "layer_norm", "zoneout", "locked_dropout")}
        options |= {name: getattr(self, name) for name in ("recurrent_dropout", "weight_dropout")}
        options |= {"memory": self.memory} if self.memory != "fast" else {}
        return ", ".join(f"{name}={value}" for name, value in options.items() if value)
