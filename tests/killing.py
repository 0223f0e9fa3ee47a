"""A process that is killed in the middle of its work."""

from __future__ import annotations

import os
import signal
from typing import Any


def die_at(name: str, count: int) -> None:
    """Be killed at the n-th call of a function of os."""
    plain, left = getattr(os, name), [count]

    def deadly(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **options)

    setattr(os, name, deadly)
