"""What a report is about: a bundle with its history, and what is found out of its model when a section asks for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from ostinato.bundle import HISTORY, read_manifest
from ostinato.diagnostics.measurements import Measurements, RunMeasurements
from ostinato.report.activations import Read, read
from ostinato.report.charts import Words
from ostinato.report.content import Neighbours, alignments, confusion, neighbours, samples
from ostinato.diagnostics.held_out import HeldOut, held_out
from ostinato.report.live import run_of, tables
from ostinato.tasks import load
from ostinato.tasks.alignment import Alignment
from ostinato.training.history import read_history


class Subject:
    """A model in a folder; what is costly is made once, when it is first asked for.

    Args:
        folder: of the model.
        sources: held-out files; those that the training kept for validation if there are none.
        device: where the model runs.
        model: if it is loaded already.
    """

    def __init__(self, folder: Path, sources: tuple[str, ...] = (), device: str = "cpu", model: Any = None) -> None:
        self.folder, self._sources = folder, sources
        self.manifest = read_manifest(folder)
        self.model: Any = load(folder, device) if model is None else model

    @cached_property
    def run(self) -> RunMeasurements | None:
        """What the history tells; None without one."""
        return run_of(read_history(self.folder / HISTORY))

    @cached_property
    def data(self) -> HeldOut | None:
        """What the model reads here."""
        return held_out(self.model, self.folder, self._sources)

    @cached_property
    def measured(self) -> Measurements | None:
        """What diagnostics measure."""
        return None

    @cached_property
    def findings(self) -> list[Any]:
        """The verdict."""
        return []

    @cached_property
    def read(self) -> Read | None:
        """Every unit at every token."""
        return None if self.data is None else read(self.model, self.data)

    @cached_property
    def confusion(self) -> dict[str, dict[str, int]] | None:
        """The right label → what was told → how often."""
        return None if self.data is None else confusion(self.model, self.data)

    @cached_property
    def alignments(self) -> list[Alignment]:
        """Where a translator looked."""
        return [] if self.data is None else alignments(self.model, self.data)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Of the embeddings."""
        return neighbours(self.model)

    @cached_property
    def samples(self) -> list[tuple[Words, str]]:
        """What the model writes."""
        return samples(self.model)

    @cached_property
    def tables(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """What the manifest says."""
        return tables(self.manifest)
