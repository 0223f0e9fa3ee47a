"""`ostinato demo similarity`: sentences of the Python language reference, some of them edited."""

from __future__ import annotations

import csv
import re
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.tasks.similarity import Similarity, correlations

NAME = "sentences.csv"
_SAME, _CHAPTER, _OTHER = 5.0, 3.0, 1.0
Pair = tuple[str, str, float]


def sentences() -> list[tuple[str, str]]:
    """Chapter and text of the sentences of 6 to 24 words, without code.

    >>> len(sentences()) > 1000
    True
    """
    found = []
    for name in sorted(topics):
        prose = " ".join(line for line in topics[name].split("\n") if not line.startswith("   "))
        for sentence in re.split(r"(?<=[.!?:])\s+", prose):
            words = re.findall(r"[A-Za-z][A-Za-z'-]*", sentence)
            if 6 <= len(words) <= 24:
                found.append((name, " ".join(words)))
    return found


def make_pairs(known: list[tuple[str, str]], count: int, seed: int) -> list[Pair]:
    """Pairs of three kinds, a third of each.

    5: a sentence, and the same with a fifth of its words left out and two neighbours exchanged; 3: two sentences of one
    chapter; 1: of two chapters.
    """
    draw = np.random.default_rng(seed)
    chapters: dict[str, list[str]] = {}
    for name, sentence in known:
        chapters.setdefault(name, []).append(sentence)
    pairs: list[Pair] = []
    while len(pairs) < count:
        name, first = known[int(draw.integers(len(known)))]
        kind = (_SAME, _CHAPTER, _OTHER)[len(pairs) % 3]
        if kind == _SAME:
            second = _edited(first, draw)
        elif kind == _CHAPTER:
            second = chapters[name][int(draw.integers(len(chapters[name])))]
        else:
            other, second = known[int(draw.integers(len(known)))]
            if other == name:
                continue
        if second != first:
            pairs.append((first, second, kind))
    return pairs


def _edited(sentence: str, draw: np.random.Generator) -> str:
    words = [word for word in sentence.split() if draw.random() > 0.2] or sentence.split()
    at = int(draw.integers(max(1, len(words) - 1)))
    words[at : at + 2] = reversed(words[at : at + 2])
    return " ".join(words)


def overlap(first: str, second: str) -> float:
    """The share of all words that both sentences have: what needs no training."""
    a, b = set(first.lower().split()), set(second.lower().split())
    return len(a & b) / len(a | b)


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train on pairs of sentences, compare with the overlap of words, and rank sentences by a query."""
    known = sentences()
    held_out = np.random.default_rng(0).random(len(known)) < 0.2
    train = make_pairs([each for each, held in zip(known, held_out, strict=True) if not held], 4500, seed=1)
    test = make_pairs([each for each, held in zip(known, held_out, strict=True) if held], 600, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / NAME, Path(folder) / "test.csv"
        for path, pairs in zip(paths, (train, test), strict=True):
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("sentence_a", "sentence_b", "score"), *pairs])
        model = Similarity(
            hidden_size=64, epochs=8, learning_rate=0.003, dropout=0.3, marks=3, patience=3,
            max_minutes=minutes, seed=1,
        )  # fmt: skip
        progress = False if quiet else None
        model.fit(paths[0], output=output, overwrite=is_demo(output, NAME), progress=progress)
        figures = model.evaluate(paths[1])
    wanted = np.array([score for *_, score in test])
    plain = correlations(np.array([overlap(first, second) for first, second, _ in test]), wanted)
    print(f"\n{len(train):,} pairs of sentences; 600 pairs of other sentences to test: 5 edited, 3 one chapter, 1 two.")
    print("                           Pearson  Spearman")
    print(f"  words that both have      {plain['pearson']:6.3f}    {plain['spearman']:6.3f}")
    print(f"  this model                {figures['pearson']:6.3f}    {figures['spearman']:6.3f}")
    query = "an exception is raised when the name cannot be found"
    texts = list(dict.fromkeys(sentence for _, sentence in known))
    print(f"\nOf {len(texts):,} sentences, most like {query!r}:")
    for found in model.similar(query, texts, top=5):
        print(f"  {found.score:.2f}  {found.text}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato similar {output} YOUR.txt 'a sentence'\n"
        "  ostinato fit similarity pairs.csv -o models/mine"
    )
