r"""How good is the classifier of sequences on spoken digits, said one at a time?

| data | learned from | chosen by | scored on |
|---|---|---|---|
| Free Spoken Digit Dataset, 8 kHz, six speakers | nine tenths of takes 5 to 19 | the tenth | takes 0 to 4 |

The parts are the official ones: 900 clips to learn and 300 to test. A clip's name is digit_speaker_take, and all six
speakers are in every part: what is tested is other takes of known voices. Every tenth of the 900 clips validates, and
is never learned from. Seconds are those of the CPU that one thread used for training.

    OMP_NUM_THREADS=1 python benchmarks/sequence_classifier.py [--seeds 0,1,2]
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from data import need

MARK, PUBLISHED = 0.98, "0.997 (CNN, 2,700 clips)"
SETTINGS: dict[str, Any] = {
    "input": "audio", "cell": "gru", "hidden_size": 128, "epochs": 25, "patience": None, "warmup_steps": 20,
}  # fmt: skip


def split(folder: Path) -> dict[str, Path]:
    """The clips unpacked, and a table of files and labels for each part."""
    for name in ("fsdd_train_5-19", "fsdd_test_0-4"):
        with tarfile.open(need(f"speech/{name}.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    for path in sorted(folder.rglob("*.wav")):
        digit, _, take = path.stem.split("_")
        rows["test" if int(take) < 5 else "train"].append((str(path.relative_to(folder)), digit))
    rows["validation"] = rows["train"][9::10]
    del rows["train"][9::10]
    for part, held in rows.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("file", "label"), *held])
    return {part: folder / f"{part}.csv" for part in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    from ostinato import SequenceClassifier

    found = []
    with tempfile.TemporaryDirectory() as scratch:
        parts = split(Path(scratch))
        print("seed  validation accuracy  test accuracy  CPU s", flush=True)
        for seed in map(int, options.seeds.split(",")):
            begun = time.process_time()
            model = SequenceClassifier(**SETTINGS, seed=seed, threads=1, device="cpu")
            model.fit(parts["train"], validation=parts["validation"], progress=False)
            seconds = time.process_time() - begun
            found.append(model.evaluate(parts["test"])["accuracy"])
            validation = model.metrics["validation_accuracy"]
            print(f"{seed:4}  {validation:19.4f}  {found[-1]:13.4f}  {seconds:5.0f}", flush=True)
    verdict = "reached" if statistics.mean(found) >= MARK else "missed"
    print(f"mean  {'':19}  {statistics.mean(found):13.4f}  mark {MARK} {verdict}; published {PUBLISHED}")


if __name__ == "__main__":
    main()
