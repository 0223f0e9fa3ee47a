"""How far a text is from the right one: the Levenshtein distance over words and over characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def edit_distance(found: Sequence[object], wanted: Sequence[object]) -> int:
    """The fewest insertions, deletions and substitutions that make one sequence the other (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting"), edit_distance(["a"], [])
    (3, 1)
    """
    ids: dict[object, int] = {}
    a, b = (np.array([ids.setdefault(each, len(ids)) for each in part], np.int64) for part in (found, wanted))
    row = np.arange(len(b) + 1)
    places = np.arange(len(b) + 1)
    for index, each in enumerate(a):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != each))
        # an insertion costs 1 a place: the minimum over all places before, as a running minimum of costs less places
        row = np.minimum.accumulate(np.append(index + 1, best) - places) + places
    return int(row[-1])


class ErrorRates(NamedTuple):
    r"""Σ edits / Σ length of the right texts, over characters (blanks too) and over words, and texts wholly right.

    Args:
        characters: edits, and how many characters are right ones.
        words: likewise.
        texts: how many are not wholly right, and how many there are.

    >>> rates = ErrorRates().add("one two", "one too").add("three", "three")
    >>> rates.figures()
    {'character_error_rate': 0.0833..., 'word_error_rate': 0.333..., 'sentence_error_rate': 0.5}
    """

    characters: tuple[int, int] = (0, 0)
    words: tuple[int, int] = (0, 0)
    texts: tuple[int, int] = (0, 0)

    def add(self, found: str, wanted: str) -> ErrorRates:
        """The same with one text more."""
        parts = ((found, wanted), (found.split(), wanted.split()))
        edits = [(edit_distance(*part), len(part[1])) for part in parts]
        edits.append((int(found != wanted), 1))
        return ErrorRates(*((a + c, b + d) for (a, b), (c, d) in zip(self, edits, strict=True)))

    def figures(self) -> dict[str, float]:
        """The rates; above 1 where more was told than is right."""
        names = ("character_error_rate", "word_error_rate", "sentence_error_rate")
        return {name: edits / max(1, count) for name, (edits, count) in zip(names, self, strict=True)}
