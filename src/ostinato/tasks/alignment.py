"""Where a translator looked: weights of attention as a picture, of characters or as SVG."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from ostinato.files import write_text

_SHADES = " ·░▒▓█"
_CELL = 22  # of a square of the picture, pixels
_MARGIN = 110


class Alignment(NamedTuple):
    """Tokens of a text, those of its translation, and how much each of these attended to each of those.

    >>> alignment = Alignment(["ein", "Hund"], ["a", "dog"], [[0.9, 0.1], [0.2, 0.8]])
    >>> print(alignment.drawn())
        eH
        iu
        nn
         d
    a   █
    dog ·▓
    """

    source: list[str]
    target: list[str]
    weights: list[list[float]]
    """[target, source]; what is missing to a sum of one went to the end of the source."""

    def drawn(self) -> str:
        """A row for each token of the target, a column for each of the source; the darker, the more."""
        left = max((_width(token) for token in self.target), default=0)
        height = max((len(token) for token in self.source), default=0)
        wide = [max((_width(letter) for letter in token), default=1) for token in self.source]
        rows = []
        for line in range(height):
            letters = [token[line] if line < len(token) else " " for token in self.source]
            rows.append(" " * (left + 1) + "".join(map(_filled, letters, wide)))
        for token, row in zip(self.target, self.weights, strict=True):
            shades = [_SHADES[min(len(_SHADES) - 1, int(weight * len(_SHADES)))] for weight in row]
            rows.append(_filled(token, left + 1) + "".join(map(_filled, shades, wide)))
        return "\n".join(row.rstrip() for row in rows)

    def svg(self) -> str:
        """The same as a picture, a square for each pair of tokens."""
        width = _MARGIN + _CELL * len(self.source) + 10
        height = _MARGIN + _CELL * len(self.target) + 10
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]
        for column, token in enumerate(self.source):
            x = _MARGIN + _CELL * column + _CELL / 2 + 4
            place = f'x="{x}" y="{_MARGIN - 6}" transform="rotate(-60 {x} {_MARGIN - 6})"'
            parts.append(f"<text {place}>{escape(token)}</text>")
        for line, (token, row) in enumerate(zip(self.target, self.weights, strict=True)):
            y = _MARGIN + _CELL * line
            parts.append(f'<text x="{_MARGIN - 6}" y="{y + 15}" text-anchor="end">{escape(token)}</text>')
            for column, weight in enumerate(row):
                x = _MARGIN + _CELL * column
                title = escape(f"{token} ← {self.source[column]}: {weight:.2f}")
                place = f'x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}"'
                shade = f'fill="#1f4e79" fill-opacity="{weight:.3f}" stroke="#dddddd"'
                parts.append(f"<rect {place} {shade}><title>{title}</title></rect>")
        return "\n".join([*parts, "</svg>"]) + "\n"

    def write(self, path: Path) -> None:
        """Write the picture, whole or not at all."""
        write_text(path, self.svg())


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _filled(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
