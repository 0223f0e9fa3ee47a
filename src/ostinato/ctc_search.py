"""The likeliest labels under CTC, with a language model if there is one: prefix beam search over a batch."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ostinato.ctc import BLANK

_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Scorer(Protocol):
    """What else speaks for labels, such as a language model; its states can be keys of a dict."""

    def begin(self) -> Any:
        """The state before any label."""
        ...

    def scores(self, state: Any) -> np.ndarray:
        """What each class adds if it comes next, float64 [classes]; that of the blank is not looked at."""
        ...

    def advance(self, state: Any, label: int) -> Any:
        """The state after a label."""
        ...

    def end(self, state: Any) -> float:
        """What it adds that nothing comes after."""
        ...


class Hypothesis(NamedTuple):
    """Labels and how good they are."""

    labels: list[int]
    log_p: float
    """log p of them under CTC, as far as the beam has summed it, nats."""
    score: float
    """The same with what the scorer adds."""


def prefix_search(
    log_y: np.ndarray,
    lengths: np.ndarray,
    beam_size: int,
    scorer: Scorer | None = None,
    most_labels: int | None = 40,
) -> list[list[Hypothesis]]:
    r"""The best labels of each sequence by prefix beam search (Graves 2012, section 7.5; Hannun et al. 2014, alg. 1).

    For a prefix l, p_b(l) sums the paths so far that give l and end with a blank, p_n(l) those that end with its last
    label. With p = p_b + p_n, y the probabilities of a step, and l⁺ = l followed by the label k,

        p_b'(l) = y(blank) p(l),      p_n'(l) = y(last of l) p_n(l) + Σ what comes from its own prefix,
        p_n'(l⁺) = y(k) p_b(l) if k is the last of l, else y(k) p(l).

    The `beam_size` prefixes with the largest log p' + s are kept, s being what a scorer adds: for a language model
    α log p_LM(l) + β |l| (shallow fusion). All sequences of a batch and all prefixes of a beam go on at once; that
    l⁺ is in the beam already is seen by comparing hashes of prefixes.

    Args:
        log_y: log-probabilities, [time, batch, classes]; class 0 is the blank.
        lengths: int [batch], steps of each sequence.
        beam_size: prefixes kept.
        scorer: what else speaks for labels.
        most_labels: only so many of the likeliest labels of a step go on a prefix; None: all.

    Returns:
        For each sequence up to `beam_size` hypotheses, the best first.

    >>> y = np.array([[0.6, 0.4], [0.6, 0.4]])  # the likeliest path is blank, blank; but three give the label
    >>> [best, *_] = prefix_search(np.log(y)[:, None], np.array([2]), beam_size=2)[0]
    >>> best.labels, round(float(np.exp(best.log_p)), 2)
    ([1], 0.64)
    """
    _, batch, classes = log_y.shape
    labels = min(classes - 1, most_labels or classes - 1)
    beam = _Beam(batch, beam_size, scorer)
    rows = np.arange(batch)[:, None]
    for step in range(int(np.max(lengths, initial=0))):
        y = log_y[step].astype(np.float64)
        if labels < classes - 1:
            likeliest = np.argpartition(-y[:, 1:], labels - 1, axis=1)[:, :labels] + 1
        else:
            likeliest = np.tile(np.arange(1, classes), (batch, 1))
        live = lengths > step
        total = np.logaddexp(beam.blank, beam.label)
        last = np.maximum(beam.last, 0)
        stay_blank = total + y[:, BLANK, None]
        stay_label = np.where(beam.last >= 0, beam.label + y[rows, last], -np.inf)
        repeated = likeliest[:, None, :] == beam.last[:, :, None]
        on = y[rows, likeliest][:, None, :] + np.where(repeated, beam.blank[:, :, None], total[:, :, None])
        _merge(beam, likeliest, on, stay_label, classes)
        stay = np.logaddexp(stay_blank, stay_label)
        added = beam.added(likeliest, live)
        ranked = np.concatenate([stay + beam.bonus, (on + beam.bonus[:, :, None] + added).reshape(batch, -1)], axis=1)
        keep = np.argpartition(-ranked, beam_size - 1, axis=1)[:, :beam_size]
        beam.go_on(keep, live, likeliest, (stay_blank, stay_label, on.reshape(batch, -1)), added)
    return beam.found()


def _merge(beam: _Beam, likeliest: np.ndarray, on: np.ndarray, stay_label: np.ndarray, classes: int) -> None:
    """Give to each prefix of the beam what comes to it from its own prefix there, instead of making it twice."""
    alive = np.isfinite(beam.blank) | np.isfinite(beam.label)
    same = (beam.parent[:, None, :] == beam.prefix[:, :, None]) & alive[:, None, :] & alive[:, :, None]
    row, source, target = np.nonzero(same & (beam.last >= 0)[:, None, :])
    where = np.full((len(likeliest), classes), -1)
    np.put_along_axis(where, likeliest, np.arange(likeliest.shape[1])[None], axis=1)
    column = where[row, beam.last[row, target]]
    row, source, target, column = (each[column >= 0] for each in (row, source, target, column))
    stay_label[row, target] = np.logaddexp(stay_label[row, target], on[row, source, column])
    on[row, source, column] = -np.inf


class _Beam:
    """The prefixes of each sequence, [batch, beam]."""

    def __init__(self, batch: int, size: int, scorer: Scorer | None) -> None:
        shape = (batch, size)
        self.blank, self.label = np.full(shape, -np.inf), np.full(shape, -np.inf)
        self.blank[:, 0] = 0.0
        self.bonus = np.zeros(shape)
        self.last = np.full(shape, -1)
        self.prefix, self.parent = np.zeros(shape, np.uint64), np.ones(shape, np.uint64)
        self.node = np.full(shape, -1)  # of `_labels` and `_before`: where a prefix ends
        self._labels: list[int] = []
        self._before: list[int] = []
        self._scorer = scorer
        self._states: list[list[Any]] = [[scorer.begin() if scorer else None] * size for _ in range(batch)]
        self._scores: dict[Any, np.ndarray] = {}

    def added(self, likeliest: np.ndarray, live: np.ndarray) -> np.ndarray:
        """What the scorer gives to each label after each prefix, [batch, beam, labels]."""
        found = np.zeros((*self.bonus.shape, likeliest.shape[1]))
        if self._scorer is not None:
            alive = np.isfinite(self.blank) | np.isfinite(self.label)
            for row, place in zip(*np.nonzero(alive & live[:, None]), strict=True):
                state = self._states[row][place]
                if state not in self._scores:
                    self._scores[state] = self._scorer.scores(state)
                found[row, place] = self._scores[state][likeliest[row]]
        return found

    def go_on(
        self, keep: np.ndarray, live: np.ndarray, likeliest: np.ndarray,
        log_p: tuple[np.ndarray, np.ndarray, np.ndarray], added: np.ndarray,
    ) -> None:  # fmt: skip
        """Become the prefixes that are kept: those below `beam` stay, the others are one label longer."""
        stay_blank, stay_label, on = log_p
        size, labels = self.bonus.shape[1], likeliest.shape[1]
        longer = keep >= size
        source = np.where(longer, (keep - size) // labels, keep)
        column = np.where(longer, (keep - size) % labels, 0)
        rows = np.arange(len(keep))[:, None]
        new = likeliest[rows, column]
        gain = np.where(longer, added[rows, source, column], 0.0)
        blank = np.where(longer, -np.inf, stay_blank[rows, source])
        label = np.where(longer, on[rows, np.maximum(keep - size, 0)], stay_label[rows, source])
        before = self.prefix[rows, source]
        prefix = np.where(longer, (before + np.uint64(1)) * _PRIME + new.astype(np.uint64), before)
        after = {
            "blank": blank, "label": label, "bonus": self.bonus[rows, source] + gain,
            "last": np.where(longer, new, self.last[rows, source]), "prefix": prefix,
            "parent": np.where(longer, before, self.parent[rows, source]),
        }  # fmt: skip
        node = self.node[rows, source]
        states = [[self._states[row][place] for place in source[row]] for row in range(len(keep))]
        for row, place in zip(*np.nonzero(longer & live[:, None] & np.isfinite(label)), strict=True):
            self._labels.append(int(new[row, place]))
            self._before.append(int(node[row, place]))
            node[row, place] = len(self._labels) - 1
            if self._scorer is not None:
                states[row][place] = self._scorer.advance(states[row][place], int(new[row, place]))
        for name, values in after.items():
            setattr(self, name, np.where(live[:, None], values, getattr(self, name)))
        self.node = np.where(live[:, None], node, self.node)
        self._states = [states[row] if live[row] else self._states[row] for row in range(len(keep))]

    def found(self) -> list[list[Hypothesis]]:
        """All prefixes, the best first."""
        log_p = np.logaddexp(self.blank, self.label)
        hypotheses = []
        for row, values in enumerate(log_p):
            each = []
            for place in np.flatnonzero(np.isfinite(values)):
                end = 0.0 if self._scorer is None else self._scorer.end(self._states[row][place])
                score = float(values[place] + self.bonus[row, place]) + end
                each.append(Hypothesis(self._path(int(self.node[row, place])), float(values[place]), score))
            hypotheses.append(sorted(each, key=lambda one: -one.score))
        return hypotheses

    def _path(self, node: int) -> list[int]:
        found = []
        while node >= 0:
            found.append(self._labels[node])
            node = self._before[node]
        return found[::-1]
