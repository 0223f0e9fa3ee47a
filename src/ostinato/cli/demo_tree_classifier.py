"""`ostinato demo tree-classifier`: what a statement of the standard library is, from the names and signs in it."""

from __future__ import annotations

import ast
import json
import sysconfig
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ostinato.cli.demo import is_demo
from ostinato.codecs.trees import Tree, read_json
from ostinato.tasks.linear_classifier import LinearClassifier
from ostinato.tasks.tree_classifier import TreeClassifier

NAME = "statements.txt"
_SMALLEST, _LARGEST = 4, 60  # nodes of a statement
_EVERY = {"train": 10, "test": 40}  # a statement out of so many is taken


def tree_of(node: ast.AST) -> dict[str, Any]:
    """A syntax tree as JSON has trees: a node's label is its kind, and words stand at leaves alone.

    >>> tree_of(ast.parse("x + 1", mode="eval").body)["children"][1]
    {'word': 'Add'}
    """
    children: list[dict[str, Any]] = []
    for _, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST) and not isinstance(each, ast.expr_context):
                children.append(tree_of(each))
            elif isinstance(each, str) and not isinstance(node, ast.Constant):
                children.append({"word": each})
    kind = type(node).__name__
    if isinstance(node, ast.Constant):
        children = [{"word": f"a {type(node.value).__name__}"}]
    return {"label": kind, "children": children} if children else {"word": kind}


def statements() -> Iterator[tuple[str, ast.stmt]]:
    """Module and syntax tree of the statements of the functions of the standard library, but for docstrings."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "test", "tests", "encodings", "idlelib", "lib2to3"} & set(path.parts):
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                module = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, ValueError, OSError):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef):
                for each in node.body[ast.get_docstring(node) is not None :]:
                    if _SMALLEST < sum(1 for _ in ast.walk(each)) < _LARGEST:
                        yield str(path.relative_to(root)), each


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a tree classifier on syntax trees, beside a linear one that has the same words, and show what it says."""
    parts: dict[str, list[Tree]] = {"train": [], "test": []}
    sources: list[ast.stmt] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for at, (module, node) in enumerate(statements()):
            part = "test" if zlib.crc32(module.encode()) % 4 == 0 else "train"  # whole modules
            if at % _EVERY[part] == 0:
                parts[part].append(read_json(json.dumps(tree_of(node))))
                sources += [node] if part == "test" else []
        for part, its in parts.items():
            lines = (tree.brackets() + "\n" for tree in its)
            (folder / (NAME if part == "train" else part)).write_text("".join(lines), "utf-8")
            phrases = (f"__label__{label} {' '.join(words)}\n" for tree in its for label, words in _phrases(tree))
            (folder / f"{part}.phrases").write_text("".join(phrases), "utf-8")
        model = TreeClassifier(
            cell="child-sum", hidden_size=96, embedding_size=64, min_count=2, dropout=0.2, epochs=5,
            learning_rate=0.005, max_minutes=minutes, lowercase=False, seed=1,
        )  # fmt: skip
        progress = False if quiet else None
        model.fit(folder / NAME, output=output, overwrite=is_demo(output, NAME), progress=progress)
        found = model.evaluate(folder / "test")
        linear = LinearClassifier(lowercase=False).fit(folder / "train.phrases", progress=False)
        beside = linear.evaluate(folder / "test.phrases")
        said = list(model.predict(parts["test"]))
    kinds = Counter(tree.labels[-1] for tree in parts["test"])
    often, times = kinds.most_common(1)[0]
    sizes = {part: len(its) for part, its in parts.items()}
    print(f"\n{sizes['train']:,} statements of the standard library; {sizes['test']:,} of other modules to test.")
    print(f"Which of {len(model.codec.labels)} kinds a statement, or a part of it, is:  statements  all parts")
    rows = {
        f"always {often}": (times / kinds.total(), None),
        "linear, on the names and signs in it": (_of_roots(linear, parts["test"]), beside["accuracy"]),
        "child-sum Tree-LSTM": (found["root_accuracy"], found["node_accuracy"]),
    }
    for name, (of_roots, of_all) in rows.items():
        print(f"  {name:<44} {of_roots:10.1%} {'' if of_all is None else f'{of_all:10.1%}'}")
    print("\nSome statements of the test, with the kind that the tree was told to be:")
    for tree, node, each in list(zip(parts["test"], sources, said, strict=True))[:: max(1, len(said) // 6)][:6]:
        verdict = "" if each.label == tree.labels[-1] else f", and is {tree.labels[-1]}"
        text = " ".join(ast.unparse(node).split())
        print(f"  {each.label:<9} {text[:90]}{'…' if len(text) > 90 else ''}{verdict}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato info {output}\n"
        "  ostinato fit tree-classifier YOUR-trees.txt -o models/mine\n"
        "  ostinato predict models/mine new-trees.txt --nodes"
    )


def _of_roots(linear: LinearClassifier, trees: list[Tree]) -> float:
    """The share of whole statements that the linear classifier names."""
    texts = [" ".join(list(_phrases(tree))[-1][1]) for tree in trees]
    said = [found.labels[0] for found in linear.predict(texts)]
    return sum(a == tree.labels[-1] for a, tree in zip(said, trees, strict=True)) / len(trees)


def _phrases(tree: Tree) -> Iterator[tuple[str, list[str]]]:
    """The label and the words under each node that has one."""
    under: list[list[str]] = []
    for word, label, children in zip(tree.words, tree.labels, tree.children(), strict=True):
        under.append([word.replace(" ", "-")] if word else [word for child in children for word in under[child]])
        if label is not None:
            yield label, under[-1]
