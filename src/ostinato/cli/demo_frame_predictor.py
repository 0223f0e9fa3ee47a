"""`ostinato demo frame-predictor`: a ball that bounces, made on the spot."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.cli.show import columns
from ostinato.tasks.frame_files import draw
from ostinato.tasks.frame_predictor import FramePredictor

NAME = "bouncing-balls.npy"
_SEEN, _TOLD, _SIDE = 6, 6, 16


def wander(images: np.ndarray, count: int, frames: int, side: int, together: int, seed: int) -> np.ndarray:
    """Clips of images that move and bounce (Srivastava et al. 2015, section 3.1).

    Each begins at a random place, and goes a tenth of the way that is free for it a frame, in a random direction; at a
    border it turns. Where several meet, the brighter pixel shows.

    Args:
        images: to draw from, [images, height, height], 0 to 255.
        count: clips.
        frames: of each.
        side: pixels of a frame's.
        together: images in a clip.
        seed: of all that is drawn.

    Returns:
        uint8 [clips, time, side, side].

    >>> clips = wander(np.full((1, 4, 4), 255), 3, 5, 12, 1, seed=0)
    >>> clips.shape, clips.sum((2, 3)).tolist()[0] == [4080] * 5
    ((3, 5, 12, 12), True)
    """
    draw_from = np.random.default_rng(seed)
    clips = np.zeros((count, frames, side, side), np.uint8)
    size = images.shape[1]
    for clip in clips:
        for _ in range(together):
            image = np.rint(images[draw_from.integers(len(images))]).astype(np.uint8)
            place, angle = draw_from.random(2), 2 * np.pi * draw_from.random()
            pace = 0.1 * np.array([np.sin(angle), np.cos(angle)])
            for frame in clip:
                y, x = (place * (side - size)).astype(int)
                part = frame[y : y + size, x : x + size]
                np.maximum(part, image, out=part)
                place = place + pace
                pace, place = np.where((place < 0) | (place > 1), -pace, pace), place.clip(0, 1)
    return clips


def clips() -> tuple[np.ndarray, np.ndarray]:
    """Clips to train with and to test with, of a ball five pixels wide whose rim is grey."""
    rows, columns = np.mgrid[:5, :5] - 2
    ball = 255 * (2.6 - np.hypot(rows, columns)).clip(0, 1)
    train, test = (wander(ball[None], count, _SEEN + _TOLD, _SIDE, 1, seed) for count, seed in ((900, 1), (100, 2)))
    return train, test


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a ConvLSTM on clips of a ball, and let it tell where it goes in others."""
    train, test = clips()
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / NAME, Path(folder) / "others.npy"
        for path, array in zip(paths, (train, test), strict=True):
            np.save(path, array)
        model = FramePredictor(
            input_frames=_SEEN, target_frames=_TOLD, hidden_size=16, kernel_size=5, patch_size=2, epochs=10,
            batch_size=8, learning_rate=0.01, max_minutes=minutes, seed=1,
        )  # fmt: skip
        model.fit(paths[0], None, output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        figures = model.evaluate(paths[1])
    print(f"\n{len(test)} clips that it has not seen, frame by frame, beside the last frame seen, copied:\n")
    shown = ("frame", "mse", "copy_mse", "ssim", "copy_ssim")
    rows: Any = figures["by_frame"]
    print(columns([{name: row[name] for name in shown} for row in rows]))
    told = model.predict(test[0, :_SEEN])
    print(f"\nOne of them, {_TOLD} frames after the last that it saw:\n")
    last, true = (test[0, at, :, :, None] / 255 for at in (_SEEN - 1, -1))
    print(draw({"last seen": last, "told": told[-1], "true": true}))
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato info {output}\n"
        f"  ostinato predict {output} YOUR.gif --hold-out\n"
        f"  ostinato predict {output} YOUR.gif -o next.gif --scale 8\n"
        "  ostinato fit frame-predictor YOUR-CLIPS/ -o models/mine"
    )
