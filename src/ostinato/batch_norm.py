"""Batch normalisation inside a time loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ostinato.kernels.reference import Normalise


class StepBatchNorm(nn.Module):
    """(v − mean) / √(variance + 10⁻⁵) · gain over the rows of a batch, with statistics of each step's own.

    Cooijmans et al. 2017, section 3: what a network carries changes much in its first steps, so that one statistic for
    all of them fits none. Training normalises by the batch and moves the running statistics a tenth of the way to it;
    evaluation normalises by these, as does a step that fewer than two rows reach.

    Args:
        steps: that have statistics of their own, counted from where a call begins; later ones share the last.
        widths: features by place.

    Shapes:
        mean_<place> and variance_<place> [steps, features].
    """

    momentum = 0.1

    def __init__(self, steps: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.steps = steps
        for place, width in widths.items():
            self.register_buffer(f"mean_{place}", torch.zeros(steps, width))
            self.register_buffer(f"variance_{place}", torch.ones(steps, width))

    def at(self, step: int, live: Tensor | None = None) -> Normalise:
        """What normalises at a step.

        Args:
            step: from 0.
            live: [batch, 1], whether a row has not ended; what has does not count.
        """
        index = min(step, self.steps - 1)

        def normalise(values: Tensor, gain: Tensor, place: str) -> Tensor:
            mean, variance = getattr(self, f"mean_{place}")[index], getattr(self, f"variance_{place}")[index]
            if self.training:
                counts = torch.ones_like(values[:, :1]) if live is None else live.to(values.dtype)
                rows = counts.sum()
                found_mean = (values * counts).sum(0) / rows.clamp(min=1)
                found = ((values - found_mean).square() * counts).sum(0) / rows.clamp(min=1)
                enough = rows > 1
                used_mean, used = torch.where(enough, found_mean, mean), torch.where(enough, found, variance)
                with torch.no_grad():
                    unbiased = found * rows / (rows - 1).clamp(min=1)
                    mean.lerp_(found_mean.to(mean.dtype), self.momentum * enough)
                    variance.lerp_(unbiased.to(mean.dtype), self.momentum * enough)
                mean, variance = used_mean, used
            return (values - mean) * torch.rsqrt(variance + 1e-5) * gain

        return normalise

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"steps={self.steps}"
