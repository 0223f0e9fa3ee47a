"""A model that a person has in front of them: measured, judged, told and drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.diagnostics.findings import Finding, Language, number
from ostinato.diagnostics.held_out import held_out
from ostinato.diagnostics.measure import measure
from ostinato.diagnostics.measurements import Measurements
from ostinato.diagnostics.run import measure_run
from ostinato.diagnostics.verdict import verdict
from ostinato.errors import BundleError, MissingExtra, SettingsError
from ostinato.recurrent import Recurrent
from ostinato.tasks import load, task_class
from ostinato.tasks.corpus import Sources


@dataclass(frozen=True)
class Diagnosis:
    """What was measured of a model, and what it says.

    >>> print(Diagnosis(Measurements("language-model", 0, None, [])))
    ✓ Nothing was measured
      There is no record of a training, and no network was measured.
      source: docs/understanding.md
    """

    measurements: Measurements

    @cached_property
    def verdict(self) -> list[Finding]:
        """What to mend first at the head; where nothing is wrong, one finding that says so."""
        return verdict(self.measurements)

    @property
    def gradient_by_lag(self) -> dict[str, np.ndarray]:
        """Layer → [lags], ‖∂L_t/∂h_{t−k}‖₂ for k = 0, 1, …"""
        return {layer.name: layer.gradient_by_lag for layer in self.measurements.layers}

    def said(self, language: Language = "en") -> str:
        """The verdict in plain sentences."""
        return "\n\n".join(finding.said(language) for finding in self.verdict)

    def __str__(self) -> str:
        return self.said("en")

    def plain(self) -> dict[str, Any]:
        """As JSON has it: `verdict`, a list, and `measurements`."""
        return {
            "task": self.measurements.task,
            "verdict": [finding.plain() for finding in self.verdict],
            "measurements": json.loads(self.measurements.to_json()),
        }

    def plot_gradient_by_lag(self) -> Any:
        """A Matplotlib figure: how much of the gradient is left, on a logarithmic scale, against how far it has gone.

        Raises:
            MissingExtra: if Matplotlib is not installed.
            ValueError: if no network was measured.
        """
        figure = _figure("plot_gradient_by_lag")
        axes = figure.subplots()
        for layer in self._layers():
            half = number(layer.half_life_steps)
            axes.semilogy(layer.gradient_by_lag, label=f"{layer.name}, {layer.cell}: half-life {half} steps")
        if self.measurements.truncation_steps:
            axes.axvline(self.measurements.truncation_steps, linestyle=":", color="grey", label="truncation")
        axes.set(xlabel="lag k (steps)", ylabel="‖∂L_t / ∂h_{t−k}‖")
        axes.legend()
        return figure

    def plot_jacobian(self) -> Any:
        """A Matplotlib figure: singular values of ∂s_t/∂s_{t−k} against k, and eigenvalues of the mean step, by layer.

        Raises:
            MissingExtra: if Matplotlib is not installed.
            ValueError: if no network was measured.
        """
        figure, layers = _figure("plot_jacobian"), self._layers()
        figure.set_size_inches(9, 4 * len(layers))
        angles = np.linspace(0, 2 * np.pi, 200)
        for (left, right), layer in zip(figure.subplots(len(layers), 2, squeeze=False), layers, strict=True):
            left.plot(layer.jacobian_lags, layer.jacobian_log_singular / np.log(10), color="tab:blue", alpha=0.6)
            left.axhline(0, linestyle=":", color="grey")
            left.set(
                xlabel="lag k (steps)", ylabel="log₁₀ of singular values of ∂s_t / ∂s_{t−k}",
                title=f"{layer.name}, {layer.cell}",
            )  # fmt: skip
            right.plot(np.cos(angles), np.sin(angles), linestyle=":", color="grey")
            right.scatter(layer.eigenvalues.real, layer.eigenvalues.imag, s=8)
            right.set(
                xlabel="real", ylabel="imaginary", aspect="equal",
                title=f"eigenvalues of the mean step; radius {number(layer.spectral_radius)}",
            )  # fmt: skip
        figure.set_layout_engine("constrained")
        return figure

    def _layers(self) -> list[Any]:
        if not self.measurements.layers:
            raise ValueError("no network was measured: give held-out data to diagnose")
        return self.measurements.layers


def diagnose(model: Any, data: Sources | None = None) -> Diagnosis:
    r"""What is wrong with a model, or that nothing is.

    Args:
        model: a model of a task, or its folder, also that of a training that broke off.
        data: held-out files, as in `fit`, to measure the network on; None: the validation data that the
            training left in the folder's `run/`; where they are gone, the training's record is judged alone.

    Raises:
        BundleError: if the folder is not a model.
        DataError: if the data cannot be read.
        SettingsError: if the model has no recurrent network.

    >>> import tempfile, ostinato
    >>> path = Path(tempfile.mkdtemp()) / "corpus.txt"
    >>> _ = path.write_text("the cat sat on the mat\n" * 200)
    >>> model = ostinato.LanguageModel(hidden_size=16, num_layers=1, epochs=2, batch_size=4, seed=1)
    >>> diagnosis = diagnose(model.fit(path, progress=False), path)
    >>> len(diagnosis.verdict) > 0, diagnosis.gradient_by_lag["layer 0"].shape[0] > 1
    (True, True)
    """
    opened = open_model(model) if isinstance(model, str | Path) else model
    if data is not None:
        return Diagnosis(measure(opened, data))
    if not hasattr(opened, "fit_again"):
        raise SettingsError(f"a {opened.task} has no recurrent network and no steps: there is nothing to diagnose")
    kept = held_out(opened, Path(model), ()) if isinstance(model, str | Path) else None
    if kept is not None and any(isinstance(module, Recurrent) for module in opened.network.modules()):
        return Diagnosis(measure(opened, kept))
    settings = opened.settings.plain()
    run = measure_run(opened.history, settings)
    return Diagnosis(Measurements(opened.task, 0, settings.get("bptt_steps") or None, [], run=run, settings=settings))


def open_model(path: str | Path) -> Any:
    """The model in a folder; where no weights stand there yet, as its newest checkpoint has it."""
    folder = Path(path)
    manifest = bundle.read_manifest(folder)
    if (folder / bundle.WEIGHTS).exists() or manifest.get("status") == "complete":
        return load(folder)
    kind = task_class(manifest["task"])
    if not hasattr(kind, "from_checkpoint"):
        raise BundleError(f"{folder}: no weights stand there, and a {kind.task} is not trained in steps")
    return kind.from_checkpoint(folder)


def _figure(what: str) -> Any:
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot", what)
    from matplotlib.figure import Figure

    return Figure(figsize=(7, 4.5), layout="constrained")
