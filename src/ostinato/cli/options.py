"""Options of a command, made from the settings that they set: one place says what there is."""

from __future__ import annotations

import inspect
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin

import typer
import yaml

from ostinato.errors import DataError, SettingsError
from ostinato.records import RecordReader
from ostinato.settings import Settings, read_yaml
from ostinato.stop_words import STOP_WORDS

_ALIASES = {"num_layers": "--layers", "learning_rate": "--lr", "prime": "--from"}


Panels = Mapping[str, type[Settings]]


def setting_parameters(
    kind: type[Settings], panels: Panels, other: str, leave_out: Collection[str] = ()
) -> list[inspect.Parameter]:
    """A keyword parameter for each setting, for a function that typer turns into a command.

    Values come as text and are checked by the settings, so that the command line and Python say the same of them.

    Args:
        kind: the settings.
        panels: groups of them that get a heading of their own in the help.
        other: the heading of the rest.
        leave_out: settings that get no option.
    """
    parameters = []
    for name, field in kind.model_fields.items():
        if name in leave_out:
            continue
        panel = next((heading for heading, part in panels.items() if name in part.model_fields), other)
        flag = "--" + name.replace("_", "-")
        default = (
            ""
            if "[default:" in (field.description or "") or field.default is None
            else f" [default: {_text(field.default)}]"
        )
        text = ((field.description or "") + default).replace("[", r"\[")  # else rich takes it for markup
        if field.annotation is bool:
            option = typer.Option(f"{flag}/--no-{flag[2:]}", help=text, rich_help_panel=panel, show_default=False)
            annotation: Any = Annotated[Optional[bool], option]  # noqa: UP045 - typer reads it
        else:
            flags = [flag, _ALIASES[name]] if name in _ALIASES else [flag]
            metavar = _metavar(field.annotation)
            option = typer.Option(*flags, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)
            many = get_origin(field.annotation) is list and get_args(field.annotation)[0] is str
            annotation = Annotated[Optional[list[str]] if many else Optional[str], option]  # noqa: UP045
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return parameters


def with_settings(
    kind: type[Settings],
    panels: Panels | None = None,
    other: str = "Options",
    leave_out: Collection[str] = (),
    names: Mapping[str, Any] | None = None,
) -> Any:
    """Give a function, instead of `**options`, a parameter for each setting but those left out.

    Args:
        kind: the settings.
        panels: groups of them that get a heading of their own in the help.
        other: the heading of the rest.
        leave_out: settings that get no option.
        names: what the function's annotations name, besides what its module knows.
    """

    def decorate(function: Any) -> Any:
        signature = inspect.signature(function, eval_str=True, locals=names)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        made = setting_parameters(kind, panels or {}, other, leave_out)
        function.__signature__ = signature.replace(parameters=[*own, *made])
        function.__annotations__ = {each.name: each.annotation for each in function.__signature__.parameters.values()}
        return function

    return decorate


def given(options: dict[str, Any], kind: type[Settings], config: Path | None = None) -> dict[str, Any]:
    """The settings that a user gave: those of a YAML file, and over them those of the command line."""
    values = read_yaml(config) if config is not None else {}
    for name, value in options.items():
        if value is None or value == []:
            continue
        values[name] = _read(name, value, kind) if isinstance(value, str) else value
    return values


def stop_words_of(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the words to leave out, which may be those of a file, one a line, or stand between commas."""
    name = options.get("stop_words")
    if name is None or name in STOP_WORDS:
        return options
    if Path(name).is_file():
        words = [record.fields["text"].strip() for record in RecordReader([Path(name)], "text").records()]
    elif "," in name:
        words = [word.strip() for word in name.split(",")]
        if lists := sorted(STOP_WORDS.keys() & set(words)):
            raise SettingsError(
                f"stop_words = {name!r}: {lists[0]} is the name of a list, not a word: two are joined as "
                "english+chinese, and a file can hold all words of a list of your own"
            )
    else:
        return options  # the analyzer tells what is wrong
    return options | {"stop_words": [word for word in words if word]}


def at_least_one(texts: Iterable[str]) -> Iterator[str]:
    """The texts.

    Raises:
        DataError: at their end, if there was none.
    """
    empty = True
    for text in texts:
        empty = False
        yield text
    if empty:
        raise DataError("the corpus is empty: there are no texts to make vectors of")


def _read(name: str, value: str, kind: type[Settings]) -> Any:
    """Text from the command line: `none`, lists and pairs are read as YAML has them, the rest is for the settings."""
    annotation = kind.model_fields[name].annotation
    if value.lower() in ("none", "off") and type(None) in get_args(annotation) and value not in _named(annotation):
        return None
    if "list[" in str(annotation) or ("tuple[int" in str(annotation) and "," in value):
        try:
            return yaml.safe_load(value if value.startswith("[") else f"[{value}]")
        except yaml.YAMLError:
            raise SettingsError(f"{name} = {value!r}: expected numbers such as 2000,10000") from None
    return value


def _named(annotation: Any) -> set[Any]:
    """The values that a setting takes by name."""
    parts = get_args(annotation)
    return set(parts) if get_origin(annotation) is Literal else set().union(*map(_named, parts))


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _metavar(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return "|".join(_metavar(part) for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return "|".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) is list or get_args(annotation)[1:] == (...,):
        return f"{_metavar(get_args(annotation)[0])},…"
    if get_origin(annotation) is tuple:
        return ",".join(map(_metavar, get_args(annotation)))
    return {int: "INTEGER", float: "NUMBER", str: "TEXT"}.get(annotation, "VALUE")
