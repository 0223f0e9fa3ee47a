"""The rules of the verdict on measurements made by hand: each on both sides of its threshold."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.cells import CELLS
from ostinato.diagnostics.changes import OWN_START
from ostinato.diagnostics.findings import SEVERITIES, Change, Chooser, Text
from ostinato.diagnostics.measurements import Measurements
from ostinato.diagnostics.run import measure_run
from ostinato.diagnostics.verdict import RULES, verdict
from ostinato.tasks.language_model import LanguageModelSettings
from tests.hand_made import SETTINGS, forgetting, gradient, layer, measured, run, unlearned, vanilla


def names(measurements: Measurements) -> list[str]:
    return [finding.name for finding in verdict(measurements)]


def only(measurements: Measurements) -> Any:
    (finding,) = verdict(measurements)
    return finding


def test_a_healthy_model_gets_no_complaint() -> None:
    finding = only(measured())
    assert (finding.name, finding.severity) == ("healthy", "good")
    assert "halves every 8 steps" in finding.seen.en and "每 8 步减半" in finding.seen.zh


def means(value: float, count: int = 8, gate: str = "f") -> dict[str, np.ndarray]:
    return {gate: np.where(np.arange(10) < count, value, 0.5)}


def gates(**ends: np.ndarray) -> dict[str, np.ndarray]:
    return {gate: ends.get(gate, np.full((2, 10), 0.1)) for gate in "ifgo"}


def some(count: int) -> np.ndarray:
    return np.arange(10) < count


def losses(*values: float) -> dict[str, Any]:
    return {"validation_step": 100 * np.arange(1, len(values) + 1), "validation_loss": np.array(values)}


def bump(height: float) -> np.ndarray:
    loss = run().loss.copy()
    loss[15] *= 1 + height
    return loss


SIDES: list[tuple[str, Measurements, Measurements]] = [
    # (finding, one side: named, the other: nothing)
    ("vanishing-gradient", measured(layers=[vanilla(0.95)]), measured(layers=[vanilla(1.05)])),
    (
        "vanishing-gradient",
        measured(layers=[vanilla(1.9, 200)], truncation_steps=200, unlearned=None, forgetting=None),
        measured(layers=[vanilla(2.1, 200)], truncation_steps=200, unlearned=None, forgetting=None),
    ),
    ("vanishing-gradient", measured(layers=[layer(3.0)], unlearned=unlearned(40)), measured(layers=[layer(3.0)])),
    (
        "vanishing-gradient",
        measured(layers=[layer(3.0)], unlearned=unlearned(40, 0.021)),
        measured(layers=[layer(3.0)], unlearned=unlearned(40, 0.019)),
    ),
    ("vanishing-gradient", measured(layers=[vanilla(0.5), vanilla(0.9)]), measured(layers=[vanilla(0.5), layer(8.0)])),
    (
        "exploding-gradient",
        measured(layers=[layer(gradient_by_part={"hidden": np.geomspace(1, 10.5, 65)})]),
        measured(layers=[layer(gradient_by_part={"hidden": np.geomspace(1, 9.5, 65)})]),
    ),
    (
        "exploding-gradient",
        measured(layers=[layer(lyapunov=np.array([np.log(10.5) / 64]))]),
        measured(layers=[layer(lyapunov=np.array([np.log(9.5) / 64]))]),
    ),
    (
        "exploding-gradient",
        measured(layers=[layer(state_norm={"hidden": np.append(np.ones(64), 10.5)})]),
        measured(layers=[layer(state_norm={"hidden": np.append(np.ones(64), 9.5)})]),
    ),
    ("truncation-too-short", measured(unlearned=unlearned(65)), measured(unlearned=unlearned(63))),
    (
        "truncation-too-short",
        measured(layers=[layer(12.0)], forgetting=forgetting(1.121, 1.1)),
        measured(layers=[layer(12.0)], forgetting=forgetting(1.119, 1.1)),
    ),
    (
        "truncation-too-short",
        measured(layers=[layer(9.8)], forgetting=forgetting(1.2, 1.1)),
        measured(layers=[layer(9.4)], forgetting=forgetting(1.2, 1.1)),
    ),
    (
        "forget-gates-open",
        measured(layers=[layer(gate_mean=means(0.981))]),
        measured(layers=[layer(gate_mean=means(0.979))]),
    ),
    (
        "forget-gates-open",
        measured(layers=[layer(gate_mean=means(0.981))]),
        measured(layers=[layer(gate_mean=means(0.981, 7))]),
    ),
    (
        "forget-gates-closed",
        measured(layers=[layer(gate_mean=means(0.019))]),
        measured(layers=[layer(gate_mean=means(0.021))]),
    ),
    (
        "forget-gates-closed",
        measured(layers=[layer(gate_mean=means(0.019))]),
        measured(layers=[layer(gate_mean=means(0.019, 7))]),
    ),
    (
        "saturated-units",
        measured(layers=[layer(saturation=gates(g=np.full((2, 10), 0.455)))]),
        measured(layers=[layer(saturation=gates(g=np.full((2, 10), 0.445)))]),
    ),
    ("dead-units", measured(layers=[layer(dead=some(1))]), measured(layers=[layer(dead=some(0))])),
    ("idle-units", measured(layers=[layer(idle=some(5))]), measured(layers=[layer(idle=some(4))])),
    (
        "step-too-large",
        measured(run=run(update_ratio=np.full(20, 0.11))),
        measured(run=run(update_ratio=np.full(20, 0.09))),
    ),
    ("not-finite", measured(run=run(skipped_steps=4)), measured(run=run(skipped_steps=3))),
    ("not-finite", measured(run=run(returns=1)), measured(run=run(returns=0))),
    (
        "step-too-large",
        measured(run=run(loss=np.append(run().loss, [1.12] * 3), step=20 * np.arange(1, 24))),
        measured(run=run(loss=np.append(run().loss, [1.09] * 3), step=20 * np.arange(1, 24))),
    ),
    (
        "step-too-small",
        measured(run=run(update_ratio=np.full(20, 0.9e-4))),
        measured(run=run(update_ratio=np.full(20, 1.1e-4))),
    ),
    (
        "clipping-always",
        measured(run=run(clip_rate=np.full(20, 0.91))),
        measured(run=run(clip_rate=np.full(20, 0.89))),
    ),
    (
        "gradient-spikes",
        measured(run=run(gradient_norm_max=np.full(20, 15.1)), settings=SETTINGS | {"clip_norm": None}),
        measured(run=run(gradient_norm_max=np.full(20, 14.9)), settings=SETTINGS | {"clip_norm": None}),
    ),
    ("loss-jumps", measured(run=run(loss=bump(0.23))), measured(run=run(loss=bump(0.17)))),
    ("overfitting", measured(run=run(**losses(1.5, 1.0, 1.051))), measured(run=run(**losses(1.5, 1.0, 1.049)))),
    ("not-converged", measured(run=run(**losses(1.5, 1.0, 0.989))), measured(run=run(**losses(1.5, 1.0, 0.991)))),
]


@pytest.mark.parametrize(("name", "over", "under"), SIDES, ids=[f"{at}-{side[0]}" for at, side in enumerate(SIDES)])
def test_each_side_of_each_threshold(name: str, over: Measurements, under: Measurements) -> None:
    assert names(over) == [name]
    assert names(under) == ["healthy"]


def test_every_rule_is_tested_and_documented() -> None:
    for rule in RULES:
        text = inspect.getdoc(rule) or ""
        assert "Measured:" in text and "Limit" in text and "Source:" in text, rule.__name__
    made = {name for name, _, _ in SIDES}
    assert len(made) >= len(RULES)


def all_findings() -> list[Any]:
    return [finding for _, over, _ in SIDES for finding in verdict(over)] + verdict(measured())


def test_a_finding_says_all_in_both_languages() -> None:
    chinese = re.compile("[\u4e00-\u9fff]")
    for finding in all_findings():
        for text in (finding.title, finding.seen):
            assert text.en and not chinese.search(text.en), text
            assert chinese.search(text.zh), text
        if finding.severity == "good":
            continue
        assert finding.threshold.value > 0 and finding.threshold.why.en and chinese.search(finding.threshold.why.zh)
        assert finding.cause.en and chinese.search(finding.cause.zh) and finding.evidence
        assert finding.changes or finding.advice.en, finding.name
        assert re.search(r"(19|20)\d\d|CS231n", finding.source), finding.source
        for change in finding.changes:
            assert change.option in finding.said("en") and change.option in finding.said("zh")
            assert change.why.en and chinese.search(change.why.zh)
        assert finding.threshold.why.zh in finding.said("zh") and finding.source in finding.said("zh")


def test_changes_are_settings_that_the_task_takes() -> None:
    defaults = LanguageModelSettings().plain()
    for _, over, _ in SIDES:
        judged = verdict(replace(over, settings=defaults | over.settings))
        for change in judged[0].changes:
            LanguageModelSettings.checked(defaults | dict(change.settings))
            assert "batch_norm" not in change.settings  # a language model writes by steps
            assert any(over.settings.get(name) != value for name, value in change.settings.items())


def test_json_says_the_same() -> None:
    for finding in all_findings():
        plain = json.loads(json.dumps(finding.plain(), allow_nan=False))
        assert set(plain) == {
            "name", "severity", "title", "where", "evidence", "threshold", "seen", "cause", "changes", "advice",
            "source", "follows",
        }  # fmt: skip
        assert plain["severity"] in SEVERITIES and set(plain["title"]) == {"en", "zh"}
        for each in plain["evidence"]:
            assert set(each) == {"name", "value", "unit"}


def test_what_breaks_the_training_is_named_first_and_what_follows_beneath_it() -> None:
    tired = {"h": np.full((2, 10), 0.5)}
    broken = measured(run=run(returns=2, clip_rate=np.ones(20)), layers=[vanilla(0.5, dead=some(2), saturation=tired)])
    assert names(broken) == ["not-finite", "vanishing-gradient", "dead-units", "clipping-always", "saturated-units"]
    by_step = replace(broken, run=run(returns=2, clip_rate=np.ones(20), update_ratio=np.full(20, 0.5)))
    first, second = verdict(by_step)
    assert (first.name, second.name) == ("step-too-large", "dead-units")
    assert {each.name for each in first.follows} == {
        "not-finite", "vanishing-gradient", "clipping-always", "saturated-units",
    }  # fmt: skip
    assert "what follows from it: The loss was not finite; The gradient vanishes" in first.said("en")
    assert "随之而来" in first.said("zh") and len(first.plain()["follows"]) == 4


def test_without_a_network_the_record_is_judged() -> None:
    assert names(measured(layers=[], forgetting=None, unlearned=None)) == ["healthy"]
    assert "record" in only(measured(layers=[], forgetting=None, unlearned=None)).title.en
    assert names(measured(layers=[], forgetting=None, unlearned=None, run=run(returns=1))) == ["not-finite"]
    assert names(Measurements("tagger", 0, None, [])) == ["nothing-measured"]


def test_what_is_not_finite_explodes_and_does_not_vanish() -> None:
    wild = gradient(8.0).copy()
    wild[30:] = np.inf
    for made in (
        layer(gradient_by_part={"hidden": wild}, half_life_steps=float("inf")),
        layer(state_norm={"hidden": np.append(np.ones(64), np.nan)}),
        layer(lyapunov=np.array([np.inf])),
    ):
        finding = verdict(measured(layers=[made]))[0]
        assert finding.name == "exploding-gradient"
        json.dumps(finding.plain(), allow_nan=False)


def test_where_the_answer_stands_is_beyond_reach_or_not() -> None:
    fading = layer(cell="rnn", gradient_by_part={"hidden": gradient(2.0)}, half_life_steps=2.0)
    for needed, complains in ((30, True), (12, False)):
        made = measured(layers=[fading], unlearned=None, truncation_steps=None, needed_steps=needed)
        named = {finding.name: finding for finding in verdict(made)}
        told = named.get("vanishing-gradient")
        assert (
            told is not None and told.severity == "problem" and f"stands {needed} steps" in told.seen.en
        ) == complains


def test_a_forget_gate_is_read_the_way_its_cell_uses_it() -> None:
    for cell, gate, end in (("gru", "z", "open"), ("mgu", "f", "closed"), ("min-gru", "z", "closed")):
        found = names(measured(layers=[layer(cell=cell, gate_mean=means(0.995, 8, gate))]))
        assert found == [f"forget-gates-{end}"], cell


def test_a_change_that_is_made_already_is_not_named() -> None:
    change = Change("clip", {"clip_norm": 1.0, "clip_value": None}, Text("", ""))
    assert Chooser({"clip_norm": 1.0, "clip_value": None}).pick(change) == ()
    assert Chooser({"clip_norm": 2.0, "clip_value": None}).pick(change) == (change,)
    assert Chooser({"clip_norm": 2.0}).pick(change) == ()
    lstm = verdict(measured(layers=[layer(3.0)], unlearned=unlearned(40)))[0]
    assert "--cell lstm" not in [each.option for each in lstm.changes]
    rnn = verdict(measured(layers=[vanilla(0.5)], settings=SETTINGS | {"cell": "rnn"}))[0]
    assert rnn.changes[0].option == "--cell lstm"


def test_lags_that_echo_a_nearer_one_say_nothing_of_the_truncation() -> None:
    both = unlearned(40, 0.5)
    both.gain[79] = 0.4  # what returns after 40 steps returns after 80
    assert names(measured(unlearned=both)) == ["healthy"]
    both.gain[79] = 0.6
    assert names(measured(unlearned=both)) == ["truncation-too-short"]
    everywhere = unlearned()
    assert names(measured(unlearned=replace(everywhere, gain=everywhere.gain + 0.03))) == ["healthy"]


def test_what_explains_the_jumps_is_told() -> None:
    jumps = replace(
        run(loss=bump(0.5)), variance_explained={"step size": 0.1, "batch composition": 0.6, "unexplained": 0.3}
    )
    finding = only(measured(run=jumps))
    assert "Up to step 320 the loss rose by" in finding.seen.en and "batch composition 60 %" in finding.seen.en
    assert "批次组成 60 %" in finding.seen.zh and "The batches differ" in finding.cause.en
    assert finding.changes[0].option == "--accumulate 4"
    unclear = replace(jumps, variance_explained={"step size": 0.05, "unexplained": 0.95})
    assert "does not tell which" in only(measured(run=unclear)).cause.en


def test_steps_that_were_gone_back_over_are_no_obstacle() -> None:
    def line(step: int, batches: int) -> dict[str, Any]:
        of_batches = {name: [1.0] * batches for name in ("batch_loss", "batch_norm", "batch_targets")}
        return {"kind": "train", "step": step, "epoch": step / 100, "loss": 2.0, "gradient_norm": 1.0} | of_batches

    back = {"kind": "back", "step": 0, "from_step": 12, "rate_scale": 0.5}
    found = measure_run([line(10, 10), back, line(10, 12), line(20, 10)], {"clip_norm": 1.0})
    assert found is not None and found.returns == 1 and len(found.loss) == 3


@pytest.mark.parametrize("page", ["understanding.md", "understanding.zh-CN.md"])
def test_the_pages_name_every_finding(page: str) -> None:
    text = (Path(__file__).parents[1] / "docs" / page).read_text("utf-8")
    for name in {name for name, _, _ in SIDES} - {"forget-gates-closed"}:
        assert f"| `{name}`" in text, name


def test_a_start_that_a_cell_has_by_itself_is_not_named() -> None:
    def options(**settings: Any) -> list[str]:
        return [
            each.option for each in verdict(measured(layers=[vanilla(0.5)], settings=SETTINGS | settings))[0].changes
        ]

    assert "--recurrent-init orthogonal" not in options(cell="rnn")
    assert "--recurrent-init orthogonal" in options(cell="rnn", recurrent_init="normal")
    assert "--cell irnn --recurrent-init none" in options(cell="rnn", recurrent_init="normal")
    assert "--cell irnn" in options(cell="rnn")
    for name, kind in CELLS.items():
        assert OWN_START.get(name, "orthogonal") == kind.own_recurrent_init


def test_the_record_of_an_older_version_is_no_obstacle() -> None:
    unknown = np.full(20, np.nan)
    fields = ("gradient_norm", "gradient_norm_max", "clip_rate", "update_ratio", "loss_deviation", "learning_rate")
    old = run(**dict.fromkeys(fields, unknown))
    assert names(measured(run=old, settings=SETTINGS | {"clip_norm": None})) == ["healthy"]
    lost = run(loss=np.full(20, np.nan), validation_loss=np.full(3, np.nan))
    assert names(measured(run=lost)) == ["not-finite"]
    empty = measure_run([{"kind": "validation", "step": 40, "loss": 1.5}], {})
    assert names(measured(run=empty)) == ["healthy"]
