"""Spans: read as conlleval reads them, written in both schemes, scored, and what is legal."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.spans import OUTSIDE, Span, SpanScore, legal, scheme_of, spans_of, tags_of

ALL = ["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in ("NP", "VP"))]
sequences = st.lists(st.sampled_from(ALL), max_size=12)


def conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """Chunks by the tables of the script, pair of letters by pair of letters, as its documentation lists them."""
    ends = {"BB", "BS", "BO", "IB", "IS", "IO", *(f"{a}{b}" for a in "ES" for b in "BIESO")}
    starts = {*(f"{a}{b}" for a in "BIESO" for b in "BS"), *(f"{a}{b}" for a in "ESO" for b in "IE")}
    found, begun, before = [], 0, "O"
    for at, tag in enumerate([*tags, "O"]):
        pair, other = before[0] + tag[0], before[2:] != tag[2:]
        if before != "O" and (pair in ends or other):
            found.append((before[2:], begun, at))
        if tag != "O" and (pair in starts or other):
            begun = at
        before = tag
    return found


@given(sequences)
def test_any_tags_are_read_as_conlleval_reads_them(tags: list[str]) -> None:
    assert [tuple(span) for span in spans_of(tags)] == conlleval(tags)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ([], []),
        (["O"], []),
        (["B-NP", "I-NP", "I-NP"], [("NP", 0, 3)]),
        (["I-NP", "I-NP"], [("NP", 0, 2)]),  # IOB1
        (["I-NP", "B-NP"], [("NP", 0, 1), ("NP", 1, 2)]),  # IOB1: B only between two of one type
        (["B-NP", "I-VP"], [("NP", 0, 1), ("VP", 1, 2)]),
        (["O", "I-NP", "O", "I-NP"], [("NP", 1, 2), ("NP", 3, 4)]),
        (["S-NP", "B-NP", "E-NP"], [("NP", 0, 1), ("NP", 1, 3)]),
        (["E-NP", "E-NP"], [("NP", 0, 1), ("NP", 1, 2)]),
        (["B-a-b", "I-a-b", "B-a"], [("a-b", 0, 2), ("a", 2, 3)]),  # a type may hold the sign
    ],
)
def test_spans(tags: list[str], spans: list[tuple[str, int, int]]) -> None:
    assert [tuple(span) for span in spans_of(tags)] == spans


@given(sequences, st.sampled_from(["bio", "bioes"]))
def test_both_schemes_hold_the_same_spans_and_what_is_written_is_legal(tags: list[str], scheme: str) -> None:
    spans = spans_of(tags)
    written = tags_of(spans, len(tags), scheme)
    assert spans_of(written) == spans
    assert scheme_of(written) in (scheme, None, "bio")
    known = ["O", *sorted(set(ALL) - {"O"})]
    rules = legal(known, scheme)
    ids = [known.index(tag) for tag in written]
    assert all(rules.follows[a, b] for a, b in itertools.pairwise(ids))
    assert not ids or (rules.begins[ids[0]] and rules.ends[ids[-1]])


@given(sequences, st.sampled_from(["bio", "bioes"]))
def test_what_is_legal_is_what_would_be_written(tags: list[str], scheme: str) -> None:
    if scheme == "bio":
        tags = [tag.replace("S-", "B-").replace("E-", "I-") for tag in tags]
    rules = legal(ALL, scheme)
    ids = [ALL.index(tag) for tag in tags]
    inside = all(rules.follows[a, b] for a, b in itertools.pairwise(ids))
    is_legal = inside and (not ids or bool(rules.begins[ids[0]] and rules.ends[ids[-1]]))
    assert is_legal == (tags_of(spans_of(tags), len(tags), scheme) == tags)


def test_score_by_hand() -> None:
    score = SpanScore()
    score.add(["B-NP", "I-NP", "B-VP", "O", "B-NP"], ["B-NP", "I-NP", "O", "B-VP", "I-NP"])
    # given: NP 0-2, VP 2-3, NP 4-5; found: NP 0-2, VP 3-4, NP 4-5
    assert score.figures() == pytest.approx({"f1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3})
    score.add(["O"], ["B-PP"])
    assert score.figures() == pytest.approx({"f1": 4 / 7, "precision": 2 / 4, "recall": 2 / 3})
    types = score.by_type()
    assert types["NP"] == {"f1": 1, "precision": 1, "recall": 1, "given": 2}
    assert types["VP"]["f1"] == 0 and types["PP"] == {"f1": 0, "precision": 0, "recall": 0, "given": 0}
    assert SpanScore().figures() == {"f1": 0, "precision": 0, "recall": 0}


def test_tags_of_a_span_of_one_token() -> None:
    assert tags_of([Span("X", 1, 2)], 3, "bio") == [OUTSIDE, "B-X", OUTSIDE]
    assert tags_of([Span("X", 1, 2)], 3, "bioes") == [OUTSIDE, "S-X", OUTSIDE]
