"""`ostinato evaluate MODEL FILE`: score on held-out data; the model's task says which options there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from ostinato.bundle import MANIFEST, read_manifest
from ostinato.cli.options import given, with_settings
from ostinato.cli.show import emit
from ostinato.settings import Settings
from ostinato.tasks import load_for, task_class


def command_for(arguments: Sequence[str]) -> TyperCommand:
    """The command for the model that is named among the arguments.

    Raises:
        BundleError: if it is of no task of this version.
    """
    named = next((each for each in arguments if (Path(each) / MANIFEST).is_file()), None)
    if named is None:
        return _command(Settings, "Options of the task: ostinato evaluate MODEL --help")
    kind = task_class(read_manifest(Path(named))["task"])
    return _command(getattr(kind, "EvaluateSettings", Settings), f"Options of a {kind.task}")


def _command(kind: type[Settings], panel: str) -> TyperCommand:
    app = typer.Typer(add_completion=False)

    @app.command(name="evaluate")
    @with_settings(kind, other=panel)
    def evaluate(
        model: Annotated[Path, typer.Argument(help="Folder of the model.")],
        corpus: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
        batch_size: Annotated[
            int | None, typer.Option(min=1, help=r"Streams side by side; 1 scores the text as one. \[default: by size]")
        ] = None,
        encoding: Annotated[str | None, typer.Option(help=r"Of the files. \[default: as in training]")] = None,
        errors: Annotated[
            str | None, typer.Option(help=r"At bad bytes: strict, replace, ignore. \[default: as in training]")
        ] = None,
        device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
        as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
        **options: Any,
    ) -> None:
        """Score a model on held-out data: a language model's nats a token, perplexity and bits per character, with the
        full softmax; a BERT's share of masked tokens and of pairs that it tells right; a classifier's precision,
        accuracy and F1, a recommender's recall, MRR and NDCG, on files like those of its training.
        """
        chosen = given(options, kind)
        loaded = load_for("evaluate", model, device)
        emit(loaded.evaluate(corpus, batch_size, encoding, errors, **chosen), as_json)

    command = get_command(app)
    assert isinstance(command, TyperCommand)  # noqa: S101
    return command
