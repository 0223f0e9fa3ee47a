"""Clips of every kind of file, and what is none told plainly."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ostinato.codecs.arrays import frames_of
from ostinato.codecs.clips import ClipReader, ClipSettings, gif_delays
from ostinato.codecs.images import Header, ImageCodec, ImageSettings
from ostinato.errors import DataError, SettingsError

FRAMES = np.random.default_rng(0).integers(0, 256, (12, 6, 8), dtype=np.uint8)
CODEC = ImageCodec(6, 8, ImageSettings(), channels=1)


def gif(path: Path, frames: np.ndarray, **options: Any) -> Path:
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=others, **{"duration": 80, "loop": 0, "optimize": False} | options)
    return path


def reader(*paths: Path, **settings: Any) -> ClipReader:
    return ClipReader(paths, ClipSettings(**{"input_frames": 3, "target_frames": 2} | settings))


def only(path: Path, **settings: Any) -> np.ndarray:
    (clip,) = reader(path, **settings).clips()
    found = clip.read(CODEC)
    assert found.dtype == np.uint8 and len(found) == clip.length
    return found[..., 0]


def test_every_kind_of_file_holds_the_same_frames(tmp_path: Path) -> None:
    folder = tmp_path / "图片"
    folder.mkdir()
    for number, frame in enumerate(FRAMES):  # 10.png comes after 9.png
        Image.fromarray(frame).save(folder / f"{number}.png")
    found = list(reader(*sorted(folder.iterdir())).clips())
    assert [(clip.name, clip.length, clip.coloured) for clip in found] == [(str(folder), 12, False)]
    np.testing.assert_array_equal(found[0].read(CODEC)[..., 0], FRAMES)
    np.testing.assert_array_equal(only(gif(tmp_path / "a.gif", FRAMES)), FRAMES)
    np.testing.assert_array_equal(only(gif(tmp_path / "a.webp", FRAMES, lossless=True)), FRAMES)
    for name, array, axes in (
        ("bytes", FRAMES, None),
        ("int64", FRAMES.astype(np.int64), None),
        ("float32", (FRAMES / 255).astype(np.float32), None),
        ("big-endian", (FRAMES / 255).astype(">f8"), None),
        ("one channel", FRAMES[..., None], None),
        ("colours", FRAMES[..., None].repeat(3, 3), None),
        ("last", FRAMES.transpose(1, 2, 0), "hwt"),
        ("a clip", FRAMES[None, ..., None], None),
        ("columns first", np.asfortranarray(FRAMES), None),
    ):
        np.save(path := tmp_path / f"{name}.npy", array)
        np.testing.assert_array_equal(only(path, axes=axes), FRAMES, err_msg=name)
    np.save(path := tmp_path / "bool.npy", FRAMES > 99)
    np.testing.assert_array_equal(only(path), (FRAMES > 99) * 255)
    np.savez_compressed(path := tmp_path / "several.npz", a=FRAMES, b=np.stack([FRAMES, FRAMES[::-1]]))
    clips = list(reader(path).clips())
    assert [clip.name.removeprefix(str(path)) for clip in clips] == [", a", ", b, clip 1", ", b, clip 2"]
    np.testing.assert_array_equal(clips[2].read(CODEC)[..., 0], FRAMES[::-1])
    copied = tmp_path / "standard-input"  # what comes from there has no name
    for name in ("a.gif", "bytes.npy", "several.npz"):
        copied.write_bytes((tmp_path / name).read_bytes())
        np.testing.assert_array_equal(next(reader(copied).clips()).read(CODEC)[..., 0], FRAMES)


def test_frames_come_to_one_size_and_colour(tmp_path: Path) -> None:
    red = np.zeros((5, 6, 8, 3), np.uint8)
    red[..., 0] = 255
    red[:, :3] = 0
    red[range(5), 3, range(5)] = 99
    (clip,) = reader(gif(tmp_path / "red.gif", red)).clips()
    assert clip.coloured and clip.length == 5
    assert [clip.read(ImageCodec(6, 8, ImageSettings(), 3))[0, y, 0].tolist() for y in (0, 5)] == [
        [0, 0, 0],
        [255, 0, 0],
    ]
    codec = ImageCodec.of([Header(clip.height, clip.width, clip.coloured)], ImageSettings(image_size=(12, 16)))
    assert clip.read(codec).shape == (5, 12, 16, 3)
    np.save(path := tmp_path / "grey.npy", FRAMES)
    (grey,) = reader(path).clips()
    assert grey.read(codec).shape == (12, 12, 16, 3)


def test_a_frame_that_a_gif_shows_longer_counts_so_often(tmp_path: Path) -> None:
    still = FRAMES[[0, 1, 1, 1, 2, 3]]  # Pillow writes 1 once, for three times as long
    path = gif(tmp_path / "still.gif", still)
    assert gif_delays(path) == [8, 24, 8, 8]
    np.testing.assert_array_equal(only(path), still)
    path = gif(tmp_path / "pause.gif", FRAMES[:3], duration=[50, 50, 2000])
    np.testing.assert_array_equal(only(path), FRAMES[:3])
    path = gif(tmp_path / "at once.gif", FRAMES[:3], duration=0)
    assert len(only(path)) == 3


def test_windows(tmp_path: Path) -> None:
    np.save(path := tmp_path / "clip.npy", FRAMES)

    def starts(**settings: Any) -> list[int]:
        return [window.start for window in reader(path, **settings).examples()]

    assert starts() == [0, 2, 4, 6] and starts(stride=7) == [0, 7] and starts(stride=1) == list(range(8))
    assert starts(every=2) == [0]  # of 6 frames
    assert starts(every=3) == [0]  # none: it is told
    (window,) = reader(path, every=3).examples()
    assert window.problem.startswith(
        "a clip of 12 frames of which one in 3 is taken: 3 to see and 2 to tell are needed"
    )
    about = reader(path).fingerprint()
    assert (
        about["clips"] == 1 and about["frames"] == 12 and about["files"] == ["clip.npy"] and len(about["sha256"]) == 64
    )


def test_what_is_no_clip_is_counted_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    Image.fromarray(FRAMES[0]).save(tmp_path / "one.gif")
    found = list(reader(*sorted(tmp_path.iterdir())).examples())
    assert [window.problem.split(":")[0] for window in found] == ["a file that is no clip (.txt)", "a clip of 1 frame"]


def test_broken_files_are_told(tmp_path: Path) -> None:
    whole = gif(tmp_path / "whole.gif", FRAMES).read_bytes()
    np.save(tmp_path / "whole.npy", FRAMES)
    array = (tmp_path / "whole.npy").read_bytes()

    def told(name: str, data: bytes, match: str) -> None:
        (path := tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=match) as error:
            only(path)
        assert str(path) in str(error.value)

    for cut in (len(whole) // 2, len(whole) - 1):
        told("cut.gif", whole[:cut], r"a damaged GIF: cut off in frame \d+: expected a whole file")
    told("empty.gif", b"", r"empty: expected a GIF or WebP image")
    told("text.gif", b"hello, world", "it begins 68 65 6c 6c: expected a GIF or WebP image")
    told("png.gif", b"\x89PNG\r\n\x1a\n", "it is PNG: expected a GIF or WebP image")
    told("cut.npy", array[:-1], "not an array that can be read")
    told("head.npy", array[:20], "not an array that can be read")
    told("empty.npy", b"", "empty: expected an array")
    told("text.npy", b"hello, world", "it begins 68 65 6c 6c: expected NumPy's own format")
    objects = io.BytesIO()
    np.save(objects, np.array([{}, None], object), allow_pickle=True)
    told("objects.npy", objects.getvalue(), "pickled Python objects, which are never read")
    told("pickle.npy", pickle.dumps(FRAMES), "expected NumPy's own format; nothing pickled is read")
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as file:
        file.writestr("objects.npy", objects.getvalue())
    told("objects.npz", archive.getvalue(), "pickled Python objects, which are never read")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_gif_is_told_or_read_but_nothing_else(noise: bytes, at: int) -> None:
    first, *others = (Image.fromarray(frame) for frame in FRAMES[:4])
    first.save(data := io.BytesIO(), "GIF", save_all=True, append_images=others, optimize=False)
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.gif"
        path.write_bytes(data.getvalue()[:at] + noise + data.getvalue()[at + len(noise) :])
        try:
            only(path)
        except DataError as error:
            assert "a.gif" in str(error)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gif(tmp_path / "a.gif", FRAMES)
    data = bytearray(path.read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"  # the screen of a GIF
    (tmp_path / "screen.gif").write_bytes(data)
    with pytest.raises(DataError, match=r"65,535 × 65,535 pixels|could be decompression bomb"):
        only(tmp_path / "screen.gif")
    monkeypatch.setattr("ostinato.codecs.clips._MOST_PIXELS", 500)
    with pytest.raises(DataError, match=r"12 frames of 6 × 8 pixels: more than 500 pixels are not unpacked"):
        only(path)
    monkeypatch.setattr("ostinato.codecs.arrays._MOST_BYTES", 500)
    np.savez_compressed(tmp_path / "a.npz", FRAMES)
    with pytest.raises(DataError, match=r"arr_0.npy: 704 bytes unpacked: expected at most 500"):
        only(tmp_path / "a.npz")


def test_numbers_that_are_no_brightness_are_told(tmp_path: Path) -> None:
    for value, told in (
        (np.nan, "nan: expected numbers from 0 to 1$"),
        (np.inf, "inf: expected numbers from 0 to 1$"),
        (-0.5, "-0.5: expected numbers from 0 to 1$"),
        (255.0, "255: expected numbers from 0 to 1; divide by 255, or save as uint8$"),
    ):
        frames = FRAMES / 255
        frames[7, 2, 3] = value
        np.save(path := tmp_path / "clip.npy", frames)
        with pytest.raises(DataError, match=f"clip.npy: frame 8, row 3, column 4: {told}"):
            only(path)
    np.save(path, FRAMES.astype(np.int32) + 1)
    with pytest.raises(DataError, match=r"256: expected numbers from 0 to 255$"):
        only(path)


def test_axes_that_are_none_are_told(tmp_path: Path) -> None:
    for shape, axes, told in (
        ((6, 8), None, r"2 axes, \[6, 8\]: expected thw, thwc"),
        ((2, 3, 4, 5, 6, 1), None, "6 axes"),
        ((3, 4, 5, 6), "thw", "4 axes.*: expected 3 axes, thw"),
        ((3, 4, 5, 2), "thwc", "expected frames with 1, 3 or 4 channels"),
        ((3, 0, 5), None, "none empty"),
    ):
        with pytest.raises(DataError, match=told):
            frames_of(np.zeros(shape), "clip.npy", axes)
    with pytest.raises(DataError, match="an array of <U1: expected numbers"):
        frames_of(np.full((3, 4, 5), "a"), "clip.npy")
    for axes in ("thh", "th", "thwx"):
        with pytest.raises(SettingsError, match="expected t, h, w once each"):
            frames_of(np.zeros((3, 4, 5)), "clip.npy", axes)


def test_images_of_a_folder_must_be_of_one_size(tmp_path: Path) -> None:
    for number, size in enumerate([(8, 6), (8, 6), (9, 6)]):
        Image.new("L", size).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"2.png: 6 × 9 pixels, but 0.png has 6 × 8: the images of a folder"):
        list(reader(*tmp_path.iterdir()).clips())
