"""What a language model says of a sentence, in a few numbers that do not depend on what the sentence is about."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ostinato import bundle
from ostinato.analysis import Span
from ostinato.errors import BundleError
from ostinato.tasks.ngram import NGramLanguageModel
from ostinato.tasks.writing import WritingModel

MEASURES = ("mean", "slor", "worst", "length")
_MODEL, _UNIGRAM = "language-model", "unigram.safetensors"


class ScoredToken(NamedTuple):
    """A token, and what it is worth, in nats."""

    token: str
    start: int
    end: int
    log_probability: float
    unigram: float
    """log p_u, by how frequent it is."""


def scored_tokens(model: WritingModel, unigram: np.ndarray, text: str) -> list[ScoredToken]:
    """The tokens of a text with single blanks, each with its log p after those before it, and without them."""
    ids = model.codec.encode(text)
    found, at = [], 0
    for token_id, scored in zip(ids.tolist(), model.score(text), strict=True):
        token = model.codec.decode([token_id])
        found.append(ScoredToken(token.strip(), at, at + len(token), scored.log_probability, float(unigram[token_id])))
        at += len(token)
    return found


def unigram_log_probabilities(model: WritingModel, texts: Iterable[str]) -> np.ndarray:
    """The log p_u of each token, float64 [tokens]: relative frequencies in the texts, one being added to each count."""
    counts = np.ones(len(model.codec))
    for text in texts:
        np.add.at(counts, model.codec.encode(text), 1)
    return np.log(counts / counts.sum())


def ngrams_of(
    sentences: Callable[[], Iterable[str]], order: int, tell: Callable[[str], None], lowercase: bool = False
) -> NGramLanguageModel:
    """A language model of n-grams of words within sentences; words that are there once are unknown."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "sentences.txt"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(text + "\n" for text in sentences())
        tell(f"{order}-grams of {path.stat().st_size / 1e6:,.1f} MB of sentences")
        model = NGramLanguageModel(order=order, across_lines=False, level="word", min_count=2, lowercase=lowercase)
        return model.fit(path, progress=False)


@dataclass(frozen=True)
class SentenceMeasures:
    r"""Measures of a sentence of n tokens by a language model p and by how frequent its words are, p_u.

    | measure | |
    |---|---|
    | `mean` | Σ_t log p(w_t \| w_<t) / n |
    | `slor` | Σ_t (log p(w_t \| w_<t) − log p_u(w_t)) / n |
    | `worst` | min_t (log p(w_t \| w_<t) − log p_u(w_t)) |
    | `length` | n |

    (Lau, Clark & Lappin 2017, section 3, whose worst words divide where SLOR subtracts. To join such measures with
    others in a regression is the way of Heilman et al. 2014.) What is learned of them has a few weights, so
    that it holds for other words than those of the judged sentences.

    Args:
        model: the language model.
        unigram: log p_u of each token, [tokens].

    >>> sentences = ["the cat sat", "the dog sat", "a cat ran"] * 9
    >>> model = ngrams_of(lambda: sentences, 2, lambda _: None)
    >>> measures = SentenceMeasures(model, unigram_log_probabilities(model, sentences))
    >>> good, bad = measures.of("the cat sat"), measures.of("sat cat the")
    >>> bool(good[1] > bad[1]), bool(good[2] > bad[2]), float(good[3])
    (True, True, 3.0)
    """

    model: WritingModel
    unigram: np.ndarray

    def of(self, text: str) -> np.ndarray:
        """The measures, float32 [4]."""
        return self.shares(text)[1].sum(0).astype(np.float32)

    def shares(self, text: str) -> tuple[list[Span], np.ndarray]:
        """The tokens with their places in the text with single blanks, and what each adds to a measure, [n, 4]."""
        tokens = scored_tokens(self.model, self.unigram, " ".join(text.split()))
        found = np.zeros((len(tokens), len(MEASURES)))
        if tokens:
            log_p = np.array([each.log_probability for each in tokens])
            gained = log_p - np.array([each.unigram for each in tokens])
            worst = gained.argmin()
            found[:, 0], found[:, 1], found[:, 3] = log_p / len(tokens), gained / len(tokens), 1.0
            found[worst, 2] = gained[worst]
        return [Span(each.token, each.start, each.end) for each in tokens], found

    def save(self, folder: Path) -> None:
        """Write them into a folder; the language model is a bundle of its own in it."""
        folder.mkdir(exist_ok=True)
        self.model.save(folder / _MODEL, overwrite=True)
        bundle.write_tensors(folder / _UNIGRAM, {"unigram": self.unigram}, {})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        model = NGramLanguageModel.from_bundle(folder / _MODEL)
        unigram = bundle.read_tensors(folder / _UNIGRAM)[0].get("unigram")
        if unigram is None or unigram.shape != (len(model.codec),):
            raise BundleError(f"{folder / _UNIGRAM}: does not fit codec/: expected {len(model.codec)} numbers, unigram")
        return cls(model, np.asarray(unigram))


class Joined(NamedTuple):
    """The log-odds of a *yes*: a·z + v·g + c."""

    scale: float
    weights: np.ndarray
    bias: float


def join(log_odds: np.ndarray, measures: np.ndarray, right: np.ndarray) -> Joined:
    r"""Weights of what a network says and of measures, that minimise the mean of −log p of sentences new to both.

    p = σ(a·z + v·g + c), convex in (a, v, c). Without measures it is Platt's calibration, whose targets are taken too:
    (n₊ + 1) / (n₊ + 2) for a *yes*, 1 / (n₋ + 2) for a *no*, so that a few sentences make nobody sure (Platt 1999,
    section 2.2).

    Args:
        log_odds: z, [sentences].
        measures: g, [sentences, measures].
        right: whether it is a *yes*, [sentences].

    >>> z, g = np.array([1.0, 1.0, -1.0, -1.0, 1.0]), np.array([[2.0], [1.0], [1.0], [2.0], [1.0]])
    >>> join(z, g, np.array([True, False, False, True, True])).weights[0] > 0.5
    np.True_
    """
    deviation = np.where(measures.std(0) > 0, measures.std(0), 1.0)
    x = np.column_stack([log_odds, (measures - measures.mean(0)) / deviation, np.ones(len(log_odds))])
    yes = int(right.sum())
    target = np.where(right, (yes + 1) / (yes + 2), 1 / (len(right) - yes + 2))

    def mean_loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        odds = x @ point
        loss = np.logaddexp(0.0, odds) - target * odds
        return float(loss.mean()), (x * (expit(odds) - target)[:, None]).mean(0)

    bounds = [(np.exp(-3.0), np.exp(3.0)), *[(-20.0, 20.0)] * (measures.shape[1] + 1)]
    start = np.array([1.0, *[0.0] * (measures.shape[1] + 1)])
    a, *v, c = minimize(mean_loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    weights = np.array(v) / deviation
    return Joined(a, weights, c - float(weights @ measures.mean(0)))


def share_out(spans: list[Span], values: np.ndarray, words: list[Span]) -> np.ndarray:
    """What tokens are worth, given to the words at their places; what lies between words to the one before.

    >>> tokens = [Span("ab", 0, 2), Span(",", 2, 3), Span("c", 4, 5)]
    >>> share_out(tokens, np.array([1.0, 2.0, 4.0]), [Span("ab", 0, 2), Span("c", 4, 5)]).tolist()
    [3.0, 4.0]
    """
    found = np.zeros(len(words))
    starts = np.array([word.start for word in words])
    for span, value in zip(spans, values.tolist(), strict=True):
        if len(words):
            middle = (span.start + span.end) / 2
            found[max(int(np.searchsorted(starts, middle, side="right")) - 1, 0)] += value
    return found
