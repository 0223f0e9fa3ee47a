"""Sparse matrices of terms: made from token ids, and written as scipy reads them, block by block."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from scipy import sparse

from ostinato.files import writing

ROWS_AT_ONCE = 2048


def in_batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of at most `ROWS_AT_ONCE` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, ROWS_AT_ONCE)):
        yield batch


def count_rows(rows: Sequence[Sequence[int]], columns: int) -> sparse.csr_array:
    """How often each id occurs in each row, int64 [rows, columns]; negative ids are left out.

    >>> count_rows([[0, 2, 0], [-1]], 3).toarray().tolist()
    [[2, 0, 1], [0, 0, 0]]
    """
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    # 32-bit indices, since liblinear, and so much of scikit-learn, takes no others
    ids = np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum()))
    known = ids >= 0
    at = np.concatenate([[0], np.cumsum(known)])[np.concatenate([[0], np.cumsum(lengths)])].astype(np.int32)
    counts = sparse.csr_array((np.ones(int(known.sum()), np.int64), ids[known], at), shape=(len(rows), columns))
    counts.sum_duplicates()
    return counts


def write_matrix(path: Path, blocks: Iterable[Any], columns: int) -> tuple[int, int]:
    """Write rows that come in blocks as one matrix that `scipy.sparse.load_npz` reads, whole or not at all.

    In memory are one block and eight bytes a row.

    Returns:
        The number of rows, and of entries that are not zero.
    """
    ends, kind = array("q", [0]), np.dtype(np.float64)
    with TemporaryFile(dir=path.parent) as data, TemporaryFile(dir=path.parent) as indices:
        for block in blocks:
            kind = block.data.dtype
            data.write(block.data.tobytes())
            indices.write(block.indices.astype(np.int32).tobytes())
            ends.extend((block.indptr[1:].astype(np.int64) + ends[-1]).tolist())
        rows, entries = len(ends) - 1, ends[-1]
        ends = np.asarray(ends).astype(np.int32 if entries < 2**31 else np.int64)
        parts = {"format": np.array(b"csr"), "_is_array": np.array(True), "shape": np.array([rows, columns])}
        with writing(path) as file, ZipFile(file, "w", ZIP_DEFLATED, compresslevel=1) as archive:
            for name, small in (parts | {"indptr": ends}).items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, small, allow_pickle=False)
            for name, spool, dtype in (("indices", indices, np.dtype(np.int32)), ("data", data, kind)):
                header = {"descr": dtype.str, "fortran_order": False, "shape": (entries,)}
                spool.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    copyfileobj(spool, member, 1 << 20)
    return rows, entries


def write_rows(path: Path, blocks: Iterable[np.ndarray], columns: int) -> int:
    """Write float32 rows that come in blocks as `vectors` of a file that `numpy.load` reads, whole or not at all.

    Returns:
        The number of rows.
    """
    rows = 0
    with TemporaryFile(dir=path.parent) as spool:
        for block in blocks:
            spool.write(np.ascontiguousarray(block, np.float32).data)
            rows += len(block)
        spool.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        with (
            writing(path) as file,
            ZipFile(file, "w") as archive,
            archive.open("vectors.npy", "w", force_zip64=True) as member,
        ):
            np.lib.format.write_array_header_1_0(member, header)
            copyfileobj(spool, member, 1 << 20)
    return rows
