"""Pooling: the outputs of all steps to one vector a sequence, of which padding is no part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def valid_steps(time: int, lengths: Tensor | None, like: Tensor) -> Tensor | None:
    """Which steps are no padding, bool [time, batch]; None where all are.

    >>> valid_steps(3, torch.tensor([3, 1]), torch.zeros(1)).tolist()
    [[True, True], [True, False], [True, False]]
    """
    if lengths is None:
        return None
    return torch.arange(time, device=like.device).unsqueeze(1) < lengths.to(like.device)


def final_hidden(state: Any) -> Tensor:
    """The hidden state of the highest layer after the last step, [batch, hidden], of both directions side by side."""
    if hasattr(state, "hidden"):
        return state.hidden
    if hasattr(state, "backward"):
        return torch.cat([final_hidden(state.forward), final_hidden(state.backward)], dim=-1)
    return final_hidden(state[-1])


class LastPooling(nn.Module):
    """v = h_T; of a bidirectional layer the forward h_T and the backward h_1."""

    def forward(self, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Outputs [time, batch, features] and the state after → [batch, features]."""
        return final_hidden(state)


class MeanPooling(nn.Module):
    """v = (1/T) Σ_t h_t; zeros for a sequence without steps."""

    def forward(self, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Outputs [time, batch, features] and the state after → [batch, features]."""
        mask = valid_steps(len(outputs), lengths, outputs)
        if mask is None or lengths is None:
            return outputs.mean(0)
        counts = lengths.to(outputs).clamp(min=1).unsqueeze(1)
        return outputs.masked_fill(~mask.unsqueeze(2), 0).sum(0) / counts


class MaxPooling(nn.Module):
    """v_i = max_t h_{t,i}; zeros for a sequence without steps."""

    def forward(self, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Outputs [time, batch, features] and the state after → [batch, features]."""
        mask = valid_steps(len(outputs), lengths, outputs)
        if mask is None:
            return outputs.amax(0)
        highest = outputs.masked_fill(~mask.unsqueeze(2), -torch.inf).amax(0)
        return highest.masked_fill(~mask.any(0).unsqueeze(1), 0)


class AttentionPooling(nn.Module):
    """v = Σ_t α_t h_t with α = softmax_t(u · tanh(W h_t + b)) (Yang et al. 2016, section 2.2).

    Args:
        features: of h.

    >>> pooling = AttentionPooling(4)
    >>> pooling.weights(torch.randn(3, 2, 4), torch.tensor([3, 1]))[:, 1].tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.key = nn.Linear(features, features)
        self.query = nn.Linear(features, 1, bias=False)

    def weights(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """α, [time, batch], zero at padding; each sequence's sum to one."""
        scores = self.query(torch.tanh(self.key(outputs))).squeeze(2)
        mask = valid_steps(len(outputs), lengths, outputs)
        if mask is None:
            return scores.softmax(0)
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(0)
        return weights.masked_fill(~mask, 0)  # of a sequence without steps too

    def forward(self, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Outputs [time, batch, features] and the state after → [batch, features]."""
        weights = self.weights(outputs, lengths).unsqueeze(2)
        mask = valid_steps(len(outputs), lengths, outputs)
        held = outputs if mask is None else outputs.masked_fill(~mask.unsqueeze(2), 0)
        return (weights * held).sum(0)


POOLINGS = {"last": LastPooling, "mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}
"""By name."""


def make_pooling(kind: str, features: int) -> nn.Module:
    """The pooling of a name in `POOLINGS`, of outputs with so many features."""
    return AttentionPooling(features) if kind == "attention" else POOLINGS[kind]()
