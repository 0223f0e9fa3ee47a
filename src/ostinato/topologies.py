"""Topologies: what goes in and what comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.networks import Deep
from ostinato.recurrent import Recurrent

CONDITIONS = ("state", "inputs", "both")
"""What a vector conditions of a `VecToSeq`."""


class SeqToSeq(nn.Module):
    """One output a step: ids → embedding → network → head, with dropout on the way in and out.

    Args:
        embedding: of the ids; any module that makes features, [time, batch, feature], of what it is given.
        network: over time.
        head: with `loss`, `full_loss` and `log_probabilities` (see `ostinato.heads`).
        input_dropout: probability, on the embedded ids.
        output_dropout: probability, on what the head reads.

    Where the network's output and the embedding differ in size and the head shares the embedding's weight, a linear
    map without bias stands between them.

    >>> import torch
    >>> from ostinato.cells import GRUCell
    >>> from ostinato.heads import Softmax
    >>> from ostinato.networks import Recurrent
    >>> model = SeqToSeq(nn.Embedding(10, 3), Deep([Recurrent(GRUCell(3, 5))]), Softmax(5, 10))
    >>> hidden, state = model(torch.zeros(7, 2, dtype=torch.int64))
    >>> hidden.shape
    torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        embedding: nn.Module,
        network: Deep,
        head: nn.Module,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding, self.network, self.head = embedding, network, head
        self.input_dropout, self.output_dropout = nn.Dropout(input_dropout), nn.Dropout(output_dropout)
        self.projection = _projection(network.output_size, embedding, head)

    def initial_state(self, batch_size: int) -> Any:
        """The network's zeros."""
        return self.network.initial_state(batch_size)

    def forward(self, ids: Any, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """Ids [time, batch] → what the head reads, [time, batch, hidden], and the state after."""
        embedded = self.input_dropout(self.embedding(ids))
        hidden, state = self.network(embedded, state, lengths)
        return self.output_dropout(self.projection(hidden)), state

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Ids [batch] → log p of the next, [batch, vocabulary], and the state after."""
        hidden, state = self(ids.unsqueeze(0), state)
        head: Any = self.head
        return head.log_probabilities(hidden[0]), state


class SeqToVec(nn.Module):
    """One vector a sequence: ids → embedding → network → pooling, with dropout on the way in and out; then a head.

    Args:
        embedding: of the ids; any module that makes features, [time, batch, feature], of what it is given.
        network: over time.
        pooling: of its outputs (see `ostinato.pooling`).
        head: what the vector means.
        input_dropout: probability, on the embedded ids.
        output_dropout: probability, on the vector.

    >>> import torch
    >>> from ostinato.cells import GRUCell
    >>> from ostinato.heads import Softmax
    >>> from ostinato.networks import Recurrent
    >>> from ostinato.pooling import MaxPooling
    >>> network = Deep([Recurrent(GRUCell(3, 5))])
    >>> model = SeqToVec(nn.Embedding(10, 3), network, MaxPooling(), Softmax(5, 2))
    >>> vector, state = model(torch.zeros(7, 4, dtype=torch.int64), lengths=torch.tensor([7, 1, 3, 2]))
    >>> vector.shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        embedding: nn.Module,
        network: Deep,
        pooling: nn.Module,
        head: nn.Module,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding, self.network, self.pooling, self.head = embedding, network, pooling, head
        self.input_dropout, self.output_dropout = nn.Dropout(input_dropout), nn.Dropout(output_dropout)

    def forward(self, ids: Any, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """Ids [time, batch] → a vector for each sequence, [batch, features], and the state after."""
        outputs, state = self.network(self.input_dropout(self.embedding(ids)), state, lengths)
        return self.output_dropout(self.pooling(outputs, state, lengths)), state


class Bridge(nn.Module):
    """A vector to the first state of a network: h_0 = tanh(W v + b) in each layer, and c_0 alike where a cell has one.

    What a cell keeps scaled, as the sLSTM does, stays as it is at the beginning of a sequence.

    Args:
        features: of v.
        network: layers of one direction.

    Raises:
        ValueError: if a layer has two directions.

    >>> from ostinato.cells import LSTMCell
    >>> bridge = Bridge(3, Deep([Recurrent(LSTMCell(2, 5)), Recurrent(LSTMCell(5, 4))]))
    >>> [part.shape[1] for state in bridge(torch.zeros(7, 3)) for part in state]
    [5, 5, 4, 4]
    """

    def __init__(self, features: int, network: Deep) -> None:
        super().__init__()
        self._cells: list[Any] = []
        for layer in network.layers:
            if not isinstance(layer, Recurrent):
                raise ValueError(f"a {type(layer).__name__} layer writes no sequence: expected Recurrent layers")
            self._cells.append(layer.cell)
        parts = [[part for part in cell.State._fields if part not in cell.scaled] for cell in self._cells]
        self._parts = list(zip(parts, (cell.hidden_size for cell in self._cells), strict=True))
        self.linear = nn.Linear(features, sum(len(names) * size for names, size in self._parts))

    def forward(self, vector: Tensor) -> tuple[Any, ...]:
        """Vectors [batch, features] → a state, an entry a layer."""
        values = torch.tanh(self.linear(vector)).split([size for names, size in self._parts for _ in names], dim=1)
        found, rest = [], iter(values)
        for cell, (names, _) in zip(self._cells, self._parts, strict=True):
            fresh = cell.initial_state(len(vector))
            found.append(fresh._replace(**{name: next(rest).contiguous() for name in names}))
        return tuple(found)


class ConditionedState(NamedTuple):
    """Where a `VecToSeq` is."""

    recurrent: Any
    added: Tensor
    """To every embedded token, [batch, feature]; no features where nothing is."""


class VecToSeq(nn.Module):
    """A sequence from one vector: each step as in `SeqToSeq`, while the vector v says what it is to be about.

    v gives the first state (see `Bridge`), or W v is added to every embedded token, or both.

    Args:
        vector_size: features of v.
        embedding: of the ids.
        network: over time.
        head: with `loss`, `full_loss` and `log_probabilities` (see `ostinato.heads`).
        condition: state, inputs or both.
        input_dropout: probability, on the embedded ids.
        output_dropout: probability, on what the head reads.

    >>> from ostinato.cells import GRUCell
    >>> from ostinato.heads import Softmax
    >>> model = VecToSeq(4, nn.Embedding(10, 3), Deep([Recurrent(GRUCell(3, 5))]), Softmax(5, 10))
    >>> hidden, state = model(torch.zeros(7, 2, dtype=torch.int64), model.begin(torch.randn(2, 4)))
    >>> hidden.shape
    torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        vector_size: int,
        embedding: nn.Embedding,
        network: Deep,
        head: nn.Module,
        condition: str = "both",
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if condition not in CONDITIONS:
            raise ValueError(f"condition = {condition!r}: one of {', '.join(CONDITIONS)}")
        self.embedding, self.network, self.head = embedding, network, head
        self.input_dropout, self.output_dropout = nn.Dropout(input_dropout), nn.Dropout(output_dropout)
        self.bridge = Bridge(vector_size, network) if condition != "inputs" else None
        width = embedding.embedding_dim
        self.addition = nn.Linear(vector_size, width, bias=False) if condition != "state" else None
        self.projection = _projection(network.output_size, embedding, head)

    def begin(self, vector: Tensor) -> ConditionedState:
        """The state before the first step, from vectors [batch, vector]."""
        recurrent = self.network.initial_state(len(vector)) if self.bridge is None else self.bridge(vector)
        return ConditionedState(recurrent, vector[:, :0] if self.addition is None else self.addition(vector))

    def forward(
        self, ids: Tensor, state: ConditionedState, lengths: Tensor | None = None
    ) -> tuple[Tensor, ConditionedState]:
        """Ids [time, batch] → what the head reads, [time, batch, hidden], and the state after."""
        embedded = self.embedding(ids)
        if self.addition is not None:
            embedded = embedded + state.added
        hidden, recurrent = self.network(self.input_dropout(embedded), state.recurrent, lengths)
        return self.output_dropout(self.projection(hidden)), state._replace(recurrent=recurrent)

    def step(self, ids: Tensor, state: ConditionedState) -> tuple[Tensor, ConditionedState]:
        """Ids [batch] → log p of the next, [batch, vocabulary], and the state after."""
        hidden, state = self(ids.unsqueeze(0), state)
        head: Any = self.head
        return head.log_probabilities(hidden[0]), state


def _projection(size: int, embedding: nn.Module, head: nn.Module) -> nn.Module:
    """What stands between a network and a head that shares the embedding's weight, where they differ in size."""
    if isinstance(embedding, nn.Embedding) and getattr(head, "weight", None) is embedding.weight:
        width = embedding.embedding_dim
        if size != width:
            return nn.Linear(size, width, bias=False)
    return nn.Identity()


def count_parameters(module: nn.Module) -> int:
    """Trained numbers, shared ones once.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters())
