"""A linear-chain conditional random field: the probability of a whole sequence of labels, and the best one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ostinato.pooling import valid_steps

_DOUBLE = 600.0  # nats between the largest and the smallest weight that float64 holds in one vector, with a margin


class CRF(nn.Module):
    r"""p(y | h) = exp(s(y)) / Z over labels y of a sequence, with

    s(y) = start[y_1] + Σ_t (W·h_t + b)[y_t] + Σ_t transitions[y_t, y_{t+1}] + end[y_T] (Lafferty et al. 2001; with a
    recurrent network below: Huang et al. 2015, section 2.3).

    Args:
        hidden_size: features of h.
        labels: how many there are.
        legal: bool [labels, labels], which label may follow which; all if None. What may not has the probability 0,
            and its score is never learned.
        legal_start: bool [labels], what a sequence may begin with.
        legal_end: bool [labels], what it may end with.

    Shapes:
        hidden [time, batch, hidden]; tags int64 [time, batch]; lengths int64 [batch]. What stands beyond a length is
        not looked at.

    Raises:
        ValueError: if a label has no legal successor, or nothing may begin or end a sequence.

    >>> head = CRF(4, 3)
    >>> hidden, tags = torch.randn(5, 2, 4), torch.randint(3, (5, 2))
    >>> head.loss(hidden, tags, torch.tensor([5, 2])).item() > 0
    True
    >>> head.decode(hidden, torch.tensor([5, 2])).shape
    torch.Size([5, 2])
    """

    illegal: Tensor
    illegal_start: Tensor
    illegal_end: Tensor

    def __init__(
        self,
        hidden_size: int,
        labels: int,
        legal: Tensor | None = None,
        legal_start: Tensor | None = None,
        legal_end: Tensor | None = None,
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden_size)
        self.weight = nn.Parameter(torch.empty(labels, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(labels))
        self.transitions = nn.Parameter(torch.empty(labels, labels).uniform_(-0.1, 0.1))
        self.start = nn.Parameter(torch.empty(labels).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(labels).uniform_(-0.1, 0.1))
        for name, given in (("illegal", legal), ("illegal_start", legal_start), ("illegal_end", legal_end)):
            shape = (labels, labels) if name == "illegal" else (labels,)
            if given is not None and (given.shape != shape or given.dtype != torch.bool):
                wanted, found = f"bool {list(shape)}", f"{str(given.dtype)[6:]} {list(given.shape)}"
                raise ValueError(f"{name[2:]}: expected {wanted}, found {found}")
            self.register_buffer(name, torch.zeros(shape, dtype=torch.bool) if given is None else ~given)
        if self.illegal.all(1).any() or self.illegal_start.all() or self.illegal_end.all():
            raise ValueError("legal: every label needs a successor, and some must begin and some end a sequence")
        self._detour = _detour(~self.illegal)

    def emissions(self, hidden: Tensor) -> Tensor:
        """W·h + b, [time, batch, labels]."""
        return functional.linear(hidden, self.weight, self.bias)

    def scores(self) -> Scores:
        """Transitions, start and end, −∞ where they are illegal."""
        return Scores(
            self.transitions.masked_fill(self.illegal, -math.inf),
            self.start.masked_fill(self.illegal_start, -math.inf),
            self.end.masked_fill(self.illegal_end, -math.inf),
        )

    def losses(self, hidden: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """−log p(tags) of each sequence, nats, [batch]; infinite for tags that are illegal."""
        return negative_log_likelihood(self.emissions(hidden), self.scores(), tags, lengths, self._detour)

    def loss(self, hidden: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """What training descends: Σ over the batch of −log p(tags), nats."""
        return self.losses(hidden, tags, lengths).sum()

    def decode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """The most probable labels, int64 [time, batch]; 0 beyond a length."""
        return viterbi(self.emissions(hidden).float(), self.scores(), lengths)[0]


class Scores(NamedTuple):
    """What is the same in all sequences; −∞ says that something cannot be."""

    transitions: Tensor
    """[from, to]."""
    start: Tensor
    """[labels]."""
    end: Tensor
    """[labels]."""


def _detour(legal: Tensor) -> int:
    """The most steps from any label to any other; so many as labels where some cannot be reached."""
    reached, steps = legal, 1
    while not reached.all() and steps < len(legal):
        reached, steps = reached | ((reached.float() @ legal.float()) > 0), steps + 1
    return steps if reached.all() else 1 << 30


def negative_log_likelihood(
    emissions: Tensor, scores: Scores, tags: Tensor, lengths: Tensor, detour: int = 1
) -> Tensor:
    r"""−log p(tags) = log Z − s(tags) of each sequence, float64 [batch].

    Forwards and backwards are one batched recursion over vectors in float64 that are scaled to the sum 1 at every step,

        α_t ∝ (α_{t−1} · e^A) ⊙ e^{E_t},    β_t ∝ (β_{t+1} · e^{Aᵀ}) ⊙ e^{E_t},

    and the gradient, which is ready then, is p(y_t) − [y_t = tag_t] for emissions, and for transitions the expected
    less the observed count (Rabiner 1989, section V.A). Where the scores of a step lie so far apart that a weight could
    vanish, the sum is taken in logarithms, which is slower. There is no second derivative.

    Args:
        emissions: [time, batch, labels].
        scores: of transitions, starts and ends.
        tags: int64 [time, batch].
        lengths: int64 [batch], from 1.
        detour: steps that may be needed from one label to another, see `CRF`: 1 where all transitions are legal.

    Raises:
        ValueError: for shapes that do not fit, or a length that is not from 1 to time.

    >>> free = Scores(torch.zeros(2, 2), torch.zeros(2), torch.zeros(2))
    >>> negative_log_likelihood(torch.zeros(3, 1, 2), free, torch.zeros(3, 1, dtype=torch.int64), torch.tensor([3]))
    tensor([2.0794], dtype=torch.float64)
    """
    _check(emissions, tags, lengths)
    with torch.no_grad():
        held = torch.where(valid_steps(len(emissions), lengths, emissions).unsqueeze(2), emissions, 0)  # pyright: ignore[reportOptionalMemberAccess]
        widest = (held.amax(2) - held.amin(2)).max() + sum(_spread(part) for part in scores)
        apart = (detour + 1) * float(widest)
    with torch.autocast(emissions.device.type, enabled=False):
        if not apart < _DOUBLE:
            return plain_negative_log_likelihood(emissions.double(), scores, tags, lengths)
        return _NegativeLogLikelihood.apply(emissions, *scores, tags, lengths)


def _check(emissions: Tensor, tags: Tensor | None, lengths: Tensor) -> None:
    if emissions.dim() != 3 or lengths.shape != emissions.shape[1:2]:
        found = f"{list(emissions.shape)} and {list(lengths.shape)}"
        raise ValueError(f"emissions and lengths: expected [time, batch, labels] and [batch], found {found}")
    if tags is not None and tags.shape != emissions.shape[:2]:
        raise ValueError(f"tags: expected {list(emissions.shape[:2])}, found {list(tags.shape)}")
    if lengths.numel() and (lengths.min() < 1 or lengths.max() > len(emissions)):
        found = f"{int(lengths.min())} to {int(lengths.max())}"
        raise ValueError(f"lengths: expected values from 1 to {len(emissions)}, found {found}")


def _spread(scores: Tensor) -> Tensor:
    """Between the largest and the smallest score that is legal."""
    legal = scores[scores > -math.inf]
    return legal.max() - legal.min()


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, tags: Tensor, lengths: Tensor
    ) -> Tensor:
        time, batch, labels = emissions.shape
        steps, rows = torch.arange(time, device=emissions.device).unsqueeze(1), torch.arange(batch)
        rows, lengths = rows.to(emissions.device), lengths.to(emissions.device)
        live, last = steps < lengths, lengths - 1
        e, a = torch.where(live.unsqueeze(2), emissions.double(), 0), transitions.double()
        e[0] += start
        e[last, rows] += end
        highest, a_highest = e.amax(2, keepdim=True), a.max()
        weights, forth = (e - highest).exp_(), (a - a_highest).exp_()
        # each row from its own last step to its first; beyond, in order
        turned = torch.where(live, last - steps, steps).unsqueeze(2).expand(-1, -1, labels)
        ways = 2 if any(ctx.needs_input_grad[:4]) else 1
        both = torch.stack([weights, weights.gather(0, turned)][:ways], dim=1)  # [time, way, batch, labels]
        matrices = torch.stack([forth, forth.t()][:ways])
        products, sums = torch.ones_like(both), both.sum(3, keepdim=True)
        states = both  # in place: weights are not needed any more
        states[0] /= sums[0]
        for step in range(1, time):
            torch.bmm(states[step - 1], matrices, out=products[step])
            states[step] *= products[step]
            torch.sum(states[step], 2, keepdim=True, out=sums[step])
            states[step] /= sums[step].clamp_(min=1e-300)
        log_z = ((sums[:, 0].log() + highest).squeeze(2) * live).sum(0) + last * a_highest
        known = torch.where(live, tags, 0)
        pairs = (known[:-1] * labels + known[1:]).flatten()  # [(time − 1)·batch]
        counted = live[1:].flatten()
        score = (e.gather(2, known.unsqueeze(2)).squeeze(2) * live).sum(0)
        score += torch.where(counted, a.flatten()[pairs], 0).view(time - 1, batch).sum(0)
        if ways == 2:
            after = products[:, 1].gather(0, turned)  # e^A · β_{t+1}
            ahead = states[:, 0]
            p = ahead * after
            total = p.sum(2, keepdim=True)
            p = p.div_(total).masked_fill_(~live.unsqueeze(2), 0)
            p.scatter_add_(2, known.unsqueeze(2), -live.unsqueeze(2).double())
            ahead = (ahead[:-1] / total[:-1]) * live[1:].unsqueeze(2)
            back = states[:, 1].gather(0, turned)[1:]
            ctx.save_for_backward(p, ahead, back, forth, pairs, counted, last, rows)
            ctx.types = [part.dtype for part in (emissions, transitions, start, end)]
        return log_z - score

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        p, ahead, back, forth, pairs, counted, last, rows = ctx.saved_tensors
        labels = len(forth)
        by_row = gradient.unsqueeze(1)
        d_emissions = p * by_row
        expected = forth * ((ahead * by_row).flatten(0, 1).t() @ back.flatten(0, 1))
        weights = gradient.repeat(len(ahead)) * counted
        observed = torch.bincount(pairs, weights, minlength=labels * labels).view(labels, labels)
        found = d_emissions, expected - observed, d_emissions[0].sum(0), d_emissions[last, rows].sum(0)
        return *(part.to(kind) for part, kind in zip(found, ctx.types, strict=True)), None, None


def plain_negative_log_likelihood(emissions: Tensor, scores: Scores, tags: Tensor, lengths: Tensor) -> Tensor:
    """The same in logarithms, step by step, for autograd: what the fast one must equal, and where it cannot go."""
    time = len(emissions)
    transitions, start, end = scores
    lengths = lengths.to(emissions.device)
    live = torch.arange(time, device=emissions.device).unsqueeze(1) < lengths
    emissions, tags = torch.where(live.unsqueeze(2), emissions, 0), torch.where(live, tags, 0)
    alpha = start + emissions[0]
    score = start[tags[0]] + emissions[0].gather(1, tags[:1].t()).squeeze(1)
    for step in range(1, time):
        # −∞ stands for nothing to add; its gradient would be a number divided by 0
        terms = (alpha.unsqueeze(2) + transitions).clamp(min=-1e30)
        alpha = torch.where(live[step].unsqueeze(1), terms.logsumexp(1) + emissions[step], alpha)
        more = transitions[tags[step - 1], tags[step]] + emissions[step].gather(1, tags[step].unsqueeze(1)).squeeze(1)
        score = score + torch.where(live[step], more, 0)
    final = (alpha + end).clamp(min=-1e30).logsumexp(1)
    last = tags.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)
    return final - score - end[last]


@torch.no_grad()
def viterbi(emissions: Tensor, scores: Scores, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The labels with the highest score, and that score (Viterbi 1967); all sequences of a batch at once.

    Args:
        emissions: [time, batch, labels].
        scores: of transitions, starts and ends.
        lengths: int64 [batch], from 1.

    Returns:
        Labels, int64 [time, batch], 0 beyond a length; scores, [batch].

    Raises:
        ValueError: as `negative_log_likelihood`.

    >>> turns = Scores(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0.5, 0.0]), torch.zeros(2))
    >>> viterbi(torch.zeros(3, 1, 2), turns, torch.tensor([3]))
    (tensor([[0], [1], [0]]), tensor([2.5000]))
    """
    _check(emissions, None, lengths)
    time, batch, labels = emissions.shape
    lengths = lengths.to(emissions.device)
    best = scores.start + emissions[0]
    came_from = torch.arange(labels, device=emissions.device).expand(time, batch, labels).clone()
    live = torch.arange(time, device=emissions.device).unsqueeze(1) < lengths
    backwards = scores.transitions.t().contiguous()  # [to, from]: the maximum is over what lies side by side
    for step in range(1, time):
        value, origin = (best.unsqueeze(1) + backwards).max(2)
        here = live[step].unsqueeze(1)
        best = torch.where(here, value + emissions[step], best)
        came_from[step] = torch.where(here, origin, came_from[step])  # beyond a length each label comes from itself
    score, label = (best + scores.end).max(1)
    path = torch.zeros(time, batch, dtype=torch.int64, device=emissions.device)
    for step in range(time - 1, -1, -1):
        path[step] = torch.where(live[step], label, 0)
        label = came_from[step].gather(1, label.unsqueeze(1)).squeeze(1)
    return path, score
