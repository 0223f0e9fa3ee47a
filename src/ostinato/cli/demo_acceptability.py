"""`ostinato demo acceptability`: which lines are well-formed Python? Its own parser is the judge."""

from __future__ import annotations

import ast
import csv
import io
import keyword
import sysconfig
import tempfile
import tokenize
from pathlib import Path

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.tasks.acceptability import Acceptability

NAME = "judged-lines.csv"
ASKED = (
    "return x . x ( x , 0 )",
    "return x . x ( x , 0",
    "x = x if x is not None else ( x , 0 )",
    "x = x if is not None else ( x , 0 )",
)
_LEAST, _MOST = 5, 24
_TRAIN, _TEST = 5000, 500


def is_python(tokens: list[str]) -> bool:
    """Whether tokens with a space between them are a statement, taken to stand in a function.

    >>> is_python("return f ( x )".split()), is_python("return f x )".split())
    (True, False)
    """
    try:
        ast.parse("def f():\n while True:\n  " + " ".join(tokens))
    except SyntaxError:
        return False
    return True


def plain(token: tokenize.TokenInfo) -> str:
    """A token of which only the kind counts: names are x, numbers 0, strings ''."""
    if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
        return "x"
    return {tokenize.NUMBER: "0", tokenize.STRING: "''"}.get(token.type, token.string.strip())


def lines(library: Path, count: int) -> list[list[str]]:
    """Tokens of different simple statements of the modules of a library, in the order of their files."""
    found: dict[str, list[str]] = {}
    for path in sorted(library.glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Return | ast.Raise | ast.Assert):
                source = io.StringIO(ast.unparse(node)).readline
                tokens = [each for each in map(plain, tokenize.generate_tokens(source)) if each]
                if _LEAST <= len(tokens) <= _MOST and is_python(tokens):
                    found[" ".join(tokens)] = tokens
        if len(found) >= 2 * count:
            break
    return list(found.values())


def broken(tokens: list[str], draw: np.random.Generator) -> list[str]:
    """The same with one token left out or put elsewhere, so that it is no statement any more.

    >>> is_python(broken("return f ( x )".split(), np.random.default_rng(0)))
    False
    """
    while True:
        changed = list(tokens)
        token = changed.pop(int(draw.integers(len(changed))))
        if draw.random() < 0.5:
            changed.insert(int(draw.integers(len(tokens))), token)
        if not is_python(changed):
            return changed


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train on judged lines, measure on others, and judge some."""
    draw = np.random.default_rng(0)
    known = lines(Path(sysconfig.get_paths()["stdlib"]), _TRAIN + _TEST)
    known = [known[at] for at in draw.permutation(len(known))[: _TRAIN + _TEST]]
    rows = [(" ".join(each), 1) if draw.random() < 0.5 else (" ".join(broken(each, draw)), 0) for each in known]
    test, train = rows[:_TEST], rows[_TEST:]
    with tempfile.TemporaryDirectory() as folder:
        for name, part in ((NAME, train), ("test.csv", test)):
            with (Path(folder) / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("text", "label"), *part])
        model = Acceptability(
            header=True, text="text", label="label", tokens="whitespace", lowercase=False, subwords=0, hidden_size=64,
            pooling="max", dropout=0.1, word_dropout=0, epochs=6, learning_rate=0.006, max_minutes=minutes, seed=1,
            device="cpu",
        )  # fmt: skip
        progress = False if quiet else None
        model.fit(Path(folder) / NAME, output=output, overwrite=is_demo(output, NAME), progress=progress)
        figures = model.evaluate(Path(folder) / "test.csv")
    print(f"\n{len(train):,} judged lines; {len(test)} others to test, half of them broken at one token.")
    print(f"  Matthews' correlation {figures['mcc']:.3f} (0 is chance), accuracy {figures['accuracy']:.3f}\n")
    for text, p in zip(ASKED, model.predict_proba(ASKED)[:, 1], strict=True):
        print(f"  {p:.2f}  {text}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  echo 'x = ( 1 , 2' | ostinato predict {output} -\n"
        "  ostinato fit acceptability cola.tsv -o models/mine"
    )
