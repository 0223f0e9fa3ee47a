"""Token ids on disk, memory-mapped, so that the size of a corpus is no matter of memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from ostinato.errors import DataError
from ostinato.files import writing


class TokenFile:
    """Ids of one corpus in one file: little-endian unsigned integers of two or four bytes, and nothing else.

    Args:
        path: the file; its name ends in `.u16` or `.u32`, which is the type of an id.

    >>> import tempfile
    >>> written = TokenFile.write(
    ...     Path(tempfile.mkdtemp()), "train", [np.array([3, 1]), np.array([2])], vocabulary_size=4
    ... )
    >>> written.path.name, len(written), written.ids.tolist()
    ('train.u16', 3, [3, 1, 2])
    """

    _types: ClassVar[dict[str, np.dtype]] = {".u16": np.dtype("<u2"), ".u32": np.dtype("<u4")}

    def __init__(self, path: Path) -> None:
        self.path = path
        dtype = self._types[path.suffix]
        size = path.stat().st_size
        if size % dtype.itemsize:
            raise DataError(f"{path}: {size} bytes are not a whole number of {dtype.itemsize}-byte ids")
        self._map: mmap.mmap | None = None
        if size:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.ids: np.ndarray = np.frombuffer(self._map if self._map is not None else b"", dtype=dtype)
        """The ids, [tokens]; reading a slice reads the disk."""

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self, size: int = 1 << 20) -> Iterator[np.ndarray]:
        """All ids in order, at most `size` at once, at the memory of one block."""
        for start in range(0, len(self), size):
            yield self.ids[start : start + size]
            self.release()

    def release(self) -> None:
        """Let go of the pages read so far; they are read again when needed."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    @classmethod
    def write(cls, folder: Path, name: str, blocks: Iterable[np.ndarray], vocabulary_size: int) -> TokenFile:
        """Write blocks of ids, whole or not at all, with the smallest type that holds the vocabulary."""
        suffix = ".u16" if vocabulary_size <= 1 << 16 else ".u32"
        path = folder / (name + suffix)
        with writing(path) as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block, cls._types[suffix]).data)
        return cls(path)

    @classmethod
    def find(cls, folder: Path, name: str) -> TokenFile | None:
        """The file of that name that `write` left in `folder`, if it did."""
        paths = [folder / (name + suffix) for suffix in cls._types]
        return next((cls(path) for path in paths if path.exists()), None)
