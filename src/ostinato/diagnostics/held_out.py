"""What is held out of a model's data: files that are named, or the validation data that its training left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.bundle import RUN
from ostinato.data import TextReader
from ostinato.errors import DataError
from ostinato.table import Table
from ostinato.tasks.corpus import resolve
from ostinato.tasks.language_model import LanguageModel
from ostinato.tasks.supervised import SupervisedModel, Unusable
from ostinato.tokens import TokenFile

MOST_EXAMPLES = 2000
"""That are read of files, or of the validation part: enough for a picture, and soon done."""
MOST_TOKENS = 100_000


class HeldOut(NamedTuple):
    """Data that a model has not learned from, as numbers."""

    names: list[str]
    """Of the files; none where they are the training's own validation data."""
    ids: np.ndarray | None = None
    """[tokens], of a model of running text."""
    rows: Sequence[Any] | None = None
    """Of a model of examples, see `SupervisedModel.encode`."""


def held_out(model: Any, folder: Path, sources: Sequence[str]) -> HeldOut | None:
    """The beginning of some files, or of the validation data in `run/`; None where there is neither, or no use for it.

    Args:
        model: of any task.
        folder: in which it stands.
        sources: files, folders, patterns, or `-`.

    Raises:
        DataError: if the files cannot be read, or hold nothing that the model can use.
    """
    if isinstance(model, LanguageModel):
        return _text(model, folder, sources)
    if isinstance(model, SupervisedModel):
        return _examples(model, folder, sources)
    return None


def _text(model: LanguageModel, folder: Path, sources: Sequence[str]) -> HeldOut | None:
    if not sources:
        kept = TokenFile.find(folder / RUN, "validation")
        return None if kept is None or len(kept) < 2 else HeldOut([], ids=np.array(kept.ids[:MOST_TOKENS], np.int64))
    s = model.settings
    with tempfile.TemporaryDirectory() as scratch:
        files = resolve(sources, Path(scratch))
        parts, count = [], 0
        for block in TextReader(files, s.encoding, s.errors).blocks():
            parts.append(model.codec.encode(block))
            count += len(parts[-1])
            if count > MOST_TOKENS:
                break
    if count < 2:
        raise DataError(f"{files[0]}: too short: {count} tokens, at least 2 are needed")
    return HeldOut([path.name for path in files], ids=np.concatenate(parts)[:MOST_TOKENS].astype(np.int64))


def _examples(model: SupervisedModel, folder: Path, sources: Sequence[str]) -> HeldOut | None:
    if not sources:
        if not (folder / RUN / "validation.json").exists():
            return None
        table = Table(folder / RUN, "validation")
        count = min(len(table), MOST_EXAMPLES)
        rows = [{name: table.entry(name, row) for name in model.columns} for row in range(count)]
        return HeldOut([], rows=rows) if rows else None
    with tempfile.TemporaryDirectory() as scratch:
        files = resolve(sources, Path(scratch))
        encoded = model.encode_all(list(_first(model.reader(files).examples())))
    rows = [row for row in encoded if not isinstance(row, Unusable)]
    if not rows:
        reason = f": {encoded[0]}" if encoded else ""
        raise DataError(f"{files[0]}: no examples that the model can use{reason}")
    return HeldOut([path.name for path in files], rows=rows)


def _first(examples: Iterator[Any]) -> Iterator[Any]:
    return islice(examples, MOST_EXAMPLES)
