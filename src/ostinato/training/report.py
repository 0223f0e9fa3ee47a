"""What a person sees of a training: a moving display on a terminal, a line per interval elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

_LINE_EVERY_SECONDS = 10.0


class Reporter(Protocol):
    """Gets what happens as it happens."""

    def begin(self, total_steps: int, first_step: int) -> None:
        """Training begins at a step."""

    def interval(self, record: dict[str, Any]) -> None:
        """Some steps went by."""

    def evaluation(self, record: dict[str, Any]) -> None:
        """The validation data were scored."""

    def message(self, text: str) -> None:
        """Something that the user should know."""

    def end(self) -> None:
        """Training is over."""


class Silent:
    """Reports nothing."""

    def begin(self, total_steps: int, first_step: int) -> None:
        """Nothing."""

    def interval(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def evaluation(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


_OF_THE_LOOP = {
    "kind", "step", "epoch", "loss", "best", "seconds", "learning_rate", "gradient_norm", "clip_rate", "skipped",
    "tokens_per_second", "seconds_left",
}  # fmt: skip
"""What every record may hold, and is told in its own place."""


def describe_interval(record: dict[str, Any]) -> str:
    """One line for a record of kind `train`.

    >>> describe_interval(
    ...     {
    ...         "loss": 1.5,
    ...         "bits_per_character": 2.164,
    ...         "gradient_norm": 0.31,
    ...         "clip_rate": 0.05,
    ...         "tokens_per_second": 25310.0,
    ...         "learning_rate": 0.003,
    ...         "skipped": 0,
    ...     }
    ... )
    'loss 1.500 · 2.164 bits/char · gradient 0.31 (5% clipped) · rate 0.003 · 25,310 tokens/s'
    """
    clipped = f"gradient {record['gradient_norm']:.2f} ({record['clip_rate']:.0%} clipped)"
    speed = f"{record['tokens_per_second']:,.0f} tokens/s"
    parts = [f"loss {record['loss']:.3f}", _figure(record), clipped, f"rate {record['learning_rate']:.3g}", speed]
    return " · ".join([*filter(None, parts), *([f"{record['skipped']} skipped"] if record["skipped"] else [])])


def describe_evaluation(record: dict[str, Any]) -> str:
    """One line for a record of kind `validation`."""
    parts = [
        f"epoch {record['epoch']:.4g}",
        f"step {record['step']:,}",
        f"validation {record['loss']:.4f}",
        _figure(record),
    ]
    return " · ".join([*filter(None, parts), *(["best so far"] if record["best"] else [])])


def _figure(record: dict[str, Any]) -> str:
    """What the field quotes; nothing where that is the loss itself."""
    if "perplexity" in record:
        bleu = f" · BLEU {record['bleu']:.2f}" if "bleu" in record else ""
        return f"perplexity {record['perplexity']:.2f}{bleu}"
    if "masked_accuracy" in record:
        shares = f"{record['masked_accuracy']:.1%} of masked tokens, {record['next_sentence_accuracy']:.1%} of pairs"
        return f"{shares} right"
    if "bits_per_character" in record:
        return f"{record['bits_per_character']:.3f} bits/char"
    told: dict[float, str] = {}  # of one label a text, precision at 1, recall at 1 and accuracy are one number
    for name, value in record.items():
        if name not in _OF_THE_LOOP:
            told.setdefault(value, f"{name.replace('_', ' ')} {value:.4f}")
    return ", ".join(list(told.values())[:4])


class Lines:
    """Lines on standard error, for logs and pipes."""

    def __init__(self) -> None:
        self._total, self._last = 0, 0.0

    def begin(self, total_steps: int, first_step: int) -> None:  # noqa: ARG002
        """Note how many steps there are."""
        self._total, self._last = total_steps, time.monotonic()

    def interval(self, record: dict[str, Any]) -> None:
        """A line, at most every ten seconds."""
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_SECONDS:
            self._last = now
            left = f"{record['seconds_left'] / 60:.1f} min left"
            self.message(f"step {record['step']:,}/{self._total:,} · {describe_interval(record)} · {left}")

    def evaluation(self, record: dict[str, Any]) -> None:
        """A line."""
        self.message(describe_evaluation(record))

    def message(self, text: str) -> None:
        """A line."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def end(self) -> None:
        """Nothing to tidy."""


class Display:
    """A bar on a terminal with the figures below it; evaluations scroll past above."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            BarColumn(24),
            TextColumn("step {task.completed:,.0f} of {task.total:,.0f} ·"),
            TimeElapsedColumn(),
            TextColumn("gone ·"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            speed_estimate_period=120,
        )
        self._live = Live(self._progress, console=self._console, refresh_per_second=4)
        self._bar: Any = None

    def begin(self, total_steps: int, first_step: int) -> None:
        """Draw the bar; of trainings that follow each other only the last has one."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._live.update(self._progress)
        self._bar = self._progress.add_task("", total=total_steps, completed=first_step)
        self._live.start()

    def interval(self, record: dict[str, Any]) -> None:
        """Move the bar, and show the figures."""
        from rich.console import Group
        from rich.text import Text

        self._progress.update(self._bar, completed=record["step"])
        self._live.update(Group(self._progress, Text(describe_interval(record))))

    def evaluation(self, record: dict[str, Any]) -> None:
        """Print above the bar."""
        self._progress.update(self._bar, completed=record["step"])
        self._console.print(describe_evaluation(record))

    def message(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, markup=False)

    def end(self) -> None:
        """Leave the bar as it is."""
        self._live.stop()


def make_reporter(progress: bool | None = None) -> Reporter:
    """What fits standard error: `Display` on a terminal, `Lines` elsewhere, `Silent` if `progress` is False."""
    if progress is False:
        return Silent()
    return Display() if sys.stderr.isatty() else Lines()
