"""How a gradient fades on its way back through time: by lag, in what parts of a step, with what half-life."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.measures.calls import Call, Stack, watch
from ostinato.measures.linearised import Linearised


class LayerGradient(NamedTuple):
    """The gradient of the loss at one late step of each row, in one layer."""

    name: str
    """`layer 0`, `encoder, layer 1, backward`."""
    linearised: Linearised
    """The layer's steps, from which more can be measured."""
    by_part: dict[str, np.ndarray]
    """Part of the state → [lags], ‖∂L_t/∂s_{t−k}‖₂, k = 0, 1, …; mean over the rows that reach so far back. inf where
    it left the range of floats; a single 0 where the loss reads nothing of the layer."""
    growth: float
    """Mean log₂ ‖Jᵀλ‖/‖λ‖ a step, over rows and lags."""
    derivative_part: float
    """Mean log₂ ‖diag φ′(a) λ‖/‖λ‖; NaN without a recurrent matrix."""
    weight_part: float
    """Mean log₂ ‖Wᵀ v‖/‖v‖ of v = diag φ′(a) λ; NaN without a recurrent matrix."""
    direct_part: float
    """Mean log₂ of the norm of what of Jᵀλ met no matrix, over ‖λ‖; NaN if there is no such way."""

    @property
    def by_lag(self) -> np.ndarray:
        """[lags], with respect to the hidden state."""
        return next(iter(self.by_part.values()))


class Fit(NamedTuple):
    """g_k ≈ c · 2^(−k / half_life)."""

    half_life_steps: float
    """inf where g does not fall, NaN where there are no lags."""
    quality: float
    """R² in the logarithm; NaN where there was nothing to fit."""


def gradient_by_lag(network: nn.Module, loss: Callable[[], Tensor], lags: int | None = None) -> list[LayerGradient]:
    r"""‖∂L_t/∂s_{t−k}‖ for every recurrent layer that a loss went through (Pascanu et al. 2013, eq. 4-5).

    t is, in each row, the last step of the layer's own time from which the loss reads something; what it reads of other
    steps is left out, so that the steps between t − k and t are the only way. From there

        λ_{u−1} = J_uᵀ λ_u + ∂L_t/∂(outputs of the layer at u − 1),

    where the second term is what comes through layers above, and J_u is exact (see `Linearised`). The forward run
    is that of the backend that serves the network; networks are measured in evaluation mode, and put back.

    Args:
        network: whose layers are watched.
        loss: runs the network and gives Σ of the loss over a batch, nats.
        lags: the most to go back; all if None.

    Returns:
        An entry for each layer and direction, from the first; none where no recurrent layer ran.

    With h' = W h and W = Q / 2, Q orthogonal, every step back halves the gradient:

    >>> from ostinato.cells import RNNCell
    >>> from ostinato.recurrent import Recurrent
    >>> layer = Recurrent(RNNCell(3, 5, bias=False))
    >>> _ = layer.cell.weight_hh.data.mul_(0.5)  # orthogonal at first
    >>> small = 1e-3 * torch.randn(9, 2, 3)  # where tanh is the identity
    >>> [found] = gradient_by_lag(layer, lambda: layer(small)[0][-1].sum())
    >>> (found.by_lag[:4] / found.by_lag[0]).round(3), round(half_life(found.by_lag).half_life_steps, 3)
    (array([1.   , 0.5  , 0.25 , 0.125]), 1.0)
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.enable_grad():
            total, stacks = watch(network, loss)
            ends = [[*stack.outputs, *(part for call in stack.calls for part in call.final)] for stack in stacks]
            read: Any = ()
            if stacks:  # all at once: the loss of a large vocabulary goes back only once
                flat = [end for each in ends for end in each]
                read = torch.autograd.grad(total, flat, allow_unused=True, retain_graph=True)
            slopes = iter(read)
            found = [
                layer
                for stack, each in zip(stacks, ends, strict=True)
                for layer in _of_stack(stack, [next(slopes) for _ in each], len(stacks) == 1, lags)
            ]
    finally:
        for module in training:
            module.training = True
    return found


def half_life(by_lag: np.ndarray, floor: float = 1e-3) -> Fit:
    """The half-life of an exponential fitted to a gradient by lag.

    Least squares of ln g_k against k from k = 1 on, as long as g_k is at least `floor` of g_1, but over 8 lags at the
    least: far below that, what is left is of no use to learning, and often fades at another rate.

    >>> round(half_life(np.exp2(-np.arange(100) / 7)).half_life_steps, 6), half_life(np.ones(9)).half_life_steps
    (7.0, inf)
    """
    values = np.asarray(by_lag, float)[1:]
    if not len(values):
        return Fit(math.nan, math.nan)
    if not np.isfinite(values[0]):
        return Fit(math.inf, math.nan)
    if values[0] <= 0:
        return Fit(0.0, math.nan)
    below = np.flatnonzero(~(values >= floor * values[0]))
    end = max(8, int(below[0]) if len(below) else len(values))
    k = np.arange(1, len(values) + 1)[:end]
    usable = np.isfinite(values[:end]) & (values[:end] > 0)
    if usable.sum() < 2:
        return Fit(0.0, math.nan)
    k, logarithms = k[usable], np.log(values[:end][usable])
    slope, constant = np.polyfit(k, logarithms, 1)
    spread = float(((logarithms - logarithms.mean()) ** 2).sum())
    left = float(((logarithms - slope * k - constant) ** 2).sum())
    flat = spread <= 1e-12 * len(k)
    steps = math.inf if flat or slope >= 0 else math.log(2) / -float(slope)
    return Fit(steps, math.nan if flat else 1 - left / spread)


def _of_stack(stack: Stack, read: list[Any], alone: bool, lags: int | None) -> list[LayerGradient]:
    """The layers of a stack; `read` is ∂L/∂ of its outputs, then of every call's final state, None where unused."""
    pieces = [
        torch.zeros_like(piece) if slope is None else slope
        for piece, slope in zip(stack.outputs, read[: len(stack.outputs)], strict=True)
    ]
    of_outputs = torch.cat(pieces)
    of_states = iter(read[len(pieces) :])
    by_call = [[next(of_states) for _ in call.final] for call in stack.calls]
    found: dict[int, LayerGradient] = {}
    for reverse in (False, True):
        chosen = [index for index, call in enumerate(stack.calls) if call.layer.reverse == reverse]
        if chosen:
            seeds = _Seeds(stack, of_outputs, by_call, chosen, reverse)
            slopes = seeds.through(stack, [len(piece) for piece in pieces])
            for index in chosen:
                call = stack.calls[index]
                name = stack.label(call, alone)
                found[index] = _carried_back(name, call, slopes[index], seeds.states[index], seeds.at, lags)
    return [found[index] for index in sorted(found)]


class _Seeds:
    """∂L_t/∂(what the network reads of a stack): at one step of each row, of one direction's layers.

    Args:
        stack: that ran.
        of_outputs: ∂L/∂outputs, [time, batch, features].
        by_call: ∂L/∂(part of the final state), of each call; None where the loss does not read it.
        chosen: the calls whose direction this is.
        reverse: that direction.
    """

    def __init__(
        self, stack: Stack, of_outputs: Tensor, by_call: list[list[Any]], chosen: list[int], reverse: bool
    ) -> None:
        time, lengths = len(of_outputs), stack.calls[0].row_lengths().to(of_outputs.device)
        steps = torch.arange(time, device=of_outputs.device).unsqueeze(1)
        used = (of_outputs != 0).any(-1) & (steps < lengths)
        end = torch.zeros_like(lengths) if reverse else lengths - 1
        for index in chosen:
            for part in by_call[index]:
                if part is not None:
                    used |= (steps == end) & (part != 0).any(-1)
        # counted in the direction's own time; −1 where nothing of a row is read
        own = torch.where(used, lengths - 1 - steps if reverse else steps, -1)
        self.at = own.amax(0)
        absolute = lengths - 1 - self.at if reverse else self.at
        self.outputs = torch.where(((steps == absolute) & (self.at >= 0)).unsqueeze(2), of_outputs, 0.0)
        at_end = (self.at == lengths - 1).unsqueeze(1)
        self.states: list[list[Any]] = [
            [None if part is None else torch.where(at_end, part, 0.0) for part in parts]
            if index in chosen
            else [None] * len(parts)
            for index, parts in enumerate(by_call)
        ]

    def through(self, stack: Stack, sizes: list[int]) -> list[Tensor]:
        """∂L_t/∂(outputs of each call), [time, batch, hidden], by what lies above it."""
        pairs = list(zip(stack.outputs, self.outputs.split(sizes), strict=True))
        for call, parts in zip(stack.calls, self.states, strict=True):
            pairs += [(part, slope) for part, slope in zip(call.final, parts, strict=True) if slope is not None]
        pieces = [piece for call in stack.calls for piece in call.outputs]
        pairs = [pair for pair in pairs if pair[0].requires_grad]
        ends, slopes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        found = iter(torch.autograd.grad(ends, pieces, slopes, allow_unused=True, retain_graph=True))
        return [
            torch.cat([torch.zeros_like(piece) if (slope := next(found)) is None else slope for piece in call.outputs])
            for call in stack.calls
        ]


@torch.no_grad()
def _carried_back(
    name: str, call: Call, of_outputs: Tensor, of_state: list[Any], at: Tensor, lags: int | None
) -> LayerGradient:
    """Carry λ from the last step to the first, all rows side by side."""
    layer = Linearised(call)
    lengths = layer.lengths.to(of_outputs.device)
    arriving = layer.own_time(of_outputs.double())
    parts = type(call.final)._fields
    carried = tuple(torch.zeros_like(arriving[0]) for _ in parts)
    first = 0 if lags is None else max(0, int(at.min()) - lags)
    norms = arriving.new_full((len(parts), layer.steps, layer.rows), torch.nan)
    ratios = arriving.new_full((4, layer.steps, layer.rows), torch.nan)
    for u in range(layer.steps - 1, first - 1, -1):  # above a layer, the other direction may read later steps too
        begins, live = (lengths - 1 == u).unsqueeze(1), (u < lengths).unsqueeze(1)
        carried = tuple(
            part if slope is None else part + torch.where(begins, slope.double(), 0.0)
            for part, slope in zip(carried, of_state, strict=True)
        )
        carried = (carried[0] + torch.where(live, arriving[u], 0.0), *carried[1:])
        norms[:, u] = torch.stack([part.norm(dim=-1) for part in carried])
        pulled = layer.pull(u, carried)
        size, products = _norm(carried), pulled.preactivation.norm(dim=-1)
        stations = (_norm(pulled.state), products, pulled.product.norm(dim=-1), _norm(pulled.direct))
        ratios[:, u] = torch.stack(stations).log2() - torch.stack([size, size, products, size]).log2()
        carried = pulled.state
    longest = max(0, int(at.max()) if lags is None else min(lags, int(at.max())))
    by_part = {part: _by_lag(norms[index], at, longest) for index, part in enumerate(parts)}
    steps = torch.arange(layer.steps, device=at.device).unsqueeze(1)
    counted = (steps <= at) & (steps >= at - longest)
    return LayerGradient(name, layer, by_part, *(_mean(each, counted) for each in ratios))


def _norm(parts: tuple[Tensor, ...]) -> Tensor:
    """[batch], of all parts together."""
    return torch.cat(parts, -1).norm(dim=-1)


def _by_lag(norms: Tensor, at: Tensor, longest: int) -> np.ndarray:
    """[time, batch] in own time → [lags], means over the rows that have a lag."""
    index = at - torch.arange(longest + 1, device=at.device).unsqueeze(1)
    reached = (index >= 0) & (at >= 0)
    values = norms.gather(0, index.clamp(min=0)).nan_to_num(nan=torch.inf)  # ∞ − ∞ on the way: it has exploded
    found = torch.where(reached, values, 0.0).sum(1) / reached.sum(1).clamp(min=1)
    return found.cpu().numpy()


def _mean(values: Tensor, counted: Tensor) -> float:
    """Of what is finite: a gradient that has become 0 has no logarithm."""
    usable = counted & values.isfinite()
    return float(values[usable].mean()) if bool(usable.any()) else math.nan
