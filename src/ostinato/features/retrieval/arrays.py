"""Arrays in one file, mapped into memory: a safetensors file that is filled in place and never read as a whole."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.errors import BundleError
from ostinato.files import writing

_TYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "I32": np.int32, "I64": np.int64, "U64": np.uint64}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}


@contextmanager
def writing_arrays(path: Path, sizes: Mapping[str, tuple[Any, int]]) -> Iterator[dict[str, np.ndarray]]:
    """Vectors to fill; when the block ends they are on the disk as `path`, whole or not at all.

    Args:
        path: of the file.
        sizes: for each name the type and the number of elements.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "arrays.safetensors"
    >>> with writing_arrays(path, {"lengths": (np.int32, 2)}) as arrays:
    ...     arrays["lengths"][:] = 3, 5
    >>> map_arrays(path)["lengths"].tolist()
    [3, 5]
    """
    header, end = {}, 0
    # the widest first, so that each begins at a multiple of its width
    for name, (kind, count) in sorted(sizes.items(), key=lambda item: -np.dtype(item[1][0]).itemsize):
        start, end = end, end + count * np.dtype(kind).itemsize
        header[name] = {"dtype": _NAMES[np.dtype(kind)], "shape": [count], "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with writing(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.flush()
        size = 8 + len(head) + end
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, but a signal in a mapped page
        else:
            os.ftruncate(file.fileno(), size)
        mapped = mmap.mmap(file.fileno(), size)
        yield _views(mapped, header, 8 + len(head))
        mapped.flush()


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """The vectors of a file, read from the disk where they are looked at.

    Raises:
        BundleError: if the file is missing, or shorter than its header tells.
    """
    try:
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            size = os.fstat(file.fileno()).st_size
            header = json.loads(file.read(start - 8)) if start <= size else None
            end = max((start + entry["data_offsets"][1] for entry in header.values()), default=start) if header else 0
            if header is None or end > size:
                raise BundleError(f"{path}: damaged: it has {size:,} bytes, and should have {max(end, start):,}")
            return _views(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), header, start)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path}: damaged: {error}") from None


def _views(data: mmap.mmap, header: Mapping[str, Any], start: int) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(data, _TYPES[entry["dtype"]], entry["shape"][0], start + entry["data_offsets"][0])
        for name, entry in header.items()
    }
