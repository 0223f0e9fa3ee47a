"""Charts of a training, of what its history says; without torch, since `ostinato watch` starts with them."""

from __future__ import annotations

import numpy as np

from ostinato.diagnostics.findings import Text
from ostinato.diagnostics.measurements import RunMeasurements
from ostinato.report.charts import Axis, Chart, Grid, Line

_STEP = Axis(Text("optimiser's step", "优化步"))
_MOST_ROWS = 60  # of a picture over a training: evaluations

_CAUSES = {
    "step size": "步长", "clipping": "裁剪", "batch composition": "批次构成", "shared": "共同", "unexplained": "未解释",
}  # fmt: skip


def training_charts(run: RunMeasurements) -> list[Chart]:
    """Loss, gradient norm with clip rate, step sizes; those of which the history has numbers."""
    charts = [_loss(run), _norm(run), _rate(run), _update(run), _deviation(run)]
    return [chart for chart in charts if not chart.empty]


def gradient_over_training(run: RunMeasurements) -> list[Chart]:
    """For each layer, how far back a gradient reaches, at each evaluation of a training."""
    return [
        _reach(name, run.gradient_step, run.gradient_lags, np.atleast_2d(values), number)
        for number, (name, values) in enumerate(run.gradient_by_lag.items())
        if len(run.gradient_step) and values.size
    ]


def _loss(run: RunMeasurements) -> Chart:
    lines = [
        _line(Text("training", "训练"), run.step, run.loss),
        _line(Text("validation", "验证"), run.validation_step, run.validation_loss),
    ]
    note = Text("The mean of each interval, and of the validation data at each evaluation.",
                 "每个区间的平均值，以及每次评估时验证数据的平均值。")  # fmt: skip
    y = Axis(Text("loss, nats", "损失，奈特"))
    return Chart("loss", Text("Loss", "损失"), _STEP, y, [line for line in lines if len(line.x)], note=note, wide=True)


def _norm(run: RunMeasurements) -> Chart:
    mean = _line(Text("mean", "平均"), run.step, run.gradient_norm)
    largest = _line(Text("largest", "最大"), run.step, run.gradient_norm_max, dashed=True)
    clipped = _line(Text("steps clipped", "被裁剪的步"), run.step, run.clip_rate, second=True)
    return Chart(
        "gradient-norm", Text("Gradient norm before clipping", "裁剪前的梯度范数"), _STEP,
        Axis(Text("‖g‖", "‖g‖"), log=True),
        [line for line in (mean, largest, clipped) if len(line.x)],
        second=Axis(Text("clipped", "裁剪比例"), share=True),
        note=Text("Where most steps are clipped, the clip and not the rate decides how far a step goes.",
                   "若大多数步都被裁剪，决定步长的就是裁剪阈值而不是学习率。"),
    )  # fmt: skip


def _rate(run: RunMeasurements) -> Chart:
    line = _line(Text("learning rate", "学习率"), run.step, run.learning_rate)
    return Chart("learning-rate", Text("Learning rate", "学习率"), _STEP, Axis(Text("rate", "学习率")), _known([line]))


def _update(run: RunMeasurements) -> Chart:
    line = _line(Text("‖Δw‖ / ‖w‖", "‖Δw‖ / ‖w‖"), run.step, run.update_ratio)
    note = Text(
        "A thousandth is usual; a hundredth is a step that is too large.", "通常约为千分之一；百分之一说明步长过大。"
    )
    y = Axis(Text("share of the weight", "占权重的比例"), log=True)
    return Chart("update-ratio", Text("Update beside weight", "更新量与权重之比"), _STEP, y, _known([line]), note=note)


def _deviation(run: RunMeasurements) -> Chart:
    line = _line(Text("between batches", "批次之间"), run.step, run.loss_deviation)
    title = Text("How much the loss jumps from batch to batch", "损失在批次之间的波动")
    note = None
    if run.variance_explained:
        parts = sorted(run.variance_explained.items(), key=lambda each: -each[1])
        en = ", ".join(f"{name} {share:.0%}" for name, share in parts)
        zh = "，".join(f"{_CAUSES.get(name, name)} {share:.0%}" for name, share in parts)
        note = Text(f"What its variance goes with: {en}.", f"其方差的来源：{zh}。")
    y = Axis(Text("deviation, nats", "标准差，奈特"))
    return Chart("loss-deviation", title, _STEP, y, _known([line]), note=note)


def _reach(name: str, steps: np.ndarray, lags: np.ndarray, values: np.ndarray, number: int) -> Chart:
    """A picture of [evaluations, lags]: time of training to the right, lag upwards."""
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_ROWS)).round().astype(int))
    title = Text(f"Gradient by lag over training: {name}", f"训练中各滞后的梯度：{layer_zh(name)}")
    note = Text(
        "Each column is an evaluation, upwards how many steps back. Where the colour fades early, nothing further back "
        "is learned from.",
        "每列是一次评估，向上是回溯的步数。颜色越早变淡，越久远的输入越学不到东西。",
    )
    grid = Grid(steps[shown], lags, values[shown].T, Text("‖∂L/∂h‖", "‖∂L/∂h‖"), log=True, even=True)
    lag = Axis(Text("lag, steps", "滞后，步"))
    return Chart(f"gradient-over-training-{number}", title, _STEP, lag, grid=grid, note=note)


def layer_zh(name: str) -> str:
    """A layer's name in Chinese.

    >>> layer_zh("encoder, layer 1"), layer_zh("layer 0, backward")
    ('编码器, 第 1 层', '第 0 层, 反向')
    """
    told = []
    for part in name.split(", "):
        if part.startswith("layer ") and part[6:].isdigit():
            part = f"第 {part[6:]} 层"
        told.append({"encoder": "编码器", "decoder": "解码器", "backward": "反向", "forward": "正向"}.get(part, part))
    return ", ".join(told)


def layer_words(name: str) -> Text:
    """A layer's name in both languages."""
    return Text(name, layer_zh(name))


def _line(name: Text, x: np.ndarray, y: np.ndarray, second: bool = False, dashed: bool = False) -> Line:
    known = np.isfinite(y) if len(y) == len(x) else np.zeros(len(x), bool)
    return Line(name, x[known], y[known] if known.any() else [], second=second, dashed=dashed)


def _known(lines: list[Line]) -> list[Line]:
    return [line for line in lines if len(line.x)]
