"""The transcriber: what it learns, how it decodes and streams, and what it says of bad recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import ostinato
from ostinato import NGramLanguageModel, Transcriber
from ostinato.cli import demo_transcriber
from ostinato.codecs.transcripts import LabelSettings, LabelsOfText, TranscriptCodec
from ostinato.ctc import BLANK
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.tasks.fusing import LanguageModelScorer
from ostinato.tasks.transcriber_settings import PredictSettings
from tests.tones import RATE, SMALL, Trained, clips, sound, write


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("both"))


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


def test_what_is_heard_is_drawn(both: Trained, tmp_path: Path) -> None:
    draw = np.random.default_rng(9)
    soundfile.write(path := tmp_path / "$猫.wav", sound("a猫", draw), RATE)
    options = PredictSettings.checked({"pictures": str(tmp_path / "drawn")})
    for _ in both.model.predictions([path], options):
        pass
    assert (tmp_path / "drawn" / "1-$猫.png").read_bytes()[:4] == b"\x89PNG"
    p, features = both.model.posteriors(path)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert p.shape == (len(features), 5)
    in_pieces, _ = both.model.posteriors(path, piece_seconds=0.2)
    assert in_pieces.shape == p.shape


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
        ({"stream": True, "pictures": "x"}, "pictures: a stream has no end"),
    ):
        with pytest.raises(SettingsError, match=told):
            PredictSettings.checked(options)


def test_a_long_recording_is_read_in_pieces(both: Trained, tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    whole = np.concatenate([np.concatenate([sound("abc", draw), draw.normal(size=2000) * 0.01]) for _ in range(6)])
    soundfile.write(path := tmp_path / "long.wav", whole, RATE)
    (row,) = [each.row for each in both.model.predictions([path], PredictSettings(piece_seconds=1.5))]
    assert row["text"] == "abc" * 6
    with pytest.raises(DataError, match=r"long\.wav: lasts \d s, more than longest_seconds = 2"):
        list(both.model.predict([path], longest_seconds=2))
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


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_transcriber, "CALLS", 12)
    monkeypatch.setattr(demo_transcriber, "HELD_OUT", 6)
    for _ in range(2):  # an earlier demo is replaced
        demo_transcriber.demo(tmp_path / "m", None, quiet=True)
    out = capsys.readouterr().out
    assert "6 calls that it has not heard" in out and "35 ms after" in out
    assert (tmp_path / "m" / "dialled.wav").exists()


def test_the_sounds_of_the_demo_are_those_of_telephones() -> None:
    for key, (low, high) in {"1": (697, 1209), "0": (941, 1336), "#": (941, 1477), "6": (770, 1477)}.items():
        sound = demo_transcriber.dialled(key * 3, np.random.default_rng(1))
        power = np.abs(np.fft.rfft(sound, 80_000)) ** 2
        hz = np.arange(len(power)) / 10
        found = [hz[np.where((hz > near - 40) & (hz < near + 40), power, 0).argmax()] for near in (low, high)]
        assert found == pytest.approx([low, high], abs=8)
        others = [each for each in (697, 770, 852, 941, 1209, 1336, 1477) if each not in (low, high)]
        levels = {near: power[(hz > near - 5) & (hz < near + 5)].max() for near in (low, high, *others)}
        assert min(levels[low], levels[high]) > 3 * max(levels[near] for near in others)
