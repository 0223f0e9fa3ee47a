"""Classifiers: labelled files of every kind, what is learnt and told of it, and a bundle like any other."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as of_sklearn
from sklearn.base import clone
from sklearn.preprocessing import MultiLabelBinarizer

import ostinato
from ostinato import analysis
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import BundleError, DataError, OstinatoError, SettingsError
from ostinato.one_against_rest import LOSSES, OneAgainstRest
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings
from ostinato.tasks.linear_classifier import LinearClassifier
from ostinato.tasks.parts import parts

TOPICS = {
    "fish": "salmon trout bones scales sea",
    "bread": "flour yeast oven crust knead",
    "tea": "leaves cup brew green hot",
}
REVIEWS = {"good": "很好 喜欢 干净 舒服", "bad": "很差 失望 脏 吵"}


def make_examples(topics: dict[str, str], number: int = 60) -> list[tuple[list[str], str]]:
    """Texts of some words of one topic or of two, by a rule."""
    names, made = list(topics), []
    for at in range(number):
        chosen = [names[at % len(names)]] + ([names[(at + 1) % len(names)]] if at % 5 == 0 and len(names) > 2 else [])
        words = [word for name in chosen for word in (topics[name].split() * 2)[at % 3 : at % 3 + 3]]
        made.append((chosen, " ".join(["how", "is", *words])))
    return made


@pytest.fixture
def cooking(tmp_path: Path) -> Path:
    path = tmp_path / "cooking.txt"
    lines = (" ".join(f"__label__{label}" for label in labels) + f" {text}\n" for labels, text in make_examples(TOPICS))
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [[labels[0], text.replace(" ", "")] for labels, text in make_examples(REVIEWS)]
        csv.writer(file).writerows([["label", "review"], *sorted(rows)])
    return path


def fit(path: Path, **options: Any) -> LinearClassifier:
    output = options.pop("output", None)
    return LinearClassifier(**options).fit(path, output=output, progress=False)


# labelled files


def test_examples_for_validation_are_drawn_at_random(reviews, tmp_path):
    def read(files):
        return ExampleReader(files, ExampleSettings())

    train, held_out, about = parts([str(reviews)], [], read, 0.3, 1, tmp_path)
    everything = list(ExampleReader([reviews], ExampleSettings()).examples())
    assert sorted([*train(), *held_out()]) == sorted(everything) and list(train()) == list(train())
    assert 8 <= len(list(held_out())) <= 28 and {each.labels for each in held_out()} == {("good",), ("bad",)}
    other = parts([str(reviews)], [], read, 0.3, 2, tmp_path)[1]
    assert list(other()) != list(held_out())
    assert about["train"]["files"] == ("reviews.csv",) and len(about["train"]["sha256"]) == 64
    own = parts([str(reviews)], [str(reviews)], read, 0.1, 1, tmp_path)
    assert list(own[0]()) == list(own[1]()) == everything and "validation" in own[2]


# the linear scores


@pytest.mark.parametrize("loss", LOSSES)
def test_the_weights_are_at_the_minimum(loss):
    """The gradient of ½ ‖w‖² + ½ b² + C Σ loss(y s) is zero, written down again here."""
    rng, cost = np.random.default_rng(0), 0.7
    x = rng.normal(size=(40, 5)).astype(np.float64)
    given = [(("a", "b", "c")[at % 3],) + (("d",) if x[at, 0] > 0 else ()) for at in range(40)]
    labels = ["a", "b", "c", "d"]
    model = OneAgainstRest.fit(x, given, labels, loss, cost)
    for k, label in enumerate(labels):
        y = np.array([1.0 if label in each else -1.0 for each in given])
        w, b = model.weight[:, k].astype(float), float(model.bias[k])
        z = y * (x @ w + b)
        slope = -2 * np.maximum(0, 1 - z) if loss == "squared_hinge" else -1 / (1 + np.exp(z))
        np.testing.assert_allclose(w + cost * x.T @ (y * slope), 0, atol=0.02)
        np.testing.assert_allclose(b + cost * (y * slope).sum(), 0, atol=0.02)


def test_two_labels_that_exclude_each_other_share_a_border():
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.2]])
    for loss in LOSSES:
        model = OneAgainstRest.fit(x, [("a",), ("b",), ("a",)], ["a", "b"], loss, 1.0)
        assert np.array_equal(model.weight[:, 1], -model.weight[:, 0]) and model.bias[1] == -model.bias[0]
        scores = model.scores(x, loss)
        assert scores.argmax(1).tolist() == [0, 1, 0]
        np.testing.assert_allclose(scores.sum(1), 1 if loss == "logistic" else 0, atol=1e-6)


def test_a_label_of_all_texts_is_given_to_all():
    model = OneAgainstRest.fit(np.eye(3), [("a", "b"), ("a",), ("a",)], ["a", "b"], "logistic", 1.0)
    assert model.scores(np.zeros((1, 3)), "logistic")[0, 0] == 1.0
    assert np.isfinite(model.scores(np.eye(3), "logistic")).all()


# figures


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_figures_are_those_of_scikit_learn(seed, several):
    rng, names = np.random.default_rng(seed), ["a", "b", "c", "d"]
    count = int(rng.integers(1, 12))
    scores = rng.normal(size=(count, 3))
    wanted = [tuple(rng.choice(names, int(rng.integers(1, 3)) if several else 1, replace=False)) for _ in range(count)]

    class Scoring(LinearClassifier):
        def scores(self, texts):
            texts = list(texts)
            assert texts == [str(at) for at in range(count)]
            for start in range(0, count, 5):  # in blocks
                yield scores[start : start + 5]

    model: Any = Scoring()
    model._codec = type("Codec", (), {"labels": ("a", "b", "c"), "several": several})
    found = model.compare(Example(str(at), each) for at, each in enumerate(wanted))
    best = scores.argmax(1)
    chosen = [{names[k] for k in range(3) if row[k] > 0} if several else set() for row in scores]
    chosen = [each or {names[best[at]]} for at, each in enumerate(chosen)]
    code = MultiLabelBinarizer().fit([*wanted, *chosen])
    true, told = code.transform(wanted), code.transform(chosen)
    assert found["f1_micro"] == pytest.approx(of_sklearn.f1_score(true, told, average="micro"))
    assert found["f1_macro"] == pytest.approx(of_sklearn.f1_score(true, told, average="macro", zero_division=0))
    assert found["accuracy"] == pytest.approx(of_sklearn.accuracy_score(true, told))
    hits = [names[best[at]] in each for at, each in enumerate(wanted)]
    assert found["precision_at_1"] == pytest.approx(np.mean(hits))
    assert found["recall_at_1"] == pytest.approx(sum(hits) / sum(map(len, wanted)))
    assert found["examples"] == count


# the task


def test_a_text_with_several_labels(cooking):
    model = fit(cooking, validation_fraction=0.2)
    assert model.labels == ("bread", "fish", "tea") and model.codec.several
    (found,) = model.rank(["flour and yeast in the oven"], top=3)
    assert found.labels[0] == "bread" and found.scores == sorted(found.scores, reverse=True) and len(found.scores) == 3
    figures = model.evaluate(cooking)
    assert figures["precision_at_1"] == 1.0 and figures["f1_micro"] > 0.9 and figures["examples"] == 60
    assert figures["recall_at_1"] == pytest.approx(60 / 72)
    assert model.metrics["validation_precision_at_1"] > 0.9 and model.metrics["validation_examples"] < 25
    assert model.data["labels"] == 3 and model.data["train_examples"] + model.metrics["validation_examples"] == 60


def test_chinese_reviews_by_words_and_by_characters(reviews):
    for options in (
        {},
        {"tokens": "words", "ngram_range": (1, 3)},
        {"char_ngrams": (1, 2)},
        {"hashed": 512, "min_df": 1},
    ):
        model = fit(reviews, **options)
        assert model.evaluate(reviews)["accuracy"] == 1.0, options
        assert [each.labels for each in model.rank(["干净舒服", "又脏又吵"])] == [["good"], ["bad"]]
    assert fit(reviews).codec.features.analyzer_.tokens == "chinese"


def test_a_model_of_english_needs_no_dictionary(cooking, tmp_path, monkeypatch):
    fit(cooking, output=tmp_path / "model")
    monkeypatch.setattr(analysis, "has_dictionary", lambda: False)
    loaded = ostinato.load(tmp_path / "model")
    assert loaded.codec.features.analyzer_.tokens == "words"
    assert next(loaded.rank(["green leaves"])).labels == ["tea"]


def test_without_a_dictionary_chinese_is_taken_by_character(reviews, monkeypatch, capsys):
    monkeypatch.setattr(analysis, "has_dictionary", lambda: False)
    model = LinearClassifier().fit(reviews)
    assert model.codec.features.analyzer_.tokens == "words" and model.evaluate(reviews)["accuracy"] == 1.0
    assert "each Chinese character is a word, since rjieba is not installed" in capsys.readouterr().err


def test_logistic_scores_are_probabilities(reviews):
    model = fit(reviews, loss="logistic", C=10)
    (found,) = model.rank(["干净舒服"], top=2)
    assert found.labels == ["good", "bad"] and sum(found.scores) == pytest.approx(1, abs=1e-6)
    assert found.scores[0] > 0.8 and model.threshold == 0.5


def test_the_same_settings_give_the_same_model(cooking):
    first, again = fit(cooking, seed=3), fit(cooking, seed=3)
    assert np.array_equal(first.linear.weight, again.linear.weight)
    assert {k: v for k, v in first.metrics.items() if "seconds" not in k} == {
        k: v for k, v in again.metrics.items() if "seconds" not in k
    }


def test_texts_are_told_as_they_come(cooking, monkeypatch):
    monkeypatch.setattr(ostinato.features.matrices, "ROWS_AT_ONCE", 4)
    model, read = fit(cooking), []

    def texts():
        for at in range(100):
            read.append(at)
            yield "salmon"

    found = model.rank(texts())
    assert read == [] and next(found).labels == ["fish"] and len(read) <= 8


def test_a_bundle_like_any_other(cooking, tmp_path):
    made = fit(cooking, output=tmp_path / "model")
    assert not [
        path
        for path in (tmp_path / "model").rglob("*")
        if path.suffix not in ("", ".json", ".jsonl", ".md", ".safetensors")
    ]
    for folder in (tmp_path / "model", made.save(tmp_path / "copy")):
        loaded = ostinato.load(folder)
        assert (
            isinstance(loaded, LinearClassifier) and loaded.metrics == made.metrics and loaded.settings == made.settings
        )
        texts = ["salmon bones", "", "unseen", "kneaded flour"]
        assert list(loaded.rank(texts, 2)) == list(made.rank(texts, 2))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "terms × 3 labels" in card and "yeast" in card
    with pytest.raises(BundleError, match=r"--overwrite replaces it$"):
        fit(cooking, output=tmp_path / "model")


def _break_labels(folder: Path) -> None:
    path = folder / "codec" / "labels.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"labels": about["labels"][:-1]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break_labels, r"weights\.safetensors: does not fit codec/: expected .*, 2\].*found .*, 3\]"),
        (lambda f: (f / "codec" / "labels.json").write_text("{}"), r"labels\.json: damaged: expected the keys labels"),
        (lambda f: (f / "codec" / "labels.json").unlink(), r"labels\.json: No such file"),
        (lambda f: (f / "codec" / "vocabulary.json").write_text("[]"), "expected two vectors of 0 counts"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"short"), r"weights\.safetensors: damaged"),
    ],
)
def test_a_damaged_bundle_is_told(damage, message, cooking, tmp_path):
    fit(cooking, output=tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(BundleError, match=message):
        ostinato.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "in which column|the corpus is empty"),
        ("__label__a one two\n" * 20, {}, "all .* examples have one label, 'a': there is nothing to tell apart"),
        ("__label__a one\n__label__b two\n", {"validation_fraction": 0.01}, "no term is left|no examples to measure"),
        ("__label__a the\n__label__b of\n" * 20, {"stop_words": "english"}, "all are empty or stop words"),
        ("__label__a one\n__label__b two\n" * 20, {"C": 0}, "C = 0: Input should be greater than 0"),
        (
            "__label__a one\n__label__b two\n" * 20,
            {"losss": "hinge"},
            r"unknown setting 'losss' \(did you mean loss\?\)",
        ),
        ("__label__a one\n", {"char_ngrams": (2, 3), "ngram_range": (1, 2)}, "ngram_range: is of words"),
        ("__label__a one\n", {"device": "cpu"}, "unknown setting 'device'"),
    ],
)
def test_what_is_wrong_is_told(content, options, message, tmp_path):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises((DataError, SettingsError), match=message):
        fit(tmp_path / "a.txt", output=tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_calls_that_are_wrong(cooking):
    with pytest.raises(SettingsError, match="has not been trained"):
        LinearClassifier().rank(["a"])
    model = fit(cooking)
    for top in (0, 4):
        with pytest.raises(SettingsError, match=f"top = {top}: from 1 to 3"):
            model.rank(["a"], top)
    with pytest.raises(DataError, match="expected many texts"):
        model.rank("a text")
    with pytest.raises(DataError, match="text 1: expected a text, found int"):
        list(model.rank(["a", 3]))
    with pytest.raises(SettingsError, match="batch_size: a classifier"):
        model.evaluate(cooking, batch_size=8)


def test_scikit_learns_interface(tmp_path):
    texts, labels = ["flour and yeast", "salmon and trout"] * 10, [3, 7] * 10
    model = LinearClassifier(min_df=1, loss="logistic").fit(texts, labels)
    assert model.predict(["yeast", "a trout"]).tolist() == [3, 7] and model.classes_.tolist() == [3, 7]
    assert model.predict_proba(["yeast"]).shape == (1, 2) and model.score(texts, labels) == 1.0
    again = clone(model)
    assert again.settings == model.settings and not hasattr(again, "labels_") and again._codec is None
    assert ostinato.load(model.save(tmp_path / "m")).predict(["yeast"]).tolist() == [3]
    margins = LinearClassifier(min_df=1).fit(texts, labels, validation=(texts, labels))
    assert margins.metrics["validation_accuracy"] == 1.0
    with pytest.raises(SettingsError, match="no probabilities: train with loss = logistic"):
        margins.predict_proba(["yeast"])
    with pytest.raises(SettingsError, match="a linear-classifier cannot say which words mattered"):
        margins.explain(["yeast"])


# the command line


@pytest.fixture
def call(capsys):
    def run(*arguments: Any) -> str:
        LazyGroup("ostinato", COMMANDS).main(
            [str(each) for each in arguments], prog_name="ostinato", standalone_mode=False
        )
        return capsys.readouterr().out

    return run


def test_the_commands(cooking, tmp_path, call):
    folder = tmp_path / "model"
    figures = json.loads(
        call("fit", "classifier", cooking, "-o", folder, "--model", "linear", "--ngram-range", "1,1", "--json", "-q")
    )
    assert figures["model"] == str(folder) and figures["validation_precision_at_1"] > 0.9
    assert json.loads(call("evaluate", folder, cooking, "--json"))["precision_at_1"] == 1.0
    told = call("info", folder)
    assert "linear-classifier" in told and "cooking.txt" in told and "validation precision at 1" in told
    (tmp_path / "new.csv").write_text("id,text\n1,green leaves\n2,\n3,trout\n")
    lines = [line.split("\t") for line in call("predict", folder, tmp_path / "new.csv", "--text", "text").splitlines()]
    assert [line[0] for line in lines][::2] == ["tea", "fish"] and all(math.isfinite(float(line[1])) for line in lines)
    rows = [
        json.loads(line) for line in call("predict", folder, tmp_path / "new.csv", "--top", 2, "--json").splitlines()
    ]
    assert [row["text"] for row in rows] == ["green leaves", "", "trout"] and len(rows[0]["labels"]) == 2
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert call("predict", folder, cooking).count("\n") == 60  # labels of the file are not read
    for verb in ("generate", "score"):
        with pytest.raises(SettingsError, match=f"a linear-classifier cannot {verb}; what it can: evaluate, predict"):
            call(verb, folder, *([cooking] if verb == "score" else []))
    with pytest.raises(OstinatoError, match=r"model = 'liner': one of recurrent, .*linear \(did you mean linear\?\)"):
        call("fit", "classifier", cooking, "-o", tmp_path / "x", "--model", "liner")
