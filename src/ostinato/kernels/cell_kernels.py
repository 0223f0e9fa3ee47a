"""A cell's compiled kernel: one of the native module's, or one that a compiler here makes of its equations."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ostinato.errors import BackendUnavailable, SettingsError, nearest
from ostinato.files import write_bytes

SOURCES = Path(__file__).parent / "native"


def constant_when_compiled(function: Any) -> Any:
    """As `torch.compiler.assume_constant_result`, which imports the compiler: a second, of use to few processes."""
    function._dynamo_marked_constant = True
    return function


class Kernel(NamedTuple):
    """A cell's two functions, by address, and what their caller must know."""

    name: str
    address: int
    isa: str
    gates: int
    states: int
    saved: int
    vectors: int
    recurrent: bool
    split: bool
    """Whether the two parts of a pre-activation have gradients of their own."""


@constant_when_compiled
@cache
def native_module() -> Any:
    """The native module, or None where the package was installed without a compiler."""
    try:
        return import_module("ostinato.kernels._native")
    except ModuleNotFoundError:
        return None


@constant_when_compiled
@cache
def instruction_set() -> str:
    """The one that is used: the widest here, or that of the environment variable OSTINATO_ISA.

    Raises:
        SettingsError: if this machine has none of that name.
    """
    found: list[str] = native_module().instruction_sets()
    wanted = os.environ.get("OSTINATO_ISA") or found[0]
    if wanted not in found:
        raise SettingsError(f"OSTINATO_ISA = {wanted!r}: this machine runs {', '.join(found)}{nearest(wanted, found)}")
    return wanted


def why_no_kernel(cell: type) -> str | None:
    """None, or why no kernel can be made of a cell's equations, whatever the machine."""
    kind: Any = cell
    if kind.late:
        return f"a product of {kind.__name__} waits for one of its gates"
    if len(kind.State._fields) > 4:
        return f"{kind.__name__} has {len(kind.State._fields)} parts of state, a kernel takes 4"
    return None


_kernels: dict[tuple[type, bool], Kernel | str] = {}


@constant_when_compiled
def kernel_of(cell: type, normed: bool = False) -> Kernel | str:
    """A cell type's kernel, made the first time; or why there is none. `normed`: with its own normalisation."""
    if (cell, normed) not in _kernels:
        try:
            _kernels[cell, normed] = _find(cell, normed)
        except BackendUnavailable as error:
            _kernels[cell, normed] = str(error)
    return _kernels[cell, normed]


def _find(cell: type, normed: bool) -> Kernel | str:
    native = native_module()
    if native is None:
        return "the native module was not built: there was no C++ compiler when ostinato was installed"
    if (reason := why_no_kernel(cell)) is not None:
        return reason
    isa = instruction_set()
    name = _built_in_name(cell)
    address = native.built_in(isa, f"{name}_norm" if normed else name) or _compiled(cell, isa, normed)
    return Kernel(cell.__name__, address, isa, *native.facts(address))


def _built_in_name(cell: type) -> str:
    """The cell of ours whose equations a type has: its own class or the nearest above that changed nothing since."""
    for parent in cell.__mro__:
        if any(name in vars(parent) for name in ("update", "coefficients", "gates", "State", "vectors", "recurrent")):
            return parent.__name__ if parent.__module__.startswith("ostinato.") else ""
    return ""


def _compiled(cell: type, isa: str, normed: bool) -> int:
    """Address of a kernel made here of a cell's equations; the library that holds it is kept for the next process."""
    from ostinato.kernels.emit import emit
    from ostinato.kernels.expressions import identifier

    code = emit(cell, normed)
    native = native_module()
    address: int = native.of_equations(isa, code.fingerprint)
    if address:
        return address
    source = (
        f'#include "pointwise.hpp"\nnamespace {{\n{code.functions}\nconst Cell CELL = {code.entry};\n}}\n'
        'extern "C" const void* ostinato_cell() { return &CELL; }\n'
    )
    try:
        library = _cache() / f"{identifier(cell)}-{code.fingerprint}-{isa}-{_headers()}.so"
        if not library.exists():
            build(source, isa, library)
        try:
            loaded = ctypes.CDLL(str(library))
        except OSError:  # damaged
            build(source, isa, library)
            loaded = ctypes.CDLL(str(library))
    except OSError as error:
        raise BackendUnavailable(f"its kernel could not be kept or loaded: {error}") from None
    loaded.ostinato_cell.restype = ctypes.c_void_p
    return int(loaded.ostinato_cell())


def _headers() -> str:
    """A fingerprint of what a kernel is compiled against: one of other headers would not fit the loop."""
    headers = b"".join((SOURCES / name).read_bytes() for name in ("pointwise.hpp", "layer.hpp", "vec.hpp"))
    return hashlib.sha256(headers).hexdigest()[:8]


def build(source: str, isa: str, library: Path) -> None:
    """Compile C++ against the headers of `native/`, with the flags of an instruction set of the native module.

    Raises:
        BackendUnavailable: if there is no compiler, or it refuses the source.
        OSError: if the library cannot be written.
    """
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None:
        raise BackendUnavailable(
            "its equations are your own, and there is no C++ compiler here to make a kernel of them"
        )
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "cell.so"
        command = [
            compiler,
            "-x",
            "c++",
            "-std=c++17",
            "-fPIC",
            "-shared",
            *native_module().flags(isa).split(),
            f"-I{SOURCES}",
            "-",
            "-o",
            str(made),
        ]
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip()
            first = next((line for line in told.splitlines() if "error" in line), told[:200])
            why = first or f"exit code {done.returncode}"
            raise BackendUnavailable(f"its kernel could not be compiled: {why} ({compiler})")
        write_bytes(library, made.read_bytes())


def _cache() -> Path:
    base = os.environ.get("OSTINATO_CACHE")
    if not base:
        default = "Library/Caches" if sys.platform == "darwin" else ".cache"
        try:
            home = os.environ.get("XDG_CACHE_HOME") or Path.home() / default
        except RuntimeError as error:  # nor does the system know one
            raise FileNotFoundError(f"{error} (OSTINATO_CACHE can name a folder)") from None
        base = str(Path(home) / "ostinato")
    folder = Path(base) / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
