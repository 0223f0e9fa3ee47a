"""Features of sound made harder to read in training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Sounds(NamedTuple):
    """Sounds side by side."""

    features: Tensor
    """float32 [time, batch, features], normalised: 0 is the mean of training."""
    lengths: Tensor
    """int64 [batch], steps."""
    labels: Tensor
    """int64 [batch, labels], filled up with 0."""
    label_lengths: Tensor
    """int64 [batch]."""
    texts: list[str]
    """What is said in each."""


class SpecAugment(nn.Module):
    r"""Takes bands and stretches of time from sounds in training (Park et al. 2019, section 2), but no warping of time.

    Of each sound, `band_masks` times f ~ U{0, …, F} bands from f_0 ~ U{0, …, bands − f} on, and `time_masks` times
    t ~ U{0, …, min(T, ⌊p τ⌋)} of its τ steps from t_0 ~ U{0, …, τ − t} on become 0, the mean of training. A step that
    is several frames loses the same bands in each.

    Args:
        bands: of a frame; features of a step are frames × bands.
        band_masks: how many of the one kind.
        widest_bands: F.
        time_masks: how many of the other.
        longest_steps: T.
        largest_share: p.

    Shapes:
        `Sounds` → [time, batch, features].

    >>> sounds = Sounds(torch.ones(9, 2, 6), torch.tensor([9, 4]), *[torch.zeros(2, 0)] * 2, [])
    >>> augment = SpecAugment(bands=3, band_masks=1, widest_bands=2, time_masks=1, longest_steps=3)
    >>> augment.eval()(sounds).mean().item()
    1.0
    """

    def __init__(
        self, bands: int, band_masks: int, widest_bands: int, time_masks: int, longest_steps: int,
        largest_share: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bands, self.band_masks, self.widest_bands = bands, band_masks, min(widest_bands, bands)
        self.time_masks, self.longest_steps, self.largest_share = time_masks, longest_steps, largest_share

    def forward(self, sounds: Sounds) -> Tensor:
        """The features, masked in training."""
        features = sounds.features
        if not self.training:
            return features
        steps, batch, size = features.shape
        kept = torch.ones(steps, batch, 1, self.bands, dtype=torch.bool)
        lengths = sounds.lengths.cpu()
        for _ in range(self.band_masks):
            whole = torch.full((batch,), self.bands)
            kept &= ~_stretches(self.bands, whole, torch.full((batch,), self.widest_bands)).t()[None, :, None, :]
        for _ in range(self.time_masks):
            most = (lengths * self.largest_share).long().clamp(max=self.longest_steps)
            kept &= ~_stretches(steps, lengths, most)[:, :, None, None]
        shaped = features.unflatten(2, (size // self.bands, self.bands))
        return (shaped * kept.to(features.device)).flatten(2)


def _stretches(size: int, lengths: Tensor, most: Tensor) -> Tensor:
    """A stretch of each row: bool [size, batch]; as long as U{0, …, most}, from U{0, …, length − its length} on."""
    long = (torch.rand(len(lengths)) * (most + 1)).long()
    first = (torch.rand(len(lengths)) * (lengths - long + 1)).long()
    at = torch.arange(size).unsqueeze(1)
    return (at >= first) & (at < first + long)
