"""Bags of words: how often each term stands in each text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import murmurhash3_32
from sklearn.utils.validation import check_is_fitted

from ostinato.analysis import Analyzer
from ostinato.bundle import writing_bundle
from ostinato.errors import DataError, SettingsError
from ostinato.features.folder import read_features, write_features
from ostinato.features.matrices import count_rows, in_batches
from ostinato.features.statistics import Term, TermStatistics
from ostinato.settings import Settings


class TermSettings(Settings):
    """Which terms are columns."""

    min_df: int | float = Field(
        1, ge=0, description="leave out terms of fewer documents; with a point, a share of them"
    )
    max_df: int | float = Field(1.0, ge=0, description="leave out terms of more documents; 1.0 is all of them")
    max_features: int | None = Field(None, ge=1, description="keep the terms that occur most often")
    hashed: int | None = Field(
        None, ge=1, lt=2**31, description="no vocabulary: a term's column is its hash modulo this number"
    )

    @field_validator("min_df", "max_df", mode="before")
    @classmethod
    def _share_or_number(cls, value: Any) -> Any:
        if isinstance(value, str):  # of the command line, where 1 is one document and 1.0 all of them
            value = float(value) if "." in value else int(value)
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("a share of the documents from 0.0 to 1.0, or a whole number of them")
        return value


class CountSettings(TermSettings):
    """What is counted."""

    ngram_range: tuple[int, int] | None = Field(
        None, description="fewest and most words of a term [default: the analyzer's, 1,1]"
    )
    binary: bool = Field(False, description="1 for every term that is there, however often")


class _Columns(dict[Any, int]):
    """The column of each term, −1 for one that has none."""

    def __missing__(self, term: Term) -> int:
        return -1


class _Growing(dict[Any, int]):
    """A new column for every new term."""

    def __missing__(self, term: Term) -> int:
        self[term] = column = len(self)
        return column


@lru_cache(maxsize=1 << 17)
def _bucket(term: str, buckets: int) -> int:
    return murmurhash3_32(term, positive=True) % buckets


class BagOfWords(TransformerMixin, BaseEstimator):
    """Count vectors: X[text, term] = how often the term stands in the text, or 1 if it does (`binary`).

    With scikit-learn's interface: texts are any iterable of strings, read once; of `fit` and `partial_fit` only the
    counts of terms stay in memory. Parts of a corpus that were fitted apart add up (`merge`).

    Args:
        analyzer: text to tokens; `Analyzer()` if None.
        ngram_range: fewest and most words of a term; as the analyzer has it if None.
        vocabulary: the terms, in the order of their columns; learnt, and in alphabetical order, if None.
        binary: 1 for every term that is there.
        min_df: leave out terms that stand in fewer documents: a number of them, or as a float a share.
        max_df: leave out terms that stand in more.
        max_features: keep the terms that occur most often.
        hashed: so many columns and no vocabulary: a term's column is its hash (Weinberger et al. 2009; terms that
            meet in a column are added up, none is subtracted).

    `fit` and `transform` raise:
        SettingsError: for a setting that is out of range or at odds with another.
        DataError: if there are no texts, something is no text, or no term is left.
        NotFittedError: of scikit-learn, for `transform` before `fit` without an own vocabulary or `hashed`.

    >>> words = BagOfWords()
    >>> words.fit_transform(["the cat saw the dog", "a dog"]).toarray()
    array([[0, 1, 1, 1, 2],
           [1, 0, 1, 0, 0]])
    >>> words.get_feature_names_out().tolist()
    ['a', 'cat', 'dog', 'saw', 'the']
    """

    kind: ClassVar[str] = "bag-of-words"
    Settings: ClassVar[type[TermSettings]] = CountSettings
    statistics_: TermStatistics
    analyzer_: Analyzer

    def __init__(
        self,
        analyzer: Analyzer | None = None,
        ngram_range: tuple[int, int] | None = None,
        vocabulary: Sequence[str] | Mapping[str, int] | None = None,
        binary: bool = False,
        min_df: float = 1,
        max_df: float = 1.0,
        max_features: int | None = None,
        hashed: int | None = None,
    ) -> None:
        self.analyzer = analyzer
        self.ngram_range = ngram_range
        self.vocabulary = vocabulary
        self.binary = binary
        self.min_df = min_df
        self.max_df = max_df
        self.max_features = max_features
        self.hashed = hashed

    # settings

    def settings(self) -> Any:
        """The parameters but for analyzer and vocabulary, checked.

        Raises:
            SettingsError: for one that is out of range or at odds with another.
        """
        given = {name: getattr(self, name) for name in self.Settings.model_fields}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        settings: Any = self.Settings.checked(plain)
        if self.vocabulary is not None or self.hashed is not None:
            which = "vocabulary" if self.vocabulary is not None else "hashed"
            for name in ("min_df", "max_df", "max_features"):
                if getattr(settings, name) != TermSettings.model_fields[name].default:
                    raise SettingsError(f"{name} chooses among learnt terms, and {which} leaves nothing to choose")
            if self.vocabulary is not None and self.hashed is not None:
                raise SettingsError("vocabulary or hashed: columns have terms, or are buckets, not both")
        return settings

    def base_analyzer(self) -> Analyzer:
        """The analyzer that was given, or the default."""
        analyzer = Analyzer() if self.analyzer is None else self.analyzer
        if not isinstance(analyzer, Analyzer):
            raise SettingsError(f"analyzer: expected an ostinato.Analyzer, found {type(analyzer).__name__}")
        return analyzer

    def make_analyzer(self) -> Analyzer:
        """The same with what the parameters say otherwise."""
        base = self.base_analyzer()
        return Analyzer(**(base.to_dict() | self._changes(base)))

    def _changes(self, analyzer: Analyzer) -> dict[str, Any]:  # noqa: ARG002
        ngram_range = self.settings().ngram_range
        return {} if ngram_range is None else {"ngram_range": ngram_range}

    def _own_terms(self) -> list[str] | None:
        """The terms of an own vocabulary in the order of their columns."""
        if self.vocabulary is None:
            return None
        terms = list(self.vocabulary)
        if isinstance(self.vocabulary, Mapping):
            terms.sort(key=self.vocabulary.__getitem__)
            if [self.vocabulary[term] for term in terms] != list(range(len(terms))):
                raise SettingsError(f"vocabulary: expected the columns 0 to {len(terms) - 1}, each once")
        if isinstance(self.vocabulary, str) or not terms or not all(isinstance(term, str) for term in terms):
            raise SettingsError("vocabulary: expected at least one term, each a string")
        if len(set(terms)) < len(terms):
            twice = next(term for at, term in enumerate(terms) if term in terms[:at])
            raise SettingsError(f"vocabulary: {twice!r} stands there twice")
        self._can_be_found(terms)
        return terms

    def _can_be_found(self, terms: list[str]) -> None:
        """Refuse a term whose column would be zero in silence."""
        analyzer = self.make_analyzer()
        fewest, most = analyzer.ngram_range
        of_words = analyzer.tokens != "characters" and analyzer.char_ngrams is None
        for term in terms:
            if (form := analyzer.form(term)) != term:
                raise SettingsError(f"vocabulary: {term!r} is never found, since the analyzer makes {form!r} of it")
            if of_words and not fewest <= (words := term.count(" ") + 1) <= most:
                raise SettingsError(f"vocabulary: {term!r} has {words} words, and ngram_range = {fewest, most}")

    # fitting

    def fit(self, texts: Iterable[str], y: Any = None) -> Self:  # noqa: ARG002
        """Learn the terms of a corpus."""
        self._begin()
        self.partial_fit(texts)
        self._must_have_texts()
        self._settled()
        return self

    def partial_fit(self, texts: Iterable[str], y: Any = None) -> Self:  # noqa: ARG002
        """Learn the terms of more of a corpus: parts one after another are as the whole at once."""
        if not hasattr(self, "statistics_"):
            self._begin()
        self._must_be_whole(self)
        self._cache = None
        for terms in self._analysed(texts):
            self.statistics_.add(terms)
        return self

    def merge(self, other: Self) -> Self:
        """Add what another one has learnt of other texts: two halves of a corpus are as the whole at once.

        Raises:
            SettingsError: if the two would not take the same text for the same terms.
        """
        for each in (self, other):
            check_is_fitted(each, "statistics_")
            self._must_be_whole(each)
        for name, ours, theirs in (
            ("kind", self.kind, other.kind),
            ("analyzer", self.analyzer_, other.analyzer_),
            ("vocabulary", self._own_terms(), other._own_terms()),
            ("hashed", self.hashed, other.hashed),
        ):
            if ours != theirs:
                raise SettingsError(f"cannot merge: {name} is {ours} here and {theirs} there")
        self._cache = None
        self.statistics_.merge(other.statistics_)
        return self

    def fit_transform(self, texts: Iterable[str], y: Any = None) -> Any:  # noqa: ARG002 # pyright: ignore
        """`fit(texts).transform(texts)`; the texts are read and analysed once."""
        self._begin()
        own = self._own_terms()
        seen = _Growing() if own is None else _Columns(zip(own, range(len(own)), strict=True))
        blocks = []
        for batch in in_batches(self._analysed(texts)):
            rows = [list(map(seen.__getitem__, terms)) for terms in batch] if self.hashed is None else batch
            lengths = np.fromiter(map(len, rows), np.int64, len(rows))
            blocks.append((count_rows(rows, self.hashed or 2**31 - 1), lengths))
        width = self.hashed or len(seen)
        counts = _stacked([block for block, _ in blocks], width)
        terms = range(width) if self.hashed else seen
        frequency = np.bincount(counts.indices, minlength=width)
        times = np.bincount(counts.indices, counts.data, width).astype(np.int64)
        self.statistics_.add_columns(terms, counts.shape[0], frequency, times)
        self._must_have_texts()
        columns = self._settled()
        if own is None and self.hashed is None:
            counts = counts[:, [seen[term] for term in columns]]
        return self._weighted(counts, np.concatenate([lengths for _, lengths in blocks]))

    def _begin(self) -> None:
        self.settings()
        self.analyzer_ = self.make_analyzer()
        own = self._own_terms()
        self.statistics_ = TermStatistics(None if own is None else frozenset(own))
        self._cache: Any = None

    def _must_have_texts(self) -> None:
        if not self.statistics_.documents:
            raise DataError("the corpus is empty: there are no texts to learn terms from")

    @staticmethod
    def _must_be_whole(one: BagOfWords) -> None:
        if not one.statistics_.whole:
            raise SettingsError("it was saved without the counts of terms that have no column: nothing can be added")

    def _settled(self) -> Any:
        """The column of each term, as the statistics and the settings have it now.

        Raises:
            DataError: if there is none.
        """
        if getattr(self, "_cache", None) is None:
            settings, own = self.settings(), self._own_terms()
            if self.hashed is None and own is None:
                own = self.statistics_.choose(settings.min_df, settings.max_df, settings.max_features)
            self._cache = range(self.hashed or 0) if own is None else _Columns((t, at) for at, t in enumerate(own))
        return self._cache

    # transforming

    def transform(self, texts: Iterable[str]) -> Any:
        """The matrix of some texts, a sparse array [texts, terms]."""
        blocks = list(self.stream(texts))
        return _stacked(blocks, blocks[0].shape[1]) if blocks else self._block([])

    def stream(self, texts: Iterable[str]) -> Iterator[Any]:
        """The same in blocks of some thousand rows, of which one is in memory at a time."""
        check_is_fitted(self)
        for batch in in_batches(self._analysed(texts)):
            yield self._block(batch)

    def _block(self, batch: list[list[Any]]) -> Any:
        columns = self._settled()
        rows = batch if self.hashed else [list(map(columns.__getitem__, terms)) for terms in batch]
        lengths = np.fromiter(map(len, batch), np.int64, len(batch))
        return self._weighted(count_rows(rows, len(columns)), lengths)

    def _weighted(self, counts: Any, lengths: np.ndarray) -> Any:  # noqa: ARG002
        """What stands in the matrix, of counts [texts, terms] and the number of terms of each text."""
        if self.binary:
            counts.data[:] = 1
        return counts

    def _analysed(self, texts: Iterable[str]) -> Iterator[list[Any]]:
        if isinstance(texts, str | bytes):
            raise DataError("expected many texts, such as a list of strings, found one string")
        analyzer = self.analyzer_ if hasattr(self, "analyzer_") else self.make_analyzer()
        for number, text in enumerate(texts):
            try:
                terms = analyzer(text)
            except DataError as error:
                raise DataError(f"text {number}: {error}") from None
            yield terms if self.hashed is None else [_bucket(term, self.hashed) for term in terms]

    # what it is

    @property
    def vocabulary_(self) -> dict[str, int]:
        """The column of each term."""
        check_is_fitted(self)
        if self.hashed is not None:
            raise AttributeError("hashed columns have no vocabulary")
        return dict(self._settled())

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002
        """The term of each column; of hashed ones a name with the number."""
        check_is_fitted(self)
        columns = self._settled()
        return np.array([f"hash{at}" for at in columns] if self.hashed else list(columns), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "statistics_") or not self._must_learn()

    def _must_learn(self) -> bool:
        return self.vocabulary is None and self.hashed is None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = self._must_learn()
        return tags

    # kept

    def save(self, path: str | Path, overwrite: bool = False, statistics: bool = True) -> Path:
        """Write it as a folder of JSON and safetensors.

        Args:
            path: of the folder.
            overwrite: replace what `save` or a training wrote there before.
            statistics: keep also the counts of terms that have no column (`min_df` and the like), without which
                nothing can be added any more.

        Raises:
            BundleError: if something else stands there.
        """
        check_is_fitted(self)
        if not hasattr(self, "statistics_"):
            self._begin()
        with writing_bundle(Path(path), overwrite) as new:
            write_features(self, new, statistics)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing, damaged, of another kind, or of a later version.
            MissingExtra: if its analyzer needs a package that is not installed.
        """
        return read_features(cls, Path(path))


def _stacked(blocks: list[Any], width: int) -> Any:
    """Rows of blocks as one sparse array with so many columns."""
    if not blocks:
        return sparse.csr_array((0, width), dtype=np.int64)
    whole: Any = sparse.vstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]
    return sparse.csr_array((whole.data, whole.indices, whole.indptr), shape=(whole.shape[0], width))
