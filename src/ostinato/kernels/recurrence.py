"""The operator: one layer of recurrence, and the choice of the backend that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ostinato.errors import BackendUnavailable, SettingsError, nearest
from ostinato.kernels import aten, reference
from ostinato.kernels.reference import LayerCall, LayerResult

BACKENDS: dict[str, tuple[Any, Any]] = {
    "aten": (aten.serves, aten.run),
    "reference": (reference.serves, reference.run),
}
"""By name, the first that serves is taken: why a call is not served (None if it is), and how it runs."""

_forced: ContextVar[str] = ContextVar("backend", default="")


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force a backend within a block; a call that it cannot serve raises `BackendUnavailable` and says why.

    The environment variable OSTINATO_BACKEND forces one for the whole process. `auto` chooses.

    >>> import ostinato
    >>> with backend("nativ"):
    ...     pass
    Traceback (most recent call last):
    ostinato.errors.SettingsError: backend 'nativ': one of auto, aten, reference
    """
    token = _forced.set(_known(name))
    try:
        yield
    finally:
        _forced.reset(token)


def _known(name: str) -> str:
    if name not in ("auto", *BACKENDS):
        raise SettingsError(f"backend {name!r}: one of auto, {', '.join(BACKENDS)}{nearest(name, BACKENDS)}")
    return name


def choose(call: LayerCall) -> str:
    """The backend that runs a call.

    Raises:
        BackendUnavailable: if a backend is forced that cannot serve it.
    """
    forced = _forced.get() or _known(os.environ.get("OSTINATO_BACKEND") or "auto")
    for name, (serves, _) in BACKENDS.items():
        reason = serves(call)
        if forced == name and reason is not None:
            raise BackendUnavailable(f"backend {name!r} was asked for: {reason}")
        if reason is None and forced in (name, "auto"):
            return name
    raise AssertionError("the reference serves every call")


def recurrence(call: LayerCall) -> LayerResult:
    """Run a cell over time on the backend that is chosen.

    Raises:
        BackendUnavailable: if a backend is forced that cannot serve it.
    """
    return BACKENDS[choose(call)][1](call)
