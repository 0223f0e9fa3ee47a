"""Bags of n-grams, of words or of characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from ostinato.analysis import Analyzer
from ostinato.errors import SettingsError
from ostinato.features.counts import BagOfWords, TermSettings


class NGramSettings(TermSettings):
    """What an n-gram is."""

    n: int | tuple[int, int] = Field(2, description="how many pieces it has, or fewest and most")
    unit: Literal["words", "characters", "subwords"] = Field(
        "words", description="its pieces: words; characters across words; characters of one word"
    )
    binary: bool = Field(False, description="1 for every n-gram that is there, however often")

    @field_validator("n", mode="before")
    @classmethod
    def _one_or_two(cls, n: Any) -> Any:
        if isinstance(n, str):  # of the command line
            n = tuple(int(part) for part in n.split(",")) if "," in n else int(n)
        return n


class NGrams(BagOfWords):
    """Counts of n-grams: BagOfWords whose terms are runs of n words or characters.

    Args:
        n: how many words or characters, or fewest and most.
        unit: `words`; `characters` of the text, blanks left out, whatever is a word; `subwords`: characters within a
            word, whose ends are marked `<` and `>`.
        analyzer: text to words, without n-grams of its own; `Analyzer()` if None.
        vocabulary, binary, min_df, max_df, max_features, hashed: as of BagOfWords.

    >>> grams = NGrams().fit(["猫 喜欢 吃 鱼"])
    >>> sorted(grams.vocabulary_)
    ['吃 鱼', '喜欢 吃', '猫 喜欢']
    >>> sorted(NGrams(n=3, unit="subwords").fit(["猫", "cats"]).vocabulary_)
    ['<ca', '<猫>', 'ats', 'cat', 'ts>']
    """

    kind = "n-grams"
    Settings = NGramSettings

    def __init__(
        self,
        n: int | tuple[int, int] = 2,
        unit: str = "words",
        analyzer: Analyzer | None = None,
        vocabulary: Sequence[str] | Mapping[str, int] | None = None,
        binary: bool = False,
        min_df: float = 1,
        max_df: float = 1.0,
        max_features: int | None = None,
        hashed: int | None = None,
    ) -> None:
        self.n = n
        self.unit = unit
        self.analyzer = analyzer
        self.vocabulary = vocabulary
        self.binary = binary
        self.min_df = min_df
        self.max_df = max_df
        self.max_features = max_features
        self.hashed = hashed

    def _changes(self, analyzer: Analyzer) -> dict[str, Any]:
        if analyzer.ngram_range != (1, 1) or analyzer.char_ngrams is not None:
            raise SettingsError("n and unit say what an n-gram is: leave ngram_range and char_ngrams to them")
        settings = self.settings()
        sizes = (settings.n, settings.n) if isinstance(settings.n, int) else settings.n
        if settings.unit == "subwords":
            return {"char_ngrams": sizes}
        return {"ngram_range": sizes} | ({"tokens": "characters"} if settings.unit == "characters" else {})
