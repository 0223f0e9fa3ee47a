"""Measurements of models that were trained, and of their trainings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ostinato
from ostinato import LanguageModel
from ostinato.diagnostics.measure import measure
from ostinato.diagnostics.measurements import Measurements
from ostinato.diagnostics.run import measure_run
from ostinato.errors import DataError, SettingsError
from ostinato.training.measuring import Interval

SETTINGS: dict[str, Any] = {
    "hidden_size": 12, "num_layers": 2, "epochs": 3, "batch_size": 4, "bptt_steps": 16, "warmup_steps": 0, "seed": 1,
    "log_every": 5, "threads": 1, "device": "cpu", "level": "char",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text("the cat sat on the mat\nand the dog sat on the cat\n" * 60)
    return path


@pytest.fixture(scope="module")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("model") / "m"
    return LanguageModel(**SETTINGS).fit(corpus, output=folder, progress=False)


@pytest.fixture(scope="module")
def measured(model: LanguageModel, corpus: Path) -> Measurements:
    return measure(model, corpus, lags=40, rows=6)


def test_a_language_model_is_measured_whole(measured: Measurements) -> None:
    assert [layer.name for layer in measured.layers] == ["layer 0", "layer 1"]
    for layer in measured.layers:
        assert (layer.cell, layer.hidden_size, layer.state_parts) == ("lstm", 12, ("hidden", "cell"))
        assert layer.gradient_by_lag.shape == (41,) and layer.gradient_by_lag is layer.gradient_by_part["hidden"]
        assert layer.jacobian_lags.tolist() == [1, 2, 4, 8, 16, 32, 40]
        assert layer.jacobian_log_singular.shape == (7, 4) and len(layer.lyapunov) == 4
        assert len(layer.eigenvalues) == 24 and layer.spectral_radius == abs(layer.eigenvalues[0])
        assert set(layer.saturation) == set("ifgo") and layer.dead.shape == layer.idle.shape == (12,)
        assert layer.half_life_steps > 0 and layer.growth < 0
    assert measured.truncation_steps == 16 and measured.steps == 6 * measured.sampled["steps_of_a_row"]
    curve = measured.forgetting
    assert curve is not None and curve.context_steps[-1] == 40
    assert curve.loss[-1] < curve.loss[0]  # it has learned to use what went before


def test_measuring_twice_gives_the_same_and_moves_nothing(
    model: LanguageModel, corpus: Path, measured: Measurements
) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    again = measure(model, corpus, lags=40, rows=6)
    for one, other in zip(measured.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.gradient_by_lag, other.gradient_by_lag)
        np.testing.assert_array_equal(one.jacobian_log_singular, other.jacobian_log_singular)
    assert all((value == before[name]).all() for name, value in model.network.state_dict().items())


def test_measurements_survive_json(measured: Measurements) -> None:
    again = Measurements.from_json(measured.to_json())
    assert again.to_json() == measured.to_json()
    assert again.layers[0].eigenvalues.dtype == complex and again.layers[0].dead.dtype == bool
    np.testing.assert_array_equal(again.layers[1].gradient_by_part["cell"], measured.layers[1].gradient_by_part["cell"])
    json.loads(measured.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    with pytest.raises(DataError, match="another version"):
        Measurements.from_json(measured.to_json().replace('"format": 1', '"format": 2', 1))
    with pytest.raises(DataError, match="not measurements"):
        Measurements.from_json("[]")


def test_what_cannot_be_measured_is_refused(model: LanguageModel, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no recurrent network"):
        measure(ostinato.NGramLanguageModel(order=2).fit(corpus, progress=False), corpus)
    with pytest.raises(SettingsError, match="call fit first"):
        measure(LanguageModel(), corpus)
    with pytest.raises(SettingsError, match="at least 1"):
        measure(model, corpus, lags=0)
    (tmp_path / "short.txt").write_text("ab")
    with pytest.raises(DataError, match="too short: 2 tokens"):
        measure(model, tmp_path / "short.txt")


def test_a_training_notes_what_it_goes_through(model: LanguageModel) -> None:
    train = [record for record in model.history if record["kind"] == "train"]
    for record in train:
        assert len(record["batch_loss"]) == len(record["batch_norm"]) == len(record["batch_targets"]) == 5
        assert np.mean(record["batch_norm"]) == pytest.approx(record["gradient_norm"], rel=1e-4)
        assert max(record["batch_norm"]) == pytest.approx(record["gradient_norm_max"], rel=1e-4)
        assert np.std(record["batch_loss"], ddof=1) == pytest.approx(record["loss_deviation"], rel=1e-2, abs=1e-4)
        assert np.average(record["batch_loss"], weights=record["batch_targets"]) == pytest.approx(record["loss"], 1e-4)
        assert 0 < record["update_ratio"] < 0.2
    gradient = [record for record in model.history if record["kind"] == "gradient"]
    validation = [record["step"] for record in model.history if record["kind"] == "validation"]
    assert [record["step"] for record in gradient] == validation
    assert gradient[0]["lags"][:7] == [0, 1, 2, 3, 4, 6, 8] and set(gradient[0]["layers"]) == {"layer 0", "layer 1"}
    run = measure_run(model.history, model.settings.plain())
    assert run is not None and run.gradient_by_lag["layer 0"].shape == (3, len(gradient[0]["lags"]))
    assert run.step.tolist() == [record["step"] for record in train] and run.skipped_steps == run.returns == 0
    assert sum(run.variance_explained.values()) == pytest.approx(1, abs=0.05)
    assert set(run.variance_explained) == {"step size", "clipping", "batch composition", "shared", "unexplained"}


def test_noting_leaves_the_training_as_it_is(corpus: Path, model: LanguageModel) -> None:
    plain = LanguageModel(**SETTINGS, gradient_by_lag=False).fit(corpus, progress=False)
    assert not [record for record in plain.history if record["kind"] == "gradient"]
    for one, other in zip(plain.network.parameters(), model.network.parameters(), strict=True):
        assert (one == other).all()


def test_histories_of_older_trainings_and_of_none_are_read() -> None:
    assert measure_run([], {}) is None
    old = [{"kind": "train", "step": 20, "epoch": 0.1, "loss": 3.0, "learning_rate": 0.1, "gradient_norm": 2.0}]
    run = measure_run([*old, {"kind": "back", "step": 10}], {"clip_norm": 1.0})
    assert run is not None and run.returns == 1 and run.variance_explained == {} and math.isnan(run.update_ratio[0])
    assert run.gradient_lags.size == 0 and run.gradient_by_lag == {}


def test_steps_that_were_skipped_keep_their_place() -> None:
    interval = Interval()
    interval.add(6.0, 3, 1.5, clipped=True)
    interval.skip()
    interval.add(4.0, 4, 0.5, clipped=False)
    figures = interval.figures()
    assert figures["batch_loss"] == [2.0, None, 1.0] and figures["batch_targets"] == [3, None, 4]
    assert figures["clip_rate"] == 0.5 and figures["gradient_norm"] == 1.0 and figures["skipped"] == 1
    assert figures["loss_deviation"] == pytest.approx(math.sqrt(0.5))
