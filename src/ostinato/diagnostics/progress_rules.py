"""Rules on where a training got to. Each says what it measures, its limit, why, and its source."""

from __future__ import annotations

import numpy as np

from ostinato.diagnostics import changes
from ostinato.diagnostics.findings import NO_ADVICE, Chooser, Finding, Quantity, Text, Threshold, number
from ostinato.diagnostics.measurements import Measurements
from ostinato.diagnostics.training_rules import TRAINING, clip_at_usual_norm

JUMP = Threshold(
    0.2,
    Text("of the loss", "（相对于损失）"),
    Text(
        "a fifth more loss from one interval to the next is beyond batches' chance",
        "相邻区间损失增加五分之一，超出批次的偶然波动",
    ),
)
OVERFIT = Threshold(
    0.05,
    Text("of the lowest validation loss", "（相对于最低验证损失）"),
    Text("more than evaluations of one model differ by", "大于同一模型各次评估间的差别"),
)
STILL_FALLING = Threshold(
    0.01,
    Text("of the loss since the evaluation before", "（相对于前一次评估的损失）"),
    Text("a further round as long would gain about half of it again", "再训练同样长的时间大约还能获得其一半"),
)


def loss_jumps(m: Measurements) -> list[Finding]:
    """The loss jumps between intervals of the record, and what goes with it.

    Measured: the largest rise from one interval to the next, as a share of the loss, where it is also eight times the
    usual change; and the shares of the variance between batches. Limit: a fifth. Source: Bottou et al. 2018, section
    4, on the noise of a step.
    """
    run = m.run
    if run is None or len(run.loss) < 5:
        return []
    known = np.isfinite(run.loss)
    loss, steps = run.loss[known], run.step[known]
    change = np.diff(loss)
    if len(change) < 4:
        return []
    usual = 1.4826 * float(np.median(np.abs(change - np.median(change))))  # a deviation that outliers do not move
    at = int(change.argmax())
    jump, step = float(change[at] / loss[at]) if loss[at] > 0 else 0.0, int(steps[at + 1])
    if jump < JUMP.value or change[at] < 8 * usual:
        return []
    shares = run.variance_explained
    causes = {name: share for name, share in shares.items() if name in _CAUSES}
    reason = max(causes, key=lambda name: causes[name], default="")
    told = reason if causes and causes[reason] >= EXPLAINED else ""
    en = ", ".join(f"{name} {number(100 * share)} %" for name, share in shares.items())
    zh = "，".join(f"{_NAMES.get(name, name)} {number(100 * share)} %" for name, share in shares.items())
    return [
        Finding(
            "loss-jumps", "warning", Text("The loss jumps", "损失突跳"), TRAINING,
            (
                Quantity("jump", jump, "of the loss"), Quantity("at_step", step, ""),
                *(Quantity(f"goes with {name}", share, "of the variance") for name, share in shares.items()),
            ),
            JUMP,
            Text(
                f"Up to step {step:,} the loss rose by {number(100 * jump)} %."
                + (f" What the variance between batches goes with: {en}." if shares else ""),
                f"到第 {step:,} 步，损失上升了 {number(100 * jump)} %。"
                + (f"批次间方差的来源：{zh}。" if shares else ""),
            ),
            _CAUSES[told] if told else _UNKNOWN,
            Chooser(m.settings).pick(
                changes.AVERAGE if told == "batch composition" else None, changes.learning_rate(m.settings, 0.3),
                clip_at_usual_norm(m, run), changes.AVERAGE if told != "batch composition" else None,
            ),
            NO_ADVICE, "Bottou, Curtis & Nocedal 2018, section 4; Pascanu et al. 2013, section 2.3",
        )
    ]  # fmt: skip


EXPLAINED = 0.1  # of the variance: less than that is no explanation
_CAUSES = {
    "step size": Text(
        "The loss varies with the length of the step before: some steps go too far.",
        "损失随前一步的长度而变：有些步走得太远。",
    ),
    "clipping": Text(
        "The loss varies with whether the step before was clipped: what is clipped are cliffs.",
        "损失随前一步是否被截断而变：被截断处是陡崖。",
    ),
    "batch composition": Text(
        "The batches differ: some hold harder targets than others, or fewer.", "批次各不相同：有些目标更难，或更少。"
    ),
}
_UNKNOWN = Text(
    "A step went too far, or single batches are unlike the others; the record does not tell which.",
    "某一步走得太远，或个别批次与其他批次不同；记录无法区分。",
)
_NAMES = {
    "step size": "步长", "clipping": "截断", "batch composition": "批次组成", "shared": "共同", "unexplained": "未解释",
}  # fmt: skip


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


def _more_dropout(m: Measurements) -> changes.Change | None:
    now = m.settings.get("dropout")
    return changes.DROPOUT if isinstance(now, int | float) and now < 0.4 else None
