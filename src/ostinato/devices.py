"""Where a network runs, by name."""

from __future__ import annotations

import torch

from ostinato.errors import SettingsError


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is a GPU where there is one.

    Raises:
        SettingsError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("one of auto, cpu, cuda, mps")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device = {name!r}: {str(error).splitlines()[0]}") from None
    return device
