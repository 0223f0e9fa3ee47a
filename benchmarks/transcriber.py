"""How good is the transcriber? Spoken digits, 3 to 7 joined; what a beam, a language model and one direction change.

The Free Spoken Digit Dataset, its official split: 300 recordings (0 to 4 of each digit and speaker) for testing, the
others for training. An utterance is 3 to 7 recordings of one speaker on end, with 0 to 100 ms of silence between them:

| part | utterances | of recordings | digits |
|---|---|---|---|
| train | 1,500 | 780 of 900 | any |
| validation | 150 | the other 120 | any |
| test | 300 | the 300 for testing | any |
| test, telephone | 300 | the 300 for testing | a chain: after each digit one of three that follow it |

They are drawn with seed 0, whatever the seed of a training. The language model counts 5,000 lines of the chain.
Settings were chosen on the validation part, and the best epoch is chosen there; then the test parts are scored once.

    python benchmarks/transcriber.py [--seeds 0 1 2] [--epochs 9] [--streaming]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import tarfile
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from data import need
from ostinato import NGramLanguageModel, Transcriber

RATE = 8000
Recordings = dict[tuple[str, str], list[np.ndarray]]  # (speaker, digit) → samples


def recordings(name: str) -> Recordings:
    """The recordings of an archive, in the order of their numbers."""
    found: Recordings = defaultdict(list)
    with tarfile.open(need(f"speech/{name}")) as archive:
        members = {Path(each.name).stem: each for each in archive.getmembers() if each.name.endswith(".wav")}
        for stem in sorted(members, key=lambda stem: int(stem.rsplit("_", 1)[1])):
            digit, speaker, _ = stem.split("_")
            file = archive.extractfile(members[stem])
            assert file is not None
            samples, rate = soundfile.read(io.BytesIO(file.read()), dtype="float32")
            assert rate == RATE and samples.ndim == 1
            found[speaker, digit].append(samples)
    return found


def followers() -> np.ndarray:
    """Of the chain: the three digits that may follow each, [10, 3]."""
    draw = np.random.default_rng(5)
    return np.stack([draw.permutation(10)[:3] for _ in range(10)])


def digits(draw: np.random.Generator, chain: np.ndarray | None) -> list[int]:
    """3 to 7 digits: any, or of the chain."""
    found = [int(draw.integers(10))]
    for _ in range(int(draw.integers(3, 8)) - 1):
        found.append(int(draw.integers(10)) if chain is None else int(draw.choice(chain[found[-1]])))
    return found


def utterances(folder: Path, pool: Recordings, count: int, draw: np.random.Generator, chain: np.ndarray | None) -> Path:
    """Write utterances and their table."""
    folder.mkdir()
    speakers = sorted({speaker for speaker, _ in pool})
    rows = [("audio", "text")]
    for number in range(count):
        speaker = str(draw.choice(speakers))
        said = digits(draw, chain)
        parts: list[np.ndarray] = []
        for digit in said:
            clips = pool[speaker, str(digit)]
            parts += [clips[int(draw.integers(len(clips)))], np.zeros(int(draw.integers(RATE // 10)), np.float32)]
        soundfile.write(folder / f"{number}.wav", np.concatenate(parts), RATE)
        rows.append((f"{number}.wav", "".join(map(str, said))))
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "clips.csv"


def parts(folder: Path) -> dict[str, Path]:
    """All four tables."""
    train, test = recordings("fsdd_train_5-19.tar.gz"), recordings("fsdd_test_0-4.tar.gz")
    kept, held_out = ({key: clips[cut] for key, clips in train.items()} for cut in (slice(-2), slice(-2, None)))
    draw, chain = np.random.default_rng(0), followers()
    return {
        "train": utterances(folder / "train", kept, 1500, draw, None),
        "validation": utterances(folder / "validation", held_out, 150, draw, None),
        "test": utterances(folder / "test", test, 300, draw, None),
        "telephone": utterances(folder / "telephone", test, 300, draw, chain),
    }


def language_model(folder: Path) -> Path:
    """An n-gram model of the chain's lines."""
    draw, chain = np.random.default_rng(1), followers()
    lines = ["".join(map(str, digits(draw, chain))) for _ in range(5000)]
    (path := folder / "lines.txt").write_text("\n".join(lines) + "\n")
    NGramLanguageModel(level="char", order=3, across_lines=False).fit(path, output=folder / "lm", progress=False)
    return folder / "lm"


def run(paths: dict[str, Path], lm: Path, seed: int, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A training and all its figures."""
    started, used = time.monotonic(), time.process_time()
    model = Transcriber(seed=seed, **options)
    output = folder / f"{'both' if model.settings.bidirectional else 'one'}-{seed}"
    model.fit(paths["train"], paths["validation"], output, progress=None)
    found: dict[str, Any] = {
        "seed": seed, "bidirectional": model.settings.bidirectional, "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "validation": model.metrics["validation_character_error_rate"],
    }  # fmt: skip
    ways: dict[str, dict[str, Any]] = {"greedy": {}, "beam": {"beam_size": 16}}
    for part in ("test", "telephone"):
        fused = {"fused": {"lm": str(lm), "lm_weight": 0.5}} if part == "telephone" else {}
        for way, how in (ways | fused).items():
            figures = model.evaluate_with(paths[part], **how)
            found[f"{part} {way}"] = figures["character_error_rate"]
            found[f"{part} {way}, utterances"] = figures["sentence_error_rate"]
    if not model.settings.bidirectional:
        found["delay_ms"] = 1000 * model.codec.audio.delay_seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--streaming", action="store_true", help="one direction instead of both")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    options: dict[str, Any] = {
        "cell": "gru", "hidden_size": 128 if args.streaming else 96, "stack_frames": 4, "learning_rate": 0.005,
        "gradient_by_lag": False, "epochs": args.epochs, "threads": args.threads, "device": "cpu",
        "bidirectional": not args.streaming,
        **dict(each.split("=", 1) for each in args.set),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, lm = parts(folder), language_model(folder)
        results = []
        for seed in args.seeds:
            results.append(run(paths, lm, seed, options, folder))
            print(json.dumps(results[-1]), flush=True)
    for figure in results[0]:
        values = [each[figure] for each in results if isinstance(each[figure], float)]
        if values:
            print(f"{figure:<32} {statistics.mean(values):.4f}  ({', '.join(f'{value:.4f}' for value in values)})")


if __name__ == "__main__":
    main()
