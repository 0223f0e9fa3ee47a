"""Digits as sequences: the files of MNIST are read or refused, and each image is what it was."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ostinato.cli.experiment_command import experiment_app
from ostinato.errors import DataError
from ostinato.experiments.images import DigitProblem, Images, load_digits, load_mnist, read_idx


def _idx(path: Path, values: np.ndarray, packed: bool = True) -> None:
    data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for prefix, size in (("train", 60), ("t10k", 20)):
        _idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", draw.integers(0, 256, (size, 6, 4), np.uint8))
        _idx(tmp_path / f"{prefix}-labels-idx1-ubyte", draw.integers(0, 10, size, np.uint8), packed=False)
    return tmp_path


def test_mnist_is_read(mnist: Path, tmp_path: Path) -> None:
    images = load_mnist(mnist)
    assert {part: labels.shape for part, labels in images.labels.items()} == {
        "train": (50,), "validation": (10,), "test": (20,)
    }  # fmt: skip
    assert images.pixels["train"].shape == (50, 6, 4)
    assert 0 <= images.pixels["test"].min() < images.pixels["test"].max() <= 1
    app = experiment_app("sequential-mnist")
    options = ["--data", str(mnist), "--epochs", "2", "--batch-size", "16", "--cells", "gru", "--hidden-size", "4"]
    run = CliRunner().invoke(app, [*options, "-o", str(tmp_path / "out"), "--quiet", "--json", "--figure", "none"])
    (row,) = json.loads(run.stdout)["rows"]
    assert (row["images"], row["time_steps"], row["epochs"]) == ("MNIST", 6, 2.0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\3\4", "found 50 4b 03 04"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 9]) + b"123", "expected 9 values for [9], found 3"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 0]), "expected an IDX file of bytes"),
    ],
)
def test_a_damaged_file_is_told(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        read_idx(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_what_is_no_gzip_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"x\.gz"):
        read_idx(tmp_path / "x.gz")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: not here"):
        load_mnist(tmp_path)


def test_digits_by_rows_pixels_and_permuted() -> None:
    images = load_digits(0)
    rows, pixels, permuted = (DigitProblem(images, 0, by).batch("test", 0, 5) for by in ("rows", "pixels", "permuted"))
    assert rows.inputs.shape == (8, 5, 8)
    torch.testing.assert_close(rows.inputs.transpose(0, 1), torch.from_numpy(images.pixels["test"][:5]))
    assert pixels.inputs.shape == permuted.inputs.shape == (64, 5, 1)
    torch.testing.assert_close(pixels.inputs.view(8, 8, 5).permute(2, 0, 1), rows.inputs.transpose(0, 1))
    assert not torch.equal(permuted.inputs, pixels.inputs)
    for image in range(5):  # the same order for all
        assert torch.equal(permuted.inputs[:, image].sort(0).values, pixels.inputs[:, image].sort(0).values)


def test_an_epoch_has_each_image_once_and_shifts_keep_it_whole() -> None:
    labels = np.arange(50)
    marked = np.zeros((50, 3, 3), np.float32)
    marked[:, 1, 1] = labels + 1
    images = Images("marked", dict.fromkeys(("train", "validation", "test"), marked), dict.fromkeys(
        ("train", "validation", "test"), labels
    ))  # fmt: skip
    problem = DigitProblem(images, 0, shift=2, move_train=True)
    seen = [problem.batch("train", index, 8) for index in range(problem.epoch_steps(8))]
    assert sorted(torch.cat([batch.targets for batch in seen]).tolist()) == labels.tolist()
    again = [problem.batch("train", problem.epoch_steps(8) + index, 8) for index in range(2)]
    assert not torch.equal(again[0].targets, seen[0].targets)
    places = set()
    for batch in seen:
        assert batch.inputs.shape[0] == batch.inputs.shape[2] == 7
        assert torch.equal(batch.inputs.sum((0, 2)), batch.targets + 1.0)
        places |= {int(image.flatten().argmax()) for image in batch.inputs.transpose(0, 1)}
    assert len(places) > 10
    still = problem.batch("test", 0, 8)
    assert {int(image.flatten().argmax()) for image in still.inputs.transpose(0, 1)} == {3 * 7 + 3}
