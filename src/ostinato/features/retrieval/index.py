"""The folder of an index: segments, and a manifest that says which of them count.

ostinato.json            format, settings, analyzer, segments; written last, so that it names only what is whole
segments/000001/         see segment.py
segments/000004.deleted  documents of a segment that others have replaced
.lock                    held while somebody writes
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato import bundle
from ostinato.analysis import Analyzer
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features.retrieval.building import SegmentBuilder
from ostinato.features.retrieval.merging import merge_segments
from ostinato.features.retrieval.segment import Segment, hashes_of
from ostinato.features.retrieval.where import values_of
from ostinato.files import sync_folder

KIND, FORMAT = "bm25", 1
SEGMENTS, LOCK, _DELETED = "segments", ".lock", ".deleted"
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_ALIKE = 4  # so many segments of about the same size become one
_SMALL = 1 << 12  # words; smaller ones are alike


class Document(NamedTuple):
    """What is found: a text, and what else is known of it."""

    text: str
    id: str | int | None = None  # None: its place among the documents
    metadata: Mapping[str, Any] = {}
    where: str = ""  # file and line, for errors


def as_document(given: Any) -> Document:
    """A document from a text, from a mapping with a text, perhaps an id, and metadata, or as it is.

    Raises:
        DataError: if it is nothing of that.
    """
    if isinstance(given, str):
        return Document(given)
    if isinstance(given, Mapping):
        rest = dict(given)
        if "text" not in rest:
            raise DataError(f"a document without a text (its keys: {', '.join(map(str, rest)) or 'none'})")
        given = Document(rest.pop("text"), rest.pop("id", None), rest)
    if not isinstance(given, Document):
        raise DataError(f"expected a text, or a mapping with the key text, found {type(given).__name__}")
    if not isinstance(given.text, str):
        raise DataError(f"expected a text, found {type(given.text).__name__}: {str(given.text)[:40]!r}")
    if isinstance(given.id, bool) or not isinstance(given.id, str | int | None):
        raise DataError(f"id = {given.id!r}: expected text, a whole number, or none")
    if taken := {"id", "text"} & set(given.metadata):
        raise DataError(f"metadata cannot be called {taken.pop()!r}")
    return given


@dataclass(frozen=True)
class Index:
    """An index as it was when it was opened: what others add later does not change it."""

    folder: Path
    manifest: dict[str, Any]
    segments: tuple[Segment, ...]

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open a folder; nothing is read but the manifest.

        Raises:
            BundleError: if it is no index, damaged, or of another version.
        """
        while True:
            manifest = _read_manifest(folder)
            try:
                return cls(folder, manifest, tuple(_open(folder, entry) for entry in manifest["segments"]))
            except BundleError:
                if _read_manifest(folder)["segments"] == manifest["segments"]:
                    raise  # else somebody has replaced a segment in between

    @property
    def documents(self) -> int:
        """How many there are."""
        return sum(segment.documents for segment in self.segments)

    @property
    def words(self) -> int:
        """How many words they have together."""
        return sum(entry["words"] for entry in self.manifest["segments"])

    def id(self, segment: int, number: int) -> str | int:
        """The id of a document of a segment: its own, or its place among all documents."""
        found = self.segments[segment]
        if own := found.ids[number]:
            return json.loads(own.decode("utf-8", "surrogatepass"))
        before = sum(each.documents for each in self.segments[:segment])
        return before + number - int(np.searchsorted(found.deleted, number))

    def analyzer(self) -> Analyzer:
        """What made words of the texts.

        Raises:
            BundleError: if this version would make others.
            MissingExtra: if it needs a package that is not installed.
        """
        try:
            analyzer = Analyzer.from_dict(self.manifest["analyzer"])
        except (SettingsError, KeyError, TypeError) as error:
            raise BundleError(f"{self.folder / bundle.MANIFEST}: damaged: {error}") from None
        if (found := self.manifest.get("analyzer_fingerprint")) != analyzer.fingerprint():
            raise BundleError(
                f"{self.folder}: its words were found by other rules than this version's (analyzer {found}, here "
                f"{analyzer.fingerprint()}): index the documents anew"
            )
        return analyzer


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = bundle.read_manifest(folder)
    path = folder / bundle.MANIFEST
    if manifest["task"] != KIND:
        raise BundleError(f"{folder}: not an index, but a {manifest['task']}")
    if (found := manifest.get("index_format")) != FORMAT:
        raise BundleError(
            f"{path}: an index of format {found}, and this version reads {FORMAT}: index the documents anew, or use "
            f"the ostinato that wrote it ({manifest.get('versions', {}).get('ostinato', 'unknown')})"
        )
    entries = manifest.get("segments")
    wanted = {"name": str, "documents": int, "words": int}
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in wanted.items())
        for entry in entries
    ):
        raise BundleError(f"{path}: damaged: expected a list of segments with name, documents and words")
    return manifest


def _open(folder: Path, entry: dict[str, Any]) -> Segment:
    deleted = None
    if entry.get("deleted"):
        deleted = bundle.read_tensors(folder / SEGMENTS / entry["deleted"])[0].get("documents")
    segment = Segment(folder / SEGMENTS / entry["name"], deleted)
    if segment.documents != entry["documents"]:
        found = f"{segment.documents} documents, expected {entry['documents']}"
        raise BundleError(f"{segment.folder}: damaged: {found}")
    return segment


class IndexWriter:
    """Changes an index; what is not committed is as if it had never been.

    Args:
        folder: of the index, or an empty one for a new index.
        settings: of a new index.
        analyzer: of a new index.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], analyzer: Analyzer) -> None:
        self.folder, self.analyzer = folder, analyzer
        (folder / SEGMENTS).mkdir(exist_ok=True)
        known = (folder / bundle.MANIFEST).exists()
        index = Index.open(folder) if known else Index(folder, {"segments": []}, ())
        self.settings = index.manifest.get("settings", settings)
        self._prune(index.manifest["segments"])
        self._old, self._new = list(index.segments), list[Segment]()
        self._deletions = [entry.get("deleted") for entry in index.manifest["segments"]]
        self._replaced = [set[int]() for _ in self._old]  # documents of the old segments that go
        self._builder: SegmentBuilder | None = None
        self.added = self.unchanged = self.words = 0

    @property
    def replaced(self) -> int:
        """How many documents have taken the place of others."""
        return sum(map(len, self._replaced))

    def add(self, given: Any) -> None:
        """Add a document; one that the index has under the same id gives way, unless it is the same.

        Raises:
            DataError: if it is no document, or its id has been added before since the writer was made.
        """
        document = as_document(given)
        key, line = _encoded(document)
        if key and self._is_added(key):
            raise DataError(f"two documents have the id {document.id!r}")
        if key and (place := _find(self._old, key)):
            segment, number = place
            if self._old[segment].line(number) == line:
                self.unchanged += 1
                return
            self._replaced[segment].add(number)
        words = self.analyzer(document.text)
        if self._builder is None:
            self._builder = SegmentBuilder(self._next_folder())
        self._builder.add(key, line, words, values_of(document.metadata))
        self.added += 1
        self.words += len(words)
        if self._builder.full:
            self._flush()

    def add_index(self, other: Index) -> None:
        """Add the documents of another index, as if each were added."""
        for segment in other.segments:
            for number in np.flatnonzero(segment.live).tolist():
                if (key := segment.ids[number]) and (place := _find(self._old, key)):
                    self._replaced[place[0]].add(place[1])
        self._new.append(merge_segments(other.segments, self._next_folder()))
        self.added += self._new[-1].documents
        self.words += self._new[-1].words

    def commit(self) -> Index:
        """Make the changes last: first the segments, then the manifest that names them.

        Raises:
            DataError: if nothing was added, or no word is in it.
        """
        self._flush()
        if not self.added and not self.unchanged:
            raise DataError("there are no documents to index")
        if self.added and not self.words:
            raise DataError(f"no word is left of {self.added} documents: all are empty or stop words")
        if not self.added:
            return Index.open(self.folder)
        segments, names = self._kept()
        segments += self._new
        names += [None] * len(self._new)
        while count := alike([segment.words + segment.documents for segment in segments]):
            segments[-count:] = [merge_segments(segments[-count:], self._next_folder())]
            names[-count:] = [None]
        entries = [
            {"name": segment.folder.name, "documents": segment.documents, "words": segment.words, "deleted": name}
            for segment, name in zip(segments, names, strict=True)
        ]
        manifest = {
            "task": KIND, "index_format": FORMAT, "settings": self.settings, "analyzer": self.analyzer.to_dict(),
            "analyzer_fingerprint": self.analyzer.fingerprint(), "segments": entries,
            "data": {name: sum(entry[name] for entry in entries) for name in ("documents", "words")},
        }  # fmt: skip
        sync_folder(self.folder / SEGMENTS)
        bundle.write_manifest(self.folder, manifest)
        self._prune(entries)
        return Index.open(self.folder)

    def close(self) -> None:
        """Give up what was not committed."""
        if self._builder is not None:
            self._builder.close()
        manifest = self.folder / bundle.MANIFEST
        self._prune(_read_manifest(self.folder)["segments"] if manifest.exists() else [])

    def _is_added(self, key: bytes) -> bool:
        return (self._builder is not None and key in self._builder.ids) or _find(self._new, key) is not None

    def _flush(self) -> None:
        """Write the documents that are at hand as a segment, and join it with others of its size."""
        if self._builder is None:
            return
        self._new.append(self._builder.finish())
        self._builder = None
        while count := alike([segment.words + segment.documents for segment in self._new]):
            parts = self._new[-count:]
            self._new[-count:] = [merge_segments(parts, self._next_folder())]
            for part in parts:
                shutil.rmtree(part.folder)

    def _kept(self) -> tuple[list[Segment], list[str | None]]:
        """The old segments without what was replaced, and the names of the files that say so."""
        segments, names = [], []
        for segment, name, replaced in zip(self._old, self._deletions, self._replaced, strict=True):
            if replaced:
                deleted = np.array(sorted(replaced.union(segment.deleted.tolist())), np.int32)
                segment, name = Segment(segment.folder, deleted), None
                if segment.documents < len(segment) // 2:
                    segment = merge_segments([segment], self._next_folder())
                else:
                    name = f"{self._next_folder().name}{_DELETED}"
                    bundle.write_tensors(self.folder / SEGMENTS / name, {"documents": deleted})
            if segment.documents:
                segments.append(segment)
                names.append(name)
        return segments, names

    def _next_folder(self) -> Path:
        names = [entry.name.removesuffix(_DELETED) for entry in (self.folder / SEGMENTS).iterdir()]
        taken = max((int(name) for name in names if name.isdigit()), default=0)
        return self.folder / SEGMENTS / f"{taken + 1:06}"

    def _prune(self, entries: list[dict[str, Any]]) -> None:
        """Remove what no manifest names: what has become part of another segment, and what a killed process left."""
        kept = {entry[name] for entry in entries for name in ("name", "deleted")}
        for entry in (self.folder / SEGMENTS).iterdir():
            if entry.name not in kept:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _find(segments: Sequence[Segment], key: bytes) -> tuple[int, int] | None:
    """The segment and the number of the document that has an id."""
    hashes = hashes_of([key]) if segments else np.empty(0)
    for at, segment in enumerate(segments):
        number = segment.ids.find([key], hashes)[0]
        if number >= 0 and segment.live[number]:
            return at, number
    return None


def _encoded(document: Document) -> tuple[bytes, bytes]:
    """Its id, and all of it, as JSON."""
    key = b"" if document.id is None else _json(document.id)
    fields = {"text": document.text, **document.metadata}
    try:
        return key, _json(fields if document.id is None else {"id": document.id, **fields}) + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"metadata of {document.text[:40]!r} are not what JSON has: {error}") from None


def _json(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def alike(sizes: Sequence[int]) -> int:
    """How many of the last segments ought to become one, so that there are few and each is rewritten few times.

    As in an odometer: four of a size become one of the next, and so does what is smaller than the segment after it.

    >>> alike([5000, 5000, 5000]), alike([5000, 5000, 5000, 5000]), alike([100_000, 5000, 30_000])
    (0, 4, 2)
    """
    levels = [max(size, _SMALL).bit_length() // 2 for size in sizes]  # ⌊log₄⌋, but for a constant
    count = next((n for n, level in enumerate(reversed(levels)) if level > levels[-1]), len(levels))
    return count if count >= _ALIKE or len(set(levels[len(levels) - count :])) > 1 else 0
