"""TF-IDF: how often a term stands in a text, against how many texts it stands in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import sparse
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from ostinato.analysis import Analyzer
from ostinato.features.counts import BagOfWords, TermSettings

# n documents, of which df hold the term
IDF: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
    "textbook": lambda n, df: np.log(n / (1 + df)),
    "smooth": lambda n, df: np.log((1 + n) / (1 + df)) + 1,
    "unsmoothed": lambda n, df: np.log(n / df) + 1,
    "standard": lambda n, df: np.log(n / df),
    "probabilistic": lambda n, df: np.log(np.maximum((n - df) / df, 1)),
    "none": lambda _, df: np.ones_like(df),
}


class TfIdfSettings(TermSettings):
    """How terms are weighed."""

    ngram_range: tuple[int, int] | None = Field(
        None, description="fewest and most words of a term [default: the analyzer's, 1,1]"
    )
    idf: Literal["textbook", "smooth", "unsmoothed", "standard", "probabilistic", "none"] = Field(
        "smooth", description="the weight of a term"
    )
    tf: Literal["count", "frequency", "sublinear", "binary"] | None = Field(
        None, description="the weight of a term in a text [default: frequency with idf = textbook, else count]"
    )
    norm: Literal["l2", "l1", "none"] | None = Field(
        None, description="of a text's vector [default: none with idf = textbook, else l2]"
    )


class TfIdf(BagOfWords):
    """TF-IDF vectors: X[t, w] = tf(w in t) · idf(w), then by `norm` divided by the row's length.

    With N texts, of which df(w) hold w; count(w in t), and length(t) = Σ_w count(w in t), whatever the vocabulary:

    | idf | | |
    |---|---|---|
    | `smooth` | log((1 + N) / (1 + df)) + 1 | as in scikit-learn |
    | `unsmoothed` | log(N / df) + 1 | as in scikit-learn without `smooth_idf` |
    | `textbook` | log(N / (1 + df)) | 0 or less for what stands in all texts, or all but one |
    | `standard` | log(N / df) | Spärck Jones 1972; Manning et al. 2008, section 6.2.1 |
    | `probabilistic` | max(0, log((N − df) / df)) | Manning et al. 2008, figure 6.15, p |
    | `none` | 1 | |

    A term of an own vocabulary, or a bucket, that stands in no text of the corpus has df 0; `unsmoothed`, `standard`
    and `probabilistic` count it as 1.

    | tf | |
    |---|---|
    | `count` | count |
    | `frequency` | count / length |
    | `sublinear` | 1 + log(count) |
    | `binary` | 1 |

    Args:
        analyzer: text to tokens; `Analyzer()` if None.
        idf: as above; `textbook` goes with tf = `frequency` and norm = `none` unless these say otherwise.
        tf: as above; `count` if None.
        norm: `l2` (√Σ x² = 1), `l1` (Σ |x| = 1) or `none`; `l2` if None.
        ngram_range, vocabulary, min_df, max_df, max_features, hashed: as of BagOfWords.

    >>> weights = TfIdf(idf="textbook")
    >>> X = weights.fit_transform(["猫 喜欢 鱼", "狗 不 喜欢 鱼", "猫 喜欢 睡觉", "鸟 会 飞"])
    >>> {term: round(float(x), 4) for term, x in zip(weights.get_feature_names_out(), X.toarray()[0]) if x}
    {'猫': 0.0959, '鱼': 0.0959}
    """

    kind = "tf-idf"
    Settings = TfIdfSettings

    def __init__(
        self,
        analyzer: Analyzer | None = None,
        idf: str = "smooth",
        tf: str | None = None,
        norm: str | None = None,
        ngram_range: tuple[int, int] | None = None,
        vocabulary: Sequence[str] | Mapping[str, int] | None = None,
        min_df: float = 1,
        max_df: float = 1.0,
        max_features: int | None = None,
        hashed: int | None = None,
    ) -> None:
        self.analyzer = analyzer
        self.idf = idf
        self.tf = tf
        self.norm = norm
        self.ngram_range = ngram_range
        self.vocabulary = vocabulary
        self.min_df = min_df
        self.max_df = max_df
        self.max_features = max_features
        self.hashed = hashed

    @property
    def idf_(self) -> np.ndarray:
        """The idf of each column, float64 [terms]."""
        check_is_fitted(self)
        columns = self._settled()
        known: Any = getattr(self, "_idf_of", None)
        if known is None or known[0] is not columns:
            frequency = self.statistics_.document_frequency
            df = np.fromiter((frequency[term] for term in columns), np.float64, len(columns))
            if self.idf not in ("textbook", "smooth"):
                df = np.maximum(df, 1)
            known = self._idf_of = (columns, IDF[self.idf](self.statistics_.documents, df))
        return known[1]

    def _must_learn(self) -> bool:
        return True

    def _weighted(self, counts: Any, lengths: np.ndarray) -> Any:
        settings = self.settings()
        textbook = settings.idf == "textbook"
        weights = counts.astype(np.float64)
        match settings.tf or ("frequency" if textbook else "count"):
            case "frequency":
                weights.data /= np.repeat(lengths, np.diff(weights.indptr))
            case "sublinear":
                weights.data = 1 + np.log(weights.data)
            case "binary":
                weights.data[:] = 1
        weights.data *= self.idf_[weights.indices]
        weights.eliminate_zeros()
        norm = settings.norm or ("none" if textbook else "l2")
        return weights if norm == "none" else sparse.csr_array(normalize(weights, norm=norm, copy=False))
