"""Indexing in processes of their own, to be killed by `tests/test_search_index.py`."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from ostinato import Analyzer
from ostinato.features.retrieval import building, index
from ostinato.features.retrieval.bm25 import BM25
from tests.killing import die_at

WORDS = Analyzer(tokens="whitespace")
ALL, PART = 60, 12


def documents() -> list[dict[str, Any]]:
    """Each with an id; the last part replaces some of the first."""
    chance = random.Random(5)
    made = [
        {"id": number, "text": " ".join(chance.choices("abcdefgh", k=chance.randrange(1, 30))), "year": number}
        for number in range(ALL - PART)
    ]
    return [*made, *({"id": number * 3, "text": f"a new {number}", "year": 0} for number in range(PART))]


def parts() -> list[list[dict[str, Any]]]:
    """The documents as they are added."""
    made = documents()
    return [made[start : start + PART] for start in range(0, ALL, PART)]


def small_segments() -> None:
    """Let there be many, of several sizes; what is written outlives a killed process, if not a power cut, unsynced."""
    building._MOST_WORDS, index._SMALL = 40, 1 << 6
    os.fsync = lambda _: None


def add_parts(folder: str, first: int, die: tuple[str, int] | None = None) -> None:
    """Index the parts from one on; with `die`, be killed at the n-th call of a function of os."""
    small_segments()
    if die is not None:
        die_at(*die)
    for number, part in enumerate(parts()):
        if number == 0 == first:
            BM25(WORDS).index(part, folder)
        elif number >= first:
            BM25.load(Path(folder)).add(part)
