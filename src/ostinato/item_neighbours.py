"""Item-kNN: items that the same histories hold, the baseline beside which a recommender is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ostinato.errors import BundleError

_ROWS = 1024  # of the product at a time
LONGEST = 1000
"""The different items of a history that are counted, the last ones; their pairs grow with the square."""


class ItemNeighbours(NamedTuple):
    r"""The items most often met together: sim(i, j) = |H_i ∩ H_j| / √(|H_i| |H_j|), H_i the histories that hold i.

    The cosine of the items' columns of the matrix of histories and items (Sarwar et al. 2001, section 3.1.1), which is
    the item-kNN of Hidasi et al. (2016, section 4).

    >>> found = ItemNeighbours.learn([[1, 2], [1, 2], [2, 3]], items=4, most=2)
    >>> [round(float(score), 3) for score in found.scores([[1]])[0]]
    [0.0, 0.0, 0.816, 0.0]
    """

    starts: np.ndarray
    """Of each item's neighbours in the other two, int64 [items + 1]."""
    ids: np.ndarray
    """int32 [pairs]"""
    similarities: np.ndarray
    """float32 [pairs]"""

    @classmethod
    def learn(cls, histories: Iterable[Sequence[int] | np.ndarray], items: int, most: int) -> ItemNeighbours:
        """Of histories of ids.

        Args:
            histories: ids of each, from 0.
            items: how many there are.
            most: neighbours kept of an item.
        """
        held = [np.unique(np.asarray(each)[-LONGEST:]) for each in histories]
        rows = np.repeat(np.arange(len(held)), [len(each) for each in held])
        columns = np.concatenate([*held, np.zeros(0, np.int64)])
        matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(held), items))
        norms = np.sqrt(np.asarray(matrix.sum(axis=0)).ravel())
        matrix.data /= np.maximum(norms, 1)[matrix.indices]
        across = sparse.csr_matrix(matrix.T)
        ids, values, counts = [], [], [0]
        for first in range(0, items, _ROWS):
            product: Any = sparse.csr_matrix(across[first : first + _ROWS] @ matrix)
            for row in range(product.shape[0]):
                part = slice(product.indptr[row], product.indptr[row + 1])
                found, similarity = product.indices[part], product.data[part]
                other = found != first + row
                found, similarity = found[other], similarity[other]
                best = np.lexsort((found, -similarity))[:most]
                ids.append(found[best])
                values.append(similarity[best])
                counts.append(len(best))
        return cls(
            np.cumsum(counts), np.concatenate([*ids, np.zeros(0)]).astype(np.int32),
            np.concatenate([*values, np.zeros(0)]).astype(np.float32),
        )  # fmt: skip

    def scores(self, histories: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
        """Σ over a history's items of their similarity to each item, float32 [histories, items]."""
        found = np.zeros((len(histories), len(self.starts) - 1), np.float32)
        for row, history in enumerate(histories):
            for item in set(np.asarray(history).tolist()):
                part = slice(self.starts[item], self.starts[item + 1])
                found[row, self.ids[part]] += self.similarities[part]
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """As a file holds it."""
        return {f"neighbours.{name}": value for name, value in self._asdict().items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> ItemNeighbours:
        """What `tensors` gave.

        Raises:
            BundleError: if something is missing.
        """
        try:
            return cls(*(tensors[f"neighbours.{name}"] for name in cls._fields))
        except KeyError as error:
            raise BundleError(f"{error.args[0]}: missing") from None
