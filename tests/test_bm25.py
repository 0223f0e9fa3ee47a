"""BM25: each formula as it is written, what is added or merged beside what is indexed at once, conditions, hits."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import Analyzer
from ostinato.errors import BusyError, SettingsError
from ostinato.features import BM25
from ostinato.features.retrieval import bm25
from ostinato.features.retrieval.index import LOCK, alike
from ostinato.files import locked
from tests.search_corpus import WORD, WORDS, corpus, documents, found, small_segments, unsynced  # noqa: F401 - two are fixtures

# the formulas


def robertson(n: int, df: int, tf: int, length: int, mean: float, k1: float, b: float, delta: float) -> float:
    return math.log((n - df + 0.5) / (df + 0.5)) * tf / (k1 * (1 - b + b * length / mean) + tf)


def lucene(n: int, df: int, tf: int, length: int, mean: float, k1: float, b: float, delta: float) -> float:
    return math.log(1 + (n - df + 0.5) / (df + 0.5)) * tf / (k1 * (1 - b + b * length / mean) + tf)


def atire(n: int, df: int, tf: int, length: int, mean: float, k1: float, b: float, delta: float) -> float:
    return math.log(n / df) * ((k1 + 1) * tf) / (k1 * (1 - b + b * length / mean) + tf)


def plus(n: int, df: int, tf: int, length: int, mean: float, k1: float, b: float, delta: float) -> float:
    return math.log((n + 1) / df) * (((k1 + 1) * tf) / (k1 * (1 - b + b * length / mean) + tf) + delta)


def long(n: int, df: int, tf: int, length: int, mean: float, k1: float, b: float, delta: float) -> float:
    c = tf / (1 - b + b * length / mean)
    return math.log((n + 1) / (df + 0.5)) * ((k1 + 1) * (c + delta)) / (k1 + c + delta)


FORMULAS: dict[str, tuple[Callable[..., float], float]] = {
    "robertson": (robertson, 0.0),
    "lucene": (lucene, 0.0),
    "atire": (atire, 0.0),
    "bm25+": (plus, 1.0),
    "bm25l": (long, 0.5),
}


def by_hand(texts: list[str], query: str, formula: Callable[..., float], k1: float, b: float, delta: float) -> Any:
    """(number, score) of each text with a word of the query, the best first."""
    split = [text.split() for text in texts]
    mean = sum(map(len, split)) / len(split)
    scores = {}
    for number, words in enumerate(split):
        parts = [
            formula(len(split), sum(word in each for each in split), words.count(word), len(words), mean, k1, b, delta)
            for word in query.split()
            if word in words
        ]
        if parts:
            scores[number] = sum(parts)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("idf", FORMULAS)
@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (2.0, 1.0), (1.2, 0.0)])
def test_formula(idf: str, k1: float, b: float) -> None:
    formula, delta = FORMULAS[idf]
    texts = corpus(3, 60)
    for query in ("a 猫 鱼", "c", "d d a", "ü e nowhere"):
        hits = found(BM25(WORDS, k1, b, idf).index(texts), query)
        wanted = by_hand(texts, query, formula, k1, b, delta)
        assert [score for _, score in hits] == pytest.approx([score for _, score in wanted], rel=1e-12)
        by_number = dict(wanted)
        assert {number: pytest.approx(by_number[number], rel=1e-12) for number, _ in hits} == dict(hits)
        assert len(hits) == len(wanted) > 0


@pytest.mark.parametrize(("idf", "delta"), [("bm25+", 0.3), ("bm25l", 2.0), ("bm25+", 0.0)])
def test_delta(idf: str, delta: float) -> None:
    texts = corpus(4, 40)
    hits = found(BM25(WORDS, idf=idf, delta=delta).index(texts), "b 鱼")
    wanted = by_hand(texts, "b 鱼", FORMULAS[idf][0], 1.5, 0.75, delta)
    assert [score for _, score in hits] == pytest.approx([score for _, score in wanted], rel=1e-12)


@pytest.mark.parametrize("method", ["lucene", "atire"])
def test_as_bm25s(method: str) -> None:
    """Where it has the same formula."""
    texts = corpus(5, 80)
    peer = bm25s.BM25(k1=1.2, b=0.6, method=method, dtype="float64")
    peer.index([text.split() for text in texts], show_progress=False)
    scores = peer.get_scores(["a", "d", "猫", "a"])
    hits = found(BM25(WORDS, 1.2, 0.6, method).index(texts), "a d 猫 a")
    assert [scores[number] for number, _ in hits] == pytest.approx([score for _, score in hits], rel=1e-9)
    assert len(hits) >= np.count_nonzero(scores)


def test_words_that_most_documents_hold() -> None:
    """Robertson's idf is below 0 for them, ATIRE's is 0 for what all hold: hits all the same, and the last ones."""
    texts = ["x y", "x y z", "x", "w"]
    assert [number for number, _ in found(BM25(WORDS, idf="robertson").index(texts), "x z")] == [1, 0, 2]
    assert [score < 0 for _, score in found(BM25(WORDS, idf="robertson").index(texts), "x")] == [True] * 3
    assert found(BM25(WORDS, idf="atire").index(["x y", "x"]), "x") == [(0, 0.0), (1, 0.0)]


def test_the_example() -> None:
    docs = ["猫 喜欢 鱼", "狗 不 喜欢 鱼", "鸟 会 飞", "猫 睡觉", "狗 睡觉", "鱼 游"]
    hits = BM25(k1=1.5, b=0.75, idf="robertson").index(docs).search("猫 喜欢 鱼", top=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].text == docs[0]
    assert [span.token for span in hits[0].spans] == ["猫", "喜欢", "鱼"]
    assert hits[0].highlighted("[", "]") == "[猫] [喜欢] [鱼]"
    assert "猫 喜欢 鱼" in repr(docs[0])
    assert "rank=1" in repr(hits[0])


@given(
    st.lists(st.integers(-2, 9) | st.floats(-5, 5, width=16) | st.just(-math.inf), max_size=400),
    st.integers(1, 12),
    st.integers(1, 200),
    st.sampled_from([-math.inf, 0.0]),
)
def test_highest(scores: list[float], top: int, times: int, none: float) -> None:
    scores = scores * times
    wanted = sorted((-score, place) for place, score in enumerate(scores) if score > none)[:top]
    assert bm25.highest(np.array(scores, np.float64), top, none).tolist() == [place for _, place in wanted]


@pytest.mark.parametrize("top", [1, 3, 10, 100])
def test_top_is_the_beginning_of_all(top: int) -> None:
    engine = BM25(WORDS).index(corpus(6, 900))
    assert found(engine, "猫 ü a", top) == found(engine, "猫 ü a")[:top]


def test_settings() -> None:
    for wrong in (
        {"k1": -1.0},
        {"b": 1.5},
        {"idf": "okapi"},
        {"k1": math.nan},
        {"delta": 1.0},
        {"idf": "bm25+", "delta": -1.0},
    ):
        with pytest.raises(SettingsError):
            BM25(**wrong)  # pyright: ignore
    with pytest.raises(SettingsError, match="analyzer: expected"):
        BM25(analyzer="english")  # pyright: ignore
    engine = BM25(WORDS).index(["a"])
    for top in (0, -1, 1.5, True):
        with pytest.raises(SettingsError, match="whole number from 1"):
            engine.search("a", top)  # pyright: ignore


# parts and the whole


def same(one: BM25, other: BM25, tmp_path: Path) -> None:
    """The same scores to the last bit, and the same bytes once both are one segment."""
    assert len(one) == len(other)
    for query in ("a b", "猫 鱼 ü", "c e a a"):
        for where in (None, "year>=2004", ["tags=猫", "year!=2003"]):
            assert found(one, query, where=where) == found(other, query, where=where)
            assert found(one, query, 5, where=where) == found(other, query, 5, where=where)
    folders = [engine.save(tmp_path / f"{number}-{random.random()}") for number, engine in enumerate((one, other))]
    for name in ("arrays.safetensors", "documents.jsonl"):
        first, second = [next(folder.rglob(name)).read_bytes() for folder in folders]
        assert first == second, name


def test_added_is_as_indexed_at_once(small: None, tmp_path: Path) -> None:
    docs = documents(7, 150)
    whole, grown = BM25(WORDS).index(docs, tmp_path / "whole"), BM25(WORDS).index(docs[:20], tmp_path / "grown")
    for start, end in ((20, 21), (21, 90), (90, 91), (91, 92), (92, 150)):
        assert grown.add(docs[start:end]) == (end - start, 0, 0)
    assert 1 < len(grown._indexed().segments) < 12
    same(whole, grown, tmp_path)
    for idf in FORMULAS:
        one, other = (BM25.load(tmp_path / name, idf=idf, k1=0.7) for name in ("whole", "grown"))
        assert found(one, "a b 猫") == found(other, "a b 猫") != found(whole, "a b 猫")


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 9999), st.sets(st.integers(1, 39), max_size=4))
def test_any_parts_are_as_the_whole(tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: set[int]) -> None:
    docs = [doc | {"text": doc["text"] + " a"} for doc in documents(seed, 40)]  # so that no part is without words
    first, *rest = sorted({*cuts, 40})
    grown = BM25(WORDS).index(docs[:first])
    for start, end in zip([first, *rest], rest, strict=False):
        grown.add(docs[start:end])
    same(BM25(WORDS).index(docs), grown, tmp_path_factory.mktemp("parts"))


def test_merged_parts_are_as_the_whole(small: None, tmp_path: Path) -> None:
    docs = documents(8, 120)
    parts = [BM25(WORDS).index(docs[start : start + 40]) for start in (0, 40, 80)]
    merged = parts[0]
    assert merged.merge(parts[1]) == (40, 0, 0)
    merged.merge(parts[2])
    same(BM25(WORDS).index(docs), merged, tmp_path)


def test_merged_documents_without_ids_are_numbered_on(small: None, tmp_path: Path) -> None:
    texts = corpus(9, 90)
    merged = BM25(WORDS).index(texts[:50])
    merged.merge(BM25(WORDS).index(texts[50:]))
    same_numbers = found(BM25(WORDS).index(texts), "a ü")
    assert found(merged, "a ü") == same_numbers
    assert max(number for number, _ in same_numbers) > 50


def test_merge_needs_the_same_words() -> None:
    one = BM25(WORDS).index(["a"])
    with pytest.raises(SettingsError, match="cannot merge: analyzer"):
        one.merge(BM25(Analyzer(tokens="words")).index(["a"]))
    with pytest.raises(SettingsError, match="both are"):
        one.merge(one)


def test_replaced_documents_are_gone(small: None, tmp_path: Path) -> None:
    docs = documents(10, 60)
    engine = BM25(WORDS).index(docs)
    changed = [docs[number] | {"text": docs[number]["text"] + " new a", "year": 1990} for number in (3, 30, 31, 57)]
    again = [docs[7], docs[8]]
    assert engine.add([*changed, *again]) == (4, 4, 2)
    left = [doc for doc in docs if doc["id"] not in {each["id"] for each in changed}]
    same(BM25(WORDS).index([*left, *changed]), engine, tmp_path)
    assert engine.document_frequency("new nowhere") == {"new": 4, "nowhere": 0}
    assert len(found(engine, "new", where="year<2000")) == 4
    for part in (slice(0, 40), slice(10, 60)):  # until a segment holds more that is gone than that is there
        engine.add([doc | {"text": f"a {random.random()}"} for doc in docs[part]])
    assert len(engine) == 60
    assert sum(len(segment) for segment in engine._indexed().segments) <= 2 * 60
    assert engine.document_frequency("a") == {"a": 60}


def test_a_merge_replaces_too(small: None, tmp_path: Path) -> None:
    docs = documents(11, 40)
    engine = BM25(WORDS).index(docs[:30])
    changed = [docs[5] | {"text": "a b c"}, *docs[30:]]
    assert engine.merge(BM25(WORDS).index(changed)) == (11, 1, 0)
    same(BM25(WORDS).index([*docs[:5], *docs[6:30], *changed]), engine, tmp_path)


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    docs = documents(12, 10)
    engine = BM25(WORDS).index(docs, tmp_path / "index")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").rglob("*.*") if path.is_file()}
    assert engine.add(docs) == (0, 0, 10)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_few_segments() -> None:
    """Additions one by one leave segments whose number grows like a logarithm, and rewrite each document as often."""
    sizes: list[int] = []
    rewritten = 0
    for _ in range(3000):
        sizes.append(5000)
        while count := alike(sizes):
            rewritten += sum(sizes[-count:])
            sizes[-count:] = [sum(sizes[-count:])]
    assert len(sizes) <= 3 * 7
    assert rewritten <= 7 * 3000 * 5000


def test_what_was_opened_stays(tmp_path: Path) -> None:
    docs = documents(13, 60)
    writer = BM25(WORDS).index(docs[:20], tmp_path / "index")
    reader = BM25.load(tmp_path / "index")
    before = found(reader, "a b")
    writer.add(docs[20:])
    writer.add([doc | {"text": "b"} for doc in docs])  # the segment that the reader has open is no more
    assert found(reader, "a b") == before
    assert [hit.text for hit in reader.search("a b")]
    assert len(BM25.load(tmp_path / "index")) == 60


def test_one_writer(tmp_path: Path) -> None:
    engine = BM25(WORDS).index(["a"], tmp_path / "index")
    with locked(tmp_path / "index" / LOCK, "x"), pytest.raises(BusyError, match="is being written"):
        engine.add(["b"])
    assert engine.add(["b"]) == (1, 0, 0)


def test_a_temporary_index_goes() -> None:
    engine = BM25(WORDS).index(["a"])
    folder = engine._indexed().folder
    hit = engine.search("a")[0]
    assert folder.exists()
    del engine
    assert not folder.parent.exists()
    assert hit.text == "a"


def test_loaded_with_another_formula(tmp_path: Path) -> None:
    texts = corpus(14, 50)
    BM25(WORDS, idf="bm25+", delta=0.2).index(texts, tmp_path / "index")
    other = BM25.load(tmp_path / "index", idf="atire", k1=1.0)
    assert found(other, "a 鱼") == found(BM25(WORDS, k1=1.0, idf="atire").index(texts), "a 鱼")
    assert BM25.load(tmp_path / "index").settings.delta == 0.2
    with pytest.raises(SettingsError, match="only bm25"):
        BM25.load(tmp_path / "index", idf="lucene", delta=0.2)
    other.add(["a"])
    assert BM25.load(tmp_path / "index").settings.idf == "bm25+"
