"""Comparing classifiers: one split and budget for all, nothing trained twice, and what the table says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import DataError, SettingsError
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.comparing import Compared, split_examples, verdict, within_chance
from ostinato.tasks.examples import Example

TINY = ("--hidden-size", 8, "--epochs", 2, "-q")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: Any) -> str:
        command = [str(each) for each in arguments]
        LazyGroup("ostinato", COMMANDS).main(command, prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    words = ["awful fish", "lovely fish", "poor 鱼", "great 鱼"]
    path.write_text("text,label\n" + "".join(f"{words[at % 4]} {at % 7},{at % 2}\n" for at in range(120)))
    return path


def result(name: str, right: int, seconds: float, of: int = 200) -> Compared:
    hits = [at < right for at in range(of)]
    return Compared(name, "accuracy", right / of, right / of, 1000, seconds, 1000.0 / seconds, hits)


def test_what_a_table_says() -> None:
    rnn = ["lstm", "gru"]
    said = verdict([result("linear", 178, 2.0), result("lstm", 180, 100.0)], rnn)
    assert said.startswith("linear (accuracy 0.890) is as good as the best, lstm (0.900): on 200 test texts")
    assert "linear trains 50 times faster" in said and "a recurrent network brings nothing that shows" in said
    said = verdict([result("linear", 120, 2.0), result("lstm", 180, 100.0), result("gru", 179, 200.0)], rnn)
    assert said == "lstm is best, accuracy 0.900 on 200 test texts, and none as good trains faster."
    said = verdict([result("linear", 120, 2.0), result("lstm", 180, 100.0)], rnn)
    assert said.endswith("next is linear, 0.600, and the difference is more than chance.")
    said = verdict([result("linear", 180, 2.0), result("lstm", 120, 100.0)], rnn)
    assert "No recurrent network is as good here: for these data it is the wrong choice." in said
    assert verdict([result("lstm", 180, 1.0)], rnn) == "lstm: accuracy 0.900 on 200 test texts."


def test_chance_is_of_paired_differences() -> None:
    best = [True] * 900 + [False] * 100
    shifted = [False] * 10 + [True] * 900 + [False] * 90  # as many right, others
    assert within_chance(best, shifted) and within_chance(best, best)
    assert not within_chance(best, [True] * 880 + [False] * 120)


def test_the_same_models_on_the_same_split_and_none_twice(
    reviews: Path, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "compared"
    command = ("compare", "classifier", reviews, *TINY, "-o", folder)
    first = json.loads(call(*command, "--models", "linear,gru", "--json"))
    assert [row["name"] for row in first["results"]] == ["linear", "gru"] and first["verdict"]
    assert all(row["figure"] == "accuracy" and row["parameters"] > 0 for row in first["results"])
    again = json.loads(call(*command, "--models", "linear,mlp,gru,cnn", "--json"))
    rows = {row["name"]: row for row in again["results"]}
    assert [rows[row["name"]] for row in first["results"]] == first["results"] and set(rows) > {"mlp", "cnn"}

    def fit(*_: Any, **__: Any) -> None:
        raise AssertionError("trained anew")

    monkeypatch.setattr(Classifier, "fit", fit)
    table = call(*command, "--models", "gru,linear,mlp")
    assert table.splitlines()[0].split()[:2] == ["accuracy", "macro"] and table.count("*") >= 1
    (folder / "results" / "gru.json").unlink()  # trained, but not measured
    assert json.loads(call(*command, "--models", "gru", "--json"))["results"][0]["quality"] == rows["gru"]["quality"]
    with pytest.raises(SettingsError, match="holds a comparison of other data or settings"):
        call(*command, "--models", "gru", "--seed", 1)
    with pytest.raises(SettingsError, match="holds something else than a comparison"):
        call("compare", "classifier", reviews, "-o", tmp_path, *TINY)


def test_a_training_that_was_stopped_goes_on(reviews: Path, tmp_path: Path, call: Any) -> None:
    folder = tmp_path / "compared"
    command = ("compare", "classifier", reviews, *TINY, "-o", folder, "--models", "gru", "--json")
    (whole,) = json.loads(call(*command))["results"]
    (folder / "results" / "gru.json").unlink()
    manifest = folder / "gru" / "ostinato.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"status": "training"}))
    (resumed,) = json.loads(call(*command))["results"]
    assert resumed["quality"] == whole["quality"] and resumed["training_seconds"] == whole["training_seconds"]


def test_the_split(tmp_path: Path) -> None:
    examples = [Example(str(at), ("x",)) for at in range(1000)]
    (tmp_path / "a").mkdir()
    paths = split_examples(examples, None, (0.1, 0.2), 3, tmp_path / "a")
    parts = {part: [json.loads(line)["text"] for line in path.read_text().splitlines()] for part, path in paths.items()}
    assert sorted([text for part in parts.values() for text in part], key=int) == [str(at) for at in range(1000)]
    assert 70 < len(parts["validation"]) < 130 and 160 < len(parts["test"]) < 240
    given = split_examples(examples, examples[:5], (0.1, 0.2), 3, tmp_path / "a")
    assert len(given["test"].read_text().splitlines()) == 5
    with pytest.raises(DataError, match="no examples for"):
        split_examples(examples[:1], None, (0.1, 0.1), 3, tmp_path / "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "linear,lstn"), r"did you mean lstm\?"),
        (("--models", ","), "name one"),
        (("--epochs", 0), "epochs"),
    ],
)
def test_calls_that_are_wrong(arguments: Any, message: str, reviews: Path, call: Any) -> None:
    with pytest.raises(SettingsError, match=message):
        call("compare", "classifier", reviews, *arguments)
