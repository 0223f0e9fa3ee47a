"""Pieces of music ↔ piano rolls: which keys sound at each step of time; from MIDI, and from plain lists of pitches."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from ostinato.codecs.midi import Note, Notes, note_name, read_midi, write_midi
from ostinato.errors import DataError, SettingsError
from ostinato.files import write_text
from ostinato.records import Record, RecordReader
from ostinato.settings import Settings

MOST_STEPS = 1 << 17
"""Of a piece: at a sixteenth a step and 120 beats a minute, four and a half hours."""
MIDI_SUFFIXES = frozenset({".mid", ".midi", ".kar", ".smf"})
FRAME_SUFFIXES = frozenset({".jsonl", ".ndjson", ".csv", ".tsv"})
"""Of files that list the pitches of each step; they may be followed by .gz."""
_STEP = re.compile(r"(?P<beats>\d+(/\d+)?)|(?P<seconds>\d+(\.\d+)?)\s*s")


class RollSettings(Settings):
    """How notes become a piano roll."""

    step: str = Field(
        "1/4", description="of time: of a beat (quarter note), such as 1/4 or 1, or seconds, such as 0.1s"
    )
    lowest: int = Field(21, ge=0, le=127, description="MIDI's number of the lowest key (21: A0, a piano's)")
    highest: int = Field(108, ge=0, le=127, description="of the highest (108: C8, a piano's)")

    @model_validator(mode="after")
    def _make_sense(self) -> RollSettings:
        if self.lowest > self.highest:
            raise ValueError(f"lowest = {self.lowest} is above highest = {self.highest}")
        self.length()
        return self

    @property
    def keys(self) -> int:
        """How many there are."""
        return self.highest - self.lowest + 1

    @property
    def step_name(self) -> str:
        """Of a step, for people.

        >>> RollSettings(step="1/4").step_name, RollSettings(step="0.1s").step_name
        ('1/4 beat', '0.1 s')
        """
        return (
            f"{self.length()[0]} beat" if not self.length()[1] else f"{self.step.strip().removesuffix('s').strip()} s"
        )

    def length(self) -> tuple[Fraction, bool]:
        """Of a step, and whether that is seconds rather than beats.

        >>> RollSettings(step="1/4").length(), RollSettings(step="0.1s").length()
        ((Fraction(1, 4), False), (Fraction(1, 10), True))
        """
        found = _STEP.fullmatch(self.step.strip())
        wanted = "expected a part of a beat, such as 1/4 or 1, or seconds, such as 0.125s"
        try:
            length = Fraction(found["beats"] or found["seconds"]) if found else Fraction(0)
        except ZeroDivisionError:
            length = Fraction(0)
        if found is None or not Fraction(1, 1000) <= length <= 64:
            raise ValueError(f"step = {self.step!r}: {wanted}, from 0.001 to 64")
        return length, found["beats"] is None


class Roll(NamedTuple):
    """The keys of a piece over time. A key that is struck at a step sounds at it."""

    sounding: np.ndarray
    """bool [time, key]: held at this step, whenever it was struck."""
    struck: np.ndarray
    """bool [time, key]: a note begins at this step. So a note that is struck again is told from one that goes on."""

    @classmethod
    def of_sounding(cls, sounding: np.ndarray) -> Roll:
        """From the keys that sound alone: of one that sounds at two steps in a row it is taken that it goes on.

        >>> Roll.of_sounding(np.array([[1], [1], [0], [1]])).struck[:, 0].tolist()
        [True, False, False, True]
        """
        sounding = np.asarray(sounding, bool)
        before = np.concatenate([np.zeros_like(sounding[:1]), sounding[:-1]])
        return cls(sounding, sounding & ~before)


class Piece(NamedTuple):
    """A piece, or why there is none."""

    name: str
    roll: Roll | None
    trouble: str = ""
    """Where there is no roll: what is wrong with the file."""
    counts: dict[str, int] = {}  # noqa: RUF012 - never changed
    """notes; drums, out_of_range: those left out; hanging: those without an end; joined: struck again within a step."""
    tempo: float | None = None
    """Quarter notes a minute at its beginning, if the file says."""


def frames(path: Path, settings: RollSettings | None = None) -> np.ndarray:
    """The keys that sound at each step of a piece, uint8 [time, key]: of MIDI, or of a file with one piece of frames.

    Column k is the pitch `lowest` + k. A note sounds from the step nearest to its beginning up to the step nearest to
    its end, and for one step at least; the silence before the first note is kept, that after the last is not.

    Args:
        path: of the file.
        settings: step and range; a sixteenth note and the 88 keys of a piano if None.

    Raises:
        DataError: naming the file, if it is damaged, holds no notes or several pieces, or is longer than `MOST_STEPS`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "chord.mid"
    >>> write_midi(path, [Note(60, 0, 1), Note(64, Fraction(1, 2), 1)])
    >>> roll = frames(path)
    >>> roll.shape, roll[:, 60 - 21].tolist(), roll[:, 64 - 21].tolist()
    ((4, 88), [1, 1, 1, 1], [0, 0, 1, 1])
    """
    found = list(pieces(path, settings or RollSettings.checked({})))
    if len(found) != 1:
        raise DataError(f"{path}: {len(found)} pieces: expected one")
    if found[0].roll is None:
        raise DataError(f"{path}: {found[0].trouble}")
    return found[0].roll.sounding.astype(np.uint8)


def is_frames(path: Path) -> bool:
    """Whether a file lists the pitches of each step, by its name."""
    suffix = next((each.lower() for each in reversed(path.suffixes) if each.lower() != ".gz"), "")
    return suffix in FRAME_SUFFIXES


def is_midi(path: Path) -> bool:
    """Whether a file is MIDI, by its name or how it begins."""
    if path.suffix.lower() in MIDI_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"MThd"
    except OSError:
        return False


def pieces(path: Path, settings: RollSettings, encoding: str = "utf-8", errors: str = "strict") -> Iterator[Piece]:
    """The pieces of a file: of MIDI one; of frames as many as it lists.

    A damaged MIDI file gives a piece without a roll, since among thousands a few are; what is wrong in a file of frames
    is an error with its line.

    Raises:
        DataError: with file and line.
        MissingExtra: if it is MIDI and mido is not installed.
    """
    if is_frames(path):
        yield from _listed(path, settings, encoding, errors)
        return
    step, seconds = settings.length()
    try:
        found = read_midi(path, seconds)
        roll, counts = to_roll(found, float(step), settings)
    except DataError as error:
        yield Piece(path.stem, None, str(error).removeprefix(f"{path}: "))
        return
    yield Piece(path.stem, roll, "", counts, found.tempos[0] if found.tempos else None)


def to_roll(found: Notes, step: float, settings: RollSettings) -> tuple[Roll, dict[str, int]]:
    """Notes on a grid, and counts of what it does not show.

    Args:
        found: notes, timed as `step` is.
        step: of time.
        settings: the range of keys.

    Raises:
        DataError: if no note is left, or the piece is too long.
    """
    kept = [note for note in found.notes if settings.lowest <= note.pitch <= settings.highest]
    counts = {"notes": len(kept), "drums": found.drums, "out_of_range": len(found.notes) - len(kept)}
    if not kept:
        names = f"{note_name(settings.lowest)} to {note_name(settings.highest)}"
        held = [(counts["drums"], "of percussion (channel 10)"), (counts["out_of_range"], f"outside {names}")]
        why = " and ".join(f"{count:,} {what}" for count, what in held if count)
        raise DataError(f"no notes{f' but {why}' if why else ''}")
    end = max(note.end for note in kept) / step
    if not end <= MOST_STEPS:
        raise DataError(
            f"too long: {end:,.0f} steps, at most {MOST_STEPS:,}; is a time damaged, or the step too short?"
        )
    spans = []
    for note in kept:
        first = math.floor(note.begin / step + 0.5)
        spans.append((first, max(first + 1, math.floor(note.end / step + 0.5)), note.pitch - settings.lowest))
    shape = max(last for _, last, _ in spans), settings.keys
    roll = Roll(np.zeros(shape, bool), np.zeros(shape, bool))
    for first, last, key in spans:
        roll.sounding[first:last, key] = True
        roll.struck[first, key] = True
    counts |= {"hanging": found.hanging, "joined": len(spans) - int(roll.struck.sum())}
    return roll, counts


def to_notes(roll: Roll, settings: RollSettings, tempo: float = 120.0) -> list[Note]:
    """The notes of a roll, in beats: each lasts until its key is silent or struck again.

    Args:
        roll: of the keys that the settings name.
        settings: range and step.
        tempo: quarter notes a minute, by which steps in seconds become beats.

    >>> roll = Roll.of_sounding(np.array([[1, 0], [1, 1], [0, 1]]))
    >>> to_notes(roll, RollSettings(step="1", lowest=60, highest=61))
    [Note(pitch=60, begin=Fraction(0, 1), end=Fraction(2, 1)), Note(pitch=61, begin=Fraction(1, 1), end=Fraction(3, 1))]
    """
    step, seconds = settings.length()
    if seconds:
        step *= Fraction(tempo).limit_denominator(1000) / 60
    found = []
    for key in range(settings.keys):
        sounding, struck = roll.sounding[:, key], roll.struck[:, key]
        ends = np.append(~sounding | struck, True)
        begins = np.flatnonzero(struck | (sounding & np.append(True, ~sounding[:-1])))
        for first in begins.tolist():
            last = first + 1 + int(np.argmax(ends[first + 1 :]))
            found.append(Note(key + settings.lowest, first * step, last * step))
    return sorted(found, key=lambda note: (note.begin, note.pitch))


def check_suffix(path: Path) -> str:
    """The ending of a file's name by which a piece is written.

    Raises:
        SettingsError: if it is none of these.
    """
    suffix = path.suffix.lower()
    if suffix not in MIDI_SUFFIXES | {".jsonl", ".ndjson", ".csv"}:
        raise SettingsError(f"{path}: as what? end its name in .mid, .jsonl or .csv")
    return suffix


def save_roll(path: Path, roll: Roll, settings: RollSettings, tempo: float = 120.0, program: int = 0) -> None:
    """Write a piece: MIDI, or, by the file's name, the pitches of each step as a line of JSON or as CSV.

    Raises:
        SettingsError: if the file's name ends in nothing of these.
        MissingExtra: if it is MIDI and mido is not installed.
    """
    suffix = check_suffix(path)
    if suffix in MIDI_SUFFIXES:
        write_midi(path, to_notes(roll, settings, tempo), tempo, program, path.stem)
    elif suffix == ".csv":
        rows = (" ".join(map(str, row)) or '""' for row in pitches_of(roll, settings))  # an empty line would be no row
        write_text(path, "".join(f"{row}\n" for row in ("pitches", *rows)))
    else:
        write_text(path, json.dumps({"name": path.stem, "frames": pitches_of(roll, settings)}) + "\n")


def pitches_of(roll: Roll, settings: RollSettings) -> list[list[int]]:
    """The pitches that sound at each step, from below."""
    return [(np.flatnonzero(row) + settings.lowest).tolist() for row in roll.sounding]


def _listed(path: Path, settings: RollSettings, encoding: str, errors: str) -> Iterator[Piece]:
    """The pieces of a file of frames.

    A line of JSON is a piece, `{"frames": [[60, 64, 67], [60], []]}`, with a `name` if it has one. A row of CSV is a
    step, its column `pitches` such as `60 64 67`; where there is a column `piece`, a piece goes on as long as that
    stays the same, else the file is one piece.
    """
    waiting: list[list[int]] = []
    name: str | None = None
    for record in RecordReader([path], encoding=encoding, errors=errors).records():
        if "frames" in record.fields:
            listed = record.fields["frames"]
            if not isinstance(listed, list):
                raise DataError(f"{record.where}: frames: expected a list of lists of pitches, found {listed!r:.40}")
            rows = [_pitches(row, record, f"frame {at}") for at, row in enumerate(listed, 1)]
            yield _piece(str(record.fields.get("name", f"{path.stem} {record.line}")), rows, settings)
            continue
        if "pitches" not in record.fields:
            held = ", ".join(record.fields) or "none"
            raise DataError(f"{record.where}: expected a column pitches, such as 60 64 67, or frames; found {held}")
        if (now := str(record.fields.get("piece", path.stem))) != name and name is not None:
            yield _piece(name, waiting, settings)
            waiting = []
        name = now
        listed = record.fields["pitches"]
        if isinstance(listed, str):
            listed = [int(each) if each.isdecimal() else each for each in listed.split()]
        waiting.append(_pitches(listed, record, "pitches"))
        if len(waiting) > MOST_STEPS:
            raise DataError(f"{record.where}: a piece of more than {MOST_STEPS:,} steps")
    if name is not None:
        yield _piece(name, waiting, settings)


def _pitches(listed: Any, record: Record, what: str) -> list[int]:
    if not isinstance(listed, list):
        raise DataError(f"{record.where}: {what}: expected a list of pitches, found {listed!r:.40}")
    for each in listed:
        if type(each) is not int or not 0 <= each <= 127:
            raise DataError(f"{record.where}: {what}: {each!r:.20}: expected MIDI's numbers of notes, 0 to 127")
    return listed


def _piece(name: str, rows: Sequence[Sequence[int]], settings: RollSettings) -> Piece:
    if len(rows) > MOST_STEPS:
        return Piece(name, None, f"too long: {len(rows):,} steps, at most {MOST_STEPS:,}")
    sounding = np.zeros((len(rows), settings.keys), bool)
    outside = 0
    for step, row in enumerate(rows):
        for pitch in row:
            if settings.lowest <= pitch <= settings.highest:
                sounding[step, pitch - settings.lowest] = True
            else:
                outside += 1
    roll = Roll.of_sounding(sounding)
    notes = int(roll.struck.sum())
    if not notes:
        names = f"{note_name(settings.lowest)} to {note_name(settings.highest)}"
        return Piece(name, None, f"no notes{f' but {outside:,} outside {names}' if outside else ''}")
    return Piece(name, roll, "", {"notes": notes, "out_of_range": outside})
