"""One-step Jacobians ∂s_t/∂s_{t−1} of a layer along a trajectory, all steps at once, kept as factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.kernels.reference import layer_norm, recurrent_products, split_gates
from ostinato.measures.calls import Call

Parts = tuple[Tensor, ...]
"""A vector for each part of the state, [..., batch, hidden]."""


class _Norm(NamedTuple):
    """The derivative of a normalisation: x̂ and 1/σ of layer normalisation, or 1/σ alone where statistics are given."""

    gain: Tensor
    normal: Tensor | None
    scale: Tensor

    def push(self, t: int, vectors: Tensor, rows: Any) -> Tensor:
        return self.gain * self._centred(t, vectors, rows)

    def pull(self, t: int, covectors: Tensor, rows: Any) -> Tensor:
        return self._centred(t, self.gain * covectors, rows)

    def _centred(self, t: int, values: Tensor, rows: Any) -> Tensor:
        if self.normal is not None:  # I − 1 1ᵀ/n − x̂ x̂ᵀ/n, which is symmetric
            normal = self.normal[t][rows]
            values = values - values.mean(-1, keepdim=True) - normal * (values * normal).mean(-1, keepdim=True)
        return values * self.scale[t][rows]


class _Product(NamedTuple):
    """W · input at one place of a step: what its input depends on, and the gates that it gives."""

    sources: Mapping[str, Tensor | None]
    """Slope with respect to what came before, [time, batch, hidden]; None: it is that itself."""
    weight: Tensor | None
    """[rows, hidden]; None: the identity, for the state's own normalisation."""
    norm: _Norm | None
    gates: tuple[str, ...]


class Pulled(NamedTuple):
    """A gradient carried back one step, with its stations."""

    state: Parts
    """Jᵀ λ."""
    direct: Parts
    """What of it met no matrix."""
    preactivation: Tensor
    """diag φ′(a) λ: at the products of the hidden state, [..., batch, gates·hidden]; no features without a matrix."""
    product: Tensor
    """Wᵀ of that, [..., batch, hidden or more]."""


class Linearised:
    r"""J_t = ∂s_t/∂s_{t−1} = E_t + Σ_g D_{t,g} W_g of a layer at every step of a call, in float64.

    E and D are diagonal, since `update` works unit by unit: D is φ′(a) and what multiplies it, E the way past all
    matrices. They come from `update` by automatic differentiation, all steps of all rows at once, whatever the cell;
    late gates and normalisation add factors of their own. Time is the layer's own: step 0 of a backward layer is each
    row's last.

    Args:
        call: that was watched; run again on the backend that serves it, for the state after every step.

    Raises:
        ValueError: if the layer is in training mode, where masks would differ from call to call.

    >>> from ostinato.cells import RNNCell
    >>> from ostinato.measures.calls import watch
    >>> from ostinato.recurrent import Recurrent
    >>> layer = Recurrent(RNNCell(3, 5)).eval()
    >>> _, [stack] = watch(layer, lambda: layer(torch.randn(7, 2, 3))[0].sum())
    >>> steps = Linearised(stack.calls[0])
    >>> slope = 1 - steps.states[0][4, 0] ** 2  # tanh′
    >>> torch.allclose(steps.matrices(4)[0], slope.diag() @ layer.cell.weight_hh.double())
    True
    """

    @torch.no_grad()
    def __init__(self, call: Call) -> None:
        layer = call.layer
        if layer.training:
            raise ValueError("a layer is measured in evaluation mode: call network.eval() first")
        self.call, self.cell = call, type(layer.cell)
        self.lengths = call.row_lengths()
        self.steps, self.rows, self.hidden = len(call.inputs), call.rows, layer.output_size
        weights, device = layer.weights(), call.inputs.device
        self.weights = weights._replace(
            **{name: part.detach().double() for name, part in weights._asdict().items() if isinstance(part, Tensor)},
            vectors=tuple(part.detach().double() for part in weights.vectors),
        )
        time = torch.arange(self.steps).unsqueeze(1)
        order = (self.lengths - 1 - time).clamp(min=0) if layer.reverse else time.expand(-1, self.rows)
        self.order = order.to(device)
        """int64 [time, batch], where in the inputs a step of the layer's own time is."""
        # statistics of batch normalisation go by the step of the batch, which a shorter reversed row joins late
        self._statistics = (time + (self.steps - self.lengths if layer.reverse else 0)).to(device)
        start = layer.initial_state(self.rows) if call.state is None else call.state
        after = layer(call.inputs.detach(), _detached(start), call.lengths, call.resets, every=True)[2]
        self.states: Parts = tuple(self.own_time(part.double()) for part in after)
        """After every step, [time, batch, hidden] by part."""
        before = [
            torch.cat([part.detach().double().unsqueeze(0), s[:-1]]) for part, s in zip(start, self.states, strict=True)
        ]
        self._keep = None
        if call.resets is not None:
            self._keep = (~call.resets.gather(0, self.order)).double().unsqueeze(2)
            before = [part * self._keep for part in before]
        inputs = self.own_time(call.inputs.detach().double())
        if call.lengths is not None:
            inputs = torch.where((time < self.lengths).to(device).unsqueeze(2), inputs, 0.0)
        self._factor(inputs, before)

    @property
    def finite(self) -> bool:
        """Whether no state and no slope has left the range of floats; else nothing can be said of the Jacobians."""
        slopes = [slope for each in (*self._slopes, *(p.sources for p in self._products)) for slope in each.values()]
        return all(bool(part.isfinite().all()) for part in (*self.states, *slopes) if part is not None)

    @property
    def size(self) -> int:
        """Numbers of the whole state."""
        return self.hidden * len(self.states)

    def own_time(self, values: Tensor) -> Tensor:
        """[time, batch, features] in the order in which the layer runs."""
        return values.gather(0, self.order.unsqueeze(2).expand(-1, -1, values.shape[2]))

    def push(self, t: int, vectors: Parts, rows: Any = slice(None)) -> Parts:
        """J_t v of vectors [..., batch, hidden] by part; `rows` says which of the batch they are for."""
        if self._keep is not None:
            vectors = tuple(part * self._keep[t][rows] for part in vectors)
        known = {f"s{index}": part for index, part in enumerate(vectors)}
        for product in self._products:
            moved = _weighted(product.sources, known, t, rows)
            moved = moved if product.weight is None else moved @ product.weight.T
            moved = moved if product.norm is None else product.norm.push(t, moved, rows)
            known |= dict(zip(product.gates, moved.split(self.hidden, -1), strict=True))
        return tuple(_weighted(slopes, known, t, rows) for slopes in self._slopes)

    def pull(self, t: int, covectors: Parts, rows: Any = slice(None)) -> Pulled:
        """J_tᵀ λ of covectors [..., batch, hidden] by part; `rows` as in `push`."""
        found: dict[str, Tensor] = {}
        for slopes, part in zip(self._slopes, covectors, strict=True):
            _spread(slopes, part, t, rows, found)
        zero, direct = torch.zeros_like(covectors[0]), None
        before_matrices, after_matrices = [], []
        for product in reversed(self._products):
            if product.weight is not None and direct is None:
                direct = tuple(found.get(f"s{index}", zero) for index in range(len(covectors)))
            moved = torch.cat([found.pop(gate, zero) for gate in product.gates], -1)
            if product.weight is not None:
                before_matrices.append(moved)
            moved = moved if product.norm is None else product.norm.pull(t, moved, rows)
            if product.weight is not None:
                moved = moved @ product.weight
                after_matrices.append(moved)
            _spread(product.sources, moved, t, rows, found)
        state = tuple(found.get(f"s{index}", zero) for index in range(len(covectors)))
        direct = state if direct is None else direct
        if self._keep is not None:
            state, direct = (tuple(part * self._keep[t][rows] for part in parts) for parts in (state, direct))
        none = zero[..., :0]
        return Pulled(
            state,
            direct,
            torch.cat(before_matrices, -1) if before_matrices else none,
            torch.cat(after_matrices, -1) if after_matrices else none,
        )

    def matrices(self, t: int, rows: Any = slice(None)) -> Tensor:
        """J_t itself, [batch, state, state], rows by what comes out; parts of the state one after the other."""
        count = len(torch.arange(self.rows)[rows])
        unit = torch.eye(self.size, dtype=torch.float64, device=self.states[0].device)
        unit = unit.unsqueeze(1).expand(-1, count, -1)
        return torch.cat(self.push(t, unit.split(self.hidden, -1), rows), -1).permute(1, 2, 0)

    def _factor(self, inputs: Tensor, before: list[Tensor]) -> None:
        """Find every slope, stage by stage: each product's gates are free when what follows is differentiated."""
        cell, weights = self.cell, self.weights
        projected = inputs @ weights.weight_ih.T
        if weights.norm_ih is not None:
            projected, _ = self._normalised(projected, weights.norm_ih, "ih")
        if weights.bias_ih is not None:
            projected = projected + weights.bias_ih
        x = split_gates(cell, projected)
        with torch.enable_grad():
            known = {f"s{index}": part.detach().requires_grad_() for index, part in enumerate(before)}
            state = type(self.call.layer.initial_state(1))(*known.values())
            self._products: list[_Product] = []
            h: list[Tensor] = []
            for place, product in recurrent_products(cell, weights).items():
                sources: Mapping[str, Tensor | None]
                if place == "hh":
                    read, sources = state[0], {"s0": None}
                else:
                    read = cell.late_input(x, cell.Gates(*h, *[None] * (len(x) - len(h))), state)
                    sources = _slopes(read, known)
                values, norm = read.detach() @ product.weight.T, None
                if product.gain is not None:
                    values, norm = self._normalised(values, product.gain, place)
                values = values if product.bias is None else values + product.bias
                gates = cell.gates[len(h) : len(h) + values.shape[-1] // self.hidden]
                self._products.append(_Product(sources, product.weight, norm, tuple(f"h.{gate}" for gate in gates)))
                h += [part.detach().requires_grad_() for part in values.split(self.hidden, -1)]
                known |= dict(zip(self._products[-1].gates, h[-len(gates) :], strict=True))
            self.x, self.h, self.before = x, cell.Gates(*h) if h else (), state
            after = self.update(known)
            self._slopes = [_slopes(part, known) for part in after]
        for index, rate in enumerate(self.call.layer.zoneout_rates or ()):
            if rate:
                self._slopes[index] = {name: slope * (1 - rate) for name, slope in self._slopes[index].items()}
                own = self._slopes[index].get(f"s{index}", torch.zeros_like(before[0]))
                self._slopes[index][f"s{index}"] = own + rate

    def update(self, known: dict[str, Tensor] | None = None, x: Any = None) -> Any:
        """The cell's `update` on every step of every row.

        Args:
            known: takes in what the state's normalisation gives, free to be differentiated by.
            x: pre-activations from the input in place of its own.
        """
        arguments: list[Any] = [self.x if x is None else x, self.h, self.before]
        if self.weights.vectors:
            arguments.append(self.cell.Vectors(*self.weights.vectors))
        if self.weights.norm_state is None:
            return self.cell.update(*arguments)
        gain, shift = self.weights.norm_state

        def norm(values: Tensor) -> Tensor:
            normal, derivative = self._normalised(values.detach(), gain, "state")
            free = (normal + shift).detach().requires_grad_()
            if known is not None:
                self._products.append(_Product(_slopes(values, known), None, derivative, ("norm",)))
                known["norm"] = free
            return free

        return self.cell.update(*arguments, norm=norm)

    def _normalised(self, values: Tensor, gain: Tensor, place: str) -> tuple[Tensor, _Norm]:
        """Normalised values and their derivative."""
        values, statistics = values.detach(), self.call.layer.batch_norm
        if statistics is not None:
            at = self._statistics.clamp(max=statistics.steps - 1)
            mean, variance = (getattr(statistics, f"{name}_{place}").double()[at] for name in ("mean", "variance"))
            scale = torch.rsqrt(variance + 1e-5)
            return (values - mean) * scale * gain, _Norm(gain, None, scale.expand_as(values))  # alike for all rows
        scale = torch.rsqrt(values.var(-1, correction=0, keepdim=True) + 1e-5)
        normal = (values - values.mean(-1, keepdim=True)) * scale
        return layer_norm(values, gain), _Norm(gain, normal, scale)


def _slopes(value: Tensor, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """∂value/∂each, unit by unit, of what it depends on."""
    if not value.requires_grad:
        return {}
    found = torch.autograd.grad(value.sum(), list(known.values()), allow_unused=True, retain_graph=True)
    return {name: slope for name, slope in zip(known, found, strict=True) if slope is not None}


def _weighted(slopes: Mapping[str, Tensor | None], known: dict[str, Tensor], t: int, rows: Any) -> Tensor:
    """Σ slope ⊙ vector."""
    total = None
    for name, slope in slopes.items():
        term = known[name] if slope is None else known[name] * slope[t][rows]
        total = term if total is None else total + term
    return torch.zeros_like(known["s0"]) if total is None else total


def _spread(slopes: Mapping[str, Tensor | None], covector: Tensor, t: int, rows: Any, found: dict[str, Tensor]) -> None:
    """Add slope ⊙ covector to what each depends on."""
    for name, slope in slopes.items():
        term = covector if slope is None else covector * slope[t][rows]
        found[name] = found[name] + term if name in found else term


def _detached(state: Any) -> Any:
    return type(state)(*(part.detach() for part in state))
