"""`ostinato watch MODEL`: a training, followed in the browser."""

from __future__ import annotations

import signal
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ostinato.errors import SettingsError
from ostinato.report.serving import LOOPBACK, WatchServer

if TYPE_CHECKING:
    from ostinato.diagnostics.findings import Language

app = typer.Typer(add_completion=False)


@app.command()
def watch(
    model: Annotated[Path, typer.Argument(help="Folder of the model; it need not be there yet.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8420,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's own let others in.")] = (
        "127.0.0.1"
    ),
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    lang: Annotated[str, typer.Option(help="In which the page opens: en or zh; it can be switched there.")] = "en",
) -> None:
    """Serve a page that follows a training as it writes its history. It may be called before the training begins, and
    end when it likes: it only reads. Ctrl-C ends it.
    """
    if lang not in ("en", "zh"):
        raise SettingsError(f"lang = {lang!r}: one of en, zh")
    if model.is_file():
        raise SettingsError(f"{model}: a file; expected the folder of a model")
    with WatchServer(model, host, port, cast("Language", lang)) as server:
        print(server.address, flush=True)
        where = "" if model.exists() else f"; {model} is not there yet"
        open_to = "" if host in LOOPBACK else "; whoever can reach this address can read it"
        print(f"following {model}{where}{open_to}; Ctrl-C ends this, and not the training", file=sys.stderr, flush=True)
        if open_it:
            webbrowser.open(server.address)
        for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell began it in the background, deaf to Ctrl-C
            signal.signal(number, signal.default_int_handler)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print(file=sys.stderr)
