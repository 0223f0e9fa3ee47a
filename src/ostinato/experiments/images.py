"""Images of digits as sequences: MNIST from its files, or the small digits that scikit-learn brings."""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ostinato.errors import DataError
from ostinato.experiments.training import Batch, drawing

_FILES = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8
_VALIDATION = 5000


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in a file of the IDX format, gzip or plain: 0, 0, type 8, axes, big-endian sizes, values.

    Raises:
        DataError: if it is not such a file, or cut off; with what was found.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: expected an IDX file of bytes, which begins 00 00 08, found {data[:4].hex(' ')}")
    first = 4 + 4 * data[3]
    sizes = struct.unpack(f">{data[3]}I", data[4:first])
    if len(data) - first != math.prod(sizes):
        raise DataError(f"{path}: expected {math.prod(sizes):,} values for {list(sizes)}, found {len(data) - first:,}")
    return np.frombuffer(data, np.uint8, offset=first).reshape(sizes)


class Images(NamedTuple):
    """Pictures with their classes."""

    name: str
    pixels: dict[str, np.ndarray]
    """By part, float32 [images, rows, columns], 0 to 1."""
    labels: dict[str, np.ndarray]
    """By part, int64 [images]."""


def mnist_folder(given: str | None) -> Path | None:
    """The folder of the four files: the one given, else `mnist` in $OSTINATO_DATA, else None."""
    if given is not None:
        return Path(given)
    root = os.environ.get("OSTINATO_DATA")
    return Path(root) / "mnist" if root and (Path(root) / "mnist").is_dir() else None


def load_images(given: str | None, seed: int, tell: Callable[[str], None]) -> Images:
    """MNIST where it is (see `mnist_folder`), else the digits of scikit-learn, and that is told."""
    folder = mnist_folder(given)
    if folder is not None:
        return load_mnist(folder)
    tell("MNIST is not here (--data FOLDER, or mnist in $OSTINATO_DATA): reading scikit-learn's digits instead")
    return load_digits(seed)


def load_mnist(folder: Path) -> Images:
    """MNIST (LeCun et al. 1998): 55,000 to train, the last 5,000 of its training part to validate, 10,000 to test.

    Raises:
        DataError: if a file is missing or damaged, or images and labels do not belong together.
    """
    pixels, labels = {}, {}
    for part, prefix in _FILES.items():
        found = []
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            paths = [folder / f"{prefix}-{kind}{suffix}" for suffix in (".gz", "")]
            path = next((each for each in paths if each.exists()), None)
            if path is None:
                raise DataError(f"{paths[0]}: not here, nor without .gz; MNIST is four files, and this is one of them")
            found.append(read_idx(path))
        images, classes = found
        if images.ndim != 3 or classes.shape != images.shape[:1]:
            raise DataError(
                f"{folder}: {part}: images {list(images.shape)} and labels {list(classes.shape)} do not fit"
            )
        pixels[part], labels[part] = images.astype(np.float32) / 255, classes.astype(np.int64)
    return _with_validation("MNIST", pixels, labels, min(_VALIDATION, len(labels["train"]) // 6))


def load_digits(seed: int) -> Images:
    """The 1,797 digits of 8 × 8 pixels in scikit-learn (Alpaydin & Kaynak 1998), the last 300 + 300 apart."""
    from sklearn.datasets import load_digits as load

    found: Any = load()
    order = np.random.default_rng(seed).permutation(len(found.target))
    images, classes = found.images[order].astype(np.float32) / 16, found.target[order].astype(np.int64)
    pixels = {"train": images[:-300], "test": images[-300:]}
    labels = {"train": classes[:-300], "test": classes[-300:]}
    return _with_validation("digits of 8 × 8", pixels, labels, 300)


def _with_validation(name: str, pixels: dict[str, np.ndarray], labels: dict[str, np.ndarray], size: int) -> Images:
    for values in (pixels, labels):
        values["validation"], values["train"] = values["train"][-size:], values["train"][:-size]
    return Images(name, pixels, labels)


class DigitProblem:
    """Which digit is it? An image is read row by row, or pixel by pixel, or pixel by pixel in a random order.

    Args:
        images: that are read.
        seed: of the order of examples, of the permutation and of shifts.
        by: rows, pixels, or permuted: one permutation of the pixels for all images (Le et al. 2015, section 4.2).
        shift: of pixels, by which the frame around an image is wider on each side.
        move_train: whether an image of the training part is moved in its frame, to a random place in it.
        move_test: the same of the test part. The validation part is as the training part.

    Shapes:
        inputs [time, batch, features]: [rows, batch, columns], or [pixels, batch, 1]; targets int64 [batch].
    """

    every_step, output_size = False, 10
    needed_steps: int | None = None

    def __init__(
        self,
        images: Images,
        seed: int,
        by: str = "rows",
        shift: int = 0,
        move_train: bool = False,
        move_test: bool = False,
    ) -> None:
        self.images, self._seed, self._by, self._frame = images, seed, by, shift
        self._moves = {"train": move_train, "validation": move_train, "test": move_test}
        rows, columns = (size + 2 * shift for size in images.pixels["train"].shape[1:])
        self.time_steps, self.input_size = (rows, columns) if by == "rows" else (rows * columns, 1)
        draw = np.random.default_rng([seed, 3])
        self._order = torch.from_numpy(draw.permutation(rows * columns)) if by == "permuted" else None
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def batch(self, part: str, index: int, size: int) -> Batch:
        """See `Problem`: of `train`, the order is another in each epoch."""
        count = len(self.images.labels[part])
        epoch, at = divmod(index, math.ceil(count / size))
        chosen = (self._shuffled(epoch, count) if part == "train" else np.arange(count))[at * size : (at + 1) * size]
        pixels = self.images.pixels[part][chosen]
        if self._frame:
            most = self._frame if self._moves[part] else 0
            pixels = self._moved(pixels, drawing(self._seed, part, index), most)
        inputs = torch.from_numpy(np.ascontiguousarray(pixels.transpose(1, 0, 2)))
        if self._by != "rows":
            inputs = torch.from_numpy(pixels).flatten(1).t().unsqueeze(2).contiguous()
        if self._order is not None:
            inputs = inputs[self._order]
        return Batch(inputs, torch.from_numpy(self.images.labels[part][chosen]))

    def _shuffled(self, epoch: int, count: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([self._seed, 4, epoch]).permutation(count))
        return self._epoch[1]

    def _moved(self, pixels: np.ndarray, draw: np.random.Generator, most: int) -> np.ndarray:
        """Each image in a wider frame, off its middle by at most so many rows and columns."""
        count, rows, columns = pixels.shape
        moved = np.zeros((count, rows + 2 * self._frame, columns + 2 * self._frame), np.float32)
        for image, (down, right) in enumerate(self._frame + draw.integers(-most, most + 1, (count, 2))):
            moved[image, down : down + rows, right : right + columns] = pixels[image]
        return moved

    def epoch_steps(self, size: int) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.images.labels["train"]) / size)

    def batches(self, part: str, size: int) -> int:
        """All of the part."""
        return math.ceil(len(self.images.labels[part]) / size)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Σ −log p of the right digit, nats."""
        return functional.cross_entropy(scores, batch.targets, reduction="sum")

    def count(self, batch: Batch) -> int:
        """Images."""
        return len(batch.targets)

    def figures(self, scores: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """How many are right."""
        return {"accuracy": (scores.argmax(1) == batch.targets).sum()}
