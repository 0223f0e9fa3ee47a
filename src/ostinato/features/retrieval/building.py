"""A segment from documents as they come."""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from scipy import sparse

from ostinato.features.retrieval.arrays import writing_arrays
from ostinato.features.retrieval.segment import ARRAYS, DOCUMENTS, Segment, hashes_of
from ostinato.features.retrieval.where import sort_key

_MOST_WORDS = 1 << 22  # of a segment before it is written; what is in memory meanwhile is some 40 bytes a word
_MOST_BYTES = 1 << 26  # of ids and values


class Growing(dict[Any, int]):
    """A new number for every new key."""

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self)
        return number


class SegmentBuilder:
    """Documents as they come, to a segment; their texts go to the disk at once.

    Args:
        folder: to make and fill.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.ids: dict[bytes, int] = {}
        self._file = (folder / DOCUMENTS).open("wb")
        self._terms = Growing()
        self._words = list[int]()  # the terms of all documents, one after another
        self._lengths, self._bounds, self._id_keys = array("i"), array("q", [0]), list[bytes]()
        self._values: defaultdict[bytes, array[int]] = defaultdict(lambda: array("i"))
        self._held_bytes = 0

    def add(self, id_key: bytes, line: bytes, words: Sequence[str], values: Iterable[bytes]) -> None:
        """Add a document: its id as JSON or nothing, its line, its words and its metadata."""
        number = len(self._lengths)
        if id_key:
            self.ids[id_key] = number
        self._id_keys.append(id_key)
        self._file.write(line)
        self._bounds.append(self._bounds[-1] + len(line))
        self._words += map(self._terms.__getitem__, words)
        self._lengths.append(len(words))
        self._held_bytes += len(id_key) + 100
        for value in set(values):
            self._held_bytes += 4 if value in self._values else len(value) + 200
            self._values[value].append(number)

    @property
    def full(self) -> bool:
        """Whether it is time to write."""
        return len(self._words) >= _MOST_WORDS or self._held_bytes >= _MOST_BYTES

    def finish(self) -> Segment:
        """Write what is left to write, and open it."""
        close_synced(self._file)
        lengths = np.asarray(self._lengths)
        bounds, documents, frequencies = _count(np.array(self._words, np.int32), lengths, len(self._terms))
        values = sorted(self._values, key=sort_key)
        arrays = {
            "lengths": lengths,
            "document_bounds": np.asarray(self._bounds),
            **key_arrays("id", self._id_keys),
            **key_arrays("term", [term.encode("utf-8", "surrogatepass") for term in self._terms]),
            "posting_bounds": bounds.astype(np.int64, copy=False),
            "posting_documents": documents,
            "posting_frequencies": frequencies,
            **string_arrays("value", values),
            "value_posting_bounds": bounds_of([len(self._values[value]) for value in values]),
            "value_documents": np.concatenate([np.empty(0, np.int32), *(self._values[value] for value in values)]),
        }
        with writing_arrays(self.folder / ARRAYS, sizes_of(arrays)) as written:
            for name, values_ in arrays.items():
                written[name][:] = values_
        return Segment(self.folder)

    def close(self) -> None:
        """Give up."""
        self._file.close()


def _count(words: np.ndarray, lengths: np.ndarray, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Postings of the terms of documents that stand one after another.

    Returns:
        Where the postings of each term begin, [terms + 1]; their documents, ascending; how often the term stands there.
    """
    shape = len(lengths), terms
    columns = sparse.csr_array((np.ones(len(words), np.uint32), words, bounds_of(lengths)), shape=shape).tocsc()
    columns.sum_duplicates()
    most = int(columns.data.max(initial=0))
    kind = next(kind for kind in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(kind).max)
    return columns.indptr, columns.indices.astype(np.int32, copy=False), columns.data.astype(kind)


def bounds_of(counts: Any) -> np.ndarray:
    """Where parts of these sizes begin, and where the last ends, int64 [parts + 1]."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def string_arrays(name: str, strings: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Strings as arrays."""
    data = np.frombuffer(b"".join(strings), np.uint8)
    return {f"{name}_bytes": data, f"{name}_bounds": bounds_of(list(map(len, strings)))}


def key_arrays(name: str, keys: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Strings as arrays, in which those that are not empty can be found."""
    numbers = np.flatnonzero(np.fromiter(map(len, keys), np.int64, len(keys))).astype(np.int32)
    hashes = hashes_of(keys[number] for number in numbers.tolist())
    order = np.argsort(hashes, kind="stable")
    return string_arrays(name, keys) | {f"{name}_hashes": hashes[order], f"{name}_order": numbers[order]}


def sizes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[Any, int]]:
    """Type and number of elements of each."""
    return {name: (array.dtype, len(array)) for name, array in arrays.items()}


def close_synced(file: BinaryIO) -> None:
    """Close a file whose bytes are on the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
