"""Clips in NumPy's files: which axis is what, and numbers as bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ostinato.errors import DataError, SettingsError

_MOST_BYTES = 1 << 32  # of an array of a .npz, which is unpacked whole
_BY_DIMENSIONS = "thw, thwc (1, 3 or 4 channels), nthw or nthwc"


def read_arrays(path: Path) -> Iterator[tuple[np.ndarray, str]]:
    """The arrays of a file, each with its name; those of `.npy` are mapped into memory.

    Raises:
        DataError: if it cannot be read, is cut off, or holds pickled objects, which are never read.
    """
    try:
        if not path.stat().st_size:
            raise DataError(f"{path}: empty: expected an array")
        with path.open("rb") as file:
            beginning = file.read(6)
        if not beginning.startswith((b"\x93NUMPY", b"PK")):
            found = beginning[:4].hex(" ")
            raise DataError(f"{path}: it begins {found}: expected NumPy's own format; nothing pickled is read")
        if not zipfile.is_zipfile(path):
            yield np.load(path, mmap_mode="r", allow_pickle=False), str(path)
            return
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.file_size > _MOST_BYTES:
                    size = f"{member.file_size:,} bytes unpacked"
                    raise DataError(f"{path}: {member.filename}: {size}: expected at most {_MOST_BYTES:,}; use .npy")
        with np.load(path, allow_pickle=False) as found:
            for name in found.files:
                yield found[name], f"{path}, {name}"
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, DataError):
            raise
        said = " ".join(str(error).split())
        if "allow_pickle" in said or "Python objects" in said:
            said = "it holds pickled Python objects, which are never read; save numbers of one shape"
        raise DataError(f"{path}: not an array that can be read: {said}") from None


def frames_of(array: np.ndarray, name: str, axes: str | None = None) -> np.ndarray:
    """A view as [clips, time, height, width, channels].

    Args:
        array: as it stands in a file.
        name: for errors.
        axes: a letter each (see `ClipSettings.axes`); by their number and sizes if None.

    Raises:
        DataError: if there is no way to read it so.
        SettingsError: if the letters are none.

    >>> frames_of(np.zeros((20, 7, 64, 48)), "moving.npy", "tnhw").shape
    (7, 20, 64, 48, 1)
    >>> frames_of(np.zeros((20, 64, 48, 3)), "clip.npy").shape
    (1, 20, 64, 48, 3)
    """
    if axes is not None and (sorted(axes) != sorted(set(axes)) or not set("thw") <= set(axes) <= set("nthwc")):
        raise SettingsError(f"axes = {axes!r}: expected t, h, w once each, and n, c if there are such, as in tnhw")
    if axes is None:
        in_colour = array.ndim > 3 and array.shape[-1] in (1, 3, 4)
        axes = {3: "thw", 4: "thwc" if in_colour else "nthw", 5: "nthwc"}.get(array.ndim)
    if axes is None or len(axes) != array.ndim:
        wanted = f"{len(axes)} axes, {axes}" if axes else f"{_BY_DIMENSIONS}; or say which is what by --axes"
        raise DataError(f"{name}: {array.ndim} axes, {list(array.shape)}: expected {wanted}")
    present = [axes.index(letter) for letter in "nthwc" if letter in axes]
    found = array.transpose(present)
    found = found if "n" in axes else found[None]
    found = found if "c" in axes else found[..., None]
    if 0 in found.shape or found.shape[4] not in (1, 3, 4):
        raise DataError(f"{name}: {list(array.shape)} as {axes}: expected frames with 1, 3 or 4 channels, none empty")
    if found.dtype.kind not in "buif":
        raise DataError(f"{name}: an array of {array.dtype}: expected numbers")
    return found


def as_bytes(frames: np.ndarray, name: str) -> np.ndarray:
    """Frames [time, height, width, channels] as uint8: whole numbers as they are, others times 255.

    Raises:
        DataError: at what is not finite, or out of range, with its frame.

    >>> as_bytes(np.array([0.0, 0.5, 1.0]).reshape(1, 1, 3, 1), "clip.npy").ravel().tolist()
    [0, 128, 255]
    """
    frames = np.asarray(frames)
    if frames.dtype == np.uint8:
        return frames
    if frames.dtype == bool:
        return frames.astype(np.uint8) * 255
    whole = frames.dtype.kind in "ui"
    limit = 255 if whole else 1
    wrong = ~((frames >= 0) & (frames <= limit))  # NaN too
    if wrong.any():
        at = [int(index) for index in np.argwhere(wrong)[0]]
        value = frames[tuple(at)]
        hint = (
            "" if whole or not np.isfinite(value) or value < 0 or value > 255 else "; divide by 255, or save as uint8"
        )
        where = f"{name}: frame {at[0] + 1}, row {at[1] + 1}, column {at[2] + 1}: {value:g}"
        raise DataError(f"{where}: expected numbers from 0 to {limit}{hint}")
    return frames.astype(np.uint8) if whole else np.rint(frames * 255.0).astype(np.uint8)
