"""How good, how fast and how large is the n-gram model on the Penn Treebank?

Each row in a process of its own. *counting* is from ids on disk to a model that answers, *fit* all of `fit`, from text
to a saved folder, by the clock and in seconds of a core; *peak* is the most memory that the process held, of which
Python with PyTorch takes what the last line says. *over lines*: whether contexts reach over line ends; the published
figures are of sentences that stand alone.

    python benchmarks/ngram.py [--orders 3 4 5 6]
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

from data import penn_treebank


def one_row(folder: str, order: str, across: str) -> None:
    from ostinato import NGramLanguageModel

    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = {part: Path(folder) / f"ptb.{part}.txt" for part in ("train", "valid", "test")}
    settings = {"level": "word", "splitter": "whitespace", "min_count": 1}
    model = NGramLanguageModel(order=int(order), across_lines=across == "yes", **settings)
    started, busy = time.monotonic(), time.process_time()
    model.fit(text["train"], text["valid"], Path(folder) / "model", overwrite=True, progress=False)
    fitted, busy = time.monotonic() - started, time.process_time() - busy
    started = time.monotonic()
    figures = model.evaluate(text["test"])
    found = {
        "ngrams": model.metrics["ngrams"], "validation": model.metrics["validation_perplexity"],
        "test": figures["perplexity"], "tokens": figures["tokens"], "counting": model.metrics["training_seconds"],
        "fit": fitted, "busy": busy, "evaluate": time.monotonic() - started, "began": began,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "folder": sum(path.stat().st_size for path in (Path(folder) / "model").rglob("*") if path.is_file()) / 2**20,
    }  # fmt: skip
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 4, 5, 6])
    orders: list[int] = parser.parse_args().orders
    print(
        "order  over lines    n-grams  validation    test  counting s  fit s  of a core  test s  peak MiB  folder MiB"
    )
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        penn_treebank(Path(name))
        for across in ("no", "yes"):
            for order in orders:
                arguments = [sys.executable, __file__, "--row", name, str(order), across]
                run = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
                found = f = json.loads(run.stdout.splitlines()[-1])
                row = f"{order:>5}  {across:>10}  {f['ngrams']:>9,.0f}  {f['validation']:>10.2f}  {f['test']:6.2f}"
                row += f"  {f['counting']:10.1f}  {f['fit']:5.1f}  {f['busy']:9.1f}  {f['evaluate']:6.1f}"
                print(f"{row}  {f['peak']:8.0f}  {f['folder']:10.1f}", flush=True)
    print(f"{found['tokens']:,.0f} tokens of the test part, line ends among them; {found['began']:.0f} MiB before fit")


if __name__ == "__main__":
    one_row(*sys.argv[2:]) if sys.argv[1:2] == ["--row"] else main()
