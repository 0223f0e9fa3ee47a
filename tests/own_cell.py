"""A cell of a user's own, in a file that a second process imports too."""

from __future__ import annotations

from typing import Any

import torch

from ostinato import GatedCell
from ostinato.cells import HiddenState


class Minimal(GatedCell):
    """f = σ(x + h + p ⊙ h);  n = tanh(x_n + f ⊙ h_n);  h' = (1 − f) ⊙ h + f ⊙ n"""

    gates, State, vectors = ("f", "n"), HiddenState, ("peek",)

    @staticmethod
    def update(x: Any, h: Any, state: HiddenState, v: Any) -> HiddenState:
        f = torch.sigmoid(x.f + h.f + v.peek * state.hidden)
        n = torch.tanh(x.n + f * h.n)
        return HiddenState((1 - f) * state.hidden + f * n)
