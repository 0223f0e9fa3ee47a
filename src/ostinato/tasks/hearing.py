"""Transcribing a stream of sound while it is heard, at constant memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import torch

from ostinato.codecs.audio_files import HIGHEST_RATE, LOWEST_RATE, UNKNOWN_LENGTH, check_samples
from ostinato.ctc import BLANK
from ostinato.errors import DataError, SettingsError
from ostinato.tasks.model import Predicted

if TYPE_CHECKING:
    from ostinato.tasks.transcriber import Transcriber
    from ostinato.tasks.transcriber_settings import PredictSettings

_WHERE = "the stream"
_PART_SECONDS = 0.1  # of sound that are waited for at most before the network goes on
_FORMATS = {(1, 8): "u8", (1, 16): "<i2", (1, 24): "24", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
_RAW = {"s16le": "<i2", "s32le": "<i4", "f32le": "<f4", "u8": "u8"}
_SCALE = {"<i2": 2.0**15, "<i4": 2.0**31, "24": 2.0**31, "<f4": 1.0, "<f8": 1.0}
_EXTENSIBLE = 0xFFFE  # a wav file's format, which is then told some bytes later


class Samples(NamedTuple):
    """How a stream has its samples."""

    rate: int
    channels: int
    kind: str
    """NumPy's name of a sample's type, or 24: three bytes."""
    left: int | None = None
    """Bytes of samples that are announced; None: till the end."""

    @property
    def frame_bytes(self) -> int:
        """Of a sample of each channel."""
        return self.channels * (3 if self.kind == "24" else np.dtype(self.kind.replace("u8", "u1")).itemsize)


def hear(model: Transcriber, source: BinaryIO, options: PredictSettings) -> Iterator[Predicted]:
    """Labels as they are heard: `row["label"]` at `row["seconds"]`; a line end comes after a pause, and at the end.

    A label is told with the step at which the likeliest path comes to it. A step is known `codec.audio.delay_seconds`
    after its sound begins, once its frames are there; the network adds to that, since it tells a label when it is sure
    of it. After a pause it begins anew, as with a recording, so that a stream may go on for ever.

    Args:
        model: of one direction.
        source: of bytes: a wav file, or samples alone (`options.raw`).
        options: of a stream.

    Raises:
        SettingsError: if the model reads in both directions.
        DataError: if the stream is no wav, has a rate below the model's, or a sample is no number.
    """
    if model.settings.bidirectional:
        raise SettingsError("stream: this model reads sounds from their end too; fit one with --no-bidirectional")
    audio, network = model.codec.audio, model.network
    form = Samples(options.rate or audio.rate, 1, _RAW[options.raw]) if options.raw else wav_header(source)
    names, words = model.codec.vocabulary, model.codec.of_text.kind == "word"
    pause = max(1, round(options.pause_seconds / audio.step_seconds))
    device = next(network.parameters()).device
    state: Any = None
    before, quiet, written, step = BLANK, 0, False, 0
    for features in audio.stream(samples(source, form), form.rate):
        with torch.inference_mode():
            hidden, state = network.network(torch.from_numpy(features).unsqueeze(1).to(device), state)
            path = network.head.log_probabilities(hidden)[:, 0].argmax(-1).tolist()
        for label in path:
            step += 1
            quiet = quiet + 1 if label == BLANK else 0
            if label not in (BLANK, before) and (written or names[label] != " "):
                text = (" " if words and written else "") + names[label]
                yield Predicted({"label": names[label], "seconds": round(step * audio.step_seconds, 3)}, text)
                written = True
            before = label
        if quiet >= pause:
            state, before, quiet = None, BLANK, 0
            if written:
                yield Predicted({"label": "\n", "seconds": round(step * audio.step_seconds, 3)}, "\n")
                written = False
    if written:
        yield Predicted({"label": "\n", "seconds": round(step * audio.step_seconds, 3)}, "\n")


def wav_header(source: BinaryIO) -> Samples:
    r"""Read the header of a wav file from a stream, up to its samples.

    Raises:
        DataError: if it is none, or its samples are of a kind that cannot be read from a stream.

    >>> import io
    >>> fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    >>> wav_header(io.BytesIO(b"RIFF\0\0\0\0WAVE" + fmt + b"data\xff\xff\xff\xff"))
    Samples(rate=8000, channels=1, kind='<i2', left=None)
    """
    head = _exactly(source, 12)
    if not head:
        raise DataError(f"{_WHERE}: empty: expected a wav file, or samples with --raw")
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise DataError(f"{_WHERE}: begins with {head[:4]!r}, which is no wav; samples alone are read with --raw s16le")
    form: Samples | None = None
    while len(chunk := _exactly(source, 8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            if form is None:
                break
            return form._replace(left=None if not length or length >= UNKNOWN_LENGTH else length)
        if length > 1 << 24:
            break
        content = _exactly(source, length + length % 2)
        if name == b"fmt " and len(content) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if kind == _EXTENSIBLE and len(content) >= 26:
                (kind,) = struct.unpack("<H", content[24:26])
            if (kind, bits) not in _FORMATS or not channels:
                raise DataError(
                    f"{_WHERE}: samples of format {kind}, {bits} bits, {channels} channels: expected PCM of 8, 16, 24 "
                    "or 32 bits, or floats"
                )
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise DataError(f"{_WHERE}: {rate:,} samples a second; expected {LOWEST_RATE:,} to {HIGHEST_RATE:,}")
            form = Samples(rate, channels, _FORMATS[kind, bits])
    raise DataError(f"{_WHERE}: a wav file that ends before its samples")


def samples(source: BinaryIO, form: Samples) -> Iterator[np.ndarray]:
    """The mean of the channels, float32 [samples], in parts as they come; what is left of the last sample is dropped.

    Raises:
        DataError: if one is no number.
    """
    read = getattr(source, "read1", source.read)  # what is there already, without waiting for more
    most = max(1, int(form.rate * _PART_SECONDS)) * form.frame_bytes
    rest, left, first = b"", form.left, 0
    while left is None or left > 0:
        data = read(most if left is None else min(most, left))
        if not data:
            break
        left = None if left is None else left - len(data)
        rest += data
        whole = len(rest) - len(rest) % form.frame_bytes
        if not whole:
            continue
        found = _numbers(rest[:whole], form.kind).reshape(-1, form.channels).mean(1)
        rest = rest[whole:]
        check_samples(found, form.rate, _WHERE, first)
        first += len(found)
        yield found


def _numbers(data: bytes, kind: str) -> np.ndarray:
    """Samples from -1 to 1, float32."""
    if kind == "u8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if kind == "24":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(_SCALE[kind])
    return np.frombuffer(data, kind).astype(np.float32) / np.float32(_SCALE[kind])


def _exactly(source: BinaryIO, size: int) -> bytes:
    """So many bytes, or fewer at the end."""
    found = b""
    while len(found) < size and (data := source.read(size - len(found))):
        found += data
    return found
