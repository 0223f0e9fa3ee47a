"""Word vectors as a folder: JSON and safetensors.

ostinato.json         kind, settings, analyzer, sizes
vocabulary.json       the words in the order of their rows, the most frequent first
weights.safetensors   vectors [words, features]; counts [words] if they were trained here; with fastText
                      ngram_buckets [rows] and ngram_vectors [rows, features]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato import bundle
from ostinato.analysis import Analyzer
from ostinato.errors import BundleError, SettingsError
from ostinato.features.folder import VOCABULARY, read_terms, write_terms
from ostinato.features.subwords import HASHES, Subwords
from ostinato.features.vector_training import VectorSettings


def write_word_vectors(vectors: Any, folder: Path) -> None:
    """Write word vectors into a folder."""
    trained = vectors.counts_ is not None
    settings = vectors.settings().plain() if trained else {"vector_size": vectors.vectors_.shape[1]}
    manifest = {"task": vectors.kind, "settings": settings, "analyzer": vectors.base_analyzer().to_dict()}
    bundle.write_manifest(folder, manifest | {"data": vectors.about_})
    write_terms(folder / VOCABULARY, vectors.words_)
    tensors = {"vectors": vectors.vectors_}
    if trained:
        tensors["counts"] = vectors.counts_
    if vectors.subwords_ is not None:
        tensors |= {"ngram_buckets": vectors.subwords_.held, "ngram_vectors": vectors.subwords_.vectors}
    bundle.write_tensors(folder / bundle.WEIGHTS, tensors)


def read_word_vectors(kind: Any, folder: Path) -> Any:
    """The word vectors of a class that stand in a folder.

    Raises:
        BundleError: if they are missing, damaged, or something else stands there.
    """
    manifest = bundle.read_manifest(folder)
    if manifest["task"] != kind.kind:
        raise BundleError(f"{folder}: holds {manifest['task']}, not {kind.kind}")
    try:
        settings = VectorSettings.checked(manifest["settings"])
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        vectors = kind(Analyzer.from_dict(manifest["analyzer"]), **given)
    except (SettingsError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / bundle.MANIFEST}: damaged: {error}") from None
    words = read_terms(folder / VOCABULARY)
    path = folder / bundle.WEIGHTS
    tensors, _ = bundle.read_tensors(path)
    subwords = None
    rows, features = len(words), settings.vector_size
    wanted: dict[str, tuple[int, ...]] = {"vectors": (rows, features)}
    if "counts" in tensors:
        wanted["counts"] = (rows,)
    if settings.method == "fasttext":
        grams = len(tensors.get("ngram_buckets", ()))
        wanted |= {"ngram_buckets": (grams,), "ngram_vectors": (grams, features)}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != wanted:
        raise BundleError(f"{path}: damaged: expected {wanted}, found {found}")
    if settings.method == "fasttext":
        (fewest, most), held = settings.subwords, tensors["ngram_buckets"]
        subwords = Subwords(fewest, most, settings.buckets or HASHES, held, tensors["ngram_vectors"])
    vectors._take(words, tensors["vectors"], tensors.get("counts"), subwords, manifest.get("data", {}))
    return vectors
