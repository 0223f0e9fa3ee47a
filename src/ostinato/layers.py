"""`RNN`, `GRU` and `LSTM` with the signatures and weights of `torch.nn`, on this package's time loops."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.cells import GatedCell, GRUCell, LSTMCell, ReLURNNCell, RNNCell
from ostinato.kernels.call import LayerCall, Weights
from ostinato.kernels.recurrence import recurrence
from ostinato.recurrent import sequence_ends


def _autocast_type(device: str) -> torch.dtype | None:
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else None


def _expect(name: str, given: Any, shape: dict[str, int], kinds: tuple[Any, ...], errors: Any, on: Any = None) -> None:
    """Of a shape, axis by axis, and of one of some types, or the errors for either; on the device of the weights."""
    if not isinstance(given, Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(given).__name__}")
    if list(given.shape) != list(shape.values()):
        wanted = f"[{', '.join(shape)}] = {list(shape.values())}"
        raise errors[0](f"{name}: expected {wanted}, found {list(given.shape)}")
    if given.dtype not in kinds:
        raise errors[1](f"{name}: expected {kinds[0]}{' like the weights' if on else ''}, found {given.dtype}")
    if on not in (None, given.device):
        raise RuntimeError(f"{name}: expected on {on} like the weights, found on {given.device}")


class RNNBase(nn.Module):
    """What `RNN`, `GRU` and `LSTM` share: layers upon each other, in one direction or both.

    Names, order, shapes and first values of the parameters are those of `torch.nn`, so a state dict goes either way.

    Args:
        input_size: features of an input.
        hidden_size: units of a layer and direction.
        num_layers: layers; each reads what the one below puts out.
        bias: whether b_ih and b_hh exist.
        batch_first: whether sequences are [batch, time, feature]; a state is [layers·directions, batch, hidden] anyway.
        dropout: probability, in training, on what a layer hands to the next.
        bidirectional: whether each layer also runs from the last step to the first, and puts out both side by side.
        proj_size: what size the hidden state of an LSTM is projected to, if not 0; has to be 0 for other cells.
        device, dtype: where the parameters are, and their type.
        memory: "low" recomputes in the backward pass what need not be kept; "fast" keeps it.

    Shapes:
        Of layer k, and with the suffix `_reverse` of its other direction: weight_ih_lk [gates·hidden, input], above the
        first layer [gates·hidden, directions·output]; weight_hh_lk [gates·hidden, output]; bias_ih_lk and bias_hh_lk
        [gates·hidden]; weight_hr_lk [projection, hidden]. `output` is the projection, or hidden if there is none.

    Raises:
        TypeError, ValueError: for an argument of the wrong type, or out of range; for a projection but in an LSTM.
    """

    cell: type[GatedCell]
    weight_ih_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        memory: Literal["fast", "low"] = "fast",
    ) -> None:
        super().__init__()
        checks = {"input_size": (input_size, int, 1), "hidden_size": (hidden_size, int, 1)}
        checks |= {"num_layers": (num_layers, int, 1), "proj_size": (proj_size, int, 0)}
        checks |= {"bias": (bias, bool, 0), "batch_first": (batch_first, bool, 0)}
        for name, (value, kind, least) in checks.items():
            if not isinstance(value, kind):
                raise TypeError(f"{name}: expected {kind.__name__}, found {value!r}, {type(value).__name__}")
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, found {value}")
        if not isinstance(dropout, Real) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout: expected a probability, a number from 0 to 1, found {dropout!r}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(f"dropout = {dropout} acts between layers, and there is only one", stacklevel=2)
        if proj_size >= (hidden_size if self.cell is LSTMCell else 1):
            raise ValueError(f"proj_size: expected 0, or in an LSTM less than {hidden_size}, found {proj_size}")
        if memory not in ("fast", "low"):
            raise ValueError(f"memory: expected 'fast' or 'low', found {memory!r}")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, float(dropout), bidirectional
        self.proj_size, self.memory = proj_size, memory
        rows, output, ways = len(self.cell.gates) * hidden_size, proj_size or hidden_size, 2 if bidirectional else 1
        self._widths = [output, *[hidden_size] * (len(self.cell.State._fields) - 1)]
        self._names: list[dict[str, str]] = []
        for layer in range(num_layers):
            shapes = {"weight_ih": (rows, ways * output if layer else input_size), "weight_hh": (rows, output)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
            for suffix in ("", "_reverse")[:ways]:
                self._names.append({part: f"{part}_l{layer}{suffix}" for part in shapes})
                for name, shape in zip(self._names[-1].values(), shapes.values(), strict=True):
                    self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(−1/√hidden, 1/√hidden)."""
        for weight in self.parameters():
            nn.init.uniform_(weight, -1 / math.sqrt(self.hidden_size), 1 / math.sqrt(self.hidden_size))

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names.values()] for names in self._names]

    def flatten_parameters(self) -> None:
        """Nothing: the weights may lie anywhere. It is here for code that calls it for cuDNN's sake."""

    def extra_repr(self) -> str:
        """What `repr` shows: the sizes, and what is not as by default."""
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        usual |= {"bidirectional": False, "memory": "fast"}
        changed = [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - the name in torch.nn, which a call may use
        hx: Any = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        *,
        return_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run all layers over all steps.

        Args:
            input: [time, batch, input], [batch, time, input] if `batch_first`, [time, input] or a `PackedSequence`.
            hx: initial state, zeros if None: h, or (h, c) of an LSTM, [layers·directions, batch, hidden] each (h of a
                projected LSTM: [..., projection]), without the batch if the input has none.
            lengths: int64 [batch], on any device: how many steps of each row count.
            resets: bool, like the input without its features: where another sequence begins.
            return_states: whether the states of all steps are wanted.

        Returns:
            The outputs, shaped or packed like the input, zero beyond a row's length; the final state, like `hx`, of
            each row at its own end; and with `return_states` a list, by layer and direction in the order of `hx`, of
            the cell's `State`, each part [time, batch, hidden] ([batch, time, hidden] with `batch_first`), padded if
            the input was packed. Under autocast their types are those of `torch.nn`.

        Raises:
            TypeError: for what is no tensor, and for lengths or resets of another type.
            ValueError: for an input of another type or other axes, and for lengths or resets that do not fit it.
            RuntimeError: for an input of another size, and for a state of another size or type.
            BackendUnavailable: if a backend is forced that cannot serve this.
        """
        inputs: Any = input
        packed = input if isinstance(input, PackedSequence) else None
        if packed is not None:
            if lengths is not None:
                raise ValueError("lengths: expected None, for a PackedSequence brings its own")
            shape = {"steps": len(packed.data), "input": self.input_size}
            _expect("input.data", packed.data, shape, (packed.data.dtype,), (RuntimeError, ValueError))
            inputs, lengths = pad_packed_sequence(packed, self.batch_first)
        state = self._check(inputs, hx, lengths, resets)
        types = self._types(state[0] if state else inputs, packed is not None)
        single, swapped = inputs.dim() == 2, self.batch_first and inputs.dim() == 3
        if single:
            inputs, state = inputs.unsqueeze(1), [part.unsqueeze(1) for part in state]
            lengths, resets = (None if given is None else given.unsqueeze(-1) for given in (lengths, resets))
        elif swapped:
            inputs, resets = inputs.transpose(0, 1), None if resets is None else resets.transpose(0, 1)
        results, ways, like = [], 2 if self.bidirectional else 1, self.weight_ih_l0
        rows = [part.to(like.dtype).unbind(0) for part in state]  # under autocast it may come in a lower type
        ends = sequence_ends(resets, lengths)
        for layer in range(self.num_layers):
            inputs = functional.dropout(inputs, self.dropout) if layer and self.training else inputs
            for k in range(layer * ways, layer * ways + ways):
                weights = Weights(**{part: getattr(self, name) for part, name in self._names[k].items()})
                before = [row[k] for row in rows] or [like.new_zeros(inputs.shape[1], size) for size in self._widths]
                back = k % ways == 1
                new = ends if back else resets
                call = LayerCall(self.cell, weights, inputs, self.cell.State(*before), lengths, back, new)
                results.append(recurrence(call._replace(every=return_states, low_memory=self.memory == "low")))
            inputs = torch.cat([each.outputs for each in results[-ways:]], dim=-1) if ways > 1 else results[-1].outputs

        def leave(part: Tensor, kind: torch.dtype, sequence: bool = True) -> Tensor:
            part = part.to(kind)
            return part.squeeze(1) if single else part.transpose(0, 1) if swapped and sequence else part

        outputs: Any = leave(inputs, types[0])
        if packed is not None and lengths is not None:
            inputs, order = inputs.to(types[0]), packed.sorted_indices
            if order is not None:
                inputs, lengths = inputs.index_select(1, order), lengths[order.cpu()]
            outputs = packed._replace(data=pack_padded_sequence(inputs, lengths).data)
        parts = [torch.stack(parts) for parts in zip(*(each.state for each in results), strict=True)]
        final = [leave(part, kind, sequence=False) for part, kind in zip(parts, types, strict=True)]
        after = tuple(final) if len(final) > 1 else final[0]
        every = [type(each.states)(*map(leave, each.states, types)) for each in results if return_states]
        return (outputs, after, every) if return_states else (outputs, after)

    def _types(self, carried: Tensor, packed: bool) -> list[torch.dtype]:
        """The types that torch.nn gives the parts of the state: under autocast they depend on the loop it takes."""
        low = _autocast_type(carried.device.type)
        if low is None or carried.dtype == torch.float64:
            return [carried.dtype] * len(self._widths)
        # on a CPU its loops of single operations, not that of the plain RNN nor oneDNN's, take the state's type
        promotes = self.cell is GRUCell or (self.cell is LSTMCell and (packed or self.proj_size > 0))
        high = torch.promote_types(low, carried.dtype) if promotes and carried.device.type == "cpu" else low
        return [low if self.proj_size else high, high][: len(self._widths)]

    def _check(self, given: Any, hx: Any, lengths: Any, resets: Any) -> list[Tensor]:
        """Refuse what does not fit, as torch.nn does; the parts of the initial state as they are given, if they are."""
        given_shape, weight = getattr(given, "shape", ()), self.weight_ih_l0
        axes = ("time",) if len(given_shape) < 3 else ("batch", "time") if self.batch_first else ("time", "batch")
        steps: dict[str, int] = dict(zip(axes, given_shape, strict=False))
        rows = {axis: size for axis, size in steps.items() if axis == "batch"}
        casts = weight.dtype != torch.float64 and _autocast_type(weight.device.type) is not None
        kinds = (weight.dtype, *((torch.float32, torch.bfloat16, torch.float16) if casts else ()))
        wrong_shape = RuntimeError if len(given_shape) in (2, 3) else ValueError
        _expect("input", given, {**steps, "input": self.input_size}, kinds, (wrong_shape, ValueError), weight.device)
        if steps["time"] == 0:
            raise RuntimeError(f"input: expected at least one step, found {list(given.shape)}")
        names = self.cell.State._fields
        parts: list[Any] = [] if hx is None else list(hx) if isinstance(hx, (tuple, list)) and len(names) > 1 else [hx]
        if hx is not None and len(parts) != len(names):
            raise RuntimeError(f"hx: expected {len(names)} tensors, ({', '.join(names)}), found {len(parts)}")
        for name, part, width in zip(names, parts, self._widths, strict=False):
            shape = {"layers·directions": len(self._names), **rows, name: width}
            _expect(f"hx, {name}", part, shape, kinds, (RuntimeError, RuntimeError), weight.device)
        if resets is not None:
            _expect("resets", resets, steps, (torch.bool,), (ValueError, TypeError))
        if lengths is not None:
            _expect("lengths", lengths, rows, (torch.int64,), (ValueError, TypeError))
            # a compiled graph has no branch that depends on values
            low, top = lengths.aminmax() if lengths.numel() and not torch.compiler.is_compiling() else (0, 0)
            if low < 0 or top > steps["time"]:
                raise ValueError(f"lengths: expected values from 0 to {steps['time']}, found {int(low)} to {int(top)}")
        return parts


class RNN(RNNBase):
    """h' = tanh(W_ih·x + b_ih + W_hh·h + b_hh), or max(0, ·)      (Elman 1990; Le, Jaitly & Hinton 2015)

    `nonlinearity` is "tanh" or "relu"; the arguments after it are those of `RNNBase` from `bias`, which see.

    >>> rnn = RNN(3, 5, nonlinearity="relu")
    >>> inputs, ends = torch.randn(7, 2, 3), torch.zeros(7, 2, dtype=torch.bool)
    >>> ends[4, 1] = True  # where an episode begins anew
    >>> torch.allclose(rnn(inputs, resets=ends)[0][4:, 1], rnn(inputs[4:, 1])[0])
    True
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", *args: Any, **kw: Any
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', found {nonlinearity!r}")
        self.nonlinearity, self.cell = nonlinearity, RNNCell if nonlinearity == "tanh" else ReLURNNCell
        super().__init__(input_size, hidden_size, num_layers, *args, **kw)


class GRU(RNNBase):
    """r, z = σ(·);  n = tanh(x_n + r ⊙ h_n);  h' = (1 − z) ⊙ n + z ⊙ h      (Cho et al. 2014, PyTorch's variant)

    Rows of the weights by gate: r z n. Arguments, shapes and errors: `RNNBase`.

    >>> gru = GRU(3, 5, num_layers=2, bidirectional=True)
    >>> outputs, hidden, states = gru(torch.randn(7, 2, 3), lengths=torch.tensor([7, 4]), return_states=True)
    >>> outputs.shape, hidden.shape, len(states), states[3].hidden.shape
    (torch.Size([7, 2, 10]), torch.Size([4, 2, 5]), 4, torch.Size([7, 2, 5]))
    """

    cell = GRUCell


class LSTM(RNNBase):
    """i, f, o = σ(·);  g = tanh(·);  c' = f ⊙ c + i ⊙ g;  h' = o ⊙ tanh(c'), or W_hr·(o ⊙ tanh(c'))

    (Hochreiter & Schmidhuber 1997; Gers et al. 2000; W_hr: Sak et al. 2014). Rows of the weights by gate: i f g o.
    Arguments, shapes and errors: `RNNBase`.

    >>> ours, theirs = LSTM(3, 5, num_layers=2), torch.nn.LSTM(3, 5, num_layers=2)
    >>> ours.load_state_dict(theirs.state_dict())
    <All keys matched successfully>
    >>> inputs = torch.randn(7, 2, 3)
    >>> torch.allclose(ours(inputs)[0], theirs(inputs)[0], atol=1e-6)
    True
    """

    cell = LSTMCell
