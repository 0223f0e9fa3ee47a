"""How good are word vectors trained on the Brown corpus, and how fast is that beside gensim called directly?

The setting is that of gensim's comparison of fastText and word2vec (2016): skip-gram, 100 features, window 5, 5 epochs,
words of 5 occurrences or more, 5 negatives, rate 0.05, sample 1e-4. The 500 files of the corpus are read in the order
of their names; a word is what stands before the last / of what stands between blanks, its case and all marks kept.
*Sentences* are the lines of the corpus; the *stream* is one line of all words, as in that comparison.

Questions are those of questions-words.txt whose four words are in the vocabulary: *published*, in lower case and looked
up as they then are (182 semantic ones, all of them of the section family, and 4,904 syntactic ones); *any case*, as
gensim does it today. An answer is looked for in the whole vocabulary.

    python benchmarks/word_vectors.py [--seeds 3] [--rounds 3] [--only quality|speed]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from data import need
from ostinato.analysis import Analyzer
from ostinato.features import WordVectors
from ostinato.records import RecordReader

PUBLISHED: dict[str, Any] = {
    "architecture": "skipgram", "loss": "negative", "vector_size": 100, "window": 5, "epochs": 5, "min_count": 5,
    "negatives": 5, "learning_rate": 0.05, "sample": 1e-4,
}  # fmt: skip
AS_THEY_ARE = Analyzer(tokens="whitespace", lowercase=False, normalization="none")


JOBS = (("word2vec", "sentences"), ("fasttext", "stream"), ("word2vec", "stream"), ("fasttext", "sentences"))
SORTS: tuple[Any, ...] = ("semantic", "syntactic")


def brown() -> Iterator[list[str]]:
    """The sentences of the Brown corpus, without their tags."""
    with zipfile.ZipFile(need("embeddings/brown.zip")) as archive:
        for name in sorted(archive.namelist()):
            if re.fullmatch(r"brown/c[a-r]\d\d", name):
                for line in archive.read(name).decode("ascii").splitlines():
                    if words := [token.rpartition("/")[0] for token in line.split()]:
                        yield words


def ours(path: Path, method: str, **changes: Any) -> WordVectors:
    """From a file to vectors."""
    vectors = WordVectors(AS_THEY_ARE, method=method, **(PUBLISHED | changes))
    return vectors.fit(RecordReader([path], "text").passages())


def timed(work: Any) -> dict[str, float]:
    """Seconds of some work: by the clock, of a core, and of its part that trains, which it returns."""
    start, busy = time.perf_counter(), time.process_time()
    training = work()
    return {"all": time.perf_counter() - start, "training": training, "busy": time.process_time() - busy}


def directly(path: Path, method: str, epochs: int) -> float:
    """Gensim as its documentation has it; seconds of training."""
    from gensim.models import FastText, Word2Vec
    from gensim.models.word2vec import LineSentence

    kind = Word2Vec if method == "word2vec" else FastText
    model = kind(
        sg=1, vector_size=100, window=5, min_count=5, negative=5, alpha=0.05, sample=1e-4, workers=1, epochs=epochs
    )
    model.build_vocab(LineSentence(str(path)))
    start = time.perf_counter()
    model.train(LineSentence(str(path)), total_examples=model.corpus_count, epochs=epochs)
    return time.perf_counter() - start


def quality(files: dict[str, Path], seeds: int) -> None:
    questions, pairs = need("embeddings/questions-words.txt"), need("embeddings/word-sim/EN-WS-353-ALL.txt")
    print("accuracy, %; Spearman's rho on WordSim-353")
    print(f"{'':<22} seed  semantic  syntactic   any case: semantic  syntactic     rho   seconds")
    for method, reading in JOBS:
        rows = []
        for seed in range(seeds):
            vectors = ours(files[reading], method, seed=seed)
            found = [vectors.evaluate_analogies(questions, case) for case in ("lower", "ignore")]
            totals = [each.total(which) for each in found for which in SORTS]
            alike = vectors.evaluate_similarities(pairs)
            if (method, reading) == JOBS[0] and not rows:
                told = ", ".join(f"{total.correct} of {total.answered}" for total in totals)
                print(
                    f"correct of the questions that count, first line: {told}; pairs: {alike.covered} of {alike.pairs}"
                )
            rows.append([*(100 * (total.accuracy or 0) for total in totals), alike.spearman or 0])
            seconds = vectors.about_["training_seconds"]
            print(f"{method + ', ' + reading:<22} {seed:>4}  {_cells(rows[-1])}  {seconds:8.1f}", flush=True)
        print(f"{'':<22} mean  {_cells([statistics.mean(column) for column in zip(*rows, strict=True)])}", flush=True)


def _cells(row: list[float]) -> str:
    return f"{row[0]:8.2f}  {row[1]:9.2f}   {row[2]:18.2f}  {row[3]:9.2f}  {row[4]:6.3f}"


def speed(path: Path, words: int, rounds: int, epochs: int) -> None:
    print(f"\nfrom the file of sentences to vectors, {epochs} epochs, one thread, in turn; median of {rounds} rounds")
    print(f"{'':<10} words/s    gensim  ratio   training alone    gensim  ratio   seconds of a core: ratio")
    for method in ("word2vec", "fasttext"):
        pairs = [
            (
                timed(lambda method=method: ours(path, method, epochs=epochs).about_["training_seconds"]),
                timed(lambda method=method: directly(path, method, epochs)),
            )
            for _ in range(rounds)
        ]
        rates = {
            (side, part): epochs * words / statistics.median(pair[side][part] for pair in pairs)
            for side in (0, 1)
            for part in ("all", "training")
        }
        ratio = {name: statistics.median(theirs[name] / mine[name] for mine, theirs in pairs) for name in pairs[0][0]}
        whole = f"{rates[0, 'all']:8,.0f}  {rates[1, 'all']:8,.0f}  {ratio['all']:5.2f}"
        alone = f"{rates[0, 'training']:15,.0f}  {rates[1, 'training']:8,.0f}  {ratio['training']:5.2f}"
        print(f"{method:<10}{whole}  {alone}   {ratio['busy']:24.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of the speed test")
    parser.add_argument("--only", choices=["quality", "speed"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = {"sentences": Path(scratch) / "brown.txt", "stream": Path(scratch) / "brown-stream.txt"}
        sentences = list(brown())
        files["sentences"].write_text("".join(" ".join(words) + "\n" for words in sentences))
        files["stream"].write_text(" ".join(word for words in sentences for word in words) + "\n")
        words = sum(map(len, sentences))
        print(f"Brown: {words:,} words in {len(sentences):,} sentences")
        if options.only != "speed":
            quality(files, options.seeds)
        if options.only != "quality":
            speed(files["sentences"], words, options.rounds, options.epochs)


if __name__ == "__main__":
    main()
