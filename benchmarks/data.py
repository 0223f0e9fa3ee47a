"""Where the data for benchmarks are, which the project does not contain."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """`OSTINATO_DATA`, or `shared/data` beside the project."""
    return Path(os.environ.get("OSTINATO_DATA") or ROOT.parent / "shared" / "data")


def need(name: str) -> Path:
    """A file of the data folder; without it the benchmark ends and says what is missing."""
    path = data_folder() / name
    if not path.exists():
        sys.exit(f"{path}: not here; set OSTINATO_DATA to the folder that holds {name}")
    return path


def penn_treebank(folder: Path) -> dict[str, Path]:
    """The three parts of the Penn Treebank, unpacked into a folder: train, valid, test."""
    found = {}
    with zipfile.ZipFile(need("lm/ptb.zip")) as archive:
        for part in ("train", "valid", "test"):
            member = next(name for name in archive.namelist() if Path(name).name == f"ptb.{part}.txt")
            found[part] = folder / f"ptb.{part}.txt"
            found[part].write_bytes(archive.read(member))
    return found
