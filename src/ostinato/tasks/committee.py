"""Several networks that learn the same and are asked together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ostinato.label_heads import LabelHead
from ostinato.topologies import SeqToVec


class Committee(nn.Module):
    """z = (1/K) Σ_k z_k, the mean of what K networks say of a text, each with weights of its own.

    On few examples networks that begin elsewhere err elsewhere, and the mean errs less (Hansen & Salamon 1990;
    Lakshminarayanan et al. 2017). The mean of logits is, but for a constant, the logarithm of the geometric mean of
    probabilities (Heskes 1998). Each network descends its own loss, so that they stay apart.

    Args:
        members: of the same shape.

    >>> import torch
    >>> from ostinato.feedforward import Unchanged
    >>> from ostinato.label_heads import OneLabel
    >>> from ostinato.pooling import MeanPooling
    >>> made = [SeqToVec(nn.Embedding(10, 3), Unchanged(3), MeanPooling(), OneLabel(3, 2)) for _ in range(4)]
    >>> committee = Committee(made)
    >>> len(members_of(committee)), committee.head is made[0].head, members_of(made[0]) == [made[0]]
    (4, True, True)
    """

    def __init__(self, members: Sequence[SeqToVec]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def head(self) -> LabelHead:
        """What the mean means: the first's, whose temperature and threshold are those of all together."""
        first: Any = self.members[0]
        return first.head


def members_of(network: Any) -> list[Any]:
    """The networks of a committee; or the one that there is."""
    return list(network.members) if isinstance(network, Committee) else [network]
