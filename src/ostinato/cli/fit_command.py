"""The command of a task that is trained by the loop: one form for all, with an option for each of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli.after_fit import report_of
from ostinato.cli.options import Panels, given, with_settings
from ostinato.cli.show import emit
from ostinato.errors import SettingsError

REPORT = typer.Option("--report/--no-report", help="Write report.html into the folder at the end.")


def fit_app(
    model: Any, description: str, panels: Panels, sources: str, held_out: str, other: str = "Network"
) -> typer.Typer:
    """An app of one command, `ostinato fit TASK`.

    Args:
        model: class of the model, a `FittedModel`.
        description: what the command does, for its help.
        panels: groups of settings with a heading of their own.
        sources: what it is trained on, for its help.
        held_out: what `--validation` replaces, for its help.
        other: heading of all other settings.
    """
    app = typer.Typer(add_completion=False)

    @app.command(help=description)
    @with_settings(model.Settings, panels, other, names={"sources": sources, "held_out": held_out})
    def fit(
        corpus: Annotated[list[str] | None, typer.Argument(help=sources)] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the model.")] = None,
        validation: Annotated[
            list[str] | None, typer.Option("--validation", "--dev", help=f"Validation file; instead of {held_out}.")
        ] = None,
        resume: Annotated[
            Path | None, typer.Option(help="Go on with the training in this folder; --epochs N trains longer.")
        ] = None,
        config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go before it.")] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --output.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
        report: Annotated[bool, REPORT] = True,
        **options: Any,
    ) -> None:
        settings = given(options, model.Settings, config)
        train(model, corpus, validation, output, resume, overwrite, quiet, as_json, settings, report)

    return app


def train(
    model: Any, corpus: list[str] | None, validation: list[str] | None, output: Path | None, resume: Path | None,
    overwrite: bool, quiet: bool, as_json: bool, settings: Mapping[str, Any], report: bool,
) -> None:  # fmt: skip
    """Train or resume, as the options of a command say, and print what was reached."""
    progress = False if quiet else None
    if resume is not None:
        if corpus or output or validation:
            raise SettingsError(
                "--resume goes on with the corpus, the validation data and the folder that it had: leave them out"
            )
        fitted = model.resume(resume, progress, **settings)
    else:
        if not corpus:
            raise SettingsError("what to train on? name a file, a folder, a pattern, or - for standard input")
        if output is None:
            raise SettingsError("where to? give -o FOLDER")
        fitted = model(**settings).fit(
            corpus, validation=validation or None, output=output, overwrite=overwrite, progress=progress
        )
    folder = resume or output
    assert folder is not None  # noqa: S101
    written = report_of(folder, fitted) if report else None
    emit(fitted.metrics | {"model": str(folder)} | ({"report": str(written)} if written else {}), as_json)
