"""`diagnose` in Python and on the command line: what is told, in which form, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ostinato
from ostinato import LanguageModel
from ostinato.cli import main
from ostinato.diagnostics import diagnosis as diagnosis_module
from ostinato.diagnostics.diagnosis import Diagnosis
from ostinato.diagnostics.measurements import Measurements
from ostinato.errors import DataError, MissingExtra, SettingsError, TrainingError
from ostinato.training.signals import Interrupted
from tests.conftest import make_text
from tests.hand_made import measured, run

SMALL: dict[str, Any] = {
    "level": "char", "hidden_size": 16, "num_layers": 1, "batch_size": 8, "bptt_steps": 32, "epochs": 4, "dropout": 0.0,
    "learning_rate": 0.01, "warmup_steps": 5, "log_every": 5, "device": "cpu", "seed": 1,
}  # fmt: skip


Command = Callable[..., Any]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`ostinato ...` in this process, which has torch already: its output, and its exit status as expected."""

    def call(*arguments: Any, status: int = 0, **environment: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["ostinato", *map(str, arguments)])
        for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        assert (left.value.code or 0) == status, told.err
        return SimpleNamespace(stdout=told.out, stderr=told.err)

    return call


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnose") / "corpus.txt"
    path.write_text(make_text(200))
    return path


@pytest.fixture(scope="module")
def sick(text: Path) -> Path:
    """Logistic units over many steps: its gradient vanishes."""
    folder = text.parent / "sick"
    LanguageModel(**SMALL, cell="sigmoid-rnn").fit(text, output=folder, progress=False)
    return folder


def test_a_model_is_measured_and_judged(sick: Path, text: Path) -> None:
    found = ostinato.diagnose(sick, text)
    assert isinstance(found, ostinato.Diagnosis)
    assert "vanishing-gradient" in [finding.name for finding in found.verdict]
    assert found.gradient_by_lag["layer 0"][20] < 1e-3 * found.gradient_by_lag["layer 0"][0]
    assert "The gradient vanishes (layer 0, sigmoid-rnn)" in str(found)
    assert "梯度消失（layer 0，sigmoid-rnn）" in found.said("zh")
    assert found.measurements.unlearned is not None and found.measurements.unlearned.tokens > 1000
    again = Diagnosis(Measurements.from_json(found.measurements.to_json()))
    assert str(again) == str(found)
    model = ostinato.load(sick)
    assert [each.name for each in ostinato.diagnose(model, text).verdict] == [each.name for each in found.verdict]


def test_figures(sick: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ostinato.diagnose(sick, text)
    found.plot_gradient_by_lag().savefig(tmp_path / "lags.svg")
    found.plot_jacobian().savefig(tmp_path / "jacobian.svg")
    assert "half-life" in (tmp_path / "lags.svg").read_text()
    assert (tmp_path / "jacobian.svg").stat().st_size > 10_000
    monkeypatch.setattr(diagnosis_module, "find_spec", {}.get)
    with pytest.raises(MissingExtra, match=r"ostinato\[plot\]"):
        found.plot_jacobian()


def test_without_files_the_validation_data_are_measured_and_else_the_record(
    command: Command, sick: Path, tmp_path: Path
) -> None:
    found = ostinato.diagnose(sick)
    assert found.verdict[0].name == "vanishing-gradient" and found.gradient_by_lag
    assert "Measured on the validation data" in command("diagnose", sick, "--lang", "en").stdout
    shutil.copytree(sick, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "run")
    for model in (tmp_path / "m", ostinato.load(sick)):
        found = ostinato.diagnose(model)
        assert found.gradient_by_lag == {} and found.measurements.run is not None
    with pytest.raises(ValueError, match="give held-out data"):
        found.plot_jacobian()
    told = command("diagnose", tmp_path / "m", "--lang", "en").stdout
    assert "name held-out files" in told and "vanish" not in told
    assert "仅根据训练记录" in command("diagnose", tmp_path / "m", "--lang", "zh").stdout


def test_a_training_that_broke_off_is_judged(command: Command, text: Path, tmp_path: Path) -> None:
    settings = SMALL | {"learning_rate": 1e12, "clip_norm": None, "optimizer": "sgd", "cell": "relu-rnn"}
    with pytest.raises(TrainingError):
        LanguageModel(**settings).fit(text, output=tmp_path / "m", progress=False)
    assert not (tmp_path / "m" / "weights.safetensors").exists()
    found = ostinato.diagnose(tmp_path / "m", text)
    assert "not-finite" in [finding.name for finding in found.verdict] and len(found.measurements.layers) == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "m").rglob("*")}
    assert "not finite" in command("diagnose", tmp_path / "m", text, "--lang", "en").stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "m").rglob("*")} == before
    shutil.rmtree(tmp_path / "m" / "run")
    assert "neither weights nor a checkpoint" in command("diagnose", tmp_path / "m", status=1).stderr


def test_on_the_command_line(command: Command, sick: Path, text: Path) -> None:
    english = command("diagnose", sick, text, LC_ALL="en_US.UTF-8").stdout
    assert "The gradient vanishes" in english and "source: Bengio" in english and "--cell lstm" in english
    chinese = command("diagnose", sick, text, LC_ALL="zh_CN.UTF-8").stdout
    assert "梯度消失" in chinese and "出处" in chinese and "The gradient" not in chinese
    assert command("diagnose", sick, text, "--lang", "zh", LC_ALL="C.UTF-8").stdout == chinese
    found = json.loads(command("diagnose", sick, text, "--json").stdout)
    assert set(found) == {"model", "task", "verdict", "measurements"}
    assert found["task"] == "language-model" and found["verdict"][0]["name"]
    again = Measurements.from_json(json.dumps(found["measurements"]))
    assert [finding.plain() for finding in Diagnosis(again).verdict] == found["verdict"]


def test_the_cures_are_tried_and_the_model_is_left_alone(command: Command, sick: Path, text: Path) -> None:
    before = {path: path.read_bytes() for path in sick.rglob("*") if path.is_file()}
    found = command("diagnose", sick, text, "--try", "--steps", 40, "--json")
    results = json.loads(found.stdout)["tried"]
    assert results[0]["name"] == "as it was" and results[0]["settings"] == {}
    names = [each["name"] for each in results]
    assert {"--cell lstm", "--cell gru", "--layer-norm"} <= set(names)
    assert all(each["steps"] == 40 and each["loss"] > 0 and each["seconds"] > 0 for each in results)
    assert results[names.index("--cell lstm")]["half_life_steps"] > results[0]["half_life_steps"]
    assert "2 of" in found.stderr
    assert {path: path.read_bytes() for path in sick.rglob("*") if path.is_file()} == before


def test_a_signal_ends_the_trial(command: Command, sick: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise Interrupted(3, signal.SIGTERM, saved=True)

    monkeypatch.setattr(LanguageModel, "fit_again", stopped)
    told = command("diagnose", sick, text, "--try", "--steps", 2, status=128 + signal.SIGTERM).stderr
    assert "stopped while trying as it was; 0 of" in told and "--resume" not in told


def test_what_was_tried_before_a_signal_is_told(
    command: Command, sick: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = LanguageModel.fit_again, []

    def stopped_later(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise Interrupted(3, signal.SIGTERM, saved=True)
        return whole(*arguments, **named)

    monkeypatch.setattr(LanguageModel, "fit_again", stopped_later)
    found = command("diagnose", sick, text, "--try", "--steps", 2, status=128 + signal.SIGTERM)
    rows = found.stdout.splitlines()
    assert len(rows) == 2 and rows[0].startswith("change") and rows[1].startswith("as it was")
    assert "1 of" in found.stderr


def test_data_that_are_gone_are_asked_for(
    command: Command, sick: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ostinato.diagnostics.trying.cures.__defaults__", (1,))
    shutil.copytree(sick, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "run")
    told = command("diagnose", tmp_path / "m", text, "--try", "--steps", 2, status=1).stderr
    assert "give --data FILE (it was trained on corpus.txt)" in told
    assert "no such file" in command(
        "diagnose", tmp_path / "m", text, "--try", "--data", tmp_path / "none.txt", status=1
    ).stderr.lower().replace("does not exist", "no such file")
    told = command("diagnose", tmp_path / "m", text, "--try", "--steps", 2, "--data", text, "--lang", "en", "-q")
    assert "as it was" in told.stdout and "half-life steps" in told.stdout and told.stderr == ""


def test_what_cannot_be_is_refused(command: Command, sick: Path, text: Path, tmp_path: Path) -> None:
    assert "expected en or zh" in command("diagnose", sick, "--lang", "fr", status=2).stderr
    assert "--minutes: is of --try" in command("diagnose", sick, "--minutes", 1, status=2).stderr
    assert "no such folder" in command("diagnose", tmp_path / "none", status=1).stderr
    assert "none.txt" in command("diagnose", sick, tmp_path / "none.txt", status=1).stderr
    (tmp_path / "short.txt").write_text("a")
    assert "too short" in command("diagnose", sick, tmp_path / "short.txt", status=1).stderr
    ngram = ostinato.NGramLanguageModel(order=2).fit(text, output=tmp_path / "ngram", progress=False)
    with pytest.raises(SettingsError, match="no recurrent network"):
        ostinato.diagnose(ngram, text)
    assert "no recurrent network" in command("diagnose", tmp_path / "ngram", status=2).stderr


def test_the_same_numbers_are_trained_on(sick: Path, tmp_path: Path) -> None:
    """With the same settings a second training on them ends in the same bits."""
    again = LanguageModel(**SMALL, cell="sigmoid-rnn").fit_again(sick, tmp_path / "again", progress=False)
    first = ostinato.load(sick)
    for (name, weight), other in zip(first.network.named_parameters(), again.network.parameters(), strict=True):
        assert np.array_equal(weight.detach(), other.detach()), name
    assert json.loads((tmp_path / "again" / "ostinato.json").read_text())["data"] == first.data
    with pytest.raises(ostinato.OstinatoError, match="a model stands there"):
        LanguageModel(**SMALL).fit_again(sick, tmp_path / "again", progress=False)


def test_reading_of_a_table() -> None:
    from ostinato.diagnostics.trying import Tried, cures, reading, table

    before = Tried("as it was", {}, 2.0, 0.5, 10.0, 100, [])
    better = Tried("--cell lstm", {"cell": "lstm"}, 1.5, 9.0, 15.0, 100, [])
    said = reading([before, better])
    assert said.en == (
        "--cell lstm helps most: 1.5 nats instead of 2, 25 % less; the half-life is 9 instead of 0.5 steps, in 1.5 "
        "times the time."
    )
    assert "降低 25 %" in said.zh
    same = Tried("--clip-norm 1", {"clip_norm": 1.0}, 1.99, 0.5, 10.0, 100, [])
    assert "None of these helps" in reading([before, same]).en
    broken = Tried("as it was", {}, float("nan"), float("nan"), 1.0, 3, ["training-broke-off"])
    assert "gave no loss at all" in reading([broken, better]).en
    lines = table([before, better], "en").splitlines()
    assert [line.split()[0] for line in lines] == ["change", "as", "--cell"] and "1.5000*" in lines[2]
    assert "保持原样" in table([before, better], "zh")
    assert "no change to try" in reading([before]).en
    changes = cures(Diagnosis(measured(run=run(returns=1, clip_rate=np.ones(20)))))
    assert len({each.option for each in changes}) == len(changes) > 2


def test_a_classifier_is_judged_too(command: Command, tmp_path: Path) -> None:
    lines = [f"{at % 2}\t{'good' if at % 2 else 'bad'} {'word ' * 40}\n" for at in range(60)]
    (tmp_path / "texts.tsv").write_text("label\ttext\n" + "".join(lines))
    settings = {"cell": "sigmoid-rnn", "bidirectional": False, "pooling": "last", "hidden_size": 8, "epochs": 1}
    model = ostinato.Classifier(**settings, batch_size=8, log_every=2, device="cpu")
    model.fit(tmp_path / "texts.tsv", output=tmp_path / "m", progress=False)
    found = ostinato.diagnose(tmp_path / "m", tmp_path / "texts.tsv")
    (first,) = [each for each in found.verdict if each.name == "vanishing-gradient"]
    assert {"--batch-norm 100", "--layer-norm", "--cell lstm"} <= {each.option for each in first.changes}
    assert found.measurements.unlearned is None
    tried = command(
        "diagnose", tmp_path / "m", tmp_path / "texts.tsv", "--try", "--steps", 3, "--json", "-q"
    )  # fmt: skip
    names = [each["name"] for each in json.loads(tried.stdout)["tried"]]
    assert names[0] == "as it was" and "--batch-norm 100" in names


def test_data_errors_are_plain(sick: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        ostinato.diagnose(sick, tmp_path / "nothing.txt")
