"""The examples of a training: those to learn from and those kept for validation, each read as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ostinato.tasks.corpus import resolve

Part = Callable[[], Iterator[Any]]
"""Reads its examples from the beginning."""


class Reader(Protocol):
    """Reads examples from files."""

    def examples(self) -> Iterator[Any]:
        """All of them, from the beginning."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold, as the bundle says it."""
        ...


def parts(
    corpus: Sequence[str],
    validation: Sequence[str],
    reader: Callable[[list[Path]], Reader],
    fraction: float,
    seed: int,
    run: Path,
) -> tuple[Part, Part, dict[str, Any]]:
    """Training examples, those for validation, and the fingerprints of their files.

    Without files for validation a share of the examples is drawn at random, since files are often in order of label.

    Args:
        corpus: files, folders, patterns, or `-`.
        validation: likewise, or nothing.
        reader: makes a reader of files.
        fraction: the share for validation.
        seed: of the draw.
        run: where standard input is kept.
    """
    train = reader(resolve(corpus, run))
    about = {"train": train.fingerprint()}
    if validation:
        held_out = reader(resolve(validation, run))
        return train.examples, held_out.examples, about | {"validation": held_out.fingerprint()}

    def part(kept: bool) -> Iterator[Any]:
        draw = np.random.default_rng(seed)
        return (each for each in train.examples() if (draw.random() < fraction) == kept)

    return (lambda: part(False)), (lambda: part(True)), about
