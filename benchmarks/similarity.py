r"""How well does a model trained on 4,500 pairs alone tell how alike two sentences are?

SICK (Marelli et al. 2014): train trains, trial chooses the epoch, test is reported; scores from 1 to 5. No pre-trained
vectors. Each row adds to the one before it or leaves out of the last: see MODELS. `overlap` needs no training: the
share of all words of two sentences that both have.

    python benchmarks/similarity.py [--models matched,distribution,manhattan] [--seeds 1,2,3]
"""

from __future__ import annotations

import argparse
import re
import statistics
from typing import Any

import numpy as np

from data import need
from ostinato import Similarity
from ostinato.tasks.pair_examples import PairReader, PairReadingSettings
from ostinato.tasks.similarity import correlations
from ostinato.topologies import count_parameters

PARTS = {part: f"similarity/SICK_{part}.txt" for part in ("train", "trial", "test")}
# MaLSTM: 50 units, the last state of one direction, nothing but words (Mueller & Thyagarajan 2016, section 4)
PLAIN = {"char_ngrams": None, "words_in_vector": False, "label_weight": 0.0}
MODELS: dict[str, dict[str, Any]] = {
    "manhattan": PLAIN | {"compare": "manhattan", "pooling": "last", "bidirectional": False, "hidden_size": 50},
    "distribution": PLAIN | {"compare": "distribution"},
    "and labels": PLAIN | {"compare": "distribution", "label_weight": 1.0},
    "and n-grams, words": {"compare": "distribution"},
    "matched": {},
    "matched, no labels": {"label_weight": 0.0},
}


def overlap() -> dict[str, float]:
    """The figures of word overlap on test."""
    pairs = list(PairReader([need(PARTS["test"])], PairReadingSettings.checked({})).examples())
    sets = [[set(re.findall(r"\w+", text.lower())) for text in pair[:2]] for pair in pairs]
    shares = np.array([len(a & b) / len(a | b) for a, b in sets])
    return correlations(shares, np.array([pair.score for pair in pairs]))


def train_one(options: dict[str, Any], seed: int) -> dict[str, float]:
    """Figures of a model on trial and on test."""
    train, trial, test = (need(path) for path in PARTS.values())
    model = Similarity(**options, seed=seed, threads=1).fit(train, trial, progress=None)
    found = model.evaluate(test) | {"trial": model.metrics["validation_pearson"]}
    found |= {"parameters": count_parameters(model.network), "minutes": model.metrics["training_seconds"] / 60}
    return {"label_accuracy": 0.0} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(name for name in MODELS if "," not in name))
    parser.add_argument("--seeds", default="1")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    known = {name.replace(",", ""): name for name in MODELS}  # commas part the names given
    print(f"{'':<20} seeds  trial r  test r  (± of seeds)  Spearman    MSE  entailment  parameters  minutes")
    plain = overlap()
    print(f"{'overlap':<20} {'':5}  {'':7}  {plain['pearson']:6.4f}  {'':12}  {plain['spearman']:8.4f}")
    for given in options.models.split(","):
        name = known[given]
        runs = [train_one(MODELS[name], seed) for seed in seeds]
        mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        spread = statistics.pstdev(run["pearson"] for run in runs)
        row = f"{name:<20} {len(seeds):5}  {mean['trial']:7.4f}  {mean['pearson']:6.4f}  {spread:12.4f}"
        row += f"  {mean['spearman']:8.4f}  {mean['mse']:5.3f}  {mean['label_accuracy']:10.4f}"
        print(f"{row}  {mean['parameters']:10,.0f}  {mean['minutes']:7.1f}", flush=True)


if __name__ == "__main__":
    main()
