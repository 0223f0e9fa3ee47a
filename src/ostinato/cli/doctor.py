"""`ostinato doctor`: what is here, and which backend serves which cell."""

from __future__ import annotations

import json
import os
import platform
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Annotated, Any

import typer

from ostinato.cli.show import emit
from ostinato.errors import BackendUnavailable

app = typer.Typer(add_completion=False)
CASES = ("plain", "ragged", "bf16", "training", "low memory")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, with all reasons.")] = False) -> None:
    """Tell what this machine has, which backend serves each cell and why not another, and which extras are here."""
    import torch

    found: dict[str, Any] = {"ostinato": version("ostinato"), "python": platform.python_version()}
    found |= {"torch": torch.__version__, "machine": f"{platform.system()} {platform.machine()}"}
    found |= {"cores": os.cpu_count(), "torch_threads": torch.get_num_threads()}
    found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    found |= _native()
    forced = {name: value for name in ("OSTINATO_BACKEND", "OSTINATO_ISA") if (value := os.environ.get(name))}
    cells = _cells()
    extras = {extra: {name: _installed(name) for name in packages} for extra, packages in _extras().items()}
    if as_json:
        print(json.dumps(found | {"forced": forced, "cells": cells, "extras": extras}, ensure_ascii=False))
        return
    here = found.pop("instruction_sets")
    found["instruction_set"] = f"{found['instruction_set']} (of {', '.join(here)})" if here else "none"
    found["forced"] = ", ".join(f"{name}={value}" for name, value in forced.items()) or "nothing"
    emit(found, as_json=False)
    _show_cells(cells)
    print("\nextras")
    for extra, packages in extras.items():
        print(f"  {extra:<9}{', '.join(f'{name} {number}' for name, number in packages.items())}")


def _native() -> dict[str, Any]:
    """The native loop: with which instructions, and whether it takes a cell of one's own."""
    from ostinato.kernels.cell_kernels import instruction_set, native_module

    native, folder = native_module(), _kernel_folder()
    compiler = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    own = f"compiled by {compiler}" if compiler else "not compiled: there is no C++ compiler here"
    return {
        "native_module": "built" if native else "not built: there was no C++ compiler when ostinato was installed",
        "instruction_set": native and instruction_set(),
        "instruction_sets": native.instruction_sets() if native else [],
        "own_cells": own if native else "not compiled: there is no native module",
        "kernels_cached_in": folder,
    }


def _kernel_folder() -> str:
    """Where kernels of a user's cells are kept, or why they cannot be."""
    from ostinato.kernels.cell_kernels import _cache

    try:
        folder = _cache()
    except OSError as error:
        return f"nowhere: {error}"
    return str(folder) if os.access(folder, os.W_OK) else f"nowhere new: {folder} cannot be written"


def _cells() -> dict[str, dict[str, dict[str, Any]]]:
    """By cell and case, the backend that serves (None: the one forced does not), and each other's reason."""
    import torch

    from ostinato.cells import CELLS
    from ostinato.kernels.recurrence import BACKENDS, LayerCall, choose

    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, cell_type in CELLS.items():
        cell = cell_type(1, 1)
        plain = LayerCall(cell_type, cell.weights(), torch.zeros(1, 1, 1), cell.initial_state(1))
        found[name] = {}
        for case in CASES:
            call = plain._replace(low_memory=case == "low memory")
            call = call._replace(lengths=torch.tensor([1])) if case == "ragged" else call
            autocast = torch.autocast("cpu", torch.bfloat16) if case == "bf16" else nullcontext()
            with autocast, torch.set_grad_enabled(case in ("training", "low memory")):
                reasons = {other: serves(call) for other, (serves, _) in BACKENDS.items()}
                try:
                    chosen = choose(call)
                except BackendUnavailable:
                    chosen = None
            found[name][case] = {"backend": chosen, "refused": {k: why for k, why in reasons.items() if why}}
    return found


def _show_cells(cells: dict[str, dict[str, dict[str, Any]]]) -> None:
    """A line a cell, then the reasons, each once."""
    from ostinato.cells import CELLS

    print("\nwho serves, on the CPU; bf16: under autocast; low memory: training with memory='low'")
    print(f"  {'cell':<17}" + "".join(f"{case:<11}" for case in CASES).rstrip())
    for name, by_case in cells.items():
        print(f"  {name:<17}" + "".join(f"{each['backend'] or '-':<11}" for each in by_case.values()).rstrip())
    told: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, by_case in cells.items():
        for case, result in by_case.items():
            for other, reason in result["refused"].items():
                told[other, reason.replace(CELLS[name].__name__, "<cell>")][name].append(case)
    print("\nwho does not, and why")
    for (other, reason), by_name in sorted(told.items(), key=lambda item: item[0][0]):
        cases = [case for case in CASES if any(case in each for each in by_name.values())]
        where = "; ".join(part for part in (_which(list(by_name), cells), _which(cases, CASES)) if part)
        line = f"{other}: {reason} ({where or 'all cells'})"
        print(textwrap.fill(line, 118, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))


def _which(names: list[str], of: Iterable[str]) -> str:
    """Some of all in few words, none for all."""
    others = [name for name in of if name not in names]
    return f"all but {', '.join(others)}" if 0 < len(others) < len(names) else ", ".join(names) if others else ""


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
