"""A classifier by a network: kinds of labels, networks, scikit-learn, long texts, what mattered, and its folder."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import ostinato
from ostinato import Classifier
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.networks import named_weights
from ostinato.tasks.calibrating import calibrate
from ostinato.tasks.classifier_settings import NETWORKS, with_network
from ostinato.tasks.examples import Example

SMALL: dict[str, Any] = {
    "hidden_size": 8, "embedding_size": 8, "epochs": 6, "batch_size": 8, "learning_rate": 0.03, "dropout": 0.0,
    "word_dropout": 0.0, "warmup_steps": 5, "device": "cpu", "validation_fraction": 0.2,
}  # fmt: skip
GOOD, BAD = "fine lovely 很好 great", "stale awful 很差 poor"
TEXTS = [f"{(GOOD if at % 2 else BAD).split()[at // 2 % 4]} fish number {at % 5}" for at in range(80)]
LABELS = ["good" if at % 2 else "bad" for at in range(80)]


def made(**settings: Any) -> Classifier:
    return Classifier(**(SMALL | settings))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    folder = tmp_path_factory.mktemp("classifier") / "m"
    return made(subwords=50).fit(TEXTS, LABELS, output=folder), folder


# kinds of labels and networks


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns(name: str) -> None:
    own = {"filters": 8} if name == "cnn" else {}
    shared = {key: value for key, value in SMALL.items() if name != "cnn" or key != "hidden_size"}
    model = Classifier(**with_network(name, shared | own | {"epochs": 20})).fit(TEXTS, LABELS)
    assert model.score(TEXTS, LABELS) > 0.95, model.metrics
    assert model.metrics["validation_accuracy"] > 0.9 and model.parameters() > 100


@pytest.mark.parametrize("norm", [{"layer_norm": True}, {"batch_norm": 4}])
def test_normalised_layers_learn_and_are_saved(norm: dict[str, Any], tmp_path: Path) -> None:
    model = made(**norm, epochs=12).fit(TEXTS, LABELS)
    names = list(named_weights(model.network))
    assert any("norm_ih" in name for name in names)
    assert any("mean_ih" in name for name in names) == ("batch_norm" in norm)
    assert model.score(TEXTS, LABELS) > 0.95
    again = ostinato.load(model.save(tmp_path / "m"))
    assert np.array_equal(again.predict_proba(TEXTS[:4]), model.predict_proba(TEXTS[:4]))


def test_one_normalisation_at_most() -> None:
    with pytest.raises(SettingsError, match="instead of layer_norm"):
        made(layer_norm=True, batch_norm=4)


@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
def test_every_pooling_learns(pooling: str) -> None:
    assert made(pooling=pooling, beside=pooling == "mean", epochs=8).fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.95


def test_labels_in_an_order_and_numbers(tmp_path: Path) -> None:
    words = ["awful", "poor", "fair", "fine", "great"]
    texts = [f"a {words[at % 5]} fish {at % 3}" for at in range(100)]
    stars = [at % 5 + 1 for at in range(100)]
    ordinal = made(kind="ordinal", epochs=12).fit(texts, stars)
    assert ordinal.classes_.tolist() == [1, 2, 3, 4, 5] and ordinal.metrics["validation_kappa"] > 0.8
    assert ordinal.predict(["a great fish 1"]).tolist() == [5]
    figures = ordinal.compare([Example(text, (str(star),)) for text, star in zip(texts, stars, strict=True)])
    assert (
        figures["mean_absolute_error"] < 0.3
        and sum(map(sum, (r.values() for r in figures["confusion"].values()))) == 100
    )
    named = made(kind="ordinal", order=list(reversed(words)), epochs=1).fit(texts, [words[at % 5] for at in range(100)])
    assert named.labels == tuple(reversed(words))
    number = made(kind="number", epochs=15).fit(texts, [float(star) for star in stars])
    assert number.metrics["validation_pearson"] > 0.9
    assert abs(number.predict(["a great fish"])[0] - 5) < 0.8 and number.score(texts, stars) > 0.8
    assert next(number.rank(["a great fish"])).labels == ["value"]
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"{text},{star}\n" for text, star in zip(texts, stars, strict=True)))
    assert number.evaluate(rows)["pearson"] > 0.9 and number.evaluate(rows)["examples"] == 100
    said = list(number.predictions([rows], number.PredictSettings(explain=True)))
    assert (
        said[4].row["label"] == "5" and abs(said[4].row["value"] - 5) < 0.8 and float(said[4].text.split("\t")[0]) > 4
    )
    with pytest.raises(DataError, match="expected a number for a label, found 'five'"):
        made(kind="number").fit(texts, ["five"] * 100)


# scikit-learn's interface


def test_it_is_an_estimator() -> None:
    model = made(cell="gru", class_weight={"good": 2.0})
    again = clone(model)
    assert again is not model and again.get_params() == model.get_params() and again.settings == model.settings
    assert again.set_params(hidden_size=5).settings.hidden_size == 5
    with pytest.raises(SettingsError, match=r"unknown setting 'hiden_size' \(did you mean hidden_size\?\)"):
        model.set_params(hiden_size=3)
    pipe = Pipeline([("classify", made(epochs=4))]).fit(TEXTS, LABELS)
    assert pipe.predict_proba(TEXTS[:3]).shape == (3, 2)
    search = GridSearchCV(made(epochs=4), {"cell": ["gru", "min-gru"]}, cv=2).fit(np.array(TEXTS), np.array(LABELS))
    assert search.best_score_ > 0.6 and search.predict(["lovely fish"]).tolist() == ["good"]


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [0.5, 1.5], ["b", "g"]])
def test_labels_come_back_as_they_were_given(labels: list[Any]) -> None:
    given = [labels[at % 2] for at in range(80)]
    model = made(epochs=4).fit(TEXTS, given)
    assert model.classes_.tolist() == labels and set(model.predict(TEXTS).tolist()) <= set(labels)
    assert model.score(TEXTS, given) > 0.8


def test_a_matrix_of_labels_gives_a_matrix() -> None:
    matrix = np.array([[at % 2, 1 - at % 2, at % 3 == 0] for at in range(80)], int)
    texts = [text + (" bread" if at % 3 == 0 else "") for at, text in enumerate(TEXTS)]
    model = made(epochs=8).fit(texts, matrix)
    assert model.predict(texts).shape == (80, 3) and model.score(texts, matrix) > 0.8


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x"], "2 texts, but 1 labels"),
        (["a", 3], ["x", "y"], "text 1: expected a text, found int"),
        (["a", "b"], ["x", None], "text 1: expected a label, found NoneType"),
        (["a", "b"], ["x", []], "text 1: there is no label"),
        (["a", "b"], ["x", 1], "labels are of several kinds: int, str"),
        (["a", "b"] * 20, ["x", "x"] * 20, "all .* examples have one label, 'x'"),
        ("reviews.csv", ["x"], "many of each"),
    ],
)
def test_what_cannot_be_fitted_is_told(texts: Any, labels: Any, message: str) -> None:
    with pytest.raises((DataError, SettingsError), match=message):
        made().fit(texts, labels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "mlp", "cell": "gru"}, "cell: is of network = recurrent, and network = mlp has none"),
        ({"network": "cnn", "hidden_size": 8}, "hidden_size: is of network = "),
        ({"filters": 8}, "filters: is of network = cnn"),
        ({"ngram_range": (1, 2)}, "ngram_range: n-grams of words are no sequence"),
        ({"criterion": "acuracy"}, r"did you mean accuracy\?"),
        ({"kind": "number", "criterion": "accuracy"}, "of kind = number one of"),
        ({"order": ["a", "b"]}, "order: is of kind = ordinal"),
        ({"class_weight": "good"}, "expected balanced, or weights such as"),
        ({"bert": "x", "subwords": 10}, "subwords: is of trained embeddings"),
        ({"window_steps": 1}, "window_steps = 1"),
    ],
)
def test_settings_that_do_not_agree(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Classifier(**settings)


# probabilities


def test_calibration_takes_back_what_is_too_sure() -> None:
    rng = np.random.default_rng(0)
    noisy = [label if rng.random() < 0.8 else LABELS[1 - at % 2] for at, label in enumerate(LABELS * 3)]
    lines = [Example(text, (label,)) for text, label in zip(TEXTS * 3, noisy, strict=True)]
    model = made(epochs=3).fit(TEXTS * 3, noisy)
    assert {"validation_temperature", "validation_calibration_error_before"} <= model.metrics.keys()
    head = model.network.head
    told = model.predict(TEXTS)
    with torch.no_grad():
        head.linear.weight *= 10
        head.linear.bias *= 10
    sure = model.compare(lines)["calibration_error"]
    rows = model.encode_all(lines)
    table = Rows(rows)
    figures = calibrate(model, table)
    assert figures["temperature"] > 2 and figures["calibration_error"] < figures["calibration_error_before"]
    assert sure > figures["calibration_error"]
    assert model.predict(TEXTS).tolist() == told.tolist()
    losses = [_loss(model, lines, figures["temperature"] * factor) for factor in (0.9, 1.0, 1.1)]
    assert min(losses) == losses[1]
    plain = made(calibrate=False, epochs=1).fit(TEXTS, LABELS)
    assert float(plain.network.head.temperature) == 1 and "validation_temperature" not in plain.metrics


class Rows:
    """Rows as a table has them."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def lengths(self, column: str) -> np.ndarray:
        return np.array([len(row[column]) for row in self.rows])

    def entry(self, column: str, row: int) -> np.ndarray:
        return self.rows[row][column]


def _loss(model: Classifier, lines: list[Example], temperature: float) -> float:
    model.network.head.temperature.fill_(temperature)
    p = model.predict_proba([line.text for line in lines])
    return -float(
        np.mean([math.log(row[model.labels.index(line.labels[0])]) for row, line in zip(p, lines, strict=True)])
    )


# long texts


def test_a_long_text_is_read_whole_in_windows() -> None:
    model = made(bidirectional=False, pooling="mean", epochs=1, learning_rate=0.003).fit(TEXTS, LABELS)
    long = "fish number 3 " * 1500
    texts = [long + "awful", "awful " + long, long + "lovely", "lovely " + long, "fish"]
    found = {}
    for window in (64, 512, None):
        model.network.window = window
        found[window] = model.predict_proba(texts)
    np.testing.assert_allclose(found[64], found[None], atol=1e-5)
    np.testing.assert_allclose(found[512], found[None], atol=1e-5)
    assert len(np.unique(found[64][:4, 0])) == 4  # no word is lost, where ever it stands


def test_long_texts_are_learned_from() -> None:
    filler = "fish number 1 2 3 " * 8
    texts = [f"{filler}{text} {filler}" for text in TEXTS]
    model = made(window_steps=16, epochs=6).fit(texts, LABELS)
    assert model.score(texts, LABELS) > 0.9


def test_memory_does_not_grow_with_a_text() -> None:
    """Activations kept for the backward pass are those of one window, and a few vectors for each of the others."""
    model = made(window_steps=32, cell="gru", epochs=1).fit(TEXTS, LABELS)

    def kept(words: int) -> int:
        batch = model.batch([model.encode(Example("fish " * words, ("good",)))])
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.nbytes), t)[1], lambda t: t):
            model.loss(batch)
        return sum(sizes)

    assert kept(32 * 64) - kept(32 * 32) < 32 * 4000
    assert kept(32) > 32 * 8 * 4 * 4


# which words mattered


@pytest.mark.parametrize("window", [512, 3])
def test_weights_of_words_are_gradient_times_input(trained: tuple[Classifier, Path], window: int) -> None:
    model, _ = trained
    text = "Number 3: a lovely fish"
    model.network.window, before = window, model.network.window
    try:
        (found,) = model.explain([text])
    finally:
        model.network.window = before
    assert [each.word for each in found] == ["number", "3", "a", "lovely", "fish"]
    assert [text[each.start : each.end].lower() for each in found] == [each.word for each in found]
    assert {each.word: each.weight for each in found}["lovely"] > 0
    if window == 512:  # the same by finite differences: every embedded word made a little smaller in turn
        batch = model.batch([model.encode(Example(text, ()))])
        embedded = model.network.embedding(batch.inputs[:]).double()
        network = copy.deepcopy(model.network).double()

        def log_odds(x: torch.Tensor) -> float:
            outputs, state = network.network(x, None, batch.lengths)
            z = network.head.linear(network.pooling(outputs, state, batch.lengths))[0] / network.head.temperature
            return float(z.max() - z.min())  # of two labels

        with torch.no_grad():
            for at, each in enumerate(found):
                more, less = embedded.clone(), embedded.clone()
                more[at] *= 1 + 1e-5
                less[at] *= 1 - 1e-5
                wanted = (log_odds(more) - log_odds(less)) / 2e-5
                assert each.weight == pytest.approx(wanted, abs=1e-3)


# its folder


def test_a_bundle_gives_the_same_probabilities(trained: tuple[Classifier, Path], tmp_path: Path) -> None:
    model, folder = trained
    texts = [*TEXTS[:5], "", "never seen", "很好的鱼", "fish " * 700]
    for path in (folder, model.save(tmp_path / "copy")):
        loaded = ostinato.load(path)
        assert isinstance(loaded, Classifier) and loaded.settings == model.settings and loaded.metrics == model.metrics
        np.testing.assert_array_equal(loaded.predict_proba(texts), model.predict_proba(texts))
        assert loaded.classes_.tolist() == model.classes_.tolist()
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "temperature" in card
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pt", ".bin")]


def _break(key: str, value: Any) -> Any:
    def damage(folder: Path) -> None:
        path = folder / "codec" / "labels.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break("names", ["good"]), r"labels\.json: damaged"),
        (_break("kind", "fuzzy"), r"labels\.json: damaged"),
        (_break("analyzer", {"tokens": "letters"}), r"labels\.json: damaged"),
        (_break("surprise", 1), r"labels\.json: damaged"),
        (lambda folder: (folder / "codec" / "labels.json").unlink(), r"labels\.json: No such file"),
        (lambda folder: (folder / "codec" / "vocabulary.json").write_text('["<unk>"]'), "words.weight is"),
    ],
)
def test_a_damaged_folder_is_told(damage: Any, message: str, trained: tuple[Classifier, Path], tmp_path: Path) -> None:
    folder = trained[0].save(tmp_path / "m")
    damage(folder)
    with pytest.raises(BundleError, match=message):
        ostinato.load(folder)


def test_consistency_is_a_loss_of_two_passes() -> None:
    settings = {"dropout": 0.5, "word_dropout": 0.0}
    model = made(**settings, consistency=2.0).fit(TEXTS, LABELS)
    batch = model.batch([model.encode(Example(text, (label,))) for text, label in zip(TEXTS, LABELS, strict=True)])
    head = model.network.head.train()
    model.network.train()
    torch.manual_seed(5)
    first, second = model.logits(batch), model.logits(batch)
    assert not torch.equal(first, second)
    both = 0.5 * (head.loss(first, batch.targets) + head.loss(second, batch.targets))
    torch.manual_seed(5)
    torch.testing.assert_close(model.loss(batch), both + 2.0 * head.divergence(first, second))
    model.network.eval()
    torch.testing.assert_close(model.loss(batch), head.loss(model.logits(batch), batch.targets))


@pytest.mark.parametrize("options", [{}, {"consistency": 0.5, "average_weights": 0.9}, {"members": 2}])
def test_a_resumed_training_ends_in_the_same_bits(options: dict[str, Any], tmp_path: Path) -> None:
    settings = {"schedule": "constant", "dropout": 0.2, "word_dropout": 0.2, "patience": None} | options
    whole = made(epochs=4, **settings).fit(TEXTS, LABELS, output=tmp_path / "whole")
    made(epochs=2, **settings).fit(TEXTS, LABELS, output=tmp_path / "parts")
    resumed = Classifier.resume(tmp_path / "parts", progress=False, epochs=4)
    for name, weight in named_weights(whole.network).items():
        assert torch.equal(weight, named_weights(resumed.network)[name]), name
    with pytest.raises(SettingsError, match="cell: cannot change on resume"):
        Classifier.resume(tmp_path / "parts", cell="gru")


def test_labels_never_seen_in_training_are_told_and_missed(tmp_path: Path, capsys: Any) -> None:
    lines = "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(TEXTS, LABELS, strict=True))
    (tmp_path / "train.jsonl").write_text(lines)
    (tmp_path / "dev.jsonl").write_text(lines + '{"text": "odd fish", "label": "odd"}\n' * 20)
    model = made().fit(tmp_path / "train.jsonl", validation=tmp_path / "dev.jsonl", progress=True)
    assert "labels that no training text has, always missed: odd" in capsys.readouterr().err
    assert model.metrics["validation_accuracy"] <= 0.8 and math.isfinite(model.metrics["validation_loss"])
    figures = model.evaluate(tmp_path / "dev.jsonl")
    assert figures["accuracy"] <= 0.8 and sum(figures["confusion"]["odd"].values()) == 20
