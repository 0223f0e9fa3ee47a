"""An embedding of words, alone or together with the n-grams of their characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        return self.embedded(words, ids)

    def embedded(self, words: Words, ids: Tensor) -> Tensor:
        """The same of these ids, with the words' n-grams, and no word taken for unknown."""
        found = self.words(ids)
        if self.ngrams is None or words.buckets is None:
            return found
        time, batch = ids.shape
        return found + self.ngrams(words.buckets, words.starts).view(batch, time, -1).transpose(0, 1)


class NameEmbedding(nn.Module):
    r"""e_w for each of the different words w of the names of labels, and what scores of words say of the labels.

    Names and texts share one embedding: what is learned of a word holds for both (Wang et al. 2018, section 3.1).

    Args:
        embedding: of the words, also of texts; whose parameters it stays.
        words: the different words of all names, [1, words].
        names: the places of its words among them, for each label.

    >>> embedding = SubwordEmbedding(10, 4)
    >>> named = NameEmbedding(embedding, Words(torch.tensor([[7, 8]])), [[0], [0, 1], []])
    >>> named().shape
    torch.Size([2, 4])
    >>> named.of_labels(torch.tensor([[3.0, 1.0]])).square().round(decimals=4).tolist()
    [[9.0, 8.0, 0.0]]
    """

    _places: Tensor
    _shares: Tensor

    def __init__(self, embedding: SubwordEmbedding, words: Words, names: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._embedding = (embedding,)  # in a tuple, that its weights are not written twice
        for field, value in words._asdict().items():
            self.register_buffer(f"_{field}", value, persistent=False)  # the codec has them
        padded = nn.utils.rnn.pad_sequence(
            [torch.tensor([*name, words.ids.shape[1]]) for name in names], True, words.ids.shape[1]
        )
        self.register_buffer("_places", padded, persistent=False)
        shares = torch.tensor([max(len(name), 1) ** -0.5 for name in names])
        self.register_buffer("_shares", shares, persistent=False)

    def forward(self) -> Tensor:
        """E, [words, features]."""
        words = Words(*(getattr(self, f"_{field}") for field in Words._fields))
        return self._embedding[0].embedded(words, words.ids)[0]

    def of_labels(self, scores: Tensor) -> Tensor:
        """Scores of the words [batch, words] → n_k^(−1/2) Σ_{w in name k} of them, [batch, labels]."""
        return functional.pad(scores, (0, 1))[:, self._places].sum(2) * self._shares


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
