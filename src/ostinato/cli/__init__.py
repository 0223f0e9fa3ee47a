"""The command line: nouns for tasks, verbs for actions; results on standard output, all else on standard error."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run `ostinato`. Exit status 0; 1 if the work failed; 2 if the call was wrong; 128 + n after signal n."""
    from ostinato.cli.app import COMMANDS, LazyGroup
    from ostinato.errors import OstinatoError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character gets a question mark
    group = LazyGroup(
        "ostinato", COMMANDS, help="Recurrent sequence models, from raw sequences to a model that is used."
    )
    try:
        group()
    except OstinatoError as error:
        print(f"ostinato: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"ostinato: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
