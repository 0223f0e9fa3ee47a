"""Training of word vectors: a corpus read once and kept as numbers, over which gensim goes as often as it is told."""

from __future__ import annotations

import logging
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
from pydantic import Field, model_validator

from ostinato.errors import DataError, MissingExtra
from ostinato.features.subwords import HASHES, Subwords, rows_of_words
from ostinato.settings import Settings

_LONGEST = 10_000  # words of a sentence; gensim drops what comes after them without a word
_WRITTEN_AT_ONCE = 1 << 16  # words
_END = np.uint32(0)  # stands after each sentence; words are numbered from 1
_RARE, _STOP = -1, -2


class VectorSettings(Settings):
    """How word vectors are trained."""

    method: Literal["word2vec", "fasttext"] = Field(
        "word2vec", description="a vector a word; fasttext: and one for each n-gram of its characters"
    )
    architecture: Literal["skipgram", "cbow"] = Field(
        "skipgram", description="a word predicts each one around it; cbow: the mean of those around it predicts a word"
    )
    loss: Literal["negative", "hierarchical"] = Field(
        "negative", description="negative sampling, or hierarchical softmax"
    )
    vector_size: int = Field(100, ge=1, description="features of a word")
    window: int = Field(5, ge=1, description="most words to either side; how many is drawn anew for each word")
    epochs: int = Field(5, ge=1, description="how often the corpus is gone through")
    min_count: int = Field(5, ge=1, description="leave out rarer words")
    max_words: int | None = Field(None, ge=2, description="keep the most frequent words")
    negatives: int = Field(5, ge=1, description="negative sampling: words drawn against each true one")
    negative_exponent: float = Field(0.75, description="they are drawn by their counts to this power")
    sample: float = Field(
        1e-4, ge=0, lt=1, description="words more frequent than this share are passed over at random; 0: none is"
    )
    learning_rate: float = Field(0.05, gt=0, description="at first; it falls in a line to nearly zero")
    subwords: tuple[int, int] = Field(
        (3, 6), description="fasttext: fewest and most characters of an n-gram, with the < and > at a word's ends"
    )
    buckets: int | None = Field(
        None,
        ge=1,
        le=2**32,
        description="fasttext: hash n-grams to so many [default: to one for each different n-gram]",
    )
    threads: int = Field(1, ge=1, description="with more it is faster, and no longer the same every time")
    seed: int = Field(0, ge=0, lt=2**32, description="of all that is drawn at random")

    @model_validator(mode="after")
    def _agree(self) -> VectorSettings:
        if not 1 <= self.subwords[0] <= self.subwords[1]:
            raise ValueError(f"subwords = {self.subwords}: fewest and most, such as (3, 6)")
        return self


class Progress(NamedTuple):
    """How far training is."""

    words: int
    """Read so far, over all epochs."""
    total: int
    seconds: float


class Trained(NamedTuple):
    """What training gives."""

    words: list[str]
    """By falling count, equal counts by their text."""
    counts: np.ndarray
    """How often each occurs, int64 [words]."""
    vectors: np.ndarray
    """float32 [words, features]; with fastText the mean of a word's own vector and those of its n-grams."""
    subwords: Subwords | None
    read: int
    """Words of the corpus, rare ones included."""
    seconds: float
    """Of training, without reading."""


def train(
    sentences: Iterable[Sequence[str]], settings: VectorSettings, report: Callable[[Progress], None] | None = None
) -> Trained:
    """Train word vectors on sentences, which are read once, whatever the number of epochs.

    Args:
        sentences: words each; of one longer than 10,000 words, each 10,000 are one.
        settings: how.
        report: called from time to time, maybe by another thread.

    Raises:
        DataError: if fewer than two words are left.
        MissingExtra: without gensim.
    """
    gensim = _gensim()
    with tempfile.TemporaryFile() as file:
        spooled = _spool(sentences, cast(BinaryIO, file), settings)
        counts, fasttext = spooled.counts, settings.method == "fasttext"
        common: dict[str, Any] = {
            "vector_size": settings.vector_size, "window": settings.window, "min_count": 1,
            "alpha": settings.learning_rate, "sample": settings.sample,
            "ns_exponent": settings.negative_exponent, "sg": int(settings.architecture == "skipgram"),
            "hs": int(settings.loss == "hierarchical"),
            "negative": settings.negatives if settings.loss == "negative" else 0,
            "epochs": settings.epochs, "seed": settings.seed, "workers": settings.threads,
            "sorted_vocab": 0,  # they are sorted; gensim would shuffle words of equal count
            # a job has one learning rate: in a small corpus jobs are small, so that the rate falls in many steps
            "batch_words": max(100, min(10_000, spooled.total // (20 * settings.threads))),
        }  # fmt: skip
        fewest, most = settings.subwords
        held, rows = np.zeros(0, np.int64), []
        if fasttext:
            held, rows = rows_of_words(spooled.words, fewest, most, settings.buckets or HASHES)
            model = gensim.FastText(bucket=max(1, len(held)), min_n=fewest, max_n=most, **common)
        else:
            model = gensim.Word2Vec(**common)
        with _quiet():
            # to gensim a word is its number: the text of a word matters for its n-grams alone, and they are ours
            model.build_vocab_from_freq(dict(enumerate(counts.tolist())), corpus_count=len(spooled.words))
            if fasttext:
                model.wv.buckets_word = rows
            spooled.begin(settings.epochs, report)
            start = time.monotonic()
            model.train(spooled, total_words=spooled.total, epochs=settings.epochs)
        seconds = time.monotonic() - start
        if spooled.failure is not None:
            raise spooled.failure
        vectors = np.ascontiguousarray(model.wv.vectors, np.float32)
        subwords = None
        if fasttext:
            subwords = Subwords(
                fewest, most, settings.buckets or HASHES, held, np.asarray(model.wv.vectors_ngrams)[: len(held)]
            )
        return Trained(spooled.words, counts, vectors, subwords, spooled.read, seconds)


def _gensim() -> Any:
    try:
        from gensim import models
    except ImportError:
        raise MissingExtra("gensim", "vectors", "training word vectors (using them does not)") from None
    return models


@contextmanager
def _quiet() -> Iterator[None]:
    """Without gensim's advice on settings that are not the user's."""
    logger = logging.getLogger("gensim")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Spooled:
    """A corpus as the numbers of its words in a file, iterated as often as wanted."""

    def __init__(self, file: BinaryIO, words: list[str], counts: np.ndarray, rank: np.ndarray, read: int) -> None:
        self.words, self.counts, self.read = words, counts, read
        self.total = int(counts.sum())
        self.failure: Exception | None = None
        self._file, self._rank = file, rank
        self._done, self._epochs, self._since = 0, 1, 0.0
        self._report: Callable[[Progress], None] | None = None

    def begin(self, epochs: int, report: Callable[[Progress], None] | None) -> None:
        """Count from now on."""
        self._done, self._epochs, self._since, self._report = 0, epochs, time.monotonic(), report

    def __iter__(self) -> Iterator[list[int]]:
        try:
            yield from self._sentences()
        except Exception as error:  # gensim would wait for ever for a thread that raised
            self.failure = error

    def _sentences(self) -> Iterator[list[int]]:
        self._file.seek(0)
        rest: list[int] = []
        while data := self._file.read(4 * _WRITTEN_AT_ONCE):
            numbers = self._rank[np.frombuffer(data, np.uint32)]
            numbers = numbers[numbers != _RARE]
            ends = np.flatnonzero(numbers == _STOP).tolist()
            block = numbers.tolist()
            for start, end in pairwise([-1, *ends]):
                yield from _pieces(rest + block[start + 1 : end])
                rest = []
            rest += block[ends[-1] + 1 if ends else 0 :]
            self._done += len(block) - len(ends)
            if self._report is not None:
                self._report(Progress(self._done, self.total * self._epochs, time.monotonic() - self._since))


def _pieces(sentence: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(sentence), _LONGEST):
        yield sentence[start : start + _LONGEST]


def _spool(sentences: Iterable[Sequence[str]], file: BinaryIO, settings: VectorSettings) -> _Spooled:
    """Write a corpus as numbers, four bytes a word; in memory are the different words and their counts."""
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers) + 1)
    counts, read, held = np.zeros(0, np.int64), 0, array("I")

    def flush() -> np.ndarray:
        found = np.frombuffer(held, np.uint32)
        file.write(found.tobytes())
        new = np.bincount(found, minlength=max(len(counts), len(numbers) + 1))
        new[: len(counts)] += counts
        return new

    for sentence in sentences:
        if not sentence:
            continue
        held.extend(map(numbers.__getitem__, sentence))
        held.append(int(_END))
        read += len(sentence)
        if len(held) >= _WRITTEN_AT_ONCE:
            counts = flush()
            held = array("I")
    counts = flush()
    file.flush()
    if not read:
        raise DataError("the corpus is empty, or holds stop words alone: there are no words to learn vectors of")
    texts = list(numbers)
    ordered = sorted((-int(n), text) for n, text in zip(counts[1:], texts, strict=True) if n >= settings.min_count)
    words = [text for _, text in ordered[: settings.max_words]]
    if len(words) < 2:
        raise DataError(
            f"{len(words) or 'none'} of {len(texts):,} different words occur{'s' * (len(words) == 1)} at least "
            f"min_count = {settings.min_count} times, but two are needed: give more text, or a smaller min_count"
        )
    rank = np.full(len(texts) + 1, _RARE, np.int64)
    rank[_END] = _STOP
    rank[[numbers[word] for word in words]] = np.arange(len(words))
    kept = np.array([-n for n, _ in ordered[: len(words)]], np.int64)
    return _Spooled(file, words, kept, rank, read)
