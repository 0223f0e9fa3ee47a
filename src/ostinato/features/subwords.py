"""Subwords: n-grams of a word's characters, hashed to buckets, so that a word never seen has a vector."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

HASHES = 2**32  # with so many buckets, two n-grams hardly ever meet in one
_BEGINNING = 100  # characters
_OFFSET, _PRIME = 2166136261, 16777619  # FNV-1a with 32 bits


def ngram_buckets(word: str, fewest: int, most: int, buckets: int) -> list[int]:
    r"""The bucket of every n-gram of `<word>`, once for each place it stands at.

    A bucket is h modulo their number, with h = 2166136261 at first, and h ← (h ⊕ byte) · 16777619 mod 2³² for every
    byte of the n-gram in UTF-8 (FNV-1a). As in fastText, whose `char` is signed, the sign of a byte beyond 127 reaches
    into the upper bits; an n-gram of one character that marks an end of the word is left out (Bojanowski et al. 2017,
    section 3.2, and the code of fastText).

    Args:
        word: without its marks.
        fewest: characters of an n-gram, the marks `<` and `>` included.
        most: likewise.
        buckets: how many there are.

    >>> ngram_buckets("où", 3, 4, 1000)
    [388, 926, 676]
    """
    characters = [
        [byte if byte < 128 else byte | 0xFFFFFF00 for byte in character.encode("utf-8", "surrogatepass")]
        for character in f"<{word}>"
    ]
    found, end = [], len(characters)
    for start in range(end):
        h = _OFFSET
        for at in range(start, min(start + most, end)):
            for byte in characters[at]:
                h = ((h ^ byte) * _PRIME) % HASHES
            n = at - start + 1
            if n >= fewest and not (n == 1 and (start == 0 or at == end - 1)):
                found.append(h % buckets)
    return found


@lru_cache(maxsize=1 << 17)
def word_buckets(word: str, fewest: int, most: int, buckets: int) -> tuple[int, ...]:
    """The same of a word of a text, kept for when it comes again; of what is too long to be one, of its beginning.

    >>> word_buckets("où", 3, 4, 1000)
    (388, 926, 676)
    """
    return tuple(ngram_buckets(word[:_BEGINNING], fewest, most, buckets))


class Subwords(NamedTuple):
    """Trained vectors of n-grams: a row for each bucket that an n-gram of the vocabulary falls into, and no other."""

    fewest: int
    most: int
    buckets: int
    """How many there are, most of them without a row."""
    held: np.ndarray
    """The buckets that have a row, int64 [rows], rising."""
    vectors: np.ndarray
    """float32 [rows, features]."""

    def vector(self, word: str) -> np.ndarray | None:
        """The mean of the vectors of a word's n-grams, float32 [features], or None if none of them was trained.

        An n-gram that falls into a bucket without a row stood in no word of the vocabulary, so that fastText would
        add the noise that its row began with; here it is left out.
        """
        wanted = np.array(ngram_buckets(word, self.fewest, self.most, self.buckets), np.int64)
        at = np.searchsorted(self.held, wanted)
        known = at < len(self.held)
        known[known] = self.held[at[known]] == wanted[known]
        return self.vectors[at[known]].mean(0) if known.any() else None


def rows_of_words(words: list[str], fewest: int, most: int, buckets: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows of a table for the n-grams of some words.

    Returns:
        The buckets that need a row, int64 [rows], rising; and for each word its rows, uint32, one for each n-gram.
    """

    def hashed() -> Iterator[int]:
        for word in words:
            of_word = ngram_buckets(word, fewest, most, buckets)
            sizes.append(len(of_word))
            yield from of_word

    sizes: list[int] = []
    flat = np.fromiter(hashed(), np.uint32)
    held, rows = np.unique(flat, return_inverse=True)
    return held.astype(np.int64), np.split(rows.astype(np.uint32), np.cumsum(sizes)[:-1])
