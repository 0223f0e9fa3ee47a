"""Conditions on metadata: `year>=2020`, and the sorted table of values in which they are ranges."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ostinato.errors import SettingsError, nearest

LONGEST = 256  # characters; longer texts are kept with their document, but nothing is compared with them
_CONDITION = re.compile(r"\s*(.+?)\s*(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(\.[0-9]+)?")
_NUMBERS, _TEXTS, _TOO_LONG, _END = range(4)  # the order of the kinds of values of a field

Where = str | Sequence[str] | Mapping[str, Any]


class Condition(NamedTuple):
    """A field, a comparison, and what it is compared with."""

    field: str
    operator: str
    value: float | str


def conditions(where: Where | None) -> list[Condition]:
    """What has to hold of a document, all of it.

    Args:
        where: `field=value` or with `!=`, `<`, `<=`, `>`, `>=`; several of them; or a mapping of fields to values.

    Raises:
        SettingsError: if there is no comparison in it.

    >>> conditions(["year >= 2020", "lang!=en"])
    [Condition(field='year', operator='>=', value=2020), Condition(field='lang', operator='!=', value='en')]
    """
    if isinstance(where, Mapping):
        return [Condition(str(field), "=", _comparable(value)) for field, value in where.items()]
    return [_parsed(each) for each in ([where] if isinstance(where, str) else where or ())]


def _parsed(text: str) -> Condition:
    if not isinstance(text, str) or (match := _CONDITION.fullmatch(text)) is None:
        raise SettingsError(f"where = {text!r}: expected a comparison such as year=2020, year>=2020 or lang!=en")
    return Condition(match[1], match[2], _comparable(match[3].strip()))


def _comparable(value: Any) -> float | str:
    """A value as it is compared: what reads as a number is one, and all else is text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)
    if match := _NUMBER.fullmatch(text):
        return float(text) if match[1] else int(text)
    return text


def values_of(metadata: Mapping[str, Any]) -> Iterator[bytes]:
    """The values of a document's metadata as keys of the table; of what is nested the names are joined by points.

    >>> list(values_of({"year": "2020", "author": {"name": ["Li", "Wu"]}}))
    [b'["year", 2020]', b'["author.name", "Li"]', b'["author.name", "Wu"]']
    """
    for field, value in _flat(metadata, ""):
        known = _comparable(value)
        entry = [field] if isinstance(known, str) and len(known) > LONGEST else [field, known]
        yield json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part, name)
    elif value is not None:
        yield name, value


def sort_key(entry: bytes) -> tuple[Any, ...]:
    """The place of a key in the table: by field, then numbers, texts, and what is too long."""
    field, *values = json.loads(entry)
    if not values:
        return field, _TOO_LONG
    return field, _TEXTS if isinstance(values[0], str) else _NUMBERS, values[0]


class Table:
    """The values of a segment in order, and the documents that have each."""

    def __init__(self, keys: Sequence[bytes], bounds: np.ndarray, documents: np.ndarray) -> None:
        self._keys, self._bounds, self._documents = keys, bounds, documents

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, at: int) -> tuple[Any, ...]:
        return sort_key(self._keys[at])

    def fields(self) -> Iterator[str]:
        """The names of all fields."""
        at = 0
        while at < len(self):
            yield (field := self[at][0])
            at = bisect_left(self, (field, _END), at)

    def has(self, field: str) -> bool:
        """Whether a document has this field.

        Raises:
            SettingsError: if some of its values are too long to be compared.
        """
        start, end = bisect_left(self, (field,)), bisect_left(self, (field, _END))
        if end > start and self[end - 1] == (field, _TOO_LONG):
            raise SettingsError(
                f"where: {field!r} holds texts of more than {LONGEST} characters, which cannot be compared"
            )
        return end > start

    def fits(self, condition: Condition, documents: int) -> np.ndarray:
        """For which of so many documents it holds, bool [documents].

        `!=` holds where `=` does not, also for documents without the field; numbers are only compared with numbers.
        """
        field, operator, value = condition
        kind = _TEXTS if isinstance(value, str) else _NUMBERS
        low, high = bisect_left(self, (field, kind, value)), bisect_right(self, (field, kind, value))
        start, end = {
            "=": (low, high),
            "!=": (low, high),
            "<": (bisect_left(self, (field, kind)), low),
            "<=": (bisect_left(self, (field, kind)), high),
            ">": (high, bisect_left(self, (field, kind + 1))),
            ">=": (low, bisect_left(self, (field, kind + 1))),
        }[operator]
        fits = np.zeros(documents, bool)
        fits[self._documents[self._bounds[start] : self._bounds[end]]] = True
        return ~fits if operator == "!=" else fits


def must_be_known(wanted: Iterable[Condition], tables: Sequence[Table]) -> None:
    """See to it that every condition is on a field that some document has.

    Raises:
        SettingsError: with the fields that there are.
    """
    for field in {condition.field for condition in wanted}:
        if not sum(table.has(field) for table in tables):  # all are asked, since each may object
            known = sorted({name for table in tables for name in table.fields()})
            listed = ", ".join(known) or "none"
            raise SettingsError(f"where: no document has the field {field!r} (fields: {listed}){nearest(field, known)}")
