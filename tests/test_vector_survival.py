"""Word vectors that are killed while they are written: what stood there stands there still, or the new ones do."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest

from ostinato.features import WordVectors
from tests.vector_survival import WORDS, replace, vectors

FORK = multiprocessing.get_context("forkserver")


@pytest.fixture(autouse=True, scope="module")
def preloaded() -> None:
    """Imported once, for all processes of the module."""
    FORK.set_forkserver_preload(["tests.search_survival", "tests.survival", "tests.vector_survival"])


@pytest.mark.parametrize(
    ("call", "count"), [("fsync", 1), ("fsync", 2), ("fsync", 3), ("fsync", 4), ("replace", 1), ("replace", 3)]
)
def test_killed_in_the_middle_of_writing(call: str, count: int, tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    vectors(1.0).save(folder)
    process = FORK.Process(target=replace, args=(str(folder), call, count))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    found = WordVectors.load(folder)
    assert found.words_ == WORDS
    assert set(found.vectors_.ravel().tolist()) == {1.0}  # the exchange of folders comes after these
    vectors(3.0).save(folder, overwrite=True)
    assert set(WordVectors.load(folder).vectors_.ravel().tolist()) == {3.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["vectors"], "what was left half-written is removed"
