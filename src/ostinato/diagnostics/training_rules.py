"""Rules on the record of a training. Each says what it measures, its limit, why, and its source."""

from __future__ import annotations

import numpy as np

from ostinato.diagnostics import changes
from ostinato.diagnostics.findings import NO_ADVICE, Chooser, Finding, Quantity, Text, Threshold, number
from ostinato.diagnostics.measurements import Measurements, RunMeasurements

TRAINING = Text("training", "训练")

LARGE_UPDATE = Threshold(
    0.1,
    Text("of the weights' norm at a step", "（每步，相对于权重范数）"),
    Text(
        "ten such steps replace the weights; about a thousandth is usual, and some hundredths at the start "
        "of a small network",
        "十步就换掉全部权重；通常约为千分之一，小网络开始时可达百分之几",
    ),
)
RISE = Threshold(
    0.1,
    Text("of the lowest loss", "（相对于最低损失）"),
    Text(
        "batches differ by less when averaged over an interval; a loss that ends so far above its lowest "
        "was thrown back",
        "按区间平均后批次间的差别小于此；最终损失高出最低值这么多，说明训练被抛回",
    ),
)
NOT_FINITE = Threshold(
    0.01,
    Text("of the steps", "的步"),
    Text(
        "a rare step that is not finite is skipped without harm; one in a hundred says that the weights are "
        "at the brink",
        "偶尔一步不是有限数可以跳过；每百步一次则说明权重已在边缘",
    ),
)
SMALL_UPDATE = Threshold(
    1e-4,
    Text("of the weights' norm at a step", "（每步，相对于权重范数）"),
    Text(
        "a weight then needs ten thousand steps to change by itself; about a thousandth is usual",
        "权重需要上万步才能改变自身的大小；通常约为千分之一",
    ),
)
CLIPPED = Threshold(
    0.9,
    Text("of the steps", "的步"),
    Text(
        "clipping is for the rare cliff; where it acts always, every step has one length whatever the gradient says",
        "截断是为罕见的陡崖准备的；若总在起作用，每一步长度都相同，与梯度无关",
    ),
)
SPIKE = Threshold(
    30.0,
    Text("times the median", "倍中位数"),
    Text(
        "clipping limits of half to ten times the mean norm are recommended; a step beyond them undoes hundreds",
        "建议的截断界限为平均范数的 0.5 至 10 倍；更大的一步会毁掉上百步",
    ),
)


def step_too_large(m: Measurements) -> list[Finding]:
    """The steps are too large for the weights.

    Measured: the largest ‖Δw‖/‖w‖ of the steps that are logged. Limit: a tenth. Source: Bengio 2012, section 3.1.1; the
    usual thousandth: Karpathy, CS231n notes, "Neural Networks 3".
    """
    large = m.run is not None and _largest(m.run.update_ratio) >= LARGE_UPDATE.value
    return [_too_large(m, m.run)] if m.run is not None and large else []


def thrown_back(m: Measurements) -> list[Finding]:
    """The training is thrown back by steps that are no larger than usual: still too large for where they are taken.

    Measured: how far the last losses lie above the lowest. Limit: a tenth of the lowest. Source: Bengio 2012, section
    3.1.1. An exploding gradient throws a training back too, and is named before it.
    """
    if m.run is None or step_too_large(m) or _rise(m.run) < RISE.value:
        return []
    return [_too_large(m, m.run)]


def _too_large(m: Measurements, run: RunMeasurements) -> Finding:
    ratio, rise = _largest(run.update_ratio), _rise(run)
    by_step, thrown = ratio >= LARGE_UPDATE.value, rise >= RISE.value
    en, zh = [], []
    if np.isfinite(ratio):
        en.append(f"A step changed the weights by {number(100 * ratio)} % of their norm")
        zh.append(f"某一步使权重改变了其范数的 {number(100 * ratio)} %")
    if thrown:
        en.append(f"The loss ended {number(100 * rise)} % above its lowest")
        zh.append(f"损失最后比最低值高 {number(100 * rise)} %")
    factor = 0.1 if by_step else 0.3
    return Finding(
        "step-too-large", "problem", Text("The steps are too large", "步长过大"), TRAINING,
        (Quantity("update_ratio", ratio, LARGE_UPDATE.unit.en), Quantity("rise", rise, RISE.unit.en)),
        LARGE_UPDATE if by_step else RISE, Text(f"{'. '.join(en)}.", f"{'；'.join(zh)}。"),
        Text(
            "The learning rate is too large for these weights: a step goes beyond where the gradient holds.",
            "学习率对这些权重来说过大：一步越过了梯度成立的范围。",
        ),
        Chooser(m.settings).pick(
            changes.learning_rate(m.settings, factor), clip_at_usual_norm(m, run),
            changes.learning_rate(m.settings, factor / 3), changes.LAYER_NORM,
        ),
        NO_ADVICE, "Bengio 2012, section 3.1.1; Karpathy, CS231n notes, Neural Networks 3",
    )  # fmt: skip


def not_finite(m: Measurements) -> list[Finding]:
    """Losses or gradients were not finite.

    Measured: steps that were skipped for it, returns to a checkpoint, and evaluations without a finite loss. Limits:
    1 % of the steps; none. Source: Pascanu et al. 2013, section 2.3; Bengio 2012, section 3.1.1.
    """
    run = m.run
    if run is None:
        return []
    steps = max(1, run.skipped_steps, int(run.step.max(initial=0)))
    share = run.skipped_steps / steps
    evaluations = int((~np.isfinite(run.validation_loss)).sum())
    if run.returns == 0 and share < NOT_FINITE.value and not evaluations:
        return []
    return [
        Finding(
            "not-finite", "problem", Text("The loss was not finite", "损失不是有限数"), TRAINING,
            (
                Quantity("skipped", run.skipped_steps, "steps"), Quantity("returns", run.returns, "times"),
                Quantity("evaluations", evaluations, "without a finite loss"),
            ),
            NOT_FINITE,
            Text(
                f"{run.skipped_steps:,} of {steps:,} steps were skipped, the training went back to a checkpoint "
                f"{run.returns:,} times, and {evaluations:,} evaluations gave no finite loss.",
                f"{steps:,} 步中跳过了 {run.skipped_steps:,} 步，训练退回检查点 {run.returns:,} 次，"
                f"{evaluations:,} 次评估没有得到有限的损失。",
            ),
            Text(
                "Something grew beyond what a float32 holds: the state or the gradient explodes, or a step was too "
                "large.",
                "某个量超出了 float32 的范围：状态或梯度爆炸，或某一步过大。",
            ),
            Chooser(m.settings).pick(
                clip_at_usual_norm(m, run) or changes.clip_norm(1.0), changes.learning_rate(m.settings, 0.1),
                changes.orthogonal(m.settings), changes.LSTM, changes.LAYER_NORM,
            ),
            Text("And look whether the data hold what is no number.", "并检查数据中是否有非数值。"),
            "Pascanu et al. 2013, section 2.3; Bengio 2012, section 3.1.1",
        )
    ]  # fmt: skip


def step_too_small(m: Measurements) -> list[Finding]:
    """The steps are too small to get anywhere.

    Measured: the largest ‖Δw‖/‖w‖ of a step. Limit: 10⁻⁴. Source: Bengio 2012, section 3.1.1; Karpathy, CS231n notes,
    "Neural Networks 3".
    """
    run = m.run
    ratios = run.update_ratio[np.isfinite(run.update_ratio)] if run is not None else np.zeros(0)
    if run is None or not len(ratios) or ratios.max() >= SMALL_UPDATE.value:
        return []
    largest = float(ratios.max())
    return [
        Finding(
            "step-too-small", "problem", Text("The steps are too small", "步长过小"), TRAINING,
            (Quantity("update_ratio", largest, "of the weights' norm at a step"),), SMALL_UPDATE,
            Text(
                f"No step changed the weights by more than {number(100 * largest)} % of their norm.",
                f"没有一步使权重改变超过其范数的 {number(100 * largest)} %。",
            ),
            Text("The learning rate is too small for these weights.", "学习率对这些权重来说过小。"),
            Chooser(m.settings).pick(
                changes.learning_rate(m.settings, 10.0), changes.learning_rate(m.settings, 100.0)
            ),
            Text("Or let a sweep find it: --lr auto.", "或由扫描确定：--lr auto。"),
            "Bengio 2012, section 3.1.1; Karpathy, CS231n notes, Neural Networks 3",
        )
    ]  # fmt: skip


def clipping_always(m: Measurements) -> list[Finding]:
    """Clipping acts at nearly every step.

    Measured: the share of steps at which it acted. Limit: nine tenths. Source: Pascanu et al. 2013, section 3.2, who
    take a limit of half to ten times the mean norm.
    """
    run = m.run
    if run is None or not np.isfinite(run.clip_rate).any():
        return []
    rate, norm = float(np.nanmean(run.clip_rate)), _median(run.gradient_norm)
    if not rate >= CLIPPED.value:
        return []
    limit = m.settings.get("clip_norm")
    evidence = (Quantity("clip_rate", rate, "of the steps"), Quantity("gradient_norm", norm, ""))
    bound = (
        f"clip_norm = {limit:g}" if isinstance(limit, int | float) else f"clip_value = {m.settings.get('clip_value')}"
    )
    return [
        Finding(
            "clipping-always", "warning", Text("Clipping acts at every step", "几乎每一步都在截断"), TRAINING, evidence,
            CLIPPED,
            Text(
                f"The gradient was clipped at {number(100 * rate)} % of the steps; its norm is {number(norm)} "
                f"(median), and {bound}.",
                f"{number(100 * rate)} % 的步上梯度被截断；其范数的中位数为 {number(norm)}，而 {bound}。",
            ),
            Text(
                "The limit lies below the usual gradient, so that it sets the length of every step and the rate "
                "alone does not.",
                "界限低于通常的梯度，于是步长由它而不单由学习率决定。",
            ),
            Chooser(m.settings).pick(
                changes.clip_norm(changes.rounded(5 * norm)) if np.isfinite(norm) and norm > 0 else None,
                changes.learning_rate(m.settings, 0.3),
            ),
            NO_ADVICE, "Pascanu et al. 2013, section 3.2",
        )
    ]  # fmt: skip


def gradient_spikes(m: Measurements) -> list[Finding]:
    """Rare gradients are far larger than the others, and nothing clips them.

    Measured: the largest norm over the median one. Limit: 30 times. Source: Pascanu et al. 2013, sections 2.3 and 3.2.
    """
    run = m.run
    clipped = m.settings.get("clip_norm") is not None or m.settings.get("clip_value") is not None
    if run is None or clipped or not len(run.gradient_norm_max):
        return []
    norm, largest = _median(run.gradient_norm), _largest(run.gradient_norm_max)
    if not (norm > 0 and largest >= SPIKE.value * norm):
        return []
    return [
        Finding(
            "gradient-spikes", "warning", Text("The gradient has spikes", "梯度出现尖峰"), TRAINING,
            (Quantity("largest", largest, ""), Quantity("gradient_norm", norm, "")), SPIKE,
            Text(
                f"The largest gradient's norm was {number(largest)}, {number(largest / norm)} times the median; "
                f"nothing clips it.",
                f"最大的梯度范数为 {number(largest)}，是中位数的 {number(largest / norm)} 倍，且没有截断。",
            ),
            Text(
                "Recurrent networks have cliffs in their error surface: a step from there goes far away.",
                "循环网络的误差曲面有陡崖：从那里迈出的一步会跑得很远。",
            ),
            Chooser(m.settings).pick(clip_at_usual_norm(m, run), changes.clip_value(changes.rounded(0.1 * norm))),
            NO_ADVICE, "Pascanu et al. 2013, sections 2.3 and 3.2",
        )
    ]  # fmt: skip


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _largest(values: np.ndarray) -> float:
    return float(np.max(values[np.isfinite(values)], initial=-np.inf)) if np.isfinite(values).any() else np.nan


def _rise(run: RunMeasurements) -> float:
    """How far the last losses lie above the lowest, as a share of it: means of three intervals each."""
    loss = run.loss[np.isfinite(run.loss)]
    if len(loss) < 6:
        return 0.0
    smooth = np.convolve(loss, np.ones(3) / 3, "valid")
    lowest = float(smooth.min())
    return float(smooth[-1] / lowest - 1) if lowest > 0 else 0.0


def clip_at_usual_norm(m: Measurements, run: RunMeasurements) -> changes.Change | None:
    """Clipping at twice the usual norm, where there is none."""
    norm = _median(run.gradient_norm)
    if m.settings.get("clip_norm") is not None or not norm > 0:
        return None
    return changes.clip_norm(changes.rounded(2 * norm))
