"""Progress of what has no steps: how many examples are done, of how many."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_LINE_EVERY_SECONDS = 10.0


def count_lines(files: Sequence[Path]) -> int | None:
    """Lines of files, about as many as their examples; None where one is compressed, or no plain text, as an image."""
    total = 0
    for path in files:
        if path.suffix in (".gz", ".parquet"):
            return None
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                if b"\0" in block:
                    return None
                total += block.count(b"\n")
    return total


def counted(items: Iterable[T], total: int | None, what: str, quiet: bool) -> Iterator[T]:
    """The same items, counted on standard error as they go by: a bar on a terminal, else a line every ten seconds."""
    if quiet:
        yield from items
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task(what, total=total)
            for item in items:
                yield item
                progress.advance(bar)
    else:
        begun = last = time.monotonic()
        done = 0
        for done, item in enumerate(items, 1):
            yield item
            if (now := time.monotonic()) - last >= _LINE_EVERY_SECONDS:
                last = now
                of = f" of about {total:,}" if total else ""
                print(f"{what}: {done:,}{of}, {done / (now - begun):,.0f} a second", file=sys.stderr)
        print(f"{what}: {done:,} in {time.monotonic() - begun:.1f} s", file=sys.stderr)
