"""SSIM against its definition, window by window."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ostinato.image_quality import ssim


def by_the_paper(x: np.ndarray, y: np.ndarray, span: float) -> float:
    """Wang et al. 2004, eq. 13 to 16, each window and each pixel of it written out."""
    w = np.array([[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)])
    w /= w.sum()
    c1, c2, found = (0.01 * span) ** 2, (0.03 * span) ** 2, []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = (w * a).sum(), (w * b).sum()
            variance_a, variance_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
            covariance = (w * (a - mean_a) * (b - mean_b)).sum()
            found.append(
                (2 * mean_a * mean_b + c1)
                * (2 * covariance + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
            )
    return float(np.mean(found))


@pytest.mark.parametrize("span", [1.0, 255.0])
def test_it_is_the_published_index(span: float) -> None:
    draw = np.random.default_rng(0)
    x = draw.random((3, 14, 12, 2)) * span
    y = np.clip(x + draw.normal(0, 0.2, x.shape) * span, 0, span)
    wanted = [np.mean([by_the_paper(a[..., k], b[..., k], span) for k in range(2)]) for a, b in zip(x, y, strict=True)]
    found = ssim(torch.from_numpy(x), torch.from_numpy(y), span)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)
    single = ssim(torch.from_numpy(x).float(), torch.from_numpy(y).float(), span)
    np.testing.assert_allclose(single.numpy(), wanted, atol=2e-5)
    torch.testing.assert_close(ssim(torch.from_numpy(y), torch.from_numpy(x), span), found)  # it is symmetric


def test_flat_images_have_a_formula() -> None:
    """Without variance only the luminance is left: (2 μ_x μ_y + C₁) / (μ_x² + μ_y² + C₁)."""
    x, y = torch.full((1, 11, 11, 1), 0.2).double(), torch.full((1, 11, 11, 1), 0.6).double()
    assert float(ssim(x, y)) == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4))


def test_images_that_are_too_small_or_differ_in_shape_are_told() -> None:
    for x, y in (
        (torch.zeros(10, 11, 1),) * 2,
        (torch.zeros(11, 11, 1), torch.zeros(11, 12, 1)),
        (torch.zeros(11, 11),) * 2,
    ):
        with pytest.raises(ValueError, match=r"ssim: expected \[..., height ≥ 11, width ≥ 11, channels\] twice, found"):
            ssim(x, y)
