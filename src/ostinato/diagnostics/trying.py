"""The cure tried: the changes that a verdict names, trained on the same data with the same budget, side by side."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.data import find_files
from ostinato.diagnostics.diagnosis import Diagnosis, diagnose
from ostinato.diagnostics.findings import Change, Language, Text, number
from ostinato.errors import DataError, OstinatoError, SettingsError
from ostinato.tasks import task_class
from ostinato.training.signals import Interrupted

STEPS = 300
"""Of each training, where no minutes are given: some hundreds tell a cure from none."""
MOST = 8
"""Changes that are tried: those of the first findings come first."""
SAME = 0.01  # of the loss: two seeds of one setting differ by about as much


@dataclass(frozen=True)
class Tried:
    """What one training reached."""

    name: str
    """The options that were changed; `as it was` for none."""
    settings: dict[str, Any]
    """The same by name."""
    loss: float
    """The lowest of the validation, nats; NaN if there was none."""
    half_life_steps: float
    """In the layer whose gradient lasts longest; NaN where nothing was measured."""
    seconds: float
    """Of training."""
    steps: int
    findings: list[str]
    """Names of what is still wrong."""


def cures(diagnosis: Diagnosis, most: int = MOST) -> list[Change]:
    """The changes that a verdict names, each once, those of the first findings first.

    What only trains longer is left out: the budget is the same for all.
    """
    found: dict[str, Change] = {}
    follow = [each for first in diagnosis.verdict for each in first.follows]
    for finding in [*diagnosis.verdict, *follow]:
        for change in finding.changes:
            if change.name != "longer":
                found.setdefault(change.option, change)
    return list(found.values())[:most]


def try_cures(
    folder: Path, changes: Sequence[Change], held_out: Sequence[str] | None, data: Sequence[str] | None,
    steps: int | None, minutes: float | None, tell: Callable[[str], None],
) -> Iterator[Tried]:  # fmt: skip
    """Train the setting as it was and each change of it, in turn; the model itself is only read.

    Args:
        folder: of the model.
        changes: to try.
        held_out: to measure each on; None: losses alone.
        data: to train on; None: what stands in the model's `run/`.
        steps: of each training.
        minutes: at most, of each.
        tell: gets what the user should know.

    Raises:
        DataError: if there is nothing to train on.
        SettingsError: if its task is not trained in steps.
    """
    manifest = bundle.read_manifest(folder)
    kind = task_class(manifest["task"])
    if not hasattr(kind, "fit_again"):
        raise SettingsError(f"{folder}: a {kind.task} is not trained in steps, so that there is no cure to try")
    again = _training(folder, manifest, kind, data)
    budget: dict[str, Any] = {"patience": None, "evaluate_every": None, "tensorboard": None}
    if minutes is not None:
        budget |= {"max_minutes": minutes, "max_steps": steps, "epochs": max(manifest["settings"]["epochs"], 1000)}
    else:
        budget |= {"max_minutes": None, "max_steps": steps or STEPS, "epochs": 1_000_000}
    with tempfile.TemporaryDirectory() as scratch:
        for number_, change in enumerate([None, *changes]):
            name, changed = (change.option, dict(change.settings)) if change else ("as it was", {})
            tell(f"{number_ + 1} of {len(changes) + 1}: {name}")
            where = Path(scratch) / str(number_)
            settings = manifest["settings"] | changed | {k: v for k, v in budget.items() if k in manifest["settings"]}
            failed = ""
            try:
                again(kind(**settings), where)
            except SettingsError:
                raise
            except Interrupted as stop:  # its folder goes: there is nothing to resume
                stop.args = (f"stopped while trying {name}; {number_} of {len(changes) + 1} were done",)
                raise
            except OstinatoError as error:
                failed = str(error)
                tell(f"  {failed}")
            yield _measured(where, name, changed, held_out, failed)


def _training(
    folder: Path, manifest: Mapping[str, Any], kind: Any, data: Sequence[str] | None
) -> Callable[[Any, Path], Any]:
    """What trains a model into a folder: on the data that are named, or on those that stand with the model."""
    if data:
        find_files(data)  # what is not there is told before anything is trained
        return lambda model, where: model.fit(list(data), output=where, progress=False)
    run = folder / bundle.RUN
    if (run / "corpus.json").exists() or (run / "examples.json").exists():
        return lambda model, where: model.fit_again(folder, where, progress=False)
    files = manifest.get("data", {}).get("train", {}).get("files", [])
    named = f" (it was trained on {', '.join(files[:3])})" if files else ""
    raise DataError(
        f"{folder}: what the {kind.task} was trained on does not stand in its run/ any more: give --data FILE{named}"
    )


def _measured(where: Path, name: str, changed: dict[str, Any], held_out: Sequence[str] | None, failed: str) -> Tried:
    records = (
        [json.loads(line) for line in (where / bundle.HISTORY).read_text("utf-8").splitlines()]
        if where.exists()
        else []
    )
    losses = [r["loss"] for r in records if r["kind"] == "validation" and np.isfinite(r["loss"])]
    half, findings = float("nan"), ["training-broke-off"] if failed else []
    if not failed:
        diagnosis = diagnose(where, list(held_out) if held_out else None)
        half = max((layer.half_life_steps for layer in diagnosis.measurements.layers), default=float("nan"))
        findings = [finding.name for finding in diagnosis.verdict if finding.severity != "good"]
    return Tried(
        name, changed, min(losses, default=float("nan")), half,
        float(max((r.get("seconds", 0.0) for r in records), default=0.0)),
        int(max((r["step"] for r in records), default=0)), findings,
    )  # fmt: skip


def table(results: Sequence[Tried], language: Language) -> str:
    """One line a training, the lowest loss marked."""
    zh = language == "zh"
    heads: tuple[str, ...] = (
        ("改动", "损失 nat", "半衰期 步", "秒", "步数")
        if zh
        else ("change", "loss nats", "half-life steps", "seconds", "steps")
    )
    best = min(results, key=_loss)
    rows: list[tuple[str, ...]] = [heads]
    for each in results:
        name = "保持原样" if zh and not each.settings else each.name
        loss = f"{each.loss:.4f}{'*' if each is best else ' '}"
        rows.append((name, loss, number(each.half_life_steps), f"{each.seconds:.1f}", f"{each.steps:,}"))
    widths = [max(_width(row[at]) for row in rows) for at in range(len(heads))]
    lines = []
    for row in rows:
        cells = [row[0] + " " * (widths[0] - _width(row[0]))]
        cells += [" " * (width - _width(cell)) + cell for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def reading(results: Sequence[Tried]) -> Text:
    """What the table says, in words.

    Args:
        results: the setting as it was first.
    """
    before, others = results[0], results[1:]
    if not others:
        return Text("The verdict names no change to try.", "诊断没有给出可以尝试的改动。")
    best = min(others, key=_loss)
    if not np.isfinite(_loss(best)) or not _loss(best) < (1 - SAME) * _loss(before):
        return Text(
            f"None of these helps within this budget: as it was, the loss is {number(before.loss)} nats, and a "
            f"difference of "
            "1 % is that between two seeds.",
            f"在此预算内没有一项改动有帮助：原设置的损失为 {number(before.loss)} nat，而 1 % "
            f"的差别与不同随机种子间的差别相当。",
        )
    times = best.seconds / before.seconds if before.seconds else float("nan")
    if not np.isfinite(before.loss):
        gain = Text("where the setting as it was gave no loss at all", "而原设置没有得到任何损失")
    else:
        percent = number(100 * (1 - best.loss / before.loss))
        gain = Text(
            f"instead of {number(before.loss)}, {percent} % less", f"原为 {number(before.loss)}，降低 {percent} %"
        )
    en = f"{best.name} helps most: {number(best.loss)} nats {gain.en}"
    zh = f"{best.name} 最有帮助：{number(best.loss)} nat，{gain.zh}"
    if np.isfinite(best.half_life_steps) or np.isfinite(before.half_life_steps):
        en += f"; the half-life is {number(best.half_life_steps)} instead of {number(before.half_life_steps)} steps"
        zh += f"；半衰期为 {number(best.half_life_steps)} 步，原为 {number(before.half_life_steps)} 步"
    if np.isfinite(times):
        en += f", in {number(times)} times the time"
        zh += f"，用时为 {number(times)} 倍"
    return Text(en + ".", zh + "。")


def _loss(each: Tried) -> float:
    return each.loss if np.isfinite(each.loss) else float("inf")


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if "\u2e80" <= letter <= "\uffef" else 1 for letter in text)
