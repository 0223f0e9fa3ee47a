"""Layers of ours and of torch.nn with the same weights, run alike and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ostinato import GRU, LSTM, RNN, backend

# of a tensor's largest value: rounding in a sum is relative to its terms, not to what is left of them
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "tanh": (RNN, nn.RNN, {}),
    "relu": (RNN, nn.RNN, {"nonlinearity": "relu"}),
    "gru": (GRU, nn.GRU, {}),
    "lstm": (LSTM, nn.LSTM, {}),
    "projected": (LSTM, nn.LSTM, {"proj_size": 3}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def pair(kind: str, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Ours and theirs, with the same weights of no special form."""
    ours_class, theirs_class, extra = KINDS[kind]
    theirs = theirs_class(*arguments, **extra, **options)
    ours = ours_class(*arguments, **extra, **options)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.uniform_(-0.5, 0.5)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def flat(results: Any) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, PackedSequence):
        return [results.data]
    return [tensor for part in results for tensor in flat(part)]


def initial(net: Any, *batch: int, dtype: torch.dtype = torch.float32) -> Any:
    """A random initial state, as torch.nn takes it."""
    rows = net.num_layers * (2 if net.bidirectional else 1)
    hidden = torch.randn(rows, *batch, net.proj_size or net.hidden_size, dtype=dtype)
    return (hidden, torch.randn(rows, *batch, net.hidden_size, dtype=dtype)) if "LSTM" in repr(net) else hidden


def run(net: Any, inputs: Tensor, hx: Any, call: Callable[..., Any] | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and final state, and the gradients of random functionals of them by all that goes in.

    Of three, so that no gradient is small only because its terms cancel.
    """
    inputs = inputs.detach().clone().requires_grad_()
    parts = [] if hx is None else [part.detach().clone().requires_grad_() for part in flat(hx)]
    given = None if hx is None else tuple(parts) if isinstance(hx, tuple) else parts[0]
    results = flat((call or net)(inputs, given))
    generator = torch.Generator().manual_seed(1)
    leaves, rounds = [inputs, *parts, *net.parameters()], []
    for _ in range(3):
        weights = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in results]
        total: Any = sum((part * weight).sum() for part, weight in zip(results, weights, strict=True))
        rounds.append(torch.autograd.grad(total, leaves, retain_graph=True, materialize_grads=True))
    return results, [torch.stack(gradients) for gradients in zip(*rounds, strict=True)]


def close(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> None:
    for a, b in zip(found, wanted, strict=True):
        scale = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-3))


def agree(ours: Any, theirs: Any, inputs: Tensor, hx: Any, call: Callable[..., Any] | None = None) -> None:
    """On the backend that is chosen and on the reference: all results, all gradients."""
    wanted = run(theirs, inputs, hx, call and (lambda *given: call(theirs, *given)))
    for name in ("auto", "reference"):
        with backend(name):
            found = run(ours, inputs, hx, call and (lambda *given: call(ours, *given)))
        close(found[0], wanted[0], inputs.dtype)
        close(found[1], wanted[1], inputs.dtype)
