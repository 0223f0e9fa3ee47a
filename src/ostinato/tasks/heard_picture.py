"""What a transcriber heard, as a picture: the sound's log-mel features, and above them the labels over time."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.codecs.audio import AudioCodec
from ostinato.codecs.log_mel import mel_of_hz
from ostinato.ctc import BLANK
from ostinato.errors import MissingExtra
from ostinato.files import write_bytes
from ostinato.fonts import font_families

_COLOURS = ("#1f6f8b", "#c8602b", "#5d8a3a", "#8a5a9e", "#b7902a", "#44597a", "#a8455b", "#3f8f86")
_SHOWN = 0.2  # a label that is never as likely is not drawn
_NAMED = 0.35  # a peak as high has its name beside it
_LONGEST_INCHES = 40.0


def need_matplotlib() -> None:
    """That pictures can be drawn.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "drawing what was heard")


def draw_heard(
    path: Path, features: np.ndarray, posteriors: np.ndarray, names: list[str], audio: AudioCodec, title: str
) -> None:
    """Write the picture as PNG, whole or not at all.

    Args:
        path: of the picture.
        features: [steps, features], as the network reads them.
        posteriors: p of each class at each step, [steps, classes].
        names: of the classes.
        audio: what made the features.
        title: above it.
    """
    need_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    seconds = len(posteriors) * audio.step_seconds
    at = (np.arange(len(posteriors)) + 0.5) * audio.step_seconds
    with mpl.rc_context({"font.family": font_families(), "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(min(_LONGEST_INCHES, max(6.0, 2.4 * seconds + 1.5)), 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
        above.set_title(title.replace("$", r"\$"), loc="left", fontsize=11, fontweight="bold")
        above.fill_between(at, posteriors[:, BLANK], step="mid", color="#e4e0d6")
        likely = [k for k in np.argsort(-posteriors.max(0)) if k != BLANK and posteriors[:, k].max() >= _SHOWN]
        for place, k in enumerate(likely):
            colour = _COLOURS[place % len(_COLOURS)]
            above.plot(at, posteriors[:, k], color=colour, drawstyle="steps-mid", linewidth=1.4)
            _name_peaks(above, at, posteriors[:, k], names[k], colour)
        above.set(ylim=(0, 1.18), yticks=(0, 0.5, 1), ylabel="p (grey: blank)")
        bands = features.reshape(-1, audio.bands).T
        extent = (0, bands.shape[1] * audio.hop / audio.rate, 0, audio.bands)
        below.imshow(bands, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-2, vmax=3)
        ticks = np.array([hz for hz in (250, 500, 1000, 2000, 4000, 8000) if audio.low_hz <= hz < audio.high_hz])
        low, high = (float(mel_of_hz(hz, audio.scale)) for hz in (audio.low_hz, audio.high_hz))
        width = (high - low) / (audio.bands + 1)  # between two peaks
        below.set_yticks((mel_of_hz(ticks, audio.scale) - low) / width - 0.5, [f"{hz:,}" for hz in ticks])
        below.set(xlabel="seconds", ylabel="Hz (log-mel)", xlim=(0, seconds), ylim=(0, audio.bands))
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=130)
    write_bytes(path, picture.getvalue())


def _name_peaks(axes: Any, at: np.ndarray, values: np.ndarray, name: str, colour: str) -> None:
    """The label above each run of steps at which it is likely."""
    high = np.concatenate([[False], values >= _NAMED, [False]])
    starts, ends = np.flatnonzero(high[1:] & ~high[:-1]), np.flatnonzero(~high[1:] & high[:-1])
    for start, end in zip(starts, ends, strict=True):
        peak = start + int(values[start:end].argmax())
        shown = "␣" if name == " " else name.replace("$", r"\$")
        axes.text(at[peak], values[peak] + 0.03, shown, ha="center", fontsize=11, color=colour, fontweight="bold")
