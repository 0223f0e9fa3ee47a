"""Standard MIDI files ↔ notes: pitch, beginning and end, in beats or in seconds."""

from __future__ import annotations

import io
import math
import struct
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from ostinato.errors import DataError, MissingExtra
from ostinato.files import writing

DRUMS = 9
"""The channel of percussion, from 0: General MIDI's channel 10, whose notes are instruments and no pitches."""
DEFAULT_TEMPO = 500_000  # microseconds a quarter note, where a file says nothing: 120 a minute
MOST_BYTES = 1 << 24
"""Of a MIDI file; an hour of an orchestra is below two million."""
_LATEST = 1 << 40  # ticks; four bytes, the most that a file may write of a time between two events, are 2^28
_MOST_TICKS = 32_767  # a quarter note can have
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


class Note(NamedTuple):
    """A key that is held."""

    pitch: int
    """MIDI's number: 60 is the middle C."""
    begin: float | Fraction
    """In beats (quarter notes) or seconds, from the beginning of the file."""
    end: float | Fraction


@dataclass
class Notes:
    """The notes of a file, and what of it is none of them."""

    notes: list[Note]
    """In the order of their beginnings."""
    drums: int = 0
    """Notes of percussion, which are left out."""
    hanging: int = 0
    """Notes without an end: they last to the end of their track."""
    tracks: int = 0
    tempos: list[float] = field(default_factory=list)
    """In quarter notes a minute, in order; empty if the file names none."""


def note_name(pitch: int) -> str:
    """A pitch as people write it.

    >>> note_name(60), note_name(21), note_name(70)
    ('C4', 'A0', 'A#4')
    """
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def read_midi(path: Path, seconds: bool = False) -> Notes:
    """The notes of a Standard MIDI file of type 0 or 1.

    A note lasts from its note-on to the first note-off, or note-on without velocity, of its track, channel and pitch
    that is not spent on an earlier note. The pedal, bends, velocities and instruments are not read; channel 10, which
    is percussion, is left out and counted.

    Args:
        path: of the file.
        seconds: times by the file's tempos, in seconds; else in beats, whatever the tempos are.

    Raises:
        DataError: naming the file, if it is not MIDI, damaged or cut off, of type 2, or has no time that can be read.
        MissingExtra: if mido is not installed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.mid"
    >>> write_midi(path, [Note(60, 0, 1), Note(64, 1, 3)])
    >>> read_midi(path).notes
    [Note(pitch=60, begin=0.0, end=1.0), Note(pitch=64, begin=1.0, end=3.0)]
    >>> read_midi(path, seconds=True).notes[1]  # at 120 beats a minute
    Note(pitch=64, begin=0.5, end=1.5)
    """
    file = _parsed(path)
    if (latest := max((sum(message.time for message in track) for track in file.tracks), default=0)) > _LATEST:
        raise DataError(f"{path}: damaged MIDI: a time of {latest:,} ticks: expected below {_LATEST:,}")
    clock, tempos = _clock(path, file, seconds)
    found = Notes([], tracks=len(file.tracks), tempos=[60e6 / tempo for _, tempo in tempos if tempo])
    for track in file.tracks:
        held: dict[tuple[int, int], deque[int]] = defaultdict(deque)
        now = 0

        def ended(key: tuple[int, int], begin: int, end: int) -> None:
            if key[0] == DRUMS:
                found.drums += 1
            else:
                found.notes.append(Note(key[1], clock(begin), clock(end)))

        for message in track:
            now += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            key = message.channel, message.note
            if message.type == "note_on" and message.velocity:
                held[key].append(now)
            elif held[key]:
                ended(key, held[key].popleft(), now)
        for key, begins in held.items():
            found.hanging += len(begins)
            for begin in begins:
                ended(key, begin, now)
    found.notes.sort(key=lambda note: (note.begin, note.pitch, note.end))
    return found


def _parsed(path: Path) -> Any:
    """The file as mido has it."""
    try:
        import mido
        from mido.midifiles.meta import KeySignatureError
    except ImportError:
        raise MissingExtra("mido", "music", f"{path}: reading MIDI") from None
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise DataError(f"{path}: empty: expected a MIDI file")
    if len(data) > MOST_BYTES:
        raise DataError(f"{path}: more than {MOST_BYTES >> 20} MiB: that is no MIDI file of one piece")
    if not data.startswith(b"MThd"):
        raise DataError(f"{path}: not MIDI: it begins with {data[:4]!r}, expected b'MThd'")
    try:
        found = mido.MidiFile(file=io.BytesIO(data))
    except EOFError:
        raise DataError(
            f"{path}: truncated MIDI: it ends in the middle of a track, after {len(data):,} bytes"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, struct.error, KeySignatureError) as error:
        raise DataError(f"{path}: damaged MIDI: {' '.join(str(error).split()) or type(error).__name__}") from None
    if found.type not in (0, 1):
        what = "type 2, patterns that are not played together" if found.type == 2 else f"type {found.type}"
        raise DataError(f"{path}: MIDI of {what}: expected type 0 or 1, one piece in one time")
    return found


def _clock(path: Path, file: Any, seconds: bool) -> tuple[Callable[[int], float], list[tuple[int, int]]]:
    """Ticks → beats or seconds, and the tempos: (tick, microseconds a quarter note)."""
    division = file.ticks_per_beat
    tempos = sorted(_tempos(file.tracks), key=lambda each: each[0])
    if division < 0:  # frames a second in the upper byte, negated, and ticks a frame in the lower (SMPTE)
        rate = -(division >> 8) * (division & 0xFF)
        if not seconds:
            raise DataError(f"{path}: its times are in seconds (SMPTE), not in beats: give a step such as 0.125s")
        if rate <= 0:
            raise DataError(f"{path}: damaged MIDI: {rate} ticks a second")
        return lambda tick: tick / rate, []
    if division == 0:
        raise DataError(f"{path}: damaged MIDI: 0 ticks a beat")
    if not seconds:
        return lambda tick: tick / division, tempos
    if any(tempo == 0 for _, tempo in tempos):
        raise DataError(f"{path}: a tempo of 0 microseconds a beat: its times in seconds mean nothing; count in beats")
    changes = {0: DEFAULT_TEMPO} | dict(tempos)  # a tempo holds from its tick on; of several at one tick the last
    ticks = sorted(changes)
    rates = [changes[tick] / division / 1e6 for tick in ticks]
    before = [0.0]
    for first, last, rate in zip(ticks, ticks[1:], rates, strict=False):
        before.append(before[-1] + (last - first) * rate)

    def clock(tick: int) -> float:
        at = bisect_right(ticks, tick) - 1
        return before[at] + (tick - ticks[at]) * rates[at]

    return clock, tempos


def _tempos(tracks: Iterable[Iterable[Any]]) -> Iterator[tuple[int, int]]:
    for track in tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "set_tempo":
                yield now, message.tempo


def write_midi(path: Path, notes: Sequence[Note], tempo: float = 120.0, program: int = 0, name: str = "") -> None:
    """Write notes in beats as a Standard MIDI file of type 0, whole or not at all.

    Args:
        path: of the file.
        notes: times in beats, best as `Fraction`, so that no tick is rounded.
        tempo: quarter notes a minute.
        program: General MIDI's instrument, from 0: 0 is the grand piano, 19 the church organ.
        name: of the piece.

    Raises:
        MissingExtra: if mido is not installed.
    """
    try:
        import mido
    except ImportError:
        raise MissingExtra("mido", "music", f"{path}: writing MIDI") from None
    division = ticks_per_beat(Fraction(time).limit_denominator(1 << 16) for note in notes for time in note[1:])
    events = [(round(note.begin * division), 1, note.pitch) for note in notes]
    events += [(round(note.end * division), 0, note.pitch) for note in notes]
    track = mido.MidiTrack([
        mido.MetaMessage("track_name", name=name.encode("ascii", "replace").decode()),
        mido.MetaMessage("set_tempo", tempo=min(round(60e6 / tempo), 0xFFFFFF)),
        mido.MetaMessage("time_signature", numerator=4, denominator=4),
        mido.Message("program_change", program=program),
    ])  # fmt: skip
    now = 0
    for tick, on, pitch in sorted(events):  # at one tick a note ends before the next begins
        track.append(
            mido.Message("note_on" if on else "note_off", note=pitch, velocity=80 if on else 0, time=tick - now)
        )
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    with writing(path) as file:
        mido.MidiFile(type=0, ticks_per_beat=division, tracks=[track]).save(file=file)


def ticks_per_beat(times: Iterable[Fraction]) -> int:
    """The least number of at least 480 that makes all times whole ticks, if a file can say it; else the most it can.

    >>> ticks_per_beat([Fraction(1, 4), Fraction(5, 7)])
    504
    """
    common = 1
    for time in times:
        common = common * time.denominator // math.gcd(common, time.denominator)
        if common > _MOST_TICKS:
            return _MOST_TICKS
    return common * -(-480 // common)
