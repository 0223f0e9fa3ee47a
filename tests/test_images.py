"""Images: every kind of PNG and JPEG to bytes of one size, and what is none told plainly."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ostinato.codecs.images import ImageCodec, ImageSettings, frames, header, is_image
from ostinato.errors import BundleError, DataError, MissingExtra, SettingsError

# a white field, its upper left quarter black: tells every turn
CORNER = np.full((8, 12), 255, np.uint8)
CORNER[:4, :6] = 0


def encoded(image: Any, form: str = "PNG", **options: Any) -> bytes:
    image.save(data := io.BytesIO(), form, **options)
    return data.getvalue()


def codec(height: int = 8, width: int = 12, channels: int = 1, **options: Any) -> ImageCodec:
    return ImageCodec(height, width, ImageSettings.checked(options), channels)


def kinds() -> dict[str, bytes]:
    """The same picture in every kind of file."""
    grey = Image.fromarray(CORNER)
    alpha = grey.convert("LA")
    alpha.putalpha(Image.fromarray(255 - CORNER))  # black where it can be seen, clear elsewhere
    deep = Image.fromarray(CORNER.astype(np.uint16) * 257)
    clear = Image.fromarray(np.where(CORNER, 77, 0).astype(np.uint8))
    cmyk = Image.merge("CMYK", [Image.new("L", grey.size, 0)] * 3 + [Image.fromarray(255 - CORNER)])
    return {
        "grey": encoded(grey), "bits": encoded(grey.convert("1")), "colours": encoded(grey.convert("RGB")),
        "palette": encoded(grey.convert("P")), "coloured palette": encoded(grey.convert("RGB").quantize(4)),
        "grey, alpha": encoded(alpha), "alpha": encoded(alpha.convert("RGBA")), "16 bits": encoded(deep),
        "a clear grey": encoded(clear, transparency=77), "16 bits, a clear grey": encoded(deep, transparency=65535),
        "a clear colour": encoded(clear.convert("RGB"), transparency=(77, 77, 77)),
        "jpeg": encoded(grey, "JPEG", quality=95), "jpeg, colours": encoded(grey.convert("RGB"), "JPEG", quality=95),
        "jpeg, CMYK": encoded(cmyk, "JPEG", quality=95),
    }  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_of_file_is_the_same_picture(kind: str, channels: int, tmp_path: Path) -> None:
    (path := tmp_path / "图.png").write_bytes(data := kinds()[kind])
    found = codec(channels=channels).read(path)
    assert found.dtype == np.uint8 and found.shape == (channels, 8, 12)
    assert np.abs(found.astype(int) - CORNER).max() <= 24  # of JPEG; of PNG none
    if "jpeg" not in kind:
        assert (found == CORNER).all()
    assert (codec(channels=channels).read(data) == found).all()


def test_what_is_transparent_shows_the_background() -> None:
    data = kinds()["alpha"]
    assert codec(background="black").read(data).max() == 0
    assert codec(background="white").read(data).max() == 255


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_of_a_camera_is_followed(turn: int) -> None:
    undo = [None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_270][turn - 1]  # fmt: skip
    held = Image.fromarray(CORNER)
    held = held if undo is None else held.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = turn
    for form in ("PNG", "JPEG"):
        data = encoded(held, form, exif=exif)
        found = codec().read(data)[0].astype(int)
        assert np.abs(found - CORNER).max() <= 24
        assert header(data)[:2] == (8, 12)


def test_sizes_are_made_equal() -> None:
    data = encoded(Image.fromarray(CORNER))
    padded = codec(24, 24, background="black").read(data)[0]
    assert (padded[:4] == 0).all() and (padded[20:] == 0).all()
    assert padded[6, 20] == 255 and padded[6, 2] == 0 and padded[18, 2] == 255
    cut = codec(4, 4, resize="crop").read(data)[0]
    assert cut[0, 0] == 0 and cut[0, 3] == 255 and cut[3, 0] == 255
    stretched = codec(6, 3, resize="stretch").read(data)[0]
    assert stretched.shape == (6, 3) and stretched[0, 0] == 0 and stretched[5, 0] == 255
    line = encoded(Image.new("L", (3000, 1), 0))
    for how in ("pad", "crop", "stretch"):
        assert codec(5, 7, resize=how).read(line).shape == (1, 5, 7)
    assert (codec(6, 3, resize="stretch").pixels(CORNER) == stretched).all()
    with pytest.raises(DataError, match=r"float64 \[8, 12\]: expected uint8"):
        codec().pixels(CORNER / 255)


def test_the_codec_is_learned_and_comes_back(tmp_path: Path) -> None:
    def learned(*images: Any, **options: Any) -> ImageCodec:
        return ImageCodec.learn([(encoded(image), "") for image in images], ImageSettings.checked(options))

    grey, red = Image.new("L", (20, 10)), Image.new("RGB", (12, 30))
    assert learned(grey).shape == (1, 10, 20)
    assert learned(grey, red).shape == (3, 30, 20)
    assert learned(grey, red, colour="grey").shape == (1, 30, 20)
    assert learned(Image.new("L", (640, 320))).shape == (1, 32, 64)
    assert learned(grey, image_size=16, colour="rgb").shape == (3, 16, 16)
    assert learned(grey.convert("P")).channels == 1
    assert learned(Image.new("P", (4, 4))).channels == 1
    made = learned(grey, image_size=(9, 5), resize="crop")
    made.save(tmp_path)
    again = ImageCodec.load(tmp_path)
    assert again.shape == made.shape == (1, 9, 5) and again.settings == made.settings
    (tmp_path / "images.json").write_text('{"height": 3}')
    with pytest.raises(BundleError, match=r"images\.json: damaged"):
        ImageCodec.load(tmp_path)
    with pytest.raises(DataError, match="no images"):
        learned()
    with pytest.raises(SettingsError, match="resize"):
        learned(grey, resize="fold")


def test_rows_are_time_steps() -> None:
    image = codec(channels=3).read(kinds()["colours"])
    rows = frames(image)
    assert rows.shape == (8, 36) and rows.dtype == np.float32
    assert (rows[0, :6] == 0).all() and (rows[0, 6:12] == 1).all() and (rows[0, 12:18] == 0).all()


# what is wrong


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side: int) -> bytes:
    """A PNG of some hundred bytes that says it is side × side."""
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(10000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)))
    first, second = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "red")
    wrong = {
        "empty.png": (b"", "empty.png: empty: expected a PNG or JPEG image"),
        "text.png": (b"a photo of me", r"text.png: it begins 61 20 70 68: expected a PNG or JPEG"),
        "page.jpg": (encoded(first, "GIF"), "page.jpg: it is GIF: expected a PNG or JPEG"),
        "cut.png": (whole[: len(whole) // 2], "cut.png: a damaged PNG: .*truncated"),
        "head.png": (whole[:20], "head.png: a damaged PNG: "),
        "cut.jpg": (encoded(second, "JPEG")[:-30], "cut.jpg: a damaged JPEG: .*[Tt]runcated"),
        "bomb.png": (bomb(60000), r"bomb.png: .*\(3600000000 pixels\) exceeds limit"),
        "large.png": (bomb(8000), r"8,000 × 8,000 pixels: at most max_pixels = 50,000,000"),
        "moves.png": (
            encoded(first, "PNG", save_all=True, append_images=[second], duration=100),
            "moves.png: animated, 2 pictures: expected one that stands still",
        ),
    }
    for name, (data, told) in wrong.items():
        (path := tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=told):
            codec().read(path)
        with pytest.raises(DataError, match=rf"^images\.csv: line 7: {name}: "):
            codec().read(path, "images.csv: line 7")
    for name in ("bomb.png", "large.png", "empty.png", "moves.png"):
        with pytest.raises(DataError, match=name):
            header(tmp_path / name)
    with pytest.raises(DataError, match=r"line 2: .*/cat.png: No such file or directory \(did you mean cut\.png\?\)"):
        codec().read(tmp_path / "cat.png", "images.csv: line 2")
    with pytest.raises(DataError, match="directory"):
        codec().read(tmp_path)
    assert is_image(tmp_path / "a.JPG") and not is_image(tmp_path / "a.csv") and not is_image(tmp_path / "a")
    (tmp_path / "bare").write_bytes(whole)
    assert is_image(tmp_path / "bare")


def test_a_limit_of_ones_own_holds() -> None:
    data = encoded(Image.fromarray(CORNER))
    assert codec(max_pixels=96).read(data).shape == (1, 8, 12)
    with pytest.raises(DataError, match="8 pixels: at most max_pixels = 95"):
        codec(max_pixels=95).read(data)


def test_without_pillow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ostinato\[images\]'"):
        codec().read(b"\x89PNG\r\n\x1a\n")


WHOLE = {
    "png": encoded(Image.fromarray(CORNER).convert("RGB"), exif=Image.Exif()),
    "jpeg": encoded(Image.fromarray(CORNER), "JPEG"),
}


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 400), st.binary(max_size=8), st.integers(0, 400))
@settings(deadline=None, max_examples=150)
def test_hostile_bytes_are_an_image_or_an_error(kind: str, at: int, put: bytes, cut: int) -> None:
    data = WHOLE[kind]
    data = (data[:at] + put + data[at + len(put) :])[: len(data) - cut if cut % 3 == 0 else None]
    try:
        assert codec().read(data).shape == (1, 8, 12)
    except DataError as error:
        assert str(error).startswith("image: ")
