"""The command of a task that several kinds of model serve: one form, `--model`, and the settings of them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from pydantic import create_model

from ostinato.bundle import read_manifest
from ostinato.cli.fit_command import REPORT, train
from ostinato.cli.options import Panels, given, stop_words_of, with_settings
from ostinato.errors import SettingsError, nearest
from ostinato.settings import Settings


class Choice(NamedTuple):
    """What a name of `--model` stands for."""

    model: Any
    """Its class."""
    stands_for: Callable[[dict[str, Any]], dict[str, Any]] = lambda settings: settings
    """The settings that were given → those of the model."""


Pick = Callable[[Mapping[str, Choice], str, dict[str, Any]], tuple[Mapping[str, Choice], Choice]]
"""Choices, the name of one, and settings → those among which it is to be sought, and the one."""


def fit_by_model_app(
    choices: Mapping[str, Choice],
    default: str,
    about: str,
    description: str,
    panels: Panels,
    sources: str,
    further: Sequence[type[Any]] = (),
    pick: Pick | None = None,
) -> typer.Typer:
    """An app of one command, `ostinato fit TASK --model NAME`.

    Args:
        choices: by name.
        default: one of them.
        about: what they are, for the help.
        description: what the command does, for its help.
        panels: groups of settings with a heading of their own.
        sources: what it is trained on, for its help.
        further: other models that `pick` may choose, whose settings the command has too.
        pick: chooses by the settings as well; by the name alone if None.
    """
    app = typer.Typer(add_completion=False)
    models = [*(choice.model for choice in choices.values()), *further]
    merged = merge([model.Settings for model in models])

    @app.command(help=description)
    @with_settings(merged, panels, "Model", leave_out=("network",), names={"sources": sources, "about": about})
    def fit(
        corpus: Annotated[list[str] | None, typer.Argument(help=sources)] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the model.")] = None,
        model: Annotated[str | None, typer.Option(help=about)] = None,
        validation: Annotated[
            list[str] | None,
            typer.Option("--validation", "--dev", help="Validation file; instead of examples drawn at random."),
        ] = None,
        resume: Annotated[
            Path | None, typer.Option(help="Go on with the training in this folder; --epochs N trains longer.")
        ] = None,
        config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go before it.")] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --output.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
        report: Annotated[bool, REPORT] = True,
        **options: Any,
    ) -> None:
        if resume is not None and model is not None:
            raise SettingsError("--resume goes on with the model that it had: leave --model out")
        settings = given(stop_words_of(options), merged, config)
        if resume is not None:
            known, chosen = choices, Choice(trained(resume, models))
        else:
            name = model or default
            known, chosen = pick(choices, name, settings) if pick else (choices, choose(choices, name))
            refuse_foreign(known, name, settings, models)
            settings = chosen.stands_for(settings)
        if resume is not None and not hasattr(chosen.model, "resume"):
            raise SettingsError(f"--resume: a {chosen.model.task} is trained at once, and has nothing to resume")
        train(chosen.model, corpus, validation, output, resume, overwrite, quiet, as_json, settings, report)

    return app


def choose(choices: Mapping[str, Choice], name: str) -> Choice:
    """The choice of a name.

    Raises:
        SettingsError: if there is none.
    """
    if name not in choices:
        raise SettingsError(f"model = {name!r}: one of {', '.join(choices)}{nearest(name, choices)}")
    return choices[name]


def trained(folder: Path, models: Iterable[Any]) -> Any:
    """The class, of some, of the model in a folder; the first, which will say what is wrong, if it is of none.

    Raises:
        BundleError: if there is no model.
    """
    known = {model.task: model for model in models}
    return known.get(read_manifest(folder)["task"], next(iter(known.values())))


def refuse_foreign(
    choices: Mapping[str, Choice], name: str, settings: Mapping[str, Any], models: Iterable[Any] = ()
) -> None:
    """Refuse settings of other models.

    Raises:
        SettingsError: naming the models that have it.
    """
    for setting in settings:
        if setting in choices[name].model.Settings.model_fields:
            continue
        owners = [other for other, choice in choices.items() if setting in choice.model.Settings.model_fields]
        if owners:
            raise SettingsError(f"{setting}: model = {name} has no such setting; it is of {', '.join(owners)}")
        others = [f"a {model.task}" for model in dict.fromkeys(models) if setting in model.Settings.model_fields]
        if others:
            told = f"a {choices[name].model.task} has no such setting; it is of {', '.join(others)} (see --input)"
            raise SettingsError(f"{setting}: {told}")


def merge(kinds: list[type[Settings]]) -> type[Settings]:
    """Settings with the fields of several kinds; of equal names the first's. Only their names and types are of use.

    >>> class A(Settings):
    ...     x: int = 1
    >>> class B(Settings):
    ...     x: int = 2
    ...     y: int = 3
    >>> {name: field.default for name, field in merge([A, B]).model_fields.items()}
    {'x': 1, 'y': 3}
    """
    fields: dict[str, Any] = {}
    for kind in dict.fromkeys(kinds):
        for name, field in kind.model_fields.items():
            fields.setdefault(name, (field.annotation, field))
    return create_model("Settings", __base__=Settings, **fields)
