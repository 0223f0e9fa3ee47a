"""`ostinato search INDEX QUERY`: find documents."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli.options import given, with_settings
from ostinato.features.retrieval.bm25 import BM25, BM25Settings
from ostinato.features.retrieval.hits import Hit

_MARKS = ("\x1b[1m", "\x1b[0m")
app = typer.Typer(add_completion=False)


@app.command()
@with_settings(BM25Settings, {"Ranking [default: as the index was made]": BM25Settings})
def search(
    index: Annotated[Path, typer.Argument(help="Folder of the index.")],
    query: Annotated[list[str], typer.Argument(help="Words.")],
    top: Annotated[int, typer.Option(min=1, help="How many documents at most.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only documents with such metadata: year=2020, year>=2020, lang!=en; may be repeated."),
    ] = None,
    width: Annotated[int, typer.Option(min=20, help="How many characters of a document are shown.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    **options: Any,
) -> None:
    """Find the documents that hold words of a query, the best first, with the words marked."""
    engine, words = BM25.load(index, **given(options, BM25Settings)), " ".join(query)
    hits = engine.search(words, top, where)
    unknown = [word for word, documents in engine.document_frequency(words).items() if not documents]
    if unknown:
        print(f"ostinato: in no document: {', '.join(unknown)}", file=sys.stderr)
    if not hits:
        print("ostinato: no document that fits --where holds a word of the query", file=sys.stderr)
    if as_json:
        found = {"query": words, "unknown": unknown, "hits": [hit.to_dict() for hit in hits]}
        print(json.dumps(found, ensure_ascii=False))
        return
    marks = _MARKS if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("**", "**")
    for hit in hits:
        print(_shown(hit, marks, width))


def _shown(hit: Hit, marks: tuple[str, str], width: int) -> str:
    facts = [f"{name}: {value}" for name, value in hit.metadata.items() if value != hit.id and len(str(value)) <= 60]
    about = f"  ({', '.join(facts)})" if facts else ""
    return f"{hit.rank:>3}  {hit.score:.3f}  {hit.id}{about}\n     {hit.highlighted(*marks, width=width)}"
