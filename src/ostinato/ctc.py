"""Connectionist temporal classification: a sequence of labels from more steps than labels, with no alignment given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BLANK = 0
"""The class that says: no label at this step."""


class CTC(nn.Module):
    r"""p(labels | h) by all ways to spread them over the steps (Graves et al. 2006).

    At each step a softmax gives y_t over the labels and a blank. B takes from a path π, a class a step, first what is
    repeated and then the blanks, and

        p(l | h) = Σ_{π ∈ B⁻¹(l)} Π_t y_t(π_t),

    which the recursion of the paper's section 4.1 sums in time proportional to steps × labels.

    Args:
        hidden_size: features of h.
        classes: labels and the blank, whose id is 0.

    Shapes:
        h [time, batch, hidden] → log y [time, batch, classes].

    >>> head = CTC(4, 3)
    >>> with torch.no_grad():
    ...     _ = head.weight.zero_()  # each class at each step a third
    >>> losses = head.losses(torch.zeros(2, 1, 4), torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([2]))
    >>> losses.neg().exp().tolist()  # the one path of two steps is 1, 2
    [0.1111...]
    """

    def __init__(self, hidden_size: int, classes: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden_size)
        self.weight = nn.Parameter(torch.empty(classes, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(classes))

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Log y, [..., classes]."""
        return functional.log_softmax(functional.linear(hidden, self.weight, self.bias).float(), dim=-1)

    def losses(self, hidden: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor) -> Tensor:
        """−log p(labels | h) of each sequence, nats; infinite where it has fewer steps than `needed_steps`.

        Args:
            hidden: [time, batch, hidden].
            targets: int64 [batch, labels], none of them `BLANK`.
            lengths: int64 [batch], steps of each sequence.
            target_lengths: int64 [batch], labels of each.
        """
        log_y = self.log_probabilities(hidden)
        return functional.ctc_loss(log_y, targets, lengths, target_lengths, blank=BLANK, reduction="none")


def needed_steps(labels: Sequence[int] | np.ndarray) -> int:
    """The fewest steps that labels fit into: one each, and a blank between two that are the same.

    >>> needed_steps([5, 5, 2]), needed_steps([])
    (4, 0)
    """
    found = np.asarray(labels)
    return len(found) + int((found[1:] == found[:-1]).sum())


class Spoken(NamedTuple):
    """A label and the steps that it stands at."""

    label: int
    first: int
    last: int


def spoken(path: Sequence[int]) -> list[Spoken]:
    """The labels of a path with their steps: runs of one class, blanks left out.

    >>> [each.label for each in spoken([0, 7, 7, 0, 7, 3])], spoken([0, 7, 7])[0]
    ([7, 7, 3], Spoken(label=7, first=1, last=2))
    """
    found, at = [], 0
    for label, run in groupby(path):
        steps = len(list(run))
        if label != BLANK:
            found.append(Spoken(int(label), at, at + steps - 1))
        at += steps
    return found


def greedy(log_y: Tensor, lengths: Tensor) -> list[list[Spoken]]:
    """The labels of the likeliest path of each sequence, B(argmax y_1, argmax y_2, …) (Graves et al. 2006, 3.2).

    Args:
        log_y: [time, batch, classes].
        lengths: int64 [batch].
    """
    best = log_y.argmax(-1).t().tolist()
    return [spoken(path[:length]) for path, length in zip(best, lengths.tolist(), strict=True)]


def aligned(log_y: np.ndarray, labels: Sequence[int]) -> list[int]:
    """The likeliest path that gives some labels, a class a step (Viterbi over the labels with blanks around each).

    Args:
        log_y: [time, classes].
        labels: without blanks.

    Raises:
        ValueError: if there are fewer steps than `needed_steps`.

    >>> y = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05]])
    >>> aligned(np.log(y), [1]), aligned(np.log(y), [1, 2])
    ([0, 1, 0], [0, 1, 2])
    """
    steps, count = len(log_y), 2 * len(labels) + 1
    if steps < needed_steps(labels):
        raise ValueError(f"{len(labels)} labels need at least {needed_steps(labels)} steps, there are {steps}")
    if not steps:
        return []
    states = np.full(count, BLANK)
    states[1::2] = labels
    may_skip = np.zeros(count, bool)  # from a label to the next, over the blank between, if they differ
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(count, -np.inf)
    score[:2] = log_y[0, states[:2]]
    came = np.zeros((steps, count), np.int8)  # how many states on
    for step in range(1, steps):
        one, two = np.append(-np.inf, score[:-1]), np.append([-np.inf, -np.inf], score[:-2])[:count]
        ways = np.stack([score, one, np.where(may_skip, two, -np.inf)])
        came[step] = ways.argmax(0)
        score = ways.max(0) + log_y[step, states]
    at = count - 1 if count == 1 or score[-1] >= score[-2] else count - 2
    path = []
    for step in range(steps - 1, -1, -1):
        path.append(int(states[at]))
        at -= came[step, at]
    return path[::-1]
