"""Watching a network at work: which layers ran, on what, and what they gave."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.networks import Bidirectional, Deep
from ostinato.recurrent import Recurrent

_SIGNATURE = inspect.signature(Recurrent.forward)


@dataclass
class Call:
    """A layer's run over time; several runs of one step each are one call."""

    name: str
    """Of the module within the network."""
    layer: Recurrent
    inputs: Tensor
    """[time, batch, input]."""
    state: Any
    """Before the first step; None for zeros."""
    lengths: Tensor | None
    resets: Tensor | None
    outputs: list[Tensor]
    """[time, batch, hidden] in pieces, as the network used them: what its loss can be differentiated by."""
    final: Any
    """The state after, alike."""

    @property
    def rows(self) -> int:
        """The size of the batch."""
        return self.inputs.shape[1]

    def row_lengths(self) -> Tensor:
        """Steps of each row, int64 [batch]."""
        if self.lengths is None:
            return torch.full((self.rows,), len(self.inputs), dtype=torch.int64)
        return self.lengths.detach().cpu().long()


@dataclass
class Stack:
    """Layers upon each other that ran together, from the first."""

    name: str
    """Of the module within the network; empty if it is the network itself."""
    module: nn.Module
    calls: list[Call]
    outputs: list[Tensor] = field(default_factory=list)
    """[time, batch, features] in pieces: what the network read of the highest layer."""

    def label(self, call: Call, alone: bool) -> str:
        """The layer for people: `layer 0`, `encoder, layer 1, backward`."""
        words = [part for part in self.name.split(".") if part not in ("network", "")]
        parts = [] if alone or not words else [words[-1]]
        relative = call.name.removeprefix(self.name).strip(".").split(".")
        if isinstance(self.module, Deep):
            parts.append(f"layer {next(part for part in relative if part.isdigit())}")
        parts += [end for end in ("forward", "backward") if f"{end}_layer" in relative]
        return ", ".join(parts) or "layer 0"


def watch(network: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[Stack]]:
    """Run something and see which recurrent layers of a network it went through.

    Args:
        network: whose `Deep`, `Bidirectional` and `Recurrent` modules are watched.
        run: gives what is to be differentiated, a loss.

    Returns:
        What `run` gave, and a `Stack` for each `Deep`, or layer outside one, that ran. Of a stack that ran several
        times over more than a step the longest run counts.

    >>> from ostinato.cells import GRUCell
    >>> net = Deep([Recurrent(GRUCell(3, 5)), Bidirectional(GRUCell(5, 4), GRUCell(5, 4))])
    >>> loss, stacks = watch(net, lambda: net(torch.randn(7, 2, 3))[0].sum())
    >>> [stacks[0].label(call, alone=True) for call in stacks[0].calls]
    ['layer 0', 'layer 1, forward', 'layer 1, backward']
    """
    found: dict[str, list[Call]] = {}
    outputs: dict[str, list[Tensor]] = {}
    handles, watching = [], True

    def layer_hook(name: str) -> Callable[..., Any]:
        def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
            if not watching:
                return None
            given = _SIGNATURE.bind(layer, *args, **kwargs).arguments
            state, lengths, resets = (given.get(key) for key in ("state", "lengths", "resets"))
            # aliases of what comes out, so that none of it is where another part comes from
            outputs, final = result[0].view_as(result[0]), type(result[1])(*(part.view_as(part) for part in result[1]))
            call = Call(name, layer, given["inputs"], state, lengths, resets, [outputs], final)
            found.setdefault(name, []).append(call)
            return (outputs, final, *result[2:])

        return hook

    def stack_hook(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, _kwargs: Any, result: Any) -> None:
            if watching:
                outputs.setdefault(name, []).append(result[0])

        return hook

    stacks = _stacks(network)
    for name, module in stacks.items():
        for inner, layer in module.named_modules(prefix=name):
            if isinstance(layer, Recurrent):
                handles.append(layer.register_forward_hook(layer_hook(inner), with_kwargs=True))
        # after a layer's own hook, whose aliases it is to see
        handles.append(module.register_forward_hook(stack_hook(name), with_kwargs=True))
    try:
        loss = run()
    finally:
        watching = False  # a checkpoint may run layers again in the backward pass
        for handle in handles:
            handle.remove()
    runs = []
    for name, module in stacks.items():
        calls = [
            _joined(found[inner])
            for inner, layer in module.named_modules(prefix=name)
            if isinstance(layer, Recurrent) and inner in found
        ]
        if calls:
            # `Deep.step` goes from layer to layer: the highest gives what the stack does
            given = outputs.get(name)
            runs.append(Stack(name, module, calls, [max(given, key=len)] if given else calls[-1].outputs))
    return loss, runs


def _stacks(network: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules of layers, by name."""
    found: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, Deep | Bidirectional | Recurrent) and not inside:
            found[name] = module
    return found


def _joined(calls: list[Call]) -> Call:
    """One call of several: steps one after the other, or the longest."""
    first = calls[0]
    if len(calls) == 1 or any(len(call.inputs) > 1 for call in calls):
        return max(calls, key=lambda call: len(call.inputs))
    inputs = torch.cat([call.inputs for call in calls])
    pieces = [call.outputs[0] for call in calls]
    return Call(first.name, first.layer, inputs, first.state, None, None, pieces, calls[-1].final)
