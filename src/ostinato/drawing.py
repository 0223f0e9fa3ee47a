"""How pictures by matplotlib look, and how they become files: whole or not at all, the same picture the same bytes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from ostinato.errors import MissingExtra, SettingsError
from ostinato.files import write_bytes

COLOURS = ("#1f6f8b", "#c8602b", "#5d8a3a", "#8a5a9e", "#b7902a", "#44597a", "#a8455b", "#3f8f86")
FORMS = ("png", "svg", "pdf")
_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "SimHei")


def check_picture(path: Path) -> None:
    """See that a picture can be drawn there.

    Raises:
        SettingsError: if its name is not that of a form in `FORMS`.
        MissingExtra: if matplotlib is not installed.
    """
    if path.suffix.removeprefix(".") not in FORMS:
        raise SettingsError(f"{path}: a picture is a {', '.join('.' + form for form in FORMS)} file")
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", "drawing figures")


def picture_style() -> AbstractContextManager[Any]:
    """The look of a picture, with a font for letters and those for Chinese that this machine has."""
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    look: Any = {
        "font.family": ["DejaVu Sans", *(name for name in _FONTS if name in known)],
        "svg.hashsalt": "ostinato", "axes.unicode_minus": False, "text.usetex": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#8b94a0", "axes.titlesize": 11,
        "axes.labelsize": 9.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5,
        "axes.titleweight": "bold", "axes.grid": True, "grid.color": "#e4e0d6", "grid.linewidth": 0.7,
    }  # fmt: skip
    return mpl.rc_context(look)


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure, by the form that its name says; png at 200 dots an inch."""
    form, picture = path.suffix.removeprefix("."), BytesIO()
    metadata = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
    figure.savefig(picture, format=form, dpi=200, metadata=metadata)  # the same picture gives the same bytes
    write_bytes(path, picture.getvalue())


def plain_text(text: str) -> str:
    r"""A text that matplotlib does not take for mathematics.

    >>> plain_text("5 $ and 6 $")
    '5 \\$ and 6 \\$'
    """
    return text.replace("$", r"\$")
