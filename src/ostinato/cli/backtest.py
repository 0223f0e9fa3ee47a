"""`ostinato backtest MODEL FILE`: a forecaster on windows of the past, beside simpler methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ostinato.cli.show import number, table
from ostinato.errors import SettingsError
from ostinato.tasks import load
from ostinato.tasks.backtest import backtest as run_backtest

app = typer.Typer(add_completion=False)


@app.command()
def backtest(
    model: Annotated[Path, typer.Argument(help="Folder of the model, a forecaster.")],
    corpus: Annotated[
        list[str], typer.Argument(help="Files with the past and with what came, or - for standard input.")
    ],
    windows: Annotated[int, typer.Option(min=0, help="Windows of each series, from its end back; 0: all.")] = 1,
    stride: Annotated[int | None, typer.Option(min=1, help=r"Steps between them. \[default: the horizon]")] = None,
    since: Annotated[str | None, typer.Option(help="Only windows that begin at this stamp, or later.")] = None,
    ets: Annotated[int, typer.Option(min=0, help="Most windows that ETS is fitted to; 0: without it.")] = 200,
    batch_size: Annotated[int | None, typer.Option(min=1, help=r"Windows at once. \[default: as in training]")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Forecast from rolling origins, and print what came out beside naive, seasonal naive and ETS."""
    loaded = load(model, device)
    if loaded.task != "forecaster":
        raise SettingsError(f"{model}: a {loaded.task} has no past to go back to: expected a forecaster")
    found = run_backtest(loaded, corpus, windows, stride, since, ets, batch_size)
    if as_json:
        print(json.dumps(found.plain(), ensure_ascii=False))
        return
    print(
        f"{found.windows:,} windows of {loaded.codec.horizon} steps, of {found.series:,} series; "
        f"the first from {found.first}, the last from {found.last}"
    )
    levels = loaded.settings.quantiles
    widest = f"{100 * (levels[-1] - levels[0]):g}"
    names = ["smape", "mase", "rmse", "mae", "pinball", f"coverage_{widest}", f"width_{widest}"]
    for title, rows in (("", found.table), ("by target", found.by_target)):
        if rows:
            lines = [
                [method, *(number(figures[name]) if name in figures else "" for name in names)]
                for method, figures in rows.items()
            ]
            table(title, ["", *(name.replace("_", " ") for name in names)], lines)
    for note in found.notes:
        print(note)
