"""`ostinato fit classifier`: texts with labels to a model that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.analysis import AnalyzerSettings
from ostinato.cli.options import given, stop_words_of, with_settings
from ostinato.cli.show import emit
from ostinato.errors import SettingsError, nearest
from ostinato.features.tf_idf import TfIdfSettings
from ostinato.tasks.examples import ExampleSettings
from ostinato.tasks.linear_classifier import LinearClassifier, LinearClassifierSettings

app = typer.Typer(add_completion=False)
MODELS = {"linear": LinearClassifier}


@app.command()
@with_settings(
    LinearClassifierSettings, {"Reading": ExampleSettings, "Terms": TfIdfSettings, "Text": AnalyzerSettings}, "Model"
)
def classifier(
    corpus: Annotated[
        list[str],
        typer.Argument(help="Files (CSV, TSV, JSONL, fastText's), folders, patterns, or - for standard input."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model.")],
    model: Annotated[str, typer.Option(help="linear: a linear model on TF-IDF n-grams.")] = "linear",
    validation: Annotated[
        list[str] | None, typer.Option(help="Validation file; instead of examples drawn at random.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go before it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    **options: Any,
) -> None:
    """Train a classifier: texts with one label or several to a model that names those of other texts."""
    if model not in MODELS:
        raise SettingsError(f"model = {model!r}: one of {', '.join(MODELS)}{nearest(model, MODELS)}")
    settings = given(stop_words_of(options), LinearClassifierSettings, config)
    progress = False if quiet else None
    fitted = MODELS[model](**settings).fit(
        corpus, validation=validation or None, output=output, overwrite=overwrite, progress=progress
    )
    emit(fitted.metrics | {"model": str(output)}, as_json)
