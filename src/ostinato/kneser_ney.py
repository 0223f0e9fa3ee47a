"""Interpolated modified Kneser-Ney smoothing: counts of n-grams to the probability of the next token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ostinato.ngram_counts import NGramCounts, Table, runs

FALLBACK = (0.5, 1.0, 1.5)
"""D1, D2 and D3+ of an order whose counts give none: half a count for each, as kenlm has it."""


def discounts(counts: np.ndarray) -> tuple[float, float, float] | None:
    """D1, D2 and D3+, which are taken off a count of 1, 2, and 3 or more.

    Y = n1 / (n1 + 2 n2),  D_k = k − (k + 1) Y n_{k+1} / n_k,  where n_k is how many n-grams have count k
    (Chen & Goodman 1999, section 3).

    In a text too small, or with symbols too few, they have no value (n1, n2 or n3 is zero), or one that is no discount
    (not 0 < D_k ≤ k): then None, and `FALLBACK` is taken for the whole order.

    Args:
        counts: of the n-grams of one order, [n-grams]; zeros are not counted.

    >>> discounts(np.repeat([1, 2, 3, 4], [8, 4, 2, 1]))
    (0.5, 1.25, 2.0)
    >>> discounts(np.array([1, 1, 1]))
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).tolist()
    if not all(n[1:4]):
        return None
    y = n[1] / (n[1] + 2 * n[2])
    d1, d2, d3 = (k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else None


class Level:
    """The n-grams of one order, as continuations of those of the order below, which are their contexts.

    p(w | h) = α(h w) + γ(h) p(w | h'),  α(g) = (c(g) − D(c(g))) / Σ_w c(h w),  γ(h) = Σ_w D(c(h w)) / Σ_w c(h w),
    where h' is h without its oldest token. A context that nothing was seen to follow has γ = 1 and no α.

    Args:
        words: the last token of each n-gram, [n-grams], by context and then rising.
        counts: of each, [n-grams].
        first: the n-grams of context c are `first[c]` to `first[c + 1]`, [contexts + 1].
        vocabulary_size: ids are below it.
    """

    def __init__(self, words: np.ndarray, counts: np.ndarray, first: np.ndarray, vocabulary_size: int) -> None:
        self.words, self.counts, self.first, self.vocabulary_size = words, counts, first, vocabulary_size
        contexts = len(first) - 1
        context = np.repeat(np.arange(contexts), np.diff(first.astype(np.int64)))
        found = discounts(counts)
        self.estimated, self.discounts = found is not None, found or FALLBACK
        taken = np.array([0.0, *self.discounts])[np.minimum(counts, 3)]
        total = np.bincount(context, counts, minlength=contexts)
        freed = np.bincount(context, taken, minlength=contexts)
        some = np.maximum(total, 1)
        # one more of each, at index −1: what was never seen
        self.alpha = np.append((counts - taken) / some[context], 0.0)
        self.gamma = np.append(np.where(total > 0, freed / some, 1.0), 1.0)
        self._keys = context * vocabulary_size + words

    def find(self, contexts: np.ndarray, words: np.ndarray) -> np.ndarray:
        """The index of each n-gram (context, word), int64, −1 for those that were not seen; so for contexts."""
        keys = contexts * self.vocabulary_size + words
        at = np.searchsorted(self._keys, keys)
        at[at == len(self._keys)] = 0
        return np.where(self._keys[at] == keys, at, -1) if len(self._keys) else np.full(len(keys), -1)


class KneserNey:
    """An n-gram model by interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, section 3).

    p_n(w | h) = (c(h w) − D(c(h w))) / Σ_w c(h w) + γ(h) p_{n−1}(w | h'),  p_0(w) = 1 / V,

    where c is a count at the highest order and N1+(• h w) below it, D is 0, D1, D2 or D3+ by the count, each order has
    its own, and γ(h) makes the sum over w one. See `NGramCounts` for how texts and lines begin, and `discounts`.

    What is known of the tokens read so far, the state, is where they stand in the tables: the index of the n-gram of
    the last 0, 1, …, order − 1 tokens, −1 for one that was never seen.

    >>> counts = NGramCounts(order=3, vocabulary_size=4)
    >>> counts.add(np.array([0, 1, 2, 0, 1, 3, 0, 1, 2]))
    >>> model = KneserNey.from_counts(counts)
    >>> state = model.begin(1)
    >>> for token in (0, 1):
    ...     state = model.advance(np.array([token]), state)
    >>> model.distribution(state).round(3).tolist()
    [[0.094, 0.052, 0.51, 0.344]]
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = levels
        self.vocabulary_size = levels[0].vocabulary_size
        self._unigrams = levels[0].alpha[:-1] + levels[0].gamma[0] / self.vocabulary_size

    @property
    def order(self) -> int:
        """Tokens of the longest n-gram."""
        return len(self.levels)

    @property
    def size(self) -> int:
        """How many different n-grams were seen, of all orders."""
        return sum(int(np.count_nonzero(level.counts)) for level in self.levels)

    @classmethod
    def from_counts(cls, counts: NGramCounts) -> KneserNey:
        """Sort the n-grams of each order by their contexts."""
        size = counts.vocabulary_size
        single, *longer = counts.levels()
        unigrams = np.zeros(size, np.int64)  # of every token there is, so that a token's id is its index
        unigrams[single.grams[0]] = single.counts
        levels = [Level(np.arange(size, dtype=single.grams.dtype), _small(unigrams), np.array([0, size]), size)]
        for table in longer:
            levels.append(_continuations(table, levels))
        return cls(levels)

    def begin(self, rows: int) -> np.ndarray:
        """The state before any token, int64 [rows, order]."""
        return np.tile(np.array([0] + [-1] * (self.order - 1)), (rows, 1))

    def advance(self, ids: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The state, [rows, order], after one more token in each row, ids [rows]."""
        found = [level.find(state[:, n], ids) for n, level in enumerate(self.levels[:-1])]
        return np.stack([state[:, 0], *found], axis=1)

    def distribution(self, state: np.ndarray) -> np.ndarray:
        """Probability of each token that may come next, float64 [rows, vocabulary]; each row sums to one."""
        return np.stack([self._next(row) for row in state.tolist()])

    def _next(self, contexts: list[int]) -> np.ndarray:
        p = self._unigrams.copy()
        for level, context in zip(self.levels[1:], contexts[1:], strict=True):
            if context < 0:
                break  # of what was never seen, nothing longer was seen
            seen = slice(*level.first[context : context + 2].tolist())
            p *= level.gamma[context]
            p[level.words[seen]] += level.alpha[seen]
        return p

    def read(self, ids: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability of each of some tokens given all before it; ids [tokens], at least one, and a state of one row.

        Returns:
            p, float64 [tokens], and the state after, [1, order].
        """
        p = np.full(len(ids), 1 / self.vocabulary_size)
        context = np.zeros(len(ids), np.int64)  # of each token: the index of the n − 1 tokens before it
        after = state.copy()
        for n, level in enumerate(self.levels, 1):
            gram = level.find(context, ids)
            p = level.alpha[gram] + level.gamma[context] * p
            if n < self.order:
                context = np.concatenate([state[0, n : n + 1], gram[:-1]])
                after[0, n] = gram[-1]
        return p, after

    def tensors(self) -> dict[str, np.ndarray]:
        """The counts, from which all else follows."""
        return {
            f"{name}.{n}": getattr(level, name)
            for n, level in enumerate(self.levels, 1)
            for name in ("words", "counts", "first")
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], order: int, vocabulary_size: int) -> KneserNey:
        """The model that `tensors` told.

        Raises:
            ValueError: with what does not fit.
        """
        wanted = {f"{name}.{n}" for n in range(1, order + 1) for name in ("words", "counts", "first")}
        if odd := sorted(wanted ^ tensors.keys()):
            raise ValueError(f"missing or unknown: {', '.join(odd[:5])}")
        levels: list[Level] = []
        contexts = 1
        for n in range(1, order + 1):
            words, counts, first = (tensors[f"{name}.{n}"] for name in ("words", "counts", "first"))
            entries = len(words) if n > 1 else vocabulary_size
            if not words.shape == counts.shape == (entries,) or first.shape != (contexts + 1,) or first[-1] != entries:
                found = f"{len(words)} words, {len(counts)} counts, {len(first)} contexts"
                raise ValueError(f"order {n}, a vocabulary of {vocabulary_size}: {found}")
            levels.append(Level(words, counts, first, vocabulary_size))
            contexts = entries
        return cls(levels)


def _continuations(table: Table, lower: Sequence[Level]) -> Level:
    """A level of n-grams, given all levels below it."""
    order = np.lexsort(table.grams[::-1])  # by the oldest token, then by those after it
    grams, counts = table.grams[:, order], table.counts[order]
    *context, words = grams
    starts = runs(grams[:-1])
    index = np.zeros(len(starts), np.int64)
    for level, ids in zip(lower, context, strict=True):
        index = level.find(index, ids[starts])
    followers = np.zeros(len(lower[-1].words), np.int64)
    followers[index] = np.diff(np.append(starts, len(words)))
    first = np.concatenate([[0], np.cumsum(followers)])
    return Level(words, _small(counts), _small(first), lower[-1].vocabulary_size)


def _small(numbers: np.ndarray) -> np.ndarray:
    """The same in four bytes each, where they fit."""
    return numbers.astype(np.uint32 if not len(numbers) or numbers.max() < 1 << 32 else np.uint64)
