"""The transcriber: what it learns, how it decodes and streams, and what it says of bad recordings."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import ostinato
from ostinato import NGramLanguageModel, Transcriber
from ostinato.codecs.transcripts import LabelSettings, LabelsOfText, TranscriptCodec
from ostinato.ctc import BLANK
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.tasks.fusing import LanguageModelScorer
from ostinato.tasks.hearing import samples, wav_header
from ostinato.tasks.transcriber_settings import PredictSettings

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


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="module")
def one_way(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("one"), bidirectional=False, hidden_size=48)


def clips(path: Path) -> Iterator[tuple[Path, str]]:
    for line in path.read_text().splitlines()[1:]:
        name, text = line.split(",")
        yield path.parent / name, text


def test_it_learns_what_is_said(both: Trained) -> None:
    figures = ostinato.load(both.folder).evaluate(both.test)
    assert figures["character_error_rate"] < 0.1
    found = list(both.model.transcribe([path for path, _ in clips(both.test)]))
    right = [text for _, text in clips(both.test)]
    assert sum(one.text == text for one, text in zip(found, right, strict=True)) >= 10
    whole = both.model.evaluate_with(both.test, beam_size=8)
    assert whole["character_error_rate"] < 0.1 and whole["loss"] == pytest.approx(figures["loss"], rel=1e-4)


def test_a_label_is_told_where_it_is_said(both: Trained) -> None:
    draw = np.random.default_rng(9)
    soundfile.write(path := both.folder.parent / "times.wav", sound("ab", draw), RATE)
    for options in ({}, {"beam_size": 4}):
        (row,) = [each.row for each in both.model.predictions([path], PredictSettings.checked(options))]
        assert row["text"] == "ab" and row["log_p"] < 0
        (_, a, _), (_, b, _) = row["times"]
        assert 0.0 <= a <= 0.25 and a + 0.1 <= b <= 0.5


def test_beams_do_not_hurt_and_a_language_model_decides(both: Trained, tmp_path: Path) -> None:
    (lines := tmp_path / "lines.txt").write_text("ab\nabc\na\nab猫\n" * 30)
    NGramLanguageModel(level="char", order=3).fit(lines, output=tmp_path / "lm", progress=False)
    path = next(path for path, text in clips(both.test) if len(text) > 2)
    texts = {
        weight: next(iter(both.model.transcribe([path], lm=str(tmp_path / "lm"), lm_weight=weight))).text
        for weight in (0.0, 0.3, 50.0)
    }
    assert texts[0.0] == next(iter(both.model.transcribe([path], beam_size=16))).text
    assert texts[50.0] in ("", "a", "ab", "abc", "ab猫")
    long = next(iter(both.model.transcribe([path], lm=str(tmp_path / "lm"), lm_weight=0.0, word_bonus=50.0))).text
    assert len(long) > len(texts[0.0])


def scorer(tmp_path: Path, kind: str, level: str, lines: list[str], **options: Any) -> LanguageModelScorer:
    (path := tmp_path / "lines.txt").write_text("\n".join(lines * 20) + "\n")
    model = NGramLanguageModel(level=level, order=3, min_count=1, **options).fit(path, progress=False)
    labels = LabelsOfText.learn(lines, LabelSettings.checked({"labels": kind}))
    return LanguageModelScorer(model, TranscriptCodec(None, labels), 0.7, 0.25)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "level"), [("char", "char"), ("word", "word"), ("char", "word"), ("word", "char")])
def test_what_labels_add_one_by_one_is_what_the_whole_text_has(kind: str, level: str, tmp_path: Path) -> None:
    """α log p of the text as a line, and β for each of its tokens, however the labels cut it."""
    made = scorer(tmp_path, kind, level, ["one two one", "two three", "three one one"])
    for text in ("one two one", "three", "one one one two"):
        labels = made._names
        state, total = made.begin(), 0.0
        for piece in text.split() if kind == "word" else text:
            label = labels.index(piece)
            total += made.scores(state)[label]
            state = made.advance(state, label)
        total += made.end(state)
        ids = made._text.encode(text + "\n")
        start = made._ngrams.advance(np.array([made._text.start_id()]), made._ngrams.begin(1))
        p, _ = made._ngrams.read(ids.astype(np.int64), start)
        assert total == pytest.approx(0.7 * np.log(p).sum() + 0.25 * (len(ids) - 1), rel=1e-9)


def test_language_models_that_cannot_help_are_told(both: Trained, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="byte pairs"):
        scorer(tmp_path, "char", "bpe", ["one two"] * 20)
    with pytest.raises(SettingsError, match="no text of the transcriber's training has blanks"):
        scorer(tmp_path, "char", "word", ["one", "two"])
    with pytest.raises(SettingsError, match="a transcriber; expected an n-gram model"):
        both.model.transcribe([], lm=str(both.folder)).__next__()
    for options, told in (
        ({"lm_weight": 0.3}, "name one with lm"),
        ({"lm": "x", "beam_size": 1}, "beam_size of 2 or more"),
        ({"stream": True, "beam_size": 4}, "leave it out"),
        ({"rate": 8000, "stream": True}, "rate: is of raw samples"),
        ({"raw": "u8"}, "are of a stream"),
    ):
        with pytest.raises(SettingsError, match=told):
            PredictSettings.checked(options)


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


def test_what_a_stream_cannot_be_is_told(both: Trained, one_way: Trained) -> None:
    with pytest.raises(SettingsError, match="--no-bidirectional"):
        stream(both.model, b"")
    with pytest.raises(DataError, match=r"the stream: 4,000 samples a second hold nothing above 2,000 Hz"):
        stream(one_way.model, bytes(4000), raw="s16le", rate=4000)
    bad = np.full(3000, np.nan, "<f4").tobytes()
    with pytest.raises(DataError, match=r"the stream: sample 0 \(0\.000 s\) is not a number"):
        stream(one_way.model, bad, raw="f32le")


def test_a_long_recording_is_read_in_pieces(both: Trained, tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    whole = np.concatenate([np.concatenate([sound("abc", draw), draw.normal(size=2000) * 0.01]) for _ in range(6)])
    soundfile.write(path := tmp_path / "long.wav", whole, RATE)
    (row,) = [each.row for each in both.model.predictions([path], PredictSettings(piece_seconds=1.5))]
    assert row["text"] == "abc" * 6
    starts = [start for _, start, _ in row["times"]]
    assert starts == sorted(starts) and starts[-1] > len(whole) / RATE - 1


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path, 10, 0)


def broken(table: Path, row: str, content: bytes | None = None) -> Path:
    """The table with one row more, and its file."""
    if content is not None:
        (table.parent / row.split(",")[0]).write_bytes(content)
    (path := table.with_name("坏.csv")).write_text(table.read_text() + row + "\n", "utf-8")
    return path


BAD = [
    ("0-11.wav,a", None, r"坏\.csv: line 12: column 'audio': no such file: .*0-11\.wav \(did you mean"),
    (",a", None, r"坏\.csv: line 12: column 'audio' is empty"),
    ("cut.wav,a", b"RIFF\0\0\0\0WAVEdata\xff\0\0\0ab", r"坏\.csv: line 12: .*cut\.wav: cut off: 255 bytes"),
    ("empty.wav,a", b"", r"坏\.csv: line 12: .*empty\.wav: empty"),
    ("text.wav,a", b"no sound at all " * 9, r"坏\.csv: line 12: .*text\.wav: no sound"),
]


@pytest.mark.parametrize(("row", "content", "told"), BAD)
def test_a_broken_recording_is_told_with_its_line(row: str, content: bytes | None, told: str, table: Path) -> None:
    with pytest.raises(DataError, match=told):
        Transcriber(**SMALL).fit(broken(table, row, content), validation=table, progress=False)


def test_a_sample_that_is_no_number_is_told_with_its_line(table: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.full(2000, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=r"line 12: .*nan\.wav: sample 0 .* is not a number"):
        Transcriber(**SMALL).fit(broken(table, "nan.wav,a"), validation=table, progress=False)


def test_recordings_that_teach_nothing_are_counted(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["gone.wav,a", "0-1.wav,", f"0-2.wav,{'ab' * 200}", "cut.wav,b"]
    for row in rows:
        table = broken(table, row)
    (table.parent / "cut.wav").write_bytes(b"RIFF")
    model = Transcriber(**SMALL | {"epochs": 1, "broken": "skip"})
    model.fit(table, validation=table, progress=None)
    told = capsys.readouterr().err
    assert "2 examples passed over: a sound that is missing or cannot be read" in told
    assert "1 examples passed over: a text that is empty" in told
    assert "1 examples passed over: a text of more labels than its sound has steps" in told
    assert "gone.wav: cannot be read: No such file" in told
    assert model.data["train_examples"] == 10
    assert model.evaluate(table)["examples"] == 10


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"label_smoothing": 0.1}, "CTC has no target at a step"),
        ({"speeds": (0.1,)}, "from 0.5 to 2"),
        ({"speeds": "1,fast"}, "speeds"),
        ({"speeds": (1.0, 1.0)}, "different ones"),
        ({"labels": "phone"}, "labels"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Transcriber(**settings)


def test_tables_that_are_none_are_told(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a sound, but what is said in it is needed too"):
        Transcriber(**SMALL).fit(tmp_path / "0-1.wav", progress=False)
    (path := tmp_path / "other.csv").write_text("file,text\na.wav,a\n")
    with pytest.raises(DataError, match=r"other\.csv: line 2: no column 'audio' \(columns: file, text\)"):
        Transcriber(**SMALL).fit(path, progress=False)
    (path := tmp_path / "silent.csv").write_text("audio,text\n0-1.wav,\n")
    with pytest.raises(DataError, match="all texts are empty"):
        Transcriber(**SMALL).fit(path, validation=table, progress=False)


def test_speeds_make_more_of_training_alone(table: Path) -> None:
    model = Transcriber(**SMALL | {"epochs": 1, "speeds": "0.9,1,1.1"}).fit(table, validation=table, progress=False)
    assert (model.data["train_examples"], model.data["validation_examples"]) == (30, 10)


def test_word_labels_and_other_columns(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    soundfile.write(tmp_path / "声.flac", sound("ab", draw), RATE)
    rows = [json.dumps({"文件": "声.flac", "内容": "Eins  ZWEI"}, ensure_ascii=False)] * 8
    (path := tmp_path / "表.jsonl").write_text("\r\n".join(rows) + "\r\n", "utf-8")
    options = {"audio": "文件", "text": "内容", "labels": "word", "lowercase": True}
    model = Transcriber(**SMALL | options).fit(path, validation=path, progress=False)
    assert model.codec.vocabulary == ("<blank>", "eins", "zwei")
    assert model.evaluate(path)["word_error_rate"] == 0.0
    assert [each.row["text"] for each in model.predictions([path], PredictSettings())] == ["eins zwei"] * 8


def test_a_damaged_codec_is_told(both: Trained, tmp_path: Path) -> None:
    both.model.save(folder := tmp_path / "m")
    (path := folder / "codec" / "labels.json").write_text('{"kind": "char", "lowercase": false, "names": ["a"]}')
    with pytest.raises(BundleError, match=r"labels\.json: damaged: expected kind char or word"):
        ostinato.load(folder)
    path.unlink()
    with pytest.raises(BundleError, match=r"labels\.json"):
        ostinato.load(folder)


def test_blanks_alone_are_no_text(both: Trained) -> None:
    """Where the network is sure of nothing, nothing is said."""
    model = ostinato.load(both.folder)
    with torch.no_grad():
        model.network.head.bias[BLANK] = 1e3
    (found,) = model.transcribe([next(clips(both.test))[0]])
    assert found.text == "" and found.labels == [] and found.log_p == pytest.approx(0, abs=1e-3)
