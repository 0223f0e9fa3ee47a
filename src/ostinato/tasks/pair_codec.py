"""Pairs of texts ↔ numbers: words, n-grams of their characters, a score, and a label if there is one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from ostinato.analysis import Analyzer, tokens_for
from ostinato.bundle import read_json
from ostinato.codecs.vocabulary import Vocabulary
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features.subwords import word_buckets
from ostinato.files import write_text
from ostinato.settings import Settings

NO_LABEL, UNKNOWN_LABEL = -1, -2


class Pair(NamedTuple):
    """Two texts, how alike they are, and what the one is to the other."""

    first: str
    second: str
    score: float | None = None
    label: str | None = None


class PairTextSettings(Settings):
    """What words are, and on which scale scores stand."""

    lowercase: bool = Field(True, description="fold to lower case")
    tokens: Literal["auto", "words", "characters", "chinese"] = Field(
        "auto", description="what a token is; chinese: words by a dictionary (the extra zh); auto: as it is needed"
    )
    min_count: int = Field(1, ge=1, description="rarer words are unknown")
    max_size: int | None = Field(None, ge=2, description="of the vocabulary: the most frequent words")
    char_ngrams: tuple[int, int] | None = Field(
        (3, 5), description="fewest and most characters of the n-grams that are part of a word's vector (none: off)"
    )
    buckets: int = Field(5000, ge=1, description="of n-grams")
    score_range: tuple[float, float] | None = Field(
        None, description="the lowest and the highest score [default: those of the training data]"
    )


class PairCodec:
    """Words of texts by id, and scores from 0 to 1.

    Args:
        settings: what words are.
        vocabulary: of words.
        low: the lowest score.
        high: the highest.
        labels: by id; none if pairs have none.

    >>> pairs = [Pair("a dog", "a cat", 2.0), Pair("a dog", "dogs", 4.5)]
    >>> codec = PairCodec.learn(pairs, PairTextSettings(tokens="words"))
    >>> codec.low, codec.high, codec.share(3.25), codec.score(0.5)
    (2.0, 4.5, 0.5, 3.25)
    """

    def __init__(
        self, settings: PairTextSettings, vocabulary: Vocabulary, low: float, high: float, labels: tuple[str, ...] = ()
    ) -> None:
        self.settings, self.vocabulary, self.low, self.high, self.labels = settings, vocabulary, low, high, labels
        self.analyzer = Analyzer(tokens=settings.tokens, lowercase=settings.lowercase)
        self._label_ids = {label: at for at, label in enumerate(labels)}

    @classmethod
    def learn(cls, pairs: Iterable[Pair], settings: PairTextSettings) -> Self:
        """The codec of pairs.

        Raises:
            DataError: if there are no words, or all scores are one.
        """
        texts: Counter[str] = Counter()
        low, high = np.inf, -np.inf
        labels: set[str] = set()
        for pair in pairs:
            texts.update((pair.first, pair.second))
            if pair.score is not None:
                low, high = min(low, pair.score), max(high, pair.score)
            if pair.label is not None:
                labels.add(pair.label)
        if settings.tokens == "auto":
            settings = settings.model_copy(update={"tokens": tokens_for(texts, lambda _: None)})
        if settings.score_range is not None:
            if low < settings.score_range[0] or high > settings.score_range[1]:
                raise DataError(f"score_range = {settings.score_range}: the scores go from {low:g} to {high:g}")
            low, high = settings.score_range
        if not low < high:
            raise DataError(
                f"all scores are {low:g}: there is nothing to learn" if low == high else "there are no scores"
            )
        analyzer = Analyzer(tokens=settings.tokens, lowercase=settings.lowercase)
        counts: Counter[str] = Counter()
        for text, times in texts.items():
            for token in analyzer(text):
                counts[token] += times
        vocabulary = Vocabulary.of_counts(counts, settings.min_count, settings.max_size)
        return cls(settings, vocabulary, float(low), float(high), tuple(sorted(labels)))

    def share(self, score: float) -> float:
        """A score → where it stands between the lowest and the highest, 0 to 1."""
        return min(1.0, max(0.0, (score - self.low) / (self.high - self.low)))

    def score(self, share: Any) -> Any:
        """The other way round."""
        return self.low + (self.high - self.low) * share

    def label_id(self, label: str | None) -> int:
        """The id of a label; -1 for none, -2 for one that was not learned, which no answer meets."""
        return NO_LABEL if label is None else self._label_ids.get(label, UNKNOWN_LABEL)

    def text_row(self, text: str) -> dict[str, Any]:
        """The words of a text, and for each the buckets of its n-grams.

        Returns:
            words, int32 [words]; buckets of all on end, int32; counts, int32 [words].
        """
        tokens = self.analyzer(text)
        size = self.settings.char_ngrams
        grams = [word_buckets(token, *size, self.settings.buckets) if size else () for token in tokens]
        flat = np.array([bucket for each in grams for bucket in each], np.int32)
        return {
            "words": self.vocabulary.ids(tokens),
            "buckets": flat,
            "counts": np.array([len(each) for each in grams], np.int32),
        }

    def save(self, folder: Path) -> None:
        """Write it as two files."""
        self.vocabulary.save(folder / "vocabulary.json")
        about = {"settings": self.settings.plain(), "low": self.low, "high": self.high, "labels": self.labels}
        write_text(folder / "pairs.json", json.dumps(about, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about: dict[str, Any] = read_json(folder / "pairs.json")
        try:
            settings = PairTextSettings.checked(about["settings"])
            vocabulary = Vocabulary.load(folder / "vocabulary.json")
            return cls(settings, vocabulary, float(about["low"]), float(about["high"]), tuple(about["labels"]))
        except (KeyError, TypeError, SettingsError) as error:
            raise BundleError(f"{folder / 'pairs.json'}: damaged: {error}") from None
