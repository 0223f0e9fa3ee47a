"""`ostinato generate MODEL`: write."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from ostinato.bundle import MANIFEST, read_manifest
from ostinato.cli.options import given, with_settings
from ostinato.cli.show import emit
from ostinato.errors import BundleError, SettingsError
from ostinato.sampling import GenerationSettings
from ostinato.settings import Settings
from ostinato.tasks import load, load_for, task_class

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(GenerationSettings)
def generate(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    prompt: Annotated[str, typer.Option(help="What the text begins with; - reads it from standard input.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(help="Of a conditional-language-model: what the text is to be about; repeatable."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Of a playlist: the item or the artist that it begins with.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Of a playlist: find the likeliest with so many at a time; none: draw.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of texts.")] = False,
    **options: Any,
) -> None:
    """Let a model write, to standard output as it is made; with --tokens 0 until it is interrupted."""
    settings = GenerationSettings.checked(given(options, GenerationSettings))
    loaded = load_for("generate", model, device)
    under: dict[str, Any] = {"label": label} if label else {}
    under |= {name: value for name, value in (("source", source), ("beam", beam)) if value is not None}
    for name, (flag, what) in {
        "label": ("label", "labels"),
        "source": ("from", "a seed"),
        "beam": ("beam", "one"),
    }.items():
        if name in under and name not in inspect.signature(loaded.generate).parameters:
            raise SettingsError(f"--{flag}: a {loaded.task} writes without {what}; leave it out")
    text = sys.stdin.read() if prompt == "-" else prompt
    if settings.samples == 1 and not as_json and hasattr(loaded, "stream"):
        try:
            for piece in loaded.stream(text, **under, **settings.plain()):
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            pass  # the way to end a text without end
        print()
        return
    made = loaded.generate(text, **under, **settings.plain())
    texts = made if isinstance(made, list) else [made]
    if hasattr(loaded, "written"):  # not of text
        texts = [made] if settings.samples == 1 else made
        print(json.dumps(texts, ensure_ascii=False) if as_json else "\n---\n".join(map(loaded.written, texts)))
        return
    print(json.dumps(texts, ensure_ascii=False) if as_json else "\n---\n".join(texts))


def command_for(arguments: Sequence[str]) -> TyperCommand:
    """The command for the model that is named among the arguments: text is printed, what is none goes to a file."""
    named = next((each for each in arguments if (Path(each) / MANIFEST).is_file()), None)
    try:
        kind = None if named is None else task_class(read_manifest(Path(named))["task"])
    except BundleError:  # told when it is loaded
        kind = None
    options = getattr(kind, "GenerateSettings", None)
    command = get_command(app if options is None else _to_a_file(options, f"Options of a {getattr(kind, 'task', '')}"))
    assert isinstance(command, TyperCommand)  # noqa: S101
    return command


def _to_a_file(kind: type[Settings], panel: str) -> typer.Typer:
    made = typer.Typer(add_completion=False)

    @made.command(name="generate")
    @with_settings(kind, other=panel)
    def generate(
        model: Annotated[Path, typer.Argument(help="Folder of the model.")],
        output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.")] = None,
        device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
        as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
        **options: Any,
    ) -> None:
        """Let a model make something, and write it to a file."""
        chosen = kind.checked(given(options, kind))
        if output is None:
            raise SettingsError("where to? give -o FILE")
        emit(load(model, device).write_generated(output, chosen), as_json)

    return made
