"""What a language model must beat: n-gram models, counted on the same ids."""

from __future__ import annotations

import numpy as np


def ngram_loss(train: np.ndarray, held_out: np.ndarray, order: int, vocabulary_size: int) -> float:
    """Mean −log p, nats a token, of an n-gram model by Witten-Bell interpolation (Chen & Goodman 1999).

    p_n(w | h) = (c(h w) + T(h)·p_{n−1}(w | h')) / (c(h) + T(h)), where T(h) is how many different tokens follow h
    and h' drops the oldest token of h; below the unigram stands the uniform distribution.

    Args:
        train: ids, [tokens], that are counted.
        held_out: ids, [tokens], that are scored, but for the first `order` − 1.
        order: 1 for a unigram model, 3 for a trigram model.
        vocabulary_size: of the uniform distribution.

    >>> ids = np.array([0, 1, 2] * 50)
    >>> ngram_loss(ids, ids, 1, 3) > 1.0, ngram_loss(ids, ids, 3, 3) < 0.1
    (True, True)
    """
    p = np.full(len(held_out) - order + 1, 1 / vocabulary_size)
    # dense numbers for histories, so that a history and a token fit one integer
    train_history = np.zeros(len(train), np.int64)
    held_history = np.zeros(len(held_out), np.int64)
    for n in range(1, order + 1):
        train_pairs = train_history * vocabulary_size + train[n - 1 :]
        held_pairs = held_history * vocabulary_size + held_out[n - 1 :]
        grams, counts = np.unique(train_pairs, return_counts=True)
        histories, totals = np.unique(train_history, return_counts=True)
        followers = np.bincount(np.searchsorted(histories, grams // vocabulary_size), minlength=len(histories))
        count = _look_up(grams, counts, held_pairs)
        total, different = _look_up(histories, totals, held_history), _look_up(histories, followers, held_history)
        skip = order - n  # every order is asked for the same tokens
        here = slice(skip, None)
        seen = total[here] > 0
        mixed = (count[here] + different[here] * p) / np.maximum(total[here] + different[here], 1)
        p = np.where(seen, mixed, p)
        # the next order's history is this order's n-gram, one token on; what training never saw gets its own number
        train_history = np.searchsorted(grams, train_pairs)[:-1]
        held_history = np.where(count > 0, np.searchsorted(grams, held_pairs), len(grams))[:-1]
    return float(-np.log(p).mean())


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """values[keys == wanted], zero where there is no such key; keys are sorted."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
