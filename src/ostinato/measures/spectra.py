"""What many Jacobians do: singular values of their products, Lyapunov exponents, eigenvalues of the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.measures.linearised import Linearised, Parts

_EXTRA = 6  # vectors beyond those asked for, with which these converge sooner
_BETWEEN = 4  # steps from one QR to the next: columns stay apart by far more than float64 needs
_WORK = 64  # steps of a product that are gone through, at least, until its singular values stand
_DENSE = 1024  # numbers of a state up to which all eigenvalues are found


@torch.no_grad()
def log_singular_values(
    steps: Linearised, lags: Sequence[int], count: int = 4, rows: Sequence[int] | None = None, end: int | None = None
) -> np.ndarray:
    r"""The largest singular values of ∂s_t/∂s_{t−k} = J_t J_{t−1} ⋯ J_{t−k+1}: ln σᵢ, mean over rows, for each lag k.

    Products of a thousand Jacobians neither fit a float nor keep more than their largest direction. So a few
    orthonormal vectors go through them, back by Jᵀ and forth by J, and are made orthonormal again by QR every few steps
    while what R took out adds up (subspace iteration for PᵀP, Halko et al. 2011, section 4.5; the products as in
    Pascanu et al. 2013, section 2.1). No product is formed.

    Args:
        steps: of a layer.
        lags: k, each at most the rows' length.
        count: how many of the largest.
        rows: which of the batch; all that are as long as the longest if None.
        end: t + 1 in the layer's own time; the rows' length if None.

    Returns:
        [lags, count]; −inf where the product has a smaller rank.

    >>> from ostinato.cells import RNNCell
    >>> from ostinato.measures.calls import watch
    >>> from ostinato.recurrent import Recurrent
    >>> layer = Recurrent(RNNCell(3, 8, bias=False)).eval()  # W orthogonal
    >>> _, [stack] = watch(layer, lambda: layer(torch.zeros(300, 1, 3))[0])  # and tanh′(0) = 1
    >>> (abs(log_singular_values(Linearised(stack.calls[0]), [1, 300])) < 1e-4).all()
    np.True_
    """
    chosen, length = _rows(steps, rows)
    end = length if end is None else end
    count = min(count, steps.size)
    found = np.full((len(lags), count), -math.inf)
    generator = torch.Generator().manual_seed(0)  # the same figures each time
    for index, lag in enumerate(lags):
        if not 1 <= lag <= end:
            raise ValueError(f"lag {lag}: expected from 1 to {end}, the steps before the end")
        block = _random(steps, len(chosen), min(count + _EXTRA, steps.size), generator)
        logarithms = block.new_zeros(())
        for _ in range(math.ceil(_WORK / lag)):
            block = _through(steps, chosen, block, range(end - 1, end - lag - 1, -1), back=True).block
            block, logarithms, _ = _through(steps, chosen, block, range(end - lag, end), back=False)
        found[index] = logarithms[:, :count].mean(0).cpu().numpy()
    return found


@torch.no_grad()
def lyapunov_exponents(
    steps: Linearised, count: int = 4, rows: Sequence[int] | None = None, transient: int | None = None
) -> np.ndarray:
    """The leading Lyapunov exponents of the state along its trajectory, nats a step, mean over rows.

    λᵢ = lim 1/k Σ ln |R_ii|, where Q R = J_t Q_before is the QR decomposition of what some orthonormal vectors become
    (Benettin et al. 1980; for networks Engelken et al. 2023, section 2). Below 0 differences of the state die out,
    e^(λ₁ k) of them being left after k steps; above 0 they grow.

    Args:
        steps: of a layer.
        count: how many of the largest.
        rows: which of the batch; all that are as long as the longest if None.
        transient: first steps in which the vectors only turn; a fifth if None.

    Returns:
        [count], descending; −inf for directions that vanish at once.
    """
    chosen, length = _rows(steps, rows)
    count = min(count, steps.size)
    transient = length // 5 if transient is None else transient
    if not 0 <= transient < length:
        raise ValueError(f"transient = {transient}: expected less than the {length} steps")
    block = _random(steps, len(chosen), min(count + _EXTRA, steps.size), torch.Generator().manual_seed(0))
    block = _through(steps, chosen, block, range(transient), back=False).block
    taken = _through(steps, chosen, block, range(transient, length), back=False)
    mean = (taken.diagonal / (length - transient)).mean(0).cpu().numpy()
    return np.sort(mean)[::-1][:count].copy()


@torch.no_grad()
def mean_jacobian(steps: Linearised, samples: int | None = None, rows: Sequence[int] | None = None) -> np.ndarray:
    """The mean one-step Jacobian, [state, state], over some steps evenly spread and all rows chosen.

    Args:
        steps: of a layer.
        samples: how many steps; 8 if None, or 2 of a state of more than 1,024 numbers.
        rows: which of the batch; all that are as long as the longest if None.
    """
    chosen, length = _rows(steps, rows)
    samples = (8 if steps.size <= _DENSE else 2) if samples is None else samples
    times = np.unique(np.linspace(0, length - 1, min(samples, length)).astype(int))
    return np.mean([steps.matrices(int(t), chosen).mean(0).cpu().numpy() for t in times], axis=0)


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Complex eigenvalues, largest modulus first: all, or the 64 largest of a matrix of more than 1,024 rows.

    >>> eigenvalues(np.array([[0.0, -2.0], [2.0, 0.0]])).imag.round(6).tolist()
    [2.0, -2.0]
    """
    if len(matrix) <= _DENSE:
        found: Any = np.linalg.eigvals(matrix)
    else:
        from scipy.sparse.linalg import eigs

        found = eigs(matrix, k=64, return_eigenvectors=False, v0=np.random.default_rng(0).standard_normal(len(matrix)))
    found = found.astype(complex)
    return found[np.lexsort((-found.imag, -abs(found).round(12)))]


def _rows(steps: Linearised, rows: Sequence[int] | None) -> tuple[Tensor, int]:
    """Rows to measure, and the steps that all of them have."""
    chosen = (
        torch.nonzero(steps.lengths == steps.lengths.max()).flatten()
        if rows is None
        else torch.as_tensor(list(rows), dtype=torch.int64)
    )
    return chosen, int(steps.lengths[chosen].min())


def _random(steps: Linearised, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal columns, [rows, state, columns]."""
    device = steps.states[0].device
    drawn = torch.randn(rows, steps.size, columns, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(drawn.to(device)).Q


class _Passed(NamedTuple):
    """Columns that went through some Jacobians."""

    block: Tensor
    """Orthonormal, [rows, state, columns]."""
    singular: Tensor
    """ln of the singular values of the product of all triangles that were taken out, [rows, columns], descending."""
    diagonal: Tensor
    """Σ ln |R_ii|, [rows, columns]."""


def _through(steps: Linearised, rows: Tensor, block: Tensor, times: range, back: bool) -> _Passed:
    """Columns through the Jacobians of some steps in turn."""
    diagonal = block.new_zeros(block.shape[0], block.shape[2])
    triangle = torch.eye(block.shape[2], dtype=block.dtype, device=block.device).expand(block.shape[0], -1, -1)
    scale = block.new_zeros(block.shape[0])
    for done, t in enumerate(times, 1):
        vectors: Parts = tuple(part.permute(2, 0, 1) for part in block.split(steps.hidden, 1))
        moved = steps.pull(t, vectors, rows).state if back else steps.push(t, vectors, rows)
        block = torch.cat(moved, -1).permute(1, 2, 0)
        if done % _BETWEEN == 0 or done == len(times):
            block, factor = torch.linalg.qr(block)
            diagonal = diagonal + torch.diagonal(factor, dim1=1, dim2=2).abs().log()
            triangle = factor @ triangle
            size = triangle.abs().amax((1, 2)).clamp(min=1e-300)
            triangle, scale = triangle / size[:, None, None], scale + size.log()
    # the triangle's own singular values where it holds them, its diagonal where they are too small beside the largest
    values = torch.linalg.svdvals(triangle)
    exact = values.log() + scale.unsqueeze(1)
    return _Passed(block, torch.where(values > 1e-9, exact, diagonal.sort(1, descending=True).values), diagonal)
