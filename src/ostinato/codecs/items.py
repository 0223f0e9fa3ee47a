"""Items ↔ ids, and what counting says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from ostinato.bundle import read_tensors, write_tensors
from ostinato.codecs.vocabulary import Vocabulary
from ostinato.errors import BundleError, DataError, nearest
from ostinato.item_neighbours import ItemNeighbours
from ostinato.settings import Settings

GAPS = 34
"""Classes of a pause: 0 not known, 1 none, then by doubling, up to some hundred years."""


class ItemSettings(Settings):
    """What of a log's items is learned."""

    min_item_count: int = Field(1, ge=1, description="items met less often are left out")
    neighbours: int = Field(50, ge=1, description="of an item that item-kNN, the baseline, knows")


class Known(NamedTuple):
    """What of a history is known."""

    ids: np.ndarray
    """int32 [known items]"""
    at: np.ndarray
    """Their places in the history."""


class ItemCodec:
    """Items by falling count, with their counts and neighbours; id 0 is none of them.

    Args:
        vocabulary: names by id.
        counts: how often each was met, int64 [ids].
        neighbours: which items the same histories hold.

    >>> codec = ItemCodec.learn(lambda: iter([["tea", "cup"], ["tea", "milk"], ["tea", "cup"]]), ItemSettings())
    >>> codec.vocabulary.tokens, codec.counts.tolist()
    (('<unk>', 'tea', 'cup', 'milk'), [0, 3, 2, 1])
    >>> codec.known(["cup", "saucer", "tea"]).ids.tolist(), codec.unknown(["cups"])
    ([2, 1], ["'cups' (did you mean cup?)"])
    """

    def __init__(self, vocabulary: Vocabulary, counts: np.ndarray, neighbours: ItemNeighbours) -> None:
        self.vocabulary, self.counts, self.neighbours = vocabulary, counts, neighbours

    def __len__(self) -> int:
        return len(self.vocabulary)

    @classmethod
    def learn(cls, histories: Callable[[], Iterator[Iterable[str]]], settings: ItemSettings) -> ItemCodec:
        """From histories, which are read twice.

        Raises:
            DataError: if no item is frequent enough.
        """
        counts: Counter[str] = Counter()
        for items in histories():
            counts.update(items)
        if not counts:
            raise DataError("there are no histories to learn from; give more, or another --split")
        if max(counts.values()) < settings.min_item_count:
            raise DataError(
                f"each of {len(counts):,} different items occurs less than min_item_count = "
                f"{settings.min_item_count} times; give more events, or a smaller --min-item-count"
            )
        vocabulary = Vocabulary.of_counts(counts, settings.min_item_count)
        met = np.array([0, *(counts[name] for name in vocabulary.tokens[1:])], np.int64)
        ids = (each[each > 0] for each in map(vocabulary.ids, histories()))
        return cls(vocabulary, met, ItemNeighbours.learn(ids, len(vocabulary), settings.neighbours))

    def known(self, items: Sequence[str]) -> Known:
        """The ids of those that are known, in order."""
        ids = self.vocabulary.ids(items)
        at = np.flatnonzero(ids)
        return Known(ids[at], at)

    def unknown(self, items: Iterable[str]) -> list[str]:
        """Those that are not known, each once, quoted, with the known name nearest to it."""
        odd = dict.fromkeys(each for each in items if each not in self.vocabulary)
        return [f"{each!r}{nearest(each, self.vocabulary.tokens[1:])}" for each in odd]

    def names_in(self, texts: Iterable[str]) -> list[str]:
        """Names of items in texts: the whole, what stands between commas or tabs, or the longest known runs of words.

        >>> codec = ItemCodec.learn(lambda: iter([["green tea", "cup"]]), ItemSettings())
        >>> codec.names_in(["cup green tea saucer", "cup, mug"])
        ['cup', 'green tea', 'saucer', 'cup', 'mug']
        """
        found: list[str] = []
        for text in (each.strip() for each in texts):
            if text in self.vocabulary or not text:
                found += [text] if text else []
            elif "," in text or "\t" in text:
                found += [part.strip() for part in text.replace("\t", ",").split(",") if part.strip()]
            else:
                words = text.split()
                while words:
                    longest = (n for n in range(len(words), 1, -1) if " ".join(words[:n]) in self.vocabulary)
                    count = next(longest, 1)
                    found.append(" ".join(words[:count]))
                    words = words[count:]
        return found

    def save(self, folder: Path) -> None:
        """Write both files."""
        self.vocabulary.save(folder / "items.json")
        write_tensors(folder / "items.safetensors", {"counts": self.counts} | self.neighbours.tensors())

    @classmethod
    def load(cls, folder: Path) -> ItemCodec:
        """What `save` wrote.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        tensors, _ = read_tensors(folder / "items.safetensors")
        vocabulary = Vocabulary.load(folder / "items.json")
        if "counts" not in tensors or len(tensors["counts"]) != len(vocabulary):
            raise BundleError(f"{folder}: damaged: {len(vocabulary):,} items without as many counts")
        return cls(vocabulary, tensors["counts"], ItemNeighbours.from_tensors(tensors))


def gap_classes(gaps: np.ndarray | None, items: int) -> np.ndarray:
    """Pauses by doubling: 0 if not known, else 1 + ⌊log₂(1 + seconds)⌋, int32 [items].

    >>> gap_classes(np.array([np.nan, 0.0, 1.0, 59.0, 86_400.0]), 5).tolist()
    [0, 1, 2, 6, 17]
    """
    if gaps is None:
        return np.zeros(items, np.int32)
    known = ~np.isnan(gaps)
    classes = 1 + np.floor(np.log2(1 + np.where(known, gaps, 0).clip(min=0)))
    return np.where(known, classes.clip(max=GAPS - 1), 0).astype(np.int32)
