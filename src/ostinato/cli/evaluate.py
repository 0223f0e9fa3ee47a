"""`ostinato evaluate MODEL FILE`: score on held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ostinato.cli.show import emit
from ostinato.tasks import load_for

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    corpus: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=r"Streams side by side; 1 scores the text as one. \[default: by size]")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help=r"Of the files. \[default: as in training]")] = None,
    errors: Annotated[
        str | None, typer.Option(help=r"At bad bytes: strict, replace, ignore. \[default: as in training]")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Score a model on held-out data: a language model's nats a token, perplexity and bits per character, with the full
    softmax; a BERT's share of masked tokens and of pairs that it tells right; a classifier's precision, accuracy and
    F1, on files like those of its training.
    """
    emit(load_for("evaluate", model, device).evaluate(corpus, batch_size, encoding, errors), as_json)
