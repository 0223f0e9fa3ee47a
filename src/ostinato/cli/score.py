"""`ostinato score MODEL FILE`: log-probabilities, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ostinato.data import TextReader
from ostinato.tasks import load
from ostinato.tasks.corpus import resolve

app = typer.Typer(add_completion=False)


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    corpus: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    encoding: Annotated[str, typer.Option(help="Of the files.")] = "utf-8",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
) -> None:
    """Print each token as JSON with its log-probability in nats, tab-separated; a text begins like a new line."""
    loaded = load(model, device)
    with TemporaryDirectory() as folder:
        for block in TextReader(resolve(corpus, Path(folder)), encoding).blocks():
            for token, log_probability in loaded.score(block):
                print(f"{json.dumps(token, ensure_ascii=False)}\t{log_probability:.4f}")  # noqa: T201
