"""`ostinato inspect MODEL`: all that can be shown of it, in one page, or as figures."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ostinato.cli.show import emit
from ostinato.errors import SettingsError

if TYPE_CHECKING:
    from ostinato.diagnostics.findings import Language
    from ostinato.report.figures import Form

app = typer.Typer(add_completion=False)
_FORMS = ("png", "svg", "pdf")
_LANGUAGES = ("en", "zh")


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    held_out: Annotated[
        list[str] | None,
        typer.Argument(
            help=r"Held-out files, folders or patterns, like those of training. \[default: what the training kept]"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=r"The page. \[default: report.html in the model's folder]")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    lang: Annotated[str, typer.Option(help="In which the page opens: en or zh; it can be switched there.")] = "en",
    figures: Annotated[
        Path | None, typer.Option(help="Draw the charts into this folder instead, by matplotlib (the extra plot).")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Of the figures: png, svg or pdf.")] = "png",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print where it stands as JSON.")] = False,
) -> None:
    """Show what a model has become: its verdict, its training, how far its gradient reaches, what its units follow,
    where it looks, what it confuses and what it writes. The page needs no network; a section stands in it if the
    model's task has it.
    """
    _one_of("lang", lang, _LANGUAGES)
    _one_of("format", form, _FORMS)
    if figures is not None and (output is not None or open_it):
        raise SettingsError("--figures draws files instead of the page: leave out -o and --open, or call twice")
    if figures is not None:
        from ostinato.report.figures import draw_figures
        from ostinato.report.writing import Subject, charts_of

        subject = Subject(model, tuple(held_out or ()), device)
        drawn = draw_figures(charts_of(subject), figures, cast("Form", form), cast("Language", lang))
        emit({"figures": [str(path) for path in drawn]}, as_json=True) if as_json else print(*drawn, sep="\n")
        return
    from ostinato.report.writing import write_report

    path = write_report(model, held_out or (), output, cast("Language", lang), device)
    emit({"report": str(path)}, as_json)
    if open_it:
        webbrowser.open(path.resolve().as_uri())


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} = {value!r}: one of {', '.join(known)}")
