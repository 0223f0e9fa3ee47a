"""Heads over the keys of a piano roll: what a network's output says of the next frame, a set of keys that sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_DRAWS = 500
_FRAMES_AT_ONCE = 1024  # of a NADE, whose hidden units stand once for each key


class Bernoulli(nn.Module):
    r"""Each key for itself: p(x | h) = ∏ₖ σ(zₖ)^{xₖ} (1 − σ(zₖ))^{1−xₖ} with z = W·h + b.

    This is the output layer by which recurrent networks are compared on polyphonic music (Boulanger-Lewandowski et al.
    2012; Bai et al. 2018).

    Args:
        hidden_size: features of h.
        keys: how many.
        odds: log odds of each key that b begins with, [keys]; zeros if None.

    >>> head = Bernoulli(4, 88)
    >>> round(head.losses(torch.zeros(1, 4), torch.zeros(1, 88)).item(), 3)  # a coin a key: 88 log 2
    60.997
    """

    def __init__(self, hidden_size: int, keys: int, odds: Sequence[float] | None = None) -> None:
        super().__init__()
        self.keys = keys
        self.linear = _linear(hidden_size, keys, odds)

    def losses(self, hidden: Tensor, frames: Tensor) -> Tensor:
        """−log p of frames, nats, [frames], for hidden [frames, hidden] and frames of 0 and 1, [frames, keys]."""
        return bernoulli_losses(self.linear(hidden), frames).sum(-1)

    def draw(self, hidden: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """Frames [rows, keys] drawn from p^(1/temperature), normalised; at 0 the likeliest."""
        return decided(self.linear(hidden), temperature, generator)

    def likely(self, hidden: Tensor) -> Tensor:
        """The likeliest frames, [rows, keys]."""
        return self.draw(hidden, 0.0, None)

    def chances(self, hidden: Tensor) -> Tensor:
        """The chance of each key, [rows, keys]."""
        return self.linear(hidden).sigmoid()


class NADE(nn.Module):
    r"""Each key given those below it: p(x | h) = ∏ₖ p(xₖ | x_{<k}, h), so that chords are drawn whole.

    zₖ = cₖ + Vₖ·σ(a + Σ_{j<k} Wⱼ xⱼ), with a = A·h + b and c = C·h + d given by the network: the RNN-NADE
    (Larochelle & Murray 2011, equations 2-3; Boulanger-Lewandowski et al. 2012, section 5).

    Args:
        hidden_size: features of h.
        keys: how many.
        units: hidden units of the chain over keys.
        odds: log odds of each key that d begins with, [keys]; zeros if None.

    >>> head = NADE(4, 3, units=8)
    >>> every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> round(torch.exp(-head.losses(torch.randn(1, 4).expand(8, 4), every)).sum().item(), 4)
    1.0
    """

    def __init__(self, hidden_size: int, keys: int, units: int = 64, odds: Sequence[float] | None = None) -> None:
        super().__init__()
        self.keys = keys
        self.visible = _linear(hidden_size, keys, odds)
        self.hidden = nn.Linear(hidden_size, units)
        self.read = nn.Parameter(torch.randn(keys, units) * 0.5)
        self.written = nn.Parameter(torch.randn(keys, units) * 0.5 * units**-0.5)

    def losses(self, hidden: Tensor, frames: Tensor) -> Tensor:
        """−log p of frames, nats, [frames], for hidden [frames, hidden] and frames of 0 and 1, [frames, keys]."""
        parts = zip(hidden.split(_FRAMES_AT_ONCE), frames.split(_FRAMES_AT_ONCE), strict=True)
        if torch.is_grad_enabled() and len(hidden) > _FRAMES_AT_ONCE:  # held for one block at a time
            return torch.cat([checkpoint(self._losses, *part, use_reentrant=False) for part in parts])
        return torch.cat([self._losses(*part) for part in parts])

    def _losses(self, hidden: Tensor, frames: Tensor) -> Tensor:
        # what the chain knows changes only above a key that sounds: one state for each of these, not for each key
        rows, keys = frames.nonzero(as_tuple=True)
        below = (frames.cumsum(1) - frames).long()  # how many sound below a key
        most = int(frames.sum(1).max())
        sounding = torch.full((len(frames), most), self.keys, device=frames.device)
        sounding[rows, below[rows, keys]] = keys
        read = functional.embedding(sounding, torch.cat([self.read, self.read.new_zeros(1, self.read.shape[1])]))
        first = self.hidden(hidden).unsqueeze(1)
        states = torch.cat([first, first + read.cumsum(1)], 1).sigmoid()  # [frames, 1 + most, units]
        logits = functional.linear(states, self.written).gather(1, below.unsqueeze(1)).squeeze(1)
        return bernoulli_losses(self.visible(hidden) + logits, frames).sum(-1)

    def draw(self, hidden: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """Frames [rows, keys], key by key from below, each from its p^(1/temperature), normalised."""
        visible, below = self.visible(hidden), self.hidden(hidden)
        found = []
        for key in range(self.keys):
            logits = visible[:, key] + below.sigmoid() @ self.written[key]
            found.append(decided(logits, temperature, generator))
            below = below + found[-1].unsqueeze(1) * self.read[key]
        return torch.stack(found, 1)

    def likely(self, hidden: Tensor) -> Tensor:
        """The likelier value of each key in turn, given those below, [rows, keys]: not always the likeliest frame."""
        return self.draw(hidden, 0.0, None)

    def chances(self, hidden: Tensor) -> Tensor:
        """The chance of each key, [rows, keys], whatever sounds below it: its share of 500 draws, always the same."""
        drawn = torch.Generator().manual_seed(0)
        rows = hidden.repeat_interleave(_DRAWS, 0)
        return self.draw(rows, 1.0, drawn).view(len(hidden), _DRAWS, -1).mean(1)


def bernoulli_losses(logits: Tensor, values: Tensor) -> Tensor:
    """−log p of values 0 and 1, of the logits' shape, nats."""
    return functional.binary_cross_entropy_with_logits(logits.float(), values.float(), reduction="none")


def decided(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """0 or 1 for each logit, drawn on the CPU at a temperature above 0.

    >>> decided(torch.tensor([-1.0, 2.0]), 0.0, None).tolist()
    [0.0, 1.0]
    """
    if temperature == 0:
        return (logits > 0).to(logits.dtype)
    p = torch.sigmoid(logits.float().cpu() / temperature)
    return (torch.rand(p.shape, generator=generator) < p).to(logits)


def _linear(size: int, keys: int, odds: Sequence[float] | None) -> nn.Linear:
    linear = nn.Linear(size, keys)
    with torch.no_grad():
        linear.bias.zero_() if odds is None else linear.bias.copy_(torch.as_tensor(odds))
    return linear


def make_frame_head(
    kind: str, hidden_size: int, keys: int, units: int = 64, odds: Sequence[float] | None = None
) -> Bernoulli | NADE:
    """The head of a name: `bernoulli` or `nade`."""
    return NADE(hidden_size, keys, units, odds) if kind == "nade" else Bernoulli(hidden_size, keys, odds)
