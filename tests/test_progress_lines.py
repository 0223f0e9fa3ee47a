"""What the line of a training tells, and what stays in the history alone."""

from __future__ import annotations

from ostinato.training.measuring import Interval
from ostinato.training.report import describe_interval


def test_a_line_tells_what_a_training_notes_once() -> None:
    met = Interval()
    met.add(6.0, 3, 0.5, clipped=False)
    record = {"loss": met.mean_loss(), "learning_rate": 0.1, "tokens_per_second": 10.0, **met.figures()}
    assert describe_interval(record) == "loss 2.000 · gradient 0.50 (0% clipped) · rate 0.1 · 10 tokens/s"
