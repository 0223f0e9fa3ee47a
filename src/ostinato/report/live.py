"""What a training says of itself while it runs: its manifest and its history, read without the model and its torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.bundle import HISTORY, read_manifest
from ostinato.diagnostics.measurements import RunMeasurements
from ostinato.errors import BundleError
from ostinato.report.charts import numbers
from ostinato.training.history import read_history


class Live:
    """A bundle as far as it is written: before its training has begun there is nothing, and that is no error.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] | None = read_manifest(folder)
        except BundleError:
            self.manifest = None
        self.records = read_history(folder / HISTORY)
        self.run = run_of(self.records)
        self.tables = tables(self.manifest or {})
        self.findings: list[Any] = []

    @property
    def state(self) -> str:
        """`waiting` before the first numbers, `on` while it trains, `complete` after."""
        if self.manifest is not None and self.manifest.get("status") == "complete":
            return "complete"
        return "on" if self.records else "waiting"


def run_of(records: list[dict[str, Any]]) -> RunMeasurements | None:
    """What a history tells; None of an empty one."""
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    if not train and not validation:
        return None
    reached = [record for record in records if record["kind"] == "gradient"]
    return RunMeasurements(
        step=_steps(train), loss=numbers(train, "loss"), learning_rate=numbers(train, "learning_rate"),
        gradient_norm=numbers(train, "gradient_norm"), gradient_norm_max=numbers(train, "gradient_norm_max"),
        clip_rate=numbers(train, "clip_rate"), update_ratio=numbers(train, "update_ratio"),
        loss_deviation=numbers(train, "loss_deviation"), skipped_steps=0, returns=0, variance_explained={},
        validation_step=_steps(validation), validation_loss=numbers(validation, "loss"),
        gradient_step=_steps(reached), gradient_lags=np.zeros(0, np.int64), gradient_by_lag={},
    )  # fmt: skip


def _steps(records: list[dict[str, Any]]) -> np.ndarray:
    return np.array([record["step"] for record in records], np.int64)


def tables(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What `ostinato.json` says, as tables: figures, data, settings, versions."""
    data = manifest.get("data", {})
    rows = [(name, told(value)) for name, value in data.items() if not isinstance(value, dict)]
    for part in ("train", "validation"):
        if isinstance(about := data.get(part), dict):
            files = about.get("files", [])
            rows.append((f"{part} files", ", ".join(map(str, files[:5])) + (" …" if len(files) > 5 else "")))
            rows.append((f"{part} SHA-256", str(about.get("sha256", ""))[:16]))
    held_tables = {
        "figures": [(name, told(value)) for name, value in manifest.get("metrics", {}).items()],
        "data": rows,
        "versions": [(name, told(value)) for name, value in manifest.get("versions", {}).items()],
        "settings": [(name, told(value)) for name, value in manifest.get("settings", {}).items()],
    }
    return [
        (name, [(key.replace("_", " "), value) for key, value in held]) for name, held in held_tables.items() if held
    ]


def told(value: Any) -> str:
    """A value as people read it.

    >>> told(0.123456), told(12345), told(None), told(["a", "b"])
    ('0.1235', '12,345', '–', 'a, b')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return ", ".join(map(told, value)) if isinstance(value, list | tuple) else str(value)
