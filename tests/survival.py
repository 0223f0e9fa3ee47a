"""Trainings in processes of their own, to be killed by `tests/test_survival.py`."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import torch

import ostinato
import ostinato.tasks.language_model
from ostinato.errors import OstinatoError
from tests import killing

SETTINGS: dict[str, Any] = {
    "level": "word", "min_count": 1, "hidden_size": 12, "num_layers": 2, "dropout": 0.3, "epochs": 4, "batch_size": 4,
    "bptt_steps": 9, "checkpoint_every": 5, "evaluate_every": 13, "log_every": 4, "softmax": "sampled",
    "num_samples": 6, "warmup_steps": 5, "seed": 3, "threads": 1, "schedule": "plateau", "device": "cpu",
}  # fmt: skip


def train(corpus: str, folder: str, die_at: tuple[str, int] | None = None) -> None:
    """Fit, or resume if there is something to resume; with `die_at`, be killed at the n-th call of a function of os."""
    if die_at is not None:
        killing.die_at(*die_at)
    if (Path(folder) / "ostinato.json").exists():
        ostinato.LanguageModel.resume(folder, progress=False)
    else:
        ostinato.LanguageModel(**SETTINGS).fit(corpus, output=folder, overwrite=True, progress=False)


def train_on_a_full_disk(folder: str, limit_bytes: int, epochs: int, log: str) -> None:
    """Resume while no file may grow beyond a limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 2)
        try:
            ostinato.LanguageModel.resume(folder, epochs=epochs)
        except (OSError, OstinatoError) as error:
            assert not isinstance(error, OSError) or error.errno in (errno.EFBIG, errno.ENOSPC)
            print(f"ended with {error}", file=file)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a model came to."""
    return {name: value.detach().clone() for name, value in ostinato.load(folder).network.state_dict().items()}
