"""Images ↔ arrays of one size: PNG and JPEG of every kind by Pillow, as bytes of grey or of red, green and blue."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.bundle import read_json
from ostinato.errors import BundleError, DataError, MissingExtra, nearest
from ostinato.files import write_text
from ostinato.settings import Settings

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""Of files that are images, in lower case."""
LONGEST = 64  # pixels of the longer side, where nobody says how large images are to be
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on rows and columns are exchanged
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"BM": "BMP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF", b"<svg": "SVG", b"<?xml": "XML or SVG",
}  # fmt: skip
_READ = ("PNG", "JPEG")
_IN_COLOUR = ("RGB", "CMYK", "YCbCr", "LAB", "HSV")


class ImageSettings(Settings):
    """What becomes of an image."""

    image_size: int | tuple[int, int] | None = Field(
        None, description="a side, or height,width, in pixels [default: of the largest in training, at most 64 a side]"
    )
    colour: Literal["auto", "grey", "rgb"] = Field(
        "auto", description="channels: one, or three; auto: three if an image of the training has colour"
    )
    resize: Literal["pad", "crop", "stretch"] = Field(
        "pad", description="to one size: the whole with a margin, the middle without one, or out of proportion"
    )
    background: Literal["white", "black"] = Field("white", description="of margins, and behind what is transparent")
    max_pixels: int = Field(50_000_000, ge=1, description="a larger image is refused before it is unpacked")


class Header(NamedTuple):
    """What an image's first bytes say of it."""

    height: int
    width: int
    """As it is to be seen, turned as EXIF says."""
    coloured: bool


class ImageCodec:
    """An image → uint8 [channels, height, width], 0 black and 255 white, whatever its file holds.

    EXIF's orientation is followed; transparent pixels show the background; palettes, CMYK and 16 bits a channel become
    8 bits of grey or of red, green, blue. It is brought to height × width by `resize`: `pad` scales until the whole
    fits and fills the margins, `crop` until nothing is bare and cuts off the rest, `stretch` each axis alone.

    Args:
        height: of all images, in pixels.
        width: likewise.
        settings: what else is to be done.
        channels: 1 for grey (ITU-R 601: 0.299 R + 0.587 G + 0.114 B), 3 for colours.

    Raises:
        ValueError: for a size or a number of channels that there is not.

    >>> codec = ImageCodec(2, 3, channels=1)
    >>> codec.pixels(np.full((4, 6, 3), 255, np.uint8)).tolist()
    [[[255, 255, 255], [255, 255, 255]]]
    """

    def __init__(self, height: int, width: int, settings: ImageSettings | None = None, channels: int = 3) -> None:
        if height < 1 or width < 1 or channels not in (1, 3):
            raise ValueError(f"{channels} × {height} × {width}: expected 1 or 3 channels and at least a pixel")
        self.height, self.width, self.channels = height, width, channels
        self.settings = settings or ImageSettings.checked({})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @classmethod
    def learn(cls, images: Iterable[tuple[Path | bytes, str]], settings: ImageSettings) -> ImageCodec:
        """The codec for images: their size and whether they have colour, from their headers alone.

        Args:
            images: each with where it is named, for errors; see `read`.
            settings: what is fixed already.

        Raises:
            DataError: if one is none, or there are none.
        """
        return cls.of((header(source, where, settings.max_pixels) for source, where in images), settings)

    @classmethod
    def of(cls, headers: Iterable[Header], settings: ImageSettings) -> ImageCodec:
        """The codec for images of these sizes and colours.

        Raises:
            DataError: if there are none.
        """
        height = width = 0
        coloured = False
        for found in headers:
            height, width = max(height, found.height), max(width, found.width)
            coloured = coloured or found.coloured
        if not height:
            raise DataError("no images: there is no size to learn")
        if (longer := max(height, width)) > LONGEST:
            height, width = (max(1, round(side * LONGEST / longer)) for side in (height, width))
        if settings.image_size is not None:
            size = settings.image_size
            height, width = (size, size) if isinstance(size, int) else size
        channels = {"grey": 1, "rgb": 3, "auto": 3 if coloured else 1}[settings.colour]
        return cls(height, width, settings, channels)

    def read(self, source: Path | bytes, where: str = "") -> np.ndarray:
        """An image of a file, or of the bytes of one.

        Args:
            source: the path, or what a file holds.
            where: the place that names it, such as `images.csv: line 3`, with which an error begins.

        Raises:
            DataError: if it is not there, neither PNG nor JPEG, cut off or otherwise damaged, animated, or too large.
            MissingExtra: if Pillow is not installed.
        """
        with opened(source, where, self.settings.max_pixels) as image:
            return self.fitted(_upright(image))

    def pixels(self, array: np.ndarray) -> np.ndarray:
        """The same of an array of bytes, [height, width], or [height, width, 3 or 4] with red, green, blue (alpha).

        Raises:
            DataError: if it is something else.
        """
        array = np.asarray(array)
        if array.dtype != np.uint8 or array.size == 0 or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
            raise DataError(
                f"an array of {array.dtype} {list(array.shape)}: expected uint8, [height, width] or [height, width, 3]"
            )
        return self.fitted(_pillow().fromarray(array))

    def fitted(self, image: Any) -> np.ndarray:
        """Pillow's image as uint8 [channels, height, width]: flat, in the codec's channels and size."""
        kind, mode, s = _pillow(), "L" if self.channels == 1 else "RGB", self.settings
        image = _flat(image, s.background, mode)
        old, new = (image.width, image.height), (self.width, self.height)
        if old != new:
            filtered = kind.Resampling.BILINEAR  # which Pillow widens where it makes smaller
            shares = [after / before for after, before in zip(new, old, strict=True)]
            if s.resize == "pad":
                size = [max(1, round(side * min(shares))) for side in old]
                canvas = kind.new(mode, new, s.background)
                place = tuple((after - side) // 2 for after, side in zip(new, size, strict=True))
                canvas.paste(image.resize(size, filtered), place)
                image = canvas
            else:
                kept = [min(side, after / max(shares)) for side, after in zip(old, new, strict=True)]
                kept = kept if s.resize == "crop" else list(old)
                edge = [(side - part) / 2 for side, part in zip(old, kept, strict=True)]
                image = image.resize(new, filtered, (*edge, edge[0] + kept[0], edge[1] + kept[1]))
        array = np.asarray(image, np.uint8)
        return np.ascontiguousarray(array[None] if self.channels == 1 else array.transpose(2, 0, 1))

    def save(self, folder: Path) -> None:
        """Write `images.json`."""
        about = {"height": self.height, "width": self.width, "channels": self.channels}
        write_text(folder / "images.json", json.dumps(about | {"settings": self.settings.plain()}, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> ImageCodec:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about = read_json(path := folder / "images.json")
        try:
            settings = ImageSettings.checked(about["settings"])
            return cls(int(about["height"]), int(about["width"]), settings, int(about["channels"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: damaged: {error}") from None


def frames(image: np.ndarray) -> np.ndarray:
    """An image as a sequence, a row a time step: uint8 [channels, height, width] → [height, channels · width], 0 to 1.

    >>> frames(np.array([[[0, 255], [51, 0]], [[0, 0], [255, 102]]], np.uint8)).round(2).tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.20000000298023224, 0.0, 1.0, 0.4000000059604645]]
    """
    rows = image.transpose(1, 0, 2).reshape(image.shape[1], -1)
    return rows.astype(np.float32) / 255


def header(source: Path | bytes, where: str = "", max_pixels: int = 50_000_000) -> Header:
    """Size and colour of an image, of which nothing but the header is read; see `ImageCodec.read`."""
    with opened(source, where, max_pixels) as image:
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        coloured = image.mode.startswith(_IN_COLOUR)
        if image.mode in ("P", "PA"):
            palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            coloured = bool((palette != palette[:, :1]).any())
        return Header(height, width, coloured)


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is one, or, where it says nothing, its first bytes."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    try:
        with path.open("rb") as file:
            return _kind(file.read(16)) in _READ
    except OSError:
        return False


def _kind(beginning: bytes) -> str | None:
    """What a file is that begins so."""
    return next((name for mark, name in _SIGNATURES.items() if beginning.startswith(mark)), None)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images", "reading images") from None
    return Image


@contextmanager
def opened(
    source: Path | bytes, where: str, max_pixels: int, formats: tuple[str, ...] = _READ, still: bool = True
) -> Iterator[Any]:
    """Pillow's image of a file; whatever Pillow says against it, here or within the block, is a `DataError`.

    Args:
        source: the path, or what a file holds.
        where: the place that names it, with which an error begins.
        max_pixels: of one picture; a larger one is refused before it is unpacked.
        formats: that are taken, by the names that people use.
        still: whether an animation is refused.
    """
    kind = _pillow()
    name = source.name if isinstance(source, Path) and where else str(source) if isinstance(source, Path) else "image"
    told = f"{where}: {name}" if where else name
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF, which changes nothing
            warnings.simplefilter("error", kind.DecompressionBombWarning)
            form = _known(file.read(16), told, formats)
            file.seek(0)
            try:
                with kind.open(file, formats=[name.upper() for name in formats]) as image:
                    _check(image, told, max_pixels, still)
                    yield image
            except (kind.DecompressionBombWarning, kind.DecompressionBombError) as error:
                raise DataError(f"{told}: {error}") from None
            except (DataError, MissingExtra, MemoryError):
                raise
            except Exception as error:  # a decoder may raise anything at hostile bytes
                said = str(error) or type(error).__name__
                said = "its header cannot be read" if isinstance(error, kind.UnidentifiedImageError) else said
                raise DataError(f"{told}: a damaged {form}: {said}; expected a whole file") from None
    except OSError as error:
        beside = []
        if isinstance(source, Path) and source.parent.is_dir():
            beside = [entry.name for entry in source.parent.iterdir()]
        hint = nearest(Path(name).name, beside) if isinstance(error, FileNotFoundError) else ""
        raise DataError(f"{where + ': ' if where else ''}{source}: {error.strerror or error}{hint}") from None


def _known(beginning: bytes, told: str, formats: tuple[str, ...]) -> str:
    """Of which format a file is that begins so.

    Raises:
        DataError: if it is none of those that are taken, or empty.
    """
    form, wanted = _kind(beginning), f"a {' or '.join(formats)} image"
    if form not in formats:
        if not beginning:
            raise DataError(f"{told}: empty: expected {wanted}")
        found = f"it is {form}" if form else f"it begins {beginning[:4].hex(' ')}"
        raise DataError(f"{told}: {found}: expected {wanted}")
    return form


def _check(image: Any, told: str, max_pixels: int, still: bool) -> None:
    """Refuse what would fill the memory, and what is not one picture."""
    if image.width * image.height > max_pixels:
        size = f"{image.width:,} × {image.height:,} pixels"
        raise DataError(f"{told}: {size}: at most max_pixels = {max_pixels:,} are unpacked; make it smaller")
    pictures = getattr(image, "n_frames", 1) if still else 1
    if pictures > 1 and image.format == "PNG":  # a camera's JPEG may hold a preview beside the picture
        raise DataError(f"{told}: animated, {pictures} pictures: expected one that stands still")


def _upright(image: Any) -> Any:
    """The image unpacked, and turned as EXIF says."""
    from PIL import ImageOps

    image.load()
    return ImageOps.exif_transpose(image)


def _flat(image: Any, background: str, mode: str) -> Any:
    """Without transparency, with 8 bits a channel, in a mode of Pillow's."""
    kind = _pillow()
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        clear = image.info.get("transparency")
        white = 65535 if background == "white" else 0
        wide = np.where(wide == clear, white, wide) if isinstance(clear, int) else wide
        image = kind.fromarray((wide // 257).astype(np.uint8))
    elif image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        behind = kind.new("RGBA", image.size, background)
        image = kind.alpha_composite(behind, image)
    return image.convert(mode)
