"""The changes that findings name: settings that a task may have, each with why it helps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ostinato.diagnostics.findings import Change, Text

OWN_START = {"irnn": "identity"}
"""Cell → how its recurrent weights begin by themselves; orthogonal for all others (`GatedCell.own_recurrent_init`)."""

LSTM = Change(
    "lstm",
    {"cell": "lstm"},
    Text("its cell state goes on through a gate, not through a matrix", "其细胞状态经由门而不是矩阵传递"),
)
GRU = Change("gru", {"cell": "gru"}, Text("its update gate can copy the state unchanged", "其更新门可以原样复制状态"))
TANH = Change("tanh", {"cell": "rnn"}, Text("tanh is bounded and its derivative reaches 1", "tanh 有界，且导数可达 1"))
LAYER_NORM = Change(
    "layer-norm",
    {"layer_norm": True},
    Text("the gates' inputs keep one scale, whatever the weights'", "无论权重的尺度如何，门的输入都保持同一尺度"),
)
BATCH_NORM = Change(
    "batch-norm",
    {"batch_norm": 100},
    Text("the same over the batch, with statistics of each step", "同上，但按批次、逐步统计"),
)
AVERAGE = Change(
    "accumulate",
    {"accumulate": 4},
    Text("the mean of four batches varies half as much", "四个批次的均值，波动减半"),
)
DROPOUT = Change(
    "dropout", {"dropout": 0.4}, Text("it hinders learning by heart (Zaremba et al. 2014)", "妨碍死记硬背")
)
DECAY = Change("weight-decay", {"weight_decay": 0.01}, Text("it keeps the weights small", "使权重保持较小"))
STOP_EARLY = Change(
    "patience", {"patience": 3}, Text("it stops when three evaluations bring no gain", "三次评估没有进步就停止")
)


def irnn(settings: Mapping[str, Any]) -> Change:
    """ReLU with recurrent weights that start as the identity."""
    own = {"recurrent_init": None} if settings.get("recurrent_init") is not None else {}
    return Change(
        "irnn",
        {"cell": "irnn", **own},
        Text(
            "ReLU with recurrent weights that start as the identity keeps the state at first",
            "ReLU 加单位矩阵初始化，起初能保持状态",
        ),
    )


def orthogonal(settings: Mapping[str, Any]) -> Change | None:
    """Orthogonal recurrent weights; None where the cell begins with them by itself."""
    begins = settings.get("recurrent_init") or OWN_START.get(str(settings.get("cell")), "orthogonal")
    if begins == "orthogonal":
        return None
    return Change(
        "orthogonal",
        {"recurrent_init": "orthogonal"},
        Text("every singular value of the recurrent weights starts at 1", "循环权重的所有奇异值从 1 开始"),
    )


def forget_bias(value: float = 1.0) -> Change:
    """The initial bias of the forget gate."""
    return Change(
        f"forget-bias {value:g}",
        {"forget_bias": value},
        Text(
            "gates that start half open to three quarters open can go either way",
            "门从半开到四分之三开起步，可朝两边变化",
        ),
    )


def clip_norm(value: float) -> Change:
    """Clipping of the whole gradient's norm."""
    return Change(
        f"clip-norm {value:g}",
        {"clip_norm": value, "clip_value": None},
        Text(
            "gradients above it are scaled down, their direction kept (Pascanu et al. 2013)",
            "超过此范数的梯度按比例缩小，方向不变",
        ),
    )


def clip_value(value: float) -> Change:
    """Clipping of each gradient by itself."""
    return Change(
        f"clip-value {value:g}",
        {"clip_value": value, "clip_norm": None},
        Text("each gradient is cut at this size by itself", "逐个元素截断梯度"),
    )


def learning_rate(settings: Mapping[str, Any], factor: float) -> Change | None:
    """The rate times a factor, in one digit; None where there is none."""
    rate = settings.get("learning_rate")
    if not isinstance(rate, int | float):
        return None
    value = rounded(rate * factor)
    words = (
        Text(f"steps {1 / factor:g} times smaller", f"步长缩小为 1/{1 / factor:g}")
        if factor < 1
        else Text(f"steps {factor:g} times larger", f"步长放大为 {factor:g} 倍")
    )
    return Change(f"lr {value:g}", {"learning_rate": value}, words)


def bptt_steps(steps: int) -> Change:
    """Truncation after so many steps."""
    return Change(
        f"bptt {steps}",
        {"bptt_steps": steps},
        Text("the gradient reaches so far back", "梯度可回传这么远"),
    )


def longer(settings: Mapping[str, Any]) -> Change | None:
    """Twice the budget that ended the training: minutes, steps or epochs."""
    for name in ("max_minutes", "max_steps", "epochs"):
        if settings.get(name):
            return Change("longer", {name: 2 * settings[name]}, Text("twice the training", "训练时间加倍"))
    return None


def rounded(value: float) -> float:
    """To one digit.

    >>> rounded(0.00273), rounded(41)
    (0.003, 40.0)
    """
    if not math.isfinite(value) or value <= 0:
        return value
    scale = 10.0 ** math.floor(math.log10(value))
    return float(f"{round(value / scale) * scale:.12g}")
