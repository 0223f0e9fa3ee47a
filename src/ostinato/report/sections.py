"""The sections of the page: what each shows, what it needs, and that it is left out where that is not there."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ostinato.diagnostics.findings import Text
from ostinato.report.charts import Chart
from ostinato.report.training import gradient_over_training, training_charts


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    title: Text
    about: Text
    needs: tuple[str, ...]
    """Attributes of the subject; without one of them (None, or empty) the section is left out."""
    charts: Callable[[Any], list[Chart]] = lambda subject: []  # noqa: ARG005
    """Subject → what plotly, or matplotlib, draws."""
    kind: str = "charts"
    """What of the page draws `data`: a name of `KINDS` in page.js."""
    data: Callable[[Any], dict[str, Any] | None] = lambda subject: None  # noqa: ARG005
    """Subject → what else the section shows, as JSON has it."""

    def shown(self, subject: Any) -> bool:
        """Whether the subject has what the section needs."""
        found = (getattr(subject, name, None) for name in self.needs)
        return all(each is not None and (not hasattr(each, "__len__") or len(each) > 0) for each in found)

    def plain(self, subject: Any) -> dict[str, Any] | None:
        """As JSON has it; None where there is nothing to show."""
        if not self.shown(subject):
            return None
        charts, data = [chart.plain() for chart in self.charts(subject) if not chart.empty], self.data(subject)
        if not charts and data is None:
            return None
        about = {"title": self.title._asdict(), "about": self.about._asdict()}
        return {"name": self.name, "kind": self.kind, "charts": charts, "data": data, **about}


def packed(values: np.ndarray, kind: str) -> str:
    """An array as base64 of its bytes, little-endian, row by row.

    >>> packed(np.array([1, 2]), "<u2")
    'AQACAA=='
    """
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def _tables(subject: Any) -> dict[str, Any]:
    return {"tables": subject.tables}


TRAINING = Section(
    "training", Text("How the training went", "训练过程"),
    Text("Loss, the gradient before it is clipped, and how large the steps are. Where most steps are clipped or the "
          "update is a hundredth of the weight, the learning rate is the first thing to change.",
          "损失、裁剪前的梯度以及步长。若大多数步都被裁剪，或更新量达到权重的百分之一，应先调整学习率。"),
    ("run",), lambda subject: training_charts(subject.run),
)  # fmt: skip
REACH = Section(
    "reach", Text("How the gradient's reach changed", "梯度可达范围的变化"),
    Text("How strongly the loss of a step depended on the hidden state so many steps before, at every evaluation.",
          "每次评估时，某一步的损失对若干步之前隐藏状态的依赖程度。"),
    ("run",), lambda subject: gradient_over_training(subject.run),
)  # fmt: skip
TABLES = Section(
    "tables", Text("Figures and settings", "指标与设置"),
    Text("All that ostinato.json says.", "ostinato.json 中的全部内容。"),
    ("tables",), kind="tables", data=_tables,
)  # fmt: skip

OF_A_TRAINING = (TRAINING, REACH, TABLES)
"""Those that need no model, only its history: what `ostinato watch` shows."""
