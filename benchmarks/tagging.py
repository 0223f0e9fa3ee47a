"""How good is the tagger? Chunks, parts of speech, slots and intents, beside published figures.

Settings were chosen on the validation part, and the best epoch is chosen there; then the test part is scored once.

| | train | validation | test |
|---|---|---|---|
| CoNLL-2000 | 9 of 10 sentences of train.txt | the tenth ones | test.txt |
| UD English EWT | as named | dev | as named |
| ATIS | as named | valid | as named |

*chunks* reads words alone, *chunks-pos* the part of speech too, which the files of the shared task bring.

    python benchmarks/tagging.py [chunks chunks-pos upos atis] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from data import need
from ostinato import Tagger

Split = dict[str, Any]
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "chunks": ("conll2000", {"precision": "bf16", "epochs": 20, "spelling": True}),
    "chunks-pos": ("conll2000", {"precision": "bf16", "epochs": 15, "inputs": ["2"]}),
    "upos": ("ewt", {"precision": "bf16", "epochs": 8}),
    "atis": ("atis", {"precision": "bf16", "epochs": 20, "word_dropout": 0.25}),
}
PUBLISHED = {
    "chunks": "f1 0.9413 (BiLSTM-CRF with features), 0.9364 (BiLSTM): Huang et al. 2015, random vectors",
    "chunks-pos": "the same; the part of speech is a column of the shared task's files",
    "atis": "f1 0.948 (Goo et al. 2018, slot-gated)",
}
SHOWN = ("f1", "precision", "recall", "accuracy", "label_accuracy", "exact_match")


def conll2000(folder: Path) -> Split:
    """The shared task of chunking, with a tenth of its training part for validation."""
    found = {part: folder / f"conll2000.{part}.txt" for part in ("train", "validation", "test")}
    with zipfile.ZipFile(need("tagging/conll2000.zip")) as archive:
        text = {Path(name).stem: archive.read(name).decode() for name in archive.namelist() if name.endswith(".txt")}
    sentences = text["train"].strip().split("\n\n")
    found["test"].write_text(text["test"])
    for part, tenth in (("train", False), ("validation", True)):
        chosen = [each for at, each in enumerate(sentences) if (at % 10 == 9) == tenth]
        found[part].write_text("\n\n".join(chosen) + "\n")
    return found


def ewt(_: Path) -> Split:
    """Universal Dependencies, English, web treebank."""
    names = {"train": "train", "validation": "dev", "test": "test"}
    return {part: need(f"tagging/ud_english_ewt/en_ewt-ud-{name}.conllu.gz") for part, name in names.items()}


def atis(_: Path) -> Split:
    """Slots and intents of questions for flights."""
    return {
        part: need(f"tagging/atis/{name}")
        for part, name in (("train", "train"), ("validation", "valid"), ("test", "test"))
    }


def run(job: str, seed: int, changes: dict[str, Any], test: bool, quiet: bool) -> dict[str, float]:
    """Train with one seed, and score the test part if that is wanted."""
    corpus, options = JOBS[job]
    with tempfile.TemporaryDirectory() as scratch:
        split = globals()[corpus](Path(scratch))
        model = Tagger(seed=seed, threads=1, **(options | changes))
        started = time.process_time()
        model.fit(split["train"], split["validation"], progress=False if quiet else None)
        minutes = (time.process_time() - started) / 60
        figures = model.evaluate(split["test"]) if test else {}
        return model.metrics | {f"test_{name}": value for name, value in figures.items()} | {"minutes": minutes}


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
            names = [name for name in found[-1] if name.startswith(("validation_", "test_", "minutes", "best"))]
            print(job, "seed", seed, {name: round(found[-1][name], 4) for name in names}, flush=True)
        minutes = statistics.mean(each["minutes"] for each in found)
        print(f"\n{job}: mean of {len(found)} seeds, {minutes:.1f} minutes each")
        for part in ("validation", "test"):
            for name in SHOWN:
                if figures := [each[f"{part}_{name}"] for each in found if f"{part}_{name}" in each]:
                    about = f"from {min(figures):.4f} to {max(figures):.4f}"
                    print(f"  {part:<10}  {name:<15} {statistics.mean(figures):.4f}   {about}")
        if job in PUBLISHED:
            print(f"  published: {PUBLISHED[job]}\n", flush=True)


if __name__ == "__main__":
    main()
