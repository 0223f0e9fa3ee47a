"""Matthews' correlation, and the threshold where it is highest: found by labels, or expected by probabilities."""

from __future__ import annotations

import numpy as np


def best_mcc(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The threshold above which *yes* agrees best with what is right, and Matthews' correlation there.

    MCC = (tp·tn − fp·fn) / √((tp + fp)(tp + fn)(tn + fp)(tn + fn)) (Matthews 1975), at each border between two scores.

    >>> best_mcc(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, True, True]))
    (0.25, 1.0)
    """
    return _highest(scores, right.astype(float))


def expected_mcc(probabilities: np.ndarray) -> tuple[float, float]:
    """The same if each is right with its probability: tp = Σ p above the threshold, and so on.

    Of calibrated probabilities it is a better threshold than the best one for some hundred labels, which follows each
    of them: the same plug-in that is used for F1 (Ye et al. 2012, section 3.2).

    >>> threshold, mcc = expected_mcc(np.array([0.1, 0.2, 0.8, 0.9]))
    >>> round(threshold, 3), round(mcc, 3)
    (0.5, 0.7)
    """
    return _highest(probabilities, probabilities)


def _highest(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The border between two scores with the highest correlation, `right` being how likely each is a *yes*."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], right[order]
    tp, told = hits.cumsum(), np.arange(1, len(hits) + 1)
    yes, n = hits.sum(), len(hits)
    fp, fn = told - tp, yes - tp
    tn = n - yes - fp
    spread = np.sqrt(np.maximum((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn), 0.0))
    mcc = np.where(spread > 0, (tp * tn - fp * fn) / np.maximum(spread, 1e-300), 0.0)
    mcc[:-1][scores[1:] == scores[:-1]] = -2.0  # equal scores are told alike
    best = int(mcc.argmax())
    below = scores[best + 1] if best + 1 < n else scores[best] - 1.0
    return float((scores[best] + below) / 2), float(max(mcc[best], -1.0))
