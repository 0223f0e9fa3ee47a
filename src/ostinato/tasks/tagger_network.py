"""The network of a tagger: words and their characters, layers in both directions, a label for each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.cells import LSTMCell
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.networks import Bidirectional, Deep
from ostinato.pooling import final_hidden
from ostinato.topologies import SeqToSeq


class TokenBatch(NamedTuple):
    """Sentences side by side; beyond a length stand zeros, in `tags` −100."""

    words: Tensor
    """int64 [time, batch]."""
    forms: Tensor
    """int64 [time, batch]: which of the different tokens of the batch stands there."""
    characters: Tensor
    """int64 [characters, forms]: of the different tokens."""
    character_lengths: Tensor
    """int64 [forms]."""
    inputs: Tensor
    """int64 [inputs, time, batch]."""
    tags: Tensor
    """int64 [time, batch]; −100 also for what training never had."""
    labels: Tensor
    """int64 [batch]; −100 for none."""
    lengths: Tensor
    """int64 [batch]."""
    given: Sequence[bytes]
    """The tags and labels as the files have them, see `ostinato.tasks.tagger`."""


def ragged(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Tensor:
    """Pieces of an array side by side, int64 [longest, pieces], zero beyond their lengths; without a loop over them.

    >>> ragged(np.array([5, 6, 7, 8]), np.array([0, 3]), np.array([3, 1])).tolist()
    [[5, 8], [6, 0], [7, 0]]
    """
    steps = np.arange(max(1, lengths.max(initial=0)))[:, None]
    live = steps < lengths
    return torch.from_numpy(np.where(live, values[np.where(live, starts + steps, 0)] if len(values) else 0, 0))


def token_batch(rows: Sequence[Mapping[str, Any]], further: int) -> TokenBatch:
    """Sentences side by side, and each of their different tokens once.

    Args:
        rows: of sentences, see `Tagger.encode`.
        further: how many inputs there are besides words and characters.
    """
    lengths = np.array([len(row["words"]) for row in rows], np.int64)
    starts = np.cumsum(lengths) - lengths
    words, keys, characters, sizes, tags, labels = (
        np.concatenate([row[name] for row in rows]).astype(np.int64, copy=False)
        for name in ("words", "keys", "characters", "sizes", "tags", "label")
    )
    if not len(keys):  # only empty sentences: one form that none of them has keeps the shapes
        keys, sizes, characters = np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64)
    _, first, forms = np.unique(keys, return_index=True, return_inverse=True)
    begins = np.cumsum(sizes) - sizes
    inputs = np.concatenate([row["inputs"].reshape(further, len(row["words"])) for row in rows], axis=1)
    ids = ragged(tags, starts, lengths)
    held = torch.arange(len(ids)).unsqueeze(1) < torch.from_numpy(lengths)
    return TokenBatch(
        ragged(words, starts, lengths),
        ragged(forms, starts, lengths),
        ragged(characters, begins[first], sizes[first]),
        torch.from_numpy(sizes[first]),
        torch.stack([ragged(column, starts, lengths).long() for column in inputs]) if further else ids.new_zeros(0),
        ids.masked_fill_(~held | (ids < 0), IGNORED),
        torch.from_numpy(np.where(labels < 0, IGNORED, labels)),
        torch.from_numpy(lengths),
        [row["given"].tobytes() for row in rows],
    )


class WordsAndCharacters(nn.Module):
    """What stands for a token: e(word), and the last states of an LSTM over its characters in both directions.

    The characters are read once for each different token of a batch (Lample et al. 2016, section 4.1). In training a
    word is unknown with the probability α / (α + its count), so that `<unk>` is learned where it is needed
    (Kiperwasser & Goldberg 2016, section 4).

    Args:
        counts: of the words in training, [words].
        embedding_size: features of a word.
        characters: how many there are.
        character_embedding: features of a character.
        character_hidden: units over characters, in each direction; 0: words alone.
        inputs: how many ids each further input has.
        input_embedding: features of each of those.
        word_dropout: α.

    Shapes:
        a `TokenBatch` → [time, batch, output_size].
    """

    counts: Tensor

    def __init__(
        self, counts: Tensor, embedding_size: int, characters: int, character_embedding: int, character_hidden: int,
        inputs: Sequence[int], input_embedding: int, word_dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.words = nn.Embedding(len(counts), embedding_size)
        self.register_buffer("counts", counts.float())
        self.word_dropout = word_dropout
        self.characters = self.speller = None
        if character_hidden:
            self.characters = nn.Embedding(characters, character_embedding)
            cells = [LSTMCell(character_embedding, character_hidden, weight_init="xavier") for _ in range(2)]
            self.speller = Bidirectional(*cells)
        self.inputs = nn.ModuleList(nn.Embedding(size, input_embedding) for size in inputs)
        tables = [self.words, *([self.characters] if self.characters is not None else []), *self.inputs]
        for table in tables:
            nn.init.uniform_(table.weight, -((3 / table.embedding_dim) ** 0.5), (3 / table.embedding_dim) ** 0.5)
        self.output_size = embedding_size + 2 * character_hidden + input_embedding * len(inputs)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Features of every token."""
        words = batch.words
        if self.training and self.word_dropout:
            rare = self.word_dropout / (self.word_dropout + self.counts)
            words = torch.where(torch.rand(words.shape, device=words.device) < rare[words], 0, words)
        parts = [self.words(words)]
        if self.characters is not None and self.speller is not None:
            _, state = self.speller(self.characters(batch.characters), lengths=batch.character_lengths)
            parts.append(functional.embedding(batch.forms, final_hidden(state)))
        parts += [table(ids) for table, ids in zip(self.inputs, batch.inputs, strict=True)]
        return torch.cat(parts, dim=-1)


class TaggerNetwork(SeqToSeq):
    """A label a step, and, with a `label_head`, one for the whole sentence from the pooled outputs of all steps.

    What dropout takes away on the way in and out it takes from all steps of a sentence (Gal & Ghahramani 2016): for
    taggers that is the better kind (Reimers & Gurevych 2017, section 7.3), and its masks are drawn in no time.
    """

    def __init__(
        self, embedding: nn.Module, network: Deep, head: nn.Module, pooling: nn.Module | None,
        label_head: nn.Module | None, input_dropout: float, output_dropout: float,
    ) -> None:  # fmt: skip
        super().__init__(embedding, network, head, input_dropout, output_dropout)
        self.pooling, self.label_head = pooling, label_head

    def features(self, batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
        """What the heads read: [time, batch, hidden], and [batch, hidden] for that of the sentence, if there is one."""
        embedded = _locked(self.input_dropout, self.embedding(batch))
        outputs, state = self.network(embedded, None, batch.lengths)
        pooled: Any = None
        if self.pooling is not None:
            pooled = self.output_dropout(self.pooling(outputs, state, batch.lengths))
        return _locked(self.output_dropout, outputs), pooled


def _locked(dropout: nn.Module, values: Tensor) -> Tensor:
    """The same features of a sentence dropped at all its steps, [time, batch, features]."""
    return values * dropout(torch.ones_like(values[:1])) if dropout.training else values
