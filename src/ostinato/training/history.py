"""The record of a training: a line of JSON for each interval and evaluation, and TensorBoard's events if asked for."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ostinato.errors import MissingExtra


class History:
    """`history.jsonl`, appended to line by line.

    Args:
        path: of the file.
        keep_bytes: what of an earlier run stays, so that a resumed one goes on where its checkpoint was.
        tensorboard: folder for events; needs the extra `track`.
    """

    def __init__(self, path: Path, keep_bytes: int = 0, tensorboard: str | None = None) -> None:
        self._file = path.open("ab", buffering=0)
        self._file.truncate(min(keep_bytes, path.stat().st_size))
        self._file.seek(0, 2)
        self._events = event_writer(tensorboard) if tensorboard else None

    @property
    def size_bytes(self) -> int:
        """Bytes written so far, which a checkpoint notes."""
        return self._file.tell()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record with its `kind` and `step`."""
        before = self._file.tell()
        try:
            self._file.write((json.dumps(record) + "\n").encode())
        except OSError:
            self._file.truncate(before)  # half a line would hide those after it
            self._file.seek(before)
            raise
        if self._events is not None:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "step":
                    self._events.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        """Close the file and the events."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a last line that was cut off by a crash is left out."""
    records: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            break
        if isinstance(record, dict) and {"kind", "step"} <= record.keys():
            records.append(record)
    return records


def event_writer(folder: str) -> Any:
    """TensorBoard's writer, or a `MissingExtra` that says what to install."""
    if find_spec("tensorboard") is None:
        raise MissingExtra("tensorboard", "track", "the setting tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder)
