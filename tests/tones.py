"""Sounds that spell texts: a tone for each character, with tables of them, and a small transcriber trained on those."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ostinato import Transcriber

RATE = 8000
PITCHES = {"a": 400, "b": 800, "c": 1600, "猫": 2800}
SMALL: dict[str, Any] = {
    "hidden_size": 24, "num_layers": 1, "epochs": 9, "batch_size": 4, "learning_rate": 0.02, "warmup_steps": 10,
    "stack_frames": 2, "mel_bands": 16, "seed": 1, "threads": 1, "device": "cpu", "gradient_by_lag": False,
    "band_masks": 0, "time_masks": 0, "dropout": 0.0,
}  # fmt: skip


def sound(text: str, draw: np.random.Generator) -> np.ndarray:
    """A tone for each character, with silence around it."""
    parts = [np.zeros(400)]
    for character in text:
        time = np.arange(int(draw.integers(900, 1300))) / RATE
        parts += [0.3 * np.sin(2 * np.pi * PITCHES[character] * time), np.zeros(int(draw.integers(400, 900)))]
    found = np.concatenate(parts)
    return (found + draw.normal(size=len(found)) * 0.01).astype(np.float32)


def write(folder: Path, count: int, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    rows = ["audio,text"]
    for number in range(count):
        text = "".join(draw.choice(list(PITCHES), int(draw.integers(1, 5))))
        soundfile.write(folder / f"{seed}-{number}.wav", sound(text, draw), RATE)
        rows.append(f"{seed}-{number}.wav,{text}")
    (path := folder / f"clips-{seed}.csv").write_text("\n".join(rows) + "\n")
    return path


class Trained:
    def __init__(self, folder: Path, **options: Any) -> None:
        self.train, self.test = write(folder, 96, 0), write(folder, 12, 1)
        self.folder = folder / "model"
        self.model = Transcriber(**SMALL | options)
        self.model.fit(self.train, validation=self.test, output=self.folder, progress=False)


def clips(path: Path) -> Iterator[tuple[Path, str]]:
    for line in path.read_text().splitlines()[1:]:
        name, text = line.split(",")
        yield path.parent / name, text
