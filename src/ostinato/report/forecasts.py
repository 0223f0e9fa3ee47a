"""What a forecaster says of the end of some series, beside what came."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ostinato.diagnostics.findings import Text
from ostinato.diagnostics.held_out import HeldOut
from ostinato.report.charts import Axis, Chart, Line

_SERIES = 4


def forecast_charts(model: Any, data: HeldOut | None) -> list[Chart]:
    """A chart for each of the first series of held-out data: its last window; none of models that forecast nothing."""
    if model.task != "forecaster" or data is None or not data.rows:
        return []
    rows = data.rows[:_SERIES]
    windows = model.cut_windows(rows)
    places = windows.at_end(1)
    if not len(places):
        return []
    batch = windows.batch(places)
    with torch.inference_mode():
        point, quantiles = model.outer(batch, model.network(model.on_device(batch)))
    actual = windows.actual(places).values
    levels, horizon = model.settings.quantiles, model.codec.horizon
    widest = f"{100 * (levels[-1] - levels[0]):g} %"
    found = []
    for column, (row, origin) in enumerate(places.tolist()):
        shown = min(origin, max(3 * horizon, 24))
        first = int(windows.starts[row]) + origin
        was = model.codec.outer(np.asarray(windows.values[first - shown : first, 0]))
        name = bytes(np.asarray(rows[row]["name"])).decode() or model.codec.targets[0]
        steps = np.arange(1, horizon + 1)
        lines = [
            Line(Text("what was, and what came", "实际值"), np.arange(1 - shown, horizon + 1),
                 np.concatenate([was, actual[:, column, 0]]), colour=5),
            Line(Text("forecast", "预测"), steps, point[:, column, 0], colour=1),
            Line(Text(f"{widest} of what comes, from", f"{widest} 区间下界"), steps, quantiles[:, column, 0, 0],
                 dashed=True, colour=1),
            Line(Text("to", "上界"), steps, quantiles[:, column, 0, -1], dashed=True, colour=1),
        ]  # fmt: skip
        x = Axis(Text("step from the last that was read", "距最后读入的步数"))
        y = Axis(Text(model.codec.targets[0], model.codec.targets[0]))
        found.append(Chart(f"forecast-{column}", Text(name, name), x, y, lines, wide=True))
    return found
