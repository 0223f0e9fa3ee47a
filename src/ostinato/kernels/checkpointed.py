"""The reference, and the reference in pieces of time that are run anew in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ostinato.kernels import reference
from ostinato.kernels.call import LayerCall, LayerResult


def serves(call: LayerCall) -> str | None:
    """The reference serves every call, and what keeps statistics only in one go."""
    if call.low_memory and call.batch_norm is not None:
        return "memory='low' runs steps twice, which the statistics of batch normalisation would count twice"
    return None


def run(call: LayerCall) -> LayerResult:
    """All steps; with `low_memory` only the states between pieces of √time steps are kept."""
    if not (call.low_memory and torch.is_grad_enabled()):
        return reference.run(call)
    steps, size = len(call.inputs), max(1, int(len(call.inputs) ** 0.5))
    starts: Any = range(0, steps, size)
    state, pieces = call.state, []
    for start in reversed(starts) if call.reverse else starts:
        part = slice(start, min(start + size, steps))
        piece = call._replace(
            inputs=call.inputs[part],
            state=state,
            lengths=None if call.lengths is None else (call.lengths - start).clamp(0, part.stop - start),
            resets=None if call.resets is None else call.resets[part],
            zoneout=call.zoneout and tuple(None if stay is None else stay[part] for stay in call.zoneout),
        )
        result: Any = checkpoint(reference.run, piece, use_reentrant=False)
        state = result.state
        pieces.append(result)
    pieces = pieces[::-1] if call.reverse else pieces
    outputs = torch.cat([piece.outputs for piece in pieces])
    if not call.every:
        return LayerResult(outputs, state)
    parts = zip(*(piece.states for piece in pieces), strict=True)
    return LayerResult(outputs, state, type(state)(*(torch.cat(part) for part in parts)))
