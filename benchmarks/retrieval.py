"""How good is BM25 on SciFact, and how fast beside bm25s and rank-bm25?

5,183 abstracts, each with its title before it; the 300 claims of the validation part are the queries, the abstracts
that they cite what is relevant (as in BEIR). All on one thread in one process, in turn, several times; a figure is the
median in seconds of CPU time, of which other work on the machine takes little. A query goes in as text and comes out
as the ids of ten documents. rank-bm25 has no way to tokenise: it gets our words.

    pip install bm25s PyStemmer rank-bm25
    python benchmarks/retrieval.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import math
import re
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data import need
from ostinato import Analyzer
from ostinato.features import BM25

SETTINGS = [
    ("words as they are", {}, (0.9, 0.4)),
    ("stop words, stems", {"stop_words": "english", "stem": "english"}, (0.9, 0.4)),
    ("stop words, stems", {"stop_words": "english", "stem": "english"}, (1.2, 0.75)),
    ("stop words, stems", {"stop_words": "english", "stem": "english"}, (1.5, 0.75)),
]
TIMED: tuple[dict[str, Any], tuple[float, float]] = SETTINGS[1][1:]
PART = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)  # a sentence of an abstract, as NumPy prints it


def read(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 24)
    return list(csv.DictReader(io.TextIOWrapper(archive.open(name), "utf-8", newline="")))


def scifact() -> tuple[list[dict[str, str]], dict[str, str], dict[str, set[str]]]:
    """Documents, queries and relevant documents, by id."""
    with zipfile.ZipFile(need("retrieval/scifact_hf_csv.zip")) as archive:
        rows, claims = read(archive, "corpus_train.csv"), read(archive, "claims_validation.csv")
    documents = []
    for row in rows:
        sentences = [ast.literal_eval(part) for part in PART.findall(row["abstract"])]
        documents.append({"id": row["doc_id"], "text": " ".join([row["title"], *sentences])})
    queries = {row["id"]: row["claim"] for row in claims}
    relevant = {row["id"]: set(re.findall(r"\d+", row["cited_doc_ids"])) for row in claims}
    assert (len(documents), len(queries), sum(map(len, relevant.values()))) == (5183, 300, 339)
    return documents, queries, relevant


def ndcg(found: list[str], relevant: set[str], top: int = 10) -> float:
    """Normalised discounted cumulative gain, with gains of 0 and 1 (Järvelin & Kekäläinen 2002)."""
    gain = sum(1 / math.log2(rank + 2) for rank, each in enumerate(found[:top]) if each in relevant)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(len(relevant), top)))


def quality(documents: list[dict[str, str]], queries: dict[str, str], relevant: dict[str, set[str]]) -> None:
    print("SciFact, 300 queries                        k1    b     nDCG@10  recall@100")
    for name, words, (k1, b) in SETTINGS:
        engine = BM25(Analyzer(tokens="words", **words), k1, b).index(documents)
        found = {number: [str(hit.id) for hit in engine.search(text, 100)] for number, text in queries.items()}
        gain = statistics.mean(ndcg(found[number], relevant[number]) for number in queries)
        recall = statistics.mean(
            len(relevant[number].intersection(found[number])) / len(relevant[number]) for number in queries
        )
        print(f"ostinato, idf lucene, {name:<20}  {k1:<4}  {b:<4}  {gain:.4f}   {recall:.4f}")


def contenders(documents: list[dict[str, str]], folder: Path) -> Iterator[tuple[str, Callable[[], Any], Any]]:
    """Name, a function that indexes, and one that searches in what that returned."""
    import bm25s
    import Stemmer
    from rank_bm25 import BM25Okapi

    words, (k1, b) = TIMED
    analyzer, stemmer = Analyzer(tokens="words", **words), Stemmer.Stemmer("english")
    texts, ids = [document["text"] for document in documents], [document["id"] for document in documents]

    def ours() -> BM25:
        return BM25(analyzer, k1, b).index(documents, folder / "index", overwrite=True)

    def search_ours(engine: BM25, queries: list[str]) -> list[list[Any]]:
        return [[hit.id for hit in engine.search(query, 10)] for query in queries]

    def tokens(given: list[str], return_ids: bool) -> Any:
        return bm25s.tokenize(given, stopwords="en", stemmer=stemmer, return_ids=return_ids, show_progress=False)

    def direct() -> Any:
        engine = bm25s.BM25(k1=k1, b=b, method="lucene")
        engine.index(tokens(texts, True), show_progress=False)
        engine.save(folder / "bm25s", corpus=documents, show_progress=False)
        return engine

    def search_direct(engine: Any, queries: list[str]) -> list[list[Any]]:
        options: dict[str, Any] = {"k": 10, "show_progress": False, "backend_selection": "numpy"}
        return engine.retrieve(tokens(queries, False), corpus=ids, return_as="documents", **options).tolist()

    def memory_only() -> Any:
        engine = bm25s.BM25(k1=k1, b=b, method="lucene")
        engine.index(tokens(texts, True), show_progress=False)
        return engine

    def rank_bm25() -> Any:
        return BM25Okapi([analyzer(text) for text in texts], k1=k1, b=b)

    def search_rank(engine: Any, queries: list[str]) -> list[list[Any]]:
        return [engine.get_top_n(analyzer(query), ids, 10) for query in queries]

    yield "ostinato, to a folder", ours, search_ours
    yield "bm25s, saved to a folder", direct, search_direct
    yield "bm25s, in memory only", memory_only, search_direct
    yield "rank-bm25, in memory only", rank_bm25, search_rank


def agreement(documents: list[dict[str, str]], queries: list[str]) -> float:
    """The largest difference between our scores and those of bm25s of the same words, relative to the score."""
    import bm25s

    words, (k1, b) = TIMED
    analyzer = Analyzer(tokens="words", **words)
    peer = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64")
    peer.index([analyzer(document["text"]) for document in documents], show_progress=False)
    engine, worst = BM25(analyzer, k1, b).index([document["text"] for document in documents]), 0.0
    for query in queries:
        scores = peer.get_scores(analyzer(query))
        for hit in engine.search(query, 100):
            worst = max(worst, abs(hit.score / float(scores[hit.id]) - 1))
    return worst


def speed(documents: list[dict[str, str]], queries: list[str], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        sides = list(contenders(documents, Path(name)))
        times: dict[str, list[tuple[float, float]]] = {side: [] for side, _, _ in sides}
        for turn in range(rounds + 1):  # the first warms up
            for side, build, search in sides:
                begun = time.process_time()
                engine = build()
                built = time.process_time()
                search(engine, queries)
                if turn:
                    times[side].append((built - begun, time.process_time() - built))
        first = times[sides[0][0]]
        print(f"\n{'one thread, CPU time':<28}  index s  × ours  queries/s  × ours")
        for side, found in times.items():
            index, query = (statistics.median(pair[which] for pair in found) for which in (0, 1))
            ratios = [
                statistics.median(theirs[which] / ours[which] for theirs, ours in zip(found, first, strict=True))
                for which in (0, 1)
            ]
            print(f"{side:<28}  {index:>7.2f}  {ratios[0]:>6.2f}  {len(queries) / query:>9,.0f}  {1 / ratios[1]:>6.2f}")
        times_open = []
        for _ in range(rounds):
            begun = time.process_time()
            engine = BM25.load(Path(name) / "index")
            opened = time.process_time()
            engine.search(queries[0])
            times_open.append((1000 * (opened - begun), 1000 * (time.process_time() - opened)))
        opening, first_search = (statistics.median(each) for each in zip(*times_open, strict=True))
        print(f"\nopening the folder: {opening:.1f} ms; the first search in it: {first_search:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    documents, queries, relevant = scifact()
    quality(documents, queries, relevant)
    try:
        difference = agreement(documents, list(queries.values()))
        print(f"\nour scores and those of bm25s on the same words differ by at most {difference:.1e} of a score")
        assert difference < 1e-9
        speed(documents, list(queries.values()), rounds)
    except ImportError as error:
        sys.exit(f"no speed is measured: {error.name} is not installed (pip install bm25s PyStemmer rank-bm25)")


if __name__ == "__main__":
    main()
