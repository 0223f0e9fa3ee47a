"""`ostinato diagnose MODEL [HELD_OUT...]`: what is wrong with a model, why, and what to change."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.bundle import read_manifest
from ostinato.errors import SettingsError

app = typer.Typer(add_completion=False)


@app.command()
def diagnose(
    model: Annotated[Path, typer.Argument(help="Folder of the model; also of a training that runs, or broke off.")],
    held_out: Annotated[
        list[str] | None,
        typer.Argument(help=r"Files to measure the network on. \[default: the validation data of the training]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print verdict and measurements as JSON.")] = False,
    lang: Annotated[str | None, typer.Option(help=r"en or zh. \[default: by the locale]")] = None,
    try_: Annotated[
        bool, typer.Option("--try", help="Train the changes that the verdict names, for a short budget, beside it.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help=r"With --try: each at most so long. \[default: as its steps take]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help=r"With --try: of each. \[default: 300 without --minutes]")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help=r"With --try: what to train on. \[default: what the model was trained on]"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure a model and say in plain sentences what is wrong with it: evidence, limit, cause, what to change, source.

    The network is measured on held-out files: how far its gradient reaches back, what its gates and units do, how far
    it looks. Where there are no such data any more, the record of the training is judged alone. With --try the changes
    that the verdict names are trained on the same data in a temporary folder, and a table says which helps; the model
    itself is never touched.
    """
    from ostinato.diagnostics.diagnosis import diagnose as measured
    from ostinato.diagnostics.trying import cures, reading, table, try_cures
    from ostinato.training.signals import Interrupted

    language: Any = _language(lang)
    if not try_:
        for name, value in (("--minutes", minutes), ("--steps", steps), ("--data", data)):
            if value:
                raise SettingsError(f"{name}: is of --try, which trains; give --try too, or leave it out")
    read_manifest(model)
    diagnosis = measured(model, held_out or None)
    results: list[Any] = []
    if try_:

        def tell(message: str) -> None:
            if not quiet:
                print(message, file=sys.stderr, flush=True)

        changes = cures(diagnosis)
        if changes:
            try:
                results.extend(try_cures(model, changes, held_out or None, data or None, steps, minutes, tell))
            except Interrupted:  # what was tried until then has cost time: it is told
                if results and not as_json:
                    print(table(results, language))
                raise
    if as_json:
        found = {"model": str(model), **diagnosis.plain()}
        if try_:
            found["tried"] = [_finite(asdict(each)) for each in results]
            found["reading"] = reading(results)._asdict() if results else None
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
        return
    print(diagnosis.said(language))
    if not held_out:
        print("\n" + (_VALIDATION if diagnosis.measurements.layers else _UNMEASURED)[language])
    if try_:
        told = f"{table(results, language)}\n\n{reading(results).said(language)}" if results else _NOTHING[language]
        print(f"\n{told}")


_UNMEASURED = {
    "en": "This is what the training's record says alone: name held-out files, and the network is measured on them.",
    "zh": "以上仅根据训练记录得出：给出留出数据文件，即可测量网络本身。",
}
_VALIDATION = {
    "en": "Measured on the validation data of the training.",
    "zh": "在训练的验证数据上测量。",
}
_NOTHING = {"en": "The verdict names no change to try.", "zh": "诊断没有给出可以尝试的改动。"}


def _language(given: str | None) -> str:
    """The one that was asked for, or that of the locale's messages.

    >>> _language("zh")
    'zh'
    """
    if given is not None:
        if given not in ("en", "zh"):
            raise SettingsError(f"lang = {given!r}: expected en or zh")
        return given
    set_to = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return "zh" if set_to.lower().startswith("zh") else "en"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: what is no number is null."""
    return {
        name: None if isinstance(value, float) and not abs(value) < float("inf") else value
        for name, value in values.items()
    }
