"""The loop, its optimisers, schedules and clipping, on an objective small enough to follow by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.errors import TrainingError
from ostinato.training.checkpoint import list_checkpoints, read_checkpoint
from ostinato.training.find_rate import find_rate
from ostinato.training.history import read_history
from ostinato.training.loop import Trainer
from ostinato.training.objective import Evaluation
from ostinato.training.optimise import clip_gradients, make_optimizer, rate_factor
from ostinato.training.report import Lines, Silent
from ostinato.training.settings import TrainingSettings
from ostinato.training.windows import Window, Windows


class Quadratic:
    """Σ (w − 3)² over the tokens of a window; a number that is not finite at the steps that are listed."""

    def __init__(self, windows: int = 20, bad: dict[int, float] | None = None) -> None:
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.network.weight)
        self.windows = Windows(np.zeros(2 * windows + 1, np.int64), 1, 2)
        self.bad, self.calls = bad or {}, 0
        self.losses: list[float] = []
        self.epochs: list[tuple[int, int]] = []
        self.best: list[tuple[int, float]] = []
        self.kept: list[float] = []

    def begin_epoch(self, epoch: int) -> None:
        self.epochs.append((self.calls, epoch))

    def initial_state(self) -> Any:
        return (torch.zeros(1, 1),)

    def count(self, window: Window) -> int:
        return int((window.targets >= 0).sum())

    def loss(self, window: Window, state: Any) -> tuple[Tensor, Any]:
        total = self.count(window) * ((self.network.weight - 3) ** 2).sum()
        if self.calls in self.bad:
            total = total * self.bad[self.calls]
        self.calls += 1
        return total, (state[0] + 1,)

    def evaluate(self) -> Evaluation:
        loss = self.losses.pop(0) if self.losses else (self.network.weight.item() - 3) ** 2
        return Evaluation(loss, loss, self.figures(loss))

    def figures(self, loss: float) -> dict[str, float]:
        return {"perplexity": math.exp(min(loss, 50))}

    def save_best(self, step: int, loss: float) -> None:
        self.best.append((step, loss))
        self.kept.append(self.network.weight.item())


class Told(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def trainer(objective: Any, folder: Path, **options: Any) -> Trainer:
    settings = TrainingSettings(
        **{
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "warmup_steps": 0,
            "schedule": "constant",
            "clip_norm": None,
            "epochs": 1,
        }
        | options
    )
    (folder / "run").mkdir(exist_ok=True)
    return Trainer(objective, settings, folder / "run", folder / "history.jsonl", Told())


def test_a_step_is_what_the_equation_says(tmp_path: Path) -> None:
    objective = Quadratic(windows=1)
    trainer(objective, tmp_path).train()
    assert objective.network.weight.item() == pytest.approx(0.1 * 2 * 3)  # w − η·∂/∂w (w − 3)², the mean over tokens


def test_accumulated_windows_are_one_batch(tmp_path: Path) -> None:
    """Three windows of 2, 2 and 1 tokens in one step: the mean is over all their tokens."""
    objective = Quadratic()
    objective.windows = Windows(np.zeros(6, np.int64), 1, 2)
    position = trainer(objective, tmp_path, accumulate=3).train()
    assert (position.step, position.tokens, objective.calls) == (1, 5, 3)
    assert objective.network.weight.item() == pytest.approx(0.6)


def test_one_bad_step_costs_one_step(tmp_path: Path) -> None:
    clean, bad = Quadratic(windows=20), Quadratic(windows=21, bad={4: math.nan})
    (tmp_path / "clean").mkdir()
    trainer(clean, tmp_path / "clean").train()
    position = trainer(bad, tmp_path).train()
    assert (position.step, position.skipped) == (21, 1)
    assert torch.equal(clean.network.weight, bad.network.weight)
    assert sum(record.get("skipped", 0) for record in read_history(tmp_path / "history.jsonl")) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_five_bad_steps_go_back_with_half_the_rate(tmp_path: Path, value: float) -> None:
    objective = Quadratic(windows=20, bad=dict.fromkeys(range(8, 13), value))
    run = trainer(objective, tmp_path, checkpoint_every=5)
    told: Any = run.reporter
    position = run.train()
    assert position.rate_scale == 0.5
    assert position.skipped == 5
    assert [text for text in told.messages if "back at step 5 with half the learning rate" in text]
    # 8 steps at the full rate of which 3 were undone, then 15 at half: the error shrinks by 1 − 2η each step
    assert 3 - objective.network.weight.item() == pytest.approx(3 * 0.8**5 * 0.9**15, rel=1e-5)
    assert [record["kind"] for record in read_history(tmp_path / "history.jsonl")].count("back") == 1


def test_what_is_never_finite_ends_with_a_reason_and_is_never_saved(tmp_path: Path) -> None:
    objective = Quadratic(windows=20, bad=dict.fromkeys(range(7, 10_000), math.nan))
    with pytest.raises(TrainingError, match="lower --learning-rate, clip harder"):
        trainer(objective, tmp_path, checkpoint_every=5).train()
    for _, path in list_checkpoints(tmp_path / "run"):
        tensors, _ = read_checkpoint(path)
        assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
    assert not objective.best


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    """A step of infinite size: the checkpoint is refused, and the training goes back to where it began."""
    objective = Quadratic(windows=30)
    run = trainer(objective, tmp_path, learning_rate=1e38, checkpoint_every=1)
    told: Any = run.reporter
    with pytest.raises(TrainingError, match="stays non-finite even at a 256th of the rate"):
        run.train()
    assert any("no checkpoint at step 1: a weight or a state is not finite" in text for text in told.messages)
    for _, path in list_checkpoints(tmp_path / "run"):
        assert read_checkpoint(path)[0]["network.weight"].isfinite().all()


def test_a_checkpoint_past_saving_gives_way_to_the_one_before(tmp_path: Path) -> None:
    """The weight that step 1 left is finite, but its loss is not, whatever the rate; from step 0 a quarter is good."""
    objective = Quadratic(windows=30)
    run = trainer(objective, tmp_path, learning_rate=4e19, clip_norm=1.0, checkpoint_every=1)
    told: Any = run.reporter
    position = run.train()
    assert position.rate_scale <= 0.25
    assert any("back at step 1 " in text for text in told.messages)
    assert any("back at step 0 " in text for text in told.messages)


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    objective = Quadratic(windows=3)
    objective.losses = [5.0, 2.0, 4.0, 3.0, 1.0]
    position = trainer(objective, tmp_path, epochs=10, patience=2).train()
    assert (position.epoch, position.best_loss, position.best_step) == (4, 2.0, 6)
    assert position.stopped_early
    assert objective.best == [(3, 5.0), (6, 2.0)]


def test_state_is_carried_and_reset_at_an_epoch(tmp_path: Path) -> None:
    seen: list[float] = []
    objective = Quadratic(windows=3)
    plain = objective.loss
    objective.loss = lambda window, state: (seen.append(state[0].item()), plain(window, state))[1]
    trainer(objective, tmp_path, epochs=2).train()
    assert seen == [0, 1, 2, 0, 1, 2]


def test_the_loss_decides_between_equal_figures(tmp_path: Path) -> None:
    objective = Quadratic(windows=2)
    found = [Evaluation(loss, -accuracy, {}) for loss, accuracy in ((3.0, 0.5), (2.0, 0.5), (2.5, 0.5), (9.0, 0.75))]
    objective.evaluate = lambda: found.pop(0)
    position = trainer(objective, tmp_path, epochs=4).train()
    assert [step for step, _ in objective.best] == [2, 4, 8]
    assert (position.best_criterion, position.best_loss, position.without_gain) == (-0.75, 9.0, 0)


def test_resumed_training_may_run_longer(tmp_path: Path) -> None:
    objective = Quadratic(windows=4)
    assert trainer(objective, tmp_path, epochs=1).train().step == 4
    assert trainer(objective, tmp_path, epochs=1).train().step == 4
    assert trainer(objective, tmp_path, epochs=3).train().step == 12
    assert objective.calls == 12


def test_an_objective_is_told_the_epoch_also_in_the_middle_of_it(tmp_path: Path) -> None:
    objective = Quadratic(windows=4)
    trainer(objective, tmp_path, epochs=2, max_steps=6).train()
    trainer(objective, tmp_path, epochs=3).train()
    assert objective.epochs == [(0, 0), (4, 1), (6, 1), (8, 2)]  # steps before, and which


def test_limits_on_steps_and_minutes(tmp_path: Path) -> None:
    assert trainer(Quadratic(windows=4), tmp_path, epochs=5, max_steps=6).train().step == 6
    (tmp_path / "other").mkdir()
    position = trainer(Quadratic(windows=4), tmp_path / "other", epochs=5, max_minutes=1e-9).train()
    assert (position.step, position.finished) == (0, True)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw"])
def test_every_optimiser_descends_and_resumes(tmp_path: Path, name: str) -> None:
    """Forty steps at once and in two runs: the same bits, so its state is in the checkpoint."""
    rate = 0.01 if name in ("sgd", "momentum") else 0.1
    whole, halves = Quadratic(windows=40), Quadratic(windows=40)
    (tmp_path / "whole").mkdir()
    options: dict[str, Any] = {"optimizer": name, "learning_rate": rate, "checkpoint_every": 10}
    trainer(whole, tmp_path / "whole", **options).train()
    trainer(halves, tmp_path, max_steps=20, **options).train()
    halves.network = nn.Linear(1, 1, bias=False)
    trainer(halves, tmp_path, **options).train()
    assert torch.equal(whole.network.weight, halves.network.weight)
    assert abs(whole.network.weight.item() - 3) < 2.5


def test_the_average_of_the_weights_is_measured_and_kept(tmp_path: Path) -> None:
    """What the loop trains is not touched; what it measures and keeps is the average by its equation."""
    plain, objective = Quadratic(windows=6), Quadratic(windows=6)
    (tmp_path / "plain").mkdir()
    trainer(plain, tmp_path / "plain").train()
    position = trainer(objective, tmp_path, average_weights=0.3).train()
    weight = average = 0.0
    for step in range(1, 7):
        weight += 0.1 * 2 * (3 - weight)
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert objective.kept == [pytest.approx(average)]
    assert position.best_loss == pytest.approx((average - 3) ** 2)
    assert torch.equal(objective.network.weight, plain.network.weight)
    assert objective.network.weight.item() == pytest.approx(weight)


def test_the_average_goes_back_with_the_weights(tmp_path: Path) -> None:
    """Steps 6 to 8 are undone, then the rate is half."""
    objective = Quadratic(windows=20, bad=dict.fromkeys(range(8, 13), math.nan))
    trainer(objective, tmp_path, average_weights=0.5, checkpoint_every=5).train()
    weight = average = 0.0
    for step in range(1, 21):
        weight += (0.1 if step <= 5 else 0.05) * 2 * (3 - weight)
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert objective.kept == [pytest.approx(average)]


def test_the_average_is_in_the_checkpoint(tmp_path: Path) -> None:
    kept: dict[str, float] = {}
    for name, stops in (("whole", [40]), ("halves", [20, 40])):
        (tmp_path / name).mkdir()
        objective = Quadratic()
        for stop in stops:
            objective = Quadratic(windows=40)
            trainer(objective, tmp_path / name, max_steps=stop, average_weights=0.95, checkpoint_every=10).train()
        kept[name] = objective.kept[-1]
    assert kept["halves"] == kept["whole"]


def test_weight_decay_pulls_to_zero() -> None:
    for name in ("sgd", "adamw"):
        weight = nn.Parameter(torch.ones(1))
        optimizer = make_optimizer([weight], TrainingSettings(optimizer=name, learning_rate=0.1, weight_decay=0.5))
        weight.grad = torch.zeros(1)
        optimizer.step()
        assert weight.item() == pytest.approx(0.95)


def test_schedules() -> None:
    def rates(steps: list[tuple[int, int, int]], **options: Any) -> list[float]:
        settings = TrainingSettings(**options)
        return [round(rate_factor(settings, step, epoch, 110, plateaus), 4) for step, epoch, plateaus in steps]

    warm = [(0, 0, 0), (4, 0, 0), (9, 0, 0)]
    assert rates(warm, warmup_steps=10, schedule="constant") == [0.1, 0.5, 1.0]
    cosine = [(10, 0, 0), (60, 0, 0), (110, 0, 0), (500, 0, 0)]
    assert rates(cosine, warmup_steps=10, schedule="cosine", final_rate=0.1) == [1.0, 0.55, 0.1, 0.1]
    step = [(1, epoch, 0) for epoch in range(6)]
    wanted = [1, 1, 0.5, 0.25, 0.125, 0.0625]
    assert rates(step, warmup_steps=0, schedule="step", decay_after=2, decay_factor=0.5) == wanted
    assert rates([(1, 0, 0), (1, 9, 2)], warmup_steps=0, schedule="plateau", decay_factor=0.3) == [1.0, 0.09]
    # by default a tenth of the steps, here 11
    assert rates([(0, 0, 0), (10, 0, 0), (11, 0, 0)], schedule="constant") == [0.0909, 1.0, 1.0]


def test_going_back_is_a_place_like_any_other(tmp_path: Path) -> None:
    """To an epoch's end: the state begins anew, no step is told twice, and a signal's checkpoint beyond it goes."""
    seen: list[float] = []
    objective = Quadratic(windows=5, bad=dict.fromkeys(range(5, 10), math.nan))
    plain = objective.loss
    objective.loss = lambda window, state: (seen.append(state[0].item()), plain(window, state))[1]
    run = trainer(objective, tmp_path, epochs=3, checkpoint_every=100, log_every=5, evaluate_every=5)
    stale = tmp_path / "run" / "stopped-000000006.safetensors"
    stale.write_bytes(b"")
    position = run.train()
    assert (position.step, position.rate_scale) == (15, 0.5)
    assert not stale.exists()
    epoch = [0, 1, 2, 3, 4]  # a bad step leaves the state as it was
    assert seen == epoch + [0] * 5 + epoch + epoch
    told = [(record["kind"], record["step"]) for record in read_history(tmp_path / "history.jsonl")]
    assert told.count(("validation", 5)) == 1
    assert told.count(("train", 5)) == 1


def test_more_patience_goes_on(tmp_path: Path) -> None:
    objective = Quadratic(windows=2)
    objective.losses = [2.0, 3.0, 1.0, 0.5]
    assert trainer(objective, tmp_path, epochs=4, patience=1).train().epoch == 2
    again = trainer(objective, tmp_path, epochs=4, patience=1)
    told: Any = again.reporter
    assert again.train().epoch == 2
    assert "this training has ended at step 4; to go on, give more --patience" in told.messages
    assert trainer(objective, tmp_path, epochs=4, patience=2).train().best_loss == 0.5


def test_a_best_that_cannot_be_written_is_not_the_best(tmp_path: Path) -> None:
    objective = Quadratic(windows=2)
    objective.losses = [2.0, 1.0, 3.0]

    def full(step: int, loss: float) -> None:
        if loss == 1.0:
            raise OSError(28, "No space left on device")

    objective.save_best = full
    run = trainer(objective, tmp_path, epochs=3)
    told: Any = run.reporter
    assert run.train().best_loss == 2.0
    assert "could not save at step 4: No space left on device; the last good checkpoint stays" in told.messages
    best = [record["best"] for record in read_history(tmp_path / "history.jsonl") if record["kind"] == "validation"]
    assert best == [True, False, False]


def test_plateau_waits_for_its_evaluations(tmp_path: Path) -> None:
    objective = Quadratic(windows=2)
    objective.losses = [5.0, 6.0, 6.0, 6.0, 4.0, 4.5]
    run = trainer(objective, tmp_path, epochs=6, schedule="plateau", plateau_evaluations=2)
    assert run.train().plateaus == 1


def test_clipping() -> None:
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))

    def clip(**options: Any) -> tuple[tuple[float, bool], list[float]]:
        first.grad, second.grad = torch.tensor([3.0, -4.0]), torch.tensor([12.0])
        told = clip_gradients([first, second], **({"norm": None, "value": None} | options))
        return told, [*first.grad.tolist(), *second.grad.tolist()]

    assert clip() == ((13.0, False), [3.0, -4.0, 12.0])
    assert clip(norm=20.0) == ((13.0, False), [3.0, -4.0, 12.0])
    assert clip(norm=6.5) == ((13.0, True), [1.5, -2.0, 6.0])
    assert clip(value=3.5) == ((13.0, True), [3.0, -3.5, 3.5])
    (before, clipped), gradients = clip(value=3.5, norm=1.0)
    assert (before, clipped) == (13.0, True)
    assert math.hypot(*gradients) == pytest.approx(1.0)


def test_rate_finder_leaves_the_network_as_it_was() -> None:
    objective = Quadratic(windows=5)
    sweep = find_rate(objective, TrainingSettings(optimizer="sgd", clip_norm=None))
    assert objective.network.weight.item() == 0
    assert 1e-3 < sweep.suggestion < 1.0  # (w − 3)² falls for rates below 1 and not at all for tiny ones
    assert len(sweep.rates) == len(sweep.losses) > 20


def test_lines_for_logs(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.training.report._LINE_EVERY_SECONDS", 0.0)
    run = trainer(Quadratic(windows=4), tmp_path, log_every=2, clip_norm=0.001)
    run.reporter = Lines()
    run.train()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 2/4 · loss ")
    assert "(100% clipped)" in lines[0]
    assert "min left" in lines[0]
    assert lines[-1].startswith("epoch 1 · step 4 · validation ")


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    trainer(Quadratic(windows=4), tmp_path, log_every=2, tensorboard=str(tmp_path / "events")).train()
    (events,) = (tmp_path / "events").glob("events.out.tfevents.*")
    data = events.read_bytes()
    assert b"train/gradient_norm" in data
    assert b"validation/loss" in data
