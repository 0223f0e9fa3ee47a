"""Predicted frames as files, and as characters."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.codecs.arrays import frames_of
from ostinato.codecs.clips import Clip, array_clip
from ostinato.errors import MissingExtra, SettingsError
from ostinato.files import write_bytes, writing_folder

_SHADES = " ░▒▓█"
_COLUMNS = 32  # of a frame in characters


def clip_of(array: np.ndarray) -> Clip:
    """An array that is one clip.

    Raises:
        DataError: if its axes are others.
    """
    name = "the clip"
    axes = {3: "thw", 4: "thwc"}.get(array.ndim, "thw")
    return array_clip(frames_of(array, name, axes)[0], name)


def draw(frames: Mapping[str, np.ndarray]) -> str:
    """Frames side by side in shades of grey, under their names; large ones smaller.

    Args:
        frames: by name, [height, width, channels], 0 to 1, of one size.

    >>> print(draw({"a": np.eye(4)[..., None], "b": np.ones((4, 4, 1))}))
    a      b
    ▒▒     ████
      ▒▒   ████
    """
    pictures = {}
    for name, frame in frames.items():
        grey = frame.mean(-1)
        step = max(1, -(-grey.shape[1] // _COLUMNS))
        rows, columns = grey.shape[0] // (2 * step) or 1, grey.shape[1] // step
        blocks = grey[: rows * 2 * step, : columns * step].reshape(rows, -1, columns, step).mean((1, 3))
        marks = (blocks.clip(0, 1) * (len(_SHADES) - 1)).round().astype(int)
        pictures[name] = ["".join(_SHADES[mark] for mark in row) for row in marks]
    width = max(len(text) for name, rows in pictures.items() for text in (name, *rows))
    lines = ["   ".join(f"{name:<{width}}" for name in pictures)]
    lines += ["   ".join(f"{row:<{width}}" for row in together) for together in zip(*pictures.values(), strict=True)]
    return "\n".join(line.rstrip() for line in lines)


def write_frames(clips: Sequence[tuple[Clip, np.ndarray]], output: Path, scale: int, every: int = 1) -> Iterator[str]:
    """Write frames of clips, whole or not at all; gives a line for each file or folder.

    Args:
        clips: each with frames, 0 to 1, [time, height, width, channels].
        output: a `.gif` of one clip; a `.npy`, float32 [time, height, width, channels], or of several clips with these
            as a first axis; or a folder: PNG files of one clip, of several a GIF each.
        scale: of images, the side of the square that a pixel becomes.
        every: of the clips' frames one in so many was taken, so that each is shown as long as these.

    Raises:
        SettingsError: if several clips are to be one GIF.
        MissingExtra: if images are to be written and Pillow is not installed.
    """
    suffix = output.suffix.lower()
    if suffix == ".npy":
        arrays = [frames.astype(np.float32) for _, frames in clips]
        np.save(data := io.BytesIO(), arrays[0] if len(arrays) == 1 else np.stack(arrays), allow_pickle=False)
        write_bytes(output, data.getvalue())
        yield (
            f"{output}: {len(clips)} × {len(arrays[0])} frames"
            if len(clips) > 1
            else f"{output}: {len(arrays[0])} frames"
        )
    elif suffix == ".gif":
        if len(clips) > 1:
            raise SettingsError(f"{output}: {len(clips)} clips are more than one GIF: name a folder, or a .npy file")
        clip, frames = clips[0]
        write_bytes(output, gif(frames, scale, clip.milliseconds * every))
        yield f"{output}: {len(frames)} frames"
    else:
        with writing_folder(output) as folder:
            for number, (clip, frames) in enumerate(clips):
                if len(clips) > 1:
                    write_bytes(folder / f"{number + 1:05}.gif", gif(frames, scale, clip.milliseconds * every))
                    continue
                for at, frame in enumerate(frames):
                    picture(frame, scale).save(data := io.BytesIO(), "PNG")
                    write_bytes(folder / f"{at + 1:05}.png", data.getvalue())
        yield f"{output}: {sum(len(frames) for _, frames in clips)} frames of {len(clips)} clip{'s'[: len(clips) != 1]}"


def picture(frame: np.ndarray, scale: int = 1) -> Any:
    """A frame, 0 to 1, [height, width, channels], as Pillow's image."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images", "writing images") from None
    pixels = np.rint(frame.clip(0, 1) * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def gif(frames: np.ndarray, scale: int, milliseconds: int) -> bytes:
    """Frames as an animation without end."""
    first, *others = (picture(frame, scale) for frame in frames)
    # a frame like the one before is left out, and that one shown longer: `animation_clip` knows
    options = {"save_all": True, "append_images": others, "duration": milliseconds, "loop": 0, "optimize": False}
    first.save(data := io.BytesIO(), "GIF", **options)
    return data.getvalue()
