"""The choice of the backend that runs one layer of recurrence."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ostinato.errors import BackendUnavailable, SettingsError, nearest
from ostinato.kernels import aten, checkpointed, operator, scan
from ostinato.kernels.call import LayerCall, LayerResult

BACKENDS: dict[str, tuple[Any, Any]] = {
    "native": (operator.serves, operator.run),
    "aten": (aten.serves, aten.run),
    "scan": (scan.serves, scan.run),
    "reference": (checkpointed.serves, checkpointed.run),
}
"""By name, the first that serves is taken: why a call is not served (None if it is), and how it runs."""


class _Forced(threading.local):  # not a ContextVar, whose value torch.compile cannot read
    name = ""


_forced = _Forced()


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force a backend within a block; a call that it cannot serve raises `BackendUnavailable` and says why.

    The environment variable OSTINATO_BACKEND forces one for the whole process. `auto` chooses. It holds for the thread
    that enters the block.

    >>> import ostinato
    >>> with backend("nativ"):
    ...     pass
    Traceback (most recent call last):
    ostinato.errors.SettingsError: backend 'nativ': one of auto, native, aten, scan, reference (did you mean native?)
    """
    before, _forced.name = _forced.name, _known(name)
    try:
        yield
    finally:
        _forced.name = before


def _known(name: str) -> str:
    if name not in ("auto", *BACKENDS):
        raise SettingsError(f"backend {name!r}: one of auto, {', '.join(BACKENDS)}{nearest(name, BACKENDS)}")
    return name


def forced() -> str:
    """The backend that is forced here and now, or `auto`."""
    if _forced.name:
        return _forced.name
    wanted = os.environ.get("OSTINATO_BACKEND")
    return _known(wanted) if wanted else "auto"


def choose(call: LayerCall) -> str:
    """The backend that runs a call.

    Raises:
        BackendUnavailable: if a backend is forced that cannot serve it, or none can.
    """
    wanted, reason = forced(), None
    for name, (serves, _) in BACKENDS.items():
        if wanted in (name, "auto"):
            reason = serves(call)
            if reason is None:
                return name
            if wanted == name:
                raise BackendUnavailable(f"backend {name!r} was asked for: {reason}")
    raise BackendUnavailable(f"no backend runs this: {reason}")  # the reference's, which comes last


def recurrence(call: LayerCall) -> LayerResult:
    """Run a cell over time on the backend that is chosen.

    Under autocast the outputs come in its type, whichever backend runs; the state keeps its own.

    Raises:
        BackendUnavailable: if a backend is forced that cannot serve it.
    """
    result = BACKENDS[choose(call)][1](call)
    device = call.inputs.device.type
    if (
        torch.amp.is_autocast_available(device)
        and torch.is_autocast_enabled(device)
        and result.outputs.dtype != torch.float64
    ):
        result = result._replace(outputs=result.outputs.to(torch.get_autocast_dtype(device)))
    return result
