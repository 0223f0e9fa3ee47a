"""Rules on gates and units. Each says what it measures, its limit, why, and its source."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ostinato.diagnostics import changes
from ostinato.diagnostics.findings import NO_ADVICE, Chooser, Finding, Quantity, Text, Threshold, number
from ostinato.diagnostics.measurements import LayerMeasurements, Measurements

LOW, HIGH = 0, 1
KEEPS: dict[str, tuple[str, int]] = {
    "lstm": ("f", HIGH),
    "peephole-lstm": ("f", HIGH),
    "slstm": ("f", HIGH),
    "gru": ("z", HIGH),
    "reset-first-gru": ("z", HIGH),
    "mgu": ("f", LOW),
    "min-gru": ("z", LOW),
}
"""Cell → the gate that keeps the state, and the end at which it does; at the other end it forgets."""

STUCK = 0.02  # of a gate's mean from its end: the sigmoid's slope there is below a twelfth of its largest
MOST_UNITS = Threshold(
    0.75,
    Text("of the units", "的单元"),
    Text(
        "some units that always keep, or never do, are useful; when most do not choose, the gate is not in use",
        "个别单元总是保持或总是遗忘是有用的；多数单元都不再选择时，门就没有起作用",
    ),
)
NEARLY_ALL = Threshold(
    0.9,
    Text("of units and steps", "的单元与步"),
    Text(
        "the slope of a tanh beyond ±0.95, or of a sigmoid beyond 0.1 and 0.9, is below a tenth and four "
        "tenths of its largest",
        "tanh 超出 ±0.95、sigmoid 超出 0.1 与 0.9 时，斜率分别低于最大值的一成与四成",
    ),
)
DEAD_UNITS = Threshold(
    0.1,
    Text("of the units", "的单元"),
    Text(
        "a unit that is 0 at every step gets no gradient and stays so; a healthy layer has next to none",
        "始终为 0 的单元得不到梯度，也就不会恢复；健康的层几乎没有",
    ),
)
MANY_DEAD = 0.4  # as large a share as is met with after too large a step (Karpathy 2016)
IDLE_UNITS = Threshold(
    0.5,
    Text("of the units", "的单元"),
    Text("a constant can stand in a bias: most of the layer does nothing", "常数可由偏置代替：该层大部分单元没有作用"),
)


def forget_gates(m: Measurements) -> list[Finding]:
    """The gate that keeps the state is always open or always closed.

    Measured: of each unit the mean of the gate over all steps. Limit: three quarters of the units within 0.02 of one
    end, where the slope is too small to leave it; gates that a healthy network has learned to hold open or closed
    stay further away. Source: Gers et al. 2000; Jozefowicz et al. 2015, section 5.
    """
    for layer in m.layers:
        gate, keeping = KEEPS.get(layer.cell, ("", HIGH))
        if gate not in layer.gate_mean:
            continue
        mean = layer.gate_mean[gate]
        for end, stuck in ((LOW, mean <= STUCK), (HIGH, mean >= 1 - STUCK)):
            if float(stuck.mean()) >= MOST_UNITS.value:
                return [_stuck(m, layer, gate, float(stuck.mean()), "open" if end == keeping else "closed")]
    return []


def _stuck(
    m: Measurements, layer: LayerMeasurements, gate: str, share: float, how: Literal["open", "closed"]
) -> Finding:
    settings = m.settings
    mean = float(np.mean(layer.gate_mean[gate]))
    evidence = (Quantity("stuck_units", share, "of the units"), Quantity("gate_mean", mean, "of 0 to 1"))
    percent = number(100 * share)
    if how == "open":
        title = Text("The forget gates are always open", "遗忘门始终打开")
        seen = Text(
            f"In {percent} % of the units gate {gate} keeps all but a fiftieth of the state (mean of all: "
            f"{number(mean)}).",
            f"{percent} % 的单元中，门 {gate} 平均保留状态的 98 % 以上（全体均值 {number(mean)}）。",
        )
        effect = Text("the state only adds up, and old input is never let go", "状态只增不减，旧输入从不被放下")
    else:
        title = Text("The forget gates are always closed", "遗忘门始终关闭")
        seen = Text(
            f"In {percent} % of the units gate {gate} keeps less than a fiftieth of the state (mean of all: "
            f"{number(mean)}).",
            f"{percent} % 的单元中，门 {gate} 平均保留状态的 2 % 以下（全体均值 {number(mean)}）。",
        )
        effect = Text("the state does not last from step to step", "状态不能从一步延续到下一步")
    bias = settings.get("forget_bias")
    given = isinstance(bias, int | float) and abs(bias) >= 3 and layer.cell.endswith("lstm")
    cause = Text(
        f"A gate at its end has no slope to leave it by; {effect.en}."
        + (f" It started there, with forget_bias = {bias:g}." if given else ""),
        f"处于端点的门没有斜率，无法离开；{effect.zh}。"
        + (f"其初始偏置 forget_bias = {bias:g} 就在此处。" if given else ""),
    )
    pick = Chooser(settings).pick(
        changes.forget_bias(1.0) if layer.cell.endswith("lstm") else None,
        changes.LAYER_NORM, changes.learning_rate(settings, 0.3), changes.GRU if layer.cell.endswith("lstm") else None,
    )  # fmt: skip
    return Finding(
        f"forget-gates-{how}", "problem", title, _where(layer), evidence, MOST_UNITS, seen, cause, pick, NO_ADVICE,
        "Gers et al. 2000; Jozefowicz et al. 2015, section 5",
    )  # fmt: skip


def saturated_units(m: Measurements) -> list[Finding]:
    """The other activations stand at their ends, where they have no slope.

    Measured: the share of units and steps at either end, for the gate where it is largest. Limit: nine tenths.
    Source: Glorot & Bengio 2010, section 3.
    """
    worst: tuple[float, str, LayerMeasurements] | None = None
    for layer in m.layers:
        for gate, ends in layer.saturation.items():
            if gate == KEEPS.get(layer.cell, ("",))[0] or layer.activations.get(gate) == "relu":
                continue
            share = float(ends.sum(0).mean())
            if worst is None or share > worst[0]:
                worst = (share, gate, layer)
    if worst is None or worst[0] < NEARLY_ALL.value:
        return []
    share, gate, layer = worst
    return [
        Finding(
            "saturated-units", "warning", Text("The units are saturated", "单元饱和"), _where(layer),
            (Quantity("saturated", share, "of units and steps"),), NEARLY_ALL,
            Text(
                f"The activation of gate {gate} stands at one of its ends in {number(100 * share)} % of units and "
                f"steps.",
                f"门 {gate} 的激活在 {number(100 * share)} % 的单元与步上处于两端。",
            ),
            Text(
                "What enters it is too large: weights that were drawn too large, or grew under too large steps.",
                "进入激活函数的值过大：权重初始过大，或在过大的步长下增长过多。",
            ),
            Chooser(m.settings).pick(
                changes.LAYER_NORM, changes.BATCH_NORM, changes.learning_rate(m.settings, 0.3),
                changes.orthogonal(m.settings),
            ),
            NO_ADVICE, "Glorot & Bengio 2010, section 3",
        )
    ]  # fmt: skip


def dead_units(m: Measurements) -> list[Finding]:
    """Units whose output is 0 at every step: ReLUs that no input reaches any more.

    Measured: their share. Limit: a tenth; four tenths are a problem. Source: Glorot et al. 2011, section 3; the figure
    of four tenths: Karpathy, CS231n notes, "Neural Networks 1".
    """
    worst = max(m.layers, key=lambda layer: _share(layer.dead), default=None)
    if worst is None or _share(worst.dead) < DEAD_UNITS.value:
        return []
    share, count = _share(worst.dead), int(worst.dead.sum())
    return [
        Finding(
            "dead-units", "problem" if share >= MANY_DEAD else "warning", Text("Dead units", "死亡单元"), _where(worst),
            (Quantity("dead", share, "of the units"),), DEAD_UNITS,
            Text(
                f"{count} of {worst.hidden_size} units are 0 at every step that was measured.",
                f"{worst.hidden_size} 个单元中有 {count} 个在所有测量步上都为 0。",
            ),
            Text(
                "Their input stays below zero: a step that was too large, or weights and biases that began there.",
                "它们的输入始终小于零：某一步过大，或权重与偏置一开始就在那里。",
            ),
            Chooser(m.settings).pick(
                changes.learning_rate(m.settings, 0.3), changes.TANH, changes.LAYER_NORM, changes.GRU, changes.LSTM
            ),
            NO_ADVICE, "Glorot et al. 2011, section 3; Karpathy, CS231n notes, Neural Networks 1",
        )
    ]  # fmt: skip


def idle_units(m: Measurements) -> list[Finding]:
    """Units whose output hardly changes.

    Measured: the share of units whose deviation over all steps is below 1 % of the layer's root mean square. Limit:
    half of the units.
    Source: Hu et al. 2016, section 3, who prune units that bring nothing.
    """
    worst = max(m.layers, key=lambda layer: _share(layer.idle), default=None)
    if worst is None or _share(worst.idle) < IDLE_UNITS.value:
        return []
    share, count = _share(worst.idle), int(worst.idle.sum())
    smaller = max(1, round(worst.hidden_size * (1 - share)))
    return [
        Finding(
            "idle-units", "warning", Text("Idle units", "闲置单元"), _where(worst),
            (Quantity("idle", share, "of the units"),), IDLE_UNITS,
            Text(
                f"{count} of {worst.hidden_size} units hardly change over the steps that were measured.",
                f"{worst.hidden_size} 个单元中有 {count} 个在测量过程中几乎不变。",
            ),
            Text(
                "They have not begun to learn, or there are more than the data need.",
                "它们尚未开始学习，或者单元多于数据所需。",
            ),
            Chooser(m.settings).pick(
                changes.learning_rate(m.settings, 3.0), changes.LAYER_NORM, changes.longer(m.settings)
            ),
            Text(f"Or fewer units: --hidden-size {smaller}.", f"或减少单元：--hidden-size {smaller}。"),
            "Hu et al. 2016, section 3",
        )
    ]  # fmt: skip


def _share(units: np.ndarray) -> float:
    return float(units.mean()) if len(units) else 0.0


def _where(layer: LayerMeasurements) -> Text:
    return Text(f"{layer.name}, {layer.cell}", f"{layer.name}，{layer.cell}")
