"""What every task that learns from examples must do. It is discovered: a task without tiny data here fails."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
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
    content: str
    settings: dict[str, Any]
    beside: Callable[[Path], None] = lambda _: None
    """Writes what else stands in its folder, such as the sounds or pictures that it names."""


REVIEWS = "text,label\n" + "a good fish,1\n一 good 鱼,1\na bad fish,0\n一 bad 鱼,0\n" * 6
SUBJECTS = ("cat", "dog", "cow", "fox", "owl", "猫")

DATA = {
    "acceptability": Data(
        "cola.tsv",
        "".join(f"g\t1\t\tthe {each} sleeps .\ng\t0\t*\tsleeps {each} the .\n" for each in SUBJECTS),
        {"hidden_size": 8},
    ),
    "classifier": Data("reviews.csv", REVIEWS, {"hidden_size": 8}),
    "conditional-language-model": Data("reviews.csv", REVIEWS, {"hidden_size": 8}),
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
    (corpus := folder / data.name).write_bytes(data.content.replace("\n", "\r\n").encode())
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
    (wrong := tmp_path / f"wrong{suffix}").write_bytes(made.corpus.read_bytes() + b"\xff\xfe\n")
    before = {path.name: path.read_bytes() for path in made.folder.iterdir() if path.is_file()}
    for path, told in ((empty, r"empty|no examples|holds? no"), (wrong, r"wrong\.\w+: line \d+, byte \d+: ff")):
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
    if made.model.task == "tree-classifier":
        with pytest.raises(SettingsError, match="a tree-classifier has no recurrent network over time"):
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
            assert any("猫" in piece or "鱼" in piece for piece in pieces)
    assert all(torch.equal(value, before[name]) for name, value in weights(made.model).items())
