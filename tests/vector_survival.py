"""Writing word vectors in a process of its own, to be killed by `tests/test_vector_survival.py`."""

from __future__ import annotations

import os

import numpy as np

from ostinato.features import WordVectors
from tests.killing import die_at

WORDS = ["cat", "猫", "dog"]


def vectors(value: float) -> WordVectors:
    """The same words, every number of their vectors one value."""
    return WordVectors.from_arrays(WORDS, np.full((len(WORDS), 4), value, np.float32))


def replace(folder: str, call: str, count: int) -> None:
    """Write other vectors where some stand; be killed at the n-th call of a function of os."""
    made = vectors(2.0)
    die_at(call, count)
    made.save(folder, overwrite=True)
    os._exit(0)
