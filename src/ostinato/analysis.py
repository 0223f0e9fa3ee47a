"""Analysis: a text to its tokens, the same for counts, vectors, search and codecs."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ostinato.errors import DataError, MissingExtra, SettingsError, nearest
from ostinato.settings import Settings
from ostinato.stop_words import STOP_WORDS

RULES = 1  # goes up when the same settings give other tokens than before; a part of the fingerprint


def _marks() -> str:
    r"""What modifies the character before it: combining marks, vowel signs, joiners, skin colours. None is in `\w`."""
    # without Han, Hangul syllables and private use, which are long and have none
    points = (*range(0x300, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x1F000), *range(0xE0100, 0xE01F0))
    marks = [point for point in points if unicodedata.category(chr(point)).startswith("M")]
    starts = [point for point, before in zip(marks, [0, *marks], strict=False) if point != before + 1]
    ends = [point for point, after in zip(marks, [*marks[1:], 0], strict=True) if after != point + 1]
    return "\u200c\u200d\U0001f3fb-\U0001f3ff" + "".join(
        f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True)
    )


# written without blanks: without a dictionary each character is a word of its own
HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
MARKS = _marks()
_LETTER = rf"[^\W{HAN}{KANA}]"
_SPACED = rf"{_LETTER}+(?:[{MARKS}]+{_LETTER}*|['’]{_LETTER}+)*"
WORD = rf"[{HAN}{KANA}][{MARKS}]*|{_SPACED}"
"""A word as a pattern, for all of the package: letters, digits and their marks, with apostrophes between; every Han
character and every kana."""

_PATTERNS = {
    "words": re.compile(WORD),
    "whitespace": re.compile(r"\S+"),
    "characters": re.compile(rf"\S[{MARKS}]*"),
    "chinese": re.compile(rf"[{HAN}]+|[{KANA}][{MARKS}]*|{_SPACED}"),
}
_ASCII_WORD = re.compile(r"\w+(?:'\w+)*", re.ASCII)  # the same words, found twice as fast where all is ASCII
_HAN = re.compile(f"[{HAN}]")


def has_dictionary() -> bool:
    """Whether Chinese words can be found here: rjieba, of the extra `zh`."""
    return find_spec("rjieba") is not None


def tokens_for(texts: Iterable[str], tell: Callable[[str], None]) -> str:
    """What `auto` is for some texts: `words` where none holds Chinese, which is the same but needs no dictionary.

    >>> tokens_for(["no Chinese"], print)
    'words'
    """
    if not any(map(_HAN.search, texts)):
        return "words"
    if not has_dictionary():
        tell("each Chinese character is a word, since rjieba is not installed (pip install 'ostinato[zh]')")
        return "words"
    return "chinese"


def chinese_words(text: str) -> list[str]:
    """Words of a text by rjieba's dictionary; joined they are the text.

    Raises:
        MissingExtra: without rjieba.
    """
    try:
        import rjieba
    except ImportError:
        raise MissingExtra("rjieba", "zh", "finding Chinese words") from None
    return rjieba.cut(text)


class Span(NamedTuple):
    """A token, and where it stands in the text as it was given: `text[start:end]`."""

    token: str
    start: int
    end: int


class AnalyzerSettings(Settings):
    """What a token is."""

    normalization: Literal["nfkc", "nfc", "none"] = Field(
        "nfkc", description="Unicode form; nfkc makes full-width letters and ligatures plain; both make ’ an apostrophe"
    )
    lowercase: bool = Field(True, description="fold to lower case")
    tokens: Literal["auto", "words", "whitespace", "characters", "chinese"] = Field(
        "auto", description="what a token is; auto: chinese if rjieba is installed, else words"
    )
    ngram_range: tuple[int, int] = Field((1, 1), description="fewest and most tokens of an n-gram")
    char_ngrams: tuple[int, int] | None = Field(
        None, description="instead of words, their n-grams of so many characters, < and > standing at a word's ends"
    )
    stop_words: str | tuple[str, ...] | None = Field(
        None, description=f"tokens to leave out: {', '.join(STOP_WORDS)}, or words (a,b,c, or a file of them)"
    )
    stem: Literal["english"] | None = Field(None, description="reduce words to stems, by Snowball (the extra stem)")

    @field_validator("stop_words", mode="before")
    @classmethod
    def _know(cls, words: Any) -> Any:
        if isinstance(words, str) and words not in STOP_WORDS:
            raise ValueError(f"one of {', '.join(STOP_WORDS)}, or a list of words{nearest(words, STOP_WORDS)}")
        if isinstance(words, list | tuple | set | frozenset):
            if wrong := [word for word in words if not isinstance(word, str)]:
                raise ValueError(f"expected words, found {type(wrong[0]).__name__}")
            return tuple(sorted(set(words)))
        return words

    @field_validator("stem")
    @classmethod
    def _can_stem(cls, stem: str | None) -> str | None:
        if stem is not None and find_spec("Stemmer") is None:
            raise MissingExtra("PyStemmer", "stem", f"stem = {stem!r}")
        return stem

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name in ("ngram_range", "char_ngrams"):
            if (found := getattr(self, name)) and not 1 <= found[0] <= found[1]:
                raise ValueError(f"{name} = {found}: fewest and most, such as (1, 2)")
        if self.char_ngrams and self.ngram_range != (1, 1):
            raise ValueError("ngram_range: is of words, and char_ngrams puts n-grams of characters in their place")
        return self


class Analyzer(AnalyzerSettings):
    """Text to tokens: normalisation, case, words, stop words, stems, n-grams, in this order.

    Words are runs of letters and digits with their marks (don't, café, हिन्दी, B2); other marks and signs separate
    them. Of text without blanks each Han character and kana is a word, or with `tokens="chinese"` the words of a
    dictionary; English words in Chinese text are found like any others. Words of one character are words.

    Args:
        settings: by name, see `AnalyzerSettings`.

    Raises:
        SettingsError: for a setting that is unknown, with the nearest known one, or wrong.
        MissingExtra: if Chinese words or stems are wanted and their package is not installed.

    >>> Analyzer(tokens="words")("I don't like ＮＬＰ!")
    ['i', "don't", 'like', 'nlp']
    >>> Analyzer(tokens="chinese")("猫喜欢Python，我不喜欢。")
    ['猫', '喜欢', 'python', '我', '不', '喜欢']
    >>> Analyzer(tokens="whitespace", ngram_range=(2, 2))("猫 喜欢 吃 鱼")
    ['猫 喜欢', '喜欢 吃', '吃 鱼']
    >>> Analyzer(char_ngrams=(3, 3))("where")
    ['<wh', 'whe', 'her', 'ere', 're>']
    """

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise SettingsError("; ".join(self._explain(problem) for problem in error.errors())) from None

    @field_validator("tokens")
    @classmethod
    def _settle(cls, tokens: str) -> str:
        if tokens == "auto":  # settled now, so that what is saved means the same on a machine with other packages
            return "chinese" if has_dictionary() else "words"
        if tokens == "chinese" and not has_dictionary():
            raise MissingExtra("rjieba", "zh", "tokens = 'chinese' (words takes single characters instead)")
        return tokens

    def __call__(self, text: str) -> list[str]:
        """The tokens of a text.

        Raises:
            DataError: if it is no text.
        """
        text = self.form(_text(text))
        of_words = self.tokens in ("words", "chinese")
        words = (_ASCII_WORD if of_words and text.isascii() else _PATTERNS[self.tokens]).findall(text)
        if self.tokens == "chinese" and _HAN.search(text):
            words = [part for word in words for part in (chinese_words(word) if _HAN.match(word) else (word,))]
        if self.stop_words is not None:
            stop = self._stop_set()
            words = [word for word in words if word not in stop]
        if self.stem:
            words = [_stem(word) for word in words]
        if self.char_ngrams:
            return [gram for word in words for gram in _char_ngrams(word, *self.char_ngrams)]
        if self.ngram_range == (1, 1):
            return words
        grams: list[str] = []
        for n in range(self.ngram_range[0], self.ngram_range[1] + 1):
            grams += map(self._between.join, zip(*(words[at:] for at in range(n)), strict=False))
        return grams

    def spans(self, text: str) -> list[Span]:
        """The same tokens, each with its place in the text as it was given, for highlighting.

        An n-gram reaches from its first word to its last; an n-gram of characters stands where its word does.

        >>> Analyzer(tokens="words").spans("Ｃａｆｅ\u0301 №5")
        [Span(token='café', start=0, end=5), Span(token='no5', start=6, end=8)]
        """
        words = list(self._spans(_text(text)))
        if self.stop_words is not None:
            stop = self._stop_set()
            words = [word for word in words if word.token not in stop]
        if self.stem:
            words = [word._replace(token=_stem(word.token)) for word in words]
        if self.char_ngrams:
            return [w._replace(token=gram) for w in words for gram in _char_ngrams(w.token, *self.char_ngrams)]
        return [
            Span(self._between.join(w.token for w in words[start:end]), words[start].start, words[end - 1].end)
            for start, end in self._ngrams(len(words))
        ]

    def _spans(self, text: str) -> Iterator[Span]:
        prepared, places = self._aligned(text)
        for match in _PATTERNS[self.tokens].finditer(prepared):
            at = match.start()
            run = self.tokens == "chinese" and _HAN.match(match[0])
            for word in chinese_words(match[0]) if run else (match[0],):
                yield Span(word, places[at][0], places[at + len(word) - 1][1])
                at += len(word)

    @property
    def _between(self) -> str:
        return "" if self.tokens == "characters" else " "

    def _ngrams(self, words: int) -> Iterator[tuple[int, int]]:
        """First word and end of each n-gram, the shortest first."""
        for n in range(self.ngram_range[0], self.ngram_range[1] + 1):
            for start in range(words - n + 1):
                yield start, start + n

    @property
    def _form(self) -> Literal["NFC", "NFKC"]:
        return "NFKC" if self.normalization == "nfkc" else "NFC"

    def form(self, text: str) -> str:
        """A text as its tokens are found in it: normalised, and folded to lower case."""
        return self._lowered(self._normalised(text))

    def _normalised(self, text: str) -> str:
        if self.normalization == "none":
            return text
        return unicodedata.normalize(self._form, text).replace("’", "'")

    def _lowered(self, text: str) -> str:
        return text.lower() if self.lowercase else text

    def _aligned(self, text: str) -> tuple[str, list[tuple[int, int]]]:
        """The text as its tokens are found in it, and for each character of it the start and the end it comes from."""
        prepared, places = self._normalised(text), [(at, at + 1) for at in range(len(text))]
        if self.normalization != "none" and not unicodedata.is_normalized(self._form, text):
            places = []
            for start, end in _apart(text, self._form):
                size = len(self._normalised(text[start:end]))
                places += [(start, end)] * size
        lowered = self._lowered(prepared)
        if len(lowered) != len(prepared):  # İ becomes two characters
            places = [place for place, letter in zip(places, prepared, strict=True) for _ in letter.lower()]
        return lowered, places

    def _stop_set(self) -> frozenset[str]:
        words = self.stop_words or ()
        return STOP_WORDS[words] if isinstance(words, str) else _as_tokens(words, self.normalization, self.lowercase)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        return self.plain()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The analyzer that `to_dict` told of, with the same tokens, or an error.

        Raises:
            SettingsError, MissingExtra: as the class.
        """
        return cls(**values)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that stand for the settings, the words left out, and this version's rules."""
        stop = sorted(self._stop_set()) if self.stop_words is not None else None
        rules = json.dumps([RULES, self.to_dict() | {"stop_words": stop}], sort_keys=True)
        return hashlib.sha256(rules.encode()).hexdigest()[:12]


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise DataError(f"expected a text, found {type(text).__name__}: {str(text)[:40]!r}")
    return text


@lru_cache(maxsize=64)
def _as_tokens(words: tuple[str, ...], form: str, lowercase: bool) -> frozenset[str]:
    """Words in the form that the tokens of a text have."""
    plain = Analyzer(tokens="words", normalization=form, lowercase=lowercase)
    return frozenset(map(plain.form, words))


def _char_ngrams(word: str, fewest: int, most: int) -> Iterable[str]:
    """N-grams of `<word>`, of a shorter word the whole of it once (Bojanowski et al. 2017, section 3.2)."""
    word = f"<{word}>"
    if len(word) <= fewest:
        return (word,)
    return [word[at : at + n] for n in range(fewest, min(most, len(word)) + 1) for at in range(len(word) - n + 1)]


def _apart(text: str, form: Literal["NFC", "NFKC"]) -> Iterator[tuple[int, int]]:
    """Start and end of the pieces of a text that normalisation leaves apart."""
    start = 0
    for at in range(1, len(text)):
        if _begins(text[start:at], text[at], form):
            yield start, at
            start = at
    if text:
        yield start, len(text)


def _begins(before: str, letter: str, form: Literal["NFC", "NFKC"]) -> bool:
    """Whether a character neither moves into, nor merges with, what stands before it."""
    if unicodedata.combining(unicodedata.normalize("NFKD", letter)[0]):
        return False
    together = unicodedata.normalize(form, before + letter)
    return together == unicodedata.normalize(form, before) + unicodedata.normalize(form, letter)


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english", 0)  # without a cache of its own, which threads must not share


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return _stemmer().stemWord(word)
