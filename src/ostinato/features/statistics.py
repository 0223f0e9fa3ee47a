"""What a corpus says of its terms, in numbers that add up over parts of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ostinato.errors import DataError, SettingsError

Term = str | int
"""A word or n-gram, or the number of the bucket that it falls into."""


@dataclass
class TermStatistics:
    """How many documents there are, in how many each term stands, and how often it occurs.

    Args:
        only: the terms that are counted; all if None.

    >>> left, right, both = TermStatistics(), TermStatistics(), TermStatistics()
    >>> left.add(["a", "b", "a"]), right.add(["b"]), both.add(["a", "b", "a"]), both.add(["b"])
    (None, None, None, None)
    >>> left.merge(right)
    >>> left == both, both.document_frequency["b"], both.occurrences["a"]
    (True, 2, 2)
    """

    only: Collection[Term] | None = field(default=None, repr=False)
    documents: int = 0
    whole: bool = True  # False where only a choice of terms was kept
    document_frequency: Counter[Term] = field(default_factory=Counter, repr=False)
    occurrences: Counter[Term] = field(default_factory=Counter, repr=False)

    def add(self, terms: Sequence[Term]) -> None:
        """Count one document."""
        kept = terms if self.only is None else [term for term in terms if term in self.only]
        self.documents += 1
        self.occurrences.update(kept)
        self.document_frequency.update(set(kept))

    def add_columns(self, terms: Iterable[Term], documents: int, frequency: np.ndarray, times: np.ndarray) -> None:
        """Count many documents: for each term in how many of them it stands, and how often."""
        listed = list(terms)
        self.documents += documents
        for counter, values in ((self.document_frequency, frequency), (self.occurrences, times)):
            counter.update({t: n for t, n in zip(listed, values.tolist(), strict=True) if n})

    def merge(self, other: TermStatistics) -> None:
        """Add what was counted of other documents."""
        self.documents += other.documents
        self.document_frequency.update(other.document_frequency)
        self.occurrences.update(other.occurrences)

    def choose(self, min_df: float, max_df: float, max_features: int | None) -> list[Any]:
        """The terms whose document frequency lies within two bounds, of these the most frequent, in order.

        Args:
            min_df: a number of documents if it is an integer, else a share of them.
            max_df: likewise.
            max_features: how many to keep, by occurrences; equal ones in alphabetical order.

        Raises:
            DataError: if none is left.
            SettingsError: if the bounds leave nothing between them.
        """
        low, high = (share if isinstance(share, int) else share * self.documents for share in (min_df, max_df))
        if high < low:
            raise SettingsError(
                f"max_df = {max_df} is {high:g} of {self.documents} documents, which is less than min_df = {min_df}"
            )
        kept = [term for term, frequency in self.document_frequency.items() if low <= frequency <= high]
        if not kept:
            found = len(self.document_frequency)
            why = (
                f"{found} terms occur, none in {low:g} to {high:g} of them" if found else "all are empty or stop words"
            )
            raise DataError(f"no term is left of {self.documents} texts: {why}")
        if max_features is not None and len(kept) > max_features:
            kept = sorted(kept, key=lambda term: (-self.occurrences[term], term))[:max_features]
        return sorted(kept)
