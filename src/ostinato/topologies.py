"""Topologies: what goes in and what comes out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ostinato.networks import Deep
from ostinato.pair_heads import Encoded
from ostinato.trees import Forest, Recursive


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
        self.projection: nn.Module = nn.Identity()
        if isinstance(embedding, nn.Embedding) and getattr(head, "weight", None) is embedding.weight:
            width = embedding.embedding_dim
            if network.output_size != width:
                self.projection = nn.Linear(network.output_size, width, bias=False)

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


def count_parameters(module: nn.Module) -> int:
    """Trained numbers, shared ones once.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters())
