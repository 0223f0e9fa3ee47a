"""Late fusion: a network's logits and a linear model's scores, told as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato import Classifier, LinearClassifier
from ostinato.errors import BundleError, SettingsError
from ostinato.label_heads import OneLabel, SeveralLabels, SharedLabels
from ostinato.networks import named_weights
from ostinato.one_against_rest import OneAgainstRest
from ostinato.tasks.acceptability import Acceptability
from ostinato.tasks.calibrating import calibrate
from ostinato.tasks.examples import Example
from ostinato.tasks.labelling import LabelledBatch
from ostinato.tasks.late_fusion import fit_linear, fit_weight, word_shares
from tests.test_network_classifier import LABELS, TEXTS, made

SEVERAL = [[label, "fish"] if at % 3 else [label] for at, label in enumerate(LABELS)]
NEW = ["fine fish number 3", "an awful and stale fish " * 30, "never seen", ""]


def batch_of(model: Classifier, texts: list[str]) -> LabelledBatch:
    return model.batch([model.encode(Example(text, ())) for text in texts])


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    folder = tmp_path_factory.mktemp("fused") / "m"
    model = made(linear=True, epochs=2, learning_rate=0.003, subwords=50, members=2, window_steps=16)
    return model.fit(TEXTS, LABELS, output=folder), folder


def test_scores_are_added_as_the_equation_says(fused: tuple[Classifier, Path]) -> None:
    model, _ = fused
    weight = model.metrics["validation_linear_weight"]
    assert weight > 0.1 and model.metrics["validation_accuracy"] == 1.0
    batch = batch_of(model, NEW)
    z = torch.stack(model.opinions(batch)).mean(0).detach().numpy()
    s = np.concatenate(list(model.codec.linear.scores(NEW)))
    wanted = np.exp((z + weight * s) / model.metrics["validation_temperature"])
    np.testing.assert_allclose(model.predict_proba(NEW), wanted / wanted.sum(1, keepdims=True), atol=1e-5)
    alone = LinearClassifier(seed=model.settings.seed)
    assert alone.settings == model.codec.linear.settings.model_copy(update={"tokens": "auto"})


def test_terms_are_of_the_training_part_and_weights_in_the_end_of_all_texts(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    for name, part in (("train", rows), ("dev", [{"text": "quite unheard", "label": "good"}] * 10)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    model = made(linear=True, epochs=1).fit(tmp_path / "train.jsonl", validation=tmp_path / "dev.jsonl")
    linear = model.codec.linear
    assert linear.data["train_examples"] == len(rows) and "unheard" not in linear.codec.features.vocabulary_
    x = linear.codec.features.transform([*TEXTS, *["quite unheard"] * 10])
    given = [(label,) for label in [*LABELS, *["good"] * 10]]
    s = linear.settings
    all_of_it = OneAgainstRest.fit(x, given, linear.labels, s.loss, s.C, s.seed)
    np.testing.assert_allclose(linear.linear.weight, all_of_it.weight, atol=1e-5)
    np.testing.assert_allclose(linear.linear.bias, all_of_it.bias, atol=1e-5)


def test_a_folder_holds_both(fused: tuple[Classifier, Path], tmp_path: Path) -> None:
    model, folder = fused
    for place in (folder, model.save(tmp_path / "saved")):
        loaded = ostinato.load(place)
        np.testing.assert_array_equal(loaded.predict_proba(NEW), model.predict_proba(NEW))
        assert loaded.parameters() == model.parameters() > model.codec.linear.parameters()
        assert not [each for each in place.rglob("*") if each.suffix in (".pkl", ".pickle", ".npy", ".pt")]
    assert "and a linear model of" in json.loads((folder / "ostinato.json").read_text())["size"]
    alone = ostinato.load(folder / "codec" / "linear")
    assert isinstance(alone, LinearClassifier) and alone.predict(["fine"]).tolist() == ["good"]
    LinearClassifier().fit(["a b", "a c"] * 4, ["x", "y"] * 4).save(tmp_path / "saved/codec/linear", overwrite=True)
    with pytest.raises(BundleError, match="its labels are not those of"):
        ostinato.load(tmp_path / "saved")


def test_without_it_nothing_is_kept(tmp_path: Path) -> None:
    model = made(epochs=1).fit(TEXTS, LABELS, output=tmp_path / "m")
    assert not (tmp_path / "m" / "codec" / "linear").exists()
    assert "head.linear_weight" not in named_weights(model.network) and "validation_linear_weight" not in model.metrics


@pytest.mark.parametrize("options", [{}, {"shared": True, "criterion": "precision_at_1"}, {"network": "mlp"}])
def test_several_labels(options: dict[str, Any], tmp_path: Path) -> None:
    model = made(linear=True, epochs=2, **options).fit(TEXTS, SEVERAL, output=tmp_path / "m")
    metrics = model.metrics
    assert metrics["validation_linear_weight"] > 0 and metrics["validation_f1_micro"] > 0.8
    assert model.threshold == pytest.approx(metrics["validation_threshold"])
    assert metrics["validation_precision_at_1"] >= metrics.get("validation_network_precision_at_1", 0)
    assert model.predict(TEXTS[:5]).tolist() == ostinato.load(tmp_path / "m").predict(TEXTS[:5]).tolist()


def test_a_useless_linear_model_gets_no_weight() -> None:
    draw = torch.Generator().manual_seed(0)
    right = torch.randint(0, 3, (60,), generator=draw)
    z, noise = torch.randn(60, 3, generator=draw), torch.randn(60, 3, generator=draw)
    z[range(60), right] += 1.5
    for head, y in ((OneLabel(2, 3), right), (SeveralLabels(2, 3), torch.eye(3)[right])):
        against = z.softmax(1) - torch.eye(3)[right] + 0.01 * noise  # the slope: its likelihood can but fall
        temperature, weight = fit_weight(head, z, against, y)
        assert weight == 0.0 and 0.3 < temperature < 3


@pytest.mark.parametrize("kind", [OneLabel, SeveralLabels, SharedLabels])
def test_weight_and_temperature_are_where_the_loss_is_least(kind: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    right = torch.randint(0, 4, (80,), generator=draw)
    y = right if kind is OneLabel else torch.eye(4)[right]
    head = kind(2, 4)
    z, s = (size * torch.randn(80, 4, generator=draw) for size in (3.0, 0.5))
    z[range(80), right] += 2.0
    s[range(80), right] += 0.5
    temperature, weight = fit_weight(head, z, s, y)

    def loss(t: float, w: float) -> float:
        return float(head.loss((z + w * s) / t, y).detach())

    least = loss(temperature, weight)
    assert weight > 0 and temperature > 1
    for near_t, near_w in ((1.1, 1.0), (0.9, 1.0), (1.0, 1.1), (1.0, 0.9), (1.1, 1.1), (0.9, 0.9)):
        assert loss(temperature * near_t, weight * near_w) > least


def test_a_resumed_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"linear": True, "schedule": "constant", "dropout": 0.2, "patience": None}
    whole = made(epochs=4, **settings).fit(TEXTS, LABELS, output=tmp_path / "whole")
    made(epochs=2, **settings).fit(TEXTS, LABELS, output=tmp_path / "parts")
    resumed = Classifier.resume(tmp_path / "parts", progress=False, epochs=4)
    for name, weight in named_weights(whole.network).items():
        assert torch.equal(weight, named_weights(resumed.network)[name]), name
    np.testing.assert_array_equal(resumed.codec.linear.linear.weight, whole.codec.linear.linear.weight)
    np.testing.assert_array_equal(resumed.predict_proba(NEW), whole.predict_proba(NEW))
    again = Classifier.resume(
        tmp_path / "parts", progress=False
    )  # nothing is left to learn, and nothing is added twice
    np.testing.assert_array_equal(again.predict_proba(NEW), whole.predict_proba(NEW))
    assert again.metrics["validation_network_accuracy"] == whole.metrics["validation_network_accuracy"]


def test_a_training_from_before_there_was_the_setting_is_resumed(tmp_path: Path) -> None:
    made(epochs=1).fit(TEXTS, LABELS, output=tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "ostinato.json").read_text())
    del manifest["settings"]["linear"]
    (tmp_path / "m" / "ostinato.json").write_text(json.dumps(manifest))
    assert Classifier.resume(tmp_path / "m", progress=False, epochs=2).metrics["epochs"] == 2
    with pytest.raises(SettingsError, match="linear: cannot change on resume"):
        Classifier.resume(tmp_path / "m", progress=False, linear=True)


def test_the_network_learns_as_it_would_without() -> None:
    beside, alone = (made(linear=linear, epochs=2).fit(TEXTS, LABELS) for linear in (True, False))
    for name, weight in named_weights(alone.network).items():
        if "temperature" not in name:
            assert torch.equal(weight, named_weights(beside.network)[name]), name


def test_a_words_share_of_the_scores_is_exact(fused: tuple[Classifier, Path]) -> None:
    model, _ = fused
    linear, text = model.codec.linear, "Fine fine fish, number 3; stale!"
    words = model.codec.analyzer.spans(text)
    for slopes in (np.array([1.0, 0.0]), np.array([-0.3, 0.7])):
        found = word_shares(linear, text, words, slopes)
        (scores,) = linear.scores([text])
        assert found.sum() == pytest.approx(float(slopes @ (scores[0] - linear.linear.bias)), abs=1e-6)
    shares = word_shares(linear, text, words, np.array([-1.0, 1.0]))
    assert shares[0] == pytest.approx(shares[1], abs=1.0) and shares[0] > 0 > shares[-1]
    plain = next(iter(model.explain([text])))
    with torch.no_grad():
        weight = model.network.head.linear_weight.clone()
        model.network.head.linear_weight.zero_()
    without = next(iter(model.explain([text])))
    model.network.head.linear_weight.data = weight
    assert [each.word for each in plain] == [each.word for each in without] == [each.token for each in words]
    assert [each.weight for each in plain] != [each.weight for each in without]


def test_a_label_that_all_texts_have_is_left_to_the_network() -> None:
    model = made(linear=True, epochs=1).fit(TEXTS, [[label, "text"] for label in LABELS])
    assert np.isinf(model.codec.linear.linear.bias[model.labels.index("text")])
    assert not model.linear_scores(batch_of(model, NEW))[:, model.labels.index("text")].any()
    assert np.isfinite(model.predict_proba(NEW)).all()


def test_acceptability_moves_its_border_with_it() -> None:
    texts, judged = [f"{text} was it" for text in TEXTS], [int(label == "good") for label in LABELS]
    small = {
        "hidden_size": 8,
        "epochs": 2,
        "batch_size": 16,
        "subwords": 0,
        "validation_fraction": 0.3,
        "device": "cpu",
    }
    model = Acceptability(linear=True, real_epochs=1, **small).fit(texts, judged)
    assert model.metrics["validation_linear_weight"] > 0 and model.metrics["validation_mcc"] == 1.0
    assert (model.predict(texts) == np.array(judged)).mean() > 0.95


def test_no_known_label_in_the_validation_examples() -> None:
    model = made(linear=True, epochs=1).fit(TEXTS, LABELS)
    odd = Example("odd", ("odd",))
    rows = [model.encode(odd)]

    class Rows:
        def lengths(self, _: str) -> np.ndarray:
            return np.ones(1, np.int64)

        def entry(self, name: str, _: int) -> Any:
            return rows[0][name]

        def __len__(self) -> int:
            return 1

    assert calibrate(model, Rows()) == {"linear_weight": 0.0}  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "number"}, "linear: kind = number has one score"),
        ({"kind": "ordinal"}, "linear: kind = ordinal has one score"),
        ({"calibrate": False}, "linear: its weight is fitted when probabilities are calibrated"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        made(linear=True, **settings)


def test_a_kind_without_scores_is_refused_by_the_model_too() -> None:
    model = made(epochs=1).fit(TEXTS, LABELS)
    with pytest.raises(SettingsError, match="kind = ordinal has one score"):
        fit_linear(model.codec.analyzer, "ordinal", lambda: iter(()), 0, print)
