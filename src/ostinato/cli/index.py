"""`ostinato index FILES -o INDEX`: make files searchable."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.analysis import Analyzer, AnalyzerSettings
from ostinato.bundle import MANIFEST
from ostinato.cli.options import given, stop_words_of, with_settings
from ostinato.cli.show import emit
from ostinato.errors import SettingsError
from ostinato.features.retrieval.bm25 import BM25, BM25Settings, Changes
from ostinato.features.retrieval.index import Document
from ostinato.features.retrieval.sources import SourceSettings, find_documents, read_documents

_SHOWN_EVERY_SECONDS = (0.2, 10.0)  # on a terminal, and elsewhere


class Options(SourceSettings, AnalyzerSettings, BM25Settings):
    """What is read, what a word is, and how documents are ranked."""


app = typer.Typer(add_completion=False)


@app.command()
@with_settings(Options, {"Documents": SourceSettings, "Words": AnalyzerSettings, "Ranking": BM25Settings})
def index(
    files: Annotated[list[str], typer.Argument(help="Files, folders, patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index; one that is there grows.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin it anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    **options: Any,
) -> None:
    """Make text, Markdown, HTML, CSV, TSV and JSONL searchable; again on the same folder: add to it.

    A document takes the place of one with the same id (of a file its path); one that is the same is passed over.
    """
    values = given(stop_words_of(options), Options)
    reading = SourceSettings.checked(_part(values, SourceSettings))
    words, ranking = _part(values, AnalyzerSettings), _part(values, BM25Settings)
    grows = (output / MANIFEST).exists() and not overwrite
    if not grows:
        engine = BM25(Analyzer(**words), **ranking)
    elif chosen := ", ".join(f"--{name.replace('_', '-')}" for name in words | ranking):
        raise SettingsError(f"{output}: it has settings of its own: leave out {chosen}, or begin anew with --overwrite")
    else:
        engine = BM25.load(output)
    found = find_documents(files, reading, _passed_over)
    what = f"{len(found):,} files" if len(found) > 1 else str(found[0][0])
    print(f"ostinato: reading {what}", file=sys.stderr)
    documents = _counted(read_documents(found, reading))
    changes = engine.add(documents) if grows else Changes(len(engine.index(documents, output, overwrite)))
    emit({"index": str(output), "documents": len(engine), **changes._asdict()}, as_json)


def _part(values: dict[str, Any], kind: type[SourceSettings | AnalyzerSettings | BM25Settings]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in kind.model_fields}


def _passed_over(files: list[Path]) -> None:
    kinds = Counter(path.suffix for path in files)
    listed = ", ".join(f"{number:,} × {suffix}" for suffix, number in kinds.most_common(5))
    hint = "a file that is named is read as text"
    print(f"ostinato: passed over files of other kinds ({listed}; {hint})", file=sys.stderr)


def _counted(documents: Iterable[Document]) -> Iterator[Document]:
    """The same documents; how many there are is shown on standard error as they go by."""
    terminal = sys.stderr.isatty()
    begun = shown = time.monotonic()
    number = 0
    for number, document in enumerate(documents, 1):
        yield document
        if (now := time.monotonic()) - shown > _SHOWN_EVERY_SECONDS[not terminal]:
            shown = now
            line = f"ostinato: {number:,} documents, {number / (now - begun):,.0f} a second"
            print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
    print(f"{chr(13) if terminal else ''}ostinato: {number:,} documents read, writing", file=sys.stderr)
