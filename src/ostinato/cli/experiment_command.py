"""The command of an experiment: one form for all, with an option for each of its settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli.options import given, with_settings
from ostinato.cli.show import table
from ostinato.errors import SettingsError, nearest
from ostinato.experiments import EXPERIMENTS, experiment_class
from ostinato.experiments.figures import FORMATS
from ostinato.experiments.frame import ExperimentSettings, Outcome
from ostinato.training.report import make_reporter
from ostinato.training.settings import TrainingSettings


def __getattr__(name: str) -> typer.Typer:
    """The app of an experiment, by its name."""
    if name not in EXPERIMENTS:
        raise AttributeError(name)
    return experiment_app(name)


def experiment_app(name: str) -> typer.Typer:
    """An app of one command, `ostinato experiment NAME`."""
    kind, app = experiment_class(name), typer.Typer(add_completion=False)
    text = f"{EXPERIMENTS[name][1]} Prints a table; the figure, the table and its curves as CSV go to a folder."

    @app.command(help=text)
    @with_settings(kind.Settings, {"Every experiment": ExperimentSettings, "Training": TrainingSettings}, "Experiment")
    def experiment(
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help=r"Folder of what is found. \[default: experiments/NAME]")
        ] = None,
        figure: Annotated[
            list[str] | None, typer.Option(help=r"png, svg or pdf; repeatable; none: no figure. \[default: png]")
        ] = None,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
        **options: Any,
    ) -> None:
        formats = _formats(figure or ["png"])
        work = kind(**given(options, kind.Settings))
        outcome = work.run(output or Path("experiments") / name, make_reporter(False if quiet else None), formats)
        show(outcome, as_json)
        if outcome.exit_code:
            print("stopped; the same command goes on from there", file=sys.stderr)
            raise typer.Exit(outcome.exit_code)

    return app


def _formats(names: list[str]) -> list[str]:
    for name in names:
        if name not in (*FORMATS, "none"):
            raise SettingsError(f"figure {name!r}: one of {', '.join(FORMATS)}, none{nearest(name, FORMATS)}")
    return [name for name in names if name != "none"]


def show(outcome: Outcome, as_json: bool) -> None:
    """Print what was found; why there is no figure goes to standard error."""
    if as_json:
        print(json.dumps(outcome.plain(), ensure_ascii=False))
    elif outcome.rows:
        lines = [[written(row.get(name)) for name in outcome.columns] for row in outcome.rows]
        table("", list(outcome.columns.values()), lines)
        print(f"\n{outcome.reading}")
        print(f"written: {', '.join(outcome.files)}")
    if outcome.without_figure:
        print(f"no figure: {outcome.without_figure}", file=sys.stderr)


def written(value: Any) -> str:
    """A value of a table: four digits that count.

    >>> written(0.123456), written(12345.6), written(1.5e-7), written(1200), written(None), written("gru")
    ('0.1235', '12,346', '1.5e-07', '1,200', '', 'gru')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
