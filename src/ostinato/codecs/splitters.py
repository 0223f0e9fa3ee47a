"""How a word-level codec takes text apart and puts it together again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ostinato.analysis import HAN, WORD, chinese_words, has_dictionary
from ostinato.errors import MissingExtra, SettingsError

_WORDS = re.compile(rf" ?(?:{WORD})| ?[^\w\s]|\s")
_TOKENS = re.compile(r"\n|\S+")
_HAN = re.compile(f"[{HAN}]")
_LETTER = re.compile(r"[^\W\d_]")


class Splitter(NamedTuple):
    """Two functions that undo each other: text to tokens, tokens to pieces of text."""

    split: Callable[[str], list[str]]
    join: Callable[[Iterable[str], str], Iterator[str]]
    """Given the tokens and the text that stands before them."""


def _as_they_are(tokens: Iterable[str], _: str) -> Iterator[str]:
    return iter(tokens)


def _with_blanks(tokens: Iterable[str], before: str) -> Iterator[str]:
    start = not before or before.endswith("\n")
    for token in tokens:
        yield token if start or token == "\n" else " " + token
        start = token == "\n"


SPLITTERS: dict[str, Splitter] = {
    "words": Splitter(_WORDS.findall, _as_they_are),
    "whitespace": Splitter(_TOKENS.findall, _with_blanks),
    "jieba": Splitter(chinese_words, _as_they_are),
}
"""By name.

`words`: words and marks by Unicode's classes, each with the blank before it, so that tokens joined are the text;
every Han character is a token. `whitespace`: what stands between blanks, and each line end, for corpora that are
tokenised already; runs of blanks come back as one. `jieba`: Chinese words from a dictionary (the extra `zh`), other
text as it stands; tokens joined are the text again.

>>> SPLITTERS["words"].split("I don't 吃鱼, a b.")
['I', " don't", ' 吃', '鱼', ',', ' a', ' b', '.']
>>> "".join(SPLITTERS["whitespace"].join(["the", "cat", "\\n", "sat"], ""))
'the cat\\nsat'
"""


def is_chinese(sample: str) -> bool:
    """Whether at least 30 % of the letters of a text are Han characters.

    >>> is_chinese("我喜欢 tea"), is_chinese("I like tea")
    (True, False)
    """
    letters = len(_LETTER.findall(sample))
    return letters > 0 and len(_HAN.findall(sample)) >= 0.3 * letters


def choose_splitter(name: str, sample: str) -> str:
    """The splitter that `name` stands for: `auto` takes `jieba` where at least 30 % of the letters of `sample` are Han.

    Raises:
        SettingsError: if no splitter has that name.
        MissingExtra: if Chinese words are wanted and rjieba is not installed.
    """
    if name == "auto":
        name = "jieba" if is_chinese(sample) else "words"
    if name not in SPLITTERS:
        raise SettingsError(f"splitter = {name!r}: one of auto, {', '.join(SPLITTERS)}")
    if name == "jieba" and not has_dictionary():
        raise MissingExtra("rjieba", "zh", "the level word on Chinese text (level char needs nothing)")
    return name
