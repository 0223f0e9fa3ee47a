"""Experiments: their data have known answers, their formulas agree with another way, and a stopped one goes on."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from ostinato.cells import CELLS, GRUCell, IndRNNCell, LSTMCell, MGUCell, MinGRUCell, RNNCell
from ostinato.cli.experiment_command import experiment_app
from ostinato.errors import BundleError, SettingsError
from ostinato.experiments import EXPERIMENTS, experiment_class, figures
from ostinato.experiments.adding import TRIVIAL, Adding, AddingProblem, AddingSettings
from ostinato.experiments.chrono import chrono
from ostinato.experiments.clipping import Clipping, slope
from ostinato.experiments.cnn_rnn_fnn import make_network
from ostinato.experiments.copying import CopyProblem, memoryless, without_order
from ostinato.experiments.images import DigitProblem, load_digits
from ostinato.experiments.memory import RecallProblem, remembered
from ostinato.experiments.training import judge, recurrent_network
from ostinato.experiments.vanishing import SigmoidRNNCell, back_propagate, kept_a_step
from ostinato.kernels.recurrence import backend
from ostinato.measures.bptt import bptt_terms
from ostinato.recurrent import Recurrent
from ostinato.training.report import Silent
from tests.test_cli import ostinato

TINY: dict[str, list[str]] = {
    "vanishing": ["--time-steps", "6", "--hidden-size", "4", "--draws", "1"],
    "clipping": ["--steps", "5", "--starts", "2"],
    "adding": ["--time-steps", "6", "--steps", "4", "--hidden-size", "4", "--cells", "rnn,gru", "--evaluations", "2"],
    "copy": ["--delay-steps", "3", "--steps", "4", "--hidden-size", "4", "--cells", "lstm", "--evaluations", "2"],
    "sequential-mnist": ["--steps", "4", "--hidden-size", "4", "--cells", "gru", "--evaluations", "2"],
    "memory": ["--delays", "2,3", "--steps", "4", "--hidden-size", "4", "--cells", "rnn", "--evaluations", "2"],
    "cnn-rnn-fnn": ["--steps", "4", "--parameters", "1000", "--evaluations", "2"],
}  # fmt: skip


def test_every_experiment_is_tried_here() -> None:
    assert TINY.keys() == EXPERIMENTS.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTINATO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(experiment_app(name), [*TINY[name], "--quiet"], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    folder, kind = tmp_path / "experiments" / name, experiment_class(name)
    first = run.stdout.splitlines()[0]
    assert all(heading in first for heading in kind(**_settings(TINY[name], kind)).headings().values())
    result = json.loads((folder / "result.json").read_text())
    assert result["complete"] is True
    assert result["reading"] in run.stdout
    with (folder / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result["rows"]) > 0
    picture = (folder / "figure.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    assert not (folder / "runs").exists()


def _settings(arguments: list[str], kind: Any) -> dict[str, Any]:
    """Those that the headings depend on."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    return {"delays": [int(each) for each in given["--delays"].split(",")]} if "--delays" in given else {}


def test_json_and_a_wrong_call(tmp_path: Path) -> None:
    found = json.loads(ostinato("experiment", "clipping", *TINY["clipping"], "--json", "-o", tmp_path / "x").stdout)
    assert [row["clipping"] for row in found["rows"]] == ["no clipping", "by norm", "by value"]
    assert all(Path(file).exists() for file in found["files"])
    wrong = ostinato("experiment", "adding", "--cells", "grru", "-o", tmp_path / "y", status=2).stderr
    assert "'grru' is no cell" in wrong
    assert "did you mean gru?" in wrong
    assert not (tmp_path / "y").exists()


# The data


def test_the_verdict_says_why_a_plain_network_cannot_add() -> None:
    settings = AddingSettings(time_steps=240)
    problem = AddingProblem(240, 0)
    torch.manual_seed(0)
    said = {
        cell: judge(recurrent_network(cell, problem, settings, 240).eval(), problem, settings)
        for cell in ("rnn", "gru")
    }
    assert said["rnn"].startswith("The gradient vanishes") and "stands 120 steps back" in said["rnn"]
    assert "vanishes" not in said["gru"]


def test_adding() -> None:
    problem = AddingProblem(50, seed=3)
    batch = problem.batch("train", 7, 4000)
    values, marks = batch.inputs.unbind(2)
    assert (marks[:25].sum(0) == 1).all() and (marks[25:].sum(0) == 1).all()
    torch.testing.assert_close((values * marks).sum(0), batch.targets)
    assert float((batch.targets - 1).square().mean()) == pytest.approx(TRIVIAL, rel=0.05)
    assert torch.equal(problem.batch("train", 7, 4000).inputs, batch.inputs)
    assert not torch.equal(problem.batch("train", 8, 4000).inputs, batch.inputs)
    assert not torch.equal(problem.batch("test", 7, 4000).inputs, batch.inputs)
    right = (values * marks).sum(0).unsqueeze(1)
    assert float(problem.loss(right, batch)) == pytest.approx(0, abs=1e-9)
    assert int(problem.figures(right + 0.05, batch)["within_0.04"]) == 0


def test_copy() -> None:
    batch = CopyProblem(1000, seed=0).batch("test", 0, 3)
    ids = batch.inputs.argmax(2)
    assert ids.shape == batch.targets.shape == (1020, 3)
    assert (ids[10:1009] == 0).all() and (ids[1009] == 9).all() and (ids[1010:] == 0).all()
    assert torch.equal(batch.targets[1010:], ids[:10])
    assert not batch.targets[:1010].any()
    # blanks for sure, then guesses among the eight: the memoryless loss
    scores = torch.full((1020, 3, 9), -1e4)
    scores[:1010, :, 0], scores[1010:, :, 1:] = 0, 0
    problem = CopyProblem(1000, seed=0)
    assert float(problem.loss(scores, batch)) / problem.count(batch) == pytest.approx(memoryless(1000), rel=1e-5)
    assert memoryless(1000) == pytest.approx(0.0204, abs=5e-5)
    # the same for one who knows the ten but not their order: each as likely as it is frequent
    many = problem.batch("test", 1, 500)
    shares = many.inputs[:10, :, :9].mean(0).log().clamp(min=-1e4)
    scores = torch.full((1020, 500, 9), -1e4)
    scores[:1010, :, 0], scores[1010:] = 0, shares
    assert float(problem.loss(scores, many)) / problem.count(many) == pytest.approx(without_order(1000), rel=0.02)
    exact = functional.one_hot(batch.targets, 9).float()
    assert float(problem.figures(exact, batch)["right"]) / problem.count(batch) == pytest.approx(1)


def test_recall() -> None:
    batch = RecallProblem(5, seed=1).batch("train", 0, 64)
    ids = batch.inputs.argmax(2)
    assert torch.equal(ids[0], batch.targets)
    assert set(ids[0].tolist()) == {0, 1, 2, 3}
    assert set(ids[1:-1].flatten().tolist()) == {4, 5, 6, 7}
    assert (ids[-1] == 8).all()
    assert remembered([10, 100], [0.95, 0.95], 0.9) == 100
    assert remembered([10, 100], [0.5], 0.9) == 0
    assert remembered([10, 100], [math.nan], 0.9) == 0


# The formulas


def test_slope_is_that_of_a_unit_of_ours() -> None:
    cell = SigmoidRNNCell(1, 1).double()
    with torch.no_grad():
        cell.weight_hh.fill_(5.1), cell.bias_ih.fill_(-2.4)
    start = cell.initial_state(1)._replace(hidden=torch.full((1, 1), 0.5).double())
    with backend("reference"):
        outputs, _ = Recurrent(cell)(torch.zeros(30, 1, 1).double(), start)
    error = (outputs[-1, 0, 0] - 0.7).square()
    by_weight, by_bias = torch.autograd.grad(error, [cell.weight_hh, cell.bias_ih])
    found = slope(5.1, -2.4, time_steps=30)
    assert found.error == pytest.approx(error.item(), rel=1e-12)
    assert found.by_weight == pytest.approx(by_weight.item(), rel=1e-10)
    assert found.by_bias == pytest.approx(by_bias.item(), rel=1e-10)
    # on the line b = −w/2 the unit stays at one half, and there stands the wall
    assert slope(8.0, -4.0).error == pytest.approx(0.04)
    assert slope(8.0, -4.05).error > 0.45
    assert slope(8.0, -3.95).error < 0.1


def test_clipping_keeps_steps_short() -> None:
    experiment = Clipping(steps=30, starts=0, clip=0.1, learning_rate=0.5)
    _, steepest = experiment._descend("no clipping", 5.5, -2.6)
    assert steepest > 100
    for mode, longest in (("by norm", 0.05), ("by value", 0.05 * math.sqrt(2))):
        path, _ = experiment._descend(mode, 5.5, -2.6)
        assert max(math.dist(*both) for both in pairwise(path)) <= longest + 1e-12


def test_back_propagation_by_the_book() -> None:
    """∂L/∂h_k is the product of diag φ′(a_j) W that the derivation has, and the terms add up to the gradient."""
    cell = RNNCell(3, 5).double()
    inputs, direction = torch.randn(7, 1, 3).double(), torch.randn(1, 5).double()
    found = back_propagate(cell, inputs, direction)
    with backend("reference"):
        hidden = Recurrent(cell)(inputs)[0].detach()
    gradient, norms = direction[0], []
    for h in hidden.flip(0)[:, 0]:
        norms.append(float(gradient.norm()))
        gradient = gradient @ (torch.diag(1 - h**2) @ cell.weight_hh.detach())
    np.testing.assert_allclose(found.by_lag, norms, rtol=1e-12)
    assert found.disagreement < 1e-12
    assert found.term_norms[-1] == 0  # h_0 is zero
    assert kept_a_step(found.by_lag) == pytest.approx(float(np.exp(np.polyfit(range(7), np.log(norms), 1)[0])))


def test_the_concatenated_form_is_the_sum_of_products() -> None:
    """tanh([X, H] [W_xh; W_hh] + b) is what the cell computes."""
    cell, x, h = RNNCell(3, 5).double(), torch.randn(2, 3).double(), torch.randn(2, 5).double()
    both = torch.cat([x, h], 1) @ torch.cat([cell.weight_ih, cell.weight_hh], 1).t() + cell.bias_ih + cell.bias_hh
    torch.testing.assert_close(cell(x, cell.initial_state(2)._replace(hidden=h)).hidden, torch.tanh(both))


def test_the_terms_are_those_of_written_out_jacobians() -> None:
    """A copy of the weight for each step, and the products of matrices of `measures.bptt`, say the same."""
    cell, inputs, direction = LSTMCell(3, 4).double(), torch.randn(6, 1, 3).double(), torch.randn(1, 4).double()
    book = bptt_terms(Recurrent(cell), inputs[:, 0], lambda output: output @ direction[0])
    found = back_propagate(cell, inputs, direction)
    np.testing.assert_allclose(found.term_norms[::-1], book.norms("weight_hh"), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("cell", ["irnn", "gru", "lstm", "reset-first-gru", "mgu", "peephole-lstm", "slstm"])
def test_terms_add_up_for_every_cell(cell: str) -> None:
    inputs, direction = torch.randn(5, 2, 3).double(), torch.randn(2, 4).double()
    assert back_propagate(CELLS[cell](3, 4).double(), inputs, direction).disagreement < 1e-10


@pytest.mark.parametrize(("kind", "gate", "sign"), [(GRUCell, "z", 1), (MinGRUCell, "z", -1), (MGUCell, "f", -1)])
def test_chrono(kind: Any, gate: str, sign: int) -> None:
    cell = kind(3, 400)
    assert chrono(cell, 200)
    rows = dict(zip(cell.gates, cell.bias_ih.detach().chunk(len(cell.gates)), strict=True))
    steps = (sign * rows.pop(gate)).exp()
    assert steps.min() >= 1 and steps.max() <= 199 and steps.mean() == pytest.approx(100, rel=0.1)
    assert all(not rest.any() for rest in rows.values())
    assert not chrono(RNNCell(3, 4), 200)
    assert not chrono(IndRNNCell(3, 4), 200)
    assert not chrono(LSTMCell(3, 4, bias=False), 200)


# Networks of one size


@pytest.mark.parametrize("kind", ["FNN", "CNN", "RNN"])
def test_networks_fill_their_budget(kind: str) -> None:
    problem = DigitProblem(load_digits(0), 0)
    network = make_network(kind, problem, "gru", 5000)
    size = sum(parameter.numel() for parameter in network.parameters())
    assert 4500 < size <= 5000
    assert network(problem.batch("test", 0, 7).inputs).shape == (7, 10)


# Runs


class StopAt(Silent):
    """Sends the signal of Ctrl-C at an evaluation."""

    def __init__(self, at: int) -> None:
        self.left = at

    def evaluation(self, record: dict[str, Any]) -> None:  # noqa: ARG002  # noqa: D102
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_one_goes_on_to_the_same(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"time_steps": 6, "steps": 30, "hidden_size": 4, "cells": ["rnn", "gru"]}
    whole = Adding(**settings, evaluations=6).run(tmp_path / "whole", formats=())
    stopped = Adding(**settings, evaluations=6).run(tmp_path / "parts", StopAt(9), formats=())
    assert not stopped.complete
    assert stopped.exit_code == 130
    assert [row["cell"] for row in stopped.rows] == ["rnn"]
    assert json.loads((tmp_path / "parts" / "result.json").read_text())["complete"] is False
    assert len((tmp_path / "parts" / "table.csv").read_text().splitlines()) == 2
    resumed = Adding(**settings, evaluations=6).run(tmp_path / "parts", formats=())
    assert resumed.complete
    for ours, theirs in zip(resumed.rows, whole.rows, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert [curve.y for curve in resumed.curves] == [curve.y for curve in whole.curves]


def test_other_settings_begin_anew_and_other_files_are_left_alone(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"time_steps": 6, "hidden_size": 4, "cells": ["rnn", "gru"], "evaluations": 2}
    Adding(**settings, steps=8).run(tmp_path / "x", StopAt(3), formats=())
    other = Adding(**settings, steps=6).run(tmp_path / "x", formats=())
    assert other.complete and {row["best_step"] for row in other.rows} <= {3, 6}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds something else"):
        Adding(**settings).run(tmp_path / "mine")


def test_without_matplotlib_there_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "find_spec", lambda _: None)
    app = experiment_app("clipping")
    run = CliRunner().invoke(app, [*TINY["clipping"], "--quiet", "-o", str(tmp_path / "x")])
    assert run.exit_code == 0
    assert "by value" in run.stdout
    assert "pip install 'ostinato[plot]'" in run.stderr
    assert not (tmp_path / "x" / "figure.png").exists()


def test_figures_for_print(tmp_path: Path) -> None:
    outcome = experiment_class("clipping")(steps=3, starts=0).run(tmp_path / "x", formats=("svg", "pdf"))
    assert (tmp_path / "x" / "figure.svg").read_text().startswith("<?xml")
    assert (tmp_path / "x" / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert str(tmp_path / "x" / "figure.pdf") in outcome.files


def test_what_cannot_learn_is_a_row(tmp_path: Path) -> None:
    """A rate at which nothing is finite: told as such, and the others are measured."""
    outcome = Adding(time_steps=6, steps=60, hidden_size=4, cells=["irnn"], learning_rate=1e30, clip_norm=None).run(
        tmp_path / "x", formats=()
    )
    assert outcome.complete
    assert "irnn did no better" in outcome.reading
    assert json.loads((tmp_path / "x" / "result.json").read_text())["complete"] is True


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="did you mean time_steps"):
        Adding(time_step=5)
    with pytest.raises(SettingsError, match="each above the one before"):
        experiment_class("memory")(delays=[10, 5])
    problem = AddingProblem(8, 0)
    longest = recurrent_network("lstm", problem, Adding(hidden_size=300).settings, 50)
    i, f, _, _ = longest.network.layers[0].cell.bias_ih.detach().chunk(4)
    assert torch.equal(i, -f) and f.max() > 3
