"""Word vectors that an embedding begins with: one way for every task whose settings hold `EmbeddingSettings`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ostinato.bundle import read_tensors, write_tensors
from ostinato.codecs.vocabulary import UNKNOWN
from ostinato.errors import DataError, SettingsError
from ostinato.settings import Settings
from ostinato.tasks.committee import members_of

if TYPE_CHECKING:
    from ostinato.features.word_vectors import WordVectors

_KEPT = "vectors.safetensors"  # of run/: a resumed training needs the vectors' own files no more


class EmbeddingSettings(Settings):
    """What stands for a token."""

    embedding_size: int | None = Field(None, ge=1, description="features of a token")
    vectors: str | None = Field(
        None, description="word vectors to begin with: a folder, or a file of word2vec's or GloVe's; they set its size"
    )


def open_vectors(settings: Any) -> tuple[WordVectors | None, Any]:
    """The word vectors that settings name, if they do, and the settings with the size that follows.

    Raises:
        SettingsError: if they name another size as well.
        DataError, BundleError: if the vectors cannot be read.
    """
    path = getattr(settings, "vectors", None)
    if path is None:
        return None, settings
    from ostinato.features.word_vectors import WordVectors  # which takes a second that few trainings need

    vectors = WordVectors.read(path)
    width = vectors.vectors_.shape[1]
    if settings.embedding_size not in (None, width):
        raise SettingsError(
            f"embedding_size = {settings.embedding_size}, but the vectors of {path} have {width} features: leave it out"
        )
    return vectors, settings.model_copy(update={"embedding_size": width})


def keep_rows(vectors: WordVectors, tokens: Sequence[str], texts: Iterable[np.ndarray], run: Path) -> str:
    """Write the vectors of a vocabulary into `run/`.

    A token is looked up without the blank before it: as it is, or as the vectors' analyzer has it (in lower case, say);
    with fastText a token never seen has the vector of its n-grams.

    Args:
        vectors: of words.
        tokens: by id.
        texts: the ids of the training text, in blocks.
        run: the folder.

    Returns:
        How many tokens are covered, for the user.

    Raises:
        DataError: if none is.
    """
    found: dict[int, np.ndarray] = {}
    by_ngrams = 0
    for index, token in enumerate(tokens):
        word = token.strip()
        if not word or (word == UNKNOWN and word not in vectors.words_):  # <unk> is not the word unk
            continue
        if (row := vectors.lookup(word)) is not None and row.any():
            found[index] = row
            by_ngrams += word not in vectors
    if not found:
        raise DataError(f"none of the {len(tokens):,} tokens has a vector: are the vectors of another language?")
    counts = sum((np.bincount(block, minlength=len(tokens)) for block in texts), np.zeros(len(tokens), np.int64))
    ids = np.array(list(found), np.int64)
    covered, of = int(counts[ids].sum()), int(counts.sum())
    notes = {"tokens_with_vectors": str(len(ids)), "text_with_vectors": f"{covered / max(of, 1):.4f}"}
    write_tensors(run / _KEPT, {"ids": ids, "rows": np.stack(list(found.values())).astype(np.float32)}, notes)
    ngrams = f", {by_ngrams:,} of them by their n-grams" if by_ngrams else ""
    share = f"{covered / max(of, 1):.1%} of the training text"
    return f"vectors for {len(ids):,} of {len(tokens):,} different tokens{ngrams}: {share}"


@torch.no_grad()
def begin_with_rows(network: Any, run: Path) -> dict[str, Any]:
    """Put the vectors that `keep_rows` wrote, if it did, in the place of random rows of a network's `embedding`.

    All are scaled by one number, so that their mean square is that of the rows they replace: what reads the embedding
    was initialised for that. Tokens without a vector keep their random rows.

    Returns:
        What is covered, by name.
    """
    if not (run / _KEPT).exists():
        return {}
    tensors, notes = read_tensors(run / _KEPT)
    ids, rows = torch.from_numpy(tensors["ids"]), torch.from_numpy(tensors["rows"])
    for member in members_of(network):
        embedding: nn.Embedding = getattr(member.embedding, "words", member.embedding)
        replaced = embedding.weight[ids.to(embedding.weight.device)]
        scale = replaced.square().mean().sqrt() / rows.square().mean().sqrt().to(replaced.device)
        embedding.weight[ids.to(embedding.weight.device)] = rows.to(replaced) * scale
    return {
        "tokens_with_vectors": int(notes["tokens_with_vectors"]),
        "text_with_vectors": float(notes["text_with_vectors"]),
    }
