"""Frame predictor: what moves on is told, by any cell, from any kind of clip, and scored as the field does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ostinato
from ostinato import FramePredictor
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import DataError, SettingsError
from ostinato.image_quality import ssim
from ostinato.tasks.frame_network import PixelHead
from ostinato.tasks.frame_score import FrameScore
from ostinato.tasks.frame_settings import FramePredictSettings

SMALL: dict[str, Any] = {"input_frames": 3, "target_frames": 2, "hidden_size": 6, "num_layers": 1, "patch_size": 2}
SMALL |= {"batch_size": 8, "warmup_steps": 0, "learning_rate": 0.03, "seed": 1, "threads": 1, "device": "cpu"}


def going_round(count: int, length: int = 6, side: int = 12) -> np.ndarray:
    """Clips of a bar that moves on by two pixels a frame, and comes back on the other side: uint8 [n, time, h, w]."""
    bar = np.zeros((side, side), np.uint8)
    bar[:, :2] = 255
    return np.stack([[np.roll(bar, 2 * (at + t), 1) for t in range(length)] for at in range(count)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("frames")
    np.save(folder / "clips.npy", going_round(30))
    model = FramePredictor(**SMALL, stride=1, epochs=16).fit(folder / "clips.npy", output=folder / "m", progress=False)
    return model, folder


def test_it_tells_what_moves_on(made: tuple[Any, Path]) -> None:
    """Here by a network that has only to add one to a place; the last frame copied is wrong everywhere on the bar."""
    model, folder = made
    assert (model.data["train_examples"], model.data["validation_examples"]) == (54, 6)  # 3 of 30 clips, 2 windows each
    told = model.predict(going_round(1, 4)[0])
    assert told.shape == (2, 12, 12, 1) and told.dtype == np.float32 and told.min() >= 0 and told.max() <= 1
    assert (told[..., 0].round() == going_round(1)[0, 4:] / 255).mean() > 0.97
    assert model.predict(going_round(1, 4)[0], 5).shape[0] == 5  # it goes on as long as it is asked to
    figures = model.evaluate(folder / "clips.npy")
    assert figures["mse"] < 0.1 * figures["copy_mse"] and figures["ssim"] > figures["copy_ssim"]
    assert figures["cross_entropy"] < 0.2 * figures["copy_cross_entropy"]
    assert [row["frame"] for row in figures["by_frame"]] == [1, 2]


@pytest.mark.parametrize(
    "options", [{"cell": "conv-gru"}, {"cell": "conv-peephole-lstm", "num_layers": 2}, {"cell": "gru"}]
)
def test_other_cells_learn_too(options: dict[str, Any], tmp_path: Path) -> None:
    np.save(path := tmp_path / "clips.npy", going_round(16))
    patch = {} if options["cell"].startswith("conv") else {"patch_size": None, "hidden_size": 32, "epochs": 9}
    settings = SMALL | {"loss": "mse", "memory": "low", "epochs": 8, "stride": 1} | patch | options
    model = FramePredictor(**settings).fit(path, progress=False)
    first, *_, last = (each["loss"] for each in model.history if each["kind"] == "validation")
    assert last < 0.75 * first


def test_figures_are_those_of_their_definitions() -> None:
    torch.manual_seed(0)
    last, targets = torch.rand(3, 12, 13, 1).round(), torch.rand(4, 3, 12, 13, 1).round()
    logits = torch.randn(4, 3, 12, 13, 1)
    score = FrameScore(4)
    for part in (slice(0, 2), slice(2, 3)):
        score.add(last[part], targets[:, part], logits[:, part])
    told, rows, figures = torch.sigmoid(logits), score.by_frame(), score.figures()
    for t, row in enumerate(rows):
        entropy = -(targets[t] * told[t].log() + (1 - targets[t]) * (1 - told[t]).log())
        assert row["cross_entropy"] == pytest.approx(float(entropy.sum() / 3), rel=1e-5)
        assert row["mse"] == pytest.approx(float((told[t] - targets[t]).square().mean()), rel=1e-5)
        assert row["ssim"] == pytest.approx(float(ssim(told[t], targets[t]).mean()), rel=1e-5)
        assert row["copy_mse"] == pytest.approx(float((last - targets[t]).square().mean()), rel=1e-5)
        assert row["copy_ssim"] == pytest.approx(float(ssim(last, targets[t]).mean()), abs=1e-6)
        wrong = float((last != targets[t]).double().mean())  # of p = ε or 1 − ε the best ε is the share that is wrong
        best = -(wrong * math.log(wrong) + (1 - wrong) * math.log(1 - wrong)) * 12 * 13
        assert best <= row["copy_cross_entropy"] < 1.02 * best
    assert figures["cross_entropy"] == pytest.approx(sum(row["cross_entropy"] for row in rows))
    assert figures["mse_per_frame"] == pytest.approx(12 * 13 * figures["mse"])
    (small := FrameScore(1)).add(last[:, :8], targets[:1, :, :8], logits[:1, :, :8])
    assert "ssim" not in small.figures() and "copy_ssim" not in small.by_frame()[0]


def test_losses_are_those_of_their_definitions() -> None:
    torch.manual_seed(0)
    hidden, targets = torch.randn(5, 3), torch.rand(5, 2)
    for squared in (False, True):
        head = PixelHead(3, 2, squared)
        p = torch.sigmoid(hidden @ head.weight.t() + head.bias)
        for smoothing in (0.0, 0.2):
            y = (1 - smoothing) * targets + smoothing / 2
            wanted = (p - y) ** 2 if squared else -(y * p.log() + (1 - y) * (1 - p).log())
            torch.testing.assert_close(head.loss(head(hidden), targets, smoothing), wanted.sum())


def test_validation_shares_no_frame_with_training(tmp_path: Path) -> None:
    """Of many clips whole ones are kept, of a single one its end."""
    numbers = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((40, 6, 6), np.uint8)
    for name, array in (("many", numbers.reshape(4, 10, 6, 6)), ("one", numbers)):
        np.save(path := tmp_path / f"{name}.npy", array)
        model = FramePredictor(**SMALL | {"validation_fraction": 0.25, "stride": 1})
        (run := tmp_path / name / "run").mkdir(parents=True)
        train, held, about = model.split([str(path)], [], run)
        parts = [{(w.clip.name, w.start + t) for w in part() for t in range(5)} for part in (train, held)]
        assert parts[0] and parts[1] and not parts[0] & parts[1]
        assert about["train"]["frames"] == 40
    np.save(path, numbers[:9])
    with pytest.raises(
        DataError, match=r"one clip of 9 frames: too short .* at least 10 frames, more clips, or --validation"
    ):
        FramePredictor(**SMALL).fit(path, progress=False)


def test_bad_clips_are_told(made: tuple[Any, Path], tmp_path: Path) -> None:
    model, _ = made
    Image.new("L", (12, 12)).save(one := tmp_path / "one.gif")
    (notes := tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"no clips: a clip of 1 frame: 3 to see and 2 to tell are needed"):
        FramePredictor(**SMALL).fit(one, progress=False)
    with pytest.raises(DataError, match=r"no clips: a file that is no clip \(.txt\)"):
        FramePredictor(**SMALL).fit(notes, progress=False)
    with pytest.raises(DataError, match=r"one.gif: 1 frame: the model sees 3 before it tells one"):
        list(model.predictions([one], FramePredictSettings()))
    with pytest.raises(DataError, match=r"notes.txt: no clips: a file that is no clip"):
        list(model.predictions([notes], FramePredictSettings()))
    with pytest.raises(DataError, match=r"the clip: 2 frames: the model sees 3"):
        model.predict(going_round(1, 2)[0])
    with pytest.raises(DataError, match=r"nan: expected numbers from 0 to 1"):
        model.predict(np.full((3, 12, 12), np.nan))
    with pytest.raises(DataError, match=r"2 axes, \[12, 12\]"):
        model.predict(np.zeros((12, 12)))
    np.save(clip := tmp_path / "clip.npy", going_round(1, 4)[0])
    with pytest.raises(DataError, match=r"clip.npy: 4 frames: 3 to see and 2 to hold out are needed"):
        list(model.predictions([clip], FramePredictSettings(hold_out=True)))
    with pytest.raises(SettingsError, match="frames are no text"):
        model.evaluate(clip, encoding="latin-1")


def test_settings_that_do_not_fit_are_told(tmp_path: Path) -> None:
    for options, told in (
        ({"cell": "conv-lsmt"}, r"one of conv-lstm, .* \(did you mean conv-lstm\?\)"),
        ({"kernel_size": 4}, "kernel_size = 4: must be odd"),
        ({"cell": "lstm", "kernel_size": 3}, "kernel_size: a lstm reads a frame as one vector"),
        ({"cell": "lstm", "patch_size": 2}, "patch_size: a lstm reads a frame as one vector"),
        ({"recurrent_init": "orthogonl"}, "did you mean orthogonal"),
    ):
        with pytest.raises(SettingsError, match=told):
            FramePredictor(**options)
    np.save(path := tmp_path / "clips.npy", going_round(4))
    with pytest.raises(SettingsError, match="patch_size = 5: does not divide frames of 12 × 12 pixels"):
        FramePredictor(**SMALL | {"patch_size": 5}).fit(path, progress=False)


def test_on_the_command_line(made: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = made
    first, *others = (Image.fromarray(frame) for frame in going_round(1, 5)[0])
    first.save(clip := tmp_path / "片.gif", save_all=True, append_images=others, duration=70)
    np.save(many := tmp_path / "many.npy", going_round(3, 5))
    model = str(folder / "m")

    def run(verb: str, *arguments: str) -> str:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([verb, model, *arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    assert "next.gif: 2 frames" in run("predict", str(clip), "-o", str(tmp_path / "next.gif"))
    with Image.open(tmp_path / "next.gif") as image:
        assert (image.n_frames, image.size, image.info["duration"]) == (2, (12, 12), 70)
    run("predict", str(clip), "-o", str(tmp_path / "png"), "--frames", "4", "--with-input", "--scale", "3")
    pictures = sorted((tmp_path / "png").iterdir())
    with Image.open(pictures[0]) as image:
        assert len(pictures) == 7 and image.size == (36, 36)
    run("predict", str(many), "-o", str(tmp_path / "next.npy"))
    assert np.load(tmp_path / "next.npy").shape == (3, 2, 12, 12, 1)
    run("predict", str(many), "-o", str(tmp_path / "gifs"))
    assert [path.name for path in sorted((tmp_path / "gifs").iterdir())] == ["00001.gif", "00002.gif", "00003.gif"]
    row = json.loads(run("predict", str(clip), "--hold-out", "--json"))
    assert np.shape(row["pixels"]) == (2, 12, 12, 1) and row["mse"] < row["copy_mse"]
    assert "█" in run("predict", str(clip), "--hold-out")
    with pytest.raises(SettingsError, match="3 clips are more than one GIF"):
        run("predict", str(many), "-o", str(tmp_path / "one.gif"))
    assert "copy ssim" in run("evaluate", str(many))
    assert "conv-lstm" in run("info")
    (tmp_path / "cut.gif").write_bytes(clip.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cut.gif: a damaged GIF: cut off in frame"):
        run("evaluate", str(tmp_path / "cut.gif"))
    assert ostinato.load(model).codec.shape == (1, 12, 12)
