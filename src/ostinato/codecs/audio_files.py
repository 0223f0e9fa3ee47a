"""Sound files to samples: one channel, one rate, and what is broken is told."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ostinato.errors import DataError, MissingExtra

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Samples a second that a file can have."""
UNKNOWN_LENGTH = 0x7FFFF000
"""A wav file's length from here on says that its writer did not know it, as sox, arecord and ffmpeg do in a pipe."""
_BLOCK = 1 << 16  # samples that are read at once
_FILTER_HALF = 10  # scipy.signal.resample_poly: its filter has 2 · 10 · max(up, down) + 1 taps
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"})


class Sound(NamedTuple):
    """What a file says of itself."""

    rate: int
    """Samples a second."""
    samples: int
    """Of each channel."""
    channels: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples / self.rate


def is_sound(path: Path) -> bool:
    """Whether a file's name is that of a sound.

    >>> is_sound(Path("a.WAV")), is_sound(Path("a.csv"))
    (True, False)
    """
    return path.suffix.lower() in _SUFFIXES


def sound_of(path: Path) -> Sound:
    """What a file says of itself, by its first bytes alone.

    Raises:
        DataError: if it is missing, empty, cut off, or no sound that libsndfile reads.
        MissingExtra: if soundfile is not installed.
    """
    with _opened(path) as file:
        return Sound(file.samplerate, file.frames, file.channels)


def read_sound(path: Path, longest_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """The samples of a file, the mean of its channels, and how many there are in a second.

    Args:
        path: of a file that libsndfile reads: wav, flac, ogg, mp3 and others.
        longest_seconds: more is refused before it is read, since a small file can hold hours of silence.

    Returns:
        float32 [samples] from -1 to 1, and the rate in Hz.

    Raises:
        DataError: if the file is missing, empty, cut off, too long, no sound, or if a sample is no number.
        MissingExtra: if soundfile is not installed.
    """
    with _opened(path) as file:
        rate, count = file.samplerate, file.frames
        if longest_seconds is not None and count > longest_seconds * rate:
            raise DataError(
                f"{path}: lasts {count / rate:,.0f} s, more than longest_seconds = {longest_seconds:,.0f}: "
                "cut it, or allow more (--longest-seconds)"
            )
        found = np.empty(count, np.float32)
        at = 0
        try:
            while at < count and len(block := file.read(min(_BLOCK, count - at), dtype="float32", always_2d=True)):
                found[at : at + len(block)] = block.mean(1) if block.shape[1] > 1 else block[:, 0]
                at += len(block)
        except RuntimeError as error:  # soundfile's own errors are of this kind
            raise DataError(f"{path}: damaged after {at / rate:.3f} s: {error}") from None
    if at < count:
        raise DataError(f"{path}: cut off: {count / rate:.3f} s are announced, {at / rate:.3f} s are there")
    check_samples(found, rate, str(path))
    return found, rate


def check_samples(samples: np.ndarray, rate: int, where: str, first: int = 0) -> None:
    """That all samples are numbers.

    Raises:
        DataError: with the first that is none; `first` is the number of the first sample given.
    """
    if not np.isfinite(samples).all():
        at = int(np.flatnonzero(~np.isfinite(samples))[0])
        kind = "not a number" if np.isnan(samples[at]) else "infinite"
        raise DataError(
            f"{where}: sample {first + at:,} ({(first + at) / rate:.3f} s) is {kind}: samples are from -1 to 1"
        )


def _opened(path: Path) -> Any:
    """A file of soundfile's whose header is sound."""
    try:
        import soundfile
    except ImportError:
        raise MissingExtra("soundfile", "audio", f"{path}: reading sound") from None
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if empty:
        raise DataError(f"{path}: empty: expected a sound, such as wav or flac")
    _check_length(path)
    try:
        found = soundfile.SoundFile(str(path))
    except (RuntimeError, TypeError) as error:
        told = (str(error).partition(": ")[2] or str(error)).rstrip(".")
        raise DataError(f"{path}: no sound, or damaged: {told} (expected wav, flac, ogg or mp3)") from None
    problem = None
    if not LOWEST_RATE <= found.samplerate <= HIGHEST_RATE:
        problem = f"{found.samplerate:,} samples a second; expected {LOWEST_RATE:,} to {HIGHEST_RATE:,}"
    elif not 0 < found.frames < 1 << 48:
        problem = "holds no samples" if found.frames <= 0 else "does not say how long it is"
    if problem:
        found.close()
        raise DataError(f"{path}: {problem}")
    return found


def _check_length(path: Path) -> None:
    """That a wav file holds what its header announces, which libsndfile passes over in silence.

    Raises:
        DataError: if it does not.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            held = size - file.tell()
            if name == b"data":
                if held < length < UNKNOWN_LENGTH:
                    raise DataError(f"{path}: cut off: {length:,} bytes of samples are announced, {held:,} are there")
                return
            file.seek(length + length % 2, 1)
    raise DataError(f"{path}: cut off: a wav file without samples")


def ratio(rate: int, wanted: int, speed: float = 1.0) -> Fraction:
    """Samples after for one before.

    >>> ratio(44100, 8000), ratio(8000, 8000, speed=0.9)
    (Fraction(80, 441), Fraction(10, 9))
    """
    return Fraction(wanted, rate) / Fraction(speed).limit_denominator(100)


def resampled(samples: np.ndarray, change: Fraction) -> np.ndarray:
    """Samples at another rate, by a low-pass filter in polyphase form: see `Resampler`, which does the same in parts.

    Args:
        samples: float32 [samples].
        change: samples after for one before; see `ratio`.

    >>> len(resampled(np.zeros(441, np.float32), ratio(44100, 8000)))
    80
    """
    if change == 1:
        return samples
    from scipy.signal import resample_poly

    taps = _low_pass(change.numerator, change.denominator) / change.numerator  # which scipy multiplies it with
    found: Any = resample_poly(samples, change.numerator, change.denominator, window=taps.astype(np.float32))
    return found


@cache
def _low_pass(up: int, down: int) -> np.ndarray:
    """The filter of `resample_poly`: a sinc cut at the lower of both Nyquist frequencies, in a Kaiser window of β 5."""
    from scipy.signal import firwin

    most, window = max(up, down), cast(Any, ("kaiser", 5.0))
    return np.asarray(firwin(2 * _FILTER_HALF * most + 1, 1 / most, window=window)) * up


class Resampler:
    r"""Resampling of a sound that comes in parts, to the same samples as of the whole.

    With `up` samples after for `down` before, h the filter and L the half of its length,

        y_m = Σ_k x_k h_{m · down − k · up + L}.

    A sample is given once all that it is made of is there, 10 samples of the lower rate later, at constant memory.

    Args:
        change: samples after for one before; see `ratio`.

    >>> whole = np.sin(np.arange(3000, dtype=np.float32))
    >>> parts = Resampler(change := ratio(11025, 8000))
    >>> found = np.concatenate([*(parts.push(whole[at : at + 700]) for at in range(0, 3000, 700)), parts.end()])
    >>> bool(np.allclose(found, resampled(whole, change), atol=1e-5))
    True
    """

    def __init__(self, change: Fraction) -> None:
        self.up, self.down = change.numerator, change.denominator
        self._half = _FILTER_HALF * max(self.up, self.down)
        self._taps = np.zeros(0, np.float32) if change == 1 else _low_pass(self.up, self.down).astype(np.float32)
        self._reach = self._half // self.up + 1  # samples before, on each side
        self._held = np.zeros(self._reach, np.float32)
        self._first = -self._reach  # the number of the first that is held
        self._next = 0  # the number of the next to be given

    def push(self, samples: np.ndarray) -> np.ndarray:
        """What some further samples, float32 [samples], make possible."""
        if self.up == self.down:
            return samples
        self._held = np.concatenate([self._held, samples])
        known = self._first + len(self._held)  # all before this number
        return self._given((known - 1 - self._reach) * self.up // self.down + 1)

    def end(self) -> np.ndarray:
        """What is left once all samples were given."""
        if self.up == self.down:
            return np.zeros(0, np.float32)
        known = self._first + len(self._held)
        self._held = np.concatenate([self._held, np.zeros(2 * self._reach, np.float32)])
        return self._given(-(-known * self.up // self.down))

    def _given(self, stop: int) -> np.ndarray:
        """Samples up to a number, after which what they alone needed is forgotten."""
        found = [self._between(at, min(at + 4096, stop)) for at in range(self._next, stop, 4096)]
        self._next = max(self._next, stop)
        spare = min(self._next * self.down // self.up - self._reach - self._first, len(self._held))
        if spare > 0:
            self._held, self._first = self._held[spare:], self._first + spare
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _between(self, start: int, stop: int) -> np.ndarray:
        m = np.arange(start, stop)[:, None]
        k = m * self.down // self.up + np.arange(-self._reach, self._reach + 1)
        tap = m * self.down - k * self.up + self._half
        inside = (tap >= 0) & (tap < len(self._taps))
        taps = np.where(inside, self._taps[np.where(inside, tap, 0)], np.float32(0))
        return (taps * self._held[np.clip(k - self._first, 0, len(self._held) - 1)]).sum(1)


def in_parts(samples: np.ndarray, size: int = _BLOCK) -> Iterator[np.ndarray]:
    """Stretches of samples, the last one shorter."""
    return (samples[at : at + size] for at in range(0, len(samples), size))
