"""Charts of what was measured of a model: how far its gradient reaches, its Jacobians, its gates, what it remembers."""

from __future__ import annotations

import math

import numpy as np

from ostinato.diagnostics.findings import Text
from ostinato.diagnostics.measurements import Forgetting, LayerMeasurements, Measurements
from ostinato.report.charts import Axis, Chart, Line
from ostinato.report.training import layer_words

_LAG = Axis(Text("lag k, steps", "滞后 k，步"))


def gradient_charts(measured: Measurements) -> list[Chart]:
    """The gradient by lag of every layer, now."""
    layers = [layer for layer in measured.layers if len(layer.gradient_by_lag)]
    lines = [Line(_with_half_life(layer), np.arange(len(layer.gradient_by_lag)), layer.gradient_by_lag)
             for layer in layers]  # fmt: skip
    by_lag = Chart(
        "gradient-by-lag", Text("Gradient by lag, now", "当前各滞后的梯度"), _LAG,
        Axis(Text("‖∂Lₜ/∂hₜ₋ₖ‖", "‖∂Lₜ/∂hₜ₋ₖ‖"), log=True), lines,
        note=Text("How much the loss of a step depends on the hidden state k steps before. A straight fall is "
                   "exponential: in brackets the steps in which it halves.",
                   "某一步的损失对 k 步之前隐藏状态的依赖程度。直线下降即指数衰减：括号内为减半所需的步数。"),
        wide=True,
    )  # fmt: skip
    return [] if by_lag.empty else [by_lag]


def _with_half_life(layer: LayerMeasurements) -> Text:
    name = layer_words(layer.name)
    if not math.isfinite(layer.half_life_steps):
        return name
    steps = f"{layer.half_life_steps:.3g}"
    return Text(f"{name.en} ({steps} steps)", f"{name.zh}（{steps} 步）")


def _singular(measured: Measurements) -> Chart:
    lines = []
    for layer in measured.layers:
        if len(layer.jacobian_lags) and layer.jacobian_log_singular.size:
            log10 = layer.jacobian_log_singular[:, 0] / math.log(10)
            lines.append(Line(layer_words(layer.name), layer.jacobian_lags, log10))
    return Chart(
        "jacobian", Text("Largest singular value of ∂sₜ/∂sₜ₋ₖ", "∂sₜ/∂sₜ₋ₖ 的最大奇异值"), _LAG,
        Axis(Text("log₁₀ σ₁", "log₁₀ σ₁")), lines,
        note=Text("Far below 0, whatever stood k steps ago is forgotten; far above 0, it explodes.",
                   "远低于 0：k 步之前的内容已被遗忘；远高于 0：梯度爆炸。"),
    )  # fmt: skip


def spectrum_charts(measured: Measurements) -> list[Chart]:
    """The Jacobians' largest singular values; and the eigenvalues of every layer's mean one-step Jacobian."""
    singular = _singular(measured)
    charts = [] if singular.empty else [singular]
    for number, layer in enumerate(measured.layers):
        if not len(layer.eigenvalues):
            continue
        name, radius = layer_words(layer.name), f"{layer.spectral_radius:.3f}"
        points = Line(Text("eigenvalue", "特征值"), np.real(layer.eigenvalues), np.imag(layer.eigenvalues), points=True)
        exponent = f"{layer.lyapunov[0]:+.3f}" if len(layer.lyapunov) else "?"
        charts.append(
            Chart(
                f"spectrum-{number}", Text(f"Spectrum: {name.en}", f"谱：{name.zh}"),
                Axis(Text("real part", "实部")), Axis(Text("imaginary part", "虚部")), [points],
                note=Text(f"Spectral radius {radius}; leading Lyapunov exponent {exponent} nats a step. Inside the "
                           "circle what the state holds fades, near it, it stays.",
                           f"谱半径 {radius}；最大李雅普诺夫指数每步 {exponent} 奈特。"
                           "圆内的成分会消退，靠近圆周的会保留。"),
                circle=True,
            )
        )  # fmt: skip
    return charts


def gate_charts(measured: Measurements) -> list[Chart]:
    """For every layer, how often each unit of each gate stands at an end of its range; units in order of that."""
    charts = []
    for number, layer in enumerate(measured.layers):
        if not layer.saturation:
            continue
        lines = []
        for colour, (gate, ends) in enumerate(layer.saturation.items()):
            for end, share in zip((Text("low", "低端"), Text("high", "高端")), np.atleast_2d(ends), strict=False):
                if layer.activations.get(gate) == "relu" and end.en == "high":
                    continue  # it has no such end
                ordered = np.sort(share)[::-1]
                x = np.arange(1, len(ordered) + 1) / len(ordered)
                told = Text(f"{gate}, {end.en}", f"{gate}，{end.zh}")
                lines.append(Line(told, x, ordered, dashed=end.en == "low", colour=colour))
        name = layer_words(layer.name)
        dead, idle = int(layer.dead.sum()), int(layer.idle.sum())
        charts.append(
            Chart(
                f"gates-{number}", Text(f"Saturated gates: {name.en}", f"饱和的门：{name.zh}"),
                Axis(Text("units, the most saturated first", "单元，最饱和的在前"), share=True),
                Axis(Text("share of steps", "步数比例"), share=True), lines,
                note=Text(f"Of {layer.hidden_size} units {dead} dead (always 0), {idle} idle (hardly move).",
                           f"{layer.hidden_size} 个单元中，{dead} 个失活（恒为 0），{idle} 个闲置（几乎不变）。"),
            )
        )  # fmt: skip
    return charts


def state_charts(measured: Measurements) -> list[Chart]:
    """How the norm of each part of the state grows over a sequence."""
    lines = []
    for layer in measured.layers:
        for part, norm in layer.state_norm.items():
            name = layer_words(layer.name)
            lines.append(Line(Text(f"{name.en}: {part}", f"{name.zh}：{part}"), np.arange(1, len(norm) + 1), norm))
    chart = Chart(
        "state-norm", Text("Norm of the state", "状态的范数"), Axis(Text("step of the sequence", "序列中的步")),
        Axis(Text("‖sₜ‖", "‖sₜ‖")), lines,
        note=Text("A state that grows without end meets inputs for which it was not trained.",
                   "状态若无限增长，就会进入训练时未见过的区域。"),
    )  # fmt: skip
    return [] if chart.empty else [chart]


def forgetting_chart(curve: Forgetting) -> Chart:
    """The loss against how much of the text before the model may see."""
    return Chart(
        "forgetting", Text("The forgetting curve", "遗忘曲线"),
        Axis(Text("steps of context", "可见的上文步数"), log=True), Axis(Text("loss, nats", "损失，奈特")),
        [Line(Text("same targets", "相同目标"), curve.context_steps, curve.loss)],
        note=Text("Where it is flat, the model makes nothing of what stands further back.",
                   "曲线变平之处，更早的上文对模型已无作用。"),
        wide=True,
    )  # fmt: skip
