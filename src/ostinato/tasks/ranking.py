"""Ranking: the texts of a corpus that are most like a query, as a stream; their vectors can be kept beside it."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import tee
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.data import TextReader, fingerprint
from ostinato.errors import DataError, SettingsError
from ostinato.features.matrices import in_batches
from ostinato.files import write_text, writing_folder
from ostinato.networks import named_weights
from ostinato.records import RecordReader
from ostinato.table import Table

_ABOUT = "about.json"


class Found(NamedTuple):
    """A text of a corpus."""

    score: float
    """How like the query it is, on the scale of the training data."""
    place: int
    """Which of the texts it is, from 0."""
    text: str


def most_similar(
    model: Any, query: str, texts: Iterable[str], top: int, vectors: Iterable[np.ndarray] | None = None
) -> list[Found]:
    """The texts that are most like a query, the best first; of equal ones the earlier. Some thousand are held at once.

    Args:
        model: a `Similarity`.
        query: a text.
        texts: as they come.
        top: how many at most.
        vectors: of the texts, if they are known.

    Raises:
        DataError: if the query holds no words.
        SettingsError: if `top` is less than 1.
    """
    if top < 1:
        raise SettingsError(f"top = {top}: at least 1")
    if not len(model.codec.text_row(query)["words"]):
        raise DataError(f"the query holds no words: {query[:60]!r}")
    first, again = tee(texts)
    heap: list[tuple[float, int, str]] = []  # the worst of the best on top; of equal ones the latest
    for place, (text, score) in enumerate(zip(again, _scores(model, query, first, vectors), strict=False)):
        if len(heap) < top:
            heapq.heappush(heap, (score, -place, text))
        elif score > heap[0][0]:
            heapq.heapreplace(heap, (score, -place, text))
    return [Found(score, -negative, text) for score, negative, text in sorted(heap, reverse=True)]


def _scores(model: Any, query: str, texts: Iterable[str], vectors: Iterable[np.ndarray] | None) -> Iterator[float]:
    """How like the query each text is."""
    if not model.by_vectors:
        if vectors is not None:
            raise SettingsError(
                "this model compares word by word, so vectors are of no use: leave out --keep, or train it with "
                "--compare distribution"
            )
        yield from (found.score for found in model.predict((query, text) for text in texts))
        return
    (wanted,) = model.vectors([query])
    for block in in_batches(model.vectors(texts) if vectors is None else vectors):
        yield from model.compare(wanted, np.stack(block)).tolist()


def kept_vectors(model: Any, reader: RecordReader, column: str | None, folder: Path) -> Iterator[np.ndarray]:
    """The vectors of a corpus from a folder, in which they are written first if it holds none of this corpus and model.

    Raises:
        DataError: if they cannot be read, or something else stands there.
    """
    about = _about(model, reader, column)
    if folder.exists() and not (folder / _ABOUT).is_file():
        raise DataError(f"{folder}: is not a folder of vectors: move it away, or leave out --keep")
    if not folder.exists() or json.loads((folder / _ABOUT).read_text("utf-8")) != about:
        with writing_folder(folder) as new:
            rows = ({"vector": vector} for vector in model.vectors(reader.texts(column)))
            Table.write(new, "vectors", rows, {"vector": "<f4"})
            write_text(new / _ABOUT, json.dumps(about, indent=1) + "\n")
    table = Table(folder, "vectors")
    return (table.entry("vector", row) for row in range(len(table)))


def _about(model: Any, reader: RecordReader, column: str | None) -> dict[str, Any]:
    """What the vectors depend on."""
    digest = hashlib.sha256()
    for name, weight in named_weights(model.network).items():
        digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    corpus = asdict(fingerprint(TextReader(reader.files, reader.encoding, reader.errors)))
    how = {"column": column, "format": reader.format, "header": reader.header}
    return {"corpus": corpus | {"files": list(corpus["files"])}, "weights": digest.hexdigest(), **how}
