"""`ostinato demo music-model`: MIDI of chords and a melody, made by a process whose entropy is known."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.bundle import read_manifest
from ostinato.codecs.midi import Note, write_midi
from ostinato.codecs.music import Roll, save_roll
from ostinato.errors import BundleError
from ostinato.tasks.music import MusicModel

NAME = "cadence-000.mid"
CHORDS = {
    "C": (48, 60, 64, 67), "Dm": (50, 57, 62, 65), "Em": (52, 59, 64, 67), "F": (53, 60, 65, 69),
    "G": (43, 59, 62, 67), "Am": (45, 60, 64, 69),
}  # fmt: skip
"""A bass and a triad each; MIDI's numbers."""
FOLLOWS = {
    "C": {"F": 0.3, "G": 0.2, "Am": 0.2, "Dm": 0.15, "Em": 0.1, "C": 0.05},
    "Dm": {"G": 0.8, "F": 0.2},
    "Em": {"Am": 0.6, "F": 0.4},
    "F": {"G": 0.5, "C": 0.3, "Dm": 0.2},
    "G": {"C": 0.7, "Am": 0.3},
    "Am": {"Dm": 0.4, "F": 0.4, "Em": 0.2},
}
"""Chord → how likely each next one is."""
_NAMES = tuple(CHORDS)
_BEATS = 32
_MELODY = 12  # above a note of the triad, each of which is as likely as the others


class Process(NamedTuple):
    """A Markov chain over chords, each with a note of the melody drawn from its triad, an octave above."""

    transitions: np.ndarray
    """float64 [chords, chords]: p(next | chord)."""
    stationary: np.ndarray
    """float64 [chords]: how often each comes, and what a piece begins with."""

    def entropy(self) -> float:
        """H = −Σ π_i P_ij log P_ij + log 3 of a beat given all before, nats: no model tells less in the mean.

        >>> round(process().entropy(), 4)
        2.0919
        """
        p = self.transitions
        each = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
        return float(self.stationary @ each) + math.log(3)

    def draw(self, beats: int, random: np.random.Generator) -> list[Note]:
        """A piece: every beat struck anew."""
        found: list[Note] = []
        p = self.stationary
        for beat in range(beats):
            chord = int(random.choice(len(p), p=p))
            keys = CHORDS[_NAMES[chord]]
            melody = keys[1 + int(random.integers(3))] + _MELODY
            found += [Note(pitch, beat, beat + 1) for pitch in (*keys, melody)]
            p = self.transitions[chord]
        return found


def process() -> Process:
    """The chain of `FOLLOWS`; its stationary distribution is the eigenvector of Pᵀ of eigenvalue 1."""
    p = np.array([[FOLLOWS[chord].get(after, 0.0) for after in _NAMES] for chord in _NAMES])
    values, vectors = np.linalg.eig(p.T)
    first = np.real(vectors[:, int(np.argmin(np.abs(values - 1)))])
    return Process(p, first / first.sum())


def write_pieces(folder: Path, count: int, seed: int, name: str = "cadence") -> Path:
    """A folder of pieces of 32 beats as MIDI."""
    folder.mkdir()
    random, chain = np.random.default_rng(seed), process()
    for number in range(count):
        write_midi(folder / f"{name}-{number:03}.mid", chain.draw(_BEATS, random), tempo=96)
    return folder


def chords_of(roll: Roll, lowest: int) -> list[str]:
    """The chord of each step with its melody, or `?` where it is none of the process.

    >>> roll = np.zeros((1, 88), bool)
    >>> roll[0, [pitch - 21 for pitch in (43, 59, 62, 67, 74)]] = True
    >>> chords_of(Roll.of_sounding(roll), 21)
    ['G']
    """
    known = {
        frozenset((*keys, each + _MELODY)): name for name, keys in CHORDS.items() for each in keys[1:]
    }  # no two chords give the same keys
    return [known.get(frozenset((np.flatnonzero(row) + lowest).tolist()), "?") for row in roll.sounding]


def allowed(chords: Sequence[str]) -> tuple[int, int]:
    """How many steps go from a chord to one that may follow it, of how many steps."""
    pairs = list(itertools.pairwise(chords))
    return sum(after in FOLLOWS.get(chord, {}) for chord, after in pairs), len(pairs)


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a music model on cadences, set its loss beside their entropy, and let it write a piece."""
    settings: dict[str, Any] = {
        "step": "1", "cell": "gru", "hidden_size": 64, "nade_units": 48, "dropout": 0.0, "input_dropout": 0.0,
        "epochs": 40, "batch_size": 16, "learning_rate": 0.01, "max_minutes": minutes, "seed": 1,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        train, test = write_pieces(Path(scratch) / "train", 240, 1), write_pieces(Path(scratch) / "test", 60, 2, "test")
        model = MusicModel(**settings)
        model.fit(train, output=output, overwrite=_is_ours(output), progress=False if quiet else None)
        figures = model.evaluate(test)
    roll, piece = model.generate(steps=64, seed=1), output / "generated.mid"
    save_roll(piece, roll, model.codec.settings, model.codec.tempo or 120)
    chords = chords_of(roll, model.codec.settings.lowest)
    right, pairs = allowed(chords)
    print(
        f"\nnats a beat on 60 pieces that it has not seen:\n"
        f"  {figures['loss']:.3f}  this model\n"
        f"  {process().entropy():.3f}  the entropy of the process that made them: less cannot be had\n"
        f"  {figures['repeat_loss']:.3f}  each key stays or changes as often as in training\n"
        f"  {figures['keys_loss']:.3f}  each key sounds as often as in training\n"
        f"\nA piece of its own, {piece}:\n  {' '.join(chords[:24])} …\n"
        f"{sum(chord != '?' for chord in chords)} of its {len(chords)} chords are chords of the process, and "
        f"{right} of {pairs} follow each other as they may.\n\n"
        f"The model is in {output}. What next:\n"
        f"  ostinato generate {output} -o new.mid --bars 16 --temperature 0.9\n"
        f"  ostinato generate {output} -o more.mid --from {piece} --prime-steps 8\n"
        f"  ostinato predict {output} {piece}\n"
        "  ostinato fit music-model FOLDER_OF_MIDI -o models/mine"
    )


def _is_ours(output: Path) -> bool:
    """Whether an earlier demo's model stands there, which may be replaced."""
    try:
        return read_manifest(output).get("data", {}).get("train", {}).get("files", [])[:1] == [NAME]
    except BundleError:
        return False
