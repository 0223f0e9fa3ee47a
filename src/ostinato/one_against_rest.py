"""Linear scores of labels, each label fitted against all others, by liblinear."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

LOSSES = ("squared_hinge", "logistic")
_TOLD_EVERY_SECONDS = 10.0
_ITERATIONS = 5000


class OneAgainstRest(NamedTuple):
    r"""s_k(x) = w_k · x + b_k for each label k, from a matrix x of features [texts, terms].

    Each (w, b) minimises ½ ‖w‖² + ½ b² + C Σ_i loss(y_i s(x_i)), where y is 1 for the label's texts and −1 for all
    others, and loss(z) is max(0, 1 − z)² (`squared_hinge`) or log(1 + e^−z) (`logistic`); Fan et al. 2008, section 2.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]] * 5)
    >>> model = OneAgainstRest.fit(x, [("a",), ("b",)] * 5, ["a", "b"], "squared_hinge", 1.0)
    >>> model.scores(x[:2], "squared_hinge").argmax(1).tolist()
    [0, 1]
    """

    weight: np.ndarray
    """float32 [terms, labels]"""
    bias: np.ndarray
    """float32 [labels]"""

    @classmethod
    def fit(
        cls, x: Any, given: Sequence[Sequence[str]], labels: Sequence[str], loss: str, cost: float, seed: int = 0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Self:  # fmt: skip
        """Fit all labels, one after the other.

        Args:
            x: features [texts, terms], dense or CSR with 32-bit indices.
            given: the labels of each text.
            labels: all labels, in the order of the scores; at least two.
            loss: one of `LOSSES`.
            cost: C.
            seed: of the solver, which takes the examples in random order.
            tell: gets what the user should know.
        """
        options = {"C": cost, "dual": x.shape[0] < x.shape[1], "random_state": seed, "max_iter": _ITERATIONS}
        solver: Any = (
            LinearSVC(**options) if loss == "squared_hinge" else LogisticRegression(solver="liblinear", **options)
        )
        weight, bias = np.zeros((x.shape[1], len(labels)), np.float32), np.zeros(len(labels), np.float32)
        rows: dict[str, list[int]] = {label: [] for label in labels}
        for row, each in enumerate(given):
            for label in each:
                rows[label].append(row)
        exclusive = len(labels) == 2 and all(len(each) == 1 for each in given)
        told = time.monotonic()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            for at, label in enumerate(labels):
                if exclusive and at == 1:  # the one is what the other is not
                    weight[:, 1], bias[1] = -weight[:, 0], -bias[0]
                elif len(rows[label]) == len(given):
                    bias[at] = np.inf  # there is nothing to fit: all texts have it
                else:
                    target = np.full(len(given), -1, np.int8)
                    target[rows[label]] = 1
                    solver.fit(x, target)
                    weight[:, at], bias[at] = solver.coef_[0], solver.intercept_[0]
                if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                    told = time.monotonic()
                    tell(f"fitted {at + 1:,} of {len(labels):,} labels")
        if caught:
            tell(f"{len(caught)} of {len(labels)} labels have not converged in {_ITERATIONS} iterations; lower C")
        return cls(weight, bias)

    def scores(self, x: Any, loss: str) -> np.ndarray:
        """Scores [texts, labels]: s, or for `logistic` the probability 1 / (1 + e^−s)."""
        found = np.asarray(x @ self.weight + self.bias)
        return expit(found) if loss == "logistic" else found

    def tensors(self) -> dict[str, np.ndarray]:
        """What is kept."""
        return self._asdict()

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], terms: int, labels: int) -> Self:
        """What `tensors` gave.

        Raises:
            ValueError: if they are not those of so many terms and labels.
        """
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if shapes != (wanted := {"weight": [terms, labels], "bias": [labels]}):
            raise ValueError(f"expected tensors {wanted}, found {shapes}")
        return cls(tensors["weight"], tensors["bias"])
