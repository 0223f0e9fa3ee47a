"""How like two images are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_SIDE = 11
"""Pixels of the side of the window that `ssim` weighs; images must be at least as large."""


def ssim(images: Tensor, others: Tensor, span: float = 1.0) -> Tensor:
    r"""The structural similarity index, 1 for equal images (Wang et al. 2004, eq. 13, and section III-C).

        SSIM = (2 μ_x μ_y + C₁)(2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂)),

    C₁ = (0.01 L)², C₂ = (0.03 L)². Means, variances and covariance are weighted by a Gaussian of deviation 1.5 within
    11 × 11 pixels, whose weights sum to 1; the index is the mean over all places at which that window lies within the
    image, and over channels.

    Args:
        images: [..., height, width, channels].
        others: of the same shape.
        span: L, from the least to the largest value that a pixel may have.

    Returns:
        [...], in the type of the images.

    Raises:
        ValueError: if the shapes differ, or a side is shorter than 11.

    >>> image = torch.rand(2, 16, 16, 1, generator=torch.Generator().manual_seed(0))
    >>> ssim(image, image).tolist(), bool((ssim(image, 1 - image) < 0).all())
    ([1.0, 1.0], True)
    """
    if images.shape != others.shape or images.dim() < 3 or min(images.shape[-3:-1]) < SSIM_SIDE:
        sizes = f"{list(images.shape)} and {list(others.shape)}"
        raise ValueError(
            f"ssim: expected [..., height ≥ {SSIM_SIDE}, width ≥ {SSIM_SIDE}, channels] twice, found {sizes}"
        )
    x, y = (each.movedim(-1, -3).reshape(-1, 1, *each.shape[-3:-1]) for each in (images, others))
    distance = torch.arange(SSIM_SIDE, dtype=x.dtype, device=x.device) - SSIM_SIDE // 2
    weights = torch.exp(-distance.square() / (2 * 1.5**2))
    weights = weights / weights.sum()

    def mean(values: Tensor) -> Tensor:  # the Gaussian of two axes is one of each
        return functional.conv2d(functional.conv2d(values, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x.square(), mean(y * y) - mean_y.square()
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2)
    return (above / below).mean((1, 2, 3)).view(*images.shape[:-3], -1).mean(-1)
