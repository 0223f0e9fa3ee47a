"""Pooling: the outputs of all steps to one vector a sequence, of which padding is no part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


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


class LabelPooling(Pooling):
    r"""z_k = log Σ_t e^{u_k · h_t}: every label scores every step, and its best steps speak for it, a soft maximum.

    So a label attends to steps of its own (Mullenbach et al. 2018, section 2.2, where one vector of a label weighs the
    steps and another scores their mean; here one does both). Of hundreds of labels many are rare, and one vector of a
    whole text says little of them. With the names of labels, x_t the last features of h_t, the embedded word, and e_w
    a word of a name, embedded as the words of texts are,

        z_k = log Σ_t e^{u_k · h_t} + (τ / √n_k) Σ_{w in name k} max_t x_t · e_w,  τ = 5 at first:

    each of the n_k words of a name looks for the step most like it (Khattab & Zaharia 2020, section 3.3), so that a
    label has a score before any text was seen, and words that share n-grams with its name count too.

    Args:
        features: of h.
        labels: how many.
        dropout: probability, on h where labels score it.
        names: of the labels, a `NameEmbedding`; none if None.

    Shapes:
        outputs [time, batch, features] → scores [batch, labels].

    >>> pooling = LabelPooling(4, 3)
    >>> h = torch.randn(2, 1, 4)
    >>> torch.testing.assert_close(pooling(h, None), (h @ pooling.weight.T).exp().sum(0).log())
    """

    def __init__(self, features: int, labels: int, dropout: float = 0.0, names: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(labels, features))
        nn.init.uniform_(self.weight, -(features**-0.5), features**-0.5)  # as of nn.Linear
        self.dropout, self.names = nn.Dropout(dropout), names
        self.sharpness = nn.Parameter(torch.tensor(5.0)) if names is not None else None

    def fold(self, folded: Any, outputs: Tensor, state: Any, lengths: Tensor | None = None) -> Any:  # noqa: ARG002
        """Log Σ e^{u · h} so far [batch, labels], and the best step of each word of a name; −∞ before the first."""
        mask = valid_steps(len(outputs), lengths, outputs)

        def valid(scores: Tensor) -> Tensor:
            wide = scores if scores.dtype == torch.float64 else scores.float()
            return wide if mask is None else wide.masked_fill(~mask.unsqueeze(2), -torch.inf)

        total = valid(functional.linear(self.dropout(outputs), self.weight)).logsumexp(0)
        best = None
        if self.names is not None:
            words = self.names()
            best = valid(functional.linear(outputs[..., -words.shape[1] :], words)).amax(0)
        if folded is None:
            return total, best
        return torch.logaddexp(folded[0], total), None if best is None else torch.maximum(folded[1], best)

    def vector(self, folded: Any) -> Tensor:
        """Z; zeros for a sequence without steps."""
        total, best = folded
        total = total.masked_fill(total == -torch.inf, 0)
        if self.names is None:
            return total
        best = best.masked_fill(best == -torch.inf, 0)
        return total + self.sharpness * self.names.of_labels(best)


POOLINGS = {"last": LastPooling, "mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}
"""By name."""


def make_pooling(kind: str, features: int) -> Pooling:
    """The pooling of a name in `POOLINGS`, of outputs with so many features."""
    return AttentionPooling(features) if kind == "attention" else POOLINGS[kind]()
