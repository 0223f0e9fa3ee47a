"""How much memory does a corpus of two gigabytes take to train on?

Writes a file of that size from the text of the Python language reference, trains some steps on it, and prints the most
memory that the process held, beside the same training on a small file: the difference is what the corpus costs.

    python benchmarks/memory.py [--gigabytes 2] [--steps 200]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_corpus(path: Path, size_bytes: int) -> None:
    from ostinato.cli.demo_language_model import built_in_corpus

    text = built_in_corpus().encode()
    with path.open("wb") as file:
        while file.tell() < size_bytes:
            file.write(text)


def train(corpus: str, folder: str, steps: str, level: str) -> None:
    from ostinato import LanguageModel

    begun = time.monotonic()
    model = LanguageModel(level=level, hidden_size=128, max_steps=int(steps), batch_size=16, evaluate_every=10_000,
                          validation_fraction=0.001, threads=2)  # fmt: skip
    model.fit(corpus, output=folder, overwrite=True, progress=False)
    seconds = {"all": time.monotonic() - begun, "training": model.metrics["training_seconds"]}
    # the page cache of a memory-mapped file counts as shared memory; the rest is the process's own
    status = Path("/proc/self/status").read_text()
    own = int(status.split("RssAnon:")[1].split()[0]) / 1024
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, own, seconds]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--levels", default="char,word")
    options = parser.parse_args()
    print(
        f"{'level':<6} {'corpus':>9}  {'peak MiB':>9} {'own MiB at the end':>19}  {'reading s':>9} {'training s':>10}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus.txt"
        for level in options.levels.split(","):
            for gigabytes in (0.002, options.gigabytes):
                write_corpus(corpus, int(gigabytes * 1e9))
                call = [sys.executable, __file__, "--train", str(corpus), scratch + "/model", str(options.steps), level]
                output = subprocess.run(call, capture_output=True, text=True, check=True).stdout
                peak, own, seconds = json.loads(output.splitlines()[-1])
                reading = seconds["all"] - seconds["training"]
                row = f"{level:<6} {gigabytes:6.3f} GB  {peak:9,.0f} {own:19,.0f}  {reading:9.1f}"
                print(f"{row} {seconds['training']:10.1f}", flush=True)


if __name__ == "__main__":
    train(*sys.argv[2:]) if sys.argv[1:2] == ["--train"] else main()
