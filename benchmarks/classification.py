r"""How good is the linear classifier, and how fast beside scikit-learn called directly?

cooking.stackexchange: the first 12,404 lines train, the last 3,000 are scored, as fastText's tutorial does, whose best
precision@1 is 0.599. ChnSentiCorp has no split of its own: of the rows, numbered from 0, those with number mod 10 = 9
test, 8 validate, all others train. Settings were chosen on a part of the training data (cooking) or on the validation
part.

The peer is TfidfVectorizer and OneVsRestClassifier(LinearSVC) with the same settings, words by `\w+`, or Chinese by
character. *fit* is from files to a model, in seconds of the one CPU that each side uses; each in a process of its own,
in turn; the median of so many runs.

    python benchmarks/classification.py [--runs 3]
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data import need

Split = dict[str, Path]
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "cooking, words 1-2": ("cooking", {}),
    "cooking, words 1": ("cooking", {"ngram_range": (1, 1)}),
    "ChnSentiCorp, jieba words 1-2": ("chinese", {}),
    "ChnSentiCorp, characters 1-3": ("chinese", {"tokens": "words", "ngram_range": (1, 3), "C": 1.0}),
}


def cooking(folder: Path) -> Split:
    """The lines of the tutorial."""
    lines = need("classification/cooking.stackexchange.txt").read_text("utf-8").splitlines(keepends=True)
    parts = {"train": lines[:12404], "test": lines[-3000:]}
    for part, its in parts.items():
        (folder / f"cooking.{part}.txt").write_text("".join(its), "utf-8")
    return {part: folder / f"cooking.{part}.txt" for part in parts}


def chinese(folder: Path) -> Split:
    """80/10/10 by the number of the row."""
    with need("classification/ChnSentiCorp_htl_all.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    found = {}
    for part, ends in (("train", range(8)), ("validation", (8,)), ("test", (9,))):
        found[part] = folder / f"chinese.{part}.csv"
        with found[part].open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *(row for at, row in enumerate(rows) if at % 10 in ends)])
    return found


def ours(split: Split, options: dict[str, Any]) -> dict[str, float]:
    from ostinato import LinearClassifier

    started = time.process_time()
    # cooking has no validation part besides what is scored; the model takes nothing from it
    held_out = split.get("validation", split["test"])
    model = LinearClassifier(**options).fit(split["train"], validation=held_out, progress=False)
    seconds = time.process_time() - started
    started = time.process_time()
    figures = model.evaluate(split["test"])
    return figures | {"fit": seconds, "per_second": figures["examples"] / (time.process_time() - started)}


def peer(split: Split, options: dict[str, Any]) -> dict[str, float]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MultiLabelBinarizer
    from sklearn.svm import LinearSVC

    def read(path: Path) -> tuple[list[str], list[list[str]]]:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))[1:]
            return [text for _, text in rows], [[label] for label, _ in rows]
        split_lines = [line.split() for line in path.read_text("utf-8").splitlines()]
        texts = [" ".join(word for word in line if not word.startswith("__label__")) for line in split_lines]
        return texts, [[word for word in line if word.startswith("__label__")] for line in split_lines]

    started = time.process_time()
    texts, labels = read(split["train"])
    binarizer = MultiLabelBinarizer()
    target = binarizer.fit_transform(labels)
    words: dict[str, Any] = {"token_pattern": r"(?u)\w+"}
    if "chinese" in str(split["train"]):
        words = {"analyzer": "char", "tokenizer": None}
    terms = TfidfVectorizer(ngram_range=options.get("ngram_range", (1, 2)), min_df=2, sublinear_tf=True, **words)
    model = make_pipeline(terms, OneVsRestClassifier(LinearSVC(C=options.get("C", 0.3), random_state=0)))
    model.fit(texts, target)
    seconds = time.process_time() - started
    started = time.process_time()
    texts, labels = read(split["test"])
    best = model.decision_function(texts).argmax(1)
    hits = [binarizer.classes_[at] in each for at, each in zip(best, labels, strict=True)]
    per_second = len(texts) / (time.process_time() - started)
    return {"precision_at_1": sum(hits) / len(hits), "fit": seconds, "per_second": per_second}


def one_side(who: str, name: str, folder: str) -> None:
    corpus, options = JOBS[name]
    split = {path.suffixes[0][1:]: path for path in sorted(Path(folder).glob(f"{corpus}.*"))}
    print(json.dumps({"ours": ours, "peer": peer}[who](split, options)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(f"{'':<30}  precision@1   peer  accuracy  macro F1  fit s   peer  ratio  texts/s    peer")
    with tempfile.TemporaryDirectory() as folder:
        cooking(Path(folder))
        chinese(Path(folder))
        for name in JOBS:
            pairs = []
            for _ in range(runs):
                arguments = [[sys.executable, __file__, "--side", who, name, folder] for who in ("ours", "peer")]
                done = [subprocess.run(each, stdout=subprocess.PIPE, text=True, check=True) for each in arguments]
                pairs.append([json.loads(each.stdout.splitlines()[-1]) for each in done])
            (o, p), ratio = pairs[0], statistics.median(a["fit"] / b["fit"] for a, b in pairs)
            fit, theirs = (statistics.median(pair[side]["fit"] for pair in pairs) for side in (0, 1))
            speed, their_speed = (statistics.median(pair[side]["per_second"] for pair in pairs) for side in (0, 1))
            row = f"{name:<30}  {o['precision_at_1']:11.4f}  {p['precision_at_1']:.4f}  {o['accuracy']:7.4f}"
            row += (
                f"  {o['f1_macro']:8.4f}  {fit:5.1f}  {theirs:5.1f}  {ratio:5.2f}  {speed:7,.0f}  {their_speed:6,.0f}"
            )
            print(row, flush=True)


if __name__ == "__main__":
    one_side(*sys.argv[2:]) if sys.argv[1:2] == ["--side"] else main()
