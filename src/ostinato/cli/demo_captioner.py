"""`ostinato demo captioner`: two handwritten digits and a sentence that says which is where."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.errors import MissingExtra
from ostinato.tasks.captioner import Captioner
from ostinato.tasks.looking import Look

NAME = "scenes.csv"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SHADES = " ░▒▓█"
_APART = 4  # of two digits side by side, rows that one may stand above the other, at most


class Scene(NamedTuple):
    """Two digits, and what can be said of them."""

    image: np.ndarray
    """uint8 [side, side], white on black."""
    captions: tuple[str, str]


def scenes(digits: np.ndarray, labels: np.ndarray, side: int, count: int, seed: int) -> Iterator[Scene]:
    """Two digits drawn at random, one left of the other or above it, at random places, and both ways to say so.

    Each is cut to what is not black. They never overlap: each stands in a half of the scene of its own.

    Args:
        digits: uint8 [digits, height, width], white on black; what is not black at most half of a scene's side.
        labels: of each, 0 to 9.
        side: of a scene, in pixels.
        count: of scenes.
        seed: of what is drawn.
    """
    draw, half = np.random.default_rng(seed), side // 2
    for _ in range(count):
        first, second = draw.integers(len(digits), size=2)
        boxes = [_cut(digits[first]), _cut(digits[second])]
        upright = bool(draw.integers(2))  # first above second, not left of it
        boxes = [box.T for box in boxes] if upright else boxes
        image = np.zeros((side, side), np.uint8)
        tallest = max(len(box) for box in boxes)
        line = (tallest + 1) // 2 + int(draw.integers(side - tallest))  # about which the middles of both stand
        for start, box in zip((0, half), boxes, strict=True):
            height, width = box.shape
            top = np.clip(line - height // 2 + draw.integers(-_APART, _APART + 1), 0, side - height)
            left = start + draw.integers(half - width + 1)
            image[top : top + height, left : left + width] = box
        one, other = (WORDS[labels[each]] for each in (first, second))
        there, back = ("above", "below") if upright else ("left of", "right of")
        captions = (f"a {one} {there} a {other}", f"a {other} {back} a {one}")
        yield Scene(np.ascontiguousarray(image.T) if upright else image, captions)


def _cut(digit: np.ndarray) -> np.ndarray:
    """The box of what is not black."""
    rows, columns = (np.flatnonzero((digit > 0).any(axis)) for axis in (1, 0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def write_scenes(folder: Path, name: str, made: Iterator[Scene], ways: int = 2) -> Path:
    """Scenes as PNG files and a table that names each once for each of its first captions, one or both."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images", "making scenes") from None
    (folder / Path(name).stem).mkdir()
    rows = ["image,caption\n"]
    for number, scene in enumerate(made):
        file = f"{Path(name).stem}/{number:05}.png"
        Image.fromarray(scene.image).save(folder / file)
        rows += [f"{file},{caption}\n" for caption in scene.captions[:ways]]
    (folder / name).write_text("".join(rows), encoding="utf-8")
    return folder / name


def demo(folder: Path, minutes: float | None, quiet: bool) -> None:
    """Train on some thousand scenes of digits, and let it tell of others, made of digits that it has not seen."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    digits, labels = (found.images[order] * (255 / 16)).astype(np.uint8), found.target[order]
    held_out = list(scenes(digits[1500:], labels[1500:], 20, 400, seed=2))
    with tempfile.TemporaryDirectory() as scratch:
        train = write_scenes(Path(scratch), NAME, scenes(digits[:1400], labels[:1400], 20, 4000, seed=0), 1)
        checked = write_scenes(
            Path(scratch), "held-out.csv", scenes(digits[1400:1500], labels[1400:1500], 20, 300, 1), 1
        )
        model = Captioner(
            cell="gru", hidden_size=128, embedding_size=64, filters=(16, 32, 64), dropout=0.0, epochs=12, batch_size=16,
            vector_size=128, learning_rate=0.001, criterion="exact", max_minutes=minutes, seed=1, threads=1,
        )  # fmt: skip
        model.fit(train, checked, folder, overwrite=is_demo(folder, NAME), progress=False if quiet else None)
    told = list(model.predict(scene.image for scene in held_out))
    right = sum(each.text in scene.captions for each, scene in zip(told, held_out, strict=True))
    share = f"{right} told right in every word ({right / len(told):.1%})"
    print(f"\n{len(told)} scenes of digits that it has not seen: {share}\n")
    for scene, each in list(zip(held_out, told, strict=True))[:6]:
        print(f"  {each.text:<26}{'' if each.text in scene.captions else f'   (it is {scene.captions[0]})'}")
    print(f"\n{drawn(held_out[0].image)}\n\n{told[0].text}; where it looked at each word:\n")
    if (look := told[0].candidates[0].look) is not None:
        print(looked(look))
    print(
        f"\nThe model is in {folder}. What next:\n"
        f"  ostinato predict {folder} scene.png --beam 5 --n-best 3\n"
        f"  ostinato predict {folder} scene.png --plot where.png\n"
        "  ostinato fit captioner images.csv -o models/mine"
    )


def drawn(image: np.ndarray) -> str:
    """An image [height, width] in shades, two characters a pixel.

    >>> print(drawn(np.array([[0, 255], [100, 0]], np.uint8)))
      ██
    ░░
    """
    levels = image.astype(int) * len(_SHADES) // 256
    return "\n".join("".join(_SHADES[level] * 2 for level in row).rstrip() for row in levels)


def looked(look: Look) -> str:
    """The places of each token side by side, beneath it: the darker, the more.

    >>> print(looked(Look(["a", "dog"], np.array([[[0.1, 0.9], [0, 0]], [[0, 0], [0.5, 0.5]]]))))
    a         dog
     █
              ██
    """
    scaled = look.weights / look.weights.max(axis=(1, 2), keepdims=True).clip(1e-9)
    levels = np.minimum((scaled * len(_SHADES)).astype(int), len(_SHADES) - 1)
    wide = max(10, look.weights.shape[2] + 2)
    lines = ["".join(token.ljust(wide) for token in look.tokens).rstrip()]
    for row in levels.swapaxes(0, 1):
        lines += ["".join("".join(_SHADES[at] for at in each).ljust(wide) for each in row).rstrip()]
    return "\n".join(lines)
