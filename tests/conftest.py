"""What all tests share: a seed, one thread, and a small corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato import LanguageModel
from ostinato.kernels import cell_kernels

# the models here are tiny: a second thread would only wait, and wait long where other processes hold the cores
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

TEXT = "the cat sat on a mat and the dog ran to the old tree by the sea while a small bird sang of rain"
WORDS = TEXT.split()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kernels of own cells are compiled once for all tests, and not kept."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTINATO_CACHE", str(folder))
        yield folder


@pytest.fixture
def use_isa(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Chooses an instruction set for the rest of a test."""

    def use(name: str) -> None:
        monkeypatch.setenv("OSTINATO_ISA", name)
        monkeypatch.setattr(cell_kernels, "_kernels", {})
        cell_kernels.instruction_set.cache_clear()

    yield use
    cell_kernels.instruction_set.cache_clear()


def make_text(lines: int = 400) -> str:
    """Lines of five words that follow each other by a rule, so that there is something to learn."""
    return "".join(" ".join(WORDS[(i * i + j) % len(WORDS)] for j in range(5)) + ".\n" for i in range(lines))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(make_text(), encoding="utf-8")
    return path


SMALL: dict[str, Any] = {
    "hidden_size": 24, "num_layers": 2, "batch_size": 8, "bptt_steps": 16, "warmup_steps": 5, "learning_rate": 0.02,
    "dropout": 0.0, "device": "cpu",
}  # fmt: skip


def fit(corpus: Path, **options: Any) -> LanguageModel:
    return LanguageModel(**(SMALL | options)).fit(corpus, progress=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Path]:
    """A model that has learned its corpus."""
    path = tmp_path_factory.mktemp("trained") / "corpus.txt"
    path.write_text(make_text())
    return fit(path, epochs=12), path
