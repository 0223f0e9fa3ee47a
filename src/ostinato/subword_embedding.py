"""An embedding of words, alone or together with the n-grams of their characters."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Words(NamedTuple):
    """Some steps of sequences side by side."""

    ids: Tensor
    """int64 [time, batch]."""
    buckets: Tensor | None = None
    """Of the n-grams of all words on end, sequence by sequence, int64; None where there are none."""
    starts: Tensor | None = None
    """Where those of each word begin, padding among them, int64 [batch · time], sequence by sequence."""
    vectors: Tensor | None = None
    """Vectors that are not trained, instead of all that, float32 [time, batch, features]."""


class SubwordEmbedding(nn.Module):
    """e(w) = v_w + (1/n) Σ_g z_g over the n n-grams g of a word w (after Bojanowski et al. 2017, section 3.2).

    A word that the vocabulary does not hold has the vector v of `<unk>`, id 0, and its own n-grams, so two of them that
    look alike are alike.

    Args:
        words: how many, by id.
        features: of a word.
        buckets: of n-grams; 0: words alone.
        word_dropout: probability that a word is taken for unknown, in training, so that unknown words mean something.

    >>> embedding = SubwordEmbedding(10, 4, buckets=100)
    >>> two = Words(torch.tensor([[1], [2]]), torch.tensor([7, 8, 9]), torch.tensor([0, 1]))
    >>> embedding(two).shape
    torch.Size([2, 1, 4])
    """

    def __init__(self, words: int, features: int, buckets: int = 0, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.output_size, self.word_dropout = features, word_dropout
        self.words = nn.Embedding(words, features)
        nn.init.normal_(self.words.weight, std=features**-0.5)
        self.ngrams = nn.EmbeddingBag(buckets, features, mode="mean") if buckets else None
        if self.ngrams is not None:
            nn.init.normal_(self.ngrams.weight, std=features**-0.5)

    def forward(self, words: Words) -> Tensor:
        """Words [time, batch] → [time, batch, features]; of padding it means nothing."""
        ids = words.ids
        if self.training and self.word_dropout:
            ids = ids * (torch.rand(ids.shape, device=ids.device) >= self.word_dropout)
        found = self.words(ids)
        if self.ngrams is None or words.buckets is None:
            return found
        time, batch = ids.shape
        return found + self.ngrams(words.buckets, words.starts).view(batch, time, -1).transpose(0, 1)


class FrozenVectors(nn.Module):
    """x: the vectors that words come with, which are not trained.

    Args:
        size: features of x.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, words: Any) -> Tensor:
        """Features, [time, batch, size]."""
        assert words.vectors is not None  # noqa: S101
        return words.vectors
