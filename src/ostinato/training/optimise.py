"""Optimisers, schedules of their rate, and the clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.training.settings import TrainingSettings


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> Optimizer:
    """The optimiser of the settings, its rate to be set at each step.

    SGD w −= η·g; momentum (Polyak 1964); AdaGrad (Duchi et al. 2011); RMSprop (Tieleman & Hinton 2012); Adam (Kingma &
    Ba 2015) with β₂ = 0.99, since a few thousand steps are usual here; AdamW (Loshchilov & Hutter 2019), whose decay is
    apart from the gradient.
    """
    held = list(parameters)
    made = _optimizer(held, settings)
    # a fused step leaves no mark on the weights, by which copies packed for single steps are known to be old
    made.register_step_post_hook(lambda *_: torch.autograd.graph.increment_version(held))
    return made


def _optimizer(parameters: list[nn.Parameter], settings: TrainingSettings) -> Optimizer:
    decay = settings.weight_decay
    rate = 1e-3 if settings.learning_rate == "auto" else settings.learning_rate
    # fused: one pass over a weight instead of one for every operation of the formula
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, rate, weight_decay=decay, fused=True)
        case "momentum":
            return torch.optim.SGD(parameters, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
        case "adagrad":
            return torch.optim.Adagrad(parameters, rate, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)


def rate_factor(settings: TrainingSettings, step: int, epoch: int, total_steps: int, plateaus: int) -> float:
    """What the peak rate is multiplied with at a step, counted from 0.

    warm-up: (step + 1) / warmup_steps, then
    constant: 1;  step: factor^max(0, epoch − decay_after + 1);  plateau: factor^(plateaus met);
    cosine: f + (1 − f)·(1 + cos(π·progress)) / 2 with f the final share (Loshchilov & Hutter 2017).

    >>> cosine = TrainingSettings(schedule="cosine", warmup_steps=0, final_rate=0.0)
    >>> [round(rate_factor(cosine, step, 0, 100, 0), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    """
    warmup = min(100, total_steps // 10) if settings.warmup_steps is None else settings.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    match settings.schedule:
        case "constant":
            return 1.0
        case "step":
            return settings.decay_factor ** max(0, epoch - settings.decay_after + 1)
        case "plateau":
            return settings.decay_factor**plateaus
        case "cosine":
            progress = (step - warmup) / max(1, total_steps - warmup)
            falling = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            return settings.final_rate + (1 - settings.final_rate) * falling


def clip_gradients(parameters: Iterable[nn.Parameter], norm: float | None, value: float | None) -> tuple[float, bool]:
    """Clip gradients in place: each value to ± `value`, then all together to `norm` (Pascanu et al. 2013, section 3.2).

    Returns:
        The norm before clipping, √Σ g², and whether anything was clipped.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients([weight], norm=1.0, value=None), weight.grad
    ((5.0, True), tensor([0.6000, 0.8000]))
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    before = _norm(gradients)
    clipped = False
    if value is not None and math.isfinite(before):
        clipped = any(float(gradient.abs().max()) > value for gradient in gradients)
        for gradient in gradients:
            gradient.clamp_(-value, value)
    now = before if not clipped else _norm(gradients)
    if norm is not None and math.isfinite(now) and now > norm:
        for gradient in gradients:
            gradient.mul_(norm / now)
        clipped = True
    return before, clipped


def _norm(gradients: list[Tensor]) -> float:
    return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
