"""Streams of sound: what is said of them while they come, their headers, and their memory."""

from __future__ import annotations

import io
import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from ostinato import Transcriber
from ostinato.cli.listening import listen
from ostinato.cli.progress import count_lines
from ostinato.errors import DataError, SettingsError
from ostinato.tasks.hearing import samples, wav_header
from ostinato.tasks.model import Predicted
from ostinato.tasks.transcriber_settings import PredictSettings
from tests.tones import RATE, Trained, clips, sound


@pytest.fixture(scope="module")
def one_way(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("one"), bidirectional=False, hidden_size=48)


def stream(model: Transcriber, content: bytes, **options: Any) -> tuple[str, list[float]]:
    found = list(model.streamed(io.BytesIO(content), PredictSettings.checked({"stream": True} | options)))
    return "".join(each.text for each in found), [each.row["seconds"] for each in found]


def raw(sound: np.ndarray) -> bytes:
    return (sound * 32767).astype("<i2").tobytes()


def test_a_stream_says_what_the_file_says(one_way: Trained) -> None:
    model = one_way.model
    assert model.metrics["validation_character_error_rate"] < 0.15
    for path, _ in list(clips(one_way.test))[:4]:
        (whole,) = model.transcribe([path])
        text, seconds = stream(model, path.read_bytes(), pause_seconds=9)
        assert text == whole.text + "\n"
        step = model.codec.audio.step_seconds
        assert seconds[:-1] == pytest.approx([(each.first + 1) * step for each in whole.labels])
        sound, _ = soundfile.read(path, dtype="float32")
        assert stream(model, raw(sound), raw="s16le", pause_seconds=9)[0] == text
        at_44 = io.BytesIO()
        soundfile.write(at_44, np.repeat(sound, 2), 2 * RATE, format="WAV")
        assert abs(len(stream(model, at_44.getvalue())[0]) - len(text)) <= 1


def test_a_pause_ends_a_line(one_way: Trained) -> None:
    draw = np.random.default_rng(2)
    quiet = draw.normal(size=RATE) * 0.01
    whole = np.concatenate([sound("ab", draw), quiet, sound("c", draw), quiet])
    text, _ = stream(one_way.model, raw(whole), raw="s16le", pause_seconds=0.5)
    assert text == "ab\nc\n"


class Endless(io.RawIOBase):
    """So many seconds of sound, made as they are read."""

    def __init__(self, seconds: int) -> None:
        self.left = seconds
        self.second = raw(sound("abc", np.random.default_rng(3)))[: 2 * RATE]

    def read(self, size: int = -1) -> bytes:
        del size
        self.left -= 1
        return self.second if self.left >= 0 else b""


def test_a_stream_takes_no_more_memory_the_longer_it_is(one_way: Trained) -> None:
    options = PredictSettings.checked({"stream": True, "raw": "s16le"})
    most = []
    for seconds in (5, 5, 60):  # the first to warm up
        tracemalloc.start()
        assert sum(1 for _ in one_way.model.streamed(Endless(seconds), options)) >= seconds  # type: ignore[arg-type]
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[2] < 1.2 * most[1] + 20_000


def test_headers_of_streams() -> None:
    tone = 0.5 * np.sin(np.arange(900) / 9).astype(np.float32)
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        for form in ("WAV", "WAVEX"):
            soundfile.write(file := io.BytesIO(), np.stack([tone, tone], 1), 11025, subtype, format=form)
            file.seek(0)
            header = wav_header(file)
            assert (header.rate, header.channels) == (11025, 2)
            found = np.concatenate(list(samples(file, header)))
            np.testing.assert_allclose(found, tone, atol=0.01 if subtype == "PCM_U8" else 1e-4)
    for content, told in (
        (b"", "empty"),
        (b"fLaC" + bytes(40), "no wav; samples alone are read with --raw"),
        (b"RIFF\0\0\0\0WAVEfmt ", "ends before its samples"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + b"\x11\0\1\0" + bytes(12), "format 17, 0 bits"),
    ):
        with pytest.raises(DataError, match=told):
            wav_header(io.BytesIO(content))


def test_what_a_stream_cannot_be_is_told(one_way: Trained) -> None:
    with pytest.raises(SettingsError, match="--no-bidirectional"):
        stream(Transcriber(), b"")
    with pytest.raises(DataError, match=r"the stream: 4,000 samples a second hold nothing above 2,000 Hz"):
        stream(one_way.model, bytes(4000), raw="s16le", rate=4000)
    bad = np.full(3000, np.nan, "<f4").tobytes()
    with pytest.raises(DataError, match=r"the stream: sample 0 \(0\.000 s\) is not a number"):
        stream(one_way.model, bad, raw="f32le")


def test_what_is_said_is_printed_at_once(
    one_way: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = PredictSettings.checked({"stream": True, "pause_seconds": 0.5})
    draw = np.random.default_rng(6)
    soundfile.write(path := tmp_path / "流.wav", np.concatenate([sound("猫a", draw), np.zeros(RATE)]), RATE)
    listen(one_way.model, [str(path)], options, None, as_json=False)
    assert capsys.readouterr().out == "猫a\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    listen(one_way.model, ["-"], options, None, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == ["猫", "a", "\n"]
    assert rows[0]["seconds"] < rows[1]["seconds"] < rows[2]["seconds"]
    for files, output, told in ((["a", "b"], None, "reads one stream"), (["-"], tmp_path / "x", "prints as it goes")):
        with pytest.raises(SettingsError, match=told):
            listen(one_way.model, files, options, output, as_json=False)
    assert count_lines([path]) is None


def test_a_stream_is_stopped_by_hand(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped:
        def streamed(self, source: object, options: object) -> Iterator[Predicted]:
            del source, options
            yield Predicted({"label": "a"}, "a")
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    listen(Stopped(), ["-"], PredictSettings.checked({"stream": True}), None, as_json=False)
    assert capsys.readouterr().out == "a\n"
