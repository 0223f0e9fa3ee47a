"""Which words mattered: the gradient of a label's log-odds by the embedded words, times these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.analysis import Span
from ostinato.tasks.classifying import WordWeight
from ostinato.tasks.committee import members_of
from ostinato.tasks.examples import Example
from ostinato.tasks.late_fusion import word_shares

_STEPS = 1 << 17  # of all points of a long sequence, whose gradients are held


class _Held(nn.Module):
    """An embedding whose output for each window is kept, as a leaf that gradients reach.

    Args:
        embedding: whose it is.
        shares: float [batch]; each sequence's features are multiplied by its own. None: 1 each.
    """

    def __init__(self, embedding: nn.Module, shares: Tensor | None = None) -> None:
        super().__init__()
        self.embedding, self._shares = embedding, shares
        self.windows: list[tuple[Any, Tensor]] = []

    def forward(self, window: Any) -> Tensor:
        """The features of a window; one that is read again in the backward pass gets the same leaf."""
        for seen, leaf in self.windows:
            if seen is window:
                return leaf
        with torch.no_grad():
            leaf = self.embedding(window)
            leaf = leaf if self._shares is None else leaf * self._shares[:, None]
        self.windows.append((window, leaf.requires_grad_()))
        return leaf


def explain(model: Any, texts: Iterable[str]) -> Iterator[list[WordWeight]]:
    """For each text its words, and how much each speaks for the best label.

    With x_t the embedded word and z the log-odds log p / (1 − p) of that label (of a number, the number), a word's
    weight is Σ_d x_{t,d} ∂z/∂x_{t,d}: what z loses, to first order, if the word were embedded as zero (Simonyan et al.
    2014; Li et al. 2016, section 4). In a text of several windows the gradient stays within a word's
    window, as in training, but for what the pooling hands on. To this comes, with a linear model beside the network, a
    word's part of Σ_k s_k ∂z/∂s_k, exact in its scores s: see `ostinato.tasks.late_fusion.word_shares`.

    Args:
        model: a `Classifier`.
        texts: any iterable of strings.
    """
    for text in texts:
        (row,) = model.encode_all([Example(text, ())])
        spans = _spans(model, text)
        weights, slopes = weights_of(model, row)
        if model.codec.linear is not None:
            weight = float(model.network.head.linear_weight)
            weights = weights[: len(spans)] + word_shares(model.codec.linear, text, spans, weight * slopes)
        yield [WordWeight(*span, float(weight)) for span, weight in zip(spans, weights, strict=False)]


def _spans(model: Any, text: str) -> list[Span]:
    if model.settings.bert:
        (found,) = model._inputs.of_texts([text])
        return [Span(token, int(a), int(b)) for token, (a, b) in zip(found.tokens, found.spans, strict=True)]
    return model.codec.analyzer.spans(text)


def weights_of(model: Any, row: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of each word of a row, float [words], by the network; and the slopes of the log-odds by logits, [outputs]."""
    batch = model.on_device(model.batch([row]))
    with _held(model) as held, torch.enable_grad():
        logits = model.logits(batch)
        z = _log_odds(model, logits)
        leaves = [leaf for its in held for _, leaf in its.windows]
        slopes, *gradients = torch.autograd.grad(z, [logits, *leaves])
    products = [(leaf.detach() * gradient).sum(-1)[:, 0] for leaf, gradient in zip(leaves, gradients, strict=True)]
    return torch.cat(products).view(len(held), -1).sum(0).cpu().numpy(), slopes[0].cpu().numpy()


def integrated_weights(model: Any, row: Any, points: int = 64) -> np.ndarray:
    """How much each step of a sequence speaks for the label that is told, float [time]: integrated gradients.

    With z the log-odds of that label (of a number, the number) and features x_t of step t, a step's weight is

        Σ_d x_td (1/K) Σ_k ∂z(α_k x)/∂x_td,   α_k = (k − ½) / K,

    which sums, but for K being finite, to z(x) − z(0): what all steps together say, beside a sequence whose frames are
    the mean of training, or whose items are embedded as zero (Sundararajan et al. 2017, section 3). Where a label is
    certain a single gradient says little, since it no longer depends on any one step.

    Args:
        model: a `LabellingModel`.
        row: the sequence, see `encode`.
        points: K; fewer of a very long sequence.
    """
    points = max(4, min(points, _STEPS // len(row[model.length_column])))
    shares = ((torch.arange(points) + 0.5) / points).to(next(model.network.parameters()).device)
    with torch.no_grad():
        best = model.network.head.probabilities(model.logits(model.on_device(model.batch([row])))).argmax(1)
    with _held(model, shares) as held, torch.enable_grad():
        logits, head = model.logits(model.on_device(model.batch([row] * points))), model.network.head
        z = head.log_odds(logits, best.expand(points)) if head.ranks else head.probabilities(logits)[:, 0]
        leaves = [leaf for its in held for _, leaf in its.windows]
        gradients = torch.autograd.grad(z.mean(), leaves)
    products = [(leaf.detach() / shares[:, None] * g).sum((1, 2)) for leaf, g in zip(leaves, gradients, strict=True)]
    return torch.cat(products).view(len(held), -1).sum(0).cpu().numpy()


@contextmanager
def _held(model: Any, shares: Tensor | None = None) -> Iterator[list[_Held]]:
    """The embeddings of a model's members, held for a while."""
    members = members_of(model.network)
    held = [_Held(member.embedding, shares) for member in members]
    for member, its in zip(members, held, strict=True):
        member.embedding = its
    try:
        yield held
    finally:
        for member, its in zip(members, held, strict=True):
            member.embedding = its.embedding


def _log_odds(model: Any, logits: Tensor) -> Tensor:
    head = model.network.head
    p = head.probabilities(logits)
    return head.log_odds(logits, p.argmax(1))[0] if head.ranks else p[0, 0]
