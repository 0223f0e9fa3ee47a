"""Topologies: what goes in and what comes out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ostinato.networks import BidirectionalState, Deep
from ostinato.pooling import Pooling


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
            ids: [time, batch]; or whatever the embedding takes, if `len` gives its steps and slices are of steps.
            state: before the first step; zeros if None.
            lengths: int64 [batch], how many steps of each sequence count; all of them if None.
        """
        size = self.window or len(ids)
        if len(ids) <= size:
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


def count_parameters(module: nn.Module) -> int:
    """Trained numbers, shared ones once.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters())
