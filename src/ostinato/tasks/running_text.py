"""Running text to the tokens that a tagger was trained on: words, and what stands between them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from ostinato.analysis import HAN, KANA, Analyzer, has_dictionary

_UNSPACED = re.compile(f"[{HAN}{KANA}]")
_CORE = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
_SIGNS = re.compile(r"(.)\1*", re.DOTALL)  # an ellipsis is one token
_INITIALS = re.compile(r"(?:\w\.)+\w")
_CLITICS = re.compile(r"(.+)(n't|'s|'re|'ve|'ll|'d|'m)", re.IGNORECASE | re.DOTALL)


class Tokeniser:
    """Splits at blanks, and signs off both ends of what stands between them; inside they stay (3.14, e-mail, U.S.).

    Ends of English contractions (do n't, it 's) and points (Mr.) are read as in training. Of text without blanks the
    tokens are the words of rjieba's dictionary, or characters where it is not installed or training had characters.

    Args:
        words: of training, in lower case.
        single_characters: whether training had Chinese character by character.

    >>> Tokeniser(["n't"], False)("(Don't go to the U.S. for $3.50...), he said.")
    ['(', 'Do', "n't", 'go', 'to', 'the', 'U.S.', 'for', '$', '3.50', '...', ')', ',', 'he', 'said', '.']
    >>> Tokeniser([], True)("我喜欢Python。")
    ['我', '喜', '欢', 'Python', '。']
    """

    def __init__(self, words: Container[str], single_characters: bool) -> None:
        self._words = words
        kind = "chinese" if has_dictionary() and not single_characters else "words"
        self._analyzer = Analyzer(tokens=kind, lowercase=False, normalization="none")

    def __call__(self, text: str) -> list[str]:
        """The tokens of a text."""
        return [token for chunk in text.split() for token in self._tokens(chunk)]

    def _tokens(self, chunk: str) -> Iterator[str]:
        if _UNSPACED.search(chunk):
            at = 0
            for word in self._analyzer.spans(chunk):
                yield from _signs(chunk[at : word.start])
                yield chunk[word.start : word.end]
                at = word.end
            yield from _signs(chunk[at:])
            return
        match = _CORE.fullmatch(chunk)
        assert match is not None  # noqa: S101 - it matches anything
        before, core, after = match.groups()
        if after.startswith(".") and (_INITIALS.fullmatch(core) or f"{core}.".lower() in self._words):  # Mr.
            core, after = core + ".", after[1:]
        yield from _signs(before)
        split = _CLITICS.fullmatch(core)
        if split and split[2].lower() in self._words:
            yield from split.groups()
        elif core:
            yield core
        yield from _signs(after)


def _signs(text: str) -> Iterator[str]:
    return (match[0] for match in _SIGNS.finditer(text))
