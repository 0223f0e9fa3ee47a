"""Sequences as a picture: what a network read, step by step, and how much each step spoke for the label."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.errors import MissingExtra, SettingsError
from ostinato.files import write_bytes
from ostinato.fonts import font_families

MOST = 6
"""Sequences of a picture."""
FORMS = ("png", "svg", "pdf")
_CURVES = 4  # more features are drawn as a map
_FOR, _AGAINST = "#1f6f8b", "#c8602b"
_STYLE: Any = {
    "svg.hashsalt": "ostinato", "axes.unicode_minus": False, "text.usetex": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#8b94a0", "axes.titlesize": 10, "axes.titleweight": "bold",
    "xtick.labelsize": 8, "ytick.labelsize": 8,
}  # fmt: skip


class Shown(NamedTuple):
    """A sequence to be drawn."""

    name: str
    label: str
    """That was told."""
    frames: np.ndarray
    """[time, features], as the network read them; no features of items."""
    weights: np.ndarray
    """How much each step speaks for the label, [time]."""
    names: Sequence[str]
    """Of the steps, where they are items."""


def check_picture(path: Path) -> None:
    """See that a picture can be drawn there.

    Raises:
        SettingsError: if its name is not that of a form in `FORMS`.
        MissingExtra: if matplotlib is not installed.
    """
    if path.suffix.removeprefix(".") not in FORMS:
        raise SettingsError(f"{path}: a picture is a {', '.join('.' + form for form in FORMS)} file")
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "drawing sequences")


def draw(shown: Sequence[Shown], path: Path) -> None:
    """Draw sequences side by side, each above the weights of its steps.

    Args:
        shown: some; at least one.
        path: a .png, .svg or .pdf file.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with mpl.rc_context(_STYLE | {"font.family": font_families()}):
        figure = Figure(figsize=(1 + 3.2 * columns, 3.0 * rows), layout="constrained")
        grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2, 1] * rows)
        for number, each in enumerate(shown):
            row, column = divmod(number, columns)
            above = figure.add_subplot(grid[2 * row, column])
            below = figure.add_subplot(grid[2 * row + 1, column])
            _sequence(above, each)
            _weights(below, each, labelled=column == 0)
        picture, form = BytesIO(), path.suffix.removeprefix(".")
        metadata = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
        figure.savefig(picture, format=form, dpi=150, metadata=metadata)  # the same sequences give the same bytes
    write_bytes(path, picture.getvalue())


def _sequence(axes: Any, shown: Shown) -> None:
    time, features = shown.frames.shape
    if features > _CURVES:
        axes.imshow(shown.frames.T, aspect="auto", origin="lower", cmap="magma", interpolation="nearest")
    elif features:
        axes.plot(shown.frames, linewidth=1.3)
        axes.set_xlim(-0.5, time - 0.5)
    else:
        axes.set_yticks([])
        for at, name in enumerate(shown.names):
            axes.text(at, 0.5, name.replace("$", r"\$"), rotation=90, ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, time - 0.5)
    axes.set_xticks([])
    axes.set_title(f"{shown.name}: {shown.label}".replace("$", r"\$"), loc="left")


def _weights(axes: Any, shown: Shown, labelled: bool) -> None:
    steps = np.arange(len(shown.weights))
    axes.bar(steps, shown.weights, width=1.0, color=np.where(shown.weights >= 0, _FOR, _AGAINST))
    axes.set_xlim(-0.5, len(steps) - 0.5)
    axes.set_xlabel("step", fontsize=8)
    if labelled:
        axes.set_ylabel("speaks for it", fontsize=8)
