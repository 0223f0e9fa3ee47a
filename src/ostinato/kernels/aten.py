"""The time loops that PyTorch brings (oneDNN on a CPU, cuDNN on a GPU), for the cells that it has."""

from __future__ import annotations

import torch
from torch._C._functorch import maybe_current_level

from ostinato.kernels.call import LayerCall, LayerResult


def serves(call: LayerCall) -> str | None:
    """None, or why PyTorch has no such loop."""
    weights = call.weights
    if fused_name(call.cell) is None:
        return f"PyTorch has no fused {call.cell.__name__}"
    if in_transform():
        return "PyTorch's loop takes no part in a transform of torch.func"
    if call.low_memory and torch.is_grad_enabled():
        return "PyTorch's loop keeps what every step made"
    if call.lengths is not None:
        return "PyTorch's loop takes ragged lengths only as packed sequences"
    if call.resets is not None:
        return "PyTorch's loop has no resets"
    if call.zoneout is not None:
        return "PyTorch's loop has no zoneout"
    if call.every and len(call.state) > 1:
        return "PyTorch's loop keeps the hidden state of every step, not the whole state"
    if any(part is not None for part in (weights.norm_ih, weights.norm_hh, weights.norm_state)):
        return "PyTorch's loop has no normalisation"
    if call.hidden_mask is not None:
        return "PyTorch's loop has no dropout of the hidden state"
    if weights.weight_hr is not None and fused_name(call.cell) != "lstm":
        return "PyTorch projects the hidden state of an LSTM only"
    if (weights.bias_ih is None) != (weights.bias_hh is None):
        return "PyTorch's loop wants both biases or none"
    return None


def in_transform() -> bool:
    """Whether a transform of torch.func (vmap, jacrev, jvp) is at work, in which plain operations alone take part."""
    return not torch.compiler.is_compiling() and maybe_current_level() is not None


def fused_name(cell_type: type) -> str | None:
    """PyTorch's name for the loop over these equations: that of the class that wrote `update`, not of one derived."""
    for parent in cell_type.__mro__:
        if "update" in vars(parent):
            return vars(parent).get("aten")
    return None


def run(call: LayerCall) -> LayerResult:
    """All steps of one layer through `torch.lstm`, `torch.gru`, `torch.rnn_tanh` or `torch.rnn_relu`."""
    w = call.weights
    weights = [part for part in (w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh, w.weight_hr) if part is not None]
    initial = [part.unsqueeze(0).contiguous() for part in call.state]
    inputs = call.inputs.flip(0) if call.reverse else call.inputs
    outputs, *final = getattr(torch, str(fused_name(call.cell)))(
        inputs,
        initial if len(initial) > 1 else initial[0],
        weights,
        has_biases=w.bias_ih is not None,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=False,
    )
    kept, kind = (
        call.state[0].dtype,
        type(call.state),
    )  # autocast computes in bfloat16; what is carried stays as it came
    state = kind(*(part.squeeze(0).to(kept) for part in final))
    outputs = outputs.flip(0) if call.reverse else outputs
    return LayerResult(outputs, state, kind(outputs) if call.every else None)
