"""`ostinato fit bert`: train, or resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli.options import given, with_settings
from ostinato.cli.show import emit
from ostinato.errors import SettingsError
from ostinato.tasks.bert import NOT_HERE, Bert, PreTrainingSettings
from ostinato.tasks.corpus import ReadingSettings
from ostinato.training.settings import TrainingSettings

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(PreTrainingSettings, {"Reading": ReadingSettings, "Training": TrainingSettings}, "Network", NOT_HERE)
def bert(
    corpus: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns, or - for standard input.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the model.")] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="Validation file; instead of the end of the corpus.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the training in this folder; --epochs N trains longer.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go before it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    **options: Any,
) -> None:
    """Pre-train a small BERT: text to a network that gives tokens vectors in their context (the extra bert)."""
    settings = given(options, PreTrainingSettings, config)
    progress = False if quiet else None
    folder = resume or output
    if resume is not None:
        if corpus or output or validation:
            raise SettingsError(
                "--resume goes on with the corpus, the validation data and the folder that it had: leave them out"
            )
        fitted = Bert.resume(resume, progress, **settings)
    else:
        if not corpus:
            raise SettingsError("what to train on? name a file, a folder, a pattern, or - for standard input")
        if output is None:
            raise SettingsError("where to? give -o FOLDER")
        fitted = Bert(**settings).fit(corpus, validation or None, output, overwrite, progress)
    emit(fitted.metrics | {"model": str(folder)}, as_json)
