"""The time loops that PyTorch brings (oneDNN on a CPU, cuDNN on a GPU), for the cells that it has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.kernels.reference import LayerCall


def serves(call: LayerCall) -> str | None:
    """None, or why PyTorch has no such loop."""
    name = fused_name(type(call.cell))
    if name is None:
        return f"PyTorch has no fused {type(call.cell).__name__}"
    if call.lengths is not None:
        return "PyTorch's loop takes ragged lengths only as packed sequences"
    if call.cell.bias_ih is not None and call.cell.bias_hh is None:
        return "PyTorch's loop wants both biases or none"
    return None


def fused_name(cell_type: type) -> str | None:
    """PyTorch's name for the loop over these equations: that of the class that wrote `update`, not of one derived."""
    for parent in cell_type.__mro__:
        if "update" in vars(parent):
            return vars(parent).get("aten")
    return None


def run(call: LayerCall) -> tuple[Tensor, Any]:
    """All steps of one layer through `torch.lstm`, `torch.gru`, `torch.rnn_tanh` or `torch.rnn_relu`."""
    cell = call.cell
    name = fused_name(type(cell))
    weights = [cell.weight_ih, cell.weight_hh]
    if cell.bias_ih is not None and cell.bias_hh is not None:
        weights += [cell.bias_ih, cell.bias_hh]
    initial = [part.unsqueeze(0).contiguous() for part in call.state]
    inputs = call.inputs.flip(0) if call.reverse else call.inputs
    outputs, *final = getattr(torch, str(name))(
        inputs,
        initial if len(initial) > 1 else initial[0],
        weights,
        has_biases=len(weights) == 4,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=False,
    )
    kept = call.state[0].dtype  # autocast computes in bfloat16; what is carried on stays as it came
    state = type(call.state)(*(part.squeeze(0).to(kept) for part in final))
    return outputs.flip(0) if call.reverse else outputs, state
