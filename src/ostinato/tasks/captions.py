"""Images with their captions: from tables that name image files, or images with a text beside them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ostinato.codecs.images import ImageCodec, is_image
from ostinato.codecs.pairs import SideCodec
from ostinato.codecs.text import TextCodec
from ostinato.data import BLOCK_BYTES
from ostinato.errors import BundleError, DataError
from ostinato.records import Record, RecordReader
from ostinato.settings import Settings
from ostinato.tasks.corpus import SPOOLED

_TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"}
_CAPTION_COLUMNS = ("caption", "captions")


class CaptionSettings(Settings):
    """How captioned images are read."""

    format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = Field(
        "auto", description="of tables; auto: by their names"
    )
    image_column: str = Field("image", description="of a table: the file of an image, from the table's folder")
    caption_column: str | None = Field(None, description="of a table: a caption, or a list [default: caption(s)]")
    damaged: Literal["stop", "skip"] = Field(
        "stop", description="at an image that cannot be read, or an empty caption: stop, or pass over and count"
    )
    encoding: str = Field("utf-8", description="of tables and texts, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="images kept for validation, drawn at random")


class Captioned(NamedTuple):
    """An image and what is said of it."""

    image: Path | bytes
    """Its file, or what stands in one."""
    where: str
    """The place that names it, for errors; empty if it was named itself."""
    captions: tuple[str, ...]
    """Without blanks around them; none where an empty one is passed over."""


@dataclass(frozen=True)
class CaptionReader:
    r"""Captioned images from tables, or from images that have a text beside them.

    A table (`csv`, `tsv`, `jsonl`, `parquet`, see `RecordReader`) has a column of images and one of captions. An image
    is the path of a file, from the table's folder; in JSONL it may be a `data:image/png;base64,…` address, in Parquet
    also bytes. Rows that name the same file are several captions of it; a list, in JSONL and Parquet, is too. Without a
    table, `cat.png` has its captions in `cat.txt`, one a line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "images.csv"
    >>> _ = path.write_text("image,caption\na.png,a dog\nb.png,a cat\na.png,a brown dog\n")
    >>> for each in CaptionReader([path], CaptionSettings.checked({})).examples():
    ...     print(each.image.name, each.captions)
    a.png ('a dog', 'a brown dog')
    b.png ('a cat',)
    """

    files: Sequence[Path]
    settings: CaptionSettings

    def examples(self) -> Iterator[Captioned]:
        """Images with all their captions, in the order in which they are first named.

        Raises:
            DataError: with file and line, if a table cannot be read, a row names no image or has no caption, or an
                image has no text beside it.
        """
        tables = self._tables()
        for path in tables:
            yield from self._captioned(path)
        if tables:
            return  # of a folder: its images are those that the tables name
        images = [path for path in self.files if is_image(path)]
        if not images and self.files:
            raise DataError(
                f"{self.files[0]}: expected a table (.csv, .tsv, .jsonl, .parquet) of images and captions, or images "
                "(.png, .jpg) with a .txt beside each"
            )
        for path in images:
            yield from self._beside(path)

    def images(self) -> Iterator[Captioned]:
        """Images without captions: those that are named, and those of tables, which need have none."""
        for path in self.files:
            if is_image(path):
                yield Captioned(path, "", ())
            elif path in self._tables():
                for record in self._records(path):
                    yield Captioned(self._image(record), record.where, ())
            elif not (path.suffix == ".txt" and len(self.files) > 1):
                yield Captioned(path, "", ())  # which is told to be none where it is opened

    def fingerprint(self) -> dict[str, Any]:
        """SHA-256 of tables, images and captions, and how many there are."""
        digest, images, captions = hashlib.sha256(), 0, 0
        for path in self._tables():
            _feed(digest, path)
        for each in self.examples():
            images += 1
            captions += len(each.captions)
            digest.update("\n".join(each.captions).encode("utf-8", "surrogatepass"))
            if isinstance(each.image, bytes):
                digest.update(each.image)
            elif each.image.is_file():  # if not, that is told, with its place, where it is opened
                _feed(digest, each.image)
        names = tuple(path.name for path in self._tables() or self.files)
        return {"sha256": digest.hexdigest(), "images": images, "captions": captions, "files": names}

    def _tables(self) -> list[Path]:
        if self.settings.format != "auto":
            return [path for path in self.files if not is_image(path) and path.suffix != ".txt"]
        return [
            path for path in self.files if _suffix(path) in _TABLES or (path.name == SPOOLED and not is_image(path))
        ]

    def _records(self, path: Path) -> Iterator[Record]:
        s, kind = self.settings, self.settings.format
        if kind == "auto" and path.name == SPOOLED:
            with path.open("rb") as file:
                kind = "jsonl" if file.read(1) == b"{" else "csv"
        return RecordReader([path], kind, s.encoding, s.errors).records()

    def _captioned(self, path: Path) -> Iterator[Captioned]:
        """Images of a table: those within it as they come, files when all their rows are read."""
        named: dict[Path, tuple[str, list[str]]] = {}
        for record in self._records(path):
            image, captions = self._image(record), self._captions(record)
            if isinstance(image, bytes) or not captions:
                yield Captioned(image, record.where, captions)
            else:
                named.setdefault(image, (record.where, []))[1].extend(captions)
        for image, (where, captions) in named.items():
            yield Captioned(image, where, tuple(captions))

    def _image(self, record: Record) -> Path | bytes:
        column = self.settings.image_column
        found = record.value(column)
        if isinstance(found, dict):  # as the Hub's tables of images have it
            found = found.get("bytes") or found.get("path")
        if isinstance(found, bytes):
            return found
        if not isinstance(found, str) or not found.strip():
            said = json.dumps(found, default=str)[:40]
            raise DataError(f"{record.where}: column {column!r}: expected the path of an image, found {said}")
        if found.startswith("data:"):
            try:
                return base64.b64decode(found.partition(",")[2], validate=True)
            except binascii.Error as error:
                raise DataError(f"{record.where}: column {column!r}: not base64: {error}") from None
        folder = Path() if record.path.name == SPOOLED else record.path.parent
        return folder / found.strip()

    def _captions(self, record: Record) -> tuple[str, ...]:
        column = self.settings.caption_column or next(
            (name for name in _CAPTION_COLUMNS if name in record.fields), _CAPTION_COLUMNS[0]
        )
        found = record.value(column)
        captions = found if isinstance(found, list) else [found]
        if wrong := [each for each in captions if not isinstance(each, str)]:
            said = json.dumps(wrong[0], default=str)[:40]
            raise DataError(f"{record.where}: column {column!r}: expected text, or a list of texts, found {said}")
        return self._filled([" ".join(each.split()) for each in captions], f"{record.where}: column {column!r}")

    def _filled(self, captions: list[str], where: str) -> tuple[str, ...]:
        """The captions, if none is empty."""
        if captions and all(captions):
            return tuple(captions)
        if self.settings.damaged == "skip":
            return ()
        raise DataError(f"{where}: an empty caption: write what is to be seen, or pass over such with --damaged skip")

    def _beside(self, image: Path) -> Iterator[Captioned]:
        path, s = image.with_suffix(".txt"), self.settings
        if not path.is_file():
            raise DataError(
                f"{image}: no caption: expected {path.name} beside it, a caption a line, or a table (.csv, .jsonl) "
                f"with the columns {s.image_column} and caption"
            )
        lines = [" ".join(text.split()) for text in RecordReader([path], "text", s.encoding, s.errors).texts()]
        yield Captioned(image, "", self._filled([line for line in lines if line], str(path)))


def _suffix(path: Path) -> str:
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "")


def _feed(digest: Any, path: Path) -> None:
    """A file's bytes into a digest."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)


class CaptionCodec:
    """Images ↔ arrays of one size, and captions ↔ ids that end with `END`.

    Args:
        images: the codec of the images.
        text: that of the captions.
    """

    def __init__(self, images: ImageCodec, text: SideCodec) -> None:
        self.images, self.text = images, text

    @property
    def vocabulary(self) -> list[str]:
        """Tokens by id."""
        return self.text.vocabulary

    def save(self, folder: Path) -> None:
        """Write both."""
        self.images.save(folder)
        (folder / "text").mkdir(exist_ok=True)
        self.text.text.save(folder / "text")

    @classmethod
    def load(cls, folder: Path) -> CaptionCodec:
        """What `save` wrote.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        if not (folder / "text").is_dir():
            raise BundleError(f"{folder}: expected the codec of captions: text/ is missing")
        return cls(ImageCodec.load(folder), SideCodec(TextCodec.load(folder / "text")))
