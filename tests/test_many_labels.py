"""Labels of a classifier: several of many, with weights and names; labels that share a mass, or score every step."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato import Classifier
from ostinato.errors import SettingsError
from ostinato.feedforward import Unchanged
from ostinato.tasks.classifier_network import Beside
from ostinato.tasks.examples import Example
from tests.test_network_classifier import LABELS, TEXTS, made

NAMED = [["baking-powder"], ["baking_powder", "fish"], ["fish"], ["Tea"]] * 10
RECIPES = ["powder for baking", "baking powder beside it", "which fishes are these", "how hot is tea"] * 10


@pytest.mark.parametrize("shared", [False, True])
def test_several_labels(shared: bool) -> None:
    labels = [[label, "fish"] if at % 3 else [label] for at, label in enumerate(LABELS)]
    texts = [text if at % 3 else text.replace("fish", "bread") for at, text in enumerate(TEXTS)]
    model = made(shared=shared, epochs=25).fit(texts, labels)
    assert model.kind == "multi" and model.classes_.tolist() == ["bad", "fish", "good"]
    assert model.score(texts, labels) > 0.8 and model.metrics["validation_f1_micro"] > 0.8
    found = model.predict(["lovely fish number 1", "awful bread"])
    assert {"good", "fish"} <= set(found[0]) and found[1][0] == "bad"
    proba = model.predict_proba(["lovely fish"])
    assert proba.shape == (1, 3) and (abs(proba.sum() - 1) < 1e-5) == shared
    assert model.threshold == pytest.approx(model.metrics["validation_threshold"]) and "confusion" not in model.metrics


def test_a_label_is_known_by_its_name_before_any_training() -> None:
    model = made(pooling="labels", label_names=True, subwords=500, embedding_size=64, learning_rate=1e-9, epochs=1)
    model.fit(RECIPES, [["powder" if name == "baking_powder" else name for name in names] for names in NAMED])
    found = [next(model.rank([text])).labels[0] for text in ("some baking powder", "a fish", "fishy", "tea", "powder")]
    assert found == ["baking-powder", "fish", "fish", "Tea", "powder"]
    plain = made(pooling="labels", subwords=500, embedding_size=64, learning_rate=1e-9, epochs=1).fit(RECIPES, NAMED)
    assert [next(plain.rank([text])).labels[0] for text in ("some baking powder", "a fish", "tea")] != found[:3]


@pytest.mark.parametrize("settings", [{}, {"label_names": True}, {"label_names": True, "network": "cnn"}])
def test_labels_that_score_every_step(settings: dict[str, Any], tmp_path: Path) -> None:
    own = {"hidden_size": 128, "filters": 8} if settings.get("network") == "cnn" else {}
    model = made(pooling="labels", epochs=25, shared=True, **settings | own).fit(RECIPES, NAMED, output=tmp_path / "m")
    assert model.metrics["validation_precision_at_1"] == 1.0
    texts = ["baking powder beside it " * 40, "tea", ""]
    loaded = ostinato.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(texts), model.predict_proba(texts))
    # without its networks over time a step's score does not depend on its window
    batch = model.batch([model.encode(Example(text, ())) for text in texts])
    model.network.network = Unchanged(8) if not settings else Beside(Unchanged(8))
    model.network.pooling.weight.data = model.network.pooling.weight.data[:, : model.network.network.output_size]
    whole, model.network.window = model.logits(batch), 7
    torch.testing.assert_close(model.logits(batch), whole)


def test_names_share_the_embedding_and_are_not_kept_twice() -> None:
    model = made(pooling="labels", label_names=True, epochs=1).fit(RECIPES, NAMED)
    network = model.network
    assert not [name for name in network.state_dict() if "names" in name]
    copied = copy.deepcopy(network)
    with torch.no_grad():
        copied.embedding.words.weight.zero_()
        assert float(copied.pooling.names().abs().sum()) == 0 < float(network.pooling.names().abs().sum())
    names = network.pooling.names()
    tea = network.embedding.words.weight[model.codec.words.ids(["tea"])[0]]
    torch.testing.assert_close(names[["baking", "powder", "tea"].index("tea")], tea)
    loss = model.loss(model.batch([model.encode(Example("hot", ("Tea",)))]))
    reached = torch.autograd.grad(loss, network.embedding.words.weight)[0]
    assert float(reached[model.codec.words.ids(["tea"])[0]].abs().sum()) > 0  # by its name alone


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_names": True}, "label_names: is of pooling = labels"),
        ({"label_names": True, "pooling": "max"}, "label_names: is of pooling = labels"),
        ({"pooling": "labels", "network": "mlp"}, "no hidden layer, which network = mlp has"),
        ({"pooling": "labels", "kind": "number"}, "kind = number has one score"),
        ({"pooling": "labels", "label_names": True, "bert": "folder"}, "with bert there are none"),
    ],
)
def test_labels_score_steps_only_where_there_are_both(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Classifier(**settings)


def test_weights_of_labels_count_in_the_loss() -> None:
    texts, labels = TEXTS + TEXTS[1::2] * 3, LABELS + LABELS[1::2] * 3
    plain, balanced = (made(class_weight=each, epochs=1).fit(texts, labels) for each in (None, "balanced"))
    weights = balanced.network.head.weights
    share = balanced.codec.labels_of.counts[0] / balanced.codec.labels_of.texts
    assert weights.tolist() == pytest.approx([0.5 / share, 0.5 / (1 - share)]) and plain.network.head.weights.sum() == 2
    given = made(class_weight="good=1,bad=2.5", epochs=1).fit(TEXTS, LABELS)
    assert given.network.head.weights.tolist() == [2.5, 1.0]
    with pytest.raises(SettingsError, match=r"no text has the label 'goood' \(did you mean good\?\)"):
        made(class_weight={"goood": 2.0}).fit(TEXTS, LABELS)
