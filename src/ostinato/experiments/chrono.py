"""Chrono initialisation: gates that start with memories of all lengths up to the longest."""

from __future__ import annotations

import torch

from ostinato.gated_cell import GatedCell

_KEEPS = {"lstm": (("f", 1), ("i", -1)), "gru": (("z", 1),), "min-gru": (("z", -1),), "mgu": (("f", -1),)}


def chrono(cell: GatedCell, longest_steps: int) -> bool:
    """b_keep = log u with u in U(1, T − 1), for each unit; b_write = −b_keep where that is a gate of its own.

    A unit whose gate keeps the share σ(log u) = u / (1 + u) of itself at each step forgets by a factor e in about u
    steps, so that there are units for every length of memory up to T (Tallec & Ollivier 2018, section 2.2 and eq. 16).

    Args:
        cell: whose b_ih is set in place; weights and other biases stay.
        longest_steps: T.

    Returns:
        Whether the cell has such gates; one without them is left as it is.

    >>> from ostinato.cells import LSTMCell
    >>> _ = torch.manual_seed(0)
    >>> cell = LSTMCell(2, 500)
    >>> chrono(cell, 100)
    True
    >>> i, f, g, o = cell.bias_ih.detach().chunk(4)
    >>> bool((i == -f).all()), round(float(f.exp().min())), round(float(f.exp().max())), bool((g == 0).all())
    (True, 1, 99, True)
    """
    if cell.bias_ih is None or (kind := _kind(cell)) is None:
        return False
    rows = dict(zip(cell.gates, cell.bias_ih.detach().chunk(len(cell.gates)), strict=True))
    keep = torch.empty(cell.hidden_size).uniform_(1, max(2, longest_steps - 1)).log()
    for gate, sign in _KEEPS[kind]:
        rows[gate].copy_(sign * keep)
    return True


def _kind(cell: GatedCell) -> str | None:
    """Which of the gates keeps what there was, by the family of the cell."""
    from ostinato.cells import GRUCell, LSTMCell, MGUCell, PeepholeLSTMCell, ResetFirstGRUCell
    from ostinato.linear_cells import MinGRUCell, MinLSTMCell

    families = {
        "lstm": (LSTMCell, PeepholeLSTMCell, MinLSTMCell), "gru": (GRUCell, ResetFirstGRUCell),
        "min-gru": (MinGRUCell,), "mgu": (MGUCell,),
    }  # fmt: skip
    return next((kind for kind, classes in families.items() if isinstance(cell, classes)), None)
