"""A classifier of series, items, sound, pictures and music: it learns, is kept, and says what it cannot use."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import ostinato
from ostinato import SequenceClassifier
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.codecs.frames import Scaling, SeriesFrames, stacked
from ostinato.codecs.labelled_frames import INPUTS, LabelledFrames
from ostinato.codecs.midi import Note, write_midi
from ostinato.errors import BundleError, DataError, OstinatoError, SettingsError
from ostinato.tasks.explaining import integrated_weights
from ostinato.tasks.sequence_classifier import PredictSettings

SMALL: dict[str, Any] = {
    "cell": "gru", "hidden_size": 8, "epochs": 10, "batch_size": 8, "learning_rate": 0.03, "dropout": 0.0,
    "warmup_steps": 5, "device": "cpu", "validation_fraction": 0.2, "threads": 1,
}  # fmt: skip


def waves(count: int, seed: int = 0, channels: int = 1) -> tuple[list[np.ndarray], list[str]]:
    """Noisy sines of unequal length, slow or fast."""
    draw = np.random.default_rng(seed)
    found = []
    for at in range(count):
        time = np.arange(draw.integers(12, 20))[:, None]
        wave = np.sin((0.4 if at % 2 else 1.2) * time + draw.uniform(0, 6, (1, channels)))
        found.append(100 + 10 * (wave + draw.normal(0, 0.1, wave.shape)))
    return found, ["slow" if at % 2 else "fast" for at in range(count)]


def wav(path: Path, hz: float, seconds: float = 0.2, rate: int = 8000) -> Path:
    import soundfile

    path.parent.mkdir(exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * time), rate)
    return path


def tune(path: Path, minor: bool, first: int) -> Path:
    """A broken chord, up and down, of one of the two sexes of harmony."""
    chord = [0, 3 if minor else 4, 7, 12, 7, 3 if minor else 4]
    write_midi(path, [Note(first + each, at, at + 1) for at, each in enumerate(chord)])
    return path


def table(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def predicted(model: SequenceClassifier, path: Path, **options: Any) -> list[dict[str, Any]]:
    return [each.row for each in model.predictions([path], PredictSettings(**options))]


# what it learns


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scaling": "sequence", "pooling": "attention", "bidirectional": False},
        {"stack_frames": 3, "num_layers": 2, "pooling": "mean"},
        {"network": "cnn", "filters": 8, "cell": "lstm", "hidden_size": 128},
        {"members": 2, "window_steps": 8, "pooling": "last"},
    ],
)  # fmt: skip
def test_series_are_told_apart(settings: dict[str, Any], tmp_path: Path) -> None:
    model = SequenceClassifier(**(SMALL | settings)).fit(*waves(80))
    test, labels = waves(40, seed=1)
    assert model.score(test, labels) > 0.9, model.metrics
    again = ostinato.load(model.save(tmp_path / "m"))
    assert np.array_equal(again.predict_proba(test), model.predict_proba(test))
    assert np.allclose(model.predict_proba(test).sum(1), 1)
    alone = np.concatenate([model.predict_proba([each]) for each in test])  # padding is no part of a sequence
    assert np.allclose(alone, model.predict_proba(test), atol=1e-5)


def test_several_channels_and_scikit_learn() -> None:
    model = SequenceClassifier(**SMALL, seed=3).fit(*waves(60, channels=2))
    test, labels = waves(30, seed=1, channels=2)
    assert model.score(test, labels) > 0.9 and model.codec.size == 2
    assert clone(model).get_params()["hidden_size"] == 8
    with pytest.raises(DataError, match="1 channels a step, but those of training have 2"):
        model.predict([np.zeros((4, 1))])
    with pytest.raises(DataError, match="expected many sequences"):
        model.predict("a b")


def test_kinds_of_labels(tmp_path: Path) -> None:
    steps = [np.arange(3 + at % 6, dtype=float) for at in range(90)]
    number = SequenceClassifier(**SMALL | {"kind": "number", "epochs": 15}).fit(steps, [float(len(s)) for s in steps])
    assert number.score(steps, [len(each) for each in steps]) > 0.8
    assert number.predict([np.arange(8.0)])[0] > number.predict([np.arange(3.0)])[0] + 2
    several = [["long", "odd"] if len(s) > 5 and len(s) % 2 else ["long"] if len(s) > 5 else ["short"] for s in steps]
    model = SequenceClassifier(**SMALL).fit(steps, several)
    assert set(model.predict([np.arange(7.0)])[0]) >= {"long"} and model.codec.several
    ordered = SequenceClassifier(**SMALL, kind="ordinal").fit(steps, [len(each) for each in steps])
    assert abs(int(ordered.predict([np.arange(8.0)])[0]) - 8) <= 1
    assert ostinato.load(ordered.save(tmp_path / "m")).labels == ("3", "4", "5", "6", "7", "8")


def test_items_and_those_that_training_had_not(tmp_path: Path) -> None:
    rows = [("label", "session", "sequence"), *[("buys", 1, "look cart 付款"), ("leaves", 2, "look look out")] * 25]
    model = SequenceClassifier(**SMALL, input="items").fit(table(tmp_path / "clicks.csv", rows), progress=False)
    new = table(tmp_path / "new.csv", [("session", "sequence"), (7, "look 付款"), (8, "out look wherever")])
    found = predicted(model, new)
    assert [each["label"] for each in found] == ["buys", "leaves"]
    assert "unknown" not in found[0] and found[1]["unknown"] == ["wherever"] and found[1]["session"] == "8"
    assert model.predict([["look", "付款"]]).tolist() == ["buys"]
    assert {"<unk>", "付款"} <= set(model.codec.vocabulary)


def test_sounds(tmp_path: Path) -> None:
    for at in range(40):
        wav(tmp_path / ("low" if at % 2 else "high") / f"{at}.wav", (200 if at % 2 else 1500) + at, 0.15 + at / 400)
    model = SequenceClassifier(**SMALL, input="audio", mel_bands=20)
    model.fit([tmp_path / "low", tmp_path / "high"], output=tmp_path / "m", progress=False)
    assert model.metrics["validation_accuracy"] == 1.0 and model.codec.size == 20
    assert model.codec.frame_codec.codec.rate == 8000
    assert "pipeline_tag: audio-classification" in (tmp_path / "m" / "README.md").read_text("utf-8")
    clip = wav(tmp_path / "new" / "clip.wav", 1480, rate=16_000)  # resampled
    assert predicted(ostinato.load(tmp_path / "m"), clip)[0] | {"score": 1} == {
        "file": str(clip), "label": "high", "score": 1
    }  # fmt: skip
    assert model.predict([clip, str(clip)]).tolist() == ["high", "high"]
    with pytest.raises(DataError, match=r"slow\.wav.*2,000 samples a second.* but the model was trained on 8,000"):
        model.predict([wav(tmp_path / "new" / "slow.wav", 100, rate=2000)])


def test_pictures(tmp_path: Path) -> None:
    from PIL import Image

    draw, rows = np.random.default_rng(0), [("file", "label")]
    for at in range(40):
        picture = draw.integers(0, 60, (6, 5))
        picture[at // 2 % 6] = 255 if at % 2 else 0
        picture[:, at // 2 % 5] = 0 if at % 2 else 255
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{at}.png")
        rows.append((f"{at}.png", "across" if at % 2 else "down"))
    path = table(tmp_path / "pictures.csv", rows)
    model = SequenceClassifier(**SMALL | {"input": "images", "epochs": 15}).fit(path, progress=False)
    assert model.evaluate(path)["accuracy"] > 0.9
    picture = np.zeros((6, 5), np.uint8)
    picture[2] = 255
    assert model.predict([picture, tmp_path / "1.png"]).tolist() == ["across", "across"]


def test_major_and_minor(tmp_path: Path) -> None:
    rows = [("file", "label")]
    for at in range(48):
        path = tune(tmp_path / f"{at}.mid", minor=bool(at % 2), first=48 + at // 2 % 12)
        rows.append((path.name, "minor" if at % 2 else "major"))
    settings: dict[str, Any] = {
        "input": "midi",
        "step": "1",
        "lowest": 48,
        "highest": 71,
        "epochs": 60,
        "patience": None,
    }
    model = SequenceClassifier(**SMALL | settings).fit(table(tmp_path / "music.csv", rows), progress=False)
    assert model.evaluate(tmp_path / "music.csv")["accuracy"] > 0.9
    assert predicted(model, tune(tmp_path / "new.mid", minor=True, first=50))[0]["label"] == "minor"


# what is wrong


def test_what_is_broken_is_passed_over_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("file", "label")]
    rows += [(tune(tmp_path / f"{at}.mid", bool(at % 2), 60).name, "minor" if at % 2 else "major") for at in range(24)]
    write_midi(tmp_path / "silent.mid", [])
    (tmp_path / "cut.mid").write_bytes((tmp_path / "0.mid").read_bytes()[:30])
    path = table(tmp_path / "music.csv", [*rows, ("silent.mid", "major"), ("cut.mid", "minor")])
    settings: dict[str, Any] = {"input": "midi", "step": "1", "validation_fraction": 0.01, "epochs": 1, "seed": 2}
    model = SequenceClassifier(**SMALL | settings).fit(
        path, validation=table(tmp_path / "held.csv", rows), progress=None
    )
    told = capsys.readouterr().err
    assert f"train: 1 examples passed over: no notes (the first: {path}: line 26: {tmp_path / 'silent.mid'})" in told
    assert told.count("train: 1 examples passed over") == 2 and "cut.mid" in told
    assert model.data["train_examples"] == 24 and model.data["train_examples_passed_over"] == 2
    found = model.evaluate(path)
    assert found["examples"] == 24 and found["examples_passed_over"] == 2
    with pytest.raises(DataError, match=r"new\.csv: line 2: .*silent\.mid: no notes"):
        predicted(model, table(tmp_path / "new.csv", [("file",), ("silent.mid",)]))
    with pytest.raises(DataError, match=r"no examples; all 1 were passed over: no notes"):
        model.evaluate(table(tmp_path / "none.csv", [("file", "label"), ("silent.mid", "major")]))


def test_broken_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("file", "label")]
    rows += [(wav(tmp_path / f"{at}.wav", 900 - 50 * at).name, "low" if at % 2 else "high") for at in range(16)]
    whole = (tmp_path / "0.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.wav").write_bytes(b"")
    wav(tmp_path / "short.wav", 100, 0.01)
    bad = [(name, "low") for name in ("cut.wav", "empty.wav", "short.wav")]
    path, held = table(tmp_path / "a.csv", [rows[0], *bad, *rows[1:]]), table(tmp_path / "b.csv", rows)
    model = SequenceClassifier(**SMALL | {"input": "audio", "epochs": 1}).fit(path, validation=held)
    told = capsys.readouterr().err
    assert "cut off" in told and "empty: expected a sound" in told and "shorter than a frame" in told
    assert model.data["train_examples_passed_over"] == 3
    with pytest.raises(DataError, match=r"cut\.wav: cut off"):
        predicted(model, tmp_path / "cut.wav")


def test_series_at_the_edge() -> None:
    flat = [np.full(5, 3.0), np.full(5, 4.0)] * 20
    model = SequenceClassifier(**SMALL, scaling="sequence").fit(flat, ["a", "b"] * 20)  # nothing is left to tell by
    assert np.isfinite(model.predict_proba(flat[:2])).all()
    one = SequenceClassifier(**SMALL).fit([[1.0], [2.0]] * 20, ["a", "b"] * 20)  # one point each
    assert one.predict([[1.0], [2.0]]).tolist() == ["a", "b"]
    constant = SequenceClassifier(**SMALL | {"epochs": 1}).fit([[7.0], [7.0, 7.0]] * 20, ["a", "b"] * 20)
    assert constant.codec.scaling.deviation == (1.0,)
    with pytest.raises(DataError, match="an empty sequence"):
        one.predict([[]])
    with pytest.raises(DataError, match=r"step 1, channel 0: nan"):
        one.predict([[1.0, float("nan")]])
    with pytest.raises(DataError, match="expected numbers, or for each step a list"):
        one.predict([["x"]])
    with pytest.raises(DataError, match="2 sequences, but 1 labels"):
        SequenceClassifier(**SMALL).fit([[1.0], [2.0]], ["a"])
    with pytest.raises(DataError, match="sequence 0: expected a list, an array or a file, found float"):
        SequenceClassifier(**SMALL).fit([1.0, 2.0], ["a", "b"])


def test_settings_that_say_nothing_of_the_input() -> None:
    with pytest.raises(SettingsError, match="mel_bands: is of input = audio, not of input = series"):
        SequenceClassifier(mel_bands=20)
    with pytest.raises(SettingsError, match="scaling: are of frames"):
        SequenceClassifier(input="items", stack_frames=2)
    with pytest.raises(SettingsError, match="time: orders the rows"):
        SequenceClassifier(time="t")


# the codec and its folder


def test_scaling_is_that_of_numpy() -> None:
    parts = [np.random.default_rng(at).normal(1e6, 3, (at + 1, 2)) for at in range(9)]
    found, whole = Scaling.learn(parts), np.concatenate(parts)
    assert np.allclose(found.mean, whole.mean(0)) and np.allclose(found.deviation, whole.std(0))
    assert stacked(np.arange(5.0)[:, None], 2).tolist() == [[0, 1], [2, 3], [4, 4]]


@pytest.mark.parametrize("name", ["frames.json", "labels.json"])
def test_a_damaged_codec_is_told(name: str, tmp_path: Path) -> None:
    codec = LabelledFrames.learn("series", SeriesFrames(), "training", 1, lambda: iter([[0.0, 2.0]]))
    codec.save(tmp_path)
    assert LabelledFrames.load(tmp_path) == codec
    about = json.loads((tmp_path / name).read_text())
    for key in list(about):
        (tmp_path / name).write_text(json.dumps({each: value for each, value in about.items() if each != key}))
        if key not in ("texts", "mean", "deviation", "python"):
            with pytest.raises(BundleError, match="damaged"):
                LabelledFrames.load(tmp_path)


# the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Exit status and what is printed, of the command line without its process."""
    try:
        LazyGroup("ostinato", COMMANDS).main([str(each) for each in arguments], "ostinato", standalone_mode=False)
    except OstinatoError as error:
        return error.exit_code, capsys.readouterr().out, str(error)
    found = capsys.readouterr()
    return 0, found.out, found.err


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, labels = waves(60)
    content = [
        ("label", "wave"),
        *zip(labels, (" ".join(f"{v:.3f}" for v in each[:, 0]) for each in series), strict=True),
    ]
    path, folder = table(tmp_path / "waves.csv", content), tmp_path / "m"
    fit = ("fit", "classifier", path, "--input", "series", "--cell", "gru", "--hidden-size", 8, "--lr", 0.03)
    code, out, err = run(capsys, *fit, "--epochs", 8, "-o", folder, "--seed", 1, "--threads", 1)
    assert code == 0 and "validation accuracy" in out and "report.html" in out, err
    page = (folder / "report.html").read_text("utf-8")
    assert "sequence-classifier" in page and "confusion" in page
    code, out, _ = run(capsys, "predict", folder, path)
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()].count("slow") == 30
    code, out, _ = run(capsys, "predict", folder, path, "--probabilities", "--json")
    first = json.loads(out.splitlines()[0])
    assert sorted(first["labels"]) == ["fast", "slow"] and sum(first["scores"]) == pytest.approx(1)
    assert run(capsys, "predict", folder, path, "-o", tmp_path / "said.csv", "--quiet")[0] == 0
    assert (tmp_path / "said.csv").read_text().startswith("given_label,label,score\n")
    code, out, _ = run(capsys, "evaluate", folder, path)
    assert code == 0 and "accuracy" in out and "right \\ told" in out
    code, out, _ = run(capsys, "info", folder)
    assert code == 0 and "input" in out and "series" in out
    code, out, err = run(capsys, "fit", "classifier", "--resume", folder, "--epochs", 9)
    assert code == 0 and "epochs" in out, err
    code, _, err = run(capsys, *fit, "--epochs", 1, "-o", tmp_path / "n", "--model", "linear")
    assert code == 2 and "model = linear: is of texts; of input = series there are recurrent" in err
    code, _, err = run(capsys, "fit", "classifier", path, "-o", tmp_path / "n", "--stack-frames", 2)
    assert code == 2 and "a classifier has no such setting; it is of a sequence-classifier (see --input)" in err
    code, _, err = run(capsys, "fit", "classifier", path, "-o", tmp_path / "n", "--input", "serie")
    assert code == 2 and "'series'" in err
    path.write_text(path.read_text().replace("label,wave\n", "label,wave\nslow,1 nan 2\n"))
    code, _, err = run(capsys, *fit, "--epochs", 1, "-o", tmp_path / "n")
    assert code == 1 and "line 2, column 'wave', value 2: expected a number, found 'nan'" in err


def test_every_input_has_a_name_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "fit", "classifier", "--help")
    assert all(name in out for name in INPUTS)


def test_a_bomb_of_a_picture_is_refused(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(png)
    pictures = [np.full((3, 3), value, np.uint8) for value in (0, 255)] * 20
    model = SequenceClassifier(**SMALL | {"input": "images", "epochs": 1}).fit(pictures, ["dark", "light"] * 20)
    with pytest.raises(DataError, match=r"bomb\.png.*pixels"):
        model.predict([tmp_path / "bomb.png"])


def test_the_demo_shows_what_it_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "demo", "sequence-classifier", "-o", tmp_path / "m", "--minutes", 0.05, "--quiet")
    assert code == 0 and "360 digits that it has not seen" in out and "@@" in out
    assert ostinato.load(tmp_path / "m").data["train"]["files"] == ["handwritten-digits.jsonl"]


@pytest.mark.parametrize("settings", [{}, {"members": 2, "cell": "lstm"}, {"kind": "number"}])
def test_the_weights_of_steps_sum_to_what_all_of_them_say(settings: dict[str, Any]) -> None:
    series, labels = waves(40)
    given = labels if "kind" not in settings else [float(len(each)) for each in series]
    model = SequenceClassifier(**SMALL | {"epochs": 4} | settings).fit(series, given)
    sequence = series[0]
    none = np.full_like(sequence, model.codec.scaling.mean[0])

    def said(of: np.ndarray) -> float:
        p = model.predict_proba([of])[0].astype(float) if "kind" not in settings else model.predict([of]).astype(float)
        return float(p[0] if len(p) == 1 else np.log(p[best] / p[1 - best]))

    best = 0 if "kind" in settings else int(model.predict_proba([sequence])[0].argmax())
    whole = said(sequence) - said(none)
    weights = model.step_weights(sequence)
    assert len(weights) == len(sequence) and np.abs(weights).max() > 1e-3
    assert weights.sum() == pytest.approx(whole, rel=0.15, abs=0.02)
    many = integrated_weights(model, model.encode(model.asked(sequence)), points=1000)
    assert many.sum() == pytest.approx(whole, rel=0.01, abs=0.01)


def test_steps_are_told_and_drawn(tmp_path: Path) -> None:
    rows = [("label", "sequence"), *[("buys", "look 付款 look"), ("leaves", "look out")] * 15]
    path = table(tmp_path / "clicks.csv", rows)
    model = SequenceClassifier(**SMALL | {"input": "items", "epochs": 1}).fit(path, progress=False)
    found = predicted(model, path, explain=True, plot=tmp_path / "p.png")
    assert [len(each["weights"]) for each in found[:2]] == [3, 2]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SettingsError, match=r"a picture is a \.png, \.svg, \.pdf file"):
        predicted(model, path, plot=tmp_path / "p.bmp")
    series = SequenceClassifier(**SMALL | {"epochs": 1}).fit(*waves(20))
    path = table(tmp_path / "w.csv", [("wave",), *[(" ".join(map(str, each[:, 0])),) for each in waves(8)[0]]])
    predicted(series, path, plot=tmp_path / "w.svg")
    assert "<svg" in (tmp_path / "w.svg").read_text("utf-8")
