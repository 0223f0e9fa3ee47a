"""Documents to be searched, for tests."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from ostinato import Analyzer
from ostinato.features import BM25
from ostinato.features.retrieval import building, index

WORDS = Analyzer(tokens="whitespace")
WORD = ["a", "b", "c", "d", "e", "猫", "鱼", "ü"]


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would survive a power cut is not asked here, and many small segments wait long for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def corpus(seed: int, size: int) -> list[str]:
    """Texts of unequal length, some empty, over words of unequal frequency."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORD, range(1, 9), k=chance.randrange(0, 30))) for _ in range(size)]


def found(engine: BM25, query: str, top: int = 1000, **options: Any) -> list[tuple[Any, float]]:
    return [(hit.id, hit.score) for hit in engine.search(query, top, **options)]


@pytest.fixture(name="small")
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few words, so that there are many of them, of several sizes."""
    monkeypatch.setattr(building, "_MOST_WORDS", 150)
    monkeypatch.setattr(index, "_SMALL", 1 << 6)


def documents(seed: int, size: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {"id": f"d{number}", "text": text, "year": 2000 + chance.randrange(9), "tags": chance.sample(WORD, 2)}
        for number, text in enumerate(corpus(seed, size))
    ]
