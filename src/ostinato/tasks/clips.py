"""Recordings with what is said in them: rows that name a sound file and a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ostinato.codecs.audio_files import is_sound
from ostinato.data import TextReader, fingerprint
from ostinato.errors import DataError, nearest
from ostinato.records import Record, RecordFormat, RecordReader
from ostinato.settings import Settings
from ostinato.tasks.corpus import SPOOLED


class ClipSettings(Settings):
    """How recordings and their texts are read."""

    format: RecordFormat = Field("auto", description="of the table; auto: by name")
    audio: str = Field("audio", description="column of the sound file, as a path from the table's folder")
    text: str = Field("text", description="column of what is said")
    broken: Literal["stop", "skip"] = Field(
        "stop", description="at a sound that is missing or cannot be read: stop, or count it and go on"
    )
    encoding: str = Field("utf-8", description="of the table, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="recordings kept for validation, drawn at random")


class Clip(NamedTuple):
    """A recording."""

    path: Path
    text: str
    where: str
    """File and line that name it."""
    speed: float = 1.0
    """How much faster it is played."""


@dataclass(frozen=True)
class ClipReader:
    r"""Recordings from tables (CSV, TSV, JSONL, Parquet), as a stream.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "clips.csv"
    >>> _ = path.write_text("audio,text\none.wav,one\n")
    >>> [(clip.path.name, clip.text) for clip in ClipReader([path], ClipSettings(broken="skip")).examples()]
    [('one.wav', 'one')]
    """

    files: Sequence[Path]
    settings: ClipSettings

    def __post_init__(self) -> None:
        if sounds := [path for path in self.files if is_sound(path)]:
            raise DataError(
                f"{sounds[0]}: a sound, but what is said in it is needed too: expected a table (such as clips.csv) "
                f"with the columns {self.settings.audio} and {self.settings.text}"
            )

    def examples(self) -> Iterator[Clip]:
        """Recordings with their texts.

        Raises:
            DataError: with file and line, if a table cannot be read, has not the columns, or, with `broken = stop`,
                names a file that is not there.
        """
        s = self.settings
        for record in RecordReader(self.files, s.format, s.encoding, s.errors).records():
            path = self._path(record)
            if s.broken == "stop" and not path.exists():
                beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
                raise DataError(
                    f"{record.where}: column {s.audio!r}: no such file: {path}{nearest(path.name, beside)}; give it, "
                    "or pass over such rows with --broken skip"
                )
            yield Clip(path, record.text(s.text), record.where)

    def _path(self, record: Record) -> Path:
        name = record.text(self.settings.audio).strip()
        if not name:
            raise DataError(f"{record.where}: column {self.settings.audio!r} is empty: expected the path of a sound")
        return (Path.cwd() if record.path.name == SPOOLED else record.path.parent) / name

    def fingerprint(self) -> dict[str, Any]:
        """What the tables hold, as the bundle says it."""
        return asdict(fingerprint(TextReader(self.files, self.settings.encoding, self.settings.errors)))
