"""An embedding of words together with the n-grams of their characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Tokens(NamedTuple):
    """Words of sequences side by side, each with the buckets of its n-grams."""

    ids: Tensor
    """int64 [time, batch]."""
    buckets: Tensor
    """Those of all words on end, sequence by sequence, int64."""
    starts: Tensor
    """Where those of each word begin, padding among them, int64 [batch · time], sequence by sequence."""


def pad_tokens(ids: Sequence[np.ndarray], buckets: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Tokens:
    """Sequences side by side, filled up at their ends.

    Args:
        ids: of the words of each sequence.
        buckets: of the n-grams of its words, on end.
        counts: how many n-grams each word has.

    >>> tokens = pad_tokens([np.array([1, 2]), np.array([3])], [np.array([7, 8, 9]), np.array([5])], [[1, 2], [1]])
    >>> tokens.ids.tolist(), tokens.starts.tolist()
    ([[1, 3], [2, 0]], [0, 1, 3, 4])
    """
    time = max(map(len, ids), default=0)
    padded = np.zeros((len(ids), time), np.int64)
    of_words = np.zeros((len(ids), time), np.int64)
    for row, (words, its_counts) in enumerate(zip(ids, counts, strict=True)):
        padded[row, : len(words)] = words
        of_words[row, : len(words)] = its_counts
    starts = np.cumsum(of_words) - of_words.ravel()
    flat = np.concatenate([np.asarray(each, np.int64) for each in buckets]) if buckets else np.zeros(0, np.int64)
    return Tokens(torch.from_numpy(padded.T.copy()), torch.from_numpy(flat), torch.from_numpy(starts))


class SubwordEmbedding(nn.Module):
    """e(w) = v_w + (1/n) Σ_g z_g over the n n-grams g of a word w (after Bojanowski et al. 2017, section 3.2).

    A word that the vocabulary does not hold has the vector v of `<unk>` and its own n-grams, so two of them that look
    alike are alike.

    Args:
        words: how many, by id.
        features: of a word.
        buckets: of n-grams.

    >>> embedding = SubwordEmbedding(10, 4, 100)
    >>> embedding(pad_tokens([np.array([1, 2])], [np.array([7, 8, 9])], [[1, 2]])).shape
    torch.Size([2, 1, 4])
    """

    def __init__(self, words: int, features: int, buckets: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, features)
        self.ngrams = nn.EmbeddingBag(buckets, features, mode="mean")
        for table in (self.words, self.ngrams):
            nn.init.normal_(table.weight, std=features**-0.5)

    def forward(self, tokens: Any) -> Tensor:
        """Tokens [time, batch] → [time, batch, features]; of padding it means nothing."""
        time, batch = tokens.ids.shape
        of_ngrams = self.ngrams(tokens.buckets, tokens.starts).view(batch, time, -1).transpose(0, 1)
        return self.words(tokens.ids) + of_ngrams
