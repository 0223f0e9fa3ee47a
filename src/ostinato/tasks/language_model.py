"""Language modelling: text to the probability of each next token, and text written by drawing from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.codecs.text import TextSettings
from ostinato.heads import make_head
from ostinato.tasks.corpus import Corpus, ReadingSettings, prepare
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.fitting import FittedModel
from ostinato.tasks.next_token import NextToken, mean_loss
from ostinato.tasks.recurrent_settings import RecurrentSettings, recurrent_network
from ostinato.tasks.writing import WritingModel
from ostinato.tokens import TokenFile
from ostinato.topologies import SeqToSeq
from ostinato.training.settings import TrainingSettings, TruncationSettings
from ostinato.training.windows import Windows


class LanguageModelSettings(
    TextSettings, ReadingSettings, EmbeddingSettings, RecurrentSettings, TruncationSettings, TrainingSettings
):
    """All that can be set about a language model."""

    embedding_size: int | None = Field(
        None, ge=1, description="features of a token [default: hidden_size, at most 64 for characters]"
    )
    tie_weights: bool = Field(False, description="the output layer shares the embedding's weights")
    softmax: Literal["full", "adaptive", "sampled"] = Field("full", description="softmax that training descends")
    num_samples: int = Field(1024, ge=1, description="sampled softmax: negatives a step")
    cutoffs: list[int] | None = Field(None, description="adaptive softmax: ids at which clusters begin")

    @model_validator(mode="after")
    def _agree(self) -> LanguageModelSettings:
        if self.vectors is not None and self.level == "bpe":
            raise ValueError("vectors: are of words or characters, and tokens of level = bpe are pieces of bytes")
        if self.softmax == "adaptive" and self.tie_weights:
            raise ValueError(
                "tie_weights: the clusters of softmax = adaptive have no weights to share; use full or sampled"
            )
        if self.softmax != "full" and self.label_smoothing:
            raise ValueError(f"label_smoothing: softmax = {self.softmax} has no smoothed form; use full")
        return self


class LanguageModel(WritingModel, FittedModel):
    r"""A recurrent language model: p(text) = ∏ p(token | tokens before), by a cell of any kind over embedded tokens.

    Args:
        settings: by name, see `LanguageModelSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "corpus.txt"
    >>> _ = path.write_text("the cat sat on the mat\n" * 200)
    >>> model = LanguageModel(hidden_size=16, num_layers=1, epochs=2, batch_size=4, warmup_steps=0, seed=1)
    >>> _ = model.fit(path, progress=False)
    >>> len(model.generate("the ", tokens=5, seed=0))
    9
    >>> sorted(model.evaluate(path))
    ['bits_per_character', 'characters', 'loss', 'perplexity', 'tokens', 'unknown_tokens']
    """

    task = "language-model"
    Settings = LanguageModelSettings

    def build(self) -> SeqToSeq:
        """Embedding, layers and head, with fresh weights."""
        s, size = self.settings, len(self.codec)
        width = s.embedding_size or (min(s.hidden_size, 64) if s.level == "char" else s.hidden_size)
        embedding = nn.Embedding(size, width)
        # tied, the embedding is the output layer, whose logits should start small
        nn.init.normal_(embedding.weight, std=0.05 if s.tie_weights else width**-0.5)
        network = recurrent_network(s, width)
        shared = embedding.weight if s.tie_weights else None
        features = width if s.tie_weights else s.hidden_size
        head = make_head(s.softmax, features, size, shared, samples=s.num_samples, cutoffs=s.cutoffs)
        return SeqToSeq(embedding, network, head, *s.around())

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Corpus:
        """Read, learn the codec, write ids."""
        text, reading = self._part(TextSettings), self._part(ReadingSettings)
        return prepare(sources, validation, text, reading, folder, self.reporter.message)

    def objective(self, corpus: Corpus) -> NextToken:
        """What training descends."""
        return NextToken(self, corpus)

    def initial_state(self, rows: int) -> Any:
        """Zeros."""
        return self.network.initial_state(rows)

    @torch.no_grad()
    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the network."""
        return self.network.step(ids.to(self._device), state)

    @torch.no_grad()
    def follow(self, ids: Sequence[int], state: Any) -> tuple[list[float], Any]:
        """The network's state, and the token that it has yet to read."""
        state, last = state or (self.initial_state(1), self.codec.start_id())
        read = torch.tensor([last, *ids], device=self._device).unsqueeze(1)
        hidden, state = self.network(read[:-1], state)
        log_p = self.network.head.log_probabilities(hidden).gather(2, read[1:].unsqueeze(1))
        return log_p.flatten().tolist(), (state, ids[-1])

    def mean_loss(self, tokens: TokenFile, batch_size: int | None) -> float:
        """Streams side by side, each without context at its start: one for every 10,000 tokens, at most 64, if None."""
        rows = batch_size or max(1, min(64, len(tokens) // 10_000))
        return mean_loss(self.network, Windows(tokens, rows, 256 if rows > 1 else 1024))

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device
