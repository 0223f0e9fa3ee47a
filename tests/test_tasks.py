"""What every task that learns from examples must do. It is discovered: a task without tiny data here fails."""

from __future__ import annotations

import io
import math
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch

import ostinato
from ostinato.diagnostics.measure import measure
from ostinato.diagnostics.measurements import Measurements
from ostinato.errors import DataError, OstinatoError, SettingsError
from ostinato.recurrent import Recurrent
from ostinato.report.of_model import SECTIONS
from ostinato.report.page import document
from ostinato.report.subject import Subject
from ostinato.tasks import TASKS, task_class
from ostinato.tasks.supervised import SupervisedModel
from ostinato.training.signals import Interrupted

TINY: dict[str, Any] = {"epochs": 2, "batch_size": 8, "warmup_steps": 2, "seed": 3, "threads": 1, "device": "cpu"}


class Data(NamedTuple):
    """A file's name and content that a task can learn something from, and small settings."""

    name: str
    content: str | bytes
    settings: dict[str, Any]
    beside: Callable[[Path], None] = lambda _: None
    """Writes what else stands in its folder, such as the sounds or pictures that it names."""


def pictures(folder: Path) -> None:
    """Light ones and dark ones."""
    from PIL import Image

    for number in range(12):
        Image.new("L", (12, 9), 220 - number if number % 2 else 30 + number).save(folder / f"{number}.png")


def saved(array: np.ndarray) -> bytes:
    """What NumPy's file of an array holds."""
    np.save(data := io.BytesIO(), array)
    return data.getvalue()


REVIEWS = "text,label\n" + "a good fish,1\n一 good 鱼,1\na bad fish,0\n一 bad 鱼,0\n" * 6
SUBJECTS = ("cat", "dog", "cow", "fox", "owl", "猫")


def sounds(folder: Path) -> None:
    """Tones of some pitches, as flac."""
    for name, hz in (("cat", 440), ("猫", 1300)):
        soundfile.write(folder / f"{name}.flac", 0.5 * np.sin(2 * np.pi * hz * np.arange(4800) / 8000), 8000)


DATA = {
    "acceptability": Data(
        "cola.tsv",
        "".join(f"g\t1\t\tthe {each} sleeps .\ng\t0\t*\tsleeps {each} the .\n" for each in SUBJECTS),
        {"hidden_size": 8},
    ),
    "captioner": Data(
        "images.csv",
        "image,caption\n"
        + "".join(f"{n}.png,a dark one\n{n}.png,一 dark 猫\n{n + 1}.png,a light one\n" for n in range(0, 12, 2)),
        {"hidden_size": 8, "filters": (4, 4), "beam_size": 1},  # as validation searches
        pictures,
    ),
    "classifier": Data("reviews.csv", REVIEWS, {"hidden_size": 8}),
    "conditional-language-model": Data("reviews.csv", REVIEWS, {"hidden_size": 8}),
    "music-model": Data(
        "pieces.jsonl",
        "".join(
            f'{{"frames": [[{n}, {n + 4}], [], [{n + 7}], [{n}, {n + 12}]], "name": "猫"}}\n' for n in range(60, 72)
        ),
        {"hidden_size": 8, "step": "1", "transpose": 2, "bptt_steps": 3},
    ),
    "frame-predictor": Data(
        "clips.npy",
        saved(np.arange(4 * 30 * 12 * 12).reshape(4, 30, 12, 12).astype(np.uint8)),
        {"hidden_size": 3, "input_frames": 3, "target_frames": 2},
    ),
    "forecaster": Data(
        "sales.csv",
        "店,date,units,price\n"
        + "".join(
            f"{s},2024-{1 + d // 28:02}-{1 + d % 28:02},{(d * 3 + i) % 7 + i},{d % 5}\n"
            for i, s in enumerate("a猫")
            for d in range(28)
        )
        + "".join(f"{s},2024-01-{day},,1\n" for s in "a猫" for day in (29, 30, 31)),
        {"hidden_size": 8, "series": ["店"], "target": ["units"], "known": ["price"], "horizon": 3, "context": 8},
    ),
    "playlist": Data(
        "playlists.csv",
        "playlist,track,artist\n"
        + "".join(f"p{n},{'茶鱼猫cup'[(n + t) % 6]},{'ab'[(n + t) % 2]}\n" for n in range(24) for t in range(4)),
        {"hidden_size": 8, "embedding_size": 6},
    ),
    "recommender": Data(
        "events.csv",
        "user,item,ts\n"
        + "".join(f"u{n},{'茶鱼cup'[(n + t) % 5]},{100 * n + t}\n" for n in range(18) for t in range(4)),
        {"hidden_size": 8, "bptt_steps": 3},
    ),
    "sequence-classifier": Data(
        "clicks.csv",
        "label,sequence\n" + "buys,look 猫 cart\nleaves,look look out\nbuys,猫 look cart\nleaves,out\n" * 6,
        {"input": "items", "hidden_size": 8},
    ),
    "similarity": Data(
        "pairs.csv",
        "sentence_a,sentence_b,score\n" + "a cat sits,a cat sleeps,4.1\na dog runs,one fish,1.3\n猫 坐,猫 睡,3.9\n" * 8,
        {"hidden_size": 8},
    ),
    "tagger": Data(
        "train.conll",
        "the DT B-NP\ncat NN I-NP\nsits VB O\n\n猫 NN B-NP\n坐 VB O\n\n" * 10,
        {"hidden_size": 8},
    ),
    "transcriber": Data(
        "clips.csv", "audio,text\n" + "cat.flac,a cat\n猫.flac,一只猫\n" * 12, {"hidden_size": 8}, sounds
    ),
    "translator": Data(
        "train.tsv",
        "".join(f"{a} {b}\t{b.upper()} {a.upper()}\n" for a in "abcd猫" for b in "wxyz"),
        {"hidden_size": 8},
    ),
    "tree-classifier": Data(
        "trees.txt",
        "(3 (2 a) (4 (4 good) (2 fish)))\n(1 (2 a) (0 (0 bad) (2 鱼)))\n" * 12,
        {"hidden_size": 8},
    ),
}


def supervised() -> list[str]:
    """The tasks that the contract is about."""
    return [name for name in TASKS if issubclass(task_class(name), SupervisedModel)]


class Made(NamedTuple):
    """A trained model with its data."""

    model: Any
    folder: Path
    corpus: Path


@pytest.fixture(scope="module", params=supervised())
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    data = DATA[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    data.beside(folder)
    content = data.content if isinstance(data.content, bytes) else data.content.replace("\n", "\r\n").encode()
    (corpus := folder / data.name).write_bytes(content)
    model = task_class(request.param)(**TINY | data.settings)
    return Made(model.fit(corpus, validation=corpus, output=folder / "model", progress=False), folder / "model", corpus)


def predictions(model: Any, path: Path, **options: Any) -> list[Any]:
    return [each.row for each in model.predictions([path], model.PredictSettings(**options))]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.network.state_dict().items()}


def test_a_loaded_model_is_the_same(made: Made, tmp_path: Path) -> None:
    loaded = ostinato.load(made.folder)
    assert type(loaded) is type(made.model)
    figures = loaded.evaluate(made.corpus)
    assert figures == made.model.evaluate(made.corpus)
    assert figures["examples"] > 0 and math.isfinite(figures[made.model.criterion])
    again = ostinato.load(made.model.save(tmp_path / "again"))
    for name, value in weights(again).items():
        assert torch.equal(value, weights(made.model)[name]), name
    if hasattr(loaded, "predictions"):
        assert (
            predictions(loaded, made.corpus) == predictions(made.model, made.corpus) == predictions(again, made.corpus)
        )


def test_the_best_epoch_is_kept_and_its_figures_are_told(made: Made) -> None:
    found = [record for record in made.model.history if record["kind"] == "validation"]
    assert len(found) == 2
    best = [record for record in found if record["best"]][-1]
    metrics = made.model.metrics
    assert metrics["best_step"] == best["step"]
    name = made.model.criterion
    if made.model.task != "acceptability":  # whose border is settled afterwards
        assert metrics[f"validation_{name}"] == best[name]
    assert metrics[f"validation_{name}"] == pytest.approx(made.model.evaluate(made.corpus)[name], rel=1e-4)


def test_a_stopped_training_ends_in_the_same_bits(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ostinato.training.loop import Trainer

    step: Callable[..., None] = Trainer._step

    def stopping(self: Trainer, windows: list[Any]) -> None:
        if self.position.step == 3:
            raise KeyboardInterrupt  # as a kill between two checkpoints
        step(self, windows)

    data = DATA[made.model.task]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises((KeyboardInterrupt, Interrupted)):
            type(made.model)(**TINY | data.settings).fit(
                made.corpus, validation=made.corpus, output=tmp_path / "m", progress=False
            )
    resumed = type(made.model).resume(tmp_path / "m", progress=False)
    for name, value in weights(resumed).items():
        assert torch.equal(value, weights(made.model)[name]), name


def test_bad_files_are_told_and_lose_nothing(made: Made, tmp_path: Path) -> None:
    suffix, kind, small = made.corpus.suffix, type(made.model), TINY | DATA[made.model.task].settings
    (empty := tmp_path / f"empty{suffix}").write_text("")
    if isinstance(DATA[made.model.task].content, bytes):
        damaged, how = made.corpus.read_bytes()[:-9], r"wrong\.\w+: not an array that can be read"
    else:
        damaged, how = made.corpus.read_bytes() + b"\xff\xfe\n", r"wrong\.\w+: line \d+, byte [\d,]+: ff"
    (wrong := tmp_path / f"wrong{suffix}").write_bytes(damaged)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir() if path.is_file()}
    for path, told in ((empty, r"empty|no examples|holds? no"), (wrong, how)):
        with pytest.raises(DataError, match=told):
            kind(**small).fit(path, validation=made.corpus, output=made.folder, overwrite=True, progress=False)
        with pytest.raises(DataError, match=told):
            made.model.evaluate(path)
    with pytest.raises(OstinatoError, match=r"stands|overwrite|exists"):
        kind(**small).fit(made.corpus, output=made.folder, progress=False)
    assert {path.name: path.read_bytes() for path in made.folder.iterdir() if path.is_file()} == before


def test_an_unknown_setting_is_told(made: Made) -> None:
    with pytest.raises(OstinatoError, match=r"unknown setting 'hiden_size' \(did you mean hidden_size\?\)"):
        type(made.model)(hiden_size=3)


def test_bfloat16_trains(made: Made) -> None:
    data = DATA[made.model.task]
    model = type(made.model)(**TINY | data.settings | {"precision": "bf16", "epochs": 1})
    assert math.isfinite(model.fit(made.corpus, validation=made.corpus, progress=False).metrics["validation_loss"])


def test_its_recurrent_layers_are_measured(made: Made) -> None:
    if not any(isinstance(module, Recurrent) for module in made.model.network.modules()):
        assert made.model.task in ("tree-classifier", "frame-predictor")  # trees, and layers that have places
        with pytest.raises(SettingsError, match=f"a {made.model.task} has no recurrent network over time"):
            measure(made.model, made.corpus)
        return
    found = measure(made.model, made.corpus, rows=5)
    assert found.task == made.model.task and found.layers and found.steps > 0
    for layer in found.layers:
        assert layer.rows > 0 and (layer.gradient_by_lag >= 0).all() and layer.gradient_by_lag.max() > 0
    names = {layer.name for layer in found.layers}
    assert len(names) == len(found.layers)
    if made.model.task == "translator":
        assert {"encoder, layer 0, forward", "encoder, layer 0, backward", "decoder, layer 0"} <= names
    assert found.run is not None and set(found.run.gradient_by_lag) == names  # the same in the training itself
    assert Measurements.from_json(found.to_json()).to_json() == found.to_json()


def test_a_report_shows_what_the_task_has(made: Made) -> None:
    """With the validation data that the training kept, and with files; the network is afterwards as it was."""
    before = weights(made.model)
    for sources in ((), (str(made.corpus),)):
        subject = Subject(made.folder, sources, model=made.model)
        found = {section["name"]: section for section in document(subject, SECTIONS, "en")["sections"]}
        assert {"training", "tables"} <= found.keys()
        recurrent = any(isinstance(module, Recurrent) for module in made.model.network.modules())
        assert ("activations" in found) == ("gates" in found) == recurrent
        assert ("confusion" in found) == hasattr(made.model, "confusion")
        if recurrent:
            read = found["activations"]["data"]
            pieces = read["pieces"]
            assert all(len(b64decode(each["levels"])) == each["units"] * len(pieces) for each in read["layers"])
            assert any(mark in piece for piece in pieces for mark in ("猫", "鱼", "C5", " 6"))
    assert all(torch.equal(value, before[name]) for name, value in weights(made.model).items())
