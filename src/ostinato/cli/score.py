"""`ostinato score MODEL FILE`: log-probabilities, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ostinato.data import TextReader
from ostinato.tasks import load_for
from ostinato.tasks.corpus import resolve

app = typer.Typer(add_completion=False)


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    corpus: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    encoding: Annotated[str | None, typer.Option(help=r"Of the files. \[default: as in training]")] = None,
    errors: Annotated[
        str | None, typer.Option(help=r"At bad bytes: strict, replace, ignore. \[default: as in training]")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
) -> None:
    """Print each token as JSON with its log-probability in nats, tab-separated; a text begins like a new line."""
    loaded = load_for("score", model, device)
    with TemporaryDirectory() as folder:
        settings, files = loaded.settings, resolve(corpus, Path(folder))
        reader = TextReader(files, encoding or settings.encoding, errors or settings.errors)
        for token, log_probability in loaded.score_blocks(reader.blocks()):
            print(f"{json.dumps(token, ensure_ascii=False)}\t{log_probability:.4f}")
