"""BM25: which documents a query's words stand in often, though few documents hold them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from ostinato.analysis import Analyzer
from ostinato.bundle import writing_bundle
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features.retrieval.hits import Hit
from ostinato.features.retrieval.index import LOCK, Document, Index, IndexWriter
from ostinato.features.retrieval.segment import Segment, hashes_of
from ostinato.features.retrieval.where import Condition, Where, conditions, must_be_known
from ostinato.files import locked
from ostinato.settings import Settings

# n documents, of which df hold the word
IDF: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
    "robertson": lambda n, df: np.log((n - df + 0.5) / (df + 0.5)),
    "lucene": lambda n, df: np.log(1 + (n - df + 0.5) / (df + 0.5)),
    "atire": lambda n, df: np.log(n / df),
    "bm25+": lambda n, df: np.log((n + 1) / df),
    "bm25l": lambda n, df: np.log((n + 1) / (df + 0.5)),
}

# the word stands tf times in a document whose length relative to the mean is worth norm = 1 − b + b · length / mean
TF: dict[str, Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]] = {
    "robertson": lambda tf, norm, k1, _: tf / (tf + k1 * norm),
    "lucene": lambda tf, norm, k1, _: tf / (tf + k1 * norm),
    "atire": lambda tf, norm, k1, _: (k1 + 1) * tf / (tf + k1 * norm),
    "bm25+": lambda tf, norm, k1, delta: (k1 + 1) * tf / (tf + k1 * norm) + delta,
    "bm25l": lambda tf, norm, k1, delta: (k1 + 1) * (tf / norm + delta) / (k1 + tf / norm + delta),
}
_DELTA = {"bm25+": 1.0, "bm25l": 0.5}
_BLOCK = 64  # scores of which only the highest is looked at first


class BM25Settings(Settings):
    """How documents are ranked."""

    k1: float = Field(1.5, ge=0, allow_inf_nan=False, description="how much it counts that a word stands there again")
    b: float = Field(0.75, ge=0, le=1, description="how much long documents are held back")
    idf: Literal["robertson", "lucene", "atire", "bm25+", "bm25l"] = Field("lucene", description="the formula")
    delta: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="the least that a word is worth [default: bm25+ 1, bm25l 0.5]"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.delta is not None and self.idf not in _DELTA:
            raise ValueError(f"delta = {self.delta}: only bm25+ and bm25l have it, and idf is {self.idf}")
        return self


class Changes(NamedTuple):
    """What an addition came to."""

    added: int  # with those that replace others
    replaced: int = 0
    unchanged: int = 0  # as they were in the index already


class BM25:
    """A search engine: score(document, query) = Σ over the query's words in the document of idf(word) · tf(word).

    N documents have L words each in the mean; df of them hold the word, and this one, of length l, holds it f times.
    With K = k1 · (1 − b + b · l / L) and c = f / (1 − b + b · l / L):

    | idf | idf(word) | tf(word) | |
    |---|---|---|---|
    | `robertson` | log((N − df + .5) / (df + .5)) | f / (f + K) | below 0 for what more than half of them hold |
    | `lucene` | log(1 + (N − df + .5) / (df + .5)) | f / (f + K) | never below 0 |
    | `atire` | log(N / df) | (k1 + 1) · f / (f + K) | 0 for what all of them hold |
    | `bm25+` | log((N + 1) / df) | (k1 + 1) · f / (f + K) + delta | Lv & Zhai, CIKM 2011 |
    | `bm25l` | log((N + 1) / (df + .5)) | (k1 + 1) · (c + delta) / (k1 + c + delta) | Lv & Zhai, SIGIR 2011 |

    The names are those of Kamphuis et al. 2020, table 1. A word that stands in the query twice counts twice.
    The factor k1 + 1, which some give to the first two as well, changes no order.

    Documents are texts, or mappings with a `text`, perhaps an `id`, and metadata. They stay on the disk, in a folder
    that is mapped into memory: nothing but a manifest is read to open it. What is added becomes a segment of its own,
    and segments become larger ones now and then; N, df and L always are those of all documents, so that the scores
    are the same to the last bit as if all had been indexed at once. A document takes the place of one with its id.

    Args:
        analyzer: text to words; `Analyzer()` if None.
        k1, b, idf, delta: as above; delta is 1 with `bm25+` and 0.5 with `bm25l` if None.

    Raises:
        SettingsError: for a setting that is unknown or out of range.

    >>> docs = ["猫 喜欢 鱼", "狗 不 喜欢 鱼", "猫 喜欢 睡觉", "鸟 会 飞", "the cat likes fish"]
    >>> search = BM25(k1=1.5, b=0.75, idf="robertson").index(docs)
    >>> [(hit.rank, hit.id, hit.highlighted()) for hit in search.search("猫 fish", top=3)]
    [(1, 4, 'the cat likes **fish**'), (2, 0, '**猫** 喜欢 鱼'), (3, 2, '**猫** 喜欢 睡觉')]
    """

    def __init__(
        self,
        analyzer: Analyzer | None = None,
        k1: float = 1.5,
        b: float = 0.75,
        idf: str = "lucene",
        delta: float | None = None,
    ) -> None:
        self.settings = BM25Settings.checked({"k1": k1, "b": b, "idf": idf, "delta": delta})
        self.analyzer = Analyzer() if analyzer is None else analyzer
        if not isinstance(self.analyzer, Analyzer):
            raise SettingsError(f"analyzer: expected an ostinato.Analyzer, found {type(analyzer).__name__}")
        self._opened: Index | None = None

    def __len__(self) -> int:
        return 0 if self._opened is None else self._opened.documents

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.plain().items() if value is not None)
        return f"BM25({settings}), {len(self):,} documents"

    # what is searched

    def index(self, documents: Iterable[Any], path: str | Path | None = None, overwrite: bool = False) -> Self:
        """Begin an index with some documents, which are read once, one at a time.

        Args:
            documents: texts, or mappings with the key `text`; `id` is its id if it is there, all else is metadata.
            path: the folder to make; if None, a temporary one, which goes when this object does.
            overwrite: replace what an earlier call made there.

        Raises:
            DataError: if there are none, one is no document, two have the same id, or there is no word in them.
            BundleError: if something stands at `path`.
        """
        folder = _temporary(self) if path is None else Path(path)
        with writing_bundle(folder, overwrite) as new:
            self._write(new, documents)
        self._opened = Index.open(folder)
        return self

    def add(self, documents: Iterable[Any]) -> Changes:
        """Add documents to the index. If anything fails, or the process is killed, it is as it was before.

        A document takes the place of one with the same id; one that is the same is passed over.

        Raises:
            DataError: as `index`; also if `index` has not been called.
            BusyError: if another process is writing it.
        """
        return self._changed(documents)

    def merge(self, other: BM25) -> Changes:
        """Add the documents of another index: two halves of a corpus are as the whole at once.

        Raises:
            SettingsError: if the two would not take the same text for the same words, or are the same.
        """
        ours, theirs = self._indexed(), other._indexed()
        if self.analyzer != other.analyzer:
            raise SettingsError(f"cannot merge: analyzer is {self.analyzer!r} here and {other.analyzer!r} there")
        if ours.folder.resolve() == theirs.folder.resolve():
            raise SettingsError(f"cannot merge: both are {ours.folder}")
        return self._changed(theirs)

    def _changed(self, what: Iterable[Any] | Index) -> Changes:
        folder = self._indexed().folder
        with locked(folder / LOCK, f"{folder} is being written"):
            changes = self._write(folder, what)
        self._opened = Index.open(folder)
        return changes

    def _write(self, folder: Path, what: Iterable[Any] | Index) -> Changes:
        if isinstance(what, str | bytes | dict | Document):
            raise DataError(f"expected many documents, such as a list of texts, found one {type(what).__name__}")
        writer = IndexWriter(folder, self.settings.plain(), self.analyzer)
        try:
            if isinstance(what, Index):
                writer.add_index(what)
            else:
                for number, document in enumerate(what):
                    try:
                        writer.add(document)
                    except DataError as error:
                        raise DataError(f"{getattr(document, 'where', '') or f'document {number}'}: {error}") from None
            writer.commit()
        except BaseException:
            writer.close()
            raise
        return Changes(writer.added, writer.replaced, writer.unchanged)

    def _indexed(self) -> Index:
        if self._opened is None:
            raise DataError("there is no index yet: call index(documents), or BM25.load(path)")
        return self._opened

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the index to another folder, as one segment.

        Raises:
            BundleError: if something stands there.
        """
        with writing_bundle(Path(path), overwrite) as new:
            self._write(new, self._indexed())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> Self:
        """Open the folder of an index.

        Args:
            path: the folder.
            settings: k1, b, idf or delta, if they are to be other than when it was made. Scores are computed when
                somebody searches, so that an index serves every formula.

        Raises:
            BundleError: if it is missing, damaged, no index, or of another version.
            MissingExtra: if its analyzer needs a package that is not installed.
        """
        opened = Index.open(Path(path))
        kept = dict(opened.manifest["settings"])
        if "idf" in settings:
            kept.pop("delta", None)
        try:
            BM25Settings.checked(kept)
        except SettingsError as error:
            raise BundleError(f"{opened.folder}: damaged: {error}") from None
        made = cls(opened.analyzer(), **BM25Settings.checked(kept | settings).plain())
        made._opened = opened
        return made

    # searching

    def search(self, query: str, top: int = 10, where: Where | None = None) -> list[Hit]:
        """The documents that hold a word of the query, the best first; equal ones in the order in which they came.

        Args:
            query: a text.
            top: how many at most.
            where: only documents for whose metadata this holds: `year>=2020`, with =, !=, <, <=, >, >=; several of
                them, which all have to hold; or a mapping of fields to values. Numbers are compared as numbers, all
                else as text; of a list one value suffices. N, df and L stay those of all documents.

        Raises:
            DataError: if the query has no words, or none of them stands in the index.
            SettingsError: for a condition that is none, or on a field that no document has.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise SettingsError(f"top = {top!r}: expected a whole number from 1 on")
        index, words = self._indexed(), Counter(self.analyzer(query))
        if not words:
            raise DataError(f"no word is left of the query {query!r}: all are stop words, or there is none")
        wanted = conditions(where)
        if wanted:
            must_be_known(wanted, [segment.table for segment in index.segments])
        found = self._ranked(index, words, top, wanted)
        return [
            Hit(rank, score, index, segment, number, words.keys(), self.analyzer)
            for rank, (score, segment, number) in enumerate(found, 1)
        ]

    def document_frequency(self, query: str) -> dict[str, int]:
        """For each word of a query in how many documents it stands."""
        words = list(dict.fromkeys(self.analyzer(query)))
        counts = [counts for _, _, counts in _postings(self._indexed(), words)] if words else []
        return dict(zip(words, np.sum(counts, axis=0).tolist(), strict=True)) if words else {}

    def _ranked(
        self, index: Index, words: Counter[str], top: int, wanted: list[Condition]
    ) -> list[tuple[float, int, int]]:
        """Score, segment and number of the best documents."""
        postings = _postings(index, words)
        df = np.sum([counts for _, _, counts in postings], axis=0)
        if not df.any():
            raise DataError(f"none of the query's words stands in the index: {', '.join(words)}")
        n, mean = index.documents, index.words / index.documents
        s = self.settings
        delta = _DELTA.get(s.idf, 0.0) if s.delta is None else s.delta
        # a word that stands nowhere has no postings, whatever its idf
        weights = IDF[s.idf](n, np.maximum(df, 1)) * np.fromiter(words.values(), np.int64, len(words))
        best: list[tuple[float, int, int]] = []
        for at, (segment, (documents, tf, counts)) in enumerate(zip(index.segments, postings, strict=True)):
            if len(documents):
                norm = 1 - s.b + s.b / mean * segment.lengths[documents]
                parts = np.repeat(weights, counts) * TF[s.idf](tf, norm, s.k1, delta)
                scores, none = np.bincount(documents, parts, len(segment)), 0.0
                if wanted or weights.min() <= 0:  # else a document has a score above 0 just if it holds a word
                    scores, none = np.where(_candidates(segment, documents, wanted), scores, -np.inf), -np.inf
                numbers = highest(scores, top, none)
                best += zip(scores[numbers].tolist(), [at] * len(numbers), numbers.tolist(), strict=True)
        return sorted(best, key=lambda found: (-found[0], *found[1:]))[:top]


def _postings(index: Index, words: Iterable[str]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    keys = [word.encode("utf-8", "surrogatepass") for word in words]
    hashes = hashes_of(keys)
    return [segment.postings(segment.terms.find(keys, hashes)) for segment in index.segments]


def _candidates(segment: Segment, documents: np.ndarray, wanted: list[Condition]) -> np.ndarray:
    """Which documents hold a word, whatever it is worth, and fit the conditions."""
    held = np.zeros(len(segment), bool)
    held[documents] = True
    for condition in wanted:
        held &= segment.table.fits(condition, len(segment))
    return held


def highest(scores: np.ndarray, top: int, none: float = -np.inf) -> np.ndarray:
    """The places of the highest scores, the highest first, equal ones in order; `none` and what is below is no score.

    >>> highest(np.array([1.0, 3.0, 0.0, 3.0]), 3, 0.0).tolist()
    [1, 3, 0]
    """
    least = none
    if top <= len(scores) // _BLOCK:
        # so many blocks have a score that is no lower: few scores are left to sort
        peaks = scores[: len(scores) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).max(axis=1)
        least = np.partition(peaks, -top)[-top]
    places = np.flatnonzero(scores >= least if least > none else scores > none)
    if len(places) > _BLOCK * top:
        least = np.partition(scores[places], -top)[-top]
        above, equal = places[scores[places] > least], places[scores[places] == least]
        places = np.sort(np.concatenate([above, equal[: top - len(above)]]))
    return places[np.argsort(-scores[places], kind="stable")[:top]]


def _temporary(owner: BM25) -> Path:
    """A folder that goes when its owner does."""
    parent = Path(tempfile.mkdtemp(prefix="ostinato-"))
    weakref.finalize(owner, _remove, parent, os.getpid())
    return parent / "index"


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not in a fork
        shutil.rmtree(folder, ignore_errors=True)
