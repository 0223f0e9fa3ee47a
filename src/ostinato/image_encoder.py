"""A convolutional encoder: an image to features of its places, to be attended to or read as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """x_l = ReLU(BN(W_l * x_{l−1})) with 3 × 3 kernels: an image to a grid of places.

    Batch normalisation is Ioffe & Szegedy 2015. A layer moves by two pixels while either side has more than `places`,
    so that it halves the grid; later layers move by one, and widen what a place sees.

    Args:
        channels: of an image.
        height: of an image, in pixels.
        width: likewise.
        filters: features of each layer.
        places: see above.

    Shapes:
        images uint8 [batch, channels, height, width], 0 to 255 → places [places, batch, features], row by row.

    >>> encoder = ImageEncoder(1, 40, 30, filters=(4, 6, 8))
    >>> encoder(torch.zeros(2, 1, 40, 30, dtype=torch.uint8)).shape, encoder.grid
    (torch.Size([20, 2, 8]), (5, 4))
    """

    def __init__(
        self, channels: int, height: int, width: int, filters: Sequence[int] = (16, 32, 64, 64), places: int = 8
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = (height, width)
        for features in filters:
            stride = 2 if max(size) > places else 1
            layers += [
                nn.Conv2d(channels, features, 3, stride, padding=1, bias=False),  # the normalisation has one
                nn.BatchNorm2d(features),
                nn.ReLU(),
            ]
            size = ((size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1)
            channels = features
        # channels side by side in memory: on a CPU the convolutions then take two thirds of the time
        layered: Any = nn.Sequential(*layers)
        self.layers = layered.to(memory_format=torch.channels_last)
        self.grid, self.output_size = size, channels
        """Rows and columns of places."""

    def forward(self, images: Tensor) -> Tensor:
        """Features of all places."""
        found = self.layers(images.float() / 127.5 - 1)
        return found.flatten(2).permute(2, 0, 1).contiguous()


class Summary(NamedTuple):
    """What is known of an image as a whole."""

    hidden: Tensor
    """[batch, features]."""


class PlacesToVector(nn.Module):
    """v = ReLU(W [x_1; …; x_S] + b): all places side by side, so that v knows what is where.

    Args:
        count: of places.
        features: of each.
        vector_size: of v.
    """

    def __init__(self, count: int, features: int, vector_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(count * features, vector_size)

    def forward(self, places: Tensor) -> Tensor:
        """Places [places, batch, features] → [batch, vector]."""
        return self.linear(places.transpose(0, 1).flatten(1)).relu()


class Places(nn.Module):
    """Places that know where they are, m_s = x_s + p_s with learned p, and a vector of all for a decoder to begin with.

    It stands where an `EncoderDecoder` has layers over time. Xu et al. 2015, section 3.1.2, begin with the mean of the
    places; that does not know what is where, and a decoder then takes long to learn it.

    Args:
        count: of places.
        features: of each, and of the vector.
    """

    def __init__(self, count: int, features: int) -> None:
        super().__init__()
        self.output_size = features
        self.positions = nn.Parameter(torch.randn(count, 1, features) * 0.3)
        self.vector = PlacesToVector(count, features, features)

    def forward(self, places: Tensor, state: None = None, lengths: None = None) -> tuple[Tensor, Summary]:  # noqa: ARG002
        """Places [places, batch, features] → the same with their positions, and the vector."""
        return places + self.positions, Summary(self.vector(places))
