"""Frames: a sequence of anything to one vector a step, or one id; what can be read so, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from ostinato.codecs.vocabulary import Vocabulary
from ostinato.errors import DataError
from ostinato.settings import Settings

ScalingKind = Literal["auto", "training", "sequence", "none"]


class FrameCodec(ABC):
    """What a raw sequence is, and the vectors of its steps."""

    Settings: ClassVar[type[Settings]] = Settings
    """What can be set about it."""
    of_files: ClassVar[bool] = False
    """Whether a raw sequence is the path of a file."""
    scaling: ClassVar[str] = "training"
    """How its frames are scaled unless the user says otherwise, see `Scaling`."""

    @classmethod
    @abstractmethod
    def of(cls, settings: Any) -> Self:
        """The codec that settings describe, before it has learned; they hold those of `Settings`."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Features of a frame; 0 where steps are ids."""

    @abstractmethod
    def learn(self, raws: Callable[[], Iterable[Any]]) -> Self:
        """The codec with what the training sequences, read from the beginning, say of it; unusable ones say nothing.

        Raises:
            DataError: if no sequence can be used.
        """

    @abstractmethod
    def frames(self, raw: Any) -> np.ndarray:
        """Frames, float [time, size]; or ids, int32 [time].

        Raises:
            DataError: if the sequence is unusable, saying why.
        """

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """What `from_plain` makes the codec of, as JSON has it."""

    @classmethod
    @abstractmethod
    def from_plain(cls, about: dict[str, Any]) -> Self:
        """What `plain` gave.

        Raises:
            KeyError, TypeError, ValueError: if it is damaged.
        """

    def unknown(self, raw: Any) -> list[str]:  # noqa: ARG002 - of items
        """What of a sequence the codec does not know."""
        return []


def part_of(settings: Any, kind: type[Settings]) -> Any:
    """Those of some settings that a kind of settings has."""
    return kind.checked({name: getattr(settings, name) for name in kind.model_fields})


@dataclass(frozen=True)
class SeriesFrames(FrameCodec):
    """Numbers: a value of each channel a step.

    Args:
        channels: how many; learned from the first sequence.

    >>> codec = SeriesFrames().learn(lambda: [[1.0, 2.0]])
    >>> codec.size, codec.frames([3, 4, 5]).tolist()
    (1, [[3.0], [4.0], [5.0]])
    """

    channels: int = 0

    @classmethod
    def of(cls, settings: Any) -> Self:  # noqa: ARG003 - there is nothing to set
        """Of any number of channels."""
        return cls()

    @property
    def size(self) -> int:
        """Channels."""
        return self.channels

    def plain(self) -> dict[str, Any]:
        """The number of channels."""
        return {"channels": self.channels}

    @classmethod
    def from_plain(cls, about: dict[str, Any]) -> Self:
        """What `plain` gave."""
        return cls(int(about["channels"]))

    def learn(self, raws: Callable[[], Iterable[Any]]) -> Self:
        """Take the number of channels of the first sequence that is not empty."""
        for raw in raws():
            values = as_numbers(raw)
            if len(values):
                return replace(self, channels=values.shape[1])
        raise DataError("no training sequence has a value")

    def frames(self, raw: Any) -> np.ndarray:
        """The values, float64 [time, channels]."""
        values = as_numbers(raw)
        if not len(values):
            raise DataError("an empty sequence")
        if values.shape[1] != self.channels:
            raise DataError(f"{values.shape[1]} channels a step, but those of training have {self.channels}")
        if not np.isfinite(values.astype(np.float32)).all():
            step, channel = np.argwhere(~np.isfinite(values.astype(np.float32)))[0].tolist()
            raise DataError(
                f"step {step}, channel {channel}: {values[step, channel]}: expected a number below 3e38 in amount"
            )
        return values


def as_numbers(raw: Any) -> np.ndarray:
    """A sequence as float64 [time, channels].

    Raises:
        DataError: if it is none.

    >>> as_numbers([[1, 2], [3, 4]]).shape, as_numbers([]).shape
    ((2, 2), (0, 1))
    """
    try:
        values = np.asarray(raw, np.float64)
    except (TypeError, ValueError):
        raise DataError("expected numbers, or for each step a list of as many, one a channel") from None
    if values.ndim == 1:
        return values[:, None]
    if values.ndim != 2 or not values.shape[1]:
        raise DataError(f"expected numbers [time] or [time, channels], found an array {list(values.shape)}")
    return values


class ItemSettings(Settings):
    """What an item is worth."""

    min_count: int = Field(1, ge=1, description="rarer ones are unknown")
    embedding_size: int | None = Field(None, ge=1, description="features of one [default: hidden_size]")
    item_dropout: float = Field(0.1, ge=0, lt=1, description="share taken for unknown in training")


@dataclass(frozen=True)
class ItemIds(FrameCodec):
    """Items, each with an id; what training has not is `<unk>`, id 0.

    Args:
        min_count: rarer items are unknown.
        items: by id; learned.

    >>> codec = ItemIds().learn(lambda: [["a", "b"], ["b"]])
    >>> codec.frames(["b", "x"]).tolist(), codec.unknown(["b", "x"])
    ([1, 0], ['x'])
    """

    Settings = ItemSettings
    scaling: ClassVar[str] = "none"
    min_count: int = 1
    items: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Any) -> Self:
        """Without items."""
        return cls(settings.min_count)

    def plain(self) -> dict[str, Any]:
        """The items."""
        return {"min_count": self.min_count, "items": list(self.items)}

    @classmethod
    def from_plain(cls, about: dict[str, Any]) -> Self:
        """What `plain` gave."""
        return cls(int(about["min_count"]), tuple(map(str, about["items"])))

    @property
    def size(self) -> int:
        """0: a step is an id."""
        return 0

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Items ↔ ids."""
        return Vocabulary(self.items)

    def learn(self, raws: Callable[[], Iterable[Any]]) -> Self:
        """Count the items."""
        counts: Counter[str] = Counter()
        for raw in raws():
            counts.update(as_items(raw))
        if not counts:
            raise DataError("no training sequence has an item")
        return replace(self, items=Vocabulary.of_counts(counts, self.min_count, None).tokens)

    def frames(self, raw: Any) -> np.ndarray:
        """Ids, int32 [time]."""
        items = as_items(raw)
        if not items:
            raise DataError("an empty sequence")
        return np.asarray(self.vocabulary.ids(items), np.int32)

    def unknown(self, raw: Any) -> list[str]:
        """The items that training did not have, once each."""
        return [item for item in dict.fromkeys(as_items(raw)) if item not in self.vocabulary]


def as_items(raw: Any) -> Sequence[str]:
    """Items of a text, between blanks, or of a list.

    >>> as_items("a b"), as_items([3, "x"])
    (['a', 'b'], ['3', 'x'])
    """
    if isinstance(raw, str):
        return raw.split()
    try:
        return [each if isinstance(each, str) else str(each) for each in raw]
    except TypeError:
        raise DataError(f"expected items, in a text between blanks or in a list, found {str(raw)[:40]!r}") from None


@dataclass(frozen=True)
class Scaling:
    """x' = (x − mean) / deviation, feature by feature; a feature that is constant is only moved.

    Args:
        mean: of each feature in training.
        deviation: likewise; 1 where it is 0.

    >>> scaling = Scaling.learn([np.array([[1.0, 5.0]]), np.array([[3.0, 5.0]])])
    >>> scaling.mean, scaling.deviation, scaling(np.array([[4.0, 6.0]])).tolist()
    ((2.0, 5.0), (1.0, 1.0), [[2.0, 1.0]])
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def learn(cls, parts: Iterable[np.ndarray]) -> Self:
        """Mean and standard deviation of all frames, in one pass (Chan et al. 1979, formula 2.1).

        Args:
            parts: of the frames, float [time, features] each; at least one.
        """
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for part in parts:
            n, own = len(part), part.mean(0, dtype=np.float64)
            apart = own - mean
            squares = squares + ((part - own) ** 2).sum(0) + apart**2 * (count * n / (count + n))
            mean = mean + apart * (n / (count + n))
            count += n
        deviation = np.sqrt(squares / max(count, 1))
        usable = deviation > 1e-7 * np.abs(mean) + 1e-30  # else it is rounding
        return cls(tuple(mean.tolist()), tuple(np.where(usable, deviation, 1.0).tolist()))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Frames [time, features], scaled."""
        return (frames - np.array(self.mean)) / np.array(self.deviation)


def stacked(frames: np.ndarray, count: int) -> np.ndarray:
    """Each `count` frames as one, [⌈time / count⌉, count · features]; the last is filled up with its own last frame.

    So a network takes fewer steps (Sak et al. 2015, section 2.4).

    >>> stacked(np.array([[1.0], [2.0], [3.0]]), 2).tolist()
    [[1.0, 2.0], [3.0, 3.0]]
    """
    if count == 1:
        return frames
    missing = -len(frames) % count
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, 0)])
    return frames.reshape(len(frames) // count, -1)
