"""What a training says of itself while it runs: its manifest and its history, read without the model and its torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ostinato.bundle import HISTORY, read_manifest
from ostinato.diagnostics.findings import Finding
from ostinato.diagnostics.measurements import Measurements
from ostinato.diagnostics.run import measure_run
from ostinato.diagnostics.verdict import verdict
from ostinato.errors import BundleError
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
        settings = (self.manifest or {}).get("settings", {})
        self.run = measure_run(self.records, settings)
        self.tables = tables(self.manifest or {})
        self.findings: list[Finding] = []
        if self.manifest is not None and self.run is not None:
            known = Measurements(
                self.manifest["task"], 0, settings.get("bptt_steps"), [], run=self.run, settings=settings
            )
            self.findings = verdict(known)

    @property
    def state(self) -> str:
        """`waiting` before the first numbers, `on` while it trains, `complete` after."""
        if self.manifest is not None and self.manifest.get("status") == "complete":
            return "complete"
        return "on" if self.records else "waiting"


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
