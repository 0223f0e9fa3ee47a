"""`ostinato demo classifier`: which part of the standard library is a sentence about? From Python's own docstrings."""

from __future__ import annotations

import csv
import inspect
import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from ostinato.cli.demo import is_demo
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.linear_classifier import LinearClassifier

NAME = "python-docstrings.csv"
TOPICS = {
    "concurrency": "threading queue asyncio concurrent.futures multiprocessing.pool multiprocessing.managers selectors",
    "files": "os shutil pathlib tempfile glob fnmatch tarfile zipfile gzip stat filecmp",
    "network": "socket ssl http.client http.server urllib.request urllib.parse email.message smtplib ftplib imaplib",
    "numbers": "math cmath statistics fractions decimal random numbers",
    "source": "ast inspect dis tokenize symtable importlib.util importlib.abc pkgutil types",
    "tests": "unittest unittest.mock doctest pdb bdb trace cProfile pstats traceback",
    "text": "string re textwrap difflib json csv configparser html.parser xml.etree.ElementTree locale gettext",
    "time": "datetime calendar time zoneinfo sched",
}
ASKED = (
    "Return the arithmetic mean of the values.",
    "Wait until another thread releases the lock.",
    "Copy a directory tree and its permissions.",
    "Which weekday is the last day of the month?",
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def _docstrings(module: object) -> Iterator[str]:
    """Of a module, its functions and classes, and their methods."""
    yield inspect.getdoc(module) or ""
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or not callable(member):
            continue
        yield inspect.getdoc(member) or ""
        if inspect.isclass(member):
            for inner, method in sorted(vars(member).items()):
                if not inner.startswith("_"):
                    yield getattr(method, "__doc__", None) or ""


def labelled_sentences() -> list[tuple[str, str]]:
    """Sentences of docstrings with their topic; those of two topics are left out.

    >>> len(labelled_sentences()) > 2000
    True
    """
    found: dict[str, set[str]] = {}
    for topic, modules in TOPICS.items():
        for name in modules.split():
            for text in _docstrings(import_module(name)):
                for paragraph in re.split(r"\n\s*\n", text):
                    for sentence in _SENTENCE.split(" ".join(paragraph.split())):
                        if 4 <= len(sentence.split()) <= 60 and ">>>" not in sentence:
                            found.setdefault(sentence, set()).add(topic)
    return sorted((sentence, min(topics)) for sentence, topics in found.items() if len(topics) == 1)


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a bidirectional LSTM and a linear model on the same sentences, and ask the first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *labelled_sentences()])
        model = Classifier(
            subwords=10_000, beside=True, embedding_size=64, hidden_size=64, epochs=6, max_minutes=minutes, seed=1,
            device="cpu",
        )  # fmt: skip
        model.fit(path, output=output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        linear = LinearClassifier(seed=1).fit(path, progress=False)
    m, n = model.metrics, linear.metrics
    print(f"\nvalidation, {n['validation_examples']} sentences, {len(model.labels)} topics   accuracy  training s")
    for name, each in (("linear, TF-IDF n-grams", n), ("bidirectional LSTM", m)):
        print(f"  {name:<40}  {each['validation_accuracy']:10.3f}  {each['training_seconds']:10.1f}")
    if "validation_temperature" in m:
        before, after = m["validation_calibration_error_before"], m["validation_calibration_error"]
        print(f"  its calibration error: {before:.3f}, at temperature {m['validation_temperature']:.2f} {after:.3f}")
    for text, found, words in zip(ASKED, model.rank(ASKED), model.explain(ASKED), strict=True):
        best = sorted(words, key=lambda each: -each.weight)[:3]
        print(f"\n{text}\n  {found.labels[0]} ({found.scores[0]:.2f}), for " + ", ".join(each.word for each in best))
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  echo 'Open the file and read its lines.' | ostinato predict {output} - --top 3 --explain\n"
        f"  ostinato info {output}\n"
        "  ostinato fit classifier YOUR.csv --text COLUMN --label COLUMN -o models/mine\n"
        "  ostinato compare classifier YOUR.csv --text COLUMN --label COLUMN"
    )
