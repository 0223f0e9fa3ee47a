"""The loop: truncated back-propagation through time that stops, fails and resumes without loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.errors import OstinatoError, TrainingError
from ostinato.networks import detach, flatten_state, load_weights, map_state, named_weights
from ostinato.training import checkpoint
from ostinato.training.averaging import WeightAverage
from ostinato.training.history import History
from ostinato.training.measuring import GradientProbe, Interval, UpdateSize
from ostinato.training.objective import Objective, Position
from ostinato.training.optimise import clip_gradients, make_optimizer, rate_factor
from ostinato.training.report import Reporter
from ostinato.training.settings import TrainingSettings
from ostinato.training.signals import Interrupted, catching

NON_FINITE_IN_A_ROW = 5  # skipped steps before the last checkpoint comes back
_SMALLEST_SCALE = 2.0**-8  # of the rate; a training that needs less has another fault


class Trainer:
    """Trains an objective in a folder that survives it.

    Args:
        objective: what is trained.
        settings: how.
        run: folder of checkpoints; what stands there is resumed.
        history: path of `history.jsonl`.
        reporter: what the user sees.
    """

    def __init__(
        self, objective: Objective, settings: TrainingSettings, run: Path, history: Path, reporter: Reporter
    ) -> None:
        self.objective, self.settings, self.folder, self.reporter = objective, settings, run, reporter
        self.network: nn.Module = objective.network
        self.parameters = list(self.network.parameters())
        self.device = self.parameters[0].device
        self.optimizer = make_optimizer(self.parameters, settings)
        self.average = WeightAverage(self.network, settings.average_weights) if settings.average_weights else None
        self.position = Position()
        self.state: Any = None
        self.non_finite = 0
        self.interval = Interval()
        self.probe = GradientProbe(objective) if settings.gradient_by_lag else None
        self.steps_per_epoch = math.ceil(len(objective.windows) / settings.accumulate)
        self.total_steps = min(settings.epochs * self.steps_per_epoch, settings.max_steps or math.inf)
        self._started = time.monotonic()
        self._restore_newest(settings)
        self.history = History(history, self.position.history_bytes, settings.tensorboard)

    def _restore_newest(self, settings: TrainingSettings) -> None:
        found, damaged = checkpoint.read_newest(self.folder)
        for reason in damaged:
            self.reporter.message(f"passed over a checkpoint: {reason}")
        if found is not None:
            self._restore(*found)
            if self.position.finished:  # unless more epochs, or more patience, are asked for now
                self.position.stopped_early = self._out_of_patience()
                self.position.finished = self.position.stopped_early or self._exhausted()
                if self.position.finished:
                    what = (
                        "more --patience"
                        if self.position.stopped_early
                        else "more --epochs, --max-steps or --max-minutes"
                    )
                    self.reporter.message(
                        f"this training has ended at step {self.position.step:,}; to go on, give {what}"
                    )
        elif damaged:
            raise TrainingError(f"{self.folder}: no checkpoint can be read; start anew")
        else:
            torch.manual_seed(settings.seed + 1)  # the weights were drawn with the seed itself

    def train(self) -> Position:
        """Train to the end.

        Raises:
            Interrupted: after a checkpoint, if SIGINT or SIGTERM came.
            TrainingError: if the loss stays non-finite whatever the rate.
        """
        self.reporter.begin(int(self.total_steps), self.position.step)
        try:
            with catching() as caught:
                if self.position.step == 0:
                    self._save()  # so that there is something to go back to
                while not self.position.finished:
                    self._epoch(caught)
        finally:
            self.reporter.end()
            self.history.close()
        return self.position

    def _epoch(self, caught: list[int]) -> None:
        self.objective.begin_epoch(self.position.epoch)
        position, windows = self.position, self.objective.windows
        if position.window == 0:
            self.state = self.objective.initial_state()
        self.network.train()
        while position.window < len(windows) and not self._exhausted():
            self._step([windows[i] for i in range(position.window, self._group_end())])
            if self.non_finite >= NON_FINITE_IN_A_ROW:
                self._go_back()
                return  # and come again, from where that was
            if position.step % self.settings.log_every == 0:
                self._log()
            every = self.settings.evaluate_every
            if every and position.step % every == 0 and position.window < len(windows):
                self._evaluate()
            elif position.step % self.settings.checkpoint_every == 0 and not self.non_finite:
                self._save()
            if position.finished:
                return
            if caught:
                raise Interrupted(position.step, caught[0], saved=self._save("stopped"))
        if position.window >= len(windows):
            position.epoch, position.window = position.epoch + 1, 0
        self._evaluate()

    def _group_end(self) -> int:
        return min(self.position.window + self.settings.accumulate, len(self.objective.windows))

    def _exhausted(self) -> bool:
        limit = self.settings.max_minutes
        late = limit is not None and self._seconds() >= 60 * limit
        return late or self.position.epoch >= self.settings.epochs or self.position.step >= self.total_steps

    def _seconds(self) -> float:
        return self.position.seconds + time.monotonic() - self._started

    def _rate(self) -> float:
        p = self.position
        peak = self.settings.learning_rate
        assert peak != "auto", "the sweep has found the rate before training begins"  # noqa: S101
        return peak * p.rate_scale * rate_factor(self.settings, p.step, p.epoch, int(self.total_steps), p.plateaus)

    def _step(self, windows: list[Any]) -> None:
        """Back-propagate through some windows and step once, unless a number is not finite."""
        before, position, interval = self.state, self.position, self.interval
        counted = sum(map(self.objective.count, windows))
        total, norm, clipped = 0.0, math.nan, False
        self.optimizer.zero_grad(set_to_none=True)
        for window in windows:
            loss, state = self.objective.loss(window, self.state)
            self.state = detach(state)
            total += float(loss.detach())
            if not math.isfinite(total):
                break
            (loss / max(1, counted)).backward()
        else:
            norm, clipped = clip_gradients(self.parameters, self.settings.clip_norm, self.settings.clip_value)
        if math.isfinite(norm) and math.isfinite(total):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            logged = (position.step + 1) % self.settings.log_every == 0
            size = UpdateSize(self.parameters) if logged else None
            self.optimizer.step()
            interval.update_ratio = size.ratio() if size else interval.update_ratio
            if self.average is not None:
                self.average.update(position.step + 1)
            self.non_finite = 0
            position.finite_steps += 1
            interval.add(total, counted, norm, clipped)
        else:
            self.state = before if before is None or _finite(flatten_state(before)) else self.objective.initial_state()
            position.skipped += 1
            interval.skip()
            self.non_finite += 1
        position.step, position.window = position.step + 1, self._group_end()
        position.tokens += counted

    def _go_back(self) -> None:
        """Return to the last checkpoint with half the rate.

        A checkpoint that was written because of a signal is no place to return to: a run that was never stopped, and
        ends in the same bits, does not have it.
        """
        at, scale, skipped = self.position.step, self.position.rate_scale, self.position.skipped
        paths = [path for _, path in checkpoint.list_checkpoints(self.folder, "checkpoint")]
        if scale < 1 and self.position.finite_steps == 0 and len(paths) > 1:
            paths.pop(0).unlink()  # not one step went well from there: it is itself past saving
        for path in paths:
            try:
                self._restore(*checkpoint.read_checkpoint(path))
                break
            except OstinatoError as error:
                self.reporter.message(f"passed over a checkpoint: {error}")
        else:
            raise TrainingError(
                f"the loss was not finite {NON_FINITE_IN_A_ROW} times in a row, and no checkpoint is whole"
            )
        for step, path in checkpoint.list_checkpoints(self.folder, "stopped"):
            if step > self.position.step:
                path.unlink()  # it leads where this one comes from
        self.position.rate_scale, self.position.skipped, self.position.finite_steps = scale / 2, skipped, 0
        self.non_finite = 0
        if scale / 2 < _SMALLEST_SCALE:
            raise TrainingError(
                f"the loss stays non-finite even at a {round(1 / scale)}th of the rate: lower --learning-rate, clip "
                "harder (--clip-norm 0.25), or check the data; the last good checkpoint stands"
            )
        self.reporter.message(
            f"the loss was not finite {NON_FINITE_IN_A_ROW} times in a row up to step {at:,}: back at step "
            f"{self.position.step:,} with half the learning rate (× {self.position.rate_scale:g})"
        )
        record = {"kind": "back", "step": self.position.step, "from_step": at, "rate_scale": self.position.rate_scale}
        self._guarded(lambda: self.history.write(record))
        self._save()

    def _evaluate(self) -> None:
        """Score the validation data, keep the best, see whether training ends, and write a checkpoint."""
        position, settings = self.position, self.settings
        begun = time.monotonic()
        self.network.eval()
        with self.average.applied() if self.average is not None else nullcontext():
            loss, criterion, figures = self.objective.evaluate()
            finite = math.isfinite(loss) and _finite(self.parameters)
            # the loss decides a tie
            better = finite and (criterion, loss) < (position.best_criterion, position.best_loss)
            kept = better and self._guarded(lambda: self.objective.save_best(position.step, loss))
        reach = self.probe.record(position.step) if self.probe else None
        self.network.train()
        self.interval.since += time.monotonic() - begun
        if kept:
            position.best_criterion, position.best_loss, position.best_figures = criterion, loss, dict(figures)
            position.best_step = position.step
            position.without_gain = position.plateau_wait = 0
        elif not better:
            position.without_gain, position.plateau_wait = position.without_gain + 1, position.plateau_wait + 1
            if settings.schedule == "plateau" and position.plateau_wait >= settings.plateau_evaluations:
                position.plateaus, position.plateau_wait = position.plateaus + 1, 0
        epoch = position.epoch + position.window / len(self.objective.windows)
        record = {"kind": "validation", "step": position.step, "epoch": epoch, "loss": loss, "best": kept}
        record |= {**figures, "seconds": self._seconds()}
        self._guarded(lambda: self.history.write(record))
        if reach is not None:
            self._guarded(lambda: self.history.write(reach))
        self.reporter.evaluation(record)
        position.stopped_early = self._out_of_patience()
        if position.stopped_early:
            self.reporter.message(
                f"no gain in {settings.patience} evaluations: the best was at step {position.best_step:,}"
            )
        position.finished = position.stopped_early or self._exhausted()
        self._save()

    def _out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.position.without_gain >= self.settings.patience

    def _log(self) -> None:
        interval, position = self.interval, self.position
        seconds = time.monotonic() - interval.since
        loss = interval.mean_loss()
        record = {
            "kind": "train",
            "step": position.step,
            "epoch": position.epoch + position.window / len(self.objective.windows),
            "loss": loss,
            **self.objective.figures(loss),
            "learning_rate": self._rate(),
            **interval.figures(),
            "tokens_per_second": interval.tokens / max(seconds, 1e-9),
            "seconds": self._seconds(),
        }
        self._guarded(lambda: self.history.write(record))
        left = (self.total_steps - position.step) * seconds / max(1, interval.steps + interval.skipped)
        if self.settings.max_minutes is not None:
            left = max(0.0, min(left, 60 * self.settings.max_minutes - self._seconds()))
        self.reporter.interval(record | {"seconds_left": left})
        self.interval = Interval()

    def _save(self, kind: str = "checkpoint") -> bool:
        """Write a checkpoint, unless a number in it is not finite. True if written."""
        position, begun = self.position, time.monotonic()
        position.seconds, self._started = self._seconds(), time.monotonic()
        position.history_bytes = self.history.size_bytes
        state = flatten_state(self.state) if self.state is not None else []
        average = self.average.tensors() if self.average is not None else {}
        if not _finite([*self.parameters, *state, *average.values()]):
            self.reporter.message(f"no checkpoint at step {position.step:,}: a weight or a state is not finite")
            return False
        optimizer, numbers = checkpoint.optimizer_tensors(self.optimizer)
        tensors = {f"network.{name}": value for name, value in named_weights(self.network).items()}
        tensors |= {f"state.{index}": part for index, part in enumerate(state)}
        tensors |= optimizer | average | checkpoint.random_state()
        values = {"position": asdict(position), "optimizer": numbers, "non_finite": self.non_finite}
        written = self._guarded(lambda: checkpoint.write_checkpoint(self.folder, kind, position.step, tensors, values))
        self.interval.since += time.monotonic() - begun  # tokens a second are those of training
        return written

    def _guarded(self, write: Callable[[], None]) -> bool:
        """Write; a full disk is told, and the training goes on with the last good files in place. True if written."""
        try:
            write()
        except OSError as error:
            why = f"could not save at step {self.position.step:,}: {error.strerror or error}"
            self.reporter.message(f"{why}; the last good checkpoint stays")
            return False
        return True

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        for name, value in values["position"].items():  # in place: the loop holds on to it
            setattr(self.position, name, value)
        self.non_finite = values["non_finite"]
        named = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
        load_weights(self.network, named)
        if self.average is not None:
            self.average.restore(tensors)
        checkpoint.restore_optimizer(self.optimizer, tensors, values["optimizer"])
        checkpoint.restore_random_state(tensors)
        self.state = self.objective.initial_state()
        if "state.0" in tensors:
            parts: Iterator[Tensor] = (tensors[f"state.{index}"] for index in range(len(tensors)))
            self.state = map_state(lambda _: next(parts).to(self.device), self.state)
        self._started = time.monotonic()


def _finite(tensors: list[Any]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
