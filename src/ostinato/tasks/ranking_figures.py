"""How well wanted items are ranked: among all, or among a sample; the model, and what needs no training beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.codecs.items import ItemCodec

_NUMBERS = 1 << 24
"""Scores that are held at a time."""


class Wanted(NamedTuple):
    """Items to be told, in a batch of histories."""

    histories: Sequence[np.ndarray]
    """The ids of each history of the batch, all of it."""
    rows: np.ndarray
    """Of each wanted item the history it belongs to, int64 [targets]."""
    places: np.ndarray
    """And its place there, int64 [targets]."""

    @property
    def ids(self) -> np.ndarray:
        """The wanted items, int64 [targets]."""
        pairs = zip(self.rows.tolist(), self.places.tolist(), strict=True)
        return np.array([self.histories[row][place] for row, place in pairs], np.int64)

    def parts(self, items: int) -> Iterator[slice]:
        """Of the wanted items, as many at a time as scores of all items can be held."""
        step = max(1, _NUMBERS // items)
        return (slice(first, first + step) for first in range(0, len(self.rows), step))

    def without_seen(self, scores: Tensor, part: slice) -> Tensor:
        """Scores, [targets, items], in place −∞ for none and for what the history holds before each wanted item."""
        scores[:, 0] = -torch.inf
        for at, (row, place) in enumerate(zip(self.rows[part].tolist(), self.places[part].tolist(), strict=True)):
            scores[at, torch.from_numpy(self.histories[row][:place].astype(np.int64))] = -torch.inf
        return scores


Scorer = Callable[[slice], Tensor]
"""Scores of all items, [targets, items], for some of the wanted."""


def ranks_among(scores: Tensor, wanted: Tensor, others: Tensor | None = None) -> np.ndarray:
    """1 + how many others score above the wanted one, + half of those that score alike, float64 [targets].

    Args:
        scores: [targets, items].
        wanted: ids, int64 [targets].
        others: ids, int64 [targets, others]; all items if None.

    >>> ranks_among(torch.tensor([[0.5, 0.9, 0.5, 0.1]]), torch.tensor([2])).tolist()
    [2.5]
    """
    own = scores.gather(1, wanted.unsqueeze(1)).cpu().numpy()
    against = (scores if others is None else scores.gather(1, others)).cpu().numpy()
    # NumPy counts what is true several times as fast as torch
    alike = np.count_nonzero(against == own, axis=1) - (1 if others is None else 0)
    return 1 + np.count_nonzero(against > own, axis=1) + 0.5 * alike


def figures(ranks: np.ndarray, cutoffs: Sequence[int], missed: int = 0) -> dict[str, float]:
    """Means of recall@k = [rank ≤ k], MRR@k = [rank ≤ k] / rank and NDCG@k = [rank ≤ k] / log₂(rank + 1).

    With one wanted item recall@k is hit@k, and the ideal DCG is 1.

    Args:
        ranks: from 1.
        cutoffs: the k.
        missed: wanted items that have no rank.

    >>> {name: round(value, 3) for name, value in figures(np.array([1.0, 3.0, 30.0]), [10]).items()}
    {'recall@10': 0.667, 'mrr@10': 0.444, 'ndcg@10': 0.5}
    """
    count = max(1, len(ranks) + missed)
    found: dict[str, float] = {}
    for k in cutoffs:
        hits = ranks[ranks <= k]
        found |= {
            f"recall@{k}": len(hits) / count,
            f"mrr@{k}": float((1 / hits).sum()) / count,
            f"ndcg@{k}": float((1 / np.log2(hits + 1)).sum()) / count,
        }
    return found


def unmet(wanted: Wanted, count: int, p: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Items that the user of each wanted one never met, drawn with p and put back, int64 [targets, count].

    Where a user has met every item, whatever is not the wanted one counts as not met.
    """
    cumulative = np.cumsum(p) / p.sum()
    found = np.empty((len(wanted.rows), count), np.int64)
    ids = wanted.ids
    for row in np.unique(wanted.rows):
        at = np.flatnonzero(wanted.rows == row)
        met = np.unique(wanted.histories[row])
        all_met = (p > 0).sum() == (p[met] > 0).sum()
        drawn = np.searchsorted(cumulative, draw.random((len(at), count)), side="right")
        while True:
            wrong = drawn == ids[at][:, None] if all_met else np.isin(drawn, met)
            if not (bad := int(wrong.sum())) or (p > 0).sum() < 2:
                break
            drawn[wrong] = np.searchsorted(cumulative, draw.random(bad), side="right")
        found[at] = drawn
    return found


class Ranking:
    """The ranks of wanted items by several models, gathered batch by batch.

    Args:
        codec: of the items.
        cutoffs: the k of the figures.
        sampled: items beside the wanted one; none for no such figures.
        sampled_by: uniform or popularity.
        exclude_seen: whether what was met before is left out.
        seed: of what is drawn; all models meet the same.
    """

    def __init__(
        self, codec: ItemCodec, cutoffs: Sequence[int], sampled: int, sampled_by: str, exclude_seen: bool, seed: int
    ) -> None:
        self._cutoffs, self._sampled, self._exclude = cutoffs, sampled, exclude_seen
        counts = codec.counts.astype(float)
        self._p = counts if sampled_by == "popularity" else (counts > 0).astype(float)
        self._draw = np.random.default_rng([seed, sampled])
        self._full: dict[str, list[np.ndarray]] = {}
        self._among: dict[str, list[np.ndarray]] = {}
        self.missed = 0

    def add(self, wanted: Wanted, scorers: dict[str, Scorer]) -> None:
        """The wanted items of a batch."""
        if not len(wanted.rows):
            return
        drawn = unmet(wanted, self._sampled, self._p, self._draw) if self._sampled else None
        ids = torch.from_numpy(wanted.ids)
        for part in wanted.parts(len(self._p)):
            for name, scorer in scorers.items():
                scores = scorer(part).float()
                scores[:, 0] = -torch.inf
                own, device = ids[part].to(scores.device), scores.device
                if drawn is not None:
                    others = torch.from_numpy(drawn[part]).to(device)
                    self._among.setdefault(name, []).append(ranks_among(scores, own, others))
                if self._exclude:
                    wanted.without_seen(scores, part)
                self._full.setdefault(name, []).append(ranks_among(scores, own))

    def figures(self, name: str) -> dict[str, float]:
        """Of a model: full ranking, then `sampled`."""
        none = np.zeros(0)
        found = figures(np.concatenate([none, *self._full.get(name, [])]), self._cutoffs, self.missed)
        if self._sampled:
            among = figures(np.concatenate([none, *self._among.get(name, [])]), self._cutoffs, self.missed)
            found |= {f"sampled_{figure}": value for figure, value in among.items()}
        return found

    @property
    def targets(self) -> int:
        """Wanted items, those that nobody could tell counted in."""
        return sum(map(len, next(iter(self._full.values()), []))) + self.missed


def popularity(codec: ItemCodec) -> Tensor:
    """Scores of items by how often they were met, [items]."""
    return torch.from_numpy(codec.counts.astype(np.float32))


def baselines(codec: ItemCodec, wanted: Wanted) -> dict[str, Scorer]:
    """Popularity, and item-kNN, in which popularity decides between items as similar."""
    counts = popularity(codec)
    ties = counts * (1e-6 / float(counts.max()))

    def by_count(part: slice) -> Tensor:
        return counts.expand(len(wanted.rows[part]), -1).clone()

    def by_neighbours(part: slice) -> Tensor:
        return torch.from_numpy(np.stack(list(_followed(codec, wanted, part)))) + ties

    return {"popularity": by_count, "item-knn": by_neighbours}


def _followed(codec: ItemCodec, wanted: Wanted, part: slice) -> Iterator[np.ndarray]:
    """Item-kNN's scores for each wanted item, from what was met before it."""
    near = codec.neighbours
    before, row_before = -1, -1
    scores, met = np.zeros(len(codec), np.float32), set()
    for row, place in zip(wanted.rows[part].tolist(), wanted.places[part].tolist(), strict=True):
        if row != row_before or place < before:
            scores, met, before = np.zeros(len(codec), np.float32), set(), 0
        for item in wanted.histories[row][before:place].tolist():
            if item not in met:
                met.add(item)
                at = slice(near.starts[item], near.starts[item + 1])
                scores[near.ids[at]] += near.similarities[at]
        row_before, before = row, place
        yield scores.copy()
