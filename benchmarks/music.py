"""How well are the JSB chorales told? −log p a frame of recurrent networks, beside published figures.

382 chorales by Bach (Allan & Williams 2005) as 229 / 76 / 77 piano rolls of 88 keys, a frame a quarter note, as
Boulanger-Lewandowski et al. (2012) parted them and Bai et al. (2018) read them: frame t + 1 is told from frames 1 to t,
keys independent of each other, and the sum of −log p over all pieces is divided by the number of frames told; the first
frame of a piece is not counted. `by piece` is the mean of each piece's mean, `with first` counts first frames too.
Settings were chosen, and the best epoch is chosen, on the validation part; then the test part is scored once.

*nade* tells each key given those below it (RNN-NADE): another likelihood, set beside those that tell it likewise.

    python benchmarks/music.py [gru lstm rnn nade] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from data import need
from ostinato import MusicModel

SHARED: dict[str, Any] = {
    "head": "bernoulli", "step": "1", "batch_size": 8, "epochs": 48, "learning_rate": 0.004, "dropout": 0.6,
    "input_dropout": 0.3, "average_weights": 0.99, "gradient_by_lag": False,
}  # fmt: skip
JOBS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru", "hidden_size": 186},
    "lstm": {"cell": "lstm", "hidden_size": 150},
    "rnn": {"cell": "rnn", "hidden_size": 350},
    "nade": {"cell": "gru", "hidden_size": 170, "head": "nade"},
}
PUBLISHED = {
    "lstm": "8.45 (Bai et al. 2018, 300K parameters)",
    "gru": "8.43 (Bai et al. 2018, 300K parameters)",
    "rnn": "8.91 (Bai et al. 2018, 300K parameters)",
    "nade": "5.56 (Boulanger-Lewandowski et al. 2012, RNN-NADE; first frames counted)",
}
SHOWN = ("loss", "loss_by_piece", "loss_with_first", "accuracy", "keys_loss", "repeat_loss", "repeat_accuracy")
PARTS = {"train": "traindata", "validation": "validdata", "test": "testdata"}
LOWEST = 21  # MIDI's number of the first of 88 columns


def chorales(folder: Path) -> dict[str, Path]:
    """The three parts as files of frames."""
    data, found = loadmat(need("music/JSB_Chorales.mat")), {}
    for part, name in PARTS.items():
        found[part] = folder / f"{part}.jsonl"
        pieces = [[(np.flatnonzero(row) + LOWEST).tolist() for row in roll] for roll in data[name][0]]
        found[part].write_text("".join(json.dumps({"frames": piece}) + "\n" for piece in pieces))
    return found


def run(job: str, seed: int, changes: dict[str, Any], test: bool, quiet: bool) -> dict[str, float]:
    """Train with one seed, and score the test part if that is wanted."""
    with tempfile.TemporaryDirectory() as scratch:
        split = chorales(Path(scratch))
        model = MusicModel(seed=seed, threads=1, **(SHARED | JOBS[job] | changes))
        started = time.process_time()
        model.fit(split["train"], split["validation"], progress=False if quiet else None)
        minutes = (time.process_time() - started) / 60
        found = {f"validation_{name}": value for name, value in model.evaluate(split["validation"]).items()}
        found |= {f"test_{name}": value for name, value in model.evaluate(split["test"]).items()} if test else {}
        size = sum(parameter.numel() for parameter in model.network.parameters())
        return found | {"minutes": minutes, "parameters": size, "best_step": model.metrics["best_step"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(JOBS)}; all if none is named")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", default="{}", help="settings to change, as JSON")
    parser.add_argument("--verbose", action="store_true", help="show the trainings")
    parser.add_argument("--validation-only", action="store_true", help="leave the test part alone, to choose settings")
    given = parser.parse_args()
    for job in given.jobs or JOBS:
        if job not in JOBS:
            parser.error(f"{job}: one of {', '.join(JOBS)}")
        found: list[dict[str, float]] = []
        for seed in given.seeds:
            found.append(run(job, seed, json.loads(given.set), not given.validation_only, not given.verbose))
            names = [name for name in found[-1] if name.endswith(("_loss", "minutes", "best_step"))]
            print(job, "seed", seed, {name: round(found[-1][name], 4) for name in names}, flush=True)
        minutes = statistics.mean(each["minutes"] for each in found)
        print(f"\n{job}: mean of {len(found)} seeds, {found[0]['parameters']:,} parameters, {minutes:.1f} minutes each")
        for part in ("validation", "test"):
            for name in SHOWN:
                if figures := [each[f"{part}_{name}"] for each in found if f"{part}_{name}" in each]:
                    about = f"from {min(figures):.3f} to {max(figures):.3f}"
                    print(f"  {part:<10}  {name:<15} {statistics.mean(figures):7.3f}   {about}")
        print(f"  published test loss: {PUBLISHED[job]}\n", flush=True)


if __name__ == "__main__":
    main()
