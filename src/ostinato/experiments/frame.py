"""What all experiments are: settings, jobs that are measured in turn, a table, a sentence and a figure."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from ostinato.errors import BundleError, MissingExtra
from ostinato.experiments.figures import save_figure
from ostinato.files import locked, write_text
from ostinato.settings import Settings
from ostinato.training.report import Reporter, Silent
from ostinato.training.signals import Interrupted

_RESULT, _TABLE, _CURVES, _FIGURE, _RUNS = "result.json", "table.csv", "curves.csv", "figure", "runs"


class ExperimentSettings(Settings):
    """What every experiment can be told."""

    seed: int = Field(0, ge=0, lt=2**31, description="of everything random")
    threads: int | None = Field(None, ge=1, description="of the CPU [default: all]")


@dataclass
class Curve:
    """A line of the figure."""

    name: str
    x: list[float]
    y: list[float]


@dataclass
class Part:
    """What one job found."""

    rows: list[dict[str, Any]]
    """Of the table: field → value."""
    curves: list[Curve] = field(default_factory=list)


@dataclass
class Outcome:
    """What an experiment found, so far if it was stopped."""

    experiment: str
    settings: dict[str, Any]
    columns: dict[str, str]
    """Of the table: field → heading."""
    rows: list[dict[str, Any]]
    curves: list[Curve]
    complete: bool
    reading: str = ""
    """What the table says, in a sentence or two that are made from its numbers."""
    files: list[str] = field(default_factory=list)
    """That were written."""
    without_figure: str = ""
    """Why there is no figure."""
    exit_code: int = 0
    """128 + n, if signal n stopped it."""

    def plain(self) -> dict[str, Any]:
        """What of it is JSON: all but the curves; what is no number is None."""
        rows = [{name: _number(value) for name, value in row.items()} for row in self.rows]
        return {
            "experiment": self.experiment, "settings": self.settings, "complete": self.complete, "rows": rows,
            "reading": self.reading, "files": self.files,
        }  # fmt: skip


@dataclass
class Work:
    """Where a job works, and whom it tells."""

    folder: Path
    reporter: Reporter


class Experiment(ABC):
    """An experiment. A subclass says what its jobs are and measures one; all else is here.

    In its folder stand, after each job anew, `table.csv`, `curves.csv` and `result.json`, and at the end the figure.
    One that was stopped goes on where it was when it is run again with the same settings: a job that is done is read,
    and a training resumes at its checkpoint.

    Args:
        settings: by name; those of `Settings`.

    Raises:
        SettingsError: naming each setting that is unknown or wrong.

    >>> import tempfile
    >>> from ostinato.experiments.clipping import Clipping
    >>> [row["clipping"] for row in Clipping(steps=3, starts=0).run(tempfile.mkdtemp(), formats=()).rows]
    ['no clipping', 'by norm', 'by value']
    """

    name: ClassVar[str]
    Settings: ClassVar[type[ExperimentSettings]]
    columns: ClassVar[dict[str, str]]

    def __init__(self, **settings: Any) -> None:
        self.settings: Any = self.Settings.checked(settings)

    def headings(self) -> dict[str, str]:
        """Of the table: field → heading."""
        return dict(self.columns)

    @abstractmethod
    def jobs(self) -> list[str]:
        """Names of what is measured, in turn."""

    @abstractmethod
    def measure(self, job: str, work: Work) -> Part:
        """The rows and curves of one job."""

    @abstractmethod
    def read(self, outcome: Outcome) -> str:
        """What the rows say, from their numbers."""

    @abstractmethod
    def draw(self, figure: Any, outcome: Outcome) -> None:
        """Draw on an empty figure of matplotlib."""

    def run(self, output: str | Path, reporter: Reporter | None = None, formats: Sequence[str] = ("png",)) -> Outcome:
        """Measure all jobs; table, curves and figure go to a folder.

        Args:
            output: folder; what another run of experiments left there is replaced.
            reporter: what the user sees of the progress.
            formats: of the figure: png, svg, pdf; none: no figure.

        Returns:
            What was found. If a signal came, of the jobs that were done, and `complete` is False.

        Raises:
            BundleError: if the folder holds something else.
        """
        folder, told = Path(output), reporter or Silent()
        _claim(folder)
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        with locked(folder / "lock", f"{folder}: an experiment is being run there"):
            done = self._begin(folder)
            outcome = self._outcome(done)
            try:
                for index, job in enumerate(self.jobs()):
                    if job not in done:
                        told.message(f"{self.name}: {job}")
                        work = Work(folder / _RUNS / f"{index:03d}", told)
                        work.folder.mkdir(exist_ok=True)
                        done[job] = self.measure(job, work)
                        kept = {name: asdict(part) for name, part in done.items()}
                        write_text(folder / _RUNS / "done.json", json.dumps(kept))
                        shutil.rmtree(work.folder)
                    outcome = self._outcome(done)
                    self._write(folder, outcome)
            except Interrupted as stop:
                outcome.exit_code = stop.exit_code
            except KeyboardInterrupt:
                outcome.exit_code = 128 + signal.SIGINT
            if outcome.complete:
                shutil.rmtree(folder / _RUNS)
            if outcome.rows and formats:
                try:
                    outcome.files += save_figure(lambda figure: self.draw(figure, outcome), folder / _FIGURE, formats)
                except MissingExtra as missing:
                    outcome.without_figure = str(missing)
            self._write(folder, outcome)
        return outcome

    def _begin(self, folder: Path) -> dict[str, Part]:
        """The jobs that a stopped run of the same settings has done."""
        result, runs = folder / _RESULT, folder / _RUNS
        mine = {"experiment": self.name, "settings": self.settings.plain()}
        before = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
        if before and runs.exists() and {name: before.get(name) for name in mine} == mine:
            kept = runs / "done.json"
            parts = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
            return {
                name: Part(part["rows"], [Curve(**curve) for curve in part["curves"]]) for name, part in parts.items()
            }
        shutil.rmtree(runs, ignore_errors=True)
        for name in (_TABLE, _CURVES, *(f"{_FIGURE}.{kind}" for kind in ("png", "svg", "pdf"))):
            (folder / name).unlink(missing_ok=True)
        write_text(result, json.dumps(mine | {"complete": False}) + "\n")
        runs.mkdir()
        return {}

    def _outcome(self, done: Mapping[str, Part]) -> Outcome:
        rows = [row for part in done.values() for row in part.rows]
        curves = [curve for part in done.values() for curve in part.curves]
        complete = all(job in done for job in self.jobs())
        outcome = Outcome(self.name, self.settings.plain(), self.headings(), rows, curves, complete)
        outcome.reading = self.read(outcome) if rows else ""
        return outcome

    def _write(self, folder: Path, outcome: Outcome) -> None:
        tables = {
            _TABLE: [list(outcome.columns), *([row.get(name) for name in outcome.columns] for row in outcome.rows)],
            _CURVES: [
                ["curve", "x", "y"],
                *([c.name, *at] for c in outcome.curves for at in zip(c.x, c.y, strict=True)),
            ],
        }
        for name, lines in tables.items():
            if len(lines) > 1:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows(lines)
                write_text(folder / name, text.getvalue())
                if str(folder / name) not in outcome.files:
                    outcome.files.append(str(folder / name))
        write_text(folder / _RESULT, json.dumps(outcome.plain(), ensure_ascii=False, indent=1) + "\n")


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _claim(folder: Path) -> None:
    """Make the folder, or refuse one that holds what no experiment wrote."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / _RESULT).exists())):
        raise BundleError(f"{folder}: holds something else than an experiment; give another folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
