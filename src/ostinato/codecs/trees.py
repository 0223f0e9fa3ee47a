"""Trees as text: in brackets, as JSON, and made of plain tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ostinato.errors import DataError

_BLANKS = " \t\r\n\f\v"  # no others: a word such as 8 1/2 may hold a no-break space
_TOKEN = re.compile(rf"\n|[()]|[^{_BLANKS}()]+")
_UNESCAPED = {
    "-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", r"\/": "/", r"\*": "*"
}  # fmt: skip
_ESCAPE = re.compile("|".join(map(re.escape, _UNESCAPED)))
_NO_LABEL = "_"
_SEPARATORS = (frozenset(".!?。！？…"), frozenset(";；:："), frozenset(',，、—–()（）"“”'))


class Tree(NamedTuple):
    """A tree as its nodes, children before their parent and from left to right, the root last.

    So trees of any depth are read, copied and compared without recursion.
    """

    words: tuple[str | None, ...]
    """The word at each node; a leaf has one."""
    labels: tuple[str | None, ...]
    """The label of each node; None where nothing is said of it."""
    parents: tuple[int, ...]
    """The node above each; -1 above the root."""

    def children(self) -> list[list[int]]:
        """The nodes under each, from left to right."""
        found: list[list[int]] = [[] for _ in self.parents]
        for node, above in enumerate(self.parents):
            if above >= 0:
                found[above].append(node)
        return found

    def brackets(self) -> str:
        """The tree on one line, as `read_brackets` reads it, with escaped brackets; `_` where there is no label.

        >>> next(read_brackets(["(3 (2 not) (1 -LRB-))"]))[0].brackets()
        '(3 (2 not) (1 -LRB-))'
        """
        return "".join(self._pieces(self.children()))

    def _pieces(self, children: list[list[int]]) -> Iterator[str]:
        stack: list[int | str] = [len(self.parents) - 1]
        first = True
        while stack:
            node = stack.pop()
            if isinstance(node, str):
                yield node
                continue
            yield ("(" if first else " (") + (self.labels[node] or _NO_LABEL)
            first = False
            if (word := self.words[node]) is not None:
                yield " " + _escaped(word)
            stack.append(")")
            stack += reversed(children[node])

    def text(self) -> str:
        """The words from left to right, a node's own after those of its children, with blanks between."""
        return " ".join(word for word in self.words if word is not None)


class Failure(Exception):
    """What is wrong with a tree, and where."""

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(what)
        self.line, self.column = line, column


class _Frame:
    """A bracket that is open."""

    def __init__(self, line: int, column: int) -> None:
        self.line, self.column = line, column
        self.label: str | None = None
        self.word: str | None = None
        self.children: list[int] = []


def read_brackets(blocks: Iterable[str], path: Path | str = "text") -> Iterator[tuple[Tree, int]]:
    r"""Trees in brackets, each with the line where it begins: `(label word)` is a leaf, `(label tree tree …)` a node.

    A node with a word of its own, as in a tree of dependencies, is `(label word tree …)`.
    A tree may stand on one line or on several. An outer bracket without a label around one tree, as the Penn Treebank
    has it, is dropped; the label `_` is none. -LRB-, -RRB- and their like, `\/` and `\*` are unescaped.

    Args:
        blocks: of text, cut anywhere.
        path: for errors.

    Raises:
        DataError: with line and column, at brackets that do not pair, a label or a word that is missing, and at text
            outside of brackets.

    >>> tree, line = next(read_brackets(["(3 (2 not)\n (1 bad))"]))
    >>> tree.words, tree.labels, tree.parents, line
    (('not', 'bad', None), ('2', '1', '3'), (2, 2, -1), 1)
    >>> list(read_brackets(["(3 (2 not)"]))
    Traceback (most recent call last):
    ostinato.errors.DataError: text: line 1, column 1: this bracket is never closed
    """
    try:
        yield from _parse(blocks)
    except Failure as error:
        raise DataError(f"{path}: line {error.line}, column {error.column}: {error}") from None


def _positions(blocks: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Brackets and words, with line and column, both from 1; of words that blocks cut, the whole."""
    line, column, rest = 1, 1, ""
    for block in blocks:
        text = rest + block
        cut = max(text.rfind(sign) for sign in _BLANKS + "()") + 1
        start = 0
        for match in _TOKEN.finditer(text, 0, cut):
            token = match[0]
            if token == "\n":
                line, column, start = line + 1, 1, match.end()
            else:
                yield token, line, column + match.start() - start
        column += cut - start
        rest = text[cut:]
    if rest:
        yield rest, line, column


def _parse(blocks: Iterable[str]) -> Iterator[tuple[Tree, int]]:
    words: list[str | None] = []
    labels: list[str | None] = []
    parents: list[int] = []
    stack: list[_Frame] = []
    for token, line, column in _positions(blocks):
        if token == "(":
            stack.append(_Frame(line, column))
        elif not stack:
            what = "there is no open bracket that this one closes" if token == ")" else f"expected (, found {token!r}"
            raise Failure(what, line, column)
        elif token != ")":
            frame = stack[-1]
            if frame.label is None and not frame.children:
                frame.label = token
            elif frame.word is None and not frame.children:
                frame.word = _ESCAPE.sub(lambda match: _UNESCAPED[match[0]], token)
            else:
                beside = "brackets" if frame.children else f"{frame.word!r}"
                raise Failure(f"the word {token!r} beside {beside}: give each word a bracket", line, column)
        else:
            frame = stack.pop()
            wrapper = not stack and frame.label is None and len(frame.children) == 1
            if not wrapper:
                _check(frame)
                node = len(words)
                words.append(frame.word)
                labels.append(None if frame.label == _NO_LABEL else frame.label)
                parents.append(-1)
                for child in frame.children:
                    parents[child] = node
                if stack:
                    stack[-1].children.append(node)
            if not stack:
                yield Tree(tuple(words), tuple(labels), tuple(parents)), frame.line
                words, labels, parents = [], [], []
    if stack:
        raise Failure("this bracket is never closed", stack[0].line, stack[0].column)


def _check(frame: _Frame) -> None:
    if frame.label is None:
        what = "a label is missing after this bracket" if frame.children else "an empty bracket"
        raise Failure(f"{what}; expected (label word) or (label (…) (…))", frame.line, frame.column)
    if frame.word is None and not frame.children:
        what = f"a label and a word are needed, but there is only {frame.label!r}"
        raise Failure(f"{what}; expected (label word) or (label (…) (…))", frame.line, frame.column)


def _escaped(word: str) -> str:
    for escape, letter in list(_UNESCAPED.items())[:6]:
        word = word.replace(letter, escape)
    return re.sub(f"[{_BLANKS}]+", "_", word)


def read_json(line: str) -> Tree:
    """The tree of a JSON object: `label`, `word` and `children`, each of which may be missing.

    Raises:
        Failure: with the column, if it is not JSON; else with what is wrong, and where in the object.

    >>> read_json('{"label": 1, "children": [{"word": "not"}, {"word": "bad"}]}')
    Tree(words=('not', 'bad', None), labels=(None, None, '1'), parents=(2, 2, -1))
    """
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise Failure(f"not JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise Failure("JSON nested too deep to be read; write such a tree in brackets", 1, 1) from None
    words: list[str | None] = []
    labels: list[str | None] = []
    parents: list[int] = []
    stack: list[Any] = [(value, "$", None)]  # children before parents: a node is taken a second time, with its children
    done: list[int] = []
    while stack:
        value, where, count = stack.pop()
        if count is None:
            children = _fields(value, where)
            stack.append((value, where, len(children)))
            stack += [(child, f"{where}.children[{at}]", None) for at, child in reversed(list(enumerate(children)))]
            continue
        node = len(words)
        words.append(value.get("word"))
        label = value.get("label")
        labels.append(label if isinstance(label, str) or label is None else json.dumps(label))
        parents.append(-1)
        for child in done[len(done) - count :]:
            parents[child] = node
        done[len(done) - count :] = [node]
    return Tree(tuple(words), tuple(labels), tuple(parents))


def _fields(value: Any, where: str) -> list[Any]:
    """The children of a node of JSON, which is checked."""
    known = ("label", "word", "children")
    if not isinstance(value, dict):
        raise Failure(f"{where}: expected an object with {', '.join(known)}, found {type(value).__name__}", 1, 1)
    if odd := [name for name in value if name not in known]:
        raise Failure(f"{where}: unknown {odd[0]!r}; expected {', '.join(known)}", 1, 1)
    children, word, label = value.get("children", []), value.get("word"), value.get("label")
    if not isinstance(children, list):
        raise Failure(f"{where}.children: expected a list, found {type(children).__name__}", 1, 1)
    if word is not None and not isinstance(word, str):
        raise Failure(f"{where}.word: expected text, found {json.dumps(word)[:40]}", 1, 1)
    if isinstance(label, dict | list):
        raise Failure(f"{where}.label: expected text or a number, found {json.dumps(label)[:40]}", 1, 1)
    if not children and not word:
        raise Failure(f"{where}: a leaf without a word", 1, 1)
    return children


def balanced(tokens: Sequence[str]) -> Tree:
    """A binary tree of tokens, without labels: cut after ends of sentences, then at semicolons and colons, then at
    commas, dashes and quotation marks; the parts of each cut, and what no sign divides, are halved again and again.

    It is no parse: it knows nothing of the language but its punctuation.

    Raises:
        DataError: if there are no tokens.

    >>> balanced("a bad film , but well meant".split()).brackets()
    '(_ (_ (_ (_ a) (_ bad)) (_ (_ film) (_ ,))) (_ (_ but) (_ (_ well) (_ meant))))'
    """
    if not tokens:
        raise DataError("a text without words: there is nothing to make a tree of")
    words: list[str | None] = []
    parents: list[int] = []

    def node(word: str | None, children: Sequence[int]) -> int:
        words.append(word)
        parents.append(-1)
        for child in children:
            parents[child] = len(words) - 1
        return len(words) - 1

    def halves(parts: Sequence[Any], grow: Any) -> int:
        if len(parts) == 1:
            return grow(parts[0])
        middle = len(parts) // 2
        return node(None, [halves(parts[:middle], grow), halves(parts[middle:], grow)])

    def at_signs(part: Sequence[str], rank: int) -> int:
        if rank == len(_SEPARATORS):
            return halves(part, lambda token: node(token, []))
        return halves(_cut_after(part, _SEPARATORS[rank]), lambda each: at_signs(each, rank + 1))

    at_signs(tokens, 0)
    return Tree(tuple(words), (None,) * len(words), tuple(parents))


def _cut_after(tokens: Sequence[str], signs: frozenset[str]) -> list[Sequence[str]]:
    ends = [at + 1 for at in range(len(tokens) - 1) if tokens[at] in signs and tokens[at + 1] not in signs]
    return [tokens[start:end] for start, end in zip([0, *ends], [*ends, len(tokens)], strict=True)]


def binarised(tree: Tree) -> Tree:
    """The same tree with at most two children a node: more are halved, under new nodes without label and word.

    >>> tree = next(read_brackets(["(a (b x) (c y) (d z))"]))[0]
    >>> binarised(tree).brackets()
    '(a (b x) (_ (c y) (d z)))'
    """
    children = tree.children()
    if max(map(len, children)) <= 2:
        return tree
    words: list[str | None] = []
    labels: list[str | None] = []
    parents: list[int] = []
    names: list[int] = []  # of the old nodes, in the new tree

    def node(word: str | None, label: str | None, under: Sequence[int]) -> int:
        words.append(word)
        labels.append(label)
        parents.append(-1)
        for child in under:
            parents[child] = len(words) - 1
        return len(words) - 1

    def joined(group: Sequence[int]) -> int:
        if len(group) == 1:
            return group[0]
        middle = len(group) // 2
        return node(None, None, [joined(group[:middle]), joined(group[middle:])])

    for old, under in enumerate(children):
        now = [names[child] for child in under]
        if len(now) > 2:
            now = [joined(now[: len(now) // 2]), joined(now[len(now) // 2 :])]
        names.append(node(tree.words[old], tree.labels[old], now))
    return in_order(Tree(tuple(words), tuple(labels), tuple(parents)))


def in_order(tree: Tree) -> Tree:
    """The same tree with its nodes in order, where they only stood after their children."""
    children = tree.children()
    stack, order = [len(tree.parents) - 1], []
    while stack:  # the root first, then its last child: the order turned round
        order.append(node := stack.pop())
        stack += children[node]
    order.reverse()
    place = {old: new for new, old in enumerate(order)}
    parents = tuple(place.get(tree.parents[old], -1) for old in order)
    return Tree(tuple(tree.words[old] for old in order), tuple(tree.labels[old] for old in order), parents)
