"""Frames of files: sound, pictures and music, by the codecs of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ostinato.codecs import images, music
from ostinato.codecs.audio import USUAL_RATE, AudioCodec, AudioSettings
from ostinato.codecs.audio_files import sound_of
from ostinato.codecs.frames import FrameCodec, part_of
from ostinato.codecs.images import ImageCodec, ImageSettings
from ostinato.codecs.music import RollSettings
from ostinato.errors import DataError


def usable(raws: Iterable[Any], look: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Raw sequences of which `look` makes something, with what it makes; the others are told of where they are used."""
    for raw in raws:
        try:
            yield raw, look(raw)
        except DataError:
            continue


@dataclass(frozen=True)
class AudioFrames(FrameCodec):
    """The log-mel features of a sound, see `AudioCodec`; what is recorded at a higher rate is resampled.

    Args:
        settings: of the features.
        codec: learned.
    """

    Settings = AudioSettings
    of_files = True
    settings: AudioSettings
    codec: AudioCodec | None = None

    @classmethod
    def of(cls, settings: Any) -> Self:
        """At a rate that training says."""
        return cls(part_of(settings, AudioSettings))

    @property
    def size(self) -> int:
        """Bands."""
        return self.settings.mel_bands

    def learn(self, raws: Callable[[], Iterable[Any]]) -> Self:
        """The lowest rate of the training sounds, if none is set."""
        rate = self.settings.sample_rate or min((found.rate for _, found in usable(raws(), sound_of)), default=0)
        if not rate:
            raise DataError("no sound of training can be read: expected files such as wav or flac")
        rate = rate if self.settings.sample_rate else min(rate, USUAL_RATE)
        # stacked and scaled are the frames of every input alike
        fixed = self.settings.model_copy(update={"sample_rate": rate, "stack_frames": 1})
        for raw, _ in usable(raws(), lambda path: AudioCodec.learn(lambda: iter([path]), fixed)):
            made = AudioCodec.learn(lambda path=raw: iter([path]), fixed)
            zero, one = (0.0,) * made.bands, (1.0,) * made.bands
            return replace(self, codec=replace(made, mean=zero, deviation=one))
        raise DataError("no sound of training can be read whole")

    def frames(self, raw: Any) -> np.ndarray:
        """Log-mel features in nats, float32 [time, bands]."""
        assert self.codec is not None  # noqa: S101
        return self.codec.frames(Path(raw))

    def plain(self) -> dict[str, Any]:
        """Settings, and the codec's fields."""
        assert self.codec is not None  # noqa: S101
        return {"settings": self.settings.plain(), "codec": asdict(self.codec)}

    @classmethod
    def from_plain(cls, about: dict[str, Any]) -> Self:
        """What `plain` gave."""
        codec = AudioCodec(**about["codec"])
        return cls(AudioSettings.checked(about["settings"]), codec)


@dataclass(frozen=True)
class ImageFrames(FrameCodec):
    """The rows of a picture, from above, each a step, see `ImageCodec`; 0 is black and 1 white.

    Args:
        settings: of size and colour.
        codec: learned.

    >>> grey = np.array([[0, 255], [255, 0], [0, 0]], np.uint8)
    >>> codec = ImageFrames(ImageSettings(image_size=(3, 2))).learn(lambda: [grey])
    >>> codec.frames(grey).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    """

    Settings = ImageSettings
    of_files = True
    scaling: ClassVar[str] = "none"
    settings: ImageSettings
    codec: ImageCodec | None = None

    @classmethod
    def of(cls, settings: Any) -> Self:
        """Of a size that training says."""
        return cls(part_of(settings, ImageSettings))

    @property
    def size(self) -> int:
        """Channels · width."""
        assert self.codec is not None  # noqa: S101
        return self.codec.channels * self.codec.width

    def learn(self, raws: Callable[[], Iterable[Any]]) -> Self:
        """The size of the largest picture, and whether one has colour."""
        headers = [found for _, found in usable(raws(), self._header)]
        if not headers:
            raise DataError("no picture of training can be read: expected PNG or JPEG")
        if self.settings.image_size is None:
            sides = max(each.height for each in headers), max(each.width for each in headers)
            scale = min(1.0, images.LONGEST / max(sides))
            size = tuple(max(1, round(side * scale)) for side in sides)
        else:
            size = self.settings.image_size
            size = (size, size) if isinstance(size, int) else size
        coloured = {"grey": False, "rgb": True}.get(self.settings.colour, any(each.coloured for each in headers))
        return replace(self, codec=ImageCodec(size[0], size[1], self.settings, 3 if coloured else 1))

    def _header(self, raw: Any) -> images.Header:
        if isinstance(raw, str | Path):
            return images.header(Path(raw), max_pixels=self.settings.max_pixels)
        array = _as_bytes(raw)
        return images.Header(array.shape[0], array.shape[1], array.ndim == 3)

    def frames(self, raw: Any) -> np.ndarray:
        """Rows, float32 [height, channels · width]."""
        assert self.codec is not None  # noqa: S101
        found = self.codec.read(Path(raw)) if isinstance(raw, str | Path) else self.codec.pixels(_as_bytes(raw))
        return images.frames(found)

    def plain(self) -> dict[str, Any]:
        """Size, channels, settings."""
        assert self.codec is not None  # noqa: S101
        about = {"height": self.codec.height, "width": self.codec.width, "channels": self.codec.channels}
        return about | {"settings": self.settings.plain()}

    @classmethod
    def from_plain(cls, about: dict[str, Any]) -> Self:
        """What `plain` gave."""
        settings = ImageSettings.checked(about["settings"])
        return cls(settings, ImageCodec(about["height"], about["width"], settings, about["channels"]))


def _as_bytes(raw: Any) -> np.ndarray:
    """A picture that is no file: [height, width] or [height, width, colours], whole numbers from 0 to 255.

    Raises:
        DataError: if it is none.
    """
    try:
        array = np.asarray(raw)
        whole = array.dtype.kind in "iu" and array.size > 0 and 0 <= array.min() <= array.max() <= 255
    except ValueError:
        whole, array = False, np.zeros(0)
    if not whole or array.ndim not in (2, 3):
        raise DataError("expected a picture: whole numbers from 0 to 255, [height, width] or [height, width, colours]")
    return array.astype(np.uint8)


@dataclass(frozen=True)
class MidiFrames(FrameCodec):
    """The keys that sound at each step of a piece, see `ostinato.codecs.music`: 0 or 1 each.

    Args:
        settings: how long a step is, and which keys there are.
    """

    Settings = RollSettings
    of_files = True
    scaling: ClassVar[str] = "none"
    settings: RollSettings

    @classmethod
    def of(cls, settings: Any) -> Self:
        """There is nothing to learn."""
        return cls(part_of(settings, RollSettings))

    @property
    def size(self) -> int:
        """Keys."""
        return self.settings.keys

    def learn(self, raws: Callable[[], Iterable[Any]]) -> Self:  # noqa: ARG002
        """The same."""
        return self

    def frames(self, raw: Any) -> np.ndarray:
        """A piano roll, uint8 [time, keys]."""
        return music.frames(Path(raw), self.settings)

    def plain(self) -> dict[str, Any]:
        """The settings."""
        return self.settings.plain()

    @classmethod
    def from_plain(cls, about: dict[str, Any]) -> Self:
        """What `plain` gave."""
        return cls(RollSettings.checked(about))
