"""One segment from several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ostinato.features.retrieval.arrays import writing_arrays
from ostinato.features.retrieval.building import Growing, bounds_of, close_synced, key_arrays, sizes_of, string_arrays
from ostinato.features.retrieval.segment import ARRAYS, DOCUMENTS, Segment, Strings
from ostinato.features.retrieval.where import sort_key

_AT_ONCE = 1 << 20  # postings, or bytes, that are moved in one step


def merge_segments(segments: Sequence[Segment], folder: Path) -> Segment:
    """Write the documents of some segments, without the deleted ones, as if they had come one after another."""
    folder.mkdir(parents=True)
    with (folder / DOCUMENTS).open("wb") as file:
        for segment in segments:
            _copy_lines(segment, file)
        close_synced(file)
    renumbered, total = [], 0
    for segment in segments:
        renumbered.append(np.where(segment.live, np.cumsum(segment.live) - 1 + total, -1).astype(np.int32))
        total += segment.documents
    terms = _Lists(
        [
            _Part(s.terms, s.posting_bounds, s.posting_documents, new, s.posting_frequencies)
            for s, new in zip(segments, renumbered, strict=True)
        ]
    )
    values = _Lists(
        [
            _Part(s.values, s.value_posting_bounds, s.value_documents, new)
            for s, new in zip(segments, renumbered, strict=True)
        ],
        sort_key,
    )
    ids = [s.ids[number] for s in segments for number in np.flatnonzero(s.live).tolist()]
    arrays = {
        "lengths": np.concatenate([s.lengths[s.live] for s in segments]),
        "document_bounds": bounds_of(np.concatenate([np.diff(s.document_bounds)[s.live] for s in segments])),
        **key_arrays("id", ids),
        **key_arrays("term", terms.keys),
        "posting_bounds": terms.bounds,
        **string_arrays("value", values.keys),
        "value_posting_bounds": values.bounds,
    }
    frequency = np.result_type(*[s.posting_frequencies for s in segments])
    lists = {
        "posting_documents": (np.int32, int(terms.bounds[-1])),
        "posting_frequencies": (frequency, int(terms.bounds[-1])),
        "value_documents": (np.int32, int(values.bounds[-1])),
    }
    with writing_arrays(folder / ARRAYS, sizes_of(arrays) | lists) as written:
        for name, array in arrays.items():
            written[name][:] = array
        terms.write(written["posting_documents"], written["posting_frequencies"])
        values.write(written["value_documents"])
    return Segment(folder)


def _copy_lines(segment: Segment, file: BinaryIO) -> None:
    """The lines of the documents that are not deleted."""
    ends = np.flatnonzero(np.diff(segment.live, prepend=False, append=False)).reshape(-1, 2)  # of runs of them
    for start, end in segment.document_bounds[ends].tolist():
        for at in range(start, end, _AT_ONCE):
            file.write(segment.lines[at : min(at + _AT_ONCE, end)])


class _Part(NamedTuple):
    """Postings of one segment."""

    keys: Strings
    bounds: np.ndarray  # where those of a key begin
    documents: np.ndarray
    renumbered: np.ndarray  # the new number of each document, −1 for a deleted one
    frequencies: np.ndarray | None = None


class _Chunk(NamedTuple):
    """Postings of some keys of a part, as many as are moved in one step."""

    keys: slice
    documents: np.ndarray  # renumbered, without the deleted ones
    counts: np.ndarray  # how many of these each key has
    frequencies: np.ndarray | None


def _chunks(part: _Part) -> Iterator[_Chunk]:
    start, keys = 0, len(part.keys)
    while start < keys:
        last = int(np.searchsorted(part.bounds, part.bounds[start] + _AT_ONCE, "right")) - 1
        end = min(max(last, start + 1), keys)
        places = slice(int(part.bounds[start]), int(part.bounds[end]))
        documents = part.renumbered[part.documents[places]]
        kept = documents >= 0
        of_key = np.repeat(np.arange(end - start), np.diff(part.bounds[start : end + 1]))
        counts = np.bincount(of_key[kept], minlength=end - start)
        frequencies = None if part.frequencies is None else part.frequencies[places][kept]
        yield _Chunk(slice(start, end), documents[kept], counts, frequencies)
        start = end


def _merged_keys(
    parts: Sequence[Sequence[bytes]], sort: Callable[[bytes], Any]
) -> tuple[list[np.ndarray], list[bytes]]:
    """The keys of sorted parts in their common order, and for each part the numbers of its keys in this order.

    There may be one for every document, so that they are merged as they lie instead of sorted anew in a dictionary.
    """
    numbers = [np.empty(len(part), np.int64) for part in parts]
    keys: list[bytes] = []

    def placed(at: int) -> Iterator[tuple[Any, int, int, bytes]]:
        return ((sort(key), at, number, key) for number, key in enumerate(parts[at]))

    for _, alike in groupby(merge(*map(placed, range(len(parts))), key=itemgetter(0)), key=itemgetter(0)):
        seen = dict[bytes, int]()  # 1 and 1.0 are alike, but two
        for _, at, number, key in alike:
            if key not in seen:
                seen[key] = len(keys)
                keys.append(key)
            numbers[at][number] = seen[key]
    return numbers, keys


class _Lists:
    """The postings of several parts by key: in the order in which keys are first seen, or sorted.

    Keys that only stand in deleted documents are left out.
    """

    def __init__(self, parts: Sequence[_Part], sort: Callable[[bytes], Any] | None = None) -> None:
        if sort is None:
            seen = Growing()
            numbers = [np.fromiter(map(seen.__getitem__, part.keys), np.int64, len(part.keys)) for part in parts]
            keys: list[bytes] = list(seen)
        else:
            numbers, keys = _merged_keys([part.keys for part in parts], sort)
        counts = np.zeros(len(keys), np.int64)
        for part, number in zip(parts, numbers, strict=True):
            for chunk in _chunks(part):
                counts[number[chunk.keys]] += chunk.counts  # the keys of a part differ, so that none is added twice
        kept = counts > 0
        place = np.where(kept, np.cumsum(kept) - 1, -1)
        self._parts = [(part, place[number]) for part, number in zip(parts, numbers, strict=True)]
        self.keys = keys if kept.all() else [keys[number] for number in np.flatnonzero(kept).tolist()]
        self.bounds = bounds_of(counts[kept])

    def write(self, documents: np.ndarray, frequencies: np.ndarray | None = None) -> None:
        """Fill vectors with the documents of each key, and how often it stands there."""
        free = self.bounds[:-1].copy()  # where the next posting of a key goes
        for part, numbers in self._parts:
            for chunk in _chunks(part):
                used = chunk.counts > 0
                number, counts = numbers[chunk.keys][used], chunk.counts[used]
                to = np.arange(len(chunk.documents)) + np.repeat(free[number] - bounds_of(counts)[:-1], counts)
                documents[to] = chunk.documents
                if frequencies is not None:
                    frequencies[to] = chunk.frequencies
                free[number] += counts
