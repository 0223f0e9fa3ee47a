"""The network of a music model: frames in, what it costs to tell the next one out; and frames one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ostinato.frame_heads import bernoulli_losses, decided
from ostinato.pooling import valid_steps
from ostinato.topologies import SeqToSeq, carried


class RollBatch(NamedTuple):
    """Pieces side by side."""

    roll: Tensor
    """uint8 [time, batch, features]: the keys that sound and then, with onsets, those that are struck."""
    lengths: Tensor
    """int64 [batch]"""


class Window(NamedTuple):
    """Some steps of pieces, as the network has read them."""

    hidden: Tensor
    """What the head reads, [time, batch, hidden]."""
    roll: Tensor
    """What it is to tell, uint8 [time, batch, features]."""
    live: Tensor
    """bool [time, batch]: no padding."""
    state: Any
    """After the last step."""


class MusicNetwork(nn.Module):
    r"""p(x_1 … x_T) = ∏ p(x_t | x_1 … x_{t-1}) over frames; a struck key is told given that it sounds.

    The first frame is told from zeros and a mark, a feature that is 1 there alone.

    Args:
        body: a causal network that reads frames, [time, batch, inputs] (see `input_size`), with a head over frames.
        keys: of the roll.
        struck: of what the head reads, logits of the keys that are struck; None: they are not told.
        outer: the highest and the lowest key that sound are inputs of their own as well, so that melody and bass are
            told from what lies between.
        shortcut: the head reads the inputs beside the body's output (Pascanu et al. 2014, section 3.3).
        window: steps that the gradient goes back through, each window's activations being computed again when they are
            needed, so that memory is that of one; the state is carried on. All at once if None.
    """

    def __init__(
        self,
        body: SeqToSeq,
        keys: int,
        struck: nn.Linear | None,
        window: int | None,
        outer: bool = False,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.keys, self.struck, self.window = body, keys, struck, window
        self.outer, self.shortcut = outer, shortcut

    @staticmethod
    def input_size(features: int, keys: int, outer: bool) -> int:
        """Of what the body reads: the frame before, its outer keys if these are inputs, and the mark."""
        return features + 2 * keys * outer + 1

    def losses(self, batch: RollBatch) -> tuple[Tensor, Tensor]:
        """−log p of the keys that sound in each frame, and of those that are struck, nats, [time, batch] each."""
        if not torch.is_grad_enabled() or self.window is None or len(batch.roll) <= self.window:
            parts = [self.told(window) for window in self.windows(batch)]
        else:
            parts, state = [], None
            for cut in self._cuts(batch):
                found: Any = checkpoint(self._read_and_told, *cut, state, use_reentrant=False)
                parts.append(found[0])
                state = carried(found[1])
        sounding, struck = (torch.cat(each) for each in zip(*parts, strict=True))
        return sounding, struck

    def windows(self, batch: RollBatch, state: Any = None) -> Iterator[Window]:
        """What the head reads, a window at a time."""
        for cut in self._cuts(batch):
            window = self._read(*cut, state)
            yield window
            state = carried(window.state)

    def told(self, window: Window) -> tuple[Tensor, Tensor]:
        """The losses of a window, as `losses` gives them."""
        hidden, roll, live, _ = window
        read, frames = hidden[live], roll[live].to(hidden.dtype)
        head: Any = self.body.head
        nothing = torch.zeros(live.shape, device=roll.device)
        sounding = nothing.masked_scatter(live, head.losses(read, frames[:, : self.keys]))
        if self.struck is None:
            return sounding, nothing
        held, begun = frames.chunk(2, 1)
        return sounding, nothing.masked_scatter(live, (bernoulli_losses(self.struck(read), begun) * held).sum(-1))

    def _cuts(self, batch: RollBatch) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Of each window the frames, the one before them (None: the piece begins), and how many of each piece count."""
        size = self.window or len(batch.roll)
        for start in range(0, len(batch.roll), size):
            part = batch.roll[start : start + size]
            yield part, batch.roll[start - 1] if start else None, (batch.lengths - start).clamp(0, len(part))

    def _read(self, roll: Tensor, before: Tensor | None, lengths: Tensor, state: Any) -> Window:
        first = torch.zeros_like(roll[0]) if before is None else before
        inputs = self._inputs(torch.cat([first.unsqueeze(0), roll[:-1]]), before is None)
        hidden, state = self._heard(inputs, state, lengths)
        return Window(hidden, roll, valid_steps(len(roll), lengths, hidden), state)  # pyright: ignore[reportArgumentType]

    def _read_and_told(self, *cut: Any) -> tuple[tuple[Tensor, Tensor], Any]:
        window = self._read(*cut)
        return self.told(window), window.state

    def _heard(self, inputs: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """What the head reads, and the state after."""
        hidden, state = self.body(inputs, state, lengths)
        return torch.cat([hidden, self.body.input_dropout(inputs)], -1) if self.shortcut else hidden, state

    def _inputs(self, frames: Tensor, first: bool) -> Tensor:
        """Frames [time, batch, features] with what else the body reads."""
        frames = frames.float()
        parts = [frames, torch.zeros_like(frames[..., :1])]
        parts[1][0] = float(first)
        if self.outer:
            sounding = frames[..., : self.keys]
            below = sounding.cumsum(-1)
            parts += [sounding * (below == 1), sounding * (below == below[..., -1:])]
        return torch.cat(parts, -1)

    def after(self, batch: RollBatch | None) -> tuple[Tensor, Any]:
        """What the head reads to tell the frame after a whole piece, or, if None, the first, [1, hidden]; the state."""
        if batch is None:
            device, features = next(self.parameters()).device, self.keys * (1 if self.struck is None else 2)
            hidden, state = self._heard(self._inputs(torch.zeros(1, 1, features, device=device), True), None)
            return hidden[0], state
        state = None
        for window in self.windows(batch):
            state = window.state
        return self.step(batch.roll[-1].float(), state)

    def step(self, frame: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The same after one more frame, [1, features]."""
        hidden, state = self._heard(self._inputs(frame.unsqueeze(0), False), state)
        return hidden[0], state

    def draw(self, hidden: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """The next frame, [batch, features], drawn."""
        head: Any = self.body.head
        sounding = head.draw(hidden, temperature, generator)
        if self.struck is None:
            return sounding
        return torch.cat([sounding, decided(self.struck(hidden), temperature, generator) * sounding], -1)
