"""A segment: some documents and the words in them, written once and never changed.

documents.jsonl      a document a line: id, text, and its metadata
arrays.safetensors   all else, mapped into memory:
    lengths [N], document_bounds [N + 1]                    words of a document; where its line begins
    id_bytes, id_bounds [N + 1], id_hashes, id_order        ids as JSON; empty for a document without one
    term_bytes, term_bounds [V + 1], term_hashes, term_order
    posting_bounds [V + 1], posting_documents, posting_frequencies    in which documents a term stands, how often
    value_bytes, value_bounds [M + 1]                       values of the metadata, sorted (see where.py)
    value_posting_bounds [M + 1], value_documents           which documents have each
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.errors import BundleError
from ostinato.features.retrieval.arrays import map_arrays
from ostinato.features.retrieval.where import Table

ARRAYS, DOCUMENTS = "arrays.safetensors", "documents.jsonl"


def hashes_of(keys: Iterable[bytes]) -> np.ndarray:
    """A hash of eight bytes for each key."""
    return np.frombuffer(b"".join([blake2b(key, digest_size=8).digest() for key in keys]), "<u8")


class Strings(Sequence[bytes]):
    """Strings by their number."""

    def __init__(self, data: np.ndarray, bounds: np.ndarray) -> None:
        self._data, self._bounds = data.data, bounds.data  # of which an element is no NumPy scalar

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, number: Any) -> Any:
        return bytes(self._data[self._bounds[number] : self._bounds[number + 1]])

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(self._data[start:end]) for start, end in pairwise(self._bounds.tolist()))


class Keys(Strings):
    """Strings by their number, and numbers by their string."""

    def __init__(self, data: np.ndarray, bounds: np.ndarray, hashes: np.ndarray, order: np.ndarray) -> None:
        super().__init__(data, bounds)
        self._hashes, self._order = hashes, order.data  # in ascending order, and the number of each

    def find(self, keys: Sequence[bytes], hashes: np.ndarray) -> list[int]:
        """The number of each key, −1 if it is not there, by its hash and then by its bytes."""
        numbers = [-1] * len(keys)
        if not len(self._hashes):
            return numbers
        places = self._hashes.searchsorted(hashes)
        found = np.flatnonzero(self._hashes.take(places, mode="clip") == hashes)
        for at, place in zip(found.tolist(), places[found].tolist(), strict=True):
            while self[self._order[place]] != keys[at]:  # another key has the same hash, or it is not there
                place += 1
                if place == len(self._hashes) or self._hashes[place] != hashes[at]:
                    break
            else:
                numbers[at] = self._order[place]
        return numbers


class Segment:
    """What stands in the folder of a segment.

    Args:
        folder: as `builder.py` or `merging.py` wrote it.
        deleted: documents that another has replaced, in order.

    Raises:
        BundleError: if a file is missing or damaged.
    """

    def __init__(self, folder: Path, deleted: np.ndarray | None = None) -> None:
        self.folder = folder
        self.deleted = np.empty(0, np.int32) if deleted is None else deleted
        a = map_arrays(folder / ARRAYS)
        try:
            self.lengths, self.document_bounds = a["lengths"], a["document_bounds"]
            self.ids = Keys(a["id_bytes"], a["id_bounds"], a["id_hashes"], a["id_order"])
            self.terms = Keys(a["term_bytes"], a["term_bounds"], a["term_hashes"], a["term_order"])
            self.posting_bounds = a["posting_bounds"]
            self.posting_documents, self.posting_frequencies = a["posting_documents"], a["posting_frequencies"]
            self.values = Strings(a["value_bytes"], a["value_bounds"])
            self.value_posting_bounds, self.value_documents = a["value_posting_bounds"], a["value_documents"]
        except KeyError as error:
            raise BundleError(f"{folder / ARRAYS}: damaged: expected {error}") from None
        self.lines = _map_bytes(folder / DOCUMENTS)
        if len(self.lines) != (size := int(self.document_bounds[-1])):
            raise BundleError(f"{folder / DOCUMENTS}: damaged: {len(self.lines):,} bytes, expected {size:,}")

    def __len__(self) -> int:
        """With the deleted ones."""
        return len(self.lengths)

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self) - len(self.deleted)

    @cached_property
    def words(self) -> int:
        """How many words these have together."""
        return int(self.lengths.sum(dtype=np.int64)) - int(self.lengths[self.deleted].sum(dtype=np.int64))

    @cached_property
    def live(self) -> np.ndarray:
        """Which documents are not deleted, bool [documents]."""
        live = np.ones(len(self), bool)
        live[self.deleted] = False
        return live

    @cached_property
    def table(self) -> Table:
        """The values of the metadata."""
        return Table(self.values, self.value_posting_bounds, self.value_documents)

    def postings(self, terms: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where some terms stand.

        Args:
            terms: their numbers; −1 for one that is not here.

        Returns:
            Documents and frequencies, of one term after another, and for each term how many there are of them.
        """
        bounds = self.posting_bounds.data
        places = [(bounds[term], bounds[term + 1]) if term >= 0 else (0, 0) for term in terms]
        documents = np.concatenate([self.posting_documents[start:end] for start, end in places], dtype=np.intp)
        frequencies = np.concatenate([self.posting_frequencies[start:end] for start, end in places], dtype=np.float64)
        counts = np.array([end - start for start, end in places])
        if len(self.deleted):
            live = self.live[documents]
            documents, frequencies = documents[live], frequencies[live]
            counts = np.bincount(np.repeat(np.arange(len(counts)), counts)[live], minlength=len(counts))
        return documents, frequencies, counts

    def line(self, number: int) -> bytes:
        """A document as its line has it."""
        return self.lines[self.document_bounds[number] : self.document_bounds[number + 1]]

    def document(self, number: int) -> dict[str, Any]:
        """A document: text, metadata, and id if it has one.

        Raises:
            BundleError: if the line is damaged.
        """
        try:
            return json.loads(self.line(number))
        except ValueError as error:
            raise BundleError(f"{self.folder / DOCUMENTS}: damaged: document {number}: {error}") from None


def _map_bytes(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except ValueError:  # an empty file cannot be mapped
        return b""
