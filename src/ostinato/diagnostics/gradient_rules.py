"""Rules on what the gradient does on its way back: what each measures, its limit, why it stands there, its source."""

from __future__ import annotations

import numpy as np

from ostinato.diagnostics import changes
from ostinato.diagnostics.findings import NO_ADVICE, Change, Chooser, Finding, Quantity, Text, Threshold, number
from ostinato.diagnostics.measurements import LayerMeasurements, Measurements

FADED = Threshold(
    1e-3,
    Text("of the gradient at lag 0", "（相对于滞后 0 的梯度）"),
    Text(
        "a thousandth is lost in the noise between batches, ten half-lives back",
        "千分之一已淹没在批次间的噪声里，相当于十个半衰期",
    ),
)
FASTEST_HALVING = Threshold(
    1.0,
    Text("step", "步"),
    Text(
        "a gradient that halves at every step is a thousandth after ten: that is no memory",
        "每步减半的梯度十步后只剩千分之一，称不上记忆",
    ),
)
REACHED_SHARE = Threshold(
    0.1,
    Text("of the steps back-propagated through", "（占反向传播步数）"),
    Text(
        "beyond the reach nine tenths of the work of each backward pass teach nothing",
        "超出可及范围后，每次反向传播有九成的计算学不到东西",
    ),
)
GROWN = Threshold(
    10.0,
    Text("times", "倍"),
    Text(
        "a gradient ten times larger at the far end than at the near one drowns what is near",
        "远端梯度若为近端的十倍，就会盖过近处的信息",
    ),
)
WORTH = Threshold(
    0.02,
    Text("nats a token", "nat/词元"),
    Text("less is within what seeds of one setting differ by", "更小的差别与同一设置不同随机种子间的差别相当"),
)
CERTAIN = 6.0  # deviations: among a thousand lags, chance gives one so far off once in a million looks
EDGE_SHARE = 0.01  # of the gradient at lag 0: what flows at the edge is then not noise


def horizon(m: Measurements, layer: LayerMeasurements) -> int:
    """Steps that training propagates through: those of the truncation, or the whole of what was measured."""
    return min(m.truncation_steps or layer.steps, layer.steps) if layer.steps else m.truncation_steps or 0


def profile(layer: LayerMeasurements) -> np.ndarray:
    """[lags], ‖∂L_t/∂s_{t−k}‖₂ of the whole state."""
    parts = list(layer.gradient_by_part.values()) or [layer.gradient_by_lag]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.sum([np.square(part) for part in parts], axis=0))


def reach_steps(layer: LayerMeasurements) -> float:
    """The lag at which a thousandth of the gradient's largest value is left; inf where it does not fall so far."""
    gradient = profile(layer)
    if not len(gradient) or not np.isfinite(gradient).all() or gradient.max() <= 0:
        return np.inf
    alive = np.flatnonzero(gradient >= FADED.value * gradient.max())
    if alive[-1] + 1 < len(gradient):
        return float(alive[-1] + 1)
    return 10 * layer.half_life_steps if np.isfinite(layer.half_life_steps) else np.inf


def unlearned_lags(m: Measurements, after: float, until: float) -> np.ndarray:
    """Lags within bounds at which a single token would still tell something worth learning.

    What stands out counts: beyond chance, and beyond what the far half of the lags tell on average, since text that
    repeats itself tells a little at every lag. A lag that tells less than a nearer one out of bounds is left out: what
    returns after k steps returns after 2k too, and is gone once k is learned.
    """
    if m.unlearned is None or not len(m.unlearned.lags):
        return np.zeros(0, int)
    u = m.unlearned
    gain = u.gain - np.median(u.gain[len(u.gain) // 2 :])
    within = (u.lags > after) & (u.lags <= until)
    nearer = float(gain[u.lags <= after].max(initial=0.0))
    return u.lags[within & (gain >= WORTH.value) & (gain >= CERTAIN * u.deviation) & (gain > nearer)]


def is_vanilla(layer: LayerMeasurements) -> bool:
    """Whether all that the state keeps goes through the matrix and the activation: no gate carries it past them."""
    return bool(np.isnan(layer.direct_part)) and np.isfinite(layer.weight_part)


def vanishing_gradient(m: Measurements) -> list[Finding]:
    """The gradient fades before it has gone back as far as it is needed.

    Measured: half-life of ‖∂L_t/∂s_{t−k}‖, and the lag at which a thousandth is left (the reach), beside the steps that
    training propagates through and, for a language model, the lags at which tokens would still tell what the model
    does not know. Limits: what is needed beyond the reach is a problem from 0.02 nats a token on; and a cell without a
    gated path is one that halves the gradient within a step. Where it is known how far back the answer stands, less
    reach than that is one too. A warning: a cell without a gated path reaches less than a tenth of the steps, and
    nothing tells whether more is needed. Source: Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013,
    section 2.1.
    """
    worst: tuple[float, LayerMeasurements] | None = None
    for layer in m.layers:
        reach = reach_steps(layer)
        if np.isfinite(reach) and (worst is None or reach > worst[0]):
            worst = (reach, layer)  # information can stay in any layer: the one with the longest memory counts
    if worst is None or any(not np.isfinite(reach_steps(layer)) for layer in m.layers):
        return []
    reach, layer = worst
    far, half = horizon(m, layer), layer.half_life_steps
    beyond = [int(lag) for lag in unlearned_lags(m, reach, far)]
    looked = m.unlearned is not None and m.unlearned.lags.max(initial=0) > reach
    fast = is_vanilla(layer) and half < FASTEST_HALVING.value and reach < far
    short = is_vanilla(layer) and reach < REACHED_SHARE.value * far and not looked
    missed = m.needed_steps is not None and reach < m.needed_steps
    if not (beyond or fast or short or missed):
        return []
    evidence = [
        Quantity("half_life", half, "steps"),
        Quantity("reach", reach, "steps"),
        Quantity("back_propagated", far, "steps"),
    ]
    seen = Text(
        f"Going back, the gradient halves every {number(half)} steps; after {number(reach)} of the {far} "
        f"steps that it is "
        "carried through, less than a thousandth of it is left.",
        f"向后传播时，梯度每 {number(half)} 步减半；在所回传的 {far} 步中，{number(reach)} 步之后剩下不到千分之一。",
    )
    if beyond:
        gain = float(m.unlearned.gain[np.isin(m.unlearned.lags, beyond)].max()) if m.unlearned else 0.0
        evidence += [Quantity("needed_lag", beyond[-1], "steps"), Quantity("unlearned", gain, "nats a token")]
        seen = Text(
            f"{seen.en} The tokens {_lags(beyond)} steps back would tell at least {number(gain)} nats a token more.",
            f"{seen.zh}而往前第 {_lags(beyond)} 步的词元每个至少还能提供 {number(gain)} nat 的信息。",
        )
    if missed:
        evidence.append(Quantity("needed_lag", m.needed_steps or 0, "steps"))
        seen = Text(
            f"{seen.en} What the answer depends on stands {m.needed_steps} steps back.",
            f"{seen.zh}而答案所依赖的内容在往前第 {m.needed_steps} 步。",
        )
    if is_vanilla(layer):
        slope, matrix = 2**layer.derivative_part, 2**layer.weight_part
        cause = Text(
            f"Each step multiplies the gradient by diag φ′(a) W: the activation's slope by {number(slope)}, the "
            f"recurrent "
            f"weights by {number(matrix)} on average.",
            f"每一步都将梯度乘以 diag φ′(a) W：激活函数的斜率平均为 {number(slope)}，循环权重平均为 {number(matrix)}。",
        )
    else:
        cause = Text("The gates let the state go sooner than the task needs it.", "门释放状态早于任务所需。")
    pick = Chooser(m.settings).pick(
        changes.LSTM, changes.GRU,
        changes.TANH if is_vanilla(layer) and "sigmoid" in layer.activations.values() else None,
        changes.irnn(m.settings), changes.orthogonal(m.settings), changes.LAYER_NORM, changes.BATCH_NORM,
        None if is_vanilla(layer) else _longer_memory(far),
    )  # fmt: skip
    return [
        Finding(
            "vanishing-gradient", "problem" if beyond or fast or missed else "warning",
            Text("The gradient vanishes", "梯度消失"), _where(layer), tuple(evidence),
            FADED if missed else FASTEST_HALVING if fast else WORTH if beyond else REACHED_SHARE,
            seen, cause, pick, NO_ADVICE if pick else _OTHER_CELL,
            "Bengio et al. 1994; Pascanu et al. 2013, section 2.1",
        )
    ]  # fmt: skip


_OTHER_CELL = Text("Take a cell with gates: LSTM or GRU.", "换用带门的单元：LSTM 或 GRU。")


def _longer_memory(steps: int) -> Change:
    bias = changes.rounded(float(np.log(max(steps, 2))))
    return Change(
        f"forget-bias {bias:g}",
        {"forget_bias": bias},
        Text(
            "a forget gate that starts nearer to 1 keeps the state longer (Tallec & Ollivier 2018)",
            "遗忘门从更接近 1 处起步，状态保留得更久",
        ),
    )


def exploding_gradient(m: Measurements) -> list[Finding]:
    """The gradient, or the state itself, grows from step to step.

    Measured: the largest ‖∂L_t/∂s_{t−k}‖ over that at lag 0; the leading Lyapunov exponent times the steps that
    training propagates through; the norm of the state at its end over that after a quarter. Limit: ten times. Source:
    Pascanu et al. 2013, section 2.1; for the exponents Engelken et al. 2023; for the state Le et al. 2015.
    """
    for layer in m.layers:
        far = horizon(m, layer)
        gradient = profile(layer)[: far + 1]
        finite = bool(np.isfinite(gradient).all())
        grown = float(gradient.max() / gradient[0]) if finite and len(gradient) and gradient[0] > 0 else 1.0
        grown = grown if finite else np.inf
        leading = float(layer.lyapunov[0]) if len(layer.lyapunov) else np.nan
        spread = float(np.exp(min(700.0, leading * far))) if np.isfinite(leading) else 0.0
        spread = np.inf if leading == np.inf else spread
        state = max((_state_growth(norm) for norm in layer.state_norm.values()), default=1.0)
        if max(grown, spread, state) < GROWN.value:
            continue
        evidence = (
            Quantity("gradient_growth", grown, "times"),
            Quantity("lyapunov", leading, "nats a step"),
            Quantity("state_growth", state, "times"),
            Quantity("back_propagated", far, "steps"),
        )
        settings = m.settings
        clipped = settings.get("clip_norm") is not None or settings.get("clip_value") is not None
        relu = "relu" in layer.activations.values()
        pick = Chooser(settings).pick(
            changes.orthogonal(m.settings),
            None if clipped else changes.clip_norm(1.0), None if clipped else changes.clip_value(0.1),
            changes.TANH if relu else None, changes.LSTM, changes.GRU, changes.LAYER_NORM,
            changes.learning_rate(settings, 0.3),
        )  # fmt: skip
        state_alone = state >= GROWN.value > max(grown, spread)
        title = Text("The state explodes", "状态爆炸") if state_alone else Text("The gradient explodes", "梯度爆炸")
        seen = Text(
            f"Over {far} steps the gradient grows {number(grown)} times, a small difference of two states "
            f"{number(spread)} times (exponent {number(leading)} nats a step), and the state's norm "
            f"{number(state)} times.",
            f"在 {far} 步内，梯度增大到 {number(grown)} 倍，两个状态间的微小差别增大到 {number(spread)} 倍"
            f"（指数为每步 {number(leading)} nat），状态的范数增大到 {number(state)} 倍。",
        )
        radius = number(layer.spectral_radius)
        cause = Text(
            f"The recurrent weights are too large: the mean step's matrix has spectral radius {radius}, and what is "
            "multiplied by more than 1 at every step grows without end.",
            f"循环权重过大：平均单步雅可比矩阵的谱半径为 {radius}，每步乘以大于 1 的数会无限增长。",
        )
        return [
            Finding(
                "exploding-gradient", "problem", title, _where(layer), evidence, GROWN, seen, cause, pick, NO_ADVICE,
                "Pascanu et al. 2013, sections 2.1 and 3.2",
            )
        ]  # fmt: skip
    return []


def _state_growth(norm: np.ndarray) -> float:
    """How many times larger a state is at its end than after a quarter of the time; inf if it is no number any more."""
    if not len(norm):
        return 1.0
    if not np.isfinite(norm).all():
        return np.inf
    early = float(norm[len(norm) // 4])
    return float(norm[-1]) / early if early > 0 else 1.0


def truncation_too_short(m: Measurements) -> list[Finding]:
    """Training cuts the gradient off nearer than the task needs.

    Measured: the lags beyond the truncation at which single tokens would still tell what the model does not know (for
    language models); and, for what the model does use, how much the loss still falls over the second half of the
    truncation's length while the gradient at its edge is not small. Limit: 0.02 nats a target. Source: Williams &
    Peng 1990; for dependence by lag Lin & Tegmark 2017.
    """
    cut = m.truncation_steps
    if not cut:
        return []
    beyond = [int(lag) for lag in unlearned_lags(m, cut, np.inf)]
    falls, edge = _fall_at_edge(m, cut), _gradient_at_edge(m, cut)
    at_edge = falls >= WORTH.value and edge >= EDGE_SHARE
    if not (beyond or at_edge):
        return []
    evidence: list[Quantity] = [Quantity("truncation", cut, "steps")]
    wanted = 2 * cut
    if beyond and m.unlearned is not None:
        gain = float(m.unlearned.gain[np.isin(m.unlearned.lags, beyond)].max())
        evidence += [Quantity("needed_lag", beyond[-1], "steps"), Quantity("unlearned", gain, "nats a token")]
        wanted = max(wanted, int(1.25 * beyond[-1]) + 1)
        seen = Text(
            f"The tokens {_lags(beyond)} steps back would tell at least {number(gain)} nats a token more, and "
            f"the gradient is "
            f"cut off after {cut} steps.",
            f"往前第 {_lags(beyond)} 步的词元每个至少还能提供 {number(gain)} nat 的信息，而梯度在 {cut} 步后被截断。",
        )
    else:
        evidence += [
            Quantity("loss_falls_at_edge", falls, "nats a target"),
            Quantity("gradient_at_edge", edge, "of that at lag 0"),
        ]
        seen = Text(
            f"Context between {cut // 2} and {cut} steps back still lowers the loss by {number(falls)} nats a "
            f"target, and where "
            f"the gradient is cut off {number(100 * edge)} % of it is left.",
            f"往前 {cut // 2} 至 {cut} 步的上下文仍使损失降低 {number(falls)} nat，"
            f"而在截断处梯度还剩 {number(100 * edge)} %。",
        )
    return [
        Finding(
            "truncation-too-short", "problem" if beyond else "warning",
            Text("The truncation is too short for the task", "截断步数对任务来说太短"),
            Text("training", "训练"), tuple(evidence), WORTH, seen,
            Text(
                "What lies further back than the truncation gets no gradient: the network is not taught to keep it.",
                "比截断更早的内容得不到梯度：网络没有学习去保留它。",
            ),
            Chooser(m.settings).pick(changes.bptt_steps(wanted)), NO_ADVICE,
            "Williams & Peng 1990; Lin & Tegmark 2017",
        )
    ]  # fmt: skip


def _fall_at_edge(m: Measurements, cut: int) -> float:
    """How much lower the loss is with at least the truncation's length of context than with half of it."""
    if m.forgetting is None or not len(m.forgetting.context_steps):
        return 0.0
    context, loss = m.forgetting.context_steps, m.forgetting.loss
    half, whole = loss[context <= max(1, cut // 2)], loss[context >= cut]
    return float(half[-1] - whole.min()) if len(half) and len(whole) else 0.0


def _gradient_at_edge(m: Measurements, cut: int) -> float:
    """The gradient that is left after the truncation's steps, as a share of the largest."""
    left = [0.0]
    for layer in m.layers:
        gradient = profile(layer)
        if len(gradient) > cut and np.isfinite(gradient).all() and gradient.max() > 0:
            left.append(float(gradient[cut] / gradient.max()))
    return max(left)


def _lags(lags: list[int]) -> str:
    return f"{lags[0]}" if len(lags) == 1 else f"{lags[0]}–{lags[-1]}"


def _where(layer: LayerMeasurements) -> Text:
    return Text(f"{layer.name}, {layer.cell}", f"{layer.name}，{layer.cell}")
