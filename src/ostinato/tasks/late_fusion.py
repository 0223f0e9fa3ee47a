"""Late fusion: the scores of a linear model on n-grams, joined to what a network says of a text."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import minimize
from torch import Tensor

from ostinato.analysis import Analyzer, AnalyzerSettings, Span
from ostinato.codecs.labelled_text import LabelledText
from ostinato.errors import BundleError, SettingsError
from ostinato.label_heads import LabelHead
from ostinato.one_against_rest import OneAgainstRest
from ostinato.table import Table
from ostinato.tasks.examples import Example
from ostinato.tasks.linear_classifier import LinearClassifier

COLUMNS = {"terms": "<i4", "term_weights": "<f8"}
"""Of a row: the terms of a text by column, and their TF-IDF."""
NO_TERMS = {name: np.zeros(0, kind) for name, kind in COLUMNS.items()}
_LARGEST = (math.exp(3.0), 100.0)  # 1 / T, and w / T: a score of 1 is then as sure as can be


@dataclass(frozen=True)
class FusedText(LabelledText):
    """Words as ids and labels; and perhaps a linear model of the same labels, in the folder `linear`.

    Args:
        analyzer, words, labels_of: as of `LabelledText`.
        linear: trained on the same texts.
    """

    linear: LinearClassifier | None = None

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        super().save(folder)
        if self.linear is not None:
            self.linear.save(folder / "linear", overwrite=True)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        found = super().load(folder)
        if not (folder / "linear").exists():
            return found
        linear = LinearClassifier.from_bundle(folder / "linear")
        if linear.labels != found.labels:
            raise BundleError(f"{folder / 'linear'}: its labels are not those of {folder}")
        return replace(found, linear=linear)


def fit_linear(
    analyzer: Analyzer, kind: str, examples: Callable[[], Iterator[Example]], seed: int, tell: Callable[[str], None]
) -> LinearClassifier:
    """The linear model with its defaults, trained on the texts of a network.

    Args:
        analyzer: of the network: what a word is.
        kind: of label.
        examples: reads them from the beginning.
        seed: of the solver.
        tell: gets what the user should know.

    Raises:
        SettingsError: if labels are not of a kind that has a score each.
    """
    if kind not in ("single", "multi"):
        raise SettingsError(f"linear: kind = {kind} has one score, and a linear model would give one a label")
    same = {name: value for name, value in analyzer.to_dict().items() if name in AnalyzerSettings.model_fields}
    del same["ngram_range"]  # a network's is of single words
    return LinearClassifier(**same, seed=seed).learn_from(examples, lambda message: tell(f"linear: {message}"))


def term_rows(linear: LinearClassifier, texts: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """The columns of `COLUMNS` of each text."""
    x = linear.codec.features.transform(texts)
    return [{"terms": x.indices[a:b], "term_weights": x.data[a:b]} for a, b in pairwise(x.indptr.tolist())]


def linear_scores(linear: LinearClassifier, rows: Sequence[Any]) -> np.ndarray:
    """s_k of each text, float32 [texts, labels]; 0 of a label that all training texts have, of which it knows nothing.

    Args:
        linear: whose scores.
        rows: with the columns of `COLUMNS`.
    """
    scores = linear.linear.scores(_matrix(linear, rows), linear.settings.loss)
    return np.where(np.isfinite(scores), scores, 0.0).astype(np.float32)


def fit_again(linear: LinearClassifier, tables: Sequence[Table]) -> None:
    """Fit the weights of a linear model on rows, its terms and their idf being what they are.

    Once w is known, nothing has to be kept from the linear model: as in other stacking it learns from all texts in the
    end (Wolpert 1992, section 2).

    Args:
        linear: whose weights are fitted.
        tables: of rows with `target` and the columns of `COLUMNS`.
    """
    names = ("target", *COLUMNS)
    rows = [{name: table.entry(name, at) for name in names} for table in tables for at in range(len(table))]
    known = len(linear.labels)
    given = [tuple(linear.labels[int(label)] for label in row["target"] if label < known) for row in rows]
    x = _matrix(linear, rows)
    s = linear.settings
    kept = np.array([bool(each) for each in given])  # of a label that no training text has nothing is known
    named = [each for each in given if each]
    linear.set_weights(OneAgainstRest.fit(x[kept], named, linear.labels, s.loss, s.C, s.seed))


def _matrix(linear: LinearClassifier, rows: Sequence[Any]) -> sparse.csr_array:
    """TF-IDF, [rows, terms]."""
    ends = np.cumsum([0, *(len(row["terms"]) for row in rows)], dtype=np.int32)
    terms, weights = (np.concatenate([NO_TERMS[name], *(row[name] for row in rows)]) for name in COLUMNS)
    return sparse.csr_array((weights, terms, ends), shape=(len(rows), linear.linear.weight.shape[0]))


def fit_weight(head: LabelHead, logits: Tensor, scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """The temperature T and the weight w ≥ 0 that minimise the mean of −log p at (z + w·s) / T.

    A network ("deep") and a linear model ("wide") that were trained apart make an ensemble (Cheng et al. 2016, section
    3), and its weight is learned from texts that neither was trained on (Wolpert 1992; Breiman 1996): on its own texts
    the linear model is right nearly always, and would be trusted too much. With a = 1 / T and b = w / T the loss at
    a·z + b·s is convex in (a, b), so that there is one minimum.

    Args:
        head: of the network.
        logits: z, [texts, labels].
        scores: s, [texts, labels].
        targets: as the head takes them.

    Returns:
        T and w.

    >>> from ostinato.label_heads import OneLabel
    >>> right = torch.tensor([0, 1, 1, 0] * 5)
    >>> sure, wrong = 4.0 * torch.eye(2)[right], torch.eye(2)[1 - right]
    >>> fit_weight(OneLabel(3, 2), sure, wrong, right)[1]
    0.0
    >>> temperature, weight = fit_weight(OneLabel(3, 2), wrong, sure, right)
    >>> weight > 1
    True
    """

    def mean_loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(point, dtype=z.dtype, device=z.device, requires_grad=True)
        loss = head.loss(at[0] * z + at[1] * s, y) / len(z)
        (slope,) = torch.autograd.grad(loss, at)
        return loss.item(), slope.double().cpu().numpy()

    with torch.inference_mode(False), torch.enable_grad():
        z, s, y = logits.clone(), scores.clone(), targets.clone()  # those of inference have no gradient
        bounds = [(1 / _LARGEST[0], _LARGEST[0]), (0.0, _LARGEST[1])]
        a, b = minimize(mean_loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    return 1 / a, b / a


def word_shares(linear: LinearClassifier, text: str, words: Sequence[Span], slopes: np.ndarray) -> np.ndarray:
    """What each word adds to Σ_k g_k (s_k − b_k), float [words], exactly: s_k = Σ_j x_j W_jk + b_k is linear in TF-IDF.

    A term's part x_j Σ_k g_k W_jk is shared by the places where it stands, and there by its words.

    Args:
        linear: whose scores s are.
        text: that was read.
        words: of it, as they come.
        slopes: g, [labels].
    """
    features, found = linear.codec.features, np.zeros(len(words))
    (row,) = term_rows(linear, [text])
    parts = row["term_weights"] * (linear.linear.weight[row["terms"]] @ slopes)
    part = dict(zip(row["terms"].tolist(), parts.tolist(), strict=True))
    known = features.vocabulary_
    places = [(known[span.token], span) for span in features.analyzer_.spans(text) if span.token in known]
    times = Counter(column for column, _ in places)
    starts, ends = [word.start for word in words], [word.end for word in words]
    for column, span in places:
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)  # the words that it touches
        if first < last:
            found[first:last] += part[column] / times[column] / (last - first)
    return found
