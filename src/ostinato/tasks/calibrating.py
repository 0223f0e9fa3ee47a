"""Calibration: probabilities that mean what they say, and the threshold above which a label is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from ostinato.table import Table
from ostinato.tasks.late_fusion import fit_weight

_MOST = 1 << 26  # logits that are held at once


@torch.inference_mode()
def calibrate(model: Any, validation: Table) -> dict[str, float]:
    """Set the temperature and the threshold of a classifier's head, from its validation examples.

    The temperature T minimises the mean of −log p at z / T (Guo et al. 2017, section 4.2): it changes no ranking, and
    no label of those that exclude each other. Where each label is a decision of its own, the threshold is the one of
    the best micro-averaged F1. With a linear model beside the network, its weight is fitted with T: see `late_fusion`.

    Args:
        model: a `LabellingModel`, trained.
        validation: its examples.

    Returns:
        `temperature`, the `calibration_error` before and after, and `threshold` where labels are decisions; nothing of
        numbers, and nothing if no validation example has a label that is known. `linear_weight` of a linear model.
    """
    head = model.network.head
    uncalibrate(head)
    if not head.ranks:
        return {}
    logits, scores, targets, given = _logits(model, validation)
    if not len(logits):
        return {} if scores is None else {"linear_weight": 0.0}
    before = _error(model, logits, given)
    weight = {}

    def mean_loss(log_temperature: float) -> float:
        return float(head.loss(logits / math.exp(log_temperature), targets)) / len(logits)

    if scores is None:
        found = minimize_scalar(mean_loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-4})
        head.temperature.fill_(math.exp(found.x))
    else:
        temperature, linear_weight = fit_weight(head, logits, scores, targets)
        head.temperature.fill_(temperature)
        head.linear_weight.fill_(linear_weight)
        logits = logits + head.linear_weight * scores
        weight = {"linear_weight": float(head.linear_weight)}
    figures = {**weight, "temperature": float(head.temperature), "calibration_error_before": before}
    figures["calibration_error"] = _error(model, logits, given)
    if model.kind == "multi":
        head.threshold.fill_(best_threshold(head.probabilities(logits).cpu().numpy(), targets.cpu().numpy() > 0))
        figures["threshold"] = float(head.threshold)
        tally = model.tally()
        model._add(tally, head.probabilities(logits).cpu().numpy(), given)
        figures |= {name: tally.figures()[name] for name in ("accuracy", "f1_micro", "f1_macro")}
    return figures


def uncalibrate(head: Any) -> None:
    """As in training: temperature 1, threshold ½, and nothing of a linear model."""
    head.temperature.fill_(1.0)
    head.threshold.fill_(0.5)
    if hasattr(head, "linear_weight"):
        head.linear_weight.zero_()


def _logits(model: Any, table: Table) -> tuple[Tensor, Tensor | None, Tensor, list[list[float]]]:
    """The logits of examples whose labels are known, a linear model's scores, targets, ids; of what memory can hold."""
    logits, scores, targets, given, held = [], [], [], [], 0
    for batch in model.batches(table):
        if held > _MOST:
            break
        on_device = model.on_device(batch)
        known = torch.tensor([bool(ids) and max(ids) < len(model.labels) for ids in batch.given])
        found = model.logits(on_device)[known]
        logits.append(found)
        if (said := model.linear_scores(on_device)) is not None:
            scores.append(said[known])
        targets.append(on_device.targets[known])
        given += [ids for ids, known_one in zip(batch.given, known.tolist(), strict=True) if known_one]
        held += found.numel()
    return torch.cat(logits), torch.cat(scores) if scores else None, torch.cat(targets), given


def _error(model: Any, logits: Tensor, given: list[list[float]]) -> float:
    tally = model.tally()
    model._add(tally, model.network.head.probabilities(logits).cpu().numpy(), given)
    return float(tally.figures()["calibration_error"])


def best_threshold(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Between which two probabilities 2·tp / (2·tp + fp + fn) over all decisions is largest.

    >>> p = np.array([[0.9, 0.2], [0.4, 0.1]])
    >>> round(best_threshold(p, np.array([[True, False], [True, False]])), 3)
    0.3
    """
    order = np.argsort(-probabilities, axis=None, kind="stable")
    sorted_p, hits = probabilities.reshape(-1)[order], right.reshape(-1)[order].cumsum()
    told = np.arange(1, len(order) + 1)
    f1 = 2 * hits / (told + right.sum())
    last = np.append(sorted_p[1:] < sorted_p[:-1], True)  # equal probabilities go together
    best = int(np.argmax(np.where(last, f1, -1)))
    below = float(sorted_p[best + 1]) if best + 1 < len(order) else 0.0
    return (float(sorted_p[best]) + below) / 2
