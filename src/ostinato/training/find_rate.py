"""The learning-rate finder: a short training whose rate rises until the loss does (Smith 2017, section 3.3)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from ostinato.errors import TrainingError
from ostinato.networks import detach, load_weights, named_weights
from ostinato.training.optimise import clip_gradients, make_optimizer
from ostinato.training.settings import TrainingSettings

STEPS = 100
LOWEST = 1e-5
HIGHEST = {"sgd": 100.0, "momentum": 10.0, "adagrad": 1.0, "rmsprop": 1.0, "adam": 1.0, "adamw": 1.0}


class RateSweep(NamedTuple):
    """What a sweep found."""

    rates: list[float]
    losses: list[float]
    """Smoothed: an exponential mean of weight 0.9, corrected for its start."""
    suggestion: float
    """Where the smoothed loss falls fastest over the logarithm of the rate."""


def find_rate(objective: Any, settings: TrainingSettings) -> RateSweep:
    """Train for a hundred windows while the rate rises geometrically; the network is put back as it was.

    The sweep stops when the loss is no number or above twice its lowest.
    """
    network = objective.network
    before = {name: weight.detach().clone() for name, weight in named_weights(network).items()}
    random = torch.get_rng_state()
    optimizer = make_optimizer(network.parameters(), settings)
    parameters = list(network.parameters())
    rates: list[float] = []
    losses: list[float] = []
    mean, state = 0.0, objective.initial_state()
    network.train()
    highest = HIGHEST[settings.optimizer]
    for index in range(STEPS):
        rate = LOWEST * (highest / LOWEST) ** (index / (STEPS - 1))
        window = objective.windows[index % len(objective.windows)]
        optimizer.zero_grad(set_to_none=True)
        total, state = objective.loss(window, state)
        count = max(1, objective.count(window))
        loss = float(total.detach()) / count
        mean = 0.9 * mean + 0.1 * loss
        smooth = mean / (1 - 0.9 ** (index + 1))
        if not math.isfinite(loss) or (losses and smooth > 2 * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
        (total / count).backward()
        clip_gradients(parameters, settings.clip_norm, settings.clip_value)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        state = detach(state)
    load_weights(network, before)
    torch.set_rng_state(random)
    return RateSweep(rates, losses, _steepest(rates, losses))


def _steepest(rates: list[float], losses: list[float]) -> float:
    """The rate in the middle of the ten steps over which the loss falls most, before its lowest."""
    lowest = losses.index(min(losses)) if losses else 0
    falls = [losses[at] - losses[at + 10] for at in range(lowest - 9)]
    if not falls:
        raise TrainingError(
            "the sweep found no learning rate: the loss rose from the first steps on; give --learning-rate"
        )
    return rates[falls.index(max(falls)) + 5]
