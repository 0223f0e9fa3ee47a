"""Trees from the files that the field uses: in brackets, as JSON lines, or plain text that gets a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ostinato.codecs.trees import Failure, Tree, read_brackets, read_json
from ostinato.data import TextReader, fingerprint
from ostinato.errors import DataError
from ostinato.records import RecordReader
from ostinato.settings import Settings

TreeFormat = Literal["auto", "brackets", "json", "text"]
_SUFFIXES = (".json", ".jsonl", ".ndjson")


class TreeReadingSettings(Settings):
    """How files of trees are read."""

    format: TreeFormat = Field(
        "auto", description="brackets, json (an object a line) or text (a line each); auto: by the name and beginning"
    )
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="trees kept for validation, drawn at random")


class ReadTree(NamedTuple):
    """A tree, and where it begins."""

    tree: Tree
    path: Path
    line: int

    @property
    def where(self) -> str:
        """File and line, as an error begins."""
        return f"{self.path}: line {self.line}"


@dataclass(frozen=True)
class TreeReader:
    r"""Trees from files, as a stream.

    With `auto` a file named .json, .jsonl or .ndjson, or that begins with `{`, holds a JSON object a line; one that
    begins with `(` brackets; any other is plain text.

    Args:
        files: what to read, in this order.
        settings: how.
        tree_of: makes a tree of plain text; None: plain text is refused.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "trees.txt"
    >>> _ = path.write_text("(3 (2 not)\n (1 bad))\n")
    >>> [example.tree.text() for example in TreeReader([path], TreeReadingSettings()).examples()]
    ['not bad']
    """

    files: Sequence[Path]
    settings: TreeReadingSettings
    tree_of: Callable[[str], Tree] | None = None

    def examples(self) -> Iterator[ReadTree]:
        """All trees; empty lines are passed over.

        Raises:
            DataError: with the file, the line, and the column where there is one, if something is no tree.
        """
        for path in self.files:
            kind = self.kind(path)
            if kind == "brackets":
                blocks = TextReader([path], self.settings.encoding, self.settings.errors).blocks()
                yield from (ReadTree(tree, path, line) for tree, line in read_brackets(blocks, path))
            else:
                yield from self._lines(path, kind)

    def kind(self, path: Path) -> str:
        """The format of a file."""
        if self.settings.format != "auto":
            return self.settings.format
        if {suffix.lower() for suffix in path.suffixes} & set(_SUFFIXES):
            return "json"
        blocks = TextReader([path], self.settings.encoding, self.settings.errors).blocks()
        first = next((text for block in blocks if (text := block.lstrip())), "")
        return {"(": "brackets", "{": "json"}.get(first[:1], "text")

    def _lines(self, path: Path, kind: str) -> Iterator[ReadTree]:
        for record in RecordReader([path], "text", self.settings.encoding, self.settings.errors).records():
            line = record.fields["text"]
            if not line.strip():
                continue
            try:
                tree = read_json(line) if kind == "json" else self._of_text(line)
            except Failure as error:
                raise DataError(f"{record.where}, column {error.column}: {error}") from None
            except DataError as error:
                raise DataError(f"{record.where}: {error}") from None
            yield ReadTree(tree, path, record.line)

    def _of_text(self, line: str) -> Tree:
        if self.tree_of is None:
            raise DataError(
                f"expected a tree, such as (3 (2 not) (1 bad)), found {line.strip()[:40]!r}; if these are trees in "
                "another form, see --format"
            )
        return self.tree_of(line)

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold."""
        return asdict(fingerprint(TextReader(self.files, self.settings.encoding, self.settings.errors)))
