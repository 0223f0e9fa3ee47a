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


class Pooling(nn.Module):
    """Outputs of all steps → one vector a sequence; also window by window, in memory that does not grow with them."""

    def fold(self, folded: Any, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Any:
        """What is known of the sequences after one more window of them.

        Args:
            folded: what `fold` gave for the windows before; None for the first.
            outputs: of the window, [time, batch, features].
            state: after it.
            lengths: steps of each sequence in this window, int64 [batch]; all of them if None.
        """
        raise NotImplementedError

    def vector(self, folded: Any) -> Tensor:
        """The vectors [batch, features] of what was folded."""
        return folded

    def forward(self, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:
        """Outputs [time, batch, features] and the state after → [batch, features]."""
        return self.vector(self.fold(None, outputs, state, lengths))


class LastPooling(Pooling):
    """v = h_T; of a bidirectional layer the forward h_T and the backward h_1."""

    def fold(self, folded: Any, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The last hidden state; of a sequence that has ended, what it was."""
        hidden = final_hidden(state)
        if folded is None or lengths is None:
            return hidden
        return torch.where((lengths > 0).to(hidden.device).unsqueeze(1), hidden, folded)


class MeanPooling(Pooling):
    """v = (1/T) Σ_t h_t; zeros for a sequence without steps."""

    def fold(self, folded: Any, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Any:  # noqa: ARG002
        """Sum and number of steps."""
        mask = valid_steps(len(outputs), lengths, outputs)
        if mask is None or lengths is None:
            total, count = outputs.sum(0), outputs.new_full((outputs.shape[1], 1), len(outputs))
        else:
            total, count = outputs.masked_fill(~mask.unsqueeze(2), 0).sum(0), lengths.to(outputs).unsqueeze(1)
        return (total, count) if folded is None else (folded[0] + total, folded[1] + count)

    def vector(self, folded: Any) -> Tensor:
        """The quotient."""
        return folded[0] / folded[1].clamp(min=1)


class MaxPooling(Pooling):
    """v_i = max_t h_{t,i}; zeros for a sequence without steps."""

    def fold(self, folded: Any, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The largest so far, −∞ before the first step."""
        mask = valid_steps(len(outputs), lengths, outputs)
        highest = (outputs if mask is None else outputs.masked_fill(~mask.unsqueeze(2), -torch.inf)).amax(0)
        return highest if folded is None else torch.maximum(folded, highest)

    def vector(self, folded: Any) -> Tensor:
        """Without −∞."""
        return folded.masked_fill(folded == -torch.inf, 0)


class AttentionPooling(Pooling):
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

    def scores(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """U · tanh(W h_t + b), [time, batch], −∞ at padding."""
        found = self.query(torch.tanh(self.key(outputs))).squeeze(2)
        mask = valid_steps(len(outputs), lengths, outputs)
        return found if mask is None else found.masked_fill(~mask, -torch.inf)

    def weights(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """α, [time, batch], zero at padding; each sequence's sum to one."""
        return self.scores(outputs, lengths).softmax(0).nan_to_num(0)  # 0/0 in a sequence without steps

    def fold(self, folded: Any, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Any:  # noqa: ARG002
        """The highest score m, Σ e^{s − m} and Σ e^{s − m} h so far: a softmax whose steps come one after another."""
        scores = self.scores(outputs, lengths)
        highest = scores.detach().amax(0).clamp(min=torch.finfo(scores.dtype).min)
        if folded is not None:
            highest = torch.maximum(highest, folded[0])
        shares = (scores - highest).exp()
        mask = valid_steps(len(outputs), lengths, outputs)
        held = outputs if mask is None else outputs.masked_fill(~mask.unsqueeze(2), 0)
        norm, total = shares.sum(0), (shares.unsqueeze(2) * held).sum(0)
        if folded is not None:
            decay = (folded[0] - highest).exp()
            norm, total = norm + decay * folded[1], total + decay.unsqueeze(1) * folded[2]
        return highest, norm, total

    def vector(self, folded: Any) -> Tensor:
        """The quotient; zeros for a sequence without steps."""
        _, norm, total = folded
        return total / norm.clamp(min=torch.finfo(norm.dtype).tiny).unsqueeze(1)


POOLINGS = {"last": LastPooling, "mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}
"""By name."""


def make_pooling(kind: str, features: int) -> Pooling:
    """The pooling of a name in `POOLINGS`, of outputs with so many features."""
    return AttentionPooling(features) if kind == "attention" else POOLINGS[kind]()
