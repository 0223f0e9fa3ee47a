"""The codec of sound: a file to log-mel features, as many a second as a network reads; and the same of a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from ostinato.bundle import read_json
from ostinato.codecs.audio_files import HIGHEST_RATE, LOWEST_RATE, Resampler, ratio, read_sound, resampled, sound_of
from ostinato.codecs.log_mel import LogMel
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.files import write_text
from ostinato.settings import Settings

USUAL_RATE = 16_000
"""Speech has little above the half of it; what is recorded at more is read at this rate, unless asked otherwise."""
_ABOUT = "audio.json"
_LEAST_DEVIATION = 0.1  # of a band, in nats; one that is silent in all of training would else be divided by zero


class AudioSettings(Settings):
    """How sound becomes features."""

    sample_rate: int | None = Field(
        None, ge=LOWEST_RATE, le=HIGHEST_RATE,
        description="Hz at which sound is read; others are resampled [default: the lowest of training, at most 16000]",
    )  # fmt: skip
    mel_bands: int = Field(40, ge=1, le=512, description="features of a frame")
    mel_scale: Literal["slaney", "htk"] = Field("slaney", description="of the bands")
    frame_ms: float = Field(25.0, gt=0, le=1000, description="length of a frame")
    hop_ms: float = Field(10.0, gt=0, le=1000, description="from the begin of a frame to that of the next")
    low_hz: float = Field(20.0, ge=0, description="where the lowest band begins")
    high_hz: float | None = Field(None, gt=0, description="where the highest band ends [default: half the sample rate]")
    stack_frames: int = Field(1, ge=1, le=32, description="frames that are one step of the network")
    longest_seconds: float = Field(600.0, gt=0, description="a longer sound is refused")


@dataclass(frozen=True)
class AudioCodec:
    r"""Sound → steps of features.

    Log-mel features y (see `LogMel`) are normalised by what training has of each band b, and `stack` frames on end are
    one step, the last one filled up with the mean of training:

        x_{t, b} = (y_{t, b} − μ_b) / σ_b,   step j = [x_{js}, …, x_{js+s−1}],  s = stack.

    Args:
        rate: samples a second that the features are made of.
        bands: features of a frame.
        frame: its length in samples.
        hop: from one frame's begin to the next one's, in samples.
        low_hz: where the lowest band begins.
        high_hz: where the highest ends.
        scale: of the bands, `slaney` or `htk`.
        stack: frames that are one step.
        longest_seconds: a longer file is refused.
        mean: μ of each band, in nats.
        deviation: σ.

    >>> from tempfile import mkdtemp
    >>> import soundfile
    >>> time = np.arange(4000) / 8000
    >>> soundfile.write(path := Path(mkdtemp()) / "a.wav", np.sin(2 * np.pi * 440 * time), 8000)
    >>> codec = AudioCodec.learn(lambda: iter([path]), AudioSettings(stack_frames=3))
    >>> codec.rate, codec.frames(path).shape, codec.step_seconds
    (8000, (16, 120), 0.03)
    """

    rate: int
    bands: int
    frame: int
    hop: int
    low_hz: float
    high_hz: float
    scale: str
    stack: int
    longest_seconds: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def features(self) -> int:
        """Of a step."""
        return self.bands * self.stack

    @property
    def step_seconds(self) -> float:
        """From one step to the next."""
        return self.hop * self.stack / self.rate

    @property
    def delay_seconds(self) -> float:
        """From the first sample of a step to its last, before which the step cannot be."""
        return (self.frame + self.hop * (self.stack - 1)) / self.rate

    @cached_property
    def log_mel(self) -> LogMel:
        """What makes features of samples."""
        return LogMel(self.rate, self.bands, self.frame, self.hop, self.low_hz, self.high_hz, self.scale)

    @classmethod
    def learn(
        cls,
        paths: Callable[[], Iterable[Path]],
        settings: AudioSettings,
        broken: Callable[[Path, DataError], None] | None = None,
    ) -> Self:
        """The codec of training's files: their rate, mean and deviation.

        Args:
            paths: reads their names from the beginning, twice.
            settings: of the features.
            broken: is told of each file that cannot be read, which is then left out; if None, the first ends it.

        Raises:
            DataError: as `read_sound`, or if there is no file.
            SettingsError: if the features cannot be made at the rate.
        """

        def each(use: Callable[[Path], Any]) -> Iterator[Any]:
            for path in paths():
                try:
                    yield use(path)
                except DataError as error:
                    if broken is None:
                        raise
                    broken(path, error)

        rate = settings.sample_rate or min(each(lambda path: sound_of(path).rate), default=0)
        if not rate:
            raise DataError("no sounds: expected files such as wav or flac")
        if settings.sample_rate is None:
            rate = min(rate, USUAL_RATE)
        made = cls._unlearned(rate, settings)
        count, total, squares = 0, np.zeros(made.bands), np.zeros(made.bands)
        for found in each(lambda path: made.log_mel(made.samples(path)).numpy().astype(np.float64)):
            count, total, squares = count + len(found), total + found.sum(0), squares + np.square(found).sum(0)
        if not count:
            raise DataError("no sound is left to learn from")
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, _LEAST_DEVIATION**2))
        return replace(made, mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))

    @classmethod
    def _unlearned(cls, rate: int, s: AudioSettings) -> Self:
        high = s.high_hz or rate / 2
        if not s.low_hz < high <= rate / 2:
            raise SettingsError(
                f"low_hz = {s.low_hz:g}, high_hz = {high:g}: expected low_hz < high_hz ≤ {rate / 2:g}, half of "
                f"sample_rate = {rate:,}"
            )
        if s.hop_ms > s.frame_ms:
            raise SettingsError(
                f"hop_ms = {s.hop_ms:g}: samples between frames of {s.frame_ms:g} ms would not be heard"
            )
        frame, hop = (max(1, round(rate * ms / 1000)) for ms in (s.frame_ms, s.hop_ms))
        mean, deviation = (0.0,) * s.mel_bands, (1.0,) * s.mel_bands
        made = cls(rate, s.mel_bands, frame, hop, s.low_hz, high, s.mel_scale, s.stack_frames, s.longest_seconds,
                   mean, deviation)  # fmt: skip
        try:
            assert made.log_mel  # noqa: S101 - which checks the bands
        except ValueError as error:
            raise SettingsError(f"mel_bands = {s.mel_bands}: {error}") from None
        return made

    def samples(self, path: Path, speed: float = 1.0, longest_seconds: float | None = None) -> np.ndarray:
        """The samples of a file at the codec's rate, float32 [samples].

        Args:
            path: of the file.
            speed: faster, and higher, by this factor (Ko et al. 2015, Audio Augmentation for Speech Recognition).
            longest_seconds: more is refused; that of the codec if None.

        Raises:
            DataError: as `read_sound`; if the file has fewer samples a second than training, or less than a frame.
        """
        found, rate = read_sound(path, longest_seconds or self.longest_seconds)
        self.check_rate(rate, str(path))
        found = resampled(found, ratio(rate, self.rate, speed))
        if len(found) < self.frame:
            least = 1000 * self.frame / self.rate
            raise DataError(f"{path}: {1000 * len(found) / self.rate:.1f} ms long, shorter than a frame ({least:g} ms)")
        return found

    def check_rate(self, rate: int, where: str) -> None:
        """That a sound has the frequencies of the features.

        Raises:
            DataError: if its rate is lower than the codec's.
        """
        if rate < self.rate:
            raise DataError(
                f"{where}: {rate:,} samples a second hold nothing above {rate / 2:,.0f} Hz, but the model was trained "
                f"on {self.rate:,} (sample_rate): record at that rate or above, or train at {rate:,}"
            )

    def frames(self, path: Path, speed: float = 1.0, longest_seconds: float | None = None) -> np.ndarray:
        """The steps of a file, float32 [time, features]; see `samples`."""
        return self.steps(self.samples(path, speed, longest_seconds))

    def steps(self, samples: np.ndarray) -> np.ndarray:
        """The steps of samples at the codec's rate, float32 [time, features]."""
        found = self._normalised(samples)
        missing = -len(found) % self.stack
        return np.concatenate([found, np.zeros((missing, self.bands), np.float32)]).reshape(-1, self.features)

    def _normalised(self, samples: np.ndarray) -> np.ndarray:
        found = self.log_mel(samples).numpy()
        return (found - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)

    def stream(self, parts: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """The steps of a sound that comes in parts, each as soon as its last sample is there; memory is constant.

        Args:
            parts: float32 [samples] each.
            rate: theirs.

        Raises:
            DataError: if the rate is lower than the codec's.

        >>> codec = AudioCodec._unlearned(8000, AudioSettings(stack_frames=2))
        >>> sound = np.random.default_rng(0).normal(size=3000).astype(np.float32)
        >>> found = list(codec.stream((sound[at : at + 100] for at in range(0, 3000, 100)), 8000))
        >>> bool(np.allclose(np.concatenate(found), codec.steps(sound), atol=1e-4))
        True
        """
        self.check_rate(rate, "the stream")
        resampler = Resampler(ratio(rate, self.rate))
        held = np.zeros(0, np.float32)
        step = self.hop * self.stack  # samples

        def more(samples: np.ndarray) -> np.ndarray:
            nonlocal held
            held = np.concatenate([held, samples])
            whole = self.log_mel.frames_in(len(held)) // self.stack
            if not whole:
                return np.zeros((0, self.features), np.float32)
            given, held = held[: (whole * self.stack - 1) * self.hop + self.frame], held[whole * step :]
            return self._normalised(given).reshape(-1, self.features)

        for part in parts:
            if len(found := more(resampler.push(part))):
                yield found
        found = np.concatenate([more(resampler.end()), self.steps(held)])
        if len(found):
            yield found

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        folder.mkdir(exist_ok=True)
        write_text(folder / _ABOUT, json.dumps(asdict(self), indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about = read_json(folder / _ABOUT)
        try:
            if odd := {field.name for field in fields(cls)} ^ about.keys():
                raise ValueError(f"missing or unknown: {', '.join(sorted(odd))}")
            about |= {name: tuple(float(value) for value in about[name]) for name in ("mean", "deviation")}
            made = cls(**about)
            if not len(made.mean) == len(made.deviation) == made.bands or not min(made.deviation) > 0:
                raise ValueError(f"expected a mean and a deviation for each of {made.bands} bands")
            assert made.log_mel  # noqa: S101 - which checks the rest
        except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise BundleError(f"{folder / _ABOUT}: damaged: {error}") from None
        return made
