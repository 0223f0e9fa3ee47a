"""`ostinato fit ngram`: count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli.after_fit import report_of
from ostinato.cli.fit_command import REPORT
from ostinato.cli.options import given, with_settings
from ostinato.cli.show import emit
from ostinato.codecs.text import TextSettings
from ostinato.tasks.corpus import ReadingSettings
from ostinato.tasks.ngram import NGramLanguageModel, NGramSettings

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(NGramSettings, {"Text": TextSettings, "Reading": ReadingSettings}, "Model")
def ngram(
    corpus: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model.")],
    validation: Annotated[
        list[str] | None, typer.Option(help="Validation file; instead of the end of the corpus.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go before it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    report: Annotated[bool, REPORT] = True,
    **options: Any,
) -> None:
    """Count an n-gram language model (modified Kneser-Ney): the baseline of every language model, in seconds."""
    settings = given(options, NGramSettings, config)
    progress = False if quiet else None
    fitted = NGramLanguageModel(**settings).fit(corpus, validation or None, output, overwrite, progress)
    written = report_of(output, fitted) if report else None
    emit(fitted.metrics | {"model": str(output)} | ({"report": str(written)} if written else {}), as_json)
