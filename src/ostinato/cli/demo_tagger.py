"""`ostinato demo tagger`: what the pieces of a line of Python are, learned from the standard library's sources."""

from __future__ import annotations

import io
import keyword
import re
import sysconfig
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

from ostinato.cli.demo import is_demo
from ostinato.tasks.tagger import Tagger

NAME = "python-lines.conll"
_PIECE = re.compile(r"\w+|[^\w\s]")
_LONGEST = 60  # pieces of a line
_KINDS = {tokenize.STRING: "string", tokenize.NUMBER: "number", tokenize.COMMENT: "comment"}
_ENDS = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER)

Line = list[tuple[str, str]]  # pieces with their tags


def lines_of(source: str) -> Iterator[Line]:
    r"""The lines of a source in pieces, words and single signs, each with what tokenize says it is part of.

    >>> list(lines_of("def f(x): return 'a b'  # why\\n"))[0][:4]
    [('def', 'B-keyword'), ('f', 'B-definition'), ('(', 'O'), ('x', 'B-name')]
    """
    line: Line = []
    before = ""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type in _ENDS:
            if line:
                yield line
            line, before = [], ""
            continue
        kind = _kind(token, before, after.string)
        pieces = _PIECE.findall(token.string)
        line += [(piece, f"{'I' if at else 'B'}-{kind}" if kind else "O") for at, piece in enumerate(pieces)]
        before = token.string


def _kind(token: tokenize.TokenInfo, before: str, after: str) -> str:
    if token.type != tokenize.NAME:
        return _KINDS.get(token.type, "string" if "STRING" in tokenize.tok_name[token.type] else "")
    if keyword.iskeyword(token.string):
        return "keyword"
    if before in ("def", "class"):
        return "definition"
    return "attribute" if before == "." else "call" if after == "(" else "name"


def write_lines(folder: Path) -> tuple[Path, Path]:
    """Files to train with and to validate with, of modules that are not the same."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = sorted(path for path in library.glob("[a-z]*.py") if 10_000 < path.stat().st_size < 40_000)
    paths = folder / NAME, folder / "python-validation.conll"
    for path, sources in zip(paths, (found[::5], found[2::25]), strict=True):
        lines = [line for each in sources for line in lines_of(each.read_text("utf-8")) if len(line) <= _LONGEST]
        path.write_text("\n".join("".join(f"{piece}\t{tag}\n" for piece, tag in line) for line in lines), "utf-8")
    return paths


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a tagger on lines of Python, and let it read some of its own."""
    with tempfile.TemporaryDirectory() as folder:
        train, validation = write_lines(Path(folder))
        model = Tagger(
            hidden_size=64, embedding_size=48, character_hidden=24, dropout=0.2, epochs=3, batch_size=16,
            learning_rate=0.006, max_minutes=minutes, seed=1,
        )  # fmt: skip
        model.fit(train, validation, output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        figures = model.evaluate(validation)
    print(
        f"\nspans of modules that it has not seen: F1 {figures['f1']:.3f}, precision {figures['precision']:.3f}, "
        f"recall {figures['recall']:.3f}\n"
    )
    for line in (
        "for name, value in table.items(): print(f'{name}: {value}')  # show all of it",
        "class Kettle(Vessel): boils_at = 99.5",
        "raise ValueError('no such file or directory')",
    ):
        pieces = _PIECE.findall(line)
        (tagging,) = model.predict([pieces])
        for kind, start, end in tagging.spans:
            print(f"  {' '.join(pieces[start:end]):<40} {kind}")
        print()
    print(
        f"The model is in {output}. What next:\n"
        f"  echo 'import numpy as np' | ostinato predict {output} -\n"
        f"  ostinato info {output}\n"
        "  ostinato fit tagger YOUR.conllu -o models/mine"
    )
