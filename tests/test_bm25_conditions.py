"""BM25: conditions on metadata, and documents, queries and conditions that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import Analyzer
from ostinato.errors import DataError, SettingsError
from ostinato.features import BM25
from ostinato.features.retrieval.where import conditions
from tests.search_corpus import WORDS, documents, found, small_segments, unsynced  # noqa: F401 - two are fixtures

# metadata

DOCS = [
    {"text": "w", "year": 2019, "lang": "en", "author": {"name": "Li"}, "tags": ["x", "y"], "id": 0},
    {"text": "w", "year": "2020", "lang": "de", "tags": [], "draft": True, "id": 1},
    {"text": "w", "year": 2020.5, "lang": "en", "date": "2020-05-01", "id": 2},
    {"text": "w", "year": 10, "lang": "zh", "date": "2021-01-31", "author": {"name": "Wu"}, "id": 3},
    {"text": "w", "tags": ["y"], "year": None, "note": "", "zip": "007", "id": 4},
]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("year=2020", [1]), ("year = 2020.0", [1]), ("year!=2020", [0, 2, 3, 4]), ("year>2019", [1, 2]),
        ("year>=2019", [0, 1, 2]), ("year<2019", [3]), ("year<=2019", [0, 3]), ("year>1", [0, 1, 2, 3]),
        ("year=abc", []), ("year>abc", []), ("lang=en", [0, 2]), ("lang!=en", [1, 3, 4]), ("lang>=en", [0, 2, 3]),
        ("lang<en", [1]), ("date>=2020-12-01", [3]), ("date<2020-12-01", [2]), ("author.name=Li", [0]),
        ("tags=y", [0, 4]), ("tags!=y", [1, 2, 3]), ("draft=true", [1]), ("note=", [4]), ("zip=007", [4]),
        ("zip=7", []), (["year>2000", "lang=en"], [0, 2]), ({"year": 2020, "lang": "de"}, [1]), ({"draft": True}, [1]),
        ([], [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("parts", [5, 2])
def test_where(where: Any, wanted: list[int], parts: int) -> None:
    engine = BM25(WORDS).index(DOCS[:parts])
    if DOCS[parts:]:
        engine.add(DOCS[parts:])
    hits = engine.search("w", where=where)
    assert [hit.id for hit in hits] == wanted
    assert [hit.metadata for hit in hits] == [
        {name: value for name, value in DOCS[number].items() if name not in ("id", "text")} for number in wanted
    ]


def test_where_does_not_change_scores() -> None:
    docs = documents(15, 80)
    engine = BM25(WORDS).index(docs)
    everything = dict(found(engine, "a 猫"))
    years = {doc["id"]: doc["year"] for doc in docs}
    some = dict(found(engine, "a 猫", where="year<=2003"))
    assert some == {number: score for number, score in everything.items() if years[number] <= 2003}
    assert 0 < len(some) < len(everything)


def test_wrong_conditions() -> None:
    engine = BM25(WORDS).index([*DOCS, {"text": "w", "abstract": "x" * 300}, {"text": "w", "abstract": "short"}])
    with pytest.raises(SettingsError, match=r"no document has the field 'yaer'.*did you mean year"):
        engine.search("w", where="yaer=2020")
    with pytest.raises(SettingsError, match="more than 256 characters"):
        engine.search("w", where="abstract=short")
    for wrong in ("year", "", "=3", 7):
        with pytest.raises(SettingsError, match="expected a comparison"):
            engine.search("w", where=[wrong])  # pyright: ignore
    with pytest.raises(SettingsError, match=r"fields: none"):
        BM25(WORDS).index(["w"]).search("w", where="a=1")


@given(
    st.lists(
        st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from(["a", "b", "ab", "", "1", "-2.50", "é"]), min_size=1
    ),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.integers(-3, 3) | st.sampled_from(["a", "ab", "", "0.5", "é"]),
)
@settings(max_examples=30, deadline=None)
def test_comparisons_as_python_has_them(values: list[Any], operator: str, bound: Any) -> None:
    def plain(value: Any) -> Any:
        try:
            return float(value)
        except ValueError:
            return value

    compare = {
        "=": lambda x, y: x == y,
        "!=": lambda x, y: x != y,
        "<": lambda x, y: x < y,
        "<=": lambda x, y: x <= y,
        ">": lambda x, y: x > y,
        ">=": lambda x, y: x >= y,
    }[operator]

    def fits(value: Any) -> bool:
        x, y = plain(value), plain(bound)
        return operator == "!=" if type(x) is not type(y) else compare(x, y)

    engine = BM25(WORDS).index([{"text": "w", "f": value} for value in values])
    hits = engine.search("w", len(values), where=f"f{operator}{bound}")
    assert [hit.id for hit in hits] == [number for number, value in enumerate(values) if fits(value)]
    assert conditions(f"f {operator} {bound}") == conditions(f"f{operator}{bound}")


# bad input


def test_no_documents(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no documents"):
        BM25(WORDS).index([], tmp_path / "index")
    assert not (tmp_path / "index").exists()
    with pytest.raises(DataError, match="no word is left of 2 documents"):
        BM25(Analyzer(stop_words="english")).index(["the of", "and"], tmp_path / "index")
    assert not list(tmp_path.iterdir())
    engine = BM25(WORDS).index(["a"], tmp_path / "index")
    for wrong, why in (([], "no documents"), ([""], "no word is left"), ([{"id": "x", "text": " "}], "no word")):
        with pytest.raises(DataError, match=why):
            engine.add(wrong)
    assert found(engine, "a") == found(BM25.load(tmp_path / "index"), "a")
    assert len(list((tmp_path / "index" / "segments").iterdir())) == 1


@pytest.mark.parametrize(
    ("docs", "why"),
    [
        ([3], "document 0: expected a text, or a mapping"),
        (["a", {"body": "x"}], r"document 1: a document without a text \(its keys: body\)"),
        ([{"text": 5}], "document 0: expected a text, found int"),
        ([{"text": "a", "id": 1.5}], "document 0: id = 1.5: expected text, a whole number, or none"),
        ([{"text": "a", "id": 1}, {"text": "b", "id": 1}], "document 1: two documents have the id 1"),
        ([{"text": "a", "when": object()}], "document 0: metadata of 'a' are not what JSON has"),
        ("a text", "expected many documents"),
        ({"text": "a"}, "expected many documents"),
    ],
)
def test_wrong_documents(docs: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=why):
        BM25(WORDS).index(docs, tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_the_same_id_twice_in_two_segments(small: None) -> None:
    docs = documents(16, 60)
    with pytest.raises(DataError, match="two documents have the id 'd2'"):
        BM25(WORDS).index([*docs, docs[2]])
    assert len(BM25(WORDS).index([{"text": "a", "id": 1}, {"text": "a", "id": "1"}])) == 2


def test_wrong_queries() -> None:
    engine = BM25(Analyzer(stop_words="english")).index(["cats sleep", "dogs bark"])
    for query in ("", "  ", "the of", "?!"):
        with pytest.raises(DataError, match="no word is left of the query"):
            engine.search(query)
    with pytest.raises(DataError, match="none of the query's words stands in the index: zebra, yak"):
        engine.search("zebra yak")
    assert [hit.id for hit in engine.search("zebra dogs")] == [1]
    assert engine.document_frequency("the") == {}
    for call in (lambda: BM25().search("a"), lambda: BM25().add(["a"]), lambda: BM25().save("x")):
        with pytest.raises(DataError, match="there is no index yet"):
            call()


def test_values_of_several_segments_are_merged_in_order(small: None) -> None:
    """Also those that are equal and yet two, such as 1 and 1.0, in any order of the segments."""
    values = [1, 1.0, 2, "1", 1.0, 1, True, 0.5, 1, 2.0, "b", "a"]
    engine = BM25().index([{"text": "a cat", "x": values[0]}])
    for value in values[1:]:
        engine.add([{"text": "a cat", "x": value}])
    assert len(engine.search("cat", 99)) == len(values)
    for where, wanted in (("x=1", 6), ("x>=1", 8), ("x<1", 1), ("x=a", 1), ("x!=1", 6)):
        assert len(engine.search("cat", 99, where=where)) == wanted, where
