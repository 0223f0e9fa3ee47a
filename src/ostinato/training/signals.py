"""SIGINT and SIGTERM: one more step, a checkpoint, and out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ostinato.errors import OstinatoError


class Interrupted(OstinatoError):
    """Training stopped at a signal, after a checkpoint if one could be written."""

    def __init__(self, step: int, number: int, saved: bool) -> None:
        kept = "which a checkpoint holds" if saved else "which could not be saved: the last good checkpoint stays"
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step:,}, {kept}")
        self.exit_code = 128 + number


@contextmanager
def catching() -> Iterator[list[int]]:
    """Numbers of the signals that came. The second SIGINT stops at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may handle signals
        return

    def note(number: int, _: Any) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
