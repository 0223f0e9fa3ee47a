"""The forgetting curve: how much a model loses when it may see less of what went before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def doubling(longest: int) -> np.ndarray:
    """1, 2, 4, … up to a number, and that number.

    >>> doubling(10).tolist()
    [1, 2, 4, 8, 10]
    """
    powers = 2 ** np.arange(max(1, longest).bit_length())
    return np.unique(np.append(powers[powers <= longest], longest)).astype(np.int64)


def forgetting_curve(loss: Callable[[int], float], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of the same targets when only the last c steps before each are read from a fresh state.

    The curve ends to fall where more context is of no more use to the model (Khandelwal et al. 2018, section 4, who
    measure it for language models by cutting the context at test time).

    Args:
        loss: of so many steps of context, nats.
        longest: most steps.

    Returns:
        Context, int [c], doubling each time, and loss [c].
    """
    contexts = doubling(longest)
    return contexts, np.array([loss(int(context)) for context in contexts])


def context_used(contexts: np.ndarray, losses: np.ndarray, share: float = 0.95) -> float:
    """The steps of context at which `share` of the whole gain from context is reached, interpolated in log₂ of steps.

    NaN where context gains nothing.

    >>> context_used(np.array([1, 2, 4, 8]), np.array([3.0, 2.0, 1.0, 1.0]), share=0.75).round(3)
    np.float64(2.828)
    """
    losses = np.asarray(losses, float)
    gain = losses[0] - losses.min()
    if not gain > 0:
        return float("nan")
    gained = np.maximum.accumulate((losses[0] - losses) / gain)
    at = int(np.searchsorted(gained, share))
    if at == 0:
        return float(contexts[0])
    before, after = gained[at - 1], gained[at]
    place = (share - before) / (after - before)
    low, high = np.log2(contexts[at - 1]), np.log2(contexts[at])
    return np.exp2(low + place * (high - low))
