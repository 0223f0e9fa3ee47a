"""`ostinato info MODEL`: what it is and how its training went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.bundle import HISTORY, WEIGHTS, read_manifest, read_tensors
from ostinato.cli.show import emit, number, sparkline
from ostinato.training.history import read_history

app = typer.Typer(add_completion=False)

_FIGURES = ("perplexity", "bits_per_character", "masked_accuracy", "next_sentence_accuracy")
"""Of an evaluation, what is told beside its loss."""


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell what a model is: task, size, settings, data, figures and the curve of its training."""
    manifest = read_manifest(model)
    history = read_history(model / HISTORY)
    if "size" not in manifest and (model / WEIGHTS).exists():  # of a training that goes on, or of features
        tensors, _ = read_tensors(model / WEIGHTS)
        parameters = sum(array.size for array in tensors.values() if array.dtype.kind == "f")  # others count
        manifest |= {"size": f"{parameters:,} parameters"} if parameters else {}
    if as_json:
        print(json.dumps(manifest | {"history": history}, ensure_ascii=False))
        return
    settings, data = manifest["settings"], manifest.get("data", {})
    head: dict[str, Any] = {"task": manifest["task"], "status": manifest.get("status", "complete")}
    if "size" in manifest:
        head["size"] = manifest["size"]
    names = (
        "input",
        "method",
        "architecture",
        "vector_size",
        "window",
        "level",
        "order",
        "across_lines",
        "cell",
        "num_layers",
        "hidden_size",
        "kernel_size",
        "patch_size",
        "input_frames",
        "target_frames",
        "num_heads",
        "max_length",
        "masked",
        "dropout",
        "optimizer",
        "learning_rate",
        "bptt_steps",
        "tokens",
        "ngram_range",
        "char_ngrams",
        "idf",
        "k1",
        "b",
        "delta",
        "tf",
        "loss",
        "C",
        "seed",
    )
    head |= {name: settings[name] for name in names if settings.get(name) is not None}
    emit(head | {name: value for name, value in data.items() if not isinstance(value, dict)}, as_json=False)
    if train := data.get("train"):
        print(f"trained on: {', '.join(train['files'][:5])} (SHA-256 {train['sha256'][:12]}…)")
    if manifest.get("metrics"):
        print()
        emit(manifest["metrics"], as_json=False)
    _curve(history)


def _curve(history: list[dict[str, Any]]) -> None:
    """The losses over the run: a line of blocks each, then a row an evaluation."""
    train = [record["loss"] for record in history if record["kind"] == "train" and record["loss"] == record["loss"]]
    evaluations = [record for record in history if record["kind"] == "validation"]
    print()
    for name, losses in (("training", train), ("validation", [record["loss"] for record in evaluations])):
        if losses:
            print(f"{name:<10}  {losses[0]:.3f} {sparkline(losses)} {losses[-1]:.3f}")
    for record in evaluations[-12:]:
        figures = [name for name in _FIGURES if name in record]
        told = "".join(f"  {name.replace('_', ' ')} {number(record[name])}" for name in figures)
        mark = "  best" if record["best"] else ""
        print(f"  epoch {record['epoch']:>6.2f}  step {record['step']:>8,}  loss {record['loss']:.4f}{told}{mark}")
