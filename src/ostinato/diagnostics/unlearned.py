"""What the tokens further back would still tell: how far dependences reach that a language model has not learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ostinato.diagnostics.measurements import Unlearned
from ostinato.training.windows import Windows

CLASSES = 32
"""Of tokens: the most frequent ones, and all others as one; a table of 32² is filled by some thousand tokens."""
TOKENS = 16_384
_LEAST_LAGS, _MOST_LAGS = 100, 1024


def unlearned_by_lag(before: np.ndarray, after: np.ndarray, expected: np.ndarray, lags: np.ndarray) -> Unlearned:
    r"""Nats a token that knowing the token k steps before a target would save, at least, for each lag k.

    With O_ab how often class b followed class a after k steps, and P_ab = Σ p(b) how often the model expected it there,

    gain(k) = (Σ_ab O_ab ln(O_ab / P_ab) − Σ_b O_b ln(O_b / P_b)) / n − bias(k),

    the divergence of what was seen from what was expected, given that token, less what holds whatever the token: G² of
    a table (Sokal & Rohlf 1995, chapter 17). A model that has used all that the lag tells gives 0 on average; bias is
    what chance adds, (Σ Var O_ab / P_ab − Σ Var O_b / P_b) / 2n (Wilks 1938).

    Args:
        before: class of each input, int [time, rows]; the target of a step follows its input.
        after: class of each target, int [time, rows]; below 0 where there is none.
        expected: the model's probabilities of the classes, [time, rows, classes].
        lags: k ≥ 1: 1 is the input at the target's own step.

    >>> rng = np.random.default_rng(0)
    >>> said = rng.integers(0, 4, (2000, 4))  # each symbol is that of five steps before, and the model cannot tell
    >>> for step in range(5, 2000):
    ...     said[step] = said[step - 5]
    >>> told = unlearned_by_lag(said[:-1], said[1:], np.full((1999, 4, 4), 0.25), np.arange(1, 8))
    >>> int(told.lags[told.gain.argmax()]), round(float(told.gain.max()), 2)
    (5, 1.26)
    """
    classes = expected.shape[2]
    counted = (after >= 0).astype(np.float32)[..., None]
    seen = np.eye(classes, dtype=np.float32)[np.maximum(after, 0)] * counted
    told = expected.astype(np.float32) * counted
    spread = told * (1 - expected.astype(np.float32))  # the variance of what is seen, if the model is right
    given = np.eye(classes, dtype=np.float32)[before]
    gains, deviations = [], []
    for lag in lags:
        context = given[: len(given) - lag + 1].reshape(-1, classes).T
        parts = [context @ each[lag - 1 :].reshape(-1, classes) for each in (seen, told, spread)]
        n = max(1.0, float(parts[0].sum()))
        divergence, freedom = _divergence(*parts)
        apart, by_itself = _divergence(*(part.sum(0) for part in parts))
        gains.append((divergence - apart) / n - (freedom - by_itself) / (2 * n))
        deviations.append(np.sqrt(2 * max(freedom - by_itself, 1.0)) / (2 * n))
    return Unlearned(np.asarray(lags, np.int64), np.array(gains), np.array(deviations), int(counted.sum()))


def _divergence(seen: np.ndarray, told: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    """Σ O ln(O / P), and Σ Var O / P, which is twice its mean by chance."""
    told = np.maximum(told, 1e-9)
    share = np.where(seen > 0, seen * np.log(np.maximum(seen, 1) / told), 0.0)
    return float(share.sum()), float((spread / told)[told > 1e-3].sum())


@torch.inference_mode()
def measure_unlearned(model: Any, ids: np.ndarray, truncation_steps: int | None) -> Unlearned | None:
    """`unlearned_by_lag` of a language model on held-out ids; None where they are too few to tell.

    Args:
        model: a `LanguageModel`.
        ids: [tokens].
        truncation_steps: of its training: lags up to three times as far are looked at.
    """
    ids = np.asarray(ids[: TOKENS + 1])
    furthest = int(np.clip(3 * (truncation_steps or 0), _LEAST_LAGS, _MOST_LAGS))
    furthest = min(furthest, len(ids) // 8)
    if furthest < 2:
        return None
    windows = Windows(ids, max(1, min(8, len(ids) // (4 * furthest))), 256)
    order = np.argsort(-np.bincount(ids), kind="stable")[: CLASSES - 1]
    size = len(model.codec)
    of_id = np.full(size, len(order))
    of_id[order] = np.arange(len(order))
    map_to = torch.from_numpy(np.eye(len(order) + 1, dtype=np.float32)[of_id])
    network, state = model.network, model.initial_state(windows.batch_size)
    device = next(network.parameters()).device
    map_to = map_to.to(device)
    before, after, expected = [], [], []
    for window in (windows[at] for at in range(len(windows))):
        hidden, state = network(window.inputs.to(device), state)
        expected.append((network.head.log_probabilities(hidden).exp() @ map_to).cpu().numpy())
        targets = window.targets.numpy()
        before.append(of_id[window.inputs.numpy()])
        after.append(np.where(targets >= 0, of_id[np.maximum(targets, 0)], -1))
    joined = [np.concatenate(each) for each in (before, after, expected)]
    return unlearned_by_lag(joined[0], joined[1], joined[2], np.arange(1, furthest + 1))
