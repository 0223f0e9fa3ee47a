"""Measurements → what they say: each rule is one small function, and this page puts them in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ostinato.diagnostics import gradient_rules, progress_rules, training_rules, unit_rules
from ostinato.diagnostics.findings import NO_ADVICE, NOWHERE, SEVERITIES, Finding, Quantity, Text, Threshold, number
from ostinato.diagnostics.measurements import Measurements

RULES: tuple[Callable[[Measurements], list[Finding]], ...] = (
    training_rules.step_too_large,
    gradient_rules.exploding_gradient,
    training_rules.not_finite,
    training_rules.thrown_back,
    unit_rules.dead_units,
    training_rules.step_too_small,
    unit_rules.forget_gates,
    gradient_rules.vanishing_gradient,
    gradient_rules.truncation_too_short,
    training_rules.clipping_always,
    training_rules.gradient_spikes,
    unit_rules.saturated_units,
    progress_rules.loss_jumps,
    progress_rules.not_converged,
    progress_rules.overfitting,
    unit_rules.idle_units,
)
"""In the order in which to mend: what breaks the training comes before what it cannot learn, and "
"that before what it does slowly."""


_UNLEARNED = frozenset({"truncation-too-short", "not-converged", "idle-units"})
_THROWN_ABOUT = _UNLEARNED | {"clipping-always", "saturated-units", "loss-jumps", "not-finite", "gradient-spikes"}
CONSEQUENCES: dict[str, frozenset[str]] = {
    "step-too-large": _THROWN_ABOUT | {"vanishing-gradient", "forget-gates-open", "forget-gates-closed"},
    "exploding-gradient": _THROWN_ABOUT | {"step-too-large"},
    "dead-units": frozenset({"vanishing-gradient", "idle-units"}),
    "step-too-small": _UNLEARNED | {"clipping-always"},
    "forget-gates-closed": frozenset({"vanishing-gradient"}),
    "forget-gates-open": frozenset({"truncation-too-short"}),  # a state that only adds up is lost without a long past
}
"""Finding → what it brings with it: told beneath it, for a cure of the one is likely to be one of the other."""


def verdict(measurements: Measurements) -> list[Finding]:
    """What the measurements say, what to mend first at the head; where nothing is wrong, one finding that says so.

    Args:
        measurements: of a model, of its training, or of both.

    >>> [finding.name for finding in verdict(Measurements("language-model", 0, None, []))]
    ['nothing-measured']
    """
    found = [finding for rule in RULES for finding in rule(measurements)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))  # stable: the rules' order within each
    told: list[Finding] = []
    while found:
        cause, *rest = found
        brought = CONSEQUENCES.get(cause.name, frozenset())
        told.append(replace(cause, follows=tuple(each for each in rest if each.name in brought)))
        found = [each for each in rest if each.name not in brought]
    return told or [_good(measurements)]


def complaints(findings: list[Finding]) -> list[Finding]:
    """Those that say that something is wrong."""
    return [finding for finding in findings if finding.severity != "good"]


_RECORD_GOOD = Text("The training's record shows nothing wrong", "训练记录没有显示问题")
_NONE = Threshold(0.0, Text("", ""), Text("", ""))


def _good(m: Measurements) -> Finding:
    """That no rule found anything, with what was looked at."""
    if not m.layers and m.run is None:
        return Finding(
            "nothing-measured", "good", Text("Nothing was measured", "没有可测量的内容"), NOWHERE, (), _NONE,
            Text(
                "There is no record of a training, and no network was measured.",
                "没有训练记录，也没有测量网络。",
            ),
            Text("", ""), (), NO_ADVICE, "docs/understanding.md",
        )  # fmt: skip
    evidence = [Quantity(f"half_life of {layer.name}", layer.half_life_steps, "steps") for layer in m.layers]
    en, zh = [], []
    if m.layers:
        half = max(layer.half_life_steps for layer in m.layers)
        en.append(
            f"the gradient halves every {number(half)} steps in the layer that remembers longest, and grows nowhere"
        )
        zh.append(f"在记忆最长的层中梯度每 {number(half)} 步减半，且处处不增长")
    if m.run is not None and len(m.run.loss):
        rate = float(np.nanmean(m.run.clip_rate)) if np.isfinite(m.run.clip_rate).any() else np.nan
        if np.isfinite(rate):
            evidence.append(Quantity("clip_rate", rate, "of the steps"))
            en.append(f"{number(100 * rate)} % of the steps were clipped")
            zh.append(f"{number(100 * rate)} % 的步被截断")
        en.append(f"the training loss went from {number(float(m.run.loss[0]))} to {number(float(m.run.loss[-1]))} nats")
        zh.append(f"训练损失从 {number(float(m.run.loss[0]))} 降到 {number(float(m.run.loss[-1]))} nat")
    only = not m.layers
    return Finding(
        "healthy", "good",
        _RECORD_GOOD if only else Text("Nothing is wrong", "没有发现问题"),
        NOWHERE, tuple(evidence), _NONE,
        Text(f"{'; '.join(en).capitalize()}.", f"{'；'.join(zh)}。"),
        Text("", ""), (), NO_ADVICE, "docs/understanding.md",
    )  # fmt: skip
