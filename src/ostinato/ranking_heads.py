"""Heads that rank items: what is wanted above a sample of what is not."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.heads import Softmax
from ostinato.kernels.cross_entropy import IGNORED, linear_cross_entropy

_NO_ITEM = -20.0  # score of item 0 at first, so that softmaxes over all leave it out
Loss = Literal["cross-entropy", "sampled-cross-entropy", "bpr-max", "top1-max"]


class RankingHead(Softmax):
    r"""Scores r = W·h + b of items, trained to put the item i that came above negatives j.

    With s_j = softmax of r over the negatives alone (Hidasi & Karatzoglou 2018, eq. 4-7):

    | loss | of a step |
    |---|---|
    | `cross-entropy` | −log softmax(r)_i over all items |
    | `sampled-cross-entropy` | the same over i and the negatives, with r_j − log E_j in place of their r_j (logQ) |
    | `bpr-max` | −log Σ_j s_j σ(r_i − r_j) + λ Σ_j s_j r_j² |
    | `top1-max` | Σ_j s_j (σ(r_j − r_i) + σ(r_j²)) |

    The negatives of a call are the same for all its steps: `negatives` of them drawn with P(j) ∝ count_j^α, and, with
    `in_batch`, the items that the other steps want, which come as often as they are met. E_j = n P_α(j) + m P_1(j) is
    how often j is expected among both (Bengio & Senécal 2008; Yi et al. 2019, section 3, for those in the batch). A
    negative that is the wanted item itself is left out; so Σ_j exp(r_j − log E_j) + exp(r_i) is on the average the sum
    over all items, and what is learned is p, as by the full softmax.

    Args:
        hidden_size: features of h.
        counts: how often each item was met, [items]; item 0 is none, and never a negative.
        weight: [items, hidden], shared with the embedding.
        loss: which.
        negatives: drawn in a call.
        alpha: α, 0 for all alike and 1 as often as met.
        in_batch: whether the other wanted items are negatives.
        logq: what log E_j is multiplied with; 0 for no correction.
        regularisation: λ.

    Raises:
        ValueError: if there are no negatives at all.

    >>> head = RankingHead(4, torch.tensor([0, 3, 2, 1]), loss="bpr-max", negatives=5)
    >>> head.loss(torch.zeros(2, 4), torch.tensor([1, 3])).item() > 0
    True
    """

    def __init__(
        self,
        hidden_size: int,
        counts: Tensor,
        weight: torch.nn.Parameter | None = None,
        loss: Loss = "sampled-cross-entropy",
        negatives: int = 2048,
        alpha: float = 0.5,
        in_batch: bool = True,
        logq: float = 1.0,
        regularisation: float = 1.0,
    ) -> None:
        super().__init__(hidden_size, len(counts), weight)
        if loss != "cross-entropy" and not negatives and not in_batch:
            raise ValueError(f"loss = {loss!r}: needs negatives, drawn or in the batch")
        torch.nn.init.constant_(self.bias[:1], _NO_ITEM)
        self.kind, self.negatives, self.in_batch = loss, negatives, in_batch
        self.logq, self.regularisation = logq, regularisation
        met = counts.double()
        p = torch.where(met > 0, met**alpha, met)
        self._p_drawn, self._p_met = p / p.sum(), met / met.sum()
        self._cumulative = self._p_drawn.cumsum(0)

    def loss(self, hidden: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Σ over the steps that count.

        Args:
            hidden: [steps, hidden].
            targets: int64 [steps]; −100 does not count.
            label_smoothing: of `cross-entropy` alone.
        """
        if self.kind == "cross-entropy":
            return linear_cross_entropy(hidden, self.weight, self.bias, targets, label_smoothing)
        counts = targets != IGNORED
        hidden, targets = hidden[counts], targets[counts]
        pool = self._pool(targets)
        ids = torch.cat([pool, targets])
        # one look-up for all: its gradient is a matrix as large as the weight
        rows, bias = functional.embedding(ids, self.weight), functional.embedding(ids, self.bias.unsqueeze(1))[:, 0]
        at = len(pool)
        negative = torch.addmm(bias[:at].to(hidden.dtype), hidden, rows[:at].t().to(hidden.dtype)).float()
        positive = (hidden * rows[at:]).sum(-1).float() + bias[at:]
        own = targets.unsqueeze(1) == pool
        if self.kind == "sampled-cross-entropy":
            if self.logq:
                negative = negative - self.logq * self._log_expected(pool, len(targets))
            among = negative.masked_fill(own, -torch.inf).logsumexp(dim=1)
            return (torch.logaddexp(among, positive) - positive).sum()
        share = negative.masked_fill(own, -1e30).softmax(dim=1)  # not −∞, for a step all of whose negatives are its own
        wanted = positive.unsqueeze(1)
        if self.kind == "top1-max":
            each = share * (torch.sigmoid(negative - wanted) + torch.sigmoid(negative.square()))
            return each.masked_fill(own, 0).sum()
        above = (share * torch.sigmoid(wanted - negative)).masked_fill(own, 0).sum(dim=1)
        large = (share * negative.square()).masked_fill(own, 0).sum(dim=1)
        return (self.regularisation * large - (above + 1e-24).log()).sum()

    def _pool(self, targets: Tensor) -> Tensor:
        """The negatives of a call, [negatives]; an item may come several times."""
        parts = [targets] if self.in_batch else []
        if self.negatives:
            place = torch.rand(self.negatives, dtype=torch.float64)
            drawn = torch.searchsorted(self._cumulative, place * self._cumulative[-1], right=True)
            parts.insert(0, drawn.clamp_(max=len(self._cumulative) - 1).to(targets.device))
        return torch.cat(parts)

    def _log_expected(self, ids: Tensor, steps: int) -> Tensor:
        """Log E, how often each item is expected among the negatives of a call with so many steps."""
        where = ids.cpu()
        expected = self.negatives * self._p_drawn[where] + (steps * self._p_met[where] if self.in_batch else 0)
        return expected.clamp(min=1e-12).log().float().to(ids.device)
