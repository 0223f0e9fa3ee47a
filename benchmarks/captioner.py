"""Can the captioner say which of two handwritten digits is where?

    python benchmarks/captioner.py [--seeds 0 1 2] [--train 40000] [--epochs 3] [--ways 1] [--only NAME] [--keep FOLDER]

A scene is two digits of MNIST on a black field of 40 × 40 pixels, each cut to its own box: one left of the other, or
above it, at random places in its half. Its sentence names the left or upper one first: "a three left of a seven", "a
three above a seven"; with --ways 2 the other way round is learned too, and counts as well: "a seven right of a three".
Scenes to train on are made of the first 55,000 of MNIST's training digits, those that choose the epoch of its last
5,000, and those that are scored, 2,000, of its test digits alone. A sentence counts if it is right in every word; beam
of 5. *attending*: the decoder attends to the places of the image; *vector*: it is fed by one vector of all of it. Time
is the processor's, so that other work on the machine counts for nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from data import need

SIDE = 40
SETTINGS = {
    "cell": "gru", "hidden_size": 128, "embedding_size": 64, "filters": (16, 32, 64, 64), "dropout": 0.1,
    "learning_rate": 0.003, "batch_size": 16,
    "precision": "bf16", "criterion": "exact", "gradient_by_lag": False, "checkpoint_every": 1000,
}  # fmt: skip
MODELS = {
    "vector": {"attention": "none"},
    # at the rate of the other, the loss stays on a plateau for a thousand steps
    "attending": {"attention": "additive", "vector_size": 128, "learning_rate": 0.001},
}


def parts(folder: Path, train: int, ways: int) -> dict[str, Path]:
    """The three tables of scenes, written once."""
    from ostinato.cli.demo_captioner import scenes, write_scenes
    from ostinato.experiments.images import load_mnist

    need("mnist/train-images-idx3-ubyte.gz")
    mnist, found = load_mnist(need("mnist")), {}
    for seed, (part, count) in enumerate({"train": train, "validation": 1000, "test": 2000}.items()):
        found[part] = folder / f"{part}-{count}-{ways}.csv"
        if not found[part].exists():
            digits = (mnist.pixels[part] * 255).round().astype(np.uint8)
            write_scenes(folder, found[part].name, scenes(digits, mnist.labels[part], SIDE, count, seed), ways)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=40000, help="scenes to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", type=int, choices=[1, 2], default=1, help="sentences of a scene")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", help="folder of scenes and models; a training that stands there is resumed")
    options = parser.parse_args()
    from ostinato import Captioner

    print("model      seed  validation exact  test exact  test BLEU  processor s  parameters")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        files = parts(folder, options.train, options.ways)
        settings = SETTINGS | {"epochs": options.epochs, "threads": options.threads}
        read: Path | None = None  # the first model's folder, whose numbers the others learn from too
        for name in (name for name in MODELS if options.only in name):
            scores = []
            for seed in options.seeds:
                output, begun = folder / f"{name}-{seed}", time.process_time()
                model = Captioner(**settings | MODELS[name], seed=seed)
                if (output / "run" / "sources.json").exists():
                    model = Captioner.resume(output)
                elif read is not None:
                    model = model.fit_again(read, output)
                else:
                    model = model.fit(files["train"], files["validation"], output)
                read = read or output
                seconds = time.process_time() - begun
                found = model.evaluate(files["test"])
                scores.append(found["exact"])
                row = f"{name:<9}  {seed:4}  {model.metrics['validation_exact']:16.2%}  {found['exact']:10.2%}"
                print(f"{row}  {found['bleu']:9.2f}  {seconds:11.0f}  {model.size()}", flush=True)
            spread = f" ± {statistics.stdev(scores):.2%}" if len(scores) > 1 else ""
            print(f"{name}: mean exact {statistics.mean(scores):.2%}{spread}", flush=True)


if __name__ == "__main__":
    main()
