"""What `ostinato predict --stream` prints: each piece of what a model says as soon as it says it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ostinato.errors import SettingsError


def listen(model: Any, files: Sequence[str], options: Any, output: Path | None, as_json: bool) -> None:
    """Print what a model says of a stream while it comes; Ctrl-C ends it.

    Args:
        model: with `streamed`.
        files: one file, or `-` for standard input.
        options: of the model's task.
        output: must be None.
        as_json: an object a line for each piece; else the pieces themselves.

    Raises:
        SettingsError: if there are several files, or an output file.
    """
    if len(files) != 1:
        raise SettingsError("--stream reads one stream: name one file, or - for standard input")
    if output is not None:
        raise SettingsError("--stream prints as it goes: leave out -o, and redirect standard output")
    with nullcontext(sys.stdin.buffer) if files[0] == "-" else Path(files[0]).open("rb") as source:
        try:
            for piece in model.streamed(source, options):
                if as_json:
                    print(json.dumps(piece.row, ensure_ascii=False), flush=True)
                else:
                    print(piece.text, end="", flush=True)
        except KeyboardInterrupt:
            if not as_json:
                print()
