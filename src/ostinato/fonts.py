"""Fonts of pictures: one for letters, and those for Chinese that a machine has."""

from __future__ import annotations

_CHINESE = ("Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "SimHei")


def font_families() -> list[str]:
    """What matplotlib is to write with, by family: the first that has a letter writes it."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _CHINESE if name in known)]
