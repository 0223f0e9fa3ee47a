"""How good word vectors are: analogies, and similarities beside those that people gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import stats

from ostinato.data import TextReader
from ostinato.errors import DataError, SettingsError, nearest

CaseRule = Literal["ignore", "lower", "exact"]
_SCORES_AT_ONCE = 1 << 24


class Section(NamedTuple):
    """Questions of one kind."""

    correct: int
    answered: int
    """Those whose four words are in the vocabulary; the others count neither for nor against."""
    questions: int

    @property
    def accuracy(self) -> float | None:
        """Correct by answered, None where nothing was."""
        return self.correct / self.answered if self.answered else None

    def figures(self) -> dict[str, Any]:
        """What it is by name."""
        return {"accuracy": self.accuracy, **self._asdict()}


class Analogies(NamedTuple):
    """Results by section, in the order of the file."""

    sections: dict[str, Section]

    def total(self, which: Literal["semantic", "syntactic", "all"] = "all") -> Section:
        """All sections together, or those of one sort: the names of syntactic ones begin with `gram`."""
        chosen = [
            section
            for name, section in self.sections.items()
            if which == "all" or name.startswith("gram") == (which == "syntactic")
        ]
        return Section(*(sum(column) for column in zip(*chosen, strict=True))) if chosen else Section(0, 0, 0)

    def figures(self) -> dict[str, Any]:
        """What it is by name, for JSON."""
        totals = {which: self.total(which).figures() for which in ("semantic", "syntactic", "all")}
        return {**totals, "sections": {name: section.figures() for name, section in self.sections.items()}}


def evaluate_analogies(
    words: list[str], units: np.ndarray, path: Path, case: str = "ignore", restrict: int = 300_000
) -> Analogies:
    r"""Answer the questions of a file: a is to b as c is to ?, the fourth word being the right answer (3CosAdd).

    answer = argmax over words w but a, b, c of cos(w, b̂ − â + ĉ), where x̂ = x / ‖x‖ (Mikolov et al. 2013b, section 4).
    A file has lines `: section`, and after each its questions of four words.

    Args:
        words: by falling frequency.
        units: their vectors, of length 1, float32 [words, features].
        path: of the file.
        case: `ignore`: words that differ in case alone are one, a question's word being the most frequent of them;
            `lower`: questions are in lower case and looked up as they then are; `exact`: as they are.
        restrict: questions and answers are looked for among so many of the most frequent words.

    Raises:
        DataError: with file and line, for a line that is no question.
    """
    if case not in (known := get_args(CaseRule)):
        raise SettingsError(f"case = {case!r}: one of {', '.join(known)}{nearest(case, known)}")
    words, units = words[:restrict], units[:restrict]
    # answers are compared by class: of words that are one but for their case, or of one word
    class_of: dict[str, int] = {}
    classes = np.array([class_of.setdefault(_folded(word, case), len(class_of)) for word in words])
    first = np.unique(classes, return_index=True)[1]
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(len(class_of)))
    sections: dict[str, Section] = {}
    for name, questions in _questions(path):
        asked = [[class_of.get(_asked(word, case)) for word in question] for question in questions]
        ids = np.array([question for question in asked if None not in question], np.int64).reshape(-1, 4)
        correct = 0
        for block in np.array_split(ids, max(1, len(ids) * len(words) // _SCORES_AT_ONCE)):
            a, b, c = (units[first[block[:, column]]] for column in range(3))
            scores = ((b - a + c) @ units.T)[:, order]
            best = np.maximum.reduceat(scores, starts, axis=1) if len(block) else scores
            best[np.arange(len(block))[:, None], block[:, :3]] = -np.inf
            correct += int((best.argmax(1) == block[:, 3]).sum()) if len(block) else 0
        before = sections.get(name, Section(0, 0, 0))
        new = Section(correct, len(ids), len(questions))
        sections[name] = Section(*(one + other for one, other in zip(before, new, strict=True)))
    return Analogies(sections)


def _folded(word: str, case: str) -> str:
    return word.upper() if case == "ignore" else word


def _asked(word: str, case: str) -> str:
    return word.lower() if case == "lower" else _folded(word, case)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    text = "".join(TextReader([path]).blocks())
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def is_analogies(path: Path) -> bool:
    """Whether a file holds analogies, which begin with the name of a section."""
    return next((line for _, line in _lines(path)), "").startswith(":")


def _questions(path: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Sections with their questions."""
    name, questions = None, []
    for number, line in _lines(path):
        if line.startswith(":"):
            if name is not None:
                yield name, questions
            name, questions = line[1:].strip(), []
            continue
        question = line.split()
        if len(question) != 4 or name is None:
            wanted = "four words" if name is not None else "a line such as ': family' before the first question"
            raise DataError(f"{path}: line {number}: {line.strip()[:60]!r}: expected {wanted}")
        questions.append(question)
    if name is None:
        raise DataError(f"{path}: empty: expected questions of four words in sections")
    yield name, questions


class Similarities(NamedTuple):
    """Similarities of words beside those that people gave."""

    spearman: float | None
    """The correlation of ranks ρ over the pairs that are covered; None if it has no value there."""
    covered: int
    """Pairs of which both words have a vector."""
    pairs: int


def evaluate_similarities(path: Path, similarity: Any) -> Similarities:
    """Spearman's ρ between similarities and those in a file of three columns: word, word, number.

    Args:
        path: a TSV file without a header; lines that begin with # are passed over.
        similarity: of two words, or None if one has no vector.

    Raises:
        DataError: with file and line, for a line of another form.
    """
    ours, theirs, pairs = [], [], 0
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        try:
            first, second, value = fields[0].strip(), fields[1].strip(), float(fields[2])
        except (IndexError, ValueError):
            what = "expected two words and a number, between tabs"
            raise DataError(f"{path}: line {number}: {line[:60]!r}: {what}") from None
        pairs += 1
        if (found := similarity(first, second)) is not None:
            ours.append(found)
            theirs.append(value)
    if not pairs:
        raise DataError(f"{path}: empty: expected lines of two words and a number, between tabs")
    varied = len(set(ours)) > 1 and len(set(theirs)) > 1
    rho = float(stats.spearmanr(ours, theirs)[0]) if varied else None  # pyright: ignore[reportArgumentType]
    return Similarities(rho, len(ours), pairs)
