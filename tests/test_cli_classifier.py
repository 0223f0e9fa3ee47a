"""Classifiers on the command line: every format, every model's options, whole files in and out."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import BundleError, DataError, MissingExtra, SettingsError
from ostinato.records import RecordReader
from ostinato.tasks.examples import ExampleReader, ExampleSettings

ROWS = [(f"{'lovely' if at % 2 else 'awful'} fish {at % 7}, 第{at % 3}天", str(4 * (at % 2) + 1)) for at in range(60)]
TINY = ("--hidden-size", 8, "--embedding-size", 8, "--batch-size", 8, "--lr", 0.03, "--epochs", 5, "--dropout", 0, "-q")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: Any) -> str:
        command = [str(each) for each in arguments]
        LazyGroup("ostinato", COMMANDS).main(command, prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    return run


def write(path: Path, rows: list[tuple[str, str]], end: str = "\n") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerows([("id", "review", "stars"), *((at, *row) for at, row in enumerate(rows))])
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    reviews = write(folder / "reviews.csv", ROWS)
    command = ["fit", "classifier", reviews, "--text", "review", "--label", "stars", "-o", folder / "m", *TINY]
    LazyGroup("ostinato", COMMANDS).main([str(each) for each in command], prog_name="ostinato", standalone_mode=False)
    return folder


def test_from_a_table_to_a_table(fitted: Path, tmp_path: Path, call: Any) -> None:
    new = write(tmp_path / "new.csv", [(text, "?") for text, _ in ROWS[:9]], end="\r\n")
    call("predict", fitted / "m", new, "--text", "review", "-o", tmp_path / "out.csv", "-q")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["id", "review", "stars", "label", "score"]
    assert [row["review"] for row in found] == [text for text, _ in ROWS[:9]]
    assert [row["label"] for row in found] == [label for _, label in ROWS[:9]]
    assert all(0.5 <= float(row["score"]) <= 1 for row in found)
    lines = call("predict", fitted / "m", new, "--text", "review", "--explain").splitlines()
    assert len(lines) == 9 and "awful" in lines[0].split("\t")[2]
    (row, *_) = map(
        json.loads, call("predict", fitted / "m", new, "--text", "review", "--explain", "--json").splitlines()
    )
    assert [word[0] for word in row["words"]][:3] == ["awful", "fish", "0"] and row["words"][0][1:3] == [0, 5]


def test_evaluation_prints_a_confusion_matrix(fitted: Path, call: Any) -> None:
    figures = json.loads(call("evaluate", fitted / "m", fitted / "reviews.csv", "--json"))
    assert figures["confusion"] == {"1": {"1": 30}, "5": {"5": 30}} and figures["mcc"] == 1.0
    told = call("evaluate", fitted / "m", fitted / "reviews.csv")
    assert "right \\ told" in told and told.splitlines()[-1].split() == ["5", "0", "30"]


def test_resuming(fitted: Path, call: Any) -> None:
    before = json.loads((fitted / "m" / "ostinato.json").read_text())["metrics"]["epochs"]
    figures = json.loads(call("fit", "classifier", "--resume", fitted / "m", "--epochs", 7, "-q", "--json"))
    assert before == 5 < figures["epochs"] <= 7 and figures["validation_accuracy"] == 1.0
    with pytest.raises(SettingsError, match="leave --model out"):
        call("fit", "classifier", "--resume", fitted / "m", "--model", "gru")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--model", "linear", "--hidden-size", 8),
            "hidden_size: model = linear has no such setting; it is of recurrent",
        ),
        (("--model", "gru", "--min-df", 2), "min_df: model = gru has no such setting; it is of linear"),
        (("--model", "gru", "--cell", "lstm"), "cell = 'lstm': model = gru stands for cell = 'gru'"),
        (("--model", "mlp", "--cell", "gru"), "cell: is of network = recurrent"),
        (
            (
                "--model",
                "grue",
            ),
            r"model = 'grue': one of recurrent, .*did you mean gru\?",
        ),
        (("--class-weight", "1=x"), "class_weight = "),
        (("--text", "review"), "in which column is the label"),
        (("--text", "review", "--label", "star"), r"line 2: no column 'star' .*did you mean stars\?"),
        (("--label", "stars"), r"line 2: in which column is the text\?"),
    ],
)
def test_a_call_that_is_wrong(arguments: Any, message: str, fitted: Path, tmp_path: Path, call: Any) -> None:
    with pytest.raises((SettingsError, DataError), match=message):
        call("fit", "classifier", fitted / "reviews.csv", "-o", tmp_path / "m", *arguments, "-q")
    assert not (tmp_path / "m").exists()


def test_an_output_that_stands_is_kept(fitted: Path, call: Any) -> None:
    with pytest.raises(BundleError, match="--overwrite replaces it, --resume"):
        call(
            "fit",
            "classifier",
            fitted / "reviews.csv",
            "--text",
            "review",
            "--label",
            "stars",
            "-o",
            fitted / "m",
            "-q",
        )


# formats


def parquet(path: Path, columns: dict[str, list[Any]], rows: int = 7) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


def test_parquet_and_folders_are_as_good_as_csv(tmp_path: Path, call: Any) -> None:
    columns = {"review": [text for text, _ in ROWS], "stars": [int(label) for _, label in ROWS]}
    table = parquet(tmp_path / "reviews.parquet", columns)
    for at, (text, label) in enumerate(ROWS):
        (tmp_path / "texts" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / label / f"{at:02}.txt").write_bytes(text.encode() + b"\r\n")
    wanted = {(text, (label,)) for text, label in ROWS}
    settings = ExampleSettings.checked({"text": "review", "label": "stars"})
    assert set(ExampleReader([table], settings).examples()) == wanted
    files = sorted((tmp_path / "texts").rglob("*.txt"))
    assert set(ExampleReader(files, ExampleSettings.checked({})).examples()) == wanted
    assert ExampleReader([table], settings).fingerprint()["files"] == ("reviews.parquet",)
    call("fit", "classifier", tmp_path / "texts", "-o", tmp_path / "m", *TINY)
    figures = json.loads(call("evaluate", tmp_path / "m", tmp_path / "texts", "--json"))
    assert figures["accuracy"] == 1.0 and figures["examples"] == 60
    found = call("predict", tmp_path / "m", table, "--text", "review", "--json").splitlines()
    assert json.loads(found[1])["label"] == "5" and json.loads(found[1])["stars"] == 5
    told = call("predict", tmp_path / "m", tmp_path / "texts" / "1", "--format", "folders", "--json").splitlines()
    assert len(told) == 30 and json.loads(told[0])["given_label"] == "1" == json.loads(told[0])["label"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", None], "label": ["x", "y"]}, r"line 2: column 'text': expected text, found null"),
        ({"text": ["a", "b"], "label": ["x", None]}, r"line 2: expected a label, found null"),
        ({"text": ["a", "b"]}, r"line 1: in which column is the label"),
    ],
)
def test_rows_of_parquet_that_are_wrong(columns: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=r"a\.parquet: " + message):
        list(ExampleReader([path], ExampleSettings.checked({})).examples())


def test_parquet_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"a\.parquet: not Parquet, or damaged"):
        list(RecordReader([tmp_path / "a.parquet"]).records())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ostinato\[data\]'"):
        list(RecordReader([tmp_path / "a.parquet"]).records())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty: expected rows"),
        (b"label,text\n", "no training examples|nothing to tell apart|are empty|no examples"),
        (b"label,text\nx,a\ny\n", r"reviews\.csv: line 3: 1 columns, but there are 2"),
        (b"label,label\nx,a\n", "two columns have one name"),
        (b"label,text\nx,a\ny,\xff\n", r"byte \d+: ff is not utf-8"),
        (b"label,text\nx,a\n,b\n", "line 3: there is no label"),
    ],
)
def test_files_that_are_wrong(content: bytes, message: str, tmp_path: Path, call: Any) -> None:
    (tmp_path / "reviews.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        call("fit", "classifier", tmp_path / "reviews.csv", "-o", tmp_path / "m", *TINY)
    assert not (tmp_path / "m").exists()


def test_a_line_of_megabytes_is_one_text(fitted: Path, tmp_path: Path, call: Any) -> None:
    (tmp_path / "long.txt").write_text("awful fish 3 " * 80_000 + f"\n{ROWS[1][0]}\n\n")
    lines = call("predict", fitted / "m", tmp_path / "long.txt").splitlines()
    assert len(lines) == 3 and lines[1].startswith("5\t")
