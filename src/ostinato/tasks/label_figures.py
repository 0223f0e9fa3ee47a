"""How good labels are that a model tells: what the field quotes, counted as texts come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

BINS = 15  # of confidence, for the calibration error


class LabelFigures:
    """Counts of what was told and what is right.

    Args:
        labels: how many a model knows; an id beyond them is a label that it has never seen.
        several: whether a text may have more than one label: then those above the threshold are told, and the best.
        threshold: of the scores.
        ordered: whether labels are in an order.
        probabilities: whether scores are probabilities, of which a calibration error can be told.

    >>> figures = LabelFigures(2)
    >>> figures.add(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), [(0,), (1,), (1,)])
    >>> found = figures.figures()
    >>> round(found["accuracy"], 4), round(found["mcc"], 4), figures.confusion()
    (0.6667, 0.5, {0: {0: 1}, 1: {1: 1, 0: 1}})
    """

    def __init__(
        self,
        labels: int,
        several: bool = False,
        threshold: float = 0.5,
        ordered: bool = False,
        probabilities: bool = True,
    ) -> None:
        self._several, self._threshold, self._ordered, self._probabilities = several, threshold, ordered, probabilities
        self._labels = labels
        self._right, self._false, self._missed = Counter[int](), Counter[int](), Counter[int]()
        self._pairs = Counter[tuple[int, int]]()  # right, told
        self._texts = self._hits = self._exact = 0
        self._bins = np.zeros((3, BINS))  # texts, confidence, hits

    def add(self, scores: np.ndarray, wanted: Sequence[Sequence[int]]) -> None:
        """Count some texts.

        Args:
            scores: [texts, labels].
            wanted: the ids of each text's labels.
        """
        best = scores.argmax(1)
        if self._probabilities:
            confidence = scores[np.arange(len(scores)), best]
            at = np.minimum((confidence * BINS).astype(int), BINS - 1)
            hits = [told in right for told, right in zip(best.tolist(), wanted, strict=True)]
            for row, values in enumerate((np.ones(len(scores)), confidence, np.array(hits, float))):
                np.add.at(self._bins[row], at, values)
        for row, told_best, labels in zip(scores, best.tolist(), wanted, strict=True):
            told = set(np.flatnonzero(row > self._threshold).tolist()) if self._several else set()
            told, right = told or {told_best}, set(labels)
            self._right.update(told & right)
            self._false.update(told - right)
            self._missed.update(right - told)
            self._texts += 1
            self._hits += told_best in right
            self._exact += told == right
            if not self._several:
                self._pairs[labels[0], told_best] += 1

    @property
    def texts(self) -> int:
        """How many were counted."""
        return self._texts

    def figures(self) -> dict[str, float | int]:
        """What the field quotes.

        Returns:
            precision_at_1: the share of texts whose best label is one of theirs;
            recall_at_1: the share of all their labels that is found so;
            accuracy: the share of texts that get their labels and no others;
            f1_micro, f1_macro: 2·tp / (2·tp + fp + fn), over all decisions, and as the mean over the labels that
            occur among those given and those right;
            mcc: of one label a text, Matthews' correlation (Gorodkin 2004, section 2);
            mean_absolute_error, kappa: of ordered labels, in ranks, and with quadratic weights (Cohen 1968);
            calibration_error: of probabilities p, Σ_b n_b/n |mean p − share right| over 15 bins of the best label's p
            (Guo et al. 2017, section 2); examples: how many.
        """
        right, false, missed = self._right, self._false, self._missed
        f1 = {k: 2 * right[k] / (2 * right[k] + false[k] + missed[k]) for k in {*right, *false, *missed}}
        total = 2 * right.total() + false.total() + missed.total()
        found: dict[str, float | int] = {
            "accuracy": self._exact / self._texts,
            "precision_at_1": self._hits / self._texts,
            "recall_at_1": self._hits / (right.total() + missed.total()),
            "f1_micro": 2 * right.total() / total,
            "f1_macro": sum(f1.values()) / len(f1),
        }
        if not self._several:
            found["mcc"] = self._mcc()
        if self._ordered:
            found |= self._distances()
        if self._probabilities:
            found["calibration_error"] = float(abs(self._bins[1] - self._bins[2]).sum() / self._texts)
        return found | {"examples": self._texts}

    def _mcc(self) -> float:
        right, told = Counter[int](), Counter[int]()
        for (a, b), count in self._pairs.items():
            right[a] += count
            told[b] += count
        n, agree = self._texts, sum(count for (a, b), count in self._pairs.items() if a == b)
        both = sum(right[k] * told[k] for k in right)
        spread = [n * n - sum(count * count for count in each.values()) for each in (right, told)]
        return (agree * n - both) / (spread[0] * spread[1]) ** 0.5 if all(spread) else 0.0

    def _distances(self) -> dict[str, float]:
        known = {pair: count for pair, count in self._pairs.items() if pair[0] < self._labels}
        n = sum(known.values())
        if not n:
            return {}
        counts = np.zeros((self._labels, self._labels))
        for pair, count in known.items():
            counts[pair] = count
        apart = np.subtract.outer(np.arange(self._labels), np.arange(self._labels))
        by_chance = float((np.outer(counts.sum(1), counts.sum(0)) / n * apart**2).sum())
        kappa = 1 - float((counts * apart**2).sum()) / by_chance if by_chance else 0.0
        return {"mean_absolute_error": float((counts * abs(apart)).sum()) / n, "kappa": kappa}

    def confusion(self) -> dict[int, dict[int, int]]:
        """Of texts with one label each: the right label → what was told → how often."""
        found: dict[int, dict[int, int]] = {}
        for (right, told), count in sorted(self._pairs.items(), key=lambda pair: (pair[0][0], -pair[1])):
            found.setdefault(right, {})[told] = count
        return found


class NumberFigures:
    """The same of numbers, given and right.

    >>> figures = NumberFigures()
    >>> figures.add(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    >>> {name: round(value, 3) for name, value in figures.figures().items()}
    {'pearson': 0.982, 'mean_absolute_error': 0.333, 'root_mean_square_error': 0.577, 'examples': 3}
    """

    def __init__(self) -> None:
        self._told: list[np.ndarray] = []
        self._right: list[np.ndarray] = []

    def add(self, told: np.ndarray, right: np.ndarray) -> None:
        """Count some texts, [texts] each."""
        self._told.append(np.asarray(told, float))
        self._right.append(np.asarray(right, float))

    @property
    def texts(self) -> int:
        """How many were counted."""
        return sum(map(len, self._told))

    def figures(self) -> dict[str, float | int]:
        """Pearson's correlation (0 where one side is constant), mean absolute and root mean square error."""
        told, right = np.concatenate(self._told), np.concatenate(self._right)
        spread = told.std() * right.std()
        pearson = float(((told - told.mean()) * (right - right.mean())).mean() / spread) if spread > 0 else 0.0
        error = told - right
        return {
            "pearson": pearson,
            "mean_absolute_error": float(abs(error).mean()),
            "root_mean_square_error": float((error**2).mean() ** 0.5),
            "examples": len(told),
        }
