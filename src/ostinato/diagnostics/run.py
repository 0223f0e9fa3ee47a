"""The history of a training → what it was like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ostinato.diagnostics.measurements import RunMeasurements
from ostinato.measures.variance import explained_variance, seen_before, without_trend


def measure_run(history: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> RunMeasurements | None:
    """What the records of `history.jsonl` say of a training; None if there are none.

    Args:
        history: see `ostinato.training.history.read_history`.
        settings: of the model, for the norm at which gradients were clipped.

    >>> line = {"kind": "train", "step": 20, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.1, "gradient_norm": 1.5}
    >>> measure_run([line, {"kind": "validation", "step": 40, "loss": 1.5}], {}).validation_loss
    array([1.5])
    """
    train = [record for record in history if record["kind"] == "train"]
    validation = [record for record in history if record["kind"] == "validation"]
    gradient = [record for record in history if record["kind"] == "gradient"]
    if not train and not validation:
        return None

    def column(name: str, records: Sequence[Mapping[str, Any]] = train) -> np.ndarray:
        return np.array([_number(record.get(name)) for record in records], np.float64)

    layers = {name: None for record in gradient for name in record["layers"]}
    lags = max((record["lags"] for record in gradient), key=len, default=[])
    return RunMeasurements(
        step=_steps(train),
        loss=column("loss"),
        learning_rate=column("learning_rate"),
        gradient_norm=column("gradient_norm"),
        gradient_norm_max=column("gradient_norm_max"),
        clip_rate=column("clip_rate"),
        update_ratio=column("update_ratio"),
        loss_deviation=column("loss_deviation"),
        skipped_steps=sum(int(record.get("skipped") or 0) for record in train),
        returns=sum(record["kind"] == "back" for record in history),
        variance_explained=_explained(train, settings),
        validation_step=_steps(validation),
        validation_loss=column("loss", validation),
        gradient_step=_steps(gradient),
        gradient_lags=np.array(lags, np.int64),
        gradient_by_lag={
            name: np.array([_row(record["layers"].get(name, []), len(lags)) for record in gradient]) for name in layers
        },
    )


def _steps(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([record["step"] for record in records], np.int64)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _row(values: Sequence[Any], size: int) -> list[float]:
    return [_number(value) for value in values[:size]] + [math.nan] * (size - len(values))


def _explained(train: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, float]:
    """Shares of the variance between batches: of step size and clipping of the step before, and of the batch itself.

    - `step size`: the rate times the clipped gradient's norm, of the step before, and that norm's logarithm.
    - `clipping`: whether the step before was clipped.
    - `batch composition`: how many targets the batch has, and the loss of the same batch in other epochs, where epochs
      repeat their batches.
    """
    steps = max((record["step"] for record in train), default=0)
    loss, targets, norm, rate = np.full((4, steps + 1), np.nan)
    for record in train:
        # of steps that were gone back over, what does not fit before this one belongs to a training that was given up
        kept = min(len(record.get("batch_loss") or ()), record["step"])
        if not kept:
            continue
        at = slice(record["step"] - kept + 1, record["step"] + 1)
        loss[at], norm[at] = (_row(record[name][-kept:], kept) for name in ("batch_loss", "batch_norm"))
        targets[at], rate[at] = _row(record["batch_targets"][-kept:], kept), _number(record.get("learning_rate"))
    limit = settings.get("clip_norm")
    taken = np.minimum(norm, limit) if limit else norm
    with np.errstate(divide="ignore"):
        size = np.stack([rate * taken, np.where(taken > 0, np.log(taken), np.nan)], 1)
    composition = [targets]
    period = _batches_in_epoch(train)
    if period and period * 2 <= steps:
        composition.append(np.append(np.nan, seen_before(without_trend(loss[1:]), period)))
    causes = {"step size": _before(size), "batch composition": np.stack(composition, 1)}
    if limit:
        causes["clipping"] = _before(np.where(np.isnan(norm), np.nan, norm > limit))
    return explained_variance(loss, causes)


def _before(values: np.ndarray) -> np.ndarray:
    """Of the step before each; NaN for the first."""
    return np.concatenate([np.full_like(values[:1], np.nan), values[:-1]])


def _batches_in_epoch(train: Sequence[Mapping[str, Any]]) -> int:
    """Steps of an epoch, by the last record that tells both; 0 if none does."""
    for record in reversed(train):
        if record.get("epoch") and record["step"]:
            return round(record["step"] / record["epoch"])
    return 0
