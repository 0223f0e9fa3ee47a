"""Where a captioner looked: weights of attention as a picture, drawn over the image, a panel for each token."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.errors import MissingExtra
from ostinato.files import write_bytes
from ostinato.fonts import font_families

_COLUMNS = 6
_INCHES = 1.7  # of a panel
_GLOW = (0.92, 0.36, 0.05)


class Look(NamedTuple):
    """The tokens of a caption, and how much each attended to each place of the image."""

    tokens: list[str]
    weights: np.ndarray
    """float32 [tokens, rows, columns], of sum one for each token."""


def draw(path: Path, image: np.ndarray, caption: str, look: Look) -> None:
    """Draw an image and, for each token, where it looked: the more, the stronger the glow. Whole or not at all.

    Args:
        path: .png (at 150 dots an inch), .svg or .pdf.
        image: uint8 [channels, height, width], as the network saw it.
        caption: all of it.
        look: see `Look`.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "drawing attention")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = len(look.tokens) + 1
    columns = min(_COLUMNS, panels)
    rows = -(-panels // columns)
    height, width = image.shape[1:]
    style: Any = {
        "font.family": font_families(),
        "svg.hashsalt": "ostinato",
        "axes.titlesize": 10,
        "text.usetex": False,
    }
    with mpl.rc_context(style):
        size = (_INCHES * columns, (_INCHES * height / width + 0.3) * rows + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(_plain(caption), fontsize=11, fontweight="bold")
        shown = np.repeat(image, 3, 0) if len(image) == 1 else image
        extent = (0.0, float(width), float(height), 0.0)
        for number in range(panels):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.set_axis_off()
            axes.imshow(shown.transpose(1, 2, 0), extent=extent, interpolation="nearest")
            if number:
                axes.set_title(_plain(look.tokens[number - 1]) or "␣", pad=3)
                axes.imshow(_glow(look.weights[number - 1]), extent=extent, interpolation="bilinear")
        form = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
        figure.savefig(picture := BytesIO(), format=form, dpi=150, metadata=metadata)
    write_bytes(path, picture.getvalue())


def _glow(weights: np.ndarray) -> np.ndarray:
    """Weights [rows, columns] as red, green, blue and opacity: of the most attended place it is 0.85."""
    opacity = 0.85 * weights / max(float(weights.max()), 1e-9)
    return np.concatenate([np.broadcast_to(_GLOW, (*weights.shape, 3)), opacity[:, :, None]], axis=2)


def _plain(text: str) -> str:
    """A text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")
