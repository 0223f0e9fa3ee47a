r"""Does a ConvLSTM tell moving digits better than an LSTM over whole frames, and than the last frame copied?

Moving MNIST as Srivastava et al. 2015 make it (section 3.1), at half the size: two digits of 14 × 14 pixels, each the
mean of 2 × 2 of MNIST's, begin at random places of 32 × 32 pixels, go a tenth of the way that is free for them a frame
in random directions, and turn at the borders; where they meet the brighter pixel shows. 10 frames are seen, the next 10
told. Training digits make the sequences of training and validation (of different digits), test digits those of test.

Both are encoder and decoder of two layers of this package, trained on the same sequences by the same loop with the same
optimiser and schedule, for the same time of the processor: how many steps that is, is measured before. The evaluation
with the best cross-entropy on the validation sequences is kept; nothing is chosen on test.

    python benchmarks/frame_predictor.py [--models conv-lstm,lstm] [--seeds 1,2,3] [--minutes 5] [--folder KEPT]
    python benchmarks/frame_predictor.py --picture docs/images/frame-predictor.png [--folder KEPT]
    python benchmarks/frame_predictor.py --speed

The picture is of the demo's ball, told by both after as many steps on the same clips.

*--speed*: forward and backward of a layer over ten frames, beside a ConvLSTM as it is usually written in PyTorch: each
step convolves input and state together, features first. Medians of the processor's time on one core, in turn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ostinato
from data import need
from ostinato import ConvLSTMCell, ConvRecurrent, FramePredictor
from ostinato.cli.demo_frame_predictor import clips, wander

SIDE, SEEN, TOLD = 32, 10, 10
TRAIN, VALIDATION, TEST = 4000, 200, 1000  # sequences
SETTINGS: dict[str, dict[str, Any]] = {
    # small batches cost a convolution nothing, but the other its nine million weights at every step; on the validation
    # sequences after a minute, nats a pixel: batches of 16, 8 and 4 0.157, 0.148 and 0.143, of the other 16 and 8 0.161
    # and 0.164
    "conv-lstm": {
        "cell": "conv-lstm",
        "hidden_size": 32,
        "kernel_size": 3,
        "patch_size": 4,
        "learning_rate": 0.007,
        "batch_size": 4,
    },
    "conv-gru": {
        "cell": "conv-gru",
        "hidden_size": 32,
        "kernel_size": 3,
        "patch_size": 4,
        "learning_rate": 0.007,
        "batch_size": 4,
    },
    "lstm": {"cell": "lstm", "hidden_size": 512, "learning_rate": 0.003},
}
BALL: dict[str, dict[str, Any]] = {  # the first is the demo's
    "conv-lstm": {"hidden_size": 16, "kernel_size": 5, "patch_size": 2, "learning_rate": 0.01},
    "lstm": {"cell": "lstm", "hidden_size": 256, "learning_rate": 0.003},
}
COMMON = {"input_frames": SEEN, "target_frames": TOLD, "batch_size": 16, "num_layers": 2, "gradient_by_lag": False}


def digits(part: str) -> np.ndarray:
    """MNIST's images at half the size, float32 [digits, 14, 14], 0 to 255."""
    with gzip.open(need(f"mnist/{part}-images-idx3-ubyte.gz")) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 14, 2, 14, 2)
    return pixels.mean((2, 4), dtype=np.float32)


def moving(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sequences of two moving digits, uint8 [count, time, side, side]."""
    return wander(images, count, SEEN + TOLD, SIDE, 2, seed)


def sequences(folder: Path) -> dict[str, Path]:
    """Files of training, validation and test."""
    known, unknown = digits("train"), digits("t10k")
    made = {
        "train": moving(known[:-5000], TRAIN, 1),
        "validation": moving(known[-5000:], VALIDATION, 2),
        "test": moving(unknown, TEST, 3),
    }
    for name, frames in made.items():
        np.save(folder / f"{name}.npy", frames)
    return {name: folder / f"{name}.npy" for name in made}


def batch_size(settings: dict[str, Any]) -> int:
    """Of its own, or that of all."""
    return int((COMMON | settings)["batch_size"])


def seconds_per_step(settings: dict[str, Any], files: dict[str, Path]) -> float:
    """Of the processor, for a step of training."""
    model = FramePredictor(**COMMON | settings, epochs=1, max_steps=1, threads=1, device="cpu")
    model.fit(files["validation"], validation=files["validation"], progress=False)
    batch = model.batch([{"frames": np.zeros((SEEN + TOLD) * SIDE * SIDE, np.uint8)}] * batch_size(settings))
    optimizer, taken = torch.optim.AdamW(model.network.parameters()), []
    for _ in range(12):
        begun = time.process_time()
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def train(name: str, seed: int, minutes: float, files: dict[str, Path], output: Path | None) -> dict[str, Any]:
    """A model trained for so many minutes of the processor, and its figures on test."""
    settings = SETTINGS[name]
    step = seconds_per_step(settings, files)
    steps = max(10, round(60 * minutes / step))
    per_epoch = TRAIN // batch_size(settings)
    plan = {"epochs": -(-steps // per_epoch), "max_steps": steps, "seed": seed, "threads": 1, "device": "cpu"}
    begun = time.process_time()
    model = FramePredictor(**COMMON | settings | plan).fit(
        files["train"], validation=files["validation"], output=output, overwrite=True, progress=False
    )
    spent = time.process_time() - begun
    found = model.evaluate(files["test"])
    about = {"model": name, "seed": seed, "steps": steps, "seconds": round(spent), "size": model.size()}
    return about | {"validation_loss": model.metrics["validation_loss"]} | found


def table(results: list[dict[str, Any]]) -> None:
    """Figures of test, means over seeds, and by frame."""
    names = ("cross_entropy", "mse_per_frame", "mse", "ssim")
    print("| | parameters | steps | seconds | cross-entropy a sequence | MSE a frame | MSE a pixel | SSIM |")
    print("|---|---|---|---|---|---|---|---|")
    for model in dict.fromkeys(each["model"] for each in results):
        runs = [each for each in results if each["model"] == model]
        size = runs[0]["size"].split()[0]
        effort = [f"{statistics.mean(run[name] for run in runs):,.0f}" for name in ("steps", "seconds")]
        cells = [spread([run[name] for run in runs]) for name in names]
        print(f"| {model}, {len(runs)} seed{'s'[: len(runs) > 1]} | {size} | {' | '.join([*effort, *cells])} |")
    copied = [f"{results[0]['copy_' + name]:.4g}" for name in names]
    print(f"| the last frame, copied | | | | {' | '.join(copied)} |\n")
    for name in ("mse", "ssim"):
        heads = [str(row["frame"]) for row in results[0]["by_frame"]]
        print(f"| {name} of frame | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
        for model in dict.fromkeys(each["model"] for each in results):
            runs = [each for each in results if each["model"] == model]
            print(f"| {model} | {' | '.join(by_frame(runs, name))} |")
        print(f"| copied | {' | '.join(by_frame(results[:1], 'copy_' + name))} |\n")


def by_frame(runs: list[dict[str, Any]], name: str) -> list[str]:
    rows = zip(*(run["by_frame"] for run in runs), strict=True)
    return [f"{statistics.mean(row[name] for row in each):.3f}" for each in rows]


def spread(values: list[float]) -> str:
    """Mean and, of several, the deviation."""
    mean = f"{statistics.mean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


class Usual(nn.Module):
    """A ConvLSTM as it is usually written: [time, batch, features, height, width] → outputs."""

    def __init__(self, input_size: int, hidden_size: int, kernel_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.convolution = nn.Conv2d(input_size + hidden_size, 4 * hidden_size, kernel_size, padding=kernel_size // 2)

    def forward(self, inputs: Tensor) -> Tensor:
        """All steps."""
        _, batch, _, height, width = inputs.shape
        hidden = cell = inputs.new_zeros(batch, self.hidden_size, height, width)
        outputs = []
        for x in inputs:
            i, f, o, g = self.convolution(torch.cat([x, hidden], 1)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        return torch.stack(outputs)


def agree(ours: ConvRecurrent, usual: Usual, frames: Tensor) -> None:
    """Give the usual one our weights, and see that both say the same."""
    cell, size = ours.cell, ours.output_size
    order = torch.cat([torch.arange(size) + size * gate for gate in (0, 1, 3, 2)])  # i f g o → i f o g
    assert cell.weight_hh is not None and cell.bias_ih is not None and usual.convolution.bias is not None
    with torch.no_grad():
        usual.convolution.weight.copy_(torch.cat([cell.weight_ih, cell.weight_hh], 1)[order])
        usual.convolution.bias.copy_(cell.bias_ih[order])
        told = usual(frames.permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2)
        torch.testing.assert_close(told, ours(frames)[0], atol=1e-4, rtol=0)


def milliseconds(layer: nn.Module, frames: Tensor) -> float:
    """Of the processor, for forward and backward."""
    begun = time.process_time()
    found = layer(frames)
    (found if isinstance(found, Tensor) else found[0]).square().sum().backward()
    return 1e3 * (time.process_time() - begun)


def speed(rounds: int = 5) -> None:
    """A layer's forward and backward pass."""
    print("| batch, features in, hidden, places, kernel | ours, ms | with memory=low | usual | usual / ours |")
    print("|---|---|---|---|---|")
    shapes = [(16, 16, 32, 8, 3), (16, 16, 32, 8, 5), (16, 4, 32, 16, 3), (8, 4, 64, 16, 5)]
    for batch, size, hidden, side, kernel in shapes:
        cell, usual = ConvLSTMCell(size, hidden, kernel), Usual(size, hidden, kernel)
        ours, low = ConvRecurrent(cell), ConvRecurrent(cell, memory="low")
        frames = torch.rand(10, batch, side, side, size)
        agree(ours, usual, frames)
        runs = [(ours, frames), (low, frames), (usual, frames.permute(0, 1, 4, 2, 3).contiguous())]
        taken = [[milliseconds(*run) for run in runs] for _ in range(rounds + 1)][1:]  # the first is for warming up
        a, b, c = (statistics.median(each) for each in zip(*taken, strict=True))
        shape = f"{batch}, {size}, {hidden}, {side} × {side}, {kernel}"
        print(f"| {shape} | {a:.1f} | {b:.1f} | {c:.1f} | {c / a:.2f} |", flush=True)


def picture(folder: Path, path: Path) -> None:
    """Draw what models of the demo's ball tell of a clip that they have not seen, a row each; train them if need be."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    train_clips, test_clips = clips()
    np.save(folder / "ball.npy", train_clips)
    clip = test_clips[0]
    seen = len(clip) // 2
    rows = {"seen": clip[:seen] / 255, "what follows": clip[seen:] / 255}
    for name, settings in BALL.items():
        if not (place := folder / f"ball-{name}").exists():
            plan = {"input_frames": seen, "target_frames": seen, "epochs": 10, "batch_size": 8, "seed": 1}
            FramePredictor(**plan | settings).fit(folder / "ball.npy", output=place, progress=False)
        model = ostinato.load(place)
        np.save(folder / "others.npy", test_clips)
        figures = model.evaluate(folder / "others.npy")
        print(name, {key: round(figures[key], 4) for key in ("mse", "copy_mse", "ssim", "copy_ssim", "cross_entropy")})
        rows[name] = model.predict(clip[:seen])[..., 0]
    rows["copied"] = np.repeat(clip[seen - 1 : seen] / 255, seen, axis=0)
    figure, places = pyplot.subplots(len(rows), seen, figsize=(1.3 * seen + 0.6, 1.42 * len(rows)), dpi=100)
    for (name, frames), line in zip(rows.items(), places, strict=True):
        for at, (frame, place) in enumerate(zip(frames, line, strict=True)):
            place.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            place.set(xticks=[], yticks=[])
            place.set_title(f"frame {at + 1 if name == 'seen' else seen + at + 1}", fontsize=9)
        line[0].set_ylabel(name, fontsize=11)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="conv-lstm,lstm")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the processor, for each training")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE: a setting of all models")
    parser.add_argument("--folder", type=Path, help="where models and figures are kept")
    parser.add_argument("--picture", type=Path, help="draw what both tell of the demo's ball")
    parser.add_argument("--speed", action="store_true", help="time a layer instead")
    options = parser.parse_args()
    if options.speed:
        torch.set_num_threads(1)
        speed()
        return
    if options.picture:
        with tempfile.TemporaryDirectory() as scratch:
            (folder := options.folder or Path(scratch)).mkdir(parents=True, exist_ok=True)
            picture(folder, options.picture)
        return
    torch.set_num_threads(1)
    for each in options.set:
        key, _, value = each.partition("=")
        COMMON[key] = json.loads(value)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        files = sequences(folder)
        for seed in map(int, options.seeds.split(",")):
            for name in options.models.split(","):
                found = train(name, seed, options.minutes, files, folder / f"{name}-{seed}")
                results.append(found)
                (folder / "results.json").write_text(json.dumps(results))
                told = {key: value for key, value in found.items() if key != "by_frame"}
                print(json.dumps(told), flush=True)
    table(results)


if __name__ == "__main__":
    main()
