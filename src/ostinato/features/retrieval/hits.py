"""What a search has found, read from the disk when it is looked at."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ostinato.analysis import Analyzer, Span
from ostinato.features.retrieval.index import Index

_CONTROL = re.compile(r"\s+")


@dataclass(eq=False)
class Hit:
    """A document that was found.

    Attributes:
        rank: 1 for the best.
        score: by the formula of the index.
        id: its own, or its place among the documents.
        text: as it was given.
        metadata: what else was given.
        spans: the words of the query in the text, each with its place, `text[start:end]`.
    """

    rank: int
    score: float
    _index: Index = field(repr=False)
    _segment: int = field(repr=False)
    _number: int = field(repr=False)
    _words: Collection[str] = field(repr=False)
    _analyzer: Analyzer = field(repr=False)

    @property
    def id(self) -> str | int:
        """Its own, or its place among the documents."""
        return self._index.id(self._segment, self._number)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return self._index.segments[self._segment].document(self._number)

    @property
    def text(self) -> str:
        """As it was given."""
        return self._document["text"]

    @property
    def metadata(self) -> dict[str, Any]:
        """What else was given."""
        return {name: value for name, value in self._document.items() if name not in ("id", "text")}

    @cached_property
    def spans(self) -> list[Span]:
        """The words of the query in the text."""
        return [span for span in self._analyzer.spans(self.text) if span.token in self._words]

    def highlighted(self, before: str = "**", after: str = "**", width: int | None = None) -> str:
        """The text with marks around the words of the query.

        Args:
            before: a mark.
            after: another.
            width: instead of the whole text only about so many characters, in one line, where the query's words are
                the densest; what is left out is shown as `…`.
        """
        text, marks = self.text, _joined(self.spans)
        start, end = (0, len(text)) if width is None else self._densest(width)
        pieces, at = ["…" if start else ""], start
        for left, right in ((max(left, start), min(right, end)) for left, right in marks):
            if left < right:
                pieces += [text[at:left], before, text[left:right], after]
                at = right
        pieces += [text[at:end], "…" if end < len(text) else ""]
        whole = "".join(pieces)
        return whole if width is None else _CONTROL.sub(" ", whole).strip()

    def _densest(self, width: int) -> tuple[int, int]:
        """Start and end of the part, at words' bounds, with the most different words of the query, then the most."""
        text = self.text
        if len(text) <= width:
            return 0, len(text)
        best, start, left = (0, 0), 0, 0
        held: list[Span] = []
        for span in self.spans:
            held.append(span)
            while len(held) > 1 and held[0].start < span.end - width:  # a word may be longer than the whole part
                held.pop(0)
            worth = (len({each.token for each in held}), len(held))
            if worth > best:
                best, left, right = worth, held[0].start, span.end
                start = max(0, left - max(0, width - (right - left)) // 3)
        end = min(len(text), start + width)
        if start and not text[start - 1].isspace():  # to the next blank, if it comes before the first word
            blank = text.find(" ", start, left)
            start = blank + 1 if blank >= 0 else start
        if end < len(text) and not text[end].isspace():
            blank = text.rfind(" ", start + width // 2, end)
            end = blank if blank >= 0 else end
        return start, end

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; spans as pairs of start and end."""
        return {
            "rank": self.rank, "score": self.score, "id": self.id, "text": self.text, "metadata": self.metadata,
            "spans": [[span.start, span.end] for span in self.spans],
        }  # fmt: skip


def _joined(spans: list[Span]) -> list[tuple[int, int]]:
    """Start and end of spans, those that overlap or touch as one: no marks stand between Chinese words."""
    joined: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and span.start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], span.end))
        else:
            joined.append((span.start, span.end))
    return joined
