r"""How well is the next item of a user told, and how fast is that learned?

Amazon Games (He & McAuley 2016, as Kang & McAuley 2018 prepared it: 31,013 users, 23,715 items): of each user the last
item is the test, the one before the validation, all before trains. Figures are `sampled`: the wanted item among 100
that the user has not met, drawn uniformly, which is the protocol of SASRec (Kang & McAuley 2018, section IV.C); and
among all items. An item that training never met counts as missed. Validation chooses the epoch, and chose SETTINGS.

With --throughput: targets a second of training, beside a plain PyTorch version in the same process, in turn: the same
sizes, loss and optimiser, torch.nn.GRU, whole histories of like lengths side by side, padded to the longest.

    python benchmarks/recommender.py [--seeds 1,2,3] [--models sampled-cross-entropy,bpr-max] [--curve recall.png]
    python benchmarks/recommender.py --throughput
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data import need
from ostinato import Recommender
from ostinato.training.batches import LengthBatches
from ostinato.training.optimise import make_optimizer
from ostinato.training.settings import TrainingSettings

CUTOFFS = (10, 1, 2, 5, 20, 50)
SETTINGS: dict[str, Any] = {
    "split": "last", "cutoffs": list(CUTOFFS), "hidden_size": 64, "negatives": 512, "batch_size": 32,
    "learning_rate": 0.005, "dropout": 0.3, "epochs": 6, "gradient_by_lag": False, "threads": 1, "device": "cpu",
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "sampled-cross-entropy": {},
    "bpr-max": {"loss": "bpr-max"},
    "top1-max": {"loss": "top1-max"},
}


def write_log(folder: Path) -> tuple[Path, Path]:
    """The log without each user's last item, and all of it."""
    events = [line.split() for line in need("recsys/amazon_games_Video.txt").read_text().splitlines()]
    count = Counter(user for user, _ in events)  # as in SASRec, users with fewer than three items only train
    last = {user: at for at, (user, _) in enumerate(events) if count[user] > 2}
    paths = folder / "fit.csv", folder / "all.csv"
    parts = (
        (pair for at, pair in enumerate(events) if last.get(pair[0]) != at),
        (pair for pair in events if pair[0] in last),
    )
    for path, part in zip(paths, parts, strict=True):
        path.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in part))
    return paths


def row(name: str, found: dict[str, float], more: str = "") -> str:
    """A line of the table."""
    shown = ("sampled_recall@10", "sampled_ndcg@10", "recall@10", "ndcg@10", "recall@20", "mrr@20")
    return f"{name:<28}" + "".join(f"{found[each]:9.4f}" for each in shown) + more


def quality(names: list[str], seeds: list[int], curve: Path | None) -> None:
    """Train, and print test figures beside popularity and item-kNN."""
    print(f"{'':<28}    Hit@10   NDCG@10  | all: recall@10 NDCG@10 recall@20 MRR@20", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        train, test = write_log(Path(scratch))
        drawn: dict[str, dict[str, float]] = {}
        for name in names:
            runs = []
            for seed in seeds:
                model = Recommender(**SETTINGS | MODELS[name], seed=seed).fit(train, progress=None)
                found = model.evaluate(test)
                runs.append({key: value for key, value in found.items() if "@" in key})
                minutes = model.metrics["training_seconds"] / 60
                chosen = f"  best ndcg@10 of validation {model.metrics['validation_ndcg@10']:.4f}, {minutes:.1f} min"
                print(row(f"  {name}, seed {seed}", runs[-1], chosen), flush=True)
                if not drawn:
                    drawn = dict(found["beside"])
                    for other, figures in drawn.items():
                        print(row(other, figures), flush=True)
                    print(f"  {found['targets']:,} targets, {found['cold_targets']} of them never met", flush=True)
            mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
            spread = statistics.pstdev(run["sampled_recall@10"] for run in runs)
            print(row(f"{name}, mean", mean, f"  ± {spread:.4f} of Hit@10, {len(runs)} seeds"), flush=True)
            drawn[name] = mean
    print(json.dumps(drawn))
    if curve is not None:
        draw(drawn, curve)


def draw(found: dict[str, dict[str, float]], path: Path) -> None:
    """recall@k of each, among all items."""
    from ostinato.diagnostics.findings import Text
    from ostinato.report.charts import Axis, Chart, Line
    from ostinato.report.figures import draw_figures

    k = sorted(CUTOFFS)
    lines = [
        Line(Text(name, name), np.array(k), np.array([each[f"recall@{at}"] for at in k]))
        for name, each in found.items()
    ]
    chart = Chart(
        path.stem, Text("Amazon Games: recall@k among all 22,465 items", "recall@k"),
        Axis(Text("k", "k"), log=True), Axis(Text("recall@k of the test item", "recall@k")), lines,
    )  # fmt: skip
    draw_figures([chart], path.parent)


class Plain(nn.Module):
    """The same model with torch.nn.GRU."""

    def __init__(self, items: int, width: int, dropout: float, counts: torch.Tensor, alpha: float) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(items, width), nn.GRU(width, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.bias, self.dropout = nn.Parameter(torch.zeros(items)), nn.Dropout(dropout)
        met = counts.double()
        drawn = torch.where(met > 0, met**alpha, met)
        self.p_drawn, self.p_met = (drawn / drawn.sum()).float(), (met / met.sum()).float()

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor, negatives: int) -> torch.Tensor:
        """The mean of the sampled cross-entropy with logQ."""
        hidden, _ = self.gru(self.dropout(self.embedding(inputs)))
        real = targets >= 0
        hidden, wanted = self.dropout(hidden)[real], targets[real]
        pool = torch.cat([torch.multinomial(self.p_drawn, negatives, replacement=True), wanted])
        weight = self.embedding.weight
        logits = hidden @ functional.embedding(pool, weight).t() + self.bias[pool]
        expected = negatives * self.p_drawn[pool] + len(wanted) * self.p_met[pool]
        logits = (logits - expected.log()).masked_fill(wanted.unsqueeze(1) == pool, -torch.inf)
        own = (hidden * functional.embedding(wanted, weight)).sum(1) + self.bias[wanted]
        logits = torch.cat([own.unsqueeze(1), logits], dim=1)
        return functional.cross_entropy(logits, torch.zeros_like(wanted))


def throughput(rounds: int, steps: int) -> None:
    """Targets a second of training steps, ours and the plain version's in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train, _ = write_log(folder)
        model = Recommender(**SETTINGS | {"seed": 1})
        (folder / "m" / "run").mkdir(parents=True)
        corpus = model.prepare([str(train)], [], folder / "m")
        model._codec = corpus.codec
        model._begin_network(folder / "m")
        objective = model.objective(corpus)
        s = model.settings
        training = TrainingSettings(**{name: getattr(s, name) for name in TrainingSettings.model_fields})
        ours = make_optimizer(model.network.parameters(), training)
        plain = Plain(len(model.codec), s.hidden_size, s.dropout, torch.from_numpy(model.codec.counts), s.alpha)
        theirs = make_optimizer(plain.parameters(), training)
        table = corpus.train
        # as many targets in a step as ours have
        rows = round(s.batch_size * s.bptt_steps / (float(table.lengths("items").mean()) - 1))
        padded = LengthBatches(
            table.lengths("items"), rows, lambda rows: _padded(table.entries("items", rows.tolist())), 1
        )
        state = [objective.initial_state()]

        def our_step(index: int) -> int:
            window = objective.windows[index % len(objective.windows)]
            model.network.train()
            loss, after = objective.loss(window, state[0])
            state[0] = tuple(type(part)(*(tensor.detach() for tensor in part)) for part in after)
            count = objective.count(window)
            _descend(loss / count, ours)
            return count

        def plain_step(index: int) -> int:
            inputs, targets = padded[index % len(padded)]
            _descend(plain(inputs, targets, s.negatives), theirs)
            return int((targets >= 0).sum())

        speeds: dict[str, list[float]] = {"ostinato": [], "torch.nn.GRU": []}
        both: dict[str, Callable[[int], int]] = {"ostinato": our_step, "torch.nn.GRU": plain_step}
        for number in range(rounds + 1):
            for name, step in both.items():
                # time of this process: others may hold the cores
                begun, targets = time.process_time(), 0
                for index in range(number * steps, (number + 1) * steps):
                    targets += step(index)
                if number:  # the first warms up
                    speeds[name].append(targets / (time.process_time() - begun))
    for name, found in speeds.items():
        print(f"{name:<14} {statistics.median(found):10,.0f} targets a second of one core (median of {rounds})")
    ratio = statistics.median(a / b for a, b in zip(*speeds.values(), strict=True))
    print(f"ratio          {ratio:10.2f}")


def _padded(entries: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(each) for each in entries) - 1
    inputs = torch.zeros(width, len(entries), dtype=torch.int64)
    targets = torch.full_like(inputs, -100)
    for at, each in enumerate(entries):
        ids = torch.from_numpy(each.astype(np.int64))
        inputs[: len(ids) - 1, at], targets[: len(ids) - 1, at] = ids[:-1], ids[1:]
    return inputs, targets


def _descend(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="sampled-cross-entropy")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--curve", type=Path, help="draw recall@k into this file")
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.throughput:
        throughput(options.rounds, options.steps)
    else:
        quality(options.models.split(","), [int(seed) for seed in options.seeds.split(",")], options.curve)


if __name__ == "__main__":
    main()
