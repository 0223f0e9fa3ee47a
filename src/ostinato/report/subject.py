"""What a report is about: a bundle with its history, and what is found out of its model when a section asks for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from ostinato.bundle import HISTORY, read_manifest
from ostinato.diagnostics.findings import Finding, Text
from ostinato.diagnostics.held_out import HeldOut, held_out
from ostinato.diagnostics.measure import measure
from ostinato.diagnostics.measurements import Measurements, RunMeasurements
from ostinato.diagnostics.run import measure_run
from ostinato.diagnostics.verdict import verdict
from ostinato.errors import SettingsError
from ostinato.recurrent import Recurrent
from ostinato.report.activations import Read, read
from ostinato.report.charts import Chart
from ostinato.report.content import Neighbours, alignments, confusion, neighbours, samples
from ostinato.report.forecasts import forecast_charts
from ostinato.report.live import tables
from ostinato.tasks import load
from ostinato.tasks.alignment import Alignment
from ostinato.tasks.classifying import ClassifyingModel
from ostinato.tasks.language_model import LanguageModel
from ostinato.tasks.supervised import SupervisedModel
from ostinato.training.history import read_history


class Subject:
    """A model in a folder; what is costly is made once, when it is first asked for.

    Args:
        folder: of the model.
        sources: held-out files; those that the training kept for validation if there are none.
        device: where the model runs.
        model: if it is loaded already.

    Raises:
        BundleError: if the folder is not a model.
        SettingsError: if there are files, and nothing that a model of its task could show of them.
    """

    def __init__(self, folder: Path, sources: tuple[str, ...] = (), device: str = "cpu", model: Any = None) -> None:
        self.folder, self._sources = folder, sources
        self.manifest = read_manifest(folder)
        self.model: Any = load(folder, device) if model is None else model
        if sources and not isinstance(self.model, LanguageModel | SupervisedModel | ClassifyingModel):
            raise SettingsError(f"{folder}: a report of a {self.model.task} makes nothing of held-out files: name none")

    @cached_property
    def run(self) -> RunMeasurements | None:
        """What the history tells; None without one."""
        return measure_run(read_history(self.folder / HISTORY), self.manifest["settings"])

    @cached_property
    def data(self) -> HeldOut | None:
        """What the model reads here."""
        return held_out(self.model, self.folder, self._sources)

    @cached_property
    def measured(self) -> Measurements:
        """What diagnostics measure; without recurrent layers, or without data, only what the history says."""
        if self.data is not None and self.recurrent:
            try:
                return measure(self.model, self.data)
            except SettingsError:  # layers there are, but none that runs over time
                pass
        settings = self.manifest["settings"]
        return Measurements(self.model.task, 0, settings.get("bptt_steps") or None, [], run=self.run, settings=settings)

    @property
    def recurrent(self) -> bool:
        """Whether there is a layer over time."""
        network = getattr(self.model, "_network", None)
        return network is not None and any(isinstance(module, Recurrent) for module in network.modules())

    @cached_property
    def findings(self) -> list[Finding]:
        """The verdict; none where there is nothing to judge by."""
        return verdict(self.measured) if self.measured.layers or self.run is not None else []

    @cached_property
    def read(self) -> Read | None:
        """Every unit at every token."""
        return None if self.data is None else read(self.model, self.data)

    @cached_property
    def confusion(self) -> dict[str, dict[str, int]] | None:
        """The right label → what was told → how often; None where a text has several labels, or the task none."""
        if self.data is not None:
            return confusion(self.model, self.data)
        if self._sources and isinstance(self.model, ClassifyingModel):
            return self.model.evaluate(self._sources).get("confusion")
        return None

    @cached_property
    def alignments(self) -> list[Alignment]:
        """Where a translator looked."""
        return [] if self.data is None else alignments(self.model, self.data)

    @cached_property
    def forecasts(self) -> list[Chart]:
        """What a forecaster says of the end of some series."""
        return forecast_charts(self.model, self.data)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Of the embeddings."""
        return neighbours(self.model)

    @cached_property
    def samples(self) -> list[tuple[Text, str]]:
        """What the model writes."""
        return samples(self.model)

    @cached_property
    def tables(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """What the manifest says."""
        return tables(self.manifest)
