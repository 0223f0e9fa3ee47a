"""Pairs of texts with a score, from tables of any layout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ostinato.data import TextReader, fingerprint
from ostinato.errors import DataError, nearest
from ostinato.records import Record, RecordFormat, RecordReader
from ostinato.settings import Settings
from ostinato.tasks.pair_codec import Pair

# what the columns of known data are called, in lower case: SICK, the STS benchmark, Quora, SNLI
_FIRST = ("sentence_a", "sentence1", "sentence_1", "text_a", "text1", "question1", "first", "a")
_SECOND = ("sentence_b", "sentence2", "sentence_2", "text_b", "text2", "question2", "second", "b")
_SCORE = ("score", "relatedness_score", "similarity", "similarity_score", "is_duplicate")
_LABEL = ("entailment_judgment", "entailment_label", "gold_label", "label")


class PairReadingSettings(Settings):
    """How files of pairs are read."""

    format: RecordFormat = Field("auto", description="csv, tsv or jsonl; auto: by name, else by what divides line one")
    first_column: str | None = Field(
        None, description="of the first text: its name, or its number from 1 [default: sentence_a, sentence1, …]"
    )
    second_column: str | None = Field(None, description="of the second text [default: sentence_b, sentence2, …]")
    score_column: str | None = Field(None, description="of the score [default: score, relatedness_score, similarity]")
    label_column: str | None = Field(
        None, description="of a label that is learned beside the score [default: entailment_judgment, …; none: off]"
    )
    header: bool = Field(True, description="the first row names the columns; else they are called 1, 2, …")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="pairs kept for validation, drawn at random")


@dataclass(frozen=True)
class PairReader:
    r"""Pairs from files of rows, as a stream.

    Columns are found by the names of well-known data sets, in any case, or, where none has such a name and there are
    three columns or two, by their order.

    Args:
        files: what to read, in this order.
        settings: how.
        scored: whether a pair needs a score.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text(
    ...     "pair_ID\tsentence_A\tsentence_B\trelatedness_score\n1\tA dog runs\tA dog is running\t4.9\n"
    ... )
    >>> next(PairReader([path], PairReadingSettings()).examples())
    Pair(first='A dog runs', second='A dog is running', score=4.9, label=None)
    """

    files: Sequence[Path]
    settings: PairReadingSettings
    scored: bool = True

    def examples(self) -> Iterator[Pair]:
        """All pairs.

        Raises:
            DataError: with file, line and column, if a text or a score is missing, or a score is no number.
        """
        for path in self.files:
            s = self.settings
            reader = RecordReader([path], self._format(path), s.encoding, s.errors, s.header)
            columns: dict[str, str | None] | None = None
            for record in reader.records():
                if columns is None:
                    columns = self._columns(record)
                yield self._pair(record, columns)

    def _format(self, path: Path) -> str:
        """By the name; a file that is called otherwise, as SICK's .txt, by what stands between its columns."""
        known = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
        if self.settings.format != "auto" or {suffix.lower() for suffix in path.suffixes} & set(known):
            return self.settings.format
        blocks = TextReader([path], self.settings.encoding, self.settings.errors).blocks()
        first = next(blocks, "").lstrip("\n").split("\n", 1)[0]
        if first.startswith("{"):
            return "jsonl"
        if "\t" in first or "," in first:
            return "tsv" if "\t" in first else "csv"
        raise DataError(f"{path}: line 1: expected columns between tabs or commas, found {first[:60]!r}")

    def _columns(self, record: Record) -> dict[str, str | None]:
        """Which column is what."""
        s, names = self.settings, list(record.fields)
        found: dict[str, str | None] = {
            "first": self._named(record, s.first_column, _FIRST),
            "second": self._named(record, s.second_column, _SECOND),
            "score": self._named(record, s.score_column, _SCORE),
            "label": None if s.label_column in ("", "none") else self._named(record, s.label_column, _LABEL),
        }
        if found["label"] == found["score"]:
            found["label"] = None
        if found["first"] is None and found["second"] is None and len(names) in (2, 3):
            found = {
                "first": names[0],
                "second": names[1],
                "score": names[2] if len(names) == 3 else None,
                "label": None,
            }
        for part in ("first", "second", *(("score",) if self.scored else ())):
            if found[part] is None:
                what = "score" if part == "score" else f"{part} text"
                held = ", ".join(names)
                raise DataError(
                    f"{record.where}: in which column is the {what}? give --{part}-column (columns: {held})"
                )
        return found

    def _named(self, record: Record, given: str | None, known: Sequence[str]) -> str | None:
        names = list(record.fields)
        if given is None:
            return next((name for name in names if name.strip().lower() in known), None)
        if given in names:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(names):
            return names[int(given) - 1]
        raise DataError(f"{record.where}: no column {given!r} (columns: {', '.join(names)}){nearest(given, names)}")

    def _pair(self, record: Record, columns: dict[str, str | None]) -> Pair:
        first, second = (record.text(columns[part] or "") for part in ("first", "second"))
        for text, part in ((first, "first"), (second, "second")):
            if not text.strip():
                raise DataError(f"{record.where}, column {columns[part]!r}: there is no text")
        score = label = None
        if (name := columns["score"]) is not None and (self.scored or record.fields.get(name) not in (None, "")):
            score = _number(record, name)
        if (name := columns["label"]) is not None:
            found = record.fields.get(name)
            label = str(found).strip() or None if found is not None else None
        return Pair(first, second, score, label)

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold."""
        return asdict(fingerprint(TextReader(self.files, self.settings.encoding, self.settings.errors)))


def _number(record: Record, column: str) -> float:
    found = record.value(column)
    try:
        number = float(found)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(found, bool):
        raise DataError(f"{record.where}, column {column!r}: expected a number, found {str(found)[:40]!r}")
    return number
