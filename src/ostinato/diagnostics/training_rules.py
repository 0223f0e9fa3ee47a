"""Rules on the record of a training. Each says what it measures, its limit, why, and its source."""

from __future__ import annotations

import numpy as np

from ostinato.diagnostics import changes
from ostinato.diagnostics.findings import NO_ADVICE, Chooser, Finding, Quantity, Text, Threshold, number
from ostinato.diagnostics.measurements import Measurements, RunMeasurements

TRAINING = Text("training", "训练")

LARGE_UPDATE = Threshold(
    0.1,
    "of the weights' norm at a step",
    Text(
        "ten such steps replace the weights; about a thousandth is usual, and some hundredths at the start "
        "of a small network",
        "十步就换掉全部权重；通常约为千分之一，小网络开始时可达百分之几",
    ),
)
RISE = Threshold(
    0.1,
    "of the lowest loss",
    Text(
        "batches differ by less when averaged over an interval; a loss that ends so far above its lowest "
        "was thrown back",
        "按区间平均后批次间的差别小于此；最终损失高出最低值这么多，说明训练被抛回",
    ),
)
NOT_FINITE = Threshold(
    0.01,
    "of the steps",
    Text(
        "a rare step that is not finite is skipped without harm; one in a hundred says that the weights are "
        "at the brink",
        "偶尔一步不是有限数可以跳过；每百步一次则说明权重已在边缘",
    ),
)
SMALL_UPDATE = Threshold(
    1e-4,
    "of the weights' norm at a step",
    Text(
        "a weight then needs ten thousand steps to change by itself; about a thousandth is usual",
        "权重需要上万步才能改变自身的大小；通常约为千分之一",
    ),
)
CLIPPED = Threshold(
    0.9,
    "of the steps",
    Text(
        "clipping is for the rare cliff; where it acts always, every step has one length whatever the gradient says",
        "截断是为罕见的陡崖准备的；若总在起作用，每一步长度都相同，与梯度无关",
    ),
)
SPIKE = Threshold(
    30.0,
    "times the median",
    Text(
        "clipping limits of half to ten times the mean norm are recommended; a step beyond them undoes hundreds",
        "建议的截断界限为平均范数的 0.5 至 10 倍；更大的一步会毁掉上百步",
    ),
)
OVERFIT = Threshold(
    0.05,
    "of the lowest validation loss",
    Text("more than evaluations of one model differ by", "大于同一模型各次评估间的差别"),
)
STILL_FALLING = Threshold(
    0.01,
    "of the loss since the evaluation before",
    Text("a further round as long would gain about half of it again", "再训练同样长的时间大约还能获得其一半"),
)
JUMP = Threshold(
    0.2,
    "of the loss",
    Text(
        "a fifth more loss from one interval to the next is beyond batches' chance",
        "相邻区间损失增加五分之一，超出批次的偶然波动",
    ),
)


def step_too_large(m: Measurements) -> list[Finding]:
    """The steps are too large: the training never settles, or is thrown back.

    Measured: the median ‖Δw‖/‖w‖ of a step while the rate is high, and how far the last losses lie above the lowest.
    Limits: a tenth; a tenth of the lowest. Source: Bengio 2012, section 3.1.1; the usual thousandth: Karpathy, CS231n
    notes, "Neural Networks 3".
    """
    run = m.run
    if run is None:
        return []
    ratio, rise = _median(_at_high_rate(run, run.update_ratio)), _rise(run)
    by_step, thrown = ratio >= LARGE_UPDATE.value, rise >= RISE.value
    if not (by_step or thrown):
        return []
    en, zh = [], []
    if np.isfinite(ratio):
        en.append(f"A step changes the weights by {number(100 * ratio)} % of their norm (median)")
        zh.append(f"每步使权重改变其范数的 {number(100 * ratio)} %（中位数）")
    if thrown:
        en.append(f"The loss ended {number(100 * rise)} % above its lowest")
        zh.append(f"损失最后比最低值高 {number(100 * rise)} %")
    factor = 0.1 if by_step else 0.3
    return [
        Finding(
            "step-too-large", "problem", Text("The steps are too large", "步长过大"), TRAINING,
            (Quantity("update_ratio", ratio, LARGE_UPDATE.unit), Quantity("rise", rise, RISE.unit)),
            LARGE_UPDATE if by_step else RISE, Text(f"{'. '.join(en)}.", f"{'；'.join(zh)}。"),
            Text(
                "The learning rate is too large for these weights: a step goes beyond where the gradient holds.",
                "学习率对这些权重来说过大：一步越过了梯度成立的范围。",
            ),
            Chooser(m.settings).pick(
                changes.learning_rate(m.settings, factor), _clip(m, run),
                changes.learning_rate(m.settings, factor / 3), changes.LAYER_NORM,
            ),
            NO_ADVICE, "Bengio 2012, section 3.1.1; Karpathy, CS231n notes, Neural Networks 3",
        )
    ]  # fmt: skip


def not_finite(m: Measurements) -> list[Finding]:
    """Losses or gradients were not finite.

    Measured: steps that were skipped for it, and returns to a checkpoint. Limits: 1 % of the steps; no return. Source:
    Pascanu et al. 2013, section 2.3; Bengio 2012, section 3.1.1.
    """
    run = m.run
    if run is None:
        return []
    steps = max(1, run.skipped_steps, int(run.step.max(initial=0)))
    share = run.skipped_steps / steps
    if run.returns == 0 and share < NOT_FINITE.value:
        return []
    return [
        Finding(
            "not-finite", "problem", Text("The loss was not finite", "损失不是有限数"), TRAINING,
            (Quantity("skipped", run.skipped_steps, "steps"), Quantity("returns", run.returns, "times")), NOT_FINITE,
            Text(
                f"{run.skipped_steps:,} of {steps:,} steps were skipped, and the training went back to a checkpoint "
                f"{run.returns:,} times.",
                f"{steps:,} 步中跳过了 {run.skipped_steps:,} 步，训练退回检查点 {run.returns:,} 次。",
            ),
            Text(
                "Something grew beyond what a float32 holds: the state or the gradient explodes, or a step was too "
                "large.",
                "某个量超出了 float32 的范围：状态或梯度爆炸，或某一步过大。",
            ),
            Chooser(m.settings).pick(
                _clip(m, run) or changes.clip_norm(1.0), changes.learning_rate(m.settings, 0.1), changes.ORTHOGONAL,
                changes.LSTM, changes.LAYER_NORM,
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
    if run is None or not len(run.clip_rate):
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
    norm, largest = _median(run.gradient_norm), float(np.nanmax(np.append(run.gradient_norm_max, -np.inf)))
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
            Chooser(m.settings).pick(_clip(m, run), changes.clip_value(changes.rounded(0.1 * norm))),
            NO_ADVICE, "Pascanu et al. 2013, sections 2.3 and 3.2",
        )
    ]  # fmt: skip


def loss_jumps(m: Measurements) -> list[Finding]:
    """The loss jumps between intervals of the record, and what goes with it.

    Measured: the largest rise from one interval to the next, as a share of the loss, where it is also eight times the
    usual change; and the shares of the variance between batches. Limit: a fifth. Source: Bottou et al. 2018, section
    4, on the noise of a step.
    """
    run = m.run
    if run is None or len(run.loss) < 5:
        return []
    loss = run.loss[np.isfinite(run.loss)]
    change = np.diff(loss)
    if len(change) < 4:
        return []
    usual = 1.4826 * float(np.median(np.abs(change - np.median(change))))
    at = int(change.argmax())
    jump = float(change[at] / loss[at]) if loss[at] > 0 else 0.0
    if jump < JUMP.value or change[at] < 8 * usual:
        return []
    shares = {name: share for name, share in run.variance_explained.items() if np.isfinite(share)}
    reason = max(shares, key=lambda name: shares[name], default="unexplained")
    named = ", ".join(f"{name.replace('_', ' ')} {number(100 * share)} %" for name, share in shares.items())
    return [
        Finding(
            "loss-jumps", "warning", Text("The loss jumps", "损失突跳"), TRAINING,
            (
                Quantity("jump", jump, "of the loss"),
                Quantity("at_step", float(run.step[min(at + 1, len(run.step) - 1)]), ""),
                *(Quantity(f"explained_by_{name}", share, "of the variance") for name, share in shares.items()),
            ),
            JUMP,
            Text(
                f"Up to step {int(run.step[min(at + 1, len(run.step) - 1)]):,} the loss rose by {number(100 * jump)} %."
                + (f" What the variance between batches goes with: {named}." if named else ""),
                f"到第 {int(run.step[min(at + 1, len(run.step) - 1)]):,} 步，损失上升了 {number(100 * jump)} %。"
                + (f"批次间方差的来源：{named}。" if named else ""),
            ),
            _JUMP_CAUSES.get(reason, _JUMP_CAUSES["unexplained"]),
            Chooser(m.settings).pick(changes.learning_rate(m.settings, 0.3), _clip(m, run), changes.AVERAGE),
            NO_ADVICE, "Bottou, Curtis & Nocedal 2018, section 4; Pascanu et al. 2013, section 2.3",
        )
    ]  # fmt: skip


_JUMP_CAUSES = {
    "unexplained": Text(
        "A step went too far, or single batches are unlike the others.", "某一步走得太远，或个别批次与其他批次不同。"
    )
}


def overfitting(m: Measurements) -> list[Finding]:
    """The validation loss rises while the training loss falls.

    Measured: the last validation loss over the lowest, and the training loss since. Limit: 5 %. Source: Prechelt 1998.
    """
    run = m.run
    if run is None or len(run.validation_loss) < 2 or not len(run.loss):
        return []
    losses = run.validation_loss
    if not np.isfinite(losses).all():
        return []
    best = int(losses.argmin())
    rise = float(losses[-1] / losses[best] - 1) if losses[best] > 0 else 0.0
    since = run.loss[run.step > run.validation_step[best]]
    before = run.loss[run.step <= run.validation_step[best]]
    falls = len(since) > 0 and len(before) > 0 and since[-1] < before[-1]
    if rise < OVERFIT.value or not falls:
        return []
    return [
        Finding(
            "overfitting", "warning", Text("It learns the training data by heart", "过拟合"), TRAINING,
            (
                Quantity("rise", rise, "of the lowest validation loss"),
                Quantity("best_step", int(run.validation_step[best]), ""),
            ),
            OVERFIT,
            Text(
                f"Since step {int(run.validation_step[best]):,} the validation loss rose by {number(100 * rise)} % "
                f"while the training "
                "loss fell. The weights kept are the best ones, but the training after them was in vain.",
                f"自第 {int(run.validation_step[best]):,} 步起，验证损失上升 {number(100 * rise)} %，而训练损失下降。"
                "保存的是最好的权重，但其后的训练是徒劳的。",
            ),
            Text("The network is large for the data, or is hindered too little.", "网络对数据来说过大，或约束不足。"),
            Chooser(m.settings).pick(_more_dropout(m), changes.DECAY, changes.STOP_EARLY),
            Text("More data help most.", "更多的数据最有帮助。"),
            "Prechelt 1998; Zaremba et al. 2014",
        )
    ]  # fmt: skip


def not_converged(m: Measurements) -> list[Finding]:
    """Training ended while the loss was still falling.

    Measured: how much the last evaluation gained on the one before; with fewer than two evaluations, the last quarter
    of the training losses on the quarter before. Limit: 1 %. Source: Prechelt 1998.
    """
    run = m.run
    if run is None:
        return []
    losses = run.validation_loss
    if len(losses) >= 2:
        before, last = float(losses[-2]), float(losses[-1])
    elif len(run.loss) >= 8:
        quarter = len(run.loss) // 4
        before, last = float(run.loss[-2 * quarter : -quarter].mean()), float(run.loss[-quarter:].mean())
    else:
        return []
    gain = (before - last) / before if before > 0 and np.isfinite(before) and np.isfinite(last) else 0.0
    if gain < STILL_FALLING.value:
        return []
    return [
        Finding(
            "not-converged", "warning", Text("The training has not converged", "训练尚未收敛"), TRAINING,
            (Quantity("gain", gain, "of the loss since the evaluation before"),), STILL_FALLING,
            Text(
                f"The loss fell by another {number(100 * gain)} % up to the end, from {number(before)} to "
                f"{number(last)} nats.",
                f"直到最后损失仍下降了 {number(100 * gain)} %，从 {number(before)} 降到 {number(last)} nat。",
            ),
            Text("The training ended before the loss had stopped falling.", "训练在损失停止下降之前就结束了。"),
            Chooser(m.settings).pick(changes.longer(m.settings)), NO_ADVICE, "Prechelt 1998",
        )
    ]  # fmt: skip


def _at_high_rate(run: RunMeasurements, values: np.ndarray) -> np.ndarray:
    """Values from where the rate is at its highest until it has halved: where the steps are what was asked for."""
    if not len(values) or not np.isfinite(run.learning_rate).any():
        return values
    return values[run.learning_rate >= 0.5 * np.nanmax(run.learning_rate)]


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _rise(run: RunMeasurements) -> float:
    """How far the last losses lie above the lowest, as a share of it: means of three intervals each."""
    loss = run.loss[np.isfinite(run.loss)]
    if len(loss) < 6:
        return 0.0
    smooth = np.convolve(loss, np.ones(3) / 3, "valid")
    lowest = float(smooth.min())
    return float(smooth[-1] / lowest - 1) if lowest > 0 else 0.0


def _clip(m: Measurements, run: RunMeasurements) -> changes.Change | None:
    """Clipping at twice the usual norm, where there is none."""
    norm = _median(run.gradient_norm)
    if m.settings.get("clip_norm") is not None or not norm > 0:
        return None
    return changes.clip_norm(changes.rounded(2 * norm))


def _more_dropout(m: Measurements) -> changes.Change | None:
    now = m.settings.get("dropout")
    return changes.DROPOUT if isinstance(now, int | float) and now < 0.4 else None
