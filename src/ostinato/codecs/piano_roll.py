"""The codec of a music model: pieces ↔ the numbers that a network reads, and what the training pieces are like."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.codecs.midi import note_name
from ostinato.codecs.music import Piece, Roll, RollSettings, is_frames, is_midi, pieces
from ostinato.errors import BundleError, DataError
from ostinato.files import write_text

_BLOCK = 1 << 20
_NAMED = 20  # files, in the model's record of what it was trained on


@dataclass(frozen=True)
class PieceReader:
    """Pieces from files: MIDI, and frames as JSONL or CSV (see `ostinato.codecs.music`).

    A file that is damaged, holds no notes, or is of another kind gives a piece without a roll, so that one among many
    is passed over and counted; where it is the only file it is an error.

    Args:
        files: what to read, in this order.
        settings: step and range.
        encoding, errors: of files of frames, as of `TextReader`.
    """

    files: Sequence[Path]
    settings: RollSettings
    encoding: str = "utf-8"
    errors: str = "strict"

    def examples(self) -> Iterator[Piece]:
        """All pieces.

        Raises:
            DataError: with file and line, at what is wrong in a file of frames or in the only file.
            MissingExtra: if there is MIDI and mido is not installed.
        """
        for path in self.files:
            if is_frames(path) or is_midi(path):
                found = pieces(path, self.settings, self.encoding, self.errors)
            else:
                found = iter([Piece(path.stem, None, "neither MIDI nor frames (.mid, .jsonl, .csv)")])
            for piece in found:
                if piece.roll is None and len(self.files) == 1:
                    raise DataError(f"{path}: {piece.trouble}")
                yield piece

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it."""
        digest = hashlib.sha256()
        for path in self.files:
            try:
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        names = [path.name for path in self.files[:_NAMED]]
        return {"sha256": digest.hexdigest(), "files": names, "file_count": len(self.files)}


class PianoRoll:
    """How pieces became numbers, and what of the training pieces tells how good a model is.

    Args:
        settings: step and range.
        onsets: whether struck keys are told from sounding ones.
        tempo: quarter notes a minute, the median of the training files; None if they say none.
        chain: int64 [2, 2, keys], how often each key went from silent (0) or sounding (1) to either, in training.
        counts: how many steps and pieces there were, and what was left out.

    >>> roll = Roll.of_sounding(np.array([[1, 0], [1, 0], [0, 0]]))
    >>> codec = PianoRoll.learn([Piece("a", roll)], RollSettings(step="1", lowest=60, highest=61))
    >>> codec.key_losses(roll.sounding).round(2).tolist(), codec.chain_losses(roll.sounding).round(2).tolist()
    ([0.6, 1.11], [0.83, 0.83])
    """

    def __init__(
        self, settings: RollSettings, onsets: bool, tempo: float | None, chain: np.ndarray, counts: dict[str, int]
    ) -> None:
        self.settings, self.onsets, self.tempo, self.chain, self.counts = settings, onsets, tempo, chain, counts

    @classmethod
    def learn(cls, found: Iterable[Piece], settings: RollSettings, onsets: bool | None = None) -> PianoRoll:
        """The codec of training pieces; with `onsets` None, keys are told to be struck where some are while they sound.

        Raises:
            DataError: if no piece has a roll, saying what is wrong with them.
        """
        chain, counts, tempos = np.zeros((2, 2, settings.keys), np.int64), Counter[str](), []
        troubles: Counter[str] = Counter()
        struck_again = 0
        for piece in found:
            if piece.roll is None:
                troubles[f"{piece.name}: {piece.trouble}"] += 1
                continue
            counts.update({"pieces": 1, "steps": len(piece.roll.sounding)} | piece.counts)
            tempos += [] if piece.tempo is None else [piece.tempo]
            chain += transitions(piece.roll.sounding)
            struck_again += int((piece.roll.struck & ~Roll.of_sounding(piece.roll.sounding).struck).sum())
        if not counts["pieces"]:
            told = "; ".join(list(troubles)[:3]) + (" …" if len(troubles) > 3 else "")
            raise DataError(f"the files hold no piece to learn from{f': {told}' if told else ''}")
        tempo = float(np.median(tempos)) if tempos else None
        return cls(settings, struck_again > 0 if onsets is None else onsets, tempo, chain, dict(counts))

    @property
    def features(self) -> int:
        """Of a frame, as the network reads it."""
        return self.settings.keys * (2 if self.onsets else 1)

    def odds(self) -> np.ndarray:
        """Log odds that a key sounds, [keys], with half a frame added to either side."""
        silent, sounding = self.chain.sum(0) + 0.5
        return np.log(sounding) - np.log(silent)

    def key_losses(self, sounding: np.ndarray) -> np.ndarray:
        """−log p of each frame but the first, nats, if each key sounds as often as in training, whatever is before."""
        odds = self.odds()
        return np.logaddexp(0, np.where(sounding[1:], -odds, odds)).sum(1)

    def chain_losses(self, sounding: np.ndarray) -> np.ndarray:
        """The same if each key goes on or changes as often as in training: the last frame repeated, smoothed."""
        silent, sounds = self.chain[:, 0] + 0.5, self.chain[:, 1] + 0.5  # each [before, keys]
        odds = np.log(sounds) - np.log(silent)
        odds = np.where(sounding[:-1], odds[1], odds[0])
        return np.logaddexp(0, np.where(sounding[1:], -odds, odds)).sum(1)

    def names(self, sounding: np.ndarray) -> list[str]:
        """The keys of each frame, [time, key], as people write them; a rest is a dash.

        >>> PianoRoll.learn([Piece("a", Roll.of_sounding(np.eye(2)))], RollSettings(lowest=60, highest=61)).names(
        ...     np.array([[1, 1], [0, 0]])
        ... )
        ['C4 C#4', '–']
        """
        return [
            " ".join(note_name(self.settings.lowest + key) for key in np.flatnonzero(row).tolist()) or "–"
            for row in sounding
        ]

    def save(self, folder: Path) -> None:
        """Write it."""
        values = {"settings": self.settings.plain(), "onsets": self.onsets, "tempo": self.tempo}
        values |= {"chain": self.chain.tolist(), "counts": self.counts}
        write_text(folder / "piano_roll.json", json.dumps(values) + "\n")

    @classmethod
    def load(cls, folder: Path) -> PianoRoll:
        """What `save` wrote.

        Raises:
            BundleError: if the file is missing or damaged.
        """
        path = folder / "piano_roll.json"
        try:
            values = json.loads(path.read_text("utf-8"))
            settings = RollSettings.checked(values["settings"])
            chain = np.array(values["chain"], np.int64)
            if chain.shape != (2, 2, settings.keys):
                raise ValueError(f"chain is {list(chain.shape)}, expected {[2, 2, settings.keys]}")
            tempo = None if values["tempo"] is None else float(values["tempo"])
            return cls(settings, bool(values["onsets"]), tempo, chain, dict(values["counts"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path}: damaged: {error}") from None


def transitions(sounding: np.ndarray) -> np.ndarray:
    """How often each key went from silent or sounding to either, int64 [2, 2, keys]; the silence before all counts in.

    >>> transitions(np.array([[1], [1], [0]]))[:, :, 0].tolist()
    [[0, 1], [1, 1]]
    """
    now = np.asarray(sounding, bool)
    before = np.concatenate([np.zeros_like(now[:1]), now[:-1]])
    return np.array([[(a & b).sum(0) for b in (~now, now)] for a in (~before, before)], np.int64)
