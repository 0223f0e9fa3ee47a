"""What the contract of cells is tested with: all cells, random calls of a layer, every backend beside the reference."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import ostinato.cells
import ostinato.gated_cell
import ostinato.linear_cells
from ostinato import Bidirectional, Deep, GatedCell, Recurrent, backend
from ostinato.errors import BackendUnavailable
from ostinato.kernels import reference, scan
from ostinato.kernels.call import LayerCall, Weights
from ostinato.kernels.recurrence import BACKENDS
from ostinato.networks import flatten_state

MODULES: tuple[ModuleType, ...] = (ostinato.gated_cell, ostinato.cells, ostinato.linear_cells)
ALL: list[Any] = list(
    dict.fromkeys(
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, GatedCell) and hasattr(kind, "gates")
    )
)
"""Every cell that states equations."""

KERNELS = {"scan": (scan.serves, scan.run), **BACKENDS}
SERVED = [name for name in KERNELS if name != "reference"]
"""The backends that are compared with the reference, in each call that they serve."""

# of a tensor's largest value: rounding in a sum is relative to its terms, not to what is left of them
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}


def randomise(module: nn.Module) -> None:
    """Weights of no special form, biases included."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.5, 0.5)


def network(kind: type[GatedCell], sizes: list[int], bidirectional: bool, dtype: torch.dtype, **options: Any) -> Deep:
    layers, width = [], sizes[0]
    for size in sizes[1:]:
        cells = [kind(width, size) for _ in range(1 + bidirectional)]
        layers.append(Bidirectional(*cells, **options) if bidirectional else Recurrent(cells[0], **options))
        width = layers[-1].output_size
    deep = Deep(layers).to(dtype)
    randomise(deep)
    return deep


def random_like(state: Any, dtype: torch.dtype, name: str = "") -> Any:
    """A state of the same structure to be differentiated by."""
    if isinstance(state, Tensor):
        part = torch.randn_like(state, dtype=dtype)
        # what an sLSTM divides by is a sum of exponentials
        return (part.abs() + 0.5 if name == "normaliser" else part).requires_grad_()
    names = getattr(state, "_fields", [""] * len(state))
    parts = [random_like(part, dtype, name) for name, part in zip(names, state, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def random_state(net: Any, batch: int, dtype: torch.dtype) -> Any:
    return random_like(net.initial_state(batch), dtype)


def random_call(
    kind: type[GatedCell],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    ragged: bool = False,
    reverse: bool = False,
    resets: bool = False,
    zoneout: bool = False,
    mask: bool = False,
    norm: bool = False,
    every: bool = False,
    low_memory: bool = False,
    bias: bool = True,
) -> LayerCall:
    """A call with chosen options, all weights and the initial state random; padding holds NaN."""
    steps, batch, size, hidden = shape
    if norm:  # of one or two values normalisation leaves the signs, and of their gradients rounding errors
        size, hidden = max(size, 3), max(hidden, 3)
    layer = Recurrent(kind(size, hidden, bias=bias), layer_norm=norm).to(dtype)
    randomise(layer)
    inputs, lengths = torch.randn(steps, batch, size, dtype=dtype), None
    if ragged:
        lengths = torch.randint(0, steps + 1, (batch,))
        inputs = torch.where(torch.arange(steps)[:, None, None] < lengths[None, :, None], inputs, torch.nan)
    state = random_state(layer, batch, dtype)
    return LayerCall(
        cell=kind,
        weights=Weights(*[leaf(part) for part in layer.weights()]),
        inputs=inputs.requires_grad_(),
        state=state,
        lengths=lengths,
        reverse=reverse,
        resets=torch.rand(steps, batch) < 0.3 if resets else None,
        zoneout=tuple(torch.rand(steps, batch, hidden, dtype=dtype) for _ in state) if zoneout else None,
        every=every,
        low_memory=low_memory,
        hidden_mask=torch.rand(batch, hidden, dtype=dtype) if mask else None,
    )


def leaf(part: Any) -> Any:
    """A parameter of its own, so that calls share none."""
    if isinstance(part, tuple):
        return tuple(leaf(each) for each in part)
    return None if part is None else part.detach().clone().requires_grad_()


def leaves(call: LayerCall) -> list[Tensor]:
    """What a call is differentiated by."""
    weights = [part for part in call.weights if isinstance(part, Tensor)]
    return [call.inputs, *call.state, *weights, *call.weights.vectors]


def derive(results: list[Tensor], by: list[Tensor]) -> list[Tensor]:
    """The gradients of three random functionals of results, so that none is small only because its terms cancel."""
    generator, rounds = torch.Generator().manual_seed(1), []
    for _ in range(3):
        total = sum((part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in results)
        found = torch.autograd.grad(total, by, allow_unused=True, retain_graph=True)  # type: ignore[arg-type]
        rounds.append([torch.zeros_like(part) if each is None else each for each, part in zip(found, by, strict=True)])
    return [torch.stack(parts) for parts in zip(*rounds, strict=True)]


def results_of(call: LayerCall, kernel: Any) -> list[Tensor]:
    """All that a backend gives."""
    result = kernel(call)
    return [result.outputs, *result.state, *(result.states if call.every else ())]


def run_call(call: LayerCall, kernel: Any) -> tuple[list[Tensor], list[Tensor]]:
    """All that a backend gives, and the gradient by all that goes in."""
    results = results_of(call, kernel)
    return results, derive(results, leaves(call))


def check_call(call: LayerCall) -> list[str]:
    """Compare every backend that serves a call with the reference, and name these backends."""
    wanted = run_call(call, reference.run)
    assert all(part.isfinite().all() for part in (*wanted[0], *wanted[1]))
    found = [name for name in SERVED if KERNELS[name][0](call) is None]
    for name in found:
        results, gradients = run_call(call, KERNELS[name][1])
        close(results, wanted[0], call.state[0].dtype, name)
        close(gradients, wanted[1], call.state[0].dtype, f"{name}, gradient")
        with torch.no_grad():  # a kernel that keeps nothing may carry its state elsewhere
            close(results_of(call, KERNELS[name][1]), wanted[0], call.state[0].dtype, f"{name}, no gradient")
    return found


def run(
    net: nn.Module, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and final state of a network, and the gradient by all that goes in."""
    inputs = inputs.clone().requires_grad_()
    outputs, final = net(inputs, state, lengths, resets)
    results = [outputs, *flatten_state(final)]
    return results, derive(results, [inputs, *flatten_state(state), *net.parameters()])


def run_everywhere(net: nn.Module, *arguments: Any) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """`run` on each backend that serves all layers; the reference is one."""
    found = {}
    for name in BACKENDS:
        try:
            with backend(name):
                found[name] = run(net, *arguments)
        except BackendUnavailable:
            continue
    return found


def close(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype, what: str = "") -> None:
    for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
        scale = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(
            a, b, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-3), msg=lambda text, i=index: f"{what} {i}: {text}"
        )
