"""`ostinato vectors`: what word vectors know, how good they are, and other programs' files of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ostinato.cli.show import emit
from ostinato.errors import DataError, SettingsError

if TYPE_CHECKING:
    from ostinato.features.word_vectors import Neighbour, WordVectors

Vectors = Annotated[Path, typer.Argument(help="Folder of the vectors, or a file of word2vec's or GloVe's.")]
Top = Annotated[int, typer.Option(min=1, help="How many.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Use word vectors.")
_SUFFIXES = {".vec": "word2vec", ".bin": "word2vec-binary", "": "folder"}


def _read(path: Path, *arguments: str) -> WordVectors:
    from ostinato.features.word_vectors import WordVectors

    return WordVectors.read(path, *arguments)


@app.command()
def nearest(vectors: Vectors, word: str, top: Top = 10, as_json: AsJson = False) -> None:
    """The words whose vectors have the largest cosine with a word's."""
    _print(_read(vectors).nearest(word, top), as_json)


@app.command()
def analogy(
    vectors: Vectors,
    a: Annotated[str, typer.Argument(help="Such as man")],
    b: Annotated[str, typer.Argument(help="which is to king")],
    c: Annotated[str, typer.Argument(help="as woman is to what is printed.")],
    top: Top = 5,
    as_json: AsJson = False,
) -> None:
    """A is to B as C is to what? The words with the largest cosine with B − A + C, these three left out."""
    _print(_read(vectors).analogy(a, b, c, top), as_json)


def _print(found: list[Neighbour], as_json: bool) -> None:
    if as_json:
        print(json.dumps([each._asdict() for each in found], ensure_ascii=False))
        return
    for each in found:
        print(f"{each.similarity:7.4f}  {each.word}")


@app.command()
def similarity(vectors: Vectors, first: str, second: str, as_json: AsJson = False) -> None:
    """The cosine between the vectors of two words."""
    emit({"similarity": _read(vectors).similarity(first, second)}, as_json)


@app.command()
def evaluate(
    vectors: Vectors,
    file: Annotated[Path, typer.Argument(help="Analogies in sections, such as questions-words.txt; or a TSV file.")],
    case: Annotated[
        str, typer.Option(help="Of analogies: ignore, lower (questions in lower case), or exact.")
    ] = "ignore",
    restrict: Annotated[
        int, typer.Option(min=1, help="Analogies: ask and look among so many of the most frequent words.")
    ] = 300_000,
    as_json: AsJson = False,
) -> None:
    """Answer a file's analogies, or compare similarities with those that people gave: word, word, number.

    A question counts if its four words are in the vocabulary. The sections of syntactic ones are called gram….
    """
    from ostinato.features.vector_evaluation import is_analogies

    if not is_analogies(file):
        known = _read(vectors)
        figures = known.evaluate_similarities(file)._asdict()
        if known.subwords_ is not None:
            unseen = known.evaluate_similarities(file, unseen=True)
            figures |= {"spearman_with_unseen": unseen.spearman, "covered_with_unseen": unseen.covered}
        emit(figures, as_json)
        return
    result = _read(vectors).evaluate_analogies(file, case, restrict)
    if as_json:
        print(json.dumps(result.figures(), ensure_ascii=False))
        return
    totals = {which: result.total(which) for which in ("semantic", "syntactic", "all")}
    rows = [*result.sections.items(), *totals.items()]
    width = max(len(name) for name, _ in rows)
    print(f"{'':<{width}}  accuracy  correct  answered  questions")
    for name, section in rows:
        share = "-" if section.accuracy is None else f"{section.accuracy:.2%}"
        print(f"{name:<{width}}  {share:>8}  {section.correct:7,}  {section.answered:8,}  {section.questions:9,}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder of vectors, or a file of word2vec's or GloVe's.")],
    target: Annotated[Path, typer.Argument(help="What to write.")],
    from_: Annotated[
        str,
        typer.Option("--from", help="Form of a file: word2vec, word2vec-binary, glove, or auto: by its begin."),
    ] = "auto",
    to: Annotated[
        str, typer.Option("--to", help="folder, word2vec, word2vec-binary, glove, or auto: by the name (.vec, .bin).")
    ] = "auto",
    encoding: Annotated[str, typer.Option(help="Of the words of a file, by Python's name.")] = "utf-8",
    errors: Annotated[str, typer.Option(help="At bytes that are not text: strict, replace or ignore.")] = "strict",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the target.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read vectors in one form and write them in another; read again the numbers are the same bits."""
    from ostinato.features.vector_files import FORMATS

    if to == "auto":
        if target.suffix not in _SUFFIXES:
            raise SettingsError(f"{target}: its name does not say in what form: --to folder, {', '.join(FORMATS)}")
        to = _SUFFIXES[target.suffix]
    if to not in (known := ("folder", *FORMATS)):
        raise SettingsError(f"to = {to!r}: one of {', '.join(known)}")
    if target.exists() and not overwrite:
        raise DataError(f"{target}: stands there already: --overwrite replaces it")
    vectors = _read(source, from_, encoding, errors)
    if to == "folder":
        vectors.save(target, overwrite)
    else:
        if target.is_dir():
            raise DataError(f"{target}: is a folder, and a file of the form {to} was to be written")
        if vectors.subwords_ is not None:
            print("ostinato: vectors of n-grams have no place there: words never seen get none", file=sys.stderr)
        vectors.write(target, to)
    figures: dict[str, Any] = {name: vectors.about_[name] for name in ("words", "features")}
    emit(figures | {"vectors": str(target), "form": to}, as_json)
