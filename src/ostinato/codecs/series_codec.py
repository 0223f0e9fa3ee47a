"""Series ↔ arrays that a network reads: gaps filled, scales measured, the calendar and what is known in the future."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ostinato.errors import BundleError, DataError
from ostinato.files import write_text
from ostinato.series import Series
from ostinato.time_stamps import Frequency, calendar, cycles_within

COLUMNS = {
    "values": "<f8", "present": "<u1", "ahead": "<f4", "observed": "<f4", "scale": "<f8", "start": "<i8", "name": "<u1",
}  # fmt: skip
"""Of a row: what `SeriesCodec.encode` gives, and NumPy's name of its type."""
_MOST_WORDS = 100  # of a static column
_TINY = 1e-8


@dataclass
class SeriesCodec:
    """What of series a network needs to know: columns, step, season, scales.

    Args:
        targets, known, observed: names of the columns.
        frequency: the step of all series.
        kind: of their stamps.
        horizon: steps that are forecast.
        season: steps of the season; 1 if there is none.
        lags: how many steps back a series is shown once more.
        cycles: of the calendar, see `ostinato.time_stamps.CYCLES`; `season` of what only has numbers.
        log: whether the network sees log(1 + y).
        base: the simple forecast that did best on the training windows; see `SeriesWindows.base`.
        covariates: mean and standard deviation of each known, then each observed column.
        static: of each static column its words, or mean and standard deviation of its numbers.
        series: name → mean and standard deviation of each target in training.
        about: sizes and counts.
    """

    targets: list[str]
    known: list[str]
    observed: list[str]
    frequency: Frequency
    kind: Any
    horizon: int
    season: int = 1
    lags: list[int] = field(default_factory=list)
    cycles: list[str] = field(default_factory=list)
    log: bool = False
    base: str = "last"
    covariates: list[list[float]] = field(default_factory=list)
    static: list[list[Any]] = field(default_factory=list)
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def learn(
        cls, read: Callable[[], Iterable[Series]], targets: list[str], known: list[str], observed: list[str],
        horizon: int | None, season: int | None, lags: list[int] | None, use_calendar: bool, log: bool,
    ) -> Self:  # fmt: skip
        """The codec of training series; what is None is found.

        Raises:
            DataError: if a target is out of the logarithm's range, or a static column has too many words.
        """
        first, longest, count = None, 0, 0
        for series in read():
            first, longest, count = first or series, max(longest, series.history), count + 1
        if first is None:
            raise DataError("no examples: expected at least one series that is longer than the horizon")
        frequency = first.frequency
        found = frequency.season() if season is None else season
        if season is None and 2 * found > longest:
            found = 1  # a season that was not seen twice cannot be told from chance
        likely = [each for each in (frequency.lags() if season is None else [found]) if each > 1]
        codec = cls(
            targets, known, observed, frequency, first.kind, horizon or (found if found > 1 else 8), found,
            [each for each in likely if 2 * each <= longest] if lags is None else sorted(lags),
            [], log,
        )  # fmt: skip
        if use_calendar:
            codec.cycles = ["season"] * (frequency.unit == "step" and found > 1) or cycles_within(frequency, longest)
        codec._measure(read())
        codec.static = [_words(column) for column in zip(*(series.static for series in read()), strict=True)]
        return codec

    def _measure(self, series: Iterable[Series]) -> None:
        """Scales of series and of covariates, and what is missing."""
        sums = np.zeros((3, len(self.known) + len(self.observed)))
        steps = missing = gaps = 0
        for each in series:
            values = self.inner(each.values[: each.history], each)
            self.series[each.name] = [list(map(float, moments)) for moments in (_mean(values), _deviation(values))]
            beside = np.concatenate([each.known[: each.history], each.observed[: each.history]], axis=1)
            there = np.isfinite(beside)
            filled = np.where(there, beside, 0)
            sums += np.stack([there.sum(0), filled.sum(0), (filled**2).sum(0)])
            steps, missing = steps + each.history, missing + int(np.isnan(values).sum())
            gaps += len(each.values) - each.rows
        n = np.maximum(sums[0], 1)
        deviation = np.sqrt(np.maximum(sums[2] / n - (sums[1] / n) ** 2, 0))
        self.covariates = [list(map(float, sums[1] / n)), [float(each) if each > _TINY else 1.0 for each in deviation]]
        self.about = {"series": len(self.series), "steps": steps, "missing_values": missing, "gaps": gaps}

    @property
    def ahead_size(self) -> int:
        """Features of a step that are known in the future."""
        static = sum(1 if _is_number(each) else len(each) for each in self.static)
        return len(self.known) + 2 * len(self.cycles) + static

    @property
    def input_size(self) -> int:
        """Features of a step that is read: each target, whether it was there, its lags, and what is known beside it."""
        return len(self.targets) * (2 + len(self.lags)) + len(self.observed) + self.ahead_size

    @property
    def told_size(self) -> int:
        """Features of a step that is forecast: the lags of each target, what is known, and how far off it is."""
        return len(self.targets) * len(self.lags) + self.ahead_size + 1

    def inner(self, values: np.ndarray, series: Series) -> np.ndarray:
        """Targets as the network's scale has them, float64.

        Raises:
            DataError: where a logarithm does not exist.
        """
        if not self.log:
            return values
        if (odd := np.argwhere(values <= -1)).size:
            step, target = odd[0].tolist()
            raise DataError(
                f"{series.where}: {_of(series)}{self.targets[target]} is {values[step, target]:g} at "
                f"{series.told(step)}: log(1 + y) needs values above -1; leave --transform log out"
            )
        return np.log1p(values)

    def outer(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `inner`."""
        return np.expm1(np.minimum(values, 700.0)) if self.log else values

    def encode(self, series: Series) -> dict[str, np.ndarray]:
        """A series as arrays: targets up to the last that is known, with gaps filled; the rest `horizon` steps further.

        Raises:
            DataError: if a target is out of the logarithm's range, or the series has another step.
        """
        if series.frequency != self.frequency:
            raise DataError(
                f"{series.where}: a step of {series.frequency}, but the model was trained with {self.frequency}"
            )
        n, total = series.history, series.history + self.horizon
        raw = self.inner(series.values[:n], series)
        mean, deviation = self.series.get(series.name, [_mean(raw).tolist(), _deviation(raw).tolist()])
        beside = self._standard(series)
        known, observed = beside[:, : len(self.known)], beside[:n, len(self.known) :]
        parts = [_forward(known, total), self._calendar(series.stamps(0, total))]
        parts.append(np.broadcast_to(self._static(series), (total, len(self._static(series)))))
        return {
            "values": filled(raw, self.season).ravel(),
            "present": np.isfinite(raw).ravel().astype(np.uint8),
            "ahead": np.concatenate(parts, axis=1, dtype=np.float32).ravel(),
            "observed": _forward(observed, n).astype(np.float32).ravel(),
            "scale": np.array([mean, deviation]).ravel(),
            "start": np.array([series.start], np.int64),
            "name": np.frombuffer(series.name.encode(), np.uint8),
        }

    def check_future(self, series: Series) -> None:
        """See that what should be known of the steps to be forecast is there.

        Raises:
            DataError: naming the column, the series and the first step without it.
        """
        n = series.history
        ahead = series.known[n : n + self.horizon]
        told = np.isfinite(ahead).sum(0)
        if len(self.known) and (len(ahead) < self.horizon or not np.isfinite(ahead).all()):
            column = int(np.argmin(told))
            there = np.isfinite(ahead[:, column])
            step = n + (int(np.argmin(there)) if len(there) and not there.all() else len(there))
            raise DataError(
                f"{series.where}: {_of(series)}{self.known[column]!r} (--known) is needed for each of the "
                f"{self.horizon} steps after {series.told(n - 1)}, but not there at {series.told(step)}: add rows "
                f"with it, and leave {', '.join(self.targets)} empty there"
            )

    def _standard(self, series: Series) -> np.ndarray:
        mean, deviation = np.array(self.covariates).reshape(2, -1)
        return (np.concatenate([series.known, series.observed], axis=1) - mean) / deviation

    def _calendar(self, stamps: np.ndarray) -> np.ndarray:
        """Where steps lie in each cycle, [time, 2·cycles]."""
        if self.cycles != ["season"]:
            return calendar(stamps, self.cycles)
        turn = 2 * np.pi * (stamps // self.frequency.size % self.season) / self.season
        return np.stack([np.sin(turn), np.cos(turn)], axis=1)

    def _static(self, series: Series) -> np.ndarray:
        found: list[float] = []
        for words, value in zip(self.static, series.static, strict=True):
            if _is_number(words):
                try:
                    found.append((float(value) - words[0]) / words[1])
                except ValueError:
                    raise DataError(f"{series.where}: a static column: expected a number, found {value!r}") from None
            else:
                found += [float(word == value) for word in words]
        return np.array(found)

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        about = asdict(self) | {"frequency": list(self.frequency)}
        write_text(folder / "series.json", json.dumps(about, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        path = folder / "series.json"
        try:
            about = json.loads(path.read_text("utf-8"))
            size, unit = about.pop("frequency")
            return cls(frequency=Frequency(int(size), unit), **about)
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path}: damaged: {error}") from None


def filled(values: np.ndarray, season: int) -> np.ndarray:
    """Values [time, target] with each NaN told by the season before, or the step before, or the first there is.

    >>> filled(np.array([[np.nan], [1.0], [2.0], [np.nan], [np.nan]]), season=2).ravel().tolist()
    [1.0, 1.0, 2.0, 1.0, 2.0]
    """
    values = values.copy()
    for column in values.T:
        missing = np.flatnonzero(np.isnan(column))
        there = np.flatnonzero(np.isfinite(column))
        first = there[0] if len(there) else 0
        for step in missing:
            if step < first:
                column[step] = column[first]
            else:
                column[step] = column[step - season] if step >= first + season else column[step - 1] if step else 0.0
    return np.nan_to_num(values)


def _of(series: Series) -> str:
    return f"series {series.name!r}: " if series.name else ""


def _forward(values: np.ndarray, length: int) -> np.ndarray:
    """The first `length` rows; where one is missing, the row before, or 0, which is the mean."""
    found = np.full((length, values.shape[1]), np.nan)
    found[: len(values)] = values[:length]
    at = np.where(np.isfinite(found), np.arange(length)[:, None], -1)
    at = np.maximum.accumulate(at, axis=0)
    return np.where(at >= 0, np.take_along_axis(found, np.maximum(at, 0), axis=0), 0.0)


def _mean(values: np.ndarray) -> np.ndarray:
    count = np.isfinite(values).sum(0)
    return np.nansum(values, axis=0) / np.maximum(count, 1)


def _deviation(values: np.ndarray) -> np.ndarray:
    """Standard deviations; 1 of what does not vary, so that nothing is divided by 0."""
    count = np.isfinite(values).sum(0)
    mean = _mean(values)
    deviation = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(count, 1))
    level = np.abs(mean)
    return np.where(deviation > _TINY * level, deviation, np.where(level > 0, level, 1.0))


def _words(column: Iterator[str] | tuple[str, ...]) -> list[Any]:
    """What tells a static column's words apart, or the scale of its numbers."""
    values = list(column)
    words = sorted(set(values))
    try:
        numbers = np.array([float(each) for each in values])
    except ValueError:
        if len(words) > _MOST_WORDS:
            raise DataError(
                f"a static column has {len(words):,} different words, such as {words[0]!r}: at most {_MOST_WORDS} can "
                "be told apart; put them in groups, or give numbers"
            ) from None
        return list(words)
    deviation = float(numbers.std())
    return [float(numbers.mean()), deviation if deviation > _TINY else 1.0]


def _is_number(words: list[Any]) -> bool:
    return len(words) == 2 and all(isinstance(each, float) for each in words)
