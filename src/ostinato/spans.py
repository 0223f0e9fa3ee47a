"""Spans as tags: BIO and BIOES, what is legal in them, and how well spans are found, as conlleval says it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Scheme = Literal["bio", "bioes"]
OUTSIDE = "O"
_SPAN_TAG = re.compile(r"O|[BIES]-.+", re.DOTALL)
_OPENING, _INSIDE = ("B", "I"), ("I", "E")  # after which a span may go on; what goes on


class Span(NamedTuple):
    """Tokens `start` to before `end`, and what they are."""

    type: str
    start: int
    end: int


def is_span_tag(tag: str) -> bool:
    """Whether a tag is `O`, or B, I, E or S with a type.

    >>> [is_span_tag(tag) for tag in ("O", "B-NP", "NN", "B")]
    [True, True, False, False]
    """
    return _SPAN_TAG.fullmatch(tag) is not None


def scheme_of(tags: Iterable[str]) -> Scheme | None:
    """The scheme of tags of which some are spans; None where one is no tag of a span, or all are `O`.

    >>> scheme_of(["O", "I-NP", "B-NP"]), scheme_of(["O", "S-NP"]), scheme_of(["NN", "O"]), scheme_of(["O"])
    ('bio', 'bioes', None, None)
    """
    found = set(tags)
    if not all(map(is_span_tag, found)) or found <= {OUTSIDE}:
        return None
    return "bioes" if any(tag[0] in "ES" for tag in found) else "bio"


def _goes_on(before: str, tag: str) -> bool:
    """Whether a token is of the same span as the one before it; if not, and it is not outside, a span begins.

    Those are the conditions of conlleval (`startOfChunk`, `endOfChunk`; Tjong Kim Sang & Buchholz 2000): a span ends
    after E and S, before B, S and O, and where the type changes; what is not outside and does not go on begins one,
    whatever its letter.
    """
    return before[0] in _OPENING and tag[0] in _INSIDE and before[1:] == tag[1:]


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans of a sequence of tags, legal or not, as conlleval reads them.

    >>> spans_of(["I-NP", "I-NP", "B-NP", "O", "I-VP", "I-PP"])  # no B is needed where it is clear that one begins
    [Span(type='NP', start=0, end=2), Span(type='NP', start=2, end=3), Span(type='VP', start=4, end=5), \
Span(type='PP', start=5, end=6)]
    """
    found, start, before = [], 0, OUTSIDE
    for at, tag in enumerate([*tags, OUTSIDE]):
        if _goes_on(before, tag):
            before = tag
            continue
        if before != OUTSIDE:
            found.append(Span(before[2:], start, at))
        start, before = at, tag
    return found


def tags_of(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """Spans as tags.

    >>> (
    ...     tags_of([Span("NP", 0, 2), Span("VP", 3, 4)], 4, "bio"),
    ...     tags_of([Span("NP", 0, 2), Span("VP", 3, 4)], 4, "bioes"),
    ... )
    (['B-NP', 'I-NP', 'O', 'B-VP'], ['B-NP', 'E-NP', 'O', 'S-VP'])
    """
    tags = [OUTSIDE] * length
    for kind, start, end in spans:
        for at in range(start, end):
            tags[at] = f"I-{kind}"
        tags[start] = f"B-{kind}"
        if scheme == "bioes":
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{kind}"
    return tags


class Legal(NamedTuple):
    """What may stand where."""

    follows: np.ndarray
    """bool [from, to]."""
    begins: np.ndarray
    """bool [tags]."""
    ends: np.ndarray
    """bool [tags]."""


def legal(tags: Sequence[str], scheme: Scheme) -> Legal:
    """Which tags may follow which, begin a sentence and end it.

    In BIO an I follows a B or an I of its type. In BIOES, besides, a B or an I is followed by an I or an E of its type.

    >>> legal(["O", "B-NP", "I-NP"], "bio").follows.astype(int).tolist()
    [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    """
    closes = scheme == "bioes"

    def may(before: str, tag: str) -> bool:
        needs = tag[0] in _INSIDE or (closes and before[0] in _OPENING)
        return not needs or _goes_on(before, tag)

    follows = np.array([[may(before, tag) for tag in tags] for before in tags], bool).reshape(len(tags), len(tags))
    begins = np.array([may(OUTSIDE, tag) for tag in tags], bool)
    return Legal(follows, begins, np.array([may(tag, OUTSIDE) for tag in tags], bool))


class SpanScore:
    """Precision, recall and F1 of spans, added up over sentences as conlleval does.

    A span found is right if it begins and ends where a given one of the same type does. precision = right / found,
    recall = right / given, F1 = 2·precision·recall / (precision + recall); each is 0 where it would be 0 / 0.

    >>> score = SpanScore()
    >>> score.add(["B-NP", "I-NP", "O", "B-VP"], ["B-NP", "O", "O", "B-VP"])
    >>> score.figures()
    {'f1': 0.5, 'precision': 0.5, 'recall': 0.5}
    """

    def __init__(self) -> None:
        self.given, self.found, self.right = Counter[str](), Counter[str](), Counter[str]()

    def add(self, given: Sequence[str], found: Sequence[str]) -> None:
        """The tags of a sentence as they should be, and as they were found."""
        wanted, told = set(spans_of(given)), set(spans_of(found))
        self.given.update(span.type for span in wanted)
        self.found.update(span.type for span in told)
        self.right.update(span.type for span in wanted & told)

    def figures(self) -> dict[str, float]:
        """Over all types."""
        return _figures(self.given.total(), self.found.total(), self.right.total())

    def by_type(self) -> dict[str, dict[str, float]]:
        """The same for each type, with how many were `given`."""
        types = sorted({*self.given, *self.found})
        return {t: _figures(self.given[t], self.found[t], self.right[t]) | {"given": self.given[t]} for t in types}


def _figures(given: int, found: int, right: int) -> dict[str, float]:
    return {"f1": _share(2 * right, given + found), "precision": _share(right, found), "recall": _share(right, given)}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
