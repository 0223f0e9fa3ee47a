"""What can go wrong for a user: each error says what was found, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OstinatoError(Exception):
    """Base of every error that a user can cause; the command line prints its text and exits with `exit_code`."""

    exit_code = 1


class SettingsError(OstinatoError, ValueError):
    """An option or a setting is unknown, out of range or at odds with another."""

    exit_code = 2


class DataError(OstinatoError, ValueError):
    """An input file is missing, unreadable, damaged or too short."""


class BundleError(OstinatoError, ValueError):
    """A folder is not a model that this version can load, or it is damaged."""


class BackendUnavailable(OstinatoError, RuntimeError):
    """A backend was forced that cannot serve this call."""


class BusyError(OstinatoError, RuntimeError):
    """Another process holds what this one needs."""


class TrainingError(OstinatoError, RuntimeError):
    """Training cannot go on."""


class MissingExtra(OstinatoError, ImportError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'ostinato[{extra}]'")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like an unknown one, or nothing.

    >>> nearest("hiden_size", ["hidden_size", "num_layers"])
    ' (did you mean hidden_size?)'
    >>> nearest("xyz", ["hidden_size"])
    ''
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
