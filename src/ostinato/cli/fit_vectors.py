"""`ostinato fit vectors`: word vectors from a corpus."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from ostinato.analysis import Analyzer, AnalyzerSettings
from ostinato.cli.options import given, stop_words_of, with_settings
from ostinato.cli.show import emit
from ostinato.errors import BundleError
from ostinato.features.vector_training import Progress, VectorSettings
from ostinato.features.word_vectors import WordVectors
from ostinato.records import RecordReader
from ostinato.tasks.corpus import resolve

_LINE_EVERY_SECONDS = 10.0

app = typer.Typer(add_completion=False)


class Options(VectorSettings, AnalyzerSettings):
    """How vectors are trained, and what a word is."""


@app.command()
@with_settings(Options, {"Vectors": VectorSettings, "Text": AnalyzerSettings}, leave_out=("ngram_range", "char_ngrams"))
def vectors(
    corpus: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the vectors.")],
    column: Annotated[
        str | None, typer.Option(help=r"Of a table: where the text stands. \[default: text, or the only one]")
    ] = None,
    format: Annotated[  # noqa: A002 - so it is called
        str, typer.Option(help="text (a line a sentence), csv, tsv, jsonl, fasttext, or auto: by the file's name.")
    ] = "auto",
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="Whether the first row of a table names its columns.")
    ] = True,
    encoding: Annotated[str, typer.Option(help="Of the files, by Python's name.")] = "utf-8",
    errors: Annotated[str, typer.Option(help="At bytes that are not text: strict, replace or ignore.")] = "strict",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go before it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the vectors at --output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    **options: Any,
) -> None:
    """Train word vectors: word2vec or fastText, by gensim (the extra vectors).

    The corpus is read once and kept as numbers in a temporary file, four bytes a word. Interrupted, nothing is written.
    """
    values = given(stop_words_of(options), Options, config)
    ours = VectorSettings.checked(
        {name: value for name, value in values.items() if name in VectorSettings.model_fields}
    )
    analyzer = Analyzer(**{name: value for name, value in values.items() if name not in VectorSettings.model_fields})
    made = WordVectors(analyzer, **{name: getattr(ours, name) for name in VectorSettings.model_fields})
    if output.exists() and not overwrite:
        raise BundleError(f"{output}: stands there already: --overwrite replaces it")
    with TemporaryDirectory() as folder, _progress(quiet) as report:
        reader = RecordReader(resolve(corpus, Path(folder)), format, encoding, errors, header)
        made.fit(reader.passages(column), report=report)
    made.save(output, overwrite)
    emit(made.about_ | {"vectors": str(output)}, as_json)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """What shows progress on standard error: a bar on a terminal, lines elsewhere."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (BarColumn(24), TextColumn("{task.description}"), TimeRemainingColumn(), TextColumn("left"))
        with Bars(*columns, console=Console(stderr=True, highlight=False)) as bars:
            bar = bars.add_task("reading", total=None)
            yield lambda at: bars.update(bar, total=at.total, completed=at.words, description=_described(at))
    else:
        last = time.monotonic()
        print("reading", file=sys.stderr, flush=True)

        def line(at: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY_SECONDS or at.words == at.total:
                last = time.monotonic()
                print(_described(at), file=sys.stderr, flush=True)

        yield line


def _described(at: Progress) -> str:
    return f"{at.words:,} of {at.total:,} words · {at.words / max(at.seconds, 1e-9):,.0f} words/s"
