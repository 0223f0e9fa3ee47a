"""Cells that are linear in their state: h' = a ⊙ h + b, with a and b from the input alone.

Without a product in the loop all steps can run at once (see `ostinato.kernels.scan`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ostinato.gated_cell import GatedCell, HiddenState


class LinearCell(GatedCell):
    """h' = a ⊙ h + b: a subclass states `gates` and `coefficients`, from which `update` follows.

    >>> class Mean(LinearCell):
    ...     '''h' = (h + tanh(x)) / 2'''
    ...
    ...     gates = ("x",)
    ...
    ...     @staticmethod
    ...     def coefficients(x):
    ...         return torch.full_like(x.x, 0.5), torch.tanh(x.x) / 2
    >>> cell = Mean(3, 5)
    >>> cell(torch.ones(2, 3), cell.initial_state(2)).hidden.shape
    torch.Size([2, 5])
    """

    State, recurrent = HiddenState, False
    coefficients: ClassVar[Callable[..., tuple[Tensor, Tensor]]]
    """A static method of x, and of v if the cell has `vectors`: a and b, [..., hidden]."""

    def __init_subclass__(cls) -> None:
        if "coefficients" in vars(cls):
            coefficients = cls.coefficients

            def update(x: Any, _h: Any, state: HiddenState, *v: Any) -> HiddenState:
                a, b = coefficients(x, *v)
                return HiddenState(a * state.hidden + b)

            cls.update = staticmethod(update)
        super().__init_subclass__()


class MinGRUCell(LinearCell):
    """h' = (1 − z) ⊙ h + z ⊙ x_n, z = σ(x_z)      (Feng et al. 2024, section 3.1)

    The candidate is linear, as there; the g of the paper's form in log space (appendix B) would keep it positive.
    """

    gates = ("z", "n")

    @staticmethod
    def coefficients(x: Any) -> tuple[Tensor, Tensor]:
        """See the class."""
        z = torch.sigmoid(x.z)
        return 1 - z, z * x.n


class MinLSTMCell(LinearCell):
    """h' = f / (f + i) ⊙ h + i / (f + i) ⊙ x_n,  i, f = σ(x)      (Feng et al. 2024, section 3.2)

    The candidate is linear, as there. The quotients are σ(± (log f − log i)), which do not underflow to 0 / 0.
    """

    gates = ("i", "f", "n")
    forget_gate = "f"

    @staticmethod
    def coefficients(x: Any) -> tuple[Tensor, Tensor]:
        """See the class."""
        ratio = functional.logsigmoid(x.f) - functional.logsigmoid(x.i)
        return torch.sigmoid(ratio), torch.sigmoid(-ratio) * x.n


class RGLRUCell(LinearCell):
    """h' = a ⊙ h + √(1 − a²) ⊙ i ⊙ x_v,  a = σ(Λ)^(8 r),  r, i = σ(x)      (Griffin, De et al. 2024, eq. 1-4)

    In the paper v is the input itself, already of the width of the state; here it is a projection. Λ, the vector
    `decay`, starts so that σ(Λ)^8 is uniform in 0.9 to 0.999.
    """

    gates, vectors = ("r", "i", "v"), ("decay",)

    @staticmethod
    def reset_vectors(v: Any) -> None:
        """σ(Λ)^8 in U(0.9, 0.999)."""
        v.decay.uniform_(0.9, 0.999).pow_(1 / 8).logit_()

    @staticmethod
    def coefficients(x: Any, v: Any) -> tuple[Tensor, Tensor]:
        """See the class."""
        # −log a; never 0, where the root has no slope
        rate = -8 * torch.sigmoid(x.r) * functional.logsigmoid(v.decay) + 1e-30
        # 1 − exp(−2 rate) without the cancellation of a near 1
        t = torch.tanh(rate)
        return torch.exp(-rate), torch.sqrt(2 * t / (1 + t)) * torch.sigmoid(x.i) * x.v
