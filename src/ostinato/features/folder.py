"""Features as a folder: JSON and safetensors.

ostinato.json        kind, settings, analyzer, number of documents
vocabulary.json      the terms in the order of their columns
other_terms.json     terms that were counted and have no column, so that more can be added
counts.safetensors   document frequency and occurrences of the columns, then of the other terms
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.analysis import Analyzer
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features.statistics import TermStatistics
from ostinato.files import write_bytes

VOCABULARY, OTHERS, COUNTS = "vocabulary.json", "other_terms.json", "counts.safetensors"


def write_features(features: Any, folder: Path, statistics: bool) -> None:
    """Write features with what they have counted into a folder; without `statistics` only the columns."""
    counted: TermStatistics = features.statistics_
    columns: list[Any] = list(features._settled())
    others: list[Any] = []
    if features.hashed is None:
        held = set(columns)
        others = sorted(term for term in counted.document_frequency if term not in held)
        whole = counted.whole and (statistics or not others)
        others = others if whole else []
        write_terms(folder / VOCABULARY, columns)
        write_terms(folder / OTHERS, others)
    else:
        whole = counted.whole
    manifest = {
        "task": features.kind, "settings": features.settings().plain(), "analyzer": features.base_analyzer().to_dict(),
        "analyzer_fingerprint": features.analyzer_.fingerprint(), "whole": whole,
        "own_vocabulary": features.vocabulary is not None,
        "data": {"documents": counted.documents, "columns": len(columns)},
    }  # fmt: skip
    bundle.write_manifest(folder, manifest)
    terms = [*columns, *others]
    counters = {"document_frequency": counted.document_frequency, "occurrences": counted.occurrences}
    arrays = {n: np.fromiter((c[term] for term in terms), np.int64, len(terms)) for n, c in counters.items()}
    bundle.write_tensors(folder / COUNTS, arrays)


def read_features(kind: Any, folder: Path) -> Any:
    """The features of a class that stand in a folder.

    Raises:
        BundleError: if they are missing, damaged, of another kind, or were counted by other rules than this version's.
    """
    manifest = bundle.read_manifest(folder)
    if manifest["task"] != kind.kind:
        raise BundleError(f"{folder}: holds {manifest['task']}, not {kind.kind}")
    hashed = manifest["settings"].get("hashed")
    try:
        analyzer = Analyzer.from_dict(manifest["analyzer"])
        own, whole, documents = manifest["own_vocabulary"], manifest["whole"], manifest["data"]["documents"]
        columns = read_terms(folder / VOCABULARY) if hashed is None else list(range(hashed))
        features = kind(**manifest["settings"], analyzer=analyzer, vocabulary=columns if own else None)
        features._begin()
    except (SettingsError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / bundle.MANIFEST}: damaged: {error}") from None
    if (found := manifest.get("analyzer_fingerprint")) != features.analyzer_.fingerprint():
        raise BundleError(
            f"{folder}: its terms were found by other rules than this version's (analyzer {found}, here "
            f"{features.analyzer_.fingerprint()}): fit it anew"
        )
    arrays, _ = bundle.read_tensors(folder / COUNTS)
    terms = columns if hashed is not None else columns + read_terms(folder / OTHERS)
    sizes = {name: arrays[name].shape for name in ("document_frequency", "occurrences") if name in arrays}
    if set(sizes.values()) != {(len(terms),)} or len(sizes) != 2:
        raise BundleError(f"{folder / COUNTS}: damaged: expected two vectors of {len(terms)} counts, found {sizes}")
    counted: TermStatistics = features.statistics_
    counted.add_columns(terms, documents, arrays["document_frequency"], arrays["occurrences"])
    counted.whole = whole
    try:
        fits = hashed is not None or list(features._settled()) == columns
    except (SettingsError, DataError):  # no column at all
        fits = False
    if not fits:
        raise BundleError(f"{folder}: damaged: the counts do not lead to the columns of {VOCABULARY}")
    return features


def write_terms(path: Path, terms: Iterable[str]) -> None:
    """Write terms as a JSON list, one a line."""
    # a lone surrogate is no UTF-8, but it may have been a token
    text = json.dumps(list(terms), ensure_ascii=False, indent=0) + "\n"
    write_bytes(path, text.encode("utf-8", "surrogatepass"))


def read_terms(path: Path) -> list[str]:
    """The terms that `write_terms` wrote.

    Raises:
        BundleError: if the file is missing or damaged.
    """
    try:
        terms = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BundleError(f"{path}: damaged: {error}") from None
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise BundleError(f"{path}: damaged: expected a list of strings")
    return terms
