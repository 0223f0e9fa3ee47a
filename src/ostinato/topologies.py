"""Topologies: what goes in and what comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ostinato.networks import BidirectionalState, Deep
from ostinato.pair_heads import Encoded
from ostinato.pooling import Pooling
from ostinato.recurrent import Recurrent
from ostinato.trees import Forest, Recursive

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

    def forward(
        self, ids: Any, state: Any = None, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Ids [time, batch] → what the head reads, [time, batch, hidden], and the state after.

        Where `resets`, bool [time, batch], is set, another sequence begins, from a state of zeros.
        """
        embedded = self.input_dropout(self.embedding(ids))
        hidden, state = self.network(embedded, state, lengths, resets)
        return self.output_dropout(self.projection(hidden)), state

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Ids [batch] → log p of the next, [batch, vocabulary], and the state after."""
        hidden, state = self(ids.unsqueeze(0), state)
        head: Any = self.head
        return head.log_probabilities(hidden[0]), state


class SeqToVec(nn.Module):
    """One vector a sequence: ids → embedding → network → pooling, with dropout on the way in and out; then a head.

    A sequence longer than `window` is read in windows. The state is carried from one to the next, and what the pooling
    knows of the steps so far; of a bidirectional layer only the forward state is carried, the backward direction begins
    at each window's end (Zhang et al. 2016, section 3). In training the gradient ends where a window begins, and a
    window's activations are computed again when they are needed: memory is that of one window, however long a sequence.

    Args:
        embedding: of the ids; any module that makes features, [time, batch, feature], of what it is given.
        network: over time.
        pooling: of its outputs (see `ostinato.pooling`).
        head: what the vector means.
        input_dropout: probability, on the embedded ids.
        output_dropout: probability, on the vector.
        window: steps; all at once if None.
        between: what stands between pooling and head.

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
        network: nn.Module,
        pooling: Pooling,
        head: nn.Module,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        window: int | None = None,
        between: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embedding, self.network, self.pooling, self.head = embedding, network, pooling, head
        self.between = nn.Identity() if between is None else between
        self.input_dropout, self.output_dropout = nn.Dropout(input_dropout), nn.Dropout(output_dropout)
        self.window = window

    def forward(self, ids: Any, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """A vector for each sequence, [batch, features], and the state after.

        Args:
            ids: [time, batch]; or whatever the embedding takes. With a `window`, its `len` gives the steps, and its
                slices are of steps.
            state: before the first step; zeros if None.
            lengths: int64 [batch], how many steps of each sequence count; all of them if None.
        """
        size = self.window
        if size is None or len(ids) <= size:
            folded, state = self._read(ids[:], state, None, lengths)
        else:
            folded = None
            for start in range(0, len(ids), size):
                part = ids[start : start + size]
                left = None if lengths is None else (lengths - start).clamp(0, min(size, len(ids) - start))
                before = None if state is None else carried(state)
                if torch.is_grad_enabled():
                    folded, state = checkpoint(self._read, part, before, folded, left, use_reentrant=False)
                else:
                    folded, state = self._read(part, before, folded, left)
        return self.output_dropout(self.between(self.pooling.vector(folded))), state

    def _read(self, ids: Any, state: Any, folded: Any, lengths: Tensor | None) -> tuple[Any, Any]:
        outputs, state = self.network(self.input_dropout(self.embedding(ids)), state, lengths)
        return self.pooling.fold(folded, outputs, state, lengths), state


def carried(state: Any) -> Any:
    """What of a state the next window begins with: cut from the graph, and nothing of a backward direction."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, BidirectionalState):
        return BidirectionalState(carried(state.forward), None)
    parts = [carried(part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


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
        self, ids: Tensor, state: ConditionedState, lengths: Tensor | None = None, sampled: float = 0.0
    ) -> tuple[Tensor, ConditionedState]:
        """Ids [time, batch] → what the head reads, [time, batch, hidden], and the state after.

        With `sampled`, a step reads with this probability what the model itself draws for it (see `partly_drawn`).
        """
        if sampled:
            hidden: list[Tensor] = []
            for row in ids:
                row = partly_drawn(row, self.head, hidden[-1], sampled) if hidden else row
                found, state = self(row.unsqueeze(0), state)
                hidden.append(found.squeeze(0))
            return torch.stack(hidden), state
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


@torch.no_grad()
def partly_drawn(ids: Tensor, head: nn.Module, features: Tensor, share: float) -> Tensor:
    """Ids [batch] of a target's step, a share of them drawn by the model itself from what it told one step earlier.

    So a network learns to go on from its own mistakes (scheduled sampling, Bengio et al. 2015, section 2.4).

    Args:
        ids: the right ones.
        head: of the model.
        features: what it read one step earlier, [batch, features].
        share: probability of a draw; 0 is teacher forcing.
    """
    tell: Any = head
    own = torch.multinomial(tell.log_probabilities(features).exp(), 1).squeeze(1)
    return torch.where(torch.rand(len(ids), device=ids.device) < share, own, ids)


class TwoSeqToVec(nn.Module):
    """Two sequences by one encoder, and a head of both vectors: a Siamese network (Bromley et al. 1993).

    Args:
        encoder: of either sequence: ids and lengths → `ostinato.pair_heads.Encoded`.
        head: of two of them.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def embedding(self) -> Any:
        """The encoder's."""
        return self.encoder.embedding

    def forward(self, ids: Any, lengths: Tensor) -> tuple[Encoded, Encoded]:
        """Ids [time, 2·pairs], all first sequences before all second ones → both sides, [pairs, …] each."""
        both = self.encoder(ids, lengths)
        parts: list[Any] = [(None, None) if part is None else part.chunk(2) for part in both]
        return Encoded(*(part[0] for part in parts)), Encoded(*(part[1] for part in parts))


class TreeToVec(nn.Module):
    """A vector a node: ids → embedding → recursive network, with dropout on the way in and out; then a head.

    Args:
        embedding: of the ids; any module that makes features, [nodes, feature], of what it is given.
        network: over trees.
        head: what a vector means.
        input_dropout: probability, on the embedded ids.
        output_dropout: probability, on the vectors.

    >>> import numpy as np, torch
    >>> from ostinato.heads import Softmax
    >>> from ostinato.tree_cells import NaryTreeLSTMCell
    >>> from ostinato.trees import forest
    >>> shape = forest([np.array([2, 2, -1])], [np.array([0, 0, 1])], arity=2)
    >>> model = TreeToVec(nn.Embedding(10, 3), Recursive(NaryTreeLSTMCell(3, 5)), Softmax(5, 2))
    >>> model(torch.tensor([4, 7]), shape).shape
    torch.Size([3, 5])
    """

    def __init__(
        self,
        embedding: nn.Module,
        network: Recursive,
        head: nn.Module,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding, self.network, self.head = embedding, network, head
        self.input_dropout, self.output_dropout = nn.Dropout(input_dropout), nn.Dropout(output_dropout)

    def forward(self, ids: Tensor, shape: Forest) -> Tensor:
        """Ids of the leaves, or of all nodes with -1 where there is no word → vectors of the nodes as given.

        Args:
            ids: int64 [leaves or nodes], in the order of levels.
            shape: of the trees.

        Returns:
            [nodes, hidden]; `shape.roots` says which are the trees' own.
        """
        embedded = self.input_dropout(self.embedding(ids.clamp(min=0)))
        if len(ids) > shape.leaves:
            embedded = embedded.masked_fill((ids < 0).unsqueeze(1), 0)
        return self.output_dropout(self.network(embedded, shape).hidden)


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
