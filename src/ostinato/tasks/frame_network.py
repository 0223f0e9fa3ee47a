"""The network of a frame predictor: an encoder reads frames into states, a decoder unfolds these into others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.networks import Deep


def to_patches(frames: Tensor, size: int) -> Tensor:
    """[..., height, width, channels] → [..., height / size, width / size, size²·channels].

    Each square of size × size pixels becomes one with as many features (Shi et al. 2015, section 4.1).

    >>> to_patches(torch.arange(16).view(4, 4, 1), 2)[0].tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    *before, height, width, channels = frames.shape
    split = frames.reshape(*before, height // size, size, width // size, size, channels)
    return split.transpose(-4, -3).reshape(*before, height // size, width // size, size * size * channels)


def from_patches(patches: Tensor, size: int) -> Tensor:
    """What `to_patches` was given.

    >>> frames = torch.rand(5, 8, 6, 3)
    >>> torch.equal(from_patches(to_patches(frames, 2), 2), frames)
    True
    """
    *before, rows, columns, features = patches.shape
    split = patches.reshape(*before, rows, columns, size, size, features // size**2)
    return split.transpose(-4, -3).reshape(*before, rows * size, columns * size, -1)


class PixelHead(nn.Module):
    """p = σ(W h + b): how bright a pixel is, from 0 to 1; of features that stand last, a convolution of one pixel.

    Args:
        features: that are read.
        values: that are told.
        squared: whether the loss is the squared error; else the cross-entropy, −y log p − (1 − y) log(1 − p).
    """

    def __init__(self, features: int, values: int, squared: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(values, features)), nn.Parameter(torch.zeros(values))
        nn.init.xavier_uniform_(self.weight)
        self.squared = squared

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., features] → logits [..., values]."""
        return functional.linear(hidden, self.weight, self.bias)

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Σ over pixels; targets from 0 to 1, moved towards ½ by `smoothing`."""
        targets = targets * (1 - smoothing) + smoothing / 2
        if self.squared:
            return (torch.sigmoid(logits.float()) - targets).square().sum()
        return functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")


class FramePredictorNetwork(nn.Module):
    """Frames → those after them.

    The decoder starts from the encoder's last states, layer by layer, and reads nothing; the head reads the hidden
    states of all its layers side by side (Shi et al. 2015, section 3.3; Srivastava et al. 2015, section 2.3, the
    unconditioned future predictor). It can go on for as many frames as are asked for.

    Args:
        encoder: over patches, or over whole frames as vectors.
        decoder: layers of the same sizes, whose first reads one feature, always 0.
        head: of the features of all the decoder's layers.
        patch_size: pixels of the side of a patch.
        image: (height, width, channels) of a frame.
        flat: whether a frame is one vector.

    Raises:
        ValueError: if patches do not cover the frame.
    """

    def __init__(
        self, encoder: Deep, decoder: Deep, head: PixelHead, patch_size: int, image: tuple[int, int, int], flat: bool
    ) -> None:
        super().__init__()
        if image[0] % patch_size or image[1] % patch_size:
            raise ValueError(f"patch_size = {patch_size}: does not divide frames of {image[0]} × {image[1]} pixels")
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.patch_size, self.image, self.flat = patch_size, image, flat

    def forward(self, frames: Tensor, count: int) -> Tensor:
        """Read frames and tell the next ones.

        Args:
            frames: brightness from 0 to 1, [time, batch, height, width, channels].
            count: how many to tell.

        Returns:
            Logits, [count, batch, height, width, channels].
        """
        inputs = frames.flatten(2) if self.flat else to_patches(frames, self.patch_size)
        _, state = self.encoder(inputs)
        _, _, states = self.decoder(inputs.new_zeros(count, *inputs.shape[1:-1], 1), state, every=True)
        logits = self.head(torch.cat([each.hidden for each in states], -1))
        return logits.view(count, -1, *self.image) if self.flat else from_patches(logits, self.patch_size)
