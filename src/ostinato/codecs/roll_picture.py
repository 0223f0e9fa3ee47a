"""Piano rolls as a picture: time to the right, pitch upwards, a bar for each note."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from ostinato.codecs.midi import note_name
from ostinato.codecs.music import Roll, RollSettings, to_notes
from ostinato.errors import MissingExtra, SettingsError
from ostinato.files import write_bytes

_SHOWN = 256  # steps of a piece; more would be too thin to see
_INK, _GIVEN = "#1f6f8b", "#c8602b"
_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "DejaVu Sans")


class Panel(NamedTuple):
    """A piece to draw."""

    title: str
    roll: Roll
    given: int = 0
    """So many steps at its beginning were given, and are drawn in another colour."""


def draw_rolls(path: Path, panels: Sequence[Panel], settings: RollSettings) -> None:
    """Draw pieces under each other, the first 256 steps of each, with the same range of pitches; whole or not at all.

    Args:
        path: of the picture; its ending names the kind: png, svg or pdf.
        panels: the pieces, from above.
        settings: range and step of the rolls.

    Raises:
        SettingsError: if the file's name ends in another kind.
        MissingExtra: if matplotlib is not installed.
    """
    kind = check_picture(path)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.font_manager import get_font_names
    except ImportError:
        raise MissingExtra("matplotlib", "plot", f"{path}: drawing") from None
    here = set(get_font_names())
    style: Any = {
        "font.family": [name for name in _FONTS if name in here] or ["sans-serif"], "svg.hashsalt": "ostinato",
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#8b94a0", "axes.titlesize": 10,
        "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.titlelocation": "left",
    }  # fmt: skip
    notes = [to_notes(Roll(each.roll.sounding[:_SHOWN], each.roll.struck[:_SHOWN]), settings) for each in panels]
    pitches = [note.pitch for part in notes for note in part] or [60]
    lowest, highest = min(pitches) - 2, max(pitches) + 2
    steps = max(1, *(min(_SHOWN, len(each.roll.sounding)) for each in panels))
    scale = _beats(settings)
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 0.6 + 2.1 * len(panels)), layout="constrained")
        axes: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, panel, part in zip(axes, panels, notes, strict=True):
            for note in part:
                first, last = float(note.begin) / scale, float(note.end) / scale
                colour = _GIVEN if first < panel.given else _INK
                axis.barh(note.pitch, last - first - 0.12, left=first, height=0.8, color=colour, linewidth=0)
            named = [pitch for pitch in range(lowest, highest + 1) if pitch % 12 in (0, 7)]
            axis.set_yticks(named, [note_name(pitch) for pitch in named])
            axis.set(xlim=(0, steps), ylim=(lowest, highest))
            axis.set_title(panel.title)
            axis.grid(axis="y", color="#e4e0d6", linewidth=0.7)
            axis.set_axisbelow(True)
            if panel.given:
                axis.axvline(panel.given - 0.06, color=_GIVEN, linewidth=1, linestyle=":")
        axes[-1].set_xlabel(f"steps of {settings.step_name}")
        picture = BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        figure.savefig(picture, format=kind, dpi=160, metadata=metadata)
    write_bytes(path, picture.getvalue())


def _beats(settings: RollSettings) -> float:
    """A step in beats, as `to_notes` has it at its tempo of 120."""
    length, seconds = settings.length()
    return float(length) * (2 if seconds else 1)


def check_picture(path: Path) -> str:
    """The kind of picture that a file's name asks for.

    Raises:
        SettingsError: if it is none of those that are drawn.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise SettingsError(f"{path}: as what picture? end its name in .png, .svg or .pdf")
    return kind
