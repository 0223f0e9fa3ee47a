"""`ostinato predict MODEL FILE`: what a model says of each example; the model's task says which options there are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from ostinato.bundle import MANIFEST, read_manifest
from ostinato.cli.listening import listen
from ostinato.cli.options import given, with_settings
from ostinato.cli.progress import count_lines, counted
from ostinato.errors import SettingsError
from ostinato.files import writing
from ostinato.settings import Settings
from ostinato.tasks import load, task_class
from ostinato.tasks.corpus import resolve
from ostinato.tasks.model import Predicted


def command_for(arguments: Sequence[str]) -> TyperCommand:
    """The command for the model that is named among the arguments.

    Raises:
        BundleError: if what is named is no model.
        SettingsError: if models of its task do not predict.
    """
    named = next((each for each in arguments if (Path(each) / MANIFEST).is_file()), None)
    if named is None:
        named = next((each for each in arguments if not each.startswith("-")), None)
    if named is None:
        return _command(Settings, "Options of the task: ostinato predict MODEL --help")
    kind = task_class(read_manifest(Path(named))["task"])
    if not hasattr(kind, "PredictSettings"):
        raise SettingsError(f"{named}: a {kind.task} cannot predict; see ostinato info {named}")
    return _command(kind.PredictSettings, f"Options of a {kind.task}")


def _command(kind: type[Settings], panel: str) -> TyperCommand:
    app = typer.Typer(add_completion=False)

    @app.command(name="predict")
    @with_settings(kind, other=panel)
    def predict(
        model: Annotated[Path, typer.Argument(help="Folder of the model.")],
        files: Annotated[
            list[str] | None, typer.Argument(help="Files, folders, patterns, or - for standard input.")
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option(
                "--output",
                "-o",
                help="Write there; .jsonl, .csv and .tsv hold all fields. Of frames: .gif, .npy or a folder.",
            ),
        ] = None,
        device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each example.")] = False,
        **options: Any,
    ) -> None:
        """Print what a model says of each example of files; its task's options: `ostinato predict MODEL --help`."""
        chosen = kind.checked(given(options, kind))
        if not files and not getattr(chosen, "whole", False):  # else the options say what is asked
            raise SettingsError("what to read? name a file, a folder, a pattern, or - for standard input")
        loaded = load(model, device)
        if getattr(chosen, "stream", False):
            listen(loaded, files or [], chosen, output, as_json)
            return
        with TemporaryDirectory() as folder:
            found = resolve(files, Path(folder)) if files else []
            if output is not None and hasattr(loaded, "writes") and loaded.writes(output):
                for line in loaded.write_predictions(found, chosen, output):
                    print(line)
                return
            predicted: Iterable[Predicted] = loaded.predictions(found, chosen)
            if output is None:
                for each in predicted:
                    print(json.dumps(each.row, ensure_ascii=False) if as_json else each.text)
                return
            shown = counted(predicted, count_lines(found), f"{output.name}", quiet)
            with writing(output) as file:
                for line in _lines(shown, "jsonl" if as_json else output.suffix.removeprefix(".")):
                    file.write(line.encode())

    command = get_command(app)
    assert isinstance(command, TyperCommand)  # noqa: S101
    return command


def _lines(predicted: Iterator[Predicted], form: str) -> Iterator[str]:
    """The lines of an output file."""
    if form in ("jsonl", "json", "ndjson"):
        return (json.dumps(each.row, ensure_ascii=False) + "\n" for each in predicted)
    if form in ("csv", "tsv"):
        return _table(predicted, "," if form == "csv" else "\t")
    return (each.text + "\n" for each in predicted)


def _table(predicted: Iterator[Predicted], delimiter: str) -> Iterator[str]:
    """Rows with the columns of the first; what is no text or number is JSON."""
    line = io.StringIO()
    writer: Any = None
    for each in predicted:
        if writer is None:
            writer = csv.DictWriter(line, list(each.row), delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in each.row.items()})
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
