"""A frozen BERT before a recurrent network: the contextual vector of each token or word is what the network reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.settings import Settings

if TYPE_CHECKING:
    from ostinato.features.bert import BertVectors


class BertInputSettings(Settings):
    """Whose vectors a network reads."""

    bert: str | None = Field(
        None, description="read the vectors of a frozen BERT instead of embeddings: a folder, or a name on the hub"
    )
    bert_layer: int = Field(-1, description="whose output: 0 the embeddings, 1 the first layer, -1 the last")


class BertTokens(NamedTuple):
    """The tokens of a text."""

    tokens: tuple[str, ...]
    spans: np.ndarray
    """First character and end of each, int64 [tokens, 2]."""
    vectors: np.ndarray
    """float32 [tokens, features]."""


class BertInputs:
    """Vectors of texts of any length: one longer than the encoder reads goes in pieces, cut between its words.

    Args:
        settings: with `bert` and `bert_layer`.
        device: cpu, cuda or auto.

    Raises:
        BundleError: if the encoder cannot be had.
        MissingExtra: if transformers is not installed.
    """

    def __init__(self, settings: Any, device: str = "auto") -> None:
        from ostinato.features.bert import BertVectors  # which takes seconds that few trainings need

        self._encoder: BertVectors = BertVectors(settings.bert, layer=settings.bert_layer, device=device)
        self._longest = self._encoder.encoder_.max_length - 2  # beside [CLS] and [SEP]

    @property
    def size(self) -> int:
        """Features of a vector."""
        return self._encoder.encoder_.network.config.hidden_size

    def of_texts(self, texts: Sequence[str]) -> list[BertTokens]:
        """The tokens of each text, and their vectors."""
        pieces = [list(self._cut(text)) for text in texts]
        found = iter(
            self._encoder.tokens([text[a:b] for text, cuts in zip(texts, pieces, strict=True) for a, b in cuts])
        )
        joined = []
        for cuts in pieces:
            parts = [(start, next(found)) for start, _ in cuts]
            tokens = tuple(token for _, part in parts for token in part.tokens)
            spans = np.concatenate([part.spans + start for start, part in parts])
            joined.append(BertTokens(tokens, spans, np.concatenate([part.vectors for _, part in parts])))
        return joined

    def of_words(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """A vector for each word of sentences whose words are known: the mean of its tokens', [words, features].

        A word of which the tokenizer makes nothing has zeros.
        """
        found = []
        for words, text in zip(sentences, self.of_texts([" ".join(words) for words in sentences]), strict=True):
            ends = np.cumsum([len(word) + 1 for word in words])
            rows = np.zeros((len(words), self.size), np.float32)
            counts = np.zeros(len(words))
            at = np.searchsorted(ends, text.spans[:, 0], side="right")
            np.add.at(rows, at, text.vectors)
            np.add.at(counts, at, 1)
            found.append(rows / np.maximum(counts, 1)[:, None].astype(np.float32))
        return found

    def _cut(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the pieces of a text begin and end; almost all texts are one."""
        tokenizer = self._encoder.encoder_.tokenizer
        tokenizer.no_truncation()
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        start = first = 0
        while len(offsets) - first > self._longest:
            last = first + self._longest
            # back to where a word begins, so that what is cut off is tokenised as before; unless a word fills it all
            at = next((n for n in range(last, first, -1) if offsets[n][0] > offsets[n - 1][1]), last)
            yield start, offsets[at][0]
            start, first = offsets[at][0], at
        yield start, len(text)
