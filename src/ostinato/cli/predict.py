"""`ostinato predict MODEL FILE`: name the labels of texts."""

from __future__ import annotations

import json
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ostinato.tasks import load_for
from ostinato.tasks.corpus import resolve
from ostinato.tasks.examples import ExampleReader, ExampleSettings

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    files: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels, the best first.")] = 1,
    column: Annotated[
        str | None, typer.Option(help=r"Of a table: where the text stands. \[default: text, or the only one]")
    ] = None,
    format: Annotated[  # noqa: A002 - so it is called
        str, typer.Option(help="text (a line a document), csv, tsv, jsonl, fasttext, or auto: by the file's name.")
    ] = "auto",
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="Whether the first row of a table names its columns.")
    ] = True,
    encoding: Annotated[str, typer.Option(help="Of the files, by Python's name.")] = "utf-8",
    errors: Annotated[str, typer.Option(help="At bytes that are not text: strict, replace or ignore.")] = "strict",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a text, with the text.")] = False,
) -> None:
    """Print for each text a line with its label and the label's score, tab-separated; or those of the best labels."""
    loaded = load_for("predict", model, device)
    settings = {"text_column": column, "format": format, "header": header, "encoding": encoding, "errors": errors}
    with TemporaryDirectory() as folder:
        reader = ExampleReader(resolve(files, Path(folder)), ExampleSettings.checked(settings))
        texts, again = tee(reader.texts())
        for text, found in zip(again, loaded.predict(texts, top), strict=False):
            if as_json:
                print(json.dumps({"text": text, "labels": found.labels, "scores": found.scores}, ensure_ascii=False))
            else:
                print("\t".join(f"{label}\t{score:.4f}" for label, score in zip(*found, strict=True)))
