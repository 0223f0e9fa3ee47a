"""MIDI and lists of pitches ↔ piano rolls, beside bytes written by hand from the standard."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato.codecs.midi import Note, Notes, read_midi, ticks_per_beat, write_midi
from ostinato.codecs.music import MOST_STEPS, Roll, RollSettings, frames, pieces, save_roll, to_notes, to_roll
from ostinato.errors import DataError, MissingExtra, SettingsError

END = b"\x00\xff\x2f\x00"


def smf(*tracks: bytes, kind: int = 1, division: int = 96) -> bytes:
    """A Standard MIDI file (MIDI Manufacturers Association, RP-001)."""
    head = b"MThd" + struct.pack(">IHHH", 6, kind, len(tracks), division & 0xFFFF)
    return head + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def midi(folder: Path, *tracks: bytes, **how: int) -> Path:
    (path := folder / "piece.mid").write_bytes(smf(*tracks, **how))
    return path


def roll_settings(**values: object) -> RollSettings:
    return RollSettings.checked(values)


def sounds(path: Path, pitch: int, **values: object) -> list[int]:
    return frames(path, roll_settings(**values))[:, pitch - 21].tolist()


# a quarter note of C4 by running status, whose end is a note-on without velocity
C4 = b"\x00\x90\x3c\x40\x60\x3c\x00"


def test_running_status_and_tracks(tmp_path: Path) -> None:
    later = b"\x30\x91\x40\x40\x60\x81\x40\x00"  # E4 half a beat later, on another channel
    path = midi(tmp_path, C4 + END, later + END)
    assert read_midi(path).notes == [Note(60, 0, 1), Note(64, 0.5, 1.5)]
    assert frames(path).shape == (6, 88)
    assert sounds(path, 60) == [1, 1, 1, 1, 0, 0] and sounds(path, 64) == [0, 0, 1, 1, 1, 1]
    assert sounds(path, 60, step="1/2") == [1, 1, 0]


def test_a_struck_note_is_told_from_one_that_goes_on(tmp_path: Path) -> None:
    path = midi(tmp_path, C4 + C4 + END)
    (piece,) = pieces(path, roll_settings(step="1/2"))
    assert piece.roll is not None
    assert piece.roll.sounding[:, 39].tolist() == [True] * 4
    assert piece.roll.struck[:, 39].tolist() == [True, False, True, False]
    assert to_notes(piece.roll, roll_settings(step="1/2")) == [Note(60, 0, 1), Note(60, 1, 2)]
    joined = Roll.of_sounding(piece.roll.sounding)
    assert to_notes(joined, roll_settings(step="1/2")) == [Note(60, 0, 2)]
    (short,) = pieces(path, roll_settings(step="4"))
    assert short.counts["joined"] == 1


def test_tempo_changes_count_in_seconds_and_not_in_beats(tmp_path: Path) -> None:
    tempo = b"\x60\xff\x51\x03\x0f\x42\x40"  # from the second beat on a second a beat
    path = midi(tmp_path, tempo + END, b"\x00\x90\x3c\x40\x81\x40\x3c\x00" + END)  # two beats of C4
    assert read_midi(path).notes == [Note(60, 0, 2)]
    assert read_midi(path, seconds=True).notes == [Note(60, 0, 1.5)]  # 0.5 at 120 beats a minute, and 1
    assert read_midi(path).tempos == [60]
    assert sum(sounds(path, 60, step="0.25s")) == 6


def test_times_of_a_film(tmp_path: Path) -> None:
    path = midi(tmp_path, C4 + END, division=(-25 << 8) | 40)  # 25 frames a second, 40 ticks each
    assert read_midi(path, seconds=True).notes == [Note(60, 0, 0.096)]
    with pytest.raises(DataError, match=r"seconds \(SMPTE\), not in beats: give a step such as 0.125s"):
        frames(path)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    drum, low, hanging = b"\x00\x99\x24\x40\x60\x89\x24\x00", b"\x00\x90\x0a\x40\x60\x0a\x00", b"\x00\x90\x43\x40"
    path = midi(tmp_path, drum + C4 + low + hanging + b"\x60\xff\x2f\x00")
    (piece,) = pieces(path, roll_settings())
    assert piece.counts == {"notes": 2, "drums": 1, "out_of_range": 1, "hanging": 1, "joined": 0}
    assert sounds(path, 67)[-4:] == [1, 1, 1, 1]
    for kept, told in (
        (drum, r"no notes but 1 of percussion \(channel 10\)"),
        (low, "no notes but 1 outside A0 to C8"),
        (b"", "no notes$"),
    ):
        with pytest.raises(DataError, match=told):
            frames(midi(tmp_path, kept + END))


TOO_LATE = b"\x8f\xff\xff\x7f"  # a time of 2^25 ticks


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty: expected a MIDI file"),
        (b"RIFF....", "not MIDI: it begins with b'RIFF'"),
        (smf(C4 + END)[:-6], "truncated MIDI: it ends in the middle of a track"),
        (smf(C4 + END)[:11], "truncated MIDI"),
        (smf(C4 + END, kind=2), "type 2, patterns that are not played together"),
        (smf(C4 + END, kind=7), "type 7: expected type 0 or 1"),
        (smf(C4 + END, division=0), "0 ticks a beat"),
        (smf(b"\x00\x3c\x40" + END), "damaged MIDI: running status"),
        (smf(), "no notes"),
        (smf(TOO_LATE + C4[1:] + END), "too long: 1,398,[0-9]+ steps, at most 131,072"),
        (smf(b"\xff" * 9 + b"\x7f" + C4[1:] + END), "a time of [0-9,]+ ticks: expected below"),
    ],
)
def test_bad_midi_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (path := tmp_path / "谱.mid").write_bytes(content)
    with pytest.raises(DataError, match=f"谱.mid: .*{told}"):
        frames(path)


def test_absurd_tempos(tmp_path: Path) -> None:
    none = midi(tmp_path, b"\x00\xff\x51\x03\x00\x00\x00" + C4 + END)
    assert sum(sounds(none, 60)) == 4  # in beats it does not matter
    with pytest.raises(DataError, match="a tempo of 0 microseconds a beat"):
        frames(none, roll_settings(step="0.1s"))
    slowest = midi(tmp_path, b"\x00\xff\x51\x03\xff\xff\xff" + C4 + END)
    assert sum(sounds(slowest, 60, step="0.1s")) == 168  # 16.8 s a beat


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 60))
def test_damaged_bytes_never_crash(tmp_path: Path, changes: list[tuple[int, int]], cut: int) -> None:
    keys = b"\x00\xff\x59\x02\x00\x00\x00\xff\x58\x04\x04\x02\x18\x08\x00\xff\x51\x03\x07\xa1\x20\x00\xf0\x02\x01\xf7"
    data = bytearray(smf(keys + C4 + C4 + END, C4 + END))
    for at, value in changes:
        data[at % len(data)] = value
    (path := tmp_path / "fuzz.mid").write_bytes(bytes(data[: len(data) - max(0, cut - 40)]))
    for step in ("1/4", "0.125s"):
        try:
            found = frames(path, roll_settings(step=step))
        except DataError:
            continue
        assert found.any() and len(found) <= MOST_STEPS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(60, 63), st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=12),
    st.sampled_from(["1/4", "1/3", "1", "3/7", "0.1s", "0.375s"]),
)
def test_a_roll_survives_midi(tmp_path: Path, notes: list[tuple[int, int, int]], step: str) -> None:
    how = roll_settings(step=step, lowest=60, highest=63)
    length = float(how.length()[0])
    roll, _ = to_roll(Notes([Note(p, at * length, (at + n) * length) for p, at, n in notes]), length, how)
    for suffix in (".mid", ".jsonl", ".csv"):
        path = tmp_path / f"roll{suffix}"
        save_roll(path, roll, how, tempo=97)
        (again,) = pieces(path, how)
        assert again.roll is not None
        assert np.array_equal(again.roll.sounding, roll.sounding)
        if suffix == ".mid":
            assert np.array_equal(again.roll.struck, roll.struck)


def test_what_is_written_is_the_standard(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.mid", [Note(60, 0, Fraction(1, 2)), Note(60, Fraction(1, 2), 1)], 60, 19, "A")
    data = (tmp_path / "a.mid").read_bytes()
    on, off = b"\x90\x3c\x50", b"\x80\x3c\x00"
    half = b"\x81\x70"  # 240 ticks
    meta = b"\x00\xff\x03\x01A\x00\xff\x51\x03\x0f\x42\x40\x00\xff\x58\x04\x04\x02\x18\x08\x00\xc0\x13"
    track = meta + b"\x00" + on + half + off + b"\x00" + on + half + off + END
    assert data == smf(track, kind=0, division=480)


def test_without_mido_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = midi(tmp_path, C4 + END)
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(MissingExtra, match=r"piece.mid: reading MIDI needs mido, .*pip install 'ostinato\[music\]'"):
        frames(path)
    with pytest.raises(MissingExtra, match="writing MIDI needs mido"):
        write_midi(tmp_path / "b.mid", [Note(60, 0, 1)])
    (listed := tmp_path / "a.csv").write_text("pitches\n60\n")
    assert frames(listed).sum() == 1


def test_a_division_that_fits() -> None:
    assert ticks_per_beat([Fraction(1, 48)]) == 480 and ticks_per_beat([Fraction(1, 1009), Fraction(1, 101)]) == 32_767


def test_frames_as_text(tmp_path: Path) -> None:
    (lines := tmp_path / "音.jsonl").write_text('{"frames": [[60, 64], [], [60]]}\r\n{"name": "b", "frames": [[128]]}')
    found = pieces(lines, roll_settings())
    first = next(found)
    assert first.roll is not None and first.roll.sounding.sum(1).tolist() == [2, 0, 1]
    with pytest.raises(DataError, match=r"音.jsonl: line 2: frame 1: 128: expected MIDI's numbers of notes, 0 to 127"):
        next(found)
    (rows := tmp_path / "b.csv").write_text("piece,pitches\r\na,60 64\na,\nb,5 60\nb,5\n")
    one, two = pieces(rows, roll_settings())
    assert (one.name, two.name) == ("a", "b")
    assert one.roll is not None and one.roll.sounding.sum(1).tolist() == [2, 0]
    assert two.counts == {"notes": 1, "out_of_range": 2}
    with pytest.raises(DataError, match="2 pieces: expected one"):
        frames(rows)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,b\n1,2\n", r"x.csv: line 2: expected a column pitches, such as 60 64 67, or frames; found a, b"),
        ("pitches\n60 C4\n", r"x.csv: line 2: pitches: 'C4': expected MIDI's numbers of notes"),
        ("pitches\n60 -1\n", r"x.csv: line 2: pitches: '-1'"),
        ("", "x.csv: empty"),
    ],
)
def test_bad_frames_are_told(tmp_path: Path, content: str, told: str) -> None:
    (path := tmp_path / "x.csv").write_text(content)
    with pytest.raises(DataError, match=told):
        list(pieces(path, roll_settings()))


@pytest.mark.parametrize("step", ["0", "1/0", "x", "-1", "0.00001s", "1/4s", "65", "nan"])
def test_an_impossible_step_is_told(step: str) -> None:
    with pytest.raises(SettingsError, match=r"expected a part of a beat, such as 1/4 or 1, or seconds"):
        roll_settings(step=step)
    with pytest.raises(SettingsError, match="lowest = 70 is above highest = 60"):
        roll_settings(lowest=70, highest=60)
