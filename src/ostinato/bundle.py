"""A model is a folder: JSON, safetensors and text, no pickle, read on any machine.

ostinato.json         format version, task, settings, metrics, data fingerprint, versions
weights.safetensors   with the digest of its own tensors
codec/                vocabulary and what else turns raw input into ids
history.jsonl         a line per interval of training and per evaluation
README.md             the model card
report.html           all that can be shown of the model, for a browser; may be deleted
run/                  what a resumed training needs: checkpoints and token ids; may be deleted
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ostinato.errors import BundleError
from ostinato.files import write_bytes, write_text, writing_folder

FORMAT = 1
MANIFEST, WEIGHTS, HISTORY, CARD, CODEC, RUN = (
    "ostinato.json", "weights.safetensors", "history.jsonl", "README.md", "codec", "run",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of what a model was made with."""
    found = {"python": platform.python_version()}
    for package in ("ostinato", "torch", "numpy", "safetensors", "scikit-learn", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write `ostinato.json`, whole or not at all."""
    complete = {"format": FORMAT, **manifest, "versions": versions()}
    write_text(folder / MANIFEST, json.dumps(complete, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file that this package wrote.

    Raises:
        BundleError: if it is missing or damaged.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BundleError(f"{path}: damaged: {error}") from None
    if not isinstance(values, dict):
        raise BundleError(f"{path}: damaged: expected an object, found {type(values).__name__}")
    return values


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `ostinato.json` says.

    Raises:
        BundleError: if the folder is not a model, is damaged, or was written by a later version.
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise BundleError(f"{folder}: no such folder")
    if not path.is_file():
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) if folder.is_dir() else "a file"
        raise BundleError(f"{folder}: not an ostinato model: no {MANIFEST} (found: {held or 'nothing'})")
    manifest = read_json(path)
    if not isinstance(manifest.get("format"), int) or not isinstance(manifest.get("task"), str):
        raise BundleError(f"{path}: not an ostinato model: expected the keys format and task")
    if manifest["format"] > FORMAT:
        raise BundleError(f"{path}: format {manifest['format']} is newer than {FORMAT}: upgrade ostinato to read it")
    if not isinstance(manifest.get("settings"), dict):
        raise BundleError(f"{path}: damaged: expected the key settings")
    return manifest


def digest(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str] | None = None) -> str:
    """SHA-256 over names, types, shapes and bytes, and over the notes if there are any.

    >>> digest({"w": np.zeros(2, np.float32)})[:8]
    'cb2c1f5e'
    """
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name], order="C")  # ascontiguousarray makes vectors of scalars
        state.update(f"{name}:{tensor.dtype.str}:{tensor.shape};".encode())
        state.update(tensor.data if tensor.size else b"")
    if notes:
        state.update(json.dumps(dict(notes), sort_keys=True).encode())
    return state.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], notes: Mapping[str, str] | None = None) -> None:
    """Write tensors with their digest and some notes as one safetensors file, whole or not at all."""
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    write_bytes(path, save(arrays, {**(notes or {}), "sha256": digest(arrays, notes)}))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and notes that `write_tensors` wrote.

    Raises:
        BundleError: if the file is missing, or its bytes are not those that were written.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path}: damaged: {error}") from None
    wanted = notes.pop("sha256", None)
    found = digest(tensors, notes)
    if wanted != found:
        raise BundleError(
            f"{path}: damaged: the digest of its tensors is {found[:12]}…, written was {str(wanted)[:12]}…"
        )
    return tensors, notes


@contextmanager
def writing_bundle(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to fill with a bundle, which takes its place at the end.

    Raises:
        BundleError: if something stands there that is not a model, or a model does and `overwrite` is not set.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        try:
            read_manifest(folder)
        except BundleError as error:
            raise BundleError(f"{folder}: will not be replaced, since it is no model ({error})") from None
        if not overwrite:
            resume = f", --resume {folder} goes on with it" if (folder / RUN).is_dir() else ""
            raise BundleError(f"{folder}: a model stands there: --overwrite replaces it{resume}")
    with writing_folder(folder) as new:
        yield new
