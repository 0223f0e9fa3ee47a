"""`ostinato demo TASK`: a model of each task, trained in a minute or two on data that every Python has."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ostinato.bundle import read_manifest
from ostinato.cli.after_fit import report_of
from ostinato.errors import BundleError, SettingsError, nearest

DEMOS = {
    "language-model": "ostinato.cli.demo_language_model",
    "captioner": "ostinato.cli.demo_captioner",
    "classifier": "ostinato.cli.demo_classifier",
    "acceptability": "ostinato.cli.demo_acceptability",
    "conditional-language-model": "ostinato.cli.demo_conditional_language_model",
    "sequence-classifier": "ostinato.cli.demo_sequence_classifier",
    "music-model": "ostinato.cli.demo_music_model",
    "frame-predictor": "ostinato.cli.demo_frame_predictor",
    "forecaster": "ostinato.cli.demo_forecaster",
    "playlist": "ostinato.cli.demo_playlist",
    "recommender": "ostinato.cli.demo_recommender",
    "similarity": "ostinato.cli.demo_similarity",
    "tagger": "ostinato.cli.demo_tagger",
    "transcriber": "ostinato.cli.demo_transcriber",
    "translator": "ostinato.cli.demo_translator",
    "tree-classifier": "ostinato.cli.demo_tree_classifier",
}
"""task → the module with its `demo(output, minutes, quiet)`."""

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(DEMOS)}.")] = "language-model",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=r"Folder of the model. \[default: models/demo, or models/demo-TASK]"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help=r"Train at most so long. \[default: as long as it takes]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train a small model on data that every Python has, and show what it can do; no download."""
    if task not in DEMOS:
        raise SettingsError(f"demo {task!r}: one of {', '.join(DEMOS)}{nearest(task, DEMOS)}")
    folder = output or Path("models") / ("demo" if task == "language-model" else f"demo-{task}")
    import_module(DEMOS[task]).demo(folder, minutes, quiet)
    if report := report_of(folder):
        print(f"\nHow it went and what it has become, in one page: {report}")


def is_demo(output: Path, name: str) -> bool:
    """Whether what stands at `output` was trained on the demo's file of that name, so that it may be replaced."""
    try:
        return read_manifest(output).get("data", {}).get("train", {}).get("files") == [name]
    except BundleError:
        return False
