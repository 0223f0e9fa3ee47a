"""Clips: frames in order, of animations, folders of images and arrays, as bytes of one size; and windows of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.codecs.arrays import as_bytes, frames_of, read_arrays
from ostinato.codecs.images import SUFFIXES, ImageCodec, ImageSettings, header, opened
from ostinato.data import BLOCK_BYTES
from ostinato.errors import DataError

ANIMATIONS = ("GIF", "WebP")
_ARRAYS = frozenset({".npy", ".npz"})
_MOST_PIXELS = 4_000_000_000  # of all frames of an animation, as they stand in the file: about a minute of unpacking
_LONGEST_STILL = 10  # frames; what is shown longer is a pause
_PICTURE, _EXTENSION, _TRAILER, _CONTROL = 0x2C, 0x21, 0x3B, 0xF9
_BEGINNINGS = {b"GIF8": ".gif", b"RIFF": ".webp", b"\x93NUM": ".npy", b"PK\x03\x04": ".npz"}


class ClipSettings(ImageSettings):
    """How clips are read, and cut into windows."""

    background: Literal["white", "black"] = Field("black", description="of margins, and behind what is transparent")
    input_frames: int = Field(10, ge=1, description="frames that are seen")
    target_frames: int = Field(10, ge=1, description="frames after them that are to be told")
    stride: int | None = Field(
        None, ge=1, description="frames from the beginning of a window to that of the next [default: target_frames]"
    )
    every: int = Field(1, ge=1, description="take each n-th frame of a clip")
    axes: str | None = Field(
        None,
        description="of arrays, a letter each: n clips, t time, h height, w width, c channels, such as tnhw "
        "[default: thw, thwc, nthw or nthwc, by their number and the size of the last]",
    )


@dataclass(frozen=True)
class Clip:
    """Frames in order, that are unpacked when they are read."""

    name: str
    """Where it stands, for people."""
    length: int
    """Frames."""
    height: int
    width: int
    coloured: bool
    unpack: Callable[[ImageCodec], Iterator[np.ndarray]]
    """The frames, uint8 [channels, height, width] each, as a codec wants them."""
    milliseconds: int = 100
    """That a frame is shown."""

    def read(self, codec: ImageCodec) -> np.ndarray:
        """All frames, uint8 [time, height, width, channels].

        Raises:
            DataError: if one cannot be read, or is not a number from 0 to 1, or an integer up to 255.
        """
        return np.stack([frame.transpose(1, 2, 0) for frame in self.unpack(codec)])


class Window(NamedTuple):
    """A part of a clip; or, with a `problem`, what cannot be one."""

    clip: Clip | None
    start: int = 0
    """Its first frame, counted among those that are taken."""
    problem: str = ""


class ClipReader:
    """Clips of files: a GIF or WebP is a clip, the PNG and JPEG files of a folder are, an array holds one or many.

    Args:
        files: what to read; of a folder's images the order is that of the numbers in their names.
        settings: how.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "clips.npy"
    >>> np.save(path, np.zeros((3, 25, 8, 8), np.uint8))
    >>> reader = ClipReader([path], ClipSettings())
    >>> [clip.length for clip in reader.clips()], len(list(reader.examples()))
    ([25, 25, 25], 3)
    """

    def __init__(self, files: Sequence[Path], settings: ClipSettings) -> None:
        self.files, self.settings = files, settings
        self._known: list[Clip | str] | None = None

    def clips(self) -> Iterator[Clip]:
        """All clips, in the order of the files; what holds none is left out, see `examples`."""
        return (found for found in self._found() if isinstance(found, Clip))

    def examples(self) -> Iterator[Window]:
        """The windows of all clips, and a `Window` with a problem for each file and clip that gives none."""
        s = self.settings
        size = s.input_frames + s.target_frames
        for found in self._found():
            if isinstance(found, str):
                yield Window(None, problem=found)
                continue
            taken = -(-found.length // s.every)
            if taken < size:
                more = f" of which one in {s.every} is taken" if s.every > 1 else ""
                yield Window(
                    None,
                    problem=f"a clip of {found.length} frame{'s'[: found.length != 1]}{more}: {s.input_frames} to see "
                    f"and {s.target_frames} to tell are needed (--input-frames, --target-frames)",
                )
            for start in range(0, taken - size + 1, s.stride or s.target_frames):
                yield Window(found, start)

    def _found(self) -> list[Clip | str]:
        """Clips, whose headers are read once, and why a file holds none."""
        if self._known is None:
            self._known = list(self._read_headers())
        return self._known

    def _read_headers(self) -> Iterator[Clip | str]:
        for kind, group in groupby(self.files, _kind_of):
            paths = list(group)
            if kind == "images":
                for _, together in groupby(paths, lambda path: path.parent):
                    yield folder_clip(list(together), self.settings.max_pixels)
            elif kind == "other":
                yield from (
                    f"a file that is no clip ({path.suffix or path.name}): expected .gif, .webp, .png, .jpg, .npy, .npz"
                    for path in paths
                )
            else:
                for path in paths:
                    yield from (
                        [animation_clip(path, self.settings.max_pixels)]
                        if kind == "animation"
                        else array_clips(path, self.settings.axes)
                    )

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold: names, a digest of their bytes, how many clips and frames."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
        lengths = [clip.length for clip in self.clips()]
        about = {"files": [path.name for path in self.files], "sha256": digest.hexdigest()}
        return about | {"clips": len(lengths), "frames": sum(lengths)}


def _kind_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if not suffix:  # standard input, which was copied
        with path.open("rb") as file:
            suffix = _BEGINNINGS.get(file.read(4), "")
    if suffix in SUFFIXES:
        return "images"
    return "array" if suffix in _ARRAYS else "animation" if suffix in (".gif", ".webp") else "other"


def natural(path: Path) -> list[Any]:
    """A key that sorts 2.png before 10.png.

    >>> sorted([Path("10.png"), Path("2.png")], key=natural)[0].name
    '2.png'
    """
    pieces = re.split(r"(\d+)", path.name)
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def folder_clip(paths: list[Path], max_pixels: int) -> Clip:
    """The images of a folder as a clip.

    Raises:
        DataError: if one cannot be read, or they differ in size.
    """
    paths = sorted(paths, key=natural)
    heads = [header(path, "", max_pixels) for path in paths]
    first = heads[0]
    for path, head in zip(paths, heads, strict=True):
        if head[:2] != first[:2]:
            sizes = f"{head.height} × {head.width} pixels, but {paths[0].name} has {first.height} × {first.width}"
            raise DataError(f"{path}: {sizes}: the images of a folder are the frames of one clip, and of one size")

    def unpack(codec: ImageCodec) -> Iterator[np.ndarray]:
        return (codec.read(path) for path in paths)

    coloured = any(head.coloured for head in heads)
    return Clip(str(paths[0].parent), len(paths), first.height, first.width, coloured, unpack)


def animation_clip(path: Path, max_pixels: int) -> Clip:
    """A GIF or WebP as a clip.

    Programs that write a GIF leave out a frame that is like the one before, which is then shown longer: of a GIF, a
    frame that is shown n times as long as the shortest counts n times, up to ten; more is taken for a pause.

    Raises:
        DataError: if it cannot be read, is cut off, or would take too long to unpack.
    """
    with opened(path, "", max_pixels, ANIMATIONS, still=False) as image:
        delays = gif_delays(path) if image.format == "GIF" else [0] * getattr(image, "n_frames", 1)
        height, width = image.height, image.width
        if len(delays) * height * width > _MOST_PIXELS:
            size = f"{len(delays):,} frames of {height:,} × {width:,} pixels"
            raise DataError(f"{path}: {size}: more than {_MOST_PIXELS:,} pixels are not unpacked; cut or shrink it")
        coloured = image.mode.startswith(("RGB", "YCbCr"))
        if image.mode == "P":
            palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            used = palette[np.unique(np.asarray(image)).clip(max=len(palette) - 1)]
            coloured = bool((used != used[:, :1]).any())
    shortest = min((delay for delay in delays if delay), default=10)
    counts = [max(1, delay // shortest) if delay <= _LONGEST_STILL * shortest else 1 for delay in delays]

    def unpack(codec: ImageCodec) -> Iterator[np.ndarray]:
        with opened(path, "", max_pixels, ANIMATIONS, still=False) as image:
            for number, count in enumerate(counts):
                try:
                    image.seek(number)
                    frame = codec.fitted(image)
                except (EOFError, OSError, SyntaxError, ValueError) as error:
                    raise DataError(f"{path}: frame {number + 1} of {len(counts)} is damaged: {error}") from None
                yield from [frame] * count

    return Clip(str(path), sum(counts), height, width, coloured, unpack, 10 * shortest)


def gif_delays(path: Path) -> list[int]:
    """How long each picture of a GIF is shown, in hundredths of a second; nothing is unpacked (GIF89a, section 18-27).

    Raises:
        DataError: if the file ends before it says so.
    """
    data, delays, delay = path.read_bytes(), [], 0

    def tables(flags: int) -> int:
        """Bytes of the table of colours that a descriptor announces."""
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    try:
        at = 13 + tables(data[10])
        while (kind := data[at]) != _TRAILER:
            if kind == _PICTURE:
                delays.append(delay)
                at, delay = at + 11 + tables(data[at + 9]), 0
            elif kind == _EXTENSION:
                if data[at + 1] == _CONTROL:
                    delay = int.from_bytes(data[at + 4 : at + 6], "little")
                at += 2
            else:
                raise DataError(f"{path}: a damaged GIF: no block begins with {kind:02x} at byte {at:,}")
            while size := data[at]:  # blocks of up to 255 bytes, ended by an empty one
                at += 1 + size
            at += 1
    except IndexError:
        raise DataError(f"{path}: a damaged GIF: cut off in frame {len(delays)}: expected a whole file") from None
    return delays


def array_clips(path: Path, axes: str | None) -> Iterator[Clip]:
    """The clips of a `.npy` or `.npz` file, which is read as far as it is needed.

    Raises:
        DataError: if it cannot be read, holds pickled objects, or its axes are none of clips.
    """
    for array, name in read_arrays(path):
        clips = frames_of(array, name, axes)
        for index, frames in enumerate(clips):
            told = f"{name}, clip {index + 1}" if len(clips) > 1 else name
            yield array_clip(frames, told)


def array_clip(frames: np.ndarray, name: str) -> Clip:
    """Frames, [time, height, width, channels], as a clip."""

    def unpack(codec: ImageCodec) -> Iterator[np.ndarray]:
        for frame in as_bytes(frames, name):
            if frame.shape == (codec.height, codec.width, codec.channels):
                yield frame.transpose(2, 0, 1)
            else:
                yield codec.pixels(frame[..., 0] if frame.shape[2] == 1 else frame)

    length, height, width, channels = frames.shape
    return Clip(name, length, height, width, channels > 1, unpack)
