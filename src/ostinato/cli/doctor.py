"""`ostinato doctor`: what is here."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Annotated, Any

import typer

from ostinato.cli.show import emit

app = typer.Typer(add_completion=False)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Tell what this machine has, which backend serves each cell and why, and which extras are installed."""
    import torch

    from ostinato.cells import CELLS
    from ostinato.kernels.recurrence import BACKENDS, LayerCall, choose

    found: dict[str, Any] = {"ostinato": version("ostinato"), "python": platform.python_version()}
    found |= {"torch": torch.__version__, "machine": f"{platform.system()} {platform.machine()}"}
    found |= {"cores": os.cpu_count(), "torch_threads": torch.get_num_threads()}
    found["vector_instructions"] = torch.backends.cpu.get_cpu_capability()
    found["native_module"] = _native()
    found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    found["compiler"] = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), "none")
    forced = os.environ.get("OSTINATO_BACKEND")
    found["backend"] = f"{forced} (OSTINATO_BACKEND)" if forced else "auto"
    for name, cell_type in CELLS.items():
        cell = cell_type(1, 1)
        call = LayerCall(cell_type, cell.weights(), torch.zeros(1, 1, 1), cell.initial_state(1))
        ragged = call._replace(lengths=torch.tensor([1]))
        why = [f"{other}: {reason}" for other, (serves, _) in BACKENDS.items() if (reason := serves(ragged))]
        found[f"{name}_cell"] = f"{choose(call)}; ragged batches: {choose(ragged)} ({'; '.join(why)})"
    for extra, packages in _extras().items():
        found[f"extra_{extra}"] = ", ".join(f"{name} {_installed(name)}" for name in packages)
    emit(found, as_json)


def _native() -> str:
    """Whether the package was built with a compiler, and what its module finds."""
    try:
        native: Any = import_module("ostinato.kernels._native")
    except ImportError:
        return "not built: there was no C++ compiler when ostinato was installed"
    return f"built; this CPU runs {', '.join(native.instruction_sets())}"


def _extras() -> dict[str, list[str]]:
    extras: dict[str, list[str]] = {}
    for line in requires("ostinato") or []:
        package, _, marker = line.partition(";")
        extra = marker.partition("extra ==")[2].strip(" \"'")
        if extra and extra not in ("all", "dev"):
            name = package.split(">")[0].split("[")[0].strip()
            extras.setdefault(extra, []).append(name)
    return extras


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
