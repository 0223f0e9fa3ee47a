r"""Log-mel features: how loud a sound is in bands that are as wide as hearing has them, frame by frame.

A frequency of f Hz is, in mel,

| scale | mel(f) |
|---|---|
| `slaney` | 3 f / 200 below 1000 Hz, 15 + 27 ln(f / 1000) / ln 6.4 from there on (Slaney 1998, Auditory Toolbox) |
| `htk` | 2595 log10(1 + f / 700) (Young et al. 2006, The HTK Book, equation 5.13) |
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

SCALES = ("slaney", "htk")
FLOOR = 1e-10
"""Power below which a band is taken for silent."""
_AT_ONCE = 4096  # frames whose spectrum is held


def mel_of_hz(hz: np.ndarray | float, scale: str = "slaney") -> np.ndarray:
    """Frequencies in mel; see the module.

    >>> mel_of_hz(np.array([110.0, 220.0, 440.0])).round(2).tolist()
    [1.65, 3.3, 6.6]
    """
    hz = np.asarray(hz, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    return np.where(hz < 1000.0, 3.0 * hz / 200.0, 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1000.0) / math.log(6.4))


def hz_of_mel(mel: np.ndarray | float, scale: str = "slaney") -> np.ndarray:
    """What `mel_of_hz` undoes.

    >>> hz_of_mel(np.array([1.0, 2.0, 3.0])).round(3).tolist()
    [66.667, 133.333, 200.0]
    """
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15.0, 200.0 * mel / 3.0, 1000.0 * np.exp((mel - 15.0) * math.log(6.4) / 27.0))


def mel_filters(rate: int, points: int, bands: int, low_hz: float, high_hz: float, scale: str = "slaney") -> np.ndarray:
    r"""Triangles over the bins of a spectrum, each from the peak of the one before to the peak of the one after.

    With peaks p_b equally far apart in mel from `low_hz` to `high_hz`, and f_k = k rate / points,

        w_bk = max(0, min((f_k − p_{b−1}) / (p_b − p_{b−1}), (p_{b+1} − f_k) / (p_{b+1} − p_b))),

    for the scale `slaney` times 2 / (p_{b+1} − p_{b−1}), so that each triangle has the same area, as in his toolbox;
    for `htk` as it is.

    Returns:
        float64 [bands, points / 2 + 1].

    >>> mel_filters(8000, 256, 40, 0.0, 4000.0).shape
    (40, 129)
    """
    ends = mel_of_hz(np.array([low_hz, high_hz]), scale)
    peaks = hz_of_mel(np.linspace(ends[0], ends[1], bands + 2), scale)
    hz = np.arange(points // 2 + 1) * (rate / points)
    before, peak, after = peaks[:-2, None], peaks[1:-1, None], peaks[2:, None]
    weights = np.maximum(0.0, np.minimum((hz - before) / (peak - before), (after - hz) / (after - peak)))
    return weights * (2.0 / (after - before)) if scale == "slaney" else weights


class LogMel:
    r"""Samples → log-mel features.

    Frame t of W samples begins at sample t H, H being the hop; w is a periodic Hann window; with N points, the power of
    two from W on,

        S_tk = |Σ_n w_n x_{tH+n} e^{−2πi kn/N}|²,   y_tb = ln max(Σ_k w_bk S_tk, 10⁻¹⁰).

    A frame needs no sample after its last: nothing is padded, and a stream has the frames of the whole.

    Args:
        rate: samples a second.
        bands: of the features.
        frame: W, in samples.
        hop: H, in samples.
        low_hz: where the lowest band begins.
        high_hz: where the highest ends.
        scale: of the bands, `slaney` or `htk`; see `mel_filters`.

    Raises:
        ValueError: if a band is so narrow that no bin of the spectrum falls into it.

    >>> log_mel = LogMel(rate=8000, bands=40, frame=200, hop=80, low_hz=20.0, high_hz=4000.0)
    >>> log_mel(np.zeros(8000, np.float32)).shape
    torch.Size([98, 40])
    """

    def __init__(
        self, rate: int, bands: int, frame: int, hop: int, low_hz: float, high_hz: float, scale: str = "slaney"
    ) -> None:
        self.frame, self.hop, self.bands = frame, hop, bands
        self.points = 1 << (frame - 1).bit_length()
        filters = mel_filters(rate, self.points, bands, low_hz, high_hz, scale)
        if not (held := filters.any(1)).all():
            raise ValueError(
                f"band {int(np.flatnonzero(~held)[0]) + 1} of {bands} holds no bin of a spectrum of {self.points} "
                f"points at {rate:,} Hz: expected fewer bands, a longer frame, or a higher low_hz"
            )
        self.filters = torch.from_numpy(filters.astype(np.float32)).t()
        self.window = torch.hann_window(frame, periodic=True)

    def frames_in(self, samples: int) -> int:
        """How many frames some samples hold."""
        return max(0, (samples - self.frame) // self.hop + 1)

    def __call__(self, samples: np.ndarray) -> Tensor:
        """Samples, float32 [samples] → features, float32 [frames, bands]."""
        count = self.frames_in(len(samples))
        if not count:
            return torch.zeros(0, self.bands)
        given = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        found = []
        for first in range(0, count, _AT_ONCE):
            last = min(first + _AT_ONCE, count)
            part = given[first * self.hop : (last - 1) * self.hop + self.frame]
            spectrum = torch.fft.rfft(part.unfold(0, self.frame, self.hop) * self.window, n=self.points)
            power = spectrum.real.square() + spectrum.imag.square()
            found.append((power @ self.filters).clamp(min=FLOOR).log())
        return torch.cat(found)
