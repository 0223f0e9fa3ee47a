"""`ostinato predict`: a task's options, and outputs of every form."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ostinato import LinearClassifier
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.cli.progress import count_lines, counted
from ostinato.errors import BundleError, DataError, SettingsError
from tests.test_cli import ostinato


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    (folder / "train.csv").write_text("label,text\n" + 'good,"fine, 好"\nbad,"a stale, 旧 fish"\n' * 20)
    LinearClassifier().fit(folder / "train.csv", output=folder / "model", progress=False)
    return folder / "model"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    def call(*arguments: Any) -> tuple[str, str]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr()

    return call


def test_outputs(model: Path, tmp_path: Path, run: Any) -> None:
    (new := tmp_path / "new.txt").write_text('fine\r\n"stale", 旧\r\n')
    printed, _ = run("predict", model, new)
    assert [line.split("\t")[0] for line in printed.splitlines()] == ["good", "bad"]
    rows = [json.loads(line) for line in run("predict", model, new, "--json")[0].splitlines()]
    assert [row["text"] for row in rows] == ["fine", '"stale", 旧']
    for suffix in (".jsonl", ".csv", ".tsv", ".txt"):
        out, told = run("predict", model, new, "-o", path := tmp_path / f"out{suffix}")
        assert out == "" and f"out{suffix}: 2 in" in told
        text = path.read_text("utf-8")
        if suffix == ".jsonl":
            assert [json.loads(line) for line in text.splitlines()] == rows
        elif suffix == ".txt":
            assert text == printed
        else:
            found = list(csv.DictReader(text.splitlines(), delimiter="," if suffix == ".csv" else "\t"))
            assert [row["text"] for row in found] == ["fine", '"stale", 旧']
            assert [row["label"] for row in found] == ["good", "bad"]
    assert run("predict", model, new, "-q", "-o", tmp_path / "quiet.csv")[1] == ""


def test_options_are_the_tasks(model: Path, tmp_path: Path, run: Any) -> None:
    help_text = ostinato("predict", model, "--help").stdout
    assert "--top" in help_text and "Options of a linear-classifier" in help_text
    assert "--top" not in ostinato("predict", "--help").stdout
    (new := tmp_path / "new.txt").write_text("fine\n")
    assert run("predict", "--top", 2, model, new)[0].count("\t") == 3
    with pytest.raises(SettingsError, match=r"top = '?0"):
        run("predict", model, new, "--top", 0)
    assert "No such option: --beam" in ostinato("predict", model, new, "--beam", 3, status=2).stderr
    with pytest.raises(BundleError, match="nowhere"):
        run("predict", tmp_path / "nowhere", new)


def test_a_failure_leaves_what_stood_there(model: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "out.csv").write_text("mine")
    (bad := tmp_path / "bad.txt").write_bytes(b"fine\n" * 5000 + b"\xff\n")
    with pytest.raises(DataError, match=r"bad\.txt"):
        run("predict", model, bad, "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "out.csv"]


def test_counting(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("1\n2\n")
    (tmp_path / "b.txt").write_text("3\n")
    assert count_lines([tmp_path / "a.txt", tmp_path / "b.txt"]) == 3
    assert count_lines([tmp_path / "a.txt.gz"]) is None
    monkeypatch.setattr("ostinato.cli.progress._LINE_EVERY_SECONDS", 0.0)
    assert list(counted("ab", 2, "out", quiet=False)) == ["a", "b"]
    assert "out: 2 of about 2, " in capsys.readouterr().err
