"""Writing so that a crash, a full disk or a second reader never sees half a file."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ostinato.errors import BusyError

_PREFIX = ".ostinato-"  # of every file and folder that is being written; never read, removed when found


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` whole, or not at all.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and renamed when the block ends
    without an error. After an error (a full disk, an interrupt) the temporary file is removed and `path` is as before.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with writing(folder / "note") as file:
    ...     _ = file.write(b"la")
    >>> [entry.name for entry in folder.iterdir()]
    ['note']
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a model is as readable as anything else that the user writes
        os.chmod(name, 0o666 & ~_umask())  # noqa: PTH101
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all (see `writing`)."""
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all (see `writing`)."""
    write_bytes(path, text.encode())


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """A folder that takes the place of `path` whole, or not at all; what stood there is removed afterwards.

    On Linux the exchange is one system call; elsewhere two renames, so that a crash between them leaves the old folder
    under a name that begins with `.ostinato-`.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    new = path.parent / f"{_PREFIX}{os.getpid()}-{path.name}"
    new.mkdir()
    try:
        yield new
        new.chmod(0o777 & ~_umask())
        for entry in new.rglob("*"):
            if entry.is_dir():
                sync_folder(entry)
        sync_folder(new)
        if not path.exists():
            new.rename(path)
        elif not _exchange(new, path):
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX)) / "old"
            path.rename(old)
            new.rename(path)
            shutil.rmtree(old.parent)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # after an exchange this is the folder that stood at `path`


def _remove_orphans(path: Path) -> None:
    """Remove the unfinished folders for `path` whose process is no more, and those of this process."""
    name = re.compile(re.escape(_PREFIX) + r"(\d+)-" + re.escape(path.name))
    for entry in path.parent.glob(_PREFIX + "*"):
        if match := name.fullmatch(entry.name):
            try:
                os.kill(int(match[1]), 0)
                if int(match[1]) != os.getpid():
                    continue
            except ProcessLookupError:
                pass
            except PermissionError:
                continue  # somebody else's, and alive
            shutil.rmtree(entry)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process ends, however it ends.

    Raises:
        BusyError: with `what` and the number of the process that holds it.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise BusyError(f"{what} by process {file.read().strip() or 'unknown'}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left half-written in `folder`."""
    for entry in folder.glob(_PREFIX + "*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step (renameat2(2) with RENAME_EXCHANGE); False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0
