"""The tree classifier: what it learns, tells and keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato import TreeClassifier
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.codecs.trees import Tree, read_brackets
from ostinato.errors import DataError, SettingsError
from ostinato.tasks.supervised import Unusable
from ostinato.tasks.tree_examples import ReadTree

GOOD, BAD = ("good", "fine", "bright"), ("bad", "dull", "stale")


def sentence(rng: np.random.Generator) -> tuple[str, int]:
    """A tree whose label a bag of words cannot tell: (not X) and Y, with `not` before one of both."""
    sides, value = [], 0
    for _ in range(2):
        good, negated = bool(rng.integers(2)), bool(rng.integers(2))
        word = (GOOD if good else BAD)[int(rng.integers(3))]
        sign = 1 if good != negated else -1
        leaf = f"({1 + good * 2} {word})"
        sides.append(f"({2 + sign} (2 not) {leaf})" if negated else leaf)
        value += sign
    label = 2 + value
    return f"({label} {sides[0]} ({2 + sign} (2 and) {sides[1]}))", label


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, rng = tmp_path_factory.mktemp("trees"), np.random.default_rng(0)
    found = {}
    for name, count in (("train", 300), ("dev", 60), ("test", 60)):
        found[name] = folder / f"{name}.txt"
        found[name].write_text("".join(sentence(rng)[0] + "\n" for _ in range(count)))
    return found


SMALL: dict[str, Any] = {
    "hidden_size": 16, "dropout": 0.0, "epochs": 10, "learning_rate": 0.02, "batch_size": 10, "seed": 1, "threads": 1
}  # fmt: skip


@pytest.fixture(scope="module")
def model(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    TreeClassifier(**SMALL).fit(files["train"], files["dev"], folder, progress=False)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: Any) -> tuple[str, str]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr()

    return call


@pytest.mark.parametrize("cell", ["recursive", "rntn", "child-sum"])
def test_every_cell_learns_what_order_says(cell: str, files: dict[str, Path]) -> None:
    options = SMALL | {"binary": True} | ({"hidden_size": 8} if cell == "rntn" else {})
    if cell == "child-sum":  # children in no order: `not` is found all the same
        options |= {"learn_from": "root"}
    model = TreeClassifier(cell=cell, **options).fit(files["train"], files["dev"], progress=False)
    assert model.evaluate(files["test"])["root_accuracy"] > 0.85


def test_figures_are_counted_as_they_should_be(model: Path, files: dict[str, Path]) -> None:
    loaded = ostinato.load(model)
    figures = loaded.evaluate(files["test"], batch_size=7)
    given = [tree for tree, _ in read_brackets([files["test"].read_text()])]
    found = list(loaded.predict(given))
    roots = [tree.labels[-1] == each.label for tree, each in zip(given, found, strict=True)]
    nodes = [
        a == b
        for tree, each in zip(given, found, strict=True)
        for a, b in zip(tree.labels, each.tree.labels, strict=True)
    ]
    assert figures["root_accuracy"] == pytest.approx(np.mean(roots)) and np.mean(roots) > 0.95
    assert figures["node_accuracy"] == pytest.approx(np.mean(nodes)) and figures["roots"] == 60
    sided = [tree for tree in given if tree.labels[-1] != "2"]
    sums = []
    for tree in sided:
        batch = loaded.batch([loaded.encode(ReadTree(tree, Path(), 1))])
        with torch.no_grad():
            p = loaded.network.head.log_probabilities(loaded.network(batch.words, batch.shape))[-1].exp()
        sums.append((p[3:].sum() > p[:2].sum()) == (int(tree.labels[-1] or 0) > 2))
    assert figures["root_binary_accuracy"] == pytest.approx(np.mean(sums))
    assert loaded.evaluate(files["test"])["loss"] == pytest.approx(figures["loss"], rel=1e-5)


def test_two_labels_leave_out_the_middle(files: dict[str, Path]) -> None:
    model = TreeClassifier(binary=True, **SMALL).fit(files["train"], files["dev"], progress=False)
    figures = model.evaluate(files["test"])
    middle = sum(text.startswith("(2") for text in files["test"].read_text().splitlines())
    assert model.codec.labels == ("negative", "positive") and 0 < middle < 60
    assert figures["roots"] == 60 - middle and figures["root_accuracy"] > 0.95
    assert "root_binary_accuracy" not in figures
    assert [each.label for each in model.predict(["(_ (_ not) (_ bad))", "dull"])] == ["positive", "negative"]


def test_a_batch_does_not_change_what_is_said(model: Path) -> None:
    loaded = ostinato.load(model)
    rng = np.random.default_rng(5)
    texts = [sentence(rng)[0] for _ in range(70)] + ["good and not dull", "(_ unseen)"]
    together = list(loaded.predict(texts))
    for text, found in zip(texts, together, strict=True):
        (alone,) = loaded.predict([text])
        assert (alone.label, alone.tree) == (found.label, found.tree)
        assert alone.score == pytest.approx(found.score, abs=1e-5)


def test_a_resumed_training_ends_in_the_same_bits(files: dict[str, Path], tmp_path: Path) -> None:
    options = SMALL | {"epochs": 2, "dropout": 0.3, "optimizer": "adagrad", "schedule": "constant", "warmup_steps": 0}
    whole = TreeClassifier(**options).fit(files["train"], files["dev"], progress=False)
    TreeClassifier(**options | {"epochs": 1}).fit(files["train"], files["dev"], tmp_path / "m", progress=False)
    resumed = TreeClassifier.resume(tmp_path / "m", progress=False, epochs=2)
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_prediction_of_files(model: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "trees.txt").write_bytes(b"(_ (_ not) (_ good))\r\n\r\n(_ (_ bad)\r\n (_ bad))\r\n")
    out, told = run("predict", model, tmp_path / "trees.txt")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["1", "0"] and "no parse" not in told
    (tmp_path / "plain.txt").write_text("not good\n\nbad, bad\n")
    out, told = run("predict", model, tmp_path / "plain.txt", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["tree_from"] for row in rows] == ["text", "text"] and rows[0]["text"] == "not good"
    assert rows[0]["label"] == "1" and "plain.txt: plain text: each line gets a tree" in told and "no parse" in told
    ((tree, _),) = read_brackets([rows[1]["tree"]])
    assert tree.text() == "bad , bad" and None not in tree.labels
    out, _ = run("predict", model, tmp_path / "trees.txt", "--nodes")
    assert out.splitlines()[0].endswith(" good))") and out.splitlines()[0].split("\t")[2].startswith("(1 ")
    (tmp_path / "empty.txt").write_text("")
    assert run("predict", model, tmp_path / "empty.txt")[0] == ""
    with pytest.raises(DataError, match=r"broken.txt: line 2, column 1: this bracket is never closed"):
        (tmp_path / "broken.txt").write_text("(1 a)\n(1 (1 a)")
        run("predict", model, tmp_path / "broken.txt")


def test_a_line_of_ten_megabytes(model: Path, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "long.txt"
    word = "x" * (10 << 20)
    path.write_text(f"(1 (1 {word}) (1 good))\n(1 good)\n")
    out, _ = run("predict", model, path)
    assert len(out.splitlines()) == 2


def test_what_cannot_be_learned_from_is_counted_or_told(files: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    odd = tmp_path / "odd.txt"
    odd.write_text("(7 (2 good) (3 bad))\n(_ (_ good) (_ bad))\n(3 (1 a) (2 b) (1 c))\n(3 good)\n")
    model = TreeClassifier(**SMALL | {"epochs": 1}).fit(files["train"], odd)
    told = capsys.readouterr().err
    assert "validation: 1 examples passed over: the label '7' is not among those learned (0, 1, 2, 3, 4)" in told
    assert "validation: 1 examples passed over: no label at any node" in told
    assert "1 trees have nodes of more than two children" in told and model.data["validation_examples"] == 2
    with pytest.raises(Unusable):
        model.encode(next(iter(model.reader([odd]).examples())))
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    with pytest.raises(DataError, match="corpus is empty"):
        TreeClassifier(**SMALL).fit(empty, progress=False)
    with pytest.raises(DataError, match="no examples"):
        model.evaluate(empty)
    plain = tmp_path / "plain.txt"
    plain.write_text("just words\n")
    with pytest.raises(DataError, match=r"plain.txt: line 1: expected a tree, such as"):
        TreeClassifier(**SMALL).fit(plain, progress=False)
    with pytest.raises(SettingsError, match="did you mean tree-lstm"):
        TreeClassifier(cell="treelstm")
    with pytest.raises(SettingsError, match="must agree"):
        TreeClassifier(cell="rntn", embedding_size=3, hidden_size=4).fit(files["train"], progress=False)
    with pytest.raises(DataError, match="found one"):
        model.predict("good")
    with pytest.raises(DataError, match="expected a tree or a text, found int"):
        list(model.predict([3]))  # pyright: ignore[reportArgumentType]


def test_trees_of_any_width_and_chinese(tmp_path: Path) -> None:
    lines = [
        '{"label": "好", "children": [{"word": "很"}, {"word": "不"}, {"word": "坏"}]}',
        '{"label": "坏", "word": "坏"}',
    ]
    path = tmp_path / "trees.jsonl"
    path.write_text("\n".join(lines * 40), encoding="utf-8")
    model = TreeClassifier(cell="child-sum", **SMALL).fit(path, path, progress=False)
    wide = Tree(("坏",) * 300 + ("不", None), (None,) * 302, (301,) * 301 + (-1,))
    found = list(model.predict(["(_ (_ 很) (_ 不) (_ 坏))", "坏", wide]))
    assert [each.label for each in found[:2]] == ["好", "坏"] and len(found[2].tree.labels) == 302


def test_the_command_fits_and_evaluates(files: dict[str, Path], tmp_path: Path, run: Any) -> None:
    options = ["--hidden-size", "8", "--epochs", "1", "--dropout", "0", "-q", "--json"]
    out, _ = run("fit", "tree-classifier", files["train"], "--dev", files["dev"], "-o", tmp_path / "m", *options)
    assert json.loads(out)["validation_node_accuracy"] > 0.2
    out, _ = run("evaluate", tmp_path / "m", files["test"])
    assert "root binary accuracy" in out and "node accuracy" in out
