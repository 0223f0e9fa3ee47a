"""`ostinato features bert`: text to contextual vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from ostinato.cli.options import at_least_one, given, with_settings
from ostinato.cli.show import emit
from ostinato.errors import SettingsError
from ostinato.features.bert import BertSettings, BertVectors
from ostinato.features.matrices import write_rows
from ostinato.records import RecordReader
from ostinato.tasks.corpus import resolve

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(BertSettings, {"Vectors": BertSettings})
def bert(
    files: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The vectors: numpy.load(OUTPUT)['vectors'].")],
    model: Annotated[
        str, typer.Option(help="Folder that `ostinato fit bert` or transformers wrote, or a name of the hub.")
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, of a name of the hub.")] = None,
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    **options: Any,
) -> None:
    """BERT vectors: the hidden states of a pre-trained network over each text, pooled (the extra bert)."""
    if output.exists() and not overwrite:
        raise SettingsError(f"{output}: stands there already: --overwrite replaces it")
    vectors = BertVectors(model, revision=revision, **given(options, BertSettings)).fit()
    with TemporaryDirectory() as folder:
        reader = RecordReader(resolve(files, Path(folder)), format, encoding, errors, header)
        print("ostinato: reading", ", ".join(path.name for path in reader.files[:3]), file=sys.stderr)
        output.parent.mkdir(parents=True, exist_ok=True)
        width = len(vectors.get_feature_names_out())
        texts = write_rows(output, vectors.stream(at_least_one(reader.texts(column))), width)
    emit({"texts": texts, "features": width, "truncated": vectors.truncated_, "vectors": str(output)}, as_json)
