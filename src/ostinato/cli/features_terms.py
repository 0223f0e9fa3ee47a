"""`ostinato features counts|tfidf|ngrams`: text to a sparse matrix of terms."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from ostinato.analysis import Analyzer, AnalyzerSettings
from ostinato.cli.options import at_least_one, given, stop_words_of, with_settings
from ostinato.cli.show import emit
from ostinato.errors import SettingsError
from ostinato.features import BagOfWords, NGrams, TfIdf
from ostinato.features.counts import CountSettings
from ostinato.features.matrices import write_matrix
from ostinato.features.n_grams import NGramSettings
from ostinato.features.tf_idf import TfIdfSettings
from ostinato.records import RecordReader
from ostinato.tasks.corpus import resolve


def _command(kind: type[BagOfWords], settings: Any, text: str) -> typer.Typer:
    """A command that writes the matrix of one kind of features."""

    class Options(settings, AnalyzerSettings):
        """What makes the columns, and what makes the tokens."""

    app = typer.Typer(add_completion=False)
    said_otherwise = () if "ngram_range" in settings.model_fields else ("ngram_range", "char_ngrams")

    @app.command(help=text)
    @with_settings(Options, {"Terms": settings, "Text": AnalyzerSettings}, leave_out=said_otherwise)
    def command(
        files: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The matrix, for scipy.sparse.load_npz.")],
        column: Annotated[
            str | None, typer.Option(help=r"Of a table: where the text stands. \[default: text, or the only one]")
        ] = None,
        format: Annotated[  # noqa: A002 - so it is called
            str, typer.Option(help="text (a line a document), csv, tsv, jsonl, fasttext, or auto: by the file's name.")
        ] = "auto",
        header: Annotated[
            bool, typer.Option("--header/--no-header", help="Whether the first row of a table names its columns.")
        ] = True,
        using: Annotated[
            Path | None, typer.Option(help="Take the terms of this folder, which an earlier call wrote; learn none.")
        ] = None,
        encoding: Annotated[str, typer.Option(help="Of the files, by Python's name.")] = "utf-8",
        errors: Annotated[str, typer.Option(help="At bytes that are not text: strict, replace or ignore.")] = "strict",
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
        **options: Any,
    ) -> None:
        terms = output.with_suffix(".terms")
        for path in (output, *([] if using else [terms])):
            if path.exists() and not overwrite:
                raise SettingsError(f"{path}: stands there already: --overwrite replaces it")
        with TemporaryDirectory() as folder:
            reader = RecordReader(resolve(files, Path(folder)), format, encoding, errors, header)
            if using is None:
                features = _learn(kind, settings, given(stop_words_of(options), Options), reader, column)
            elif chosen := sorted(name for name, value in options.items() if value is not None):
                raise SettingsError(f"--using has settings of its own: leave out {', '.join(chosen)}")
            else:
                features = kind.load(using)
            output.parent.mkdir(parents=True, exist_ok=True)
            width = len(features.get_feature_names_out())
            texts = at_least_one(reader.texts(column))
            rows, entries = write_matrix(output, features.stream(texts), width)
        if using is None:
            features.save(terms, overwrite)
        figures = {"texts": rows, "terms": width, "entries": entries}
        emit(figures | {"matrix": str(output), "terms_in": str(using or terms)}, as_json)

    return app


def _learn(kind: Any, settings: Any, values: dict[str, Any], reader: RecordReader, column: str | None) -> BagOfWords:
    ours = settings.checked({name: value for name, value in values.items() if name in settings.model_fields})
    theirs = {name: value for name, value in values.items() if name not in settings.model_fields}
    if "tokens" in theirs and getattr(ours, "unit", None) == "characters":
        raise SettingsError("--unit characters says what a token is: leave out --tokens")
    features = kind(analyzer=Analyzer(**theirs), **ours.plain())
    print("ostinato: reading", ", ".join(path.name for path in reader.files[:3]), file=sys.stderr)
    return features.fit(reader.texts(column))


COUNTS = _command(
    BagOfWords, CountSettings, "Count vectors: a row a text, a column a word, in it how often the one holds the other."
)
TFIDF = _command(
    TfIdf, TfIdfSettings, "TF-IDF vectors: how often a word stands in a text, against how many texts it stands in."
)
NGRAMS = _command(NGrams, NGramSettings, "Counts of n-grams: runs of n words, or of n characters.")
