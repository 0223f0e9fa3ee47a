"""How good predicted frames are, frame by frame, beside the last frame seen, copied."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.image_quality import SSIM_SIDE, ssim

_DOUBTS = torch.logspace(-4, -0.31, 24, dtype=torch.float64)
"""ε of which the copy's cross-entropy takes the best: from a ten-thousandth to nearly a half."""


class FrameScore:
    r"""Sums over sequences, by how far ahead a frame lies.

    - `mse`: the squared error of a pixel, mean; times the pixels of a frame it is the field's MSE per frame.
    - `ssim`: see `ostinato.image_quality.ssim`; left out of frames that are smaller than its window.
    - `cross_entropy`: −Σ y log p + (1 − y) log(1 − p) over a frame's pixels, nats; that of a sequence is the sum of its
      frames' (Srivastava et al. 2015, section 3).

    The copy tells the last frame seen for every one after it. Since what it says is 0 or 1 of many pixels, its
    cross-entropy is that of p = ε + (1 − 2ε) · pixel, for each frame ahead with the ε that is best on the very
    sequences that are measured, which is in its favour.

    Args:
        frames: that are told.
    """

    def __init__(self, frames: int) -> None:
        self.sequences, self.pixels = 0, 0
        self._sums = {name: torch.zeros(frames, dtype=torch.float64) for name in ("mse", "cross_entropy", "ssim")}
        self._copy = {name: torch.zeros(frames, dtype=torch.float64) for name in ("mse", "ssim")}
        self._copy_entropy = torch.zeros(frames, len(_DOUBTS), dtype=torch.float64)
        self._has_ssim = True

    def add(self, last: Tensor, targets: Tensor, logits: Tensor) -> None:
        """Count some sequences.

        Args:
            last: the last frame seen, [batch, height, width, channels], 0 to 1.
            targets: the true frames after it, [time, batch, height, width, channels].
            logits: of the predicted ones.
        """
        self.sequences += targets.shape[1]
        self.pixels = targets[0, 0].numel()
        self._has_ssim = min(targets.shape[2:4]) >= SSIM_SIDE
        told, copied = torch.sigmoid(logits), last.expand_as(targets)
        for sums, frames in ((self._sums, told), (self._copy, copied)):
            sums["mse"] += _by_frame((frames - targets).square())
            if self._has_ssim:
                sums["ssim"] += ssim(frames, targets).double().sum(1).cpu()
        entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        self._sums["cross_entropy"] += _by_frame(entropy)
        for column, doubt in enumerate(_DOUBTS.tolist()):
            likely = doubt + (1 - 2 * doubt) * last  # the logarithms are of one frame, whatever the horizon
            yes, no = likely.log(), (1 - likely).log()
            self._copy_entropy[:, column] -= _by_frame(no + targets * (yes - no))

    def by_frame(self) -> list[dict[str, float]]:
        """A row a frame ahead: `frame`, from 1, and the figures, means over the sequences; the copy's as `copy_…`."""
        names = ["mse", *(["ssim"] if self._has_ssim else []), "cross_entropy"]
        copy = self._copy | {"cross_entropy": self._copy_entropy.amin(1)}
        rows = []
        for frame in range(len(self._copy_entropy)):
            row: dict[str, float] = {"frame": frame + 1}
            for prefix, sums in (("", self._sums), ("copy_", copy)):
                for name in names:
                    each = self.sequences * (self.pixels if name == "mse" else 1)
                    row[f"{prefix}{name}"] = float(sums[name][frame]) / max(1, each)
            rows.append(row)
        return rows

    def figures(self) -> dict[str, float]:
        """Means over frames, `mse_per_frame` of the sum over a frame's pixels; `cross_entropy` of a whole sequence."""
        rows = self.by_frame()
        found = {name: sum(row[name] for row in rows) for name in rows[0] if name != "frame"}
        ordered: dict[str, float] = {}
        for prefix in ("", "copy_"):
            ordered[f"{prefix}cross_entropy"] = found[f"{prefix}cross_entropy"]
            ordered[f"{prefix}mse"] = found[f"{prefix}mse"] / len(rows)
            ordered[f"{prefix}mse_per_frame"] = found[f"{prefix}mse"] / len(rows) * self.pixels
            if self._has_ssim:
                ordered[f"{prefix}ssim"] = found[f"{prefix}ssim"] / len(rows)
        return ordered


def _by_frame(values: Tensor) -> Tensor:
    """Sums over all but the first axis, double."""
    return values.flatten(1).double().sum(1).cpu()
