"""Trainings of taggers in processes of their own, to be killed by `tests/test_tagger_survival.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ostinato
import ostinato.tasks.tagger
from tests import killing

SETTINGS: dict[str, Any] = {
    "hidden_size": 6, "embedding_size": 5, "character_embedding": 4, "character_hidden": 3, "epochs": 3,
    "batch_size": 4, "dropout": 0.4, "word_dropout": 1.0, "warmup_steps": 2, "checkpoint_every": 4, "threads": 1,
    "device": "cpu",
}  # fmt: skip


def train(corpus: str, folder: str, die_at: tuple[str, int] | None = None) -> None:
    """Fit, or resume if there is something to resume; with `die_at`, be killed at the n-th call of a function of os."""
    if die_at is not None:
        killing.die_at(*die_at)
    if (Path(folder) / "ostinato.json").exists():
        ostinato.Tagger.resume(folder, progress=False)
    else:
        ostinato.Tagger(**SETTINGS).fit(corpus, output=folder, overwrite=True, progress=False)
