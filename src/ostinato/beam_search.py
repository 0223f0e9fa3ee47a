"""Beam search: the likeliest sequences of a model that tells one token after another, for a batch at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Step = Callable[[Tensor, Any], tuple[Tensor, Tensor | None, Any]]
"""Ids [rows], state → log p of the next [rows, vocabulary], attention's weights [rows, source] or None, state."""


class Hypothesis(NamedTuple):
    """A sequence that was found."""

    ids: list[int]
    """Without the token that ends it."""
    score: float
    """What hypotheses are compared by: log p / lp + cp."""
    log_probability: float
    """Nats."""
    weights: Tensor | None
    """Attention's, [tokens, source]."""


class Beam(NamedTuple):
    """How to search."""

    size: int = 5
    """Hypotheses kept for each sequence; 1 is greedy."""
    most: int = 1
    """How many to return for each sequence, at most `size`."""
    length_penalty: float = 1.0
    """α of lp = ((5 + tokens) / 6)^α (Wu et al. 2016, eq. 14)."""
    coverage_penalty: float = 0.0
    """β of cp = β Σ_s log min(Σ_t α_ts, 1), over the source's steps that are no padding (Wu et al. 2016, eq. 14)."""
    banned: tuple[int, ...] = ()
    """Ids that are never chosen."""


@torch.no_grad()
def beam_search(
    step: Step,
    state: Any,
    reorder: Callable[[Any, Tensor], Any],
    begin: int,
    end: int,
    limits: Tensor,
    beam: Beam,
    source_mask: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """The best sequences, each ended by a token or cut at its limit.

    At each step the likeliest continuations of all hypotheses of a sequence are taken: those that end go to the
    finished, and the best of the others go on. A sequence is done when as many have finished as the beam is wide, and
    none that goes on is now better than those to be returned. Rows are [hypotheses × batch], those of the first
    hypotheses first.

    Args:
        step: of the model.
        state: for [batch] rows, before the first step.
        reorder: a state and indices of rows, int64 [rows] → the state of those rows.
        begin: the id that is read first.
        end: the id that ends a sequence.
        limits: most tokens of each sequence, int64 [batch].
        beam: how to search.
        source_mask: which steps of the source are no padding, bool [batch, source], for coverage.

    Returns:
        For each sequence its hypotheses, the best first.

    >>> table = torch.tensor([[0.1, 0.5, 0.4], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]]).log()  # p(next | last), 0 ends
    >>> found = beam_search(
    ...     lambda ids, state: (table[ids], None, state),
    ...     None,
    ...     lambda state, rows: state,
    ...     0,
    ...     0,
    ...     torch.tensor([9]),
    ...     Beam(size=2, length_penalty=0.0),
    ... )
    >>> found[0][0].ids, round(math.exp(found[0][0].score), 2)
    ([2], 0.36)
    """
    batch, width, device = len(limits), beam.size, limits.device
    columns = torch.arange(batch, device=device)
    log_p, weights, state = step(torch.full((batch,), begin, device=device), state)
    vocabulary = log_p.shape[1]
    total = torch.full((batch, width), -math.inf, device=device)
    total[:, 0] = 0.0  # one hypothesis, the empty one, to begin with
    rows = columns.repeat(width)
    log_p, state = log_p[rows], reorder(state, rows)
    weights = None if weights is None else weights[rows]
    covered = None if weights is None else torch.zeros(batch, width, weights.shape[1], device=device)
    found: list[list[_Finished]] = [[] for _ in range(batch)]
    trace: list[_Level] = []
    longest = limits.clamp(min=1)
    banned = [each for each in beam.banned if each != end]
    for length in range(1, int(longest.max()) + 1):
        log_p[:, banned] = -math.inf
        each = log_p.view(width, batch, vocabulary).transpose(0, 1)
        attended = None if weights is None else weights.view(width, batch, -1).transpose(0, 1)
        if covered is not None and attended is not None:
            covered = covered + attended
        # so many that enough go on, even if each hypothesis ends
        candidates = (total.unsqueeze(2) + each).reshape(batch, -1)
        scores, flat = candidates.topk(2 * width, dim=1)
        parents, ids = flat // vocabulary, flat % vocabulary
        ends = (ids == end) & scores.isfinite()
        last = (longest == length).unsqueeze(1)
        done = ends | (last & scores.isfinite())
        done[:, width:] = False  # these only replace such as end
        norm = ((5 + length) / 6) ** beam.length_penalty
        penalty = _coverage(covered, parents, source_mask, beam.coverage_penalty)
        rated = scores / norm + penalty
        trace.append(_Level(parents, ids, attended))
        for row, column in done.nonzero().tolist():
            found[row].append(_Finished(float(rated[row, column]), float(scores[row, column]), length, column))
        # the best that go on, in order
        going = scores.masked_fill(ends, -math.inf)
        order = going.sort(dim=1, descending=True, stable=True).indices[:, :width]
        total = going.gather(1, order).masked_fill(~(longest > length).unsqueeze(1), -math.inf)
        parents, ids = parents.gather(1, order), ids.gather(1, order)
        trace[-1] = trace[-1]._replace(kept=order)
        if _over(found, total / norm, beam):
            break
        from_rows = (parents * batch + columns.unsqueeze(1)).t().reshape(-1)
        if covered is not None:
            covered = covered.gather(1, parents.unsqueeze(2).expand_as(covered))
        log_p, weights, state = step(ids.t().reshape(-1), reorder(state, from_rows))
    return [_traced(trace, row, each, beam.most, end) for row, each in enumerate(found)]


class _Level(NamedTuple):
    """What one step looked at."""

    parents: Tensor
    """Of each candidate the hypothesis it goes on from, [batch, candidates]."""
    ids: Tensor
    attended: Tensor | None
    """Weights by hypothesis, [batch, beam, source]."""
    kept: Tensor | None = None
    """Of each hypothesis of the next step the candidate it was, [batch, beam]."""


class _Finished(NamedTuple):
    score: float
    log_probability: float
    length: int
    candidate: int


def _coverage(covered: Tensor | None, parents: Tensor, mask: Tensor | None, beta: float) -> Tensor | float:
    """Cp of each candidate, [batch, candidates]."""
    if covered is None or not beta:
        return 0.0
    logs = covered.clamp(1e-6, 1).log()
    if mask is not None:
        logs = logs.masked_fill(~mask.unsqueeze(1), 0)
    return beta * logs.sum(2).gather(1, parents)


def _over(found: list[list[_Finished]], scores: Tensor, beam: Beam) -> bool:
    """Whether every sequence of a batch is done; scores are those of what goes on, [batch, beam], the best first."""
    for best, finished in zip(scores[:, 0].tolist(), found, strict=True):
        if best == -math.inf:
            continue
        if len(finished) < beam.size or best > sorted(each.score for each in finished)[-beam.most]:
            return False
    return True


def _traced(trace: list[_Level], row: int, found: list[_Finished], most: int, end: int) -> list[Hypothesis]:
    """The best of a sequence's finished hypotheses, followed back to the beginning."""
    made = []
    for score, log_p, length, candidate in sorted(found, key=lambda each: -each.score)[:most]:
        ids, weights = [], []
        for level in reversed(trace[:length]):
            parent = int(level.parents[row, candidate])
            ids.append(int(level.ids[row, candidate]))
            if level.attended is not None:
                weights.append(level.attended[row, parent])
            before = trace[length - len(ids) - 1] if len(ids) < length else None
            candidate = int(before.kept[row, parent]) if before is not None and before.kept is not None else 0
        ids.reverse()
        weights.reverse()
        if ids[-1] == end:
            ids, weights = ids[:-1], weights[:-1]
        made.append(Hypothesis(ids, score, log_p, torch.stack(weights) if weights else None))
    return made
