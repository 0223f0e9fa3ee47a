"""`ostinato similar MODEL CORPUS QUERY`: rank a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ostinato.cli.progress import count_lines, counted
from ostinato.errors import SettingsError
from ostinato.records import RecordReader
from ostinato.tasks import load_for
from ostinato.tasks.corpus import resolve
from ostinato.tasks.ranking import kept_vectors, most_similar

app = typer.Typer(add_completion=False)


@app.command()
def similar(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    corpus: Annotated[str, typer.Argument(help="A file, a folder, a pattern, or - for standard input.")],
    query: Annotated[str, typer.Argument(help="A text.")],
    top: Annotated[int, typer.Option(min=1, help="How many texts.")] = 10,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the vectors in CORPUS.vectors, and use those that stand there.")
    ] = False,
    column: Annotated[
        str | None, typer.Option(help=r"Of a table: where the text stands. \[default: text, or the only one]")
    ] = None,
    format: Annotated[str, typer.Option(help="text (one a line), csv, tsv, jsonl, or auto: by the name.")] = "auto",  # noqa: A002
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="The first row of a table names columns.")
    ] = True,
    encoding: Annotated[str, typer.Option(help="Of the files, by Python's name.")] = "utf-8",
    errors: Annotated[str, typer.Option(help="At bytes that are not text: strict, replace or ignore.")] = "strict",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a text.")] = False,
) -> None:
    """Print the texts of a corpus that are most like a query: a score on the training data's scale, and the text."""
    loaded = load_for("similar", model, device)
    if keep and corpus == "-":
        raise SettingsError("--keep: beside standard input there is no place for vectors")
    with TemporaryDirectory() as folder:
        files = resolve([corpus], Path(folder))
        reader = RecordReader(files, format, encoding, errors, header)
        vectors = None
        if keep:
            vectors = kept_vectors(loaded, reader, column, Path(f"{str(corpus).rstrip('/')}.vectors"))
        texts = counted(reader.texts(column), count_lines(files), "texts", quiet)
        for found in most_similar(loaded, query, texts, top, vectors):
            row = {"score": found.score, "place": found.place, "text": found.text}
            print(json.dumps(row, ensure_ascii=False) if as_json else f"{found.score:.4f}\t{found.text}")
