"""The topology of translation: a sequence from a sequence."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.attention import Attention, Memory
from ostinato.networks import Deep
from ostinato.pooling import final_hidden
from ostinato.topologies import Bridge, partly_drawn

FEEDS = ("none", "attentional", "context")
"""What the decoder of an `EncoderDecoder` reads beside the token before."""


class DecoderState(NamedTuple):
    """Where a decoder is; rows are those of the batch, or of several hypotheses, [hypotheses × batch]."""

    recurrent: Any
    fed: Tensor
    """What the next step reads beside its token, [rows, feature]; no features where nothing is."""
    coverage: Tensor
    """Σ of the weights so far, [rows, source]; no steps where attention takes none."""


class EncoderDecoder(nn.Module):
    """A sequence from a sequence: what an encoder makes of the source is attended to while a decoder writes the target.

    h_t = decoder(y_t−1, …), c_t = attention(h_t; encoder's outputs), h̃_t = tanh(W [c_t; h_t] + b), of which the head
    tells y_t (Luong et al. 2015, section 3). What the decoder reads beside y_t−1 is `feed`:

    - none: nothing. Then all steps of a known target run in one call, and attention is one product (section 3.1).
    - attentional: h̃_t−1, so that it knows what was attended to (input feeding, section 3.3).
    - context: c_t of the query h_t−1, attended to before the step (Bahdanau et al. 2015, section 3.1).

    The decoder's first state comes from the encoder's last by a `Bridge`. Without attention, that is all it knows of
    the source (Sutskever et al. 2014).

    Args:
        embedding: of source ids; any module that makes features, [source, batch, feature], of what it is given.
        encoder: over the source, of one direction or both.
        target_embedding: of target ids.
        decoder: over the target.
        head: with `loss`, `full_loss` and `log_probabilities` (see `ostinato.heads`).
        features: of h̃, what the head reads.
        attention: of queries of the decoder's size to memories of the encoder's, or None.
        feed: see above.
        input_dropout: probability, on embedded ids.
        output_dropout: probability, on what the head reads.

    Raises:
        ValueError: if sizes do not fit, or something is to be fed without attention.

    >>> from ostinato.attention import MultiplicativeAttention
    >>> from ostinato.cells import GRUCell
    >>> from ostinato.heads import Softmax
    >>> from ostinato.recurrent import Recurrent
    >>> encoder, decoder = Deep([Recurrent(GRUCell(3, 5))]), Deep([Recurrent(GRUCell(3, 5))])
    >>> parts = (nn.Embedding(10, 3), encoder, nn.Embedding(8, 3), decoder, Softmax(4, 8), 4)
    >>> model = EncoderDecoder(*parts, attention=MultiplicativeAttention(5, 5))
    >>> features, weights = model(torch.zeros(7, 2).long(), torch.zeros(6, 2).long(), torch.tensor([7, 4]))
    >>> features.shape, weights.shape, weights[1, :, 4:].any().item()
    (torch.Size([6, 2, 4]), torch.Size([2, 6, 7]), False)
    """

    def __init__(
        self,
        embedding: nn.Module,
        encoder: Deep,
        target_embedding: nn.Module,
        decoder: Deep,
        head: nn.Module,
        features: int,
        attention: Attention | None = None,
        feed: str = "none",
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if feed not in FEEDS:
            raise ValueError(f"feed = {feed!r}: one of {', '.join(FEEDS)}")
        if attention is None and feed != "none":
            raise ValueError(f"feed = {feed!r}: there is no attention to feed from")
        if attention and (attention.query_size, attention.memory_size) != (decoder.output_size, encoder.output_size):
            sizes = f"{attention.query_size} and {attention.memory_size}"
            wanted = f"{decoder.output_size} (decoder) and {encoder.output_size} (encoder)"
            raise ValueError(f"attention: expected queries and memories of {wanted} features, found {sizes}")
        self.embedding, self.encoder = embedding, encoder
        self.target_embedding, self.decoder, self.head = target_embedding, decoder, head
        self.attention, self.feed = attention, feed
        self.input_dropout, self.output_dropout = nn.Dropout(input_dropout), nn.Dropout(output_dropout)
        self.bridge = Bridge(encoder.output_size, decoder)
        contexts = attention.memory_size if attention else 0
        self.combine = nn.Linear(contexts + decoder.output_size, features)
        self.fed_size = {"none": 0, "attentional": features, "context": contexts}[feed]

    @property
    def by_steps(self) -> bool:
        """Whether a step waits for what was attended to in the one before."""
        return self.feed != "none" or (self.attention is not None and self.attention.coverage)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Memory | None, DecoderState]:
        """Source ids [source, batch] → what is attended to, None without attention, and the decoder's first state."""
        outputs, after = self.encoder(self.input_dropout(self.embedding(source)), None, lengths)
        batch, covered = source.shape[1], len(source) if self.attention and self.attention.coverage else 0
        state = DecoderState(
            self.bridge(final_hidden(after)),
            outputs.new_zeros(batch, self.fed_size if self.feed == "attentional" else 0),
            outputs.new_zeros(batch, covered),
        )
        return None if self.attention is None else self.attention.memory(outputs, lengths), state

    def forward(
        self,
        source: Tensor,
        inputs: Tensor,
        source_lengths: Tensor | None = None,
        lengths: Tensor | None = None,
        sampled: float = 0.0,
    ) -> tuple[Tensor, Tensor | None]:
        """Read a source and a known target (teacher forcing).

        Args:
            source: ids [source, batch].
            inputs: ids of the target, each before the one that is to be told, [target, batch].
            source_lengths: int64 [batch].
            lengths: of the target, int64 [batch]; beyond them what comes out has no meaning.
            sampled: probability that a step reads, instead of its input, what the model itself draws for it (see
                `partly_drawn`); 0 is teacher forcing.

        Returns:
            What the head reads, h̃ [target, batch, features], and the weights [batch, target, source] if it attends.
        """
        memory, state = self.encode(source, source_lengths)
        return self.decode(inputs, memory, state, lengths, sampled)

    def decode(
        self,
        inputs: Tensor,
        memory: Memory | None,
        state: DecoderState,
        lengths: Tensor | None = None,
        sampled: float = 0.0,
    ) -> tuple[Tensor, Tensor | None]:
        """The same of what `encode` gave, whose rows may have been chosen and repeated since; see `forward`."""
        if not self.by_steps and not sampled:
            hidden, _ = self.decoder(self.input_dropout(self.target_embedding(inputs)), state.recurrent, lengths)
            return self._read(hidden, memory, None)
        features, weights = [], []
        for ids in inputs:
            if sampled and features:
                ids = partly_drawn(ids, self.head, features[-1], sampled)
            found, attended, state = self._advance(ids, state, memory)
            features.append(found)
            weights.append(attended)
        return torch.stack(features), None if memory is None else torch.stack(weights, 1)

    def step(
        self, ids: Tensor, state: DecoderState, memory: Memory | None
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        """One step of some hypotheses for each sequence of the memory.

        Args:
            ids: [hypotheses × batch], those of the first hypotheses first.
            state: of as many rows.
            memory: of the batch.

        Returns:
            log p of the next, [rows, vocabulary], the weights, [rows, source] if it attends, and the state after.
        """
        features, weights, state = self._advance(ids, state, memory)
        head: Any = self.head
        return head.log_probabilities(features), weights, state

    def _advance(
        self, ids: Tensor, state: DecoderState, memory: Memory | None
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        """One step: h̃ [rows, features], weights [rows, source], the state after."""
        inputs, rows = self.input_dropout(self.target_embedding(ids)), len(ids)
        before: tuple[Tensor, Tensor | None] | None = None
        if self.feed == "context":
            before = self._attend(final_hidden(state.recurrent).unsqueeze(0), memory, state.coverage)
            inputs = torch.cat([inputs, before[0].squeeze(0)], dim=1)
        elif self.feed == "attentional":
            inputs = torch.cat([inputs, state.fed], dim=1)
        hidden, recurrent = self.decoder.step(inputs, state.recurrent)
        features, weights = self._read(hidden.unsqueeze(0), memory, state.coverage, before)
        features = features.squeeze(0)
        weights = weights.reshape(rows, -1) if weights is not None else None
        fed = features if self.feed == "attentional" else state.fed
        covers = weights is not None and self.attention is not None and self.attention.coverage
        coverage = state.coverage + weights if covers and weights is not None else state.coverage
        return features, weights, DecoderState(recurrent, fed, coverage)

    def _read(
        self,
        hidden: Tensor,
        memory: Memory | None,
        coverage: Tensor | None,
        attended: tuple[Tensor, Tensor | None] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """h̃ and the weights, of hidden [target, batch, hidden]."""
        context, weights = attended or self._attend(hidden, memory, coverage)
        read = hidden if self.attention is None else torch.cat([context, hidden], dim=2)
        return self.output_dropout(torch.tanh(self.combine(read))), weights

    def _attend(self, queries: Tensor, memory: Memory | None, coverage: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Contexts and weights; one query of several hypotheses is several queries of a batch."""
        if self.attention is None or memory is None:
            return queries[:, :, :0], None
        batch, (target, rows, size) = len(memory.values), queries.shape
        if rows == batch and not self.attention.coverage:
            return self.attention(queries, memory)
        covered = None
        if self.attention.coverage and coverage is not None:
            covered = coverage.reshape(rows // batch, batch, -1).transpose(0, 1)
        contexts, weights = self.attention(queries.reshape(-1, batch, size), memory, covered)
        return contexts.reshape(target, rows, -1), weights.transpose(0, 1).reshape(target, rows, -1)
