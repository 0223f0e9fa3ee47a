"""How good are forecasts, and how fast is the training? M4 Hourly, airline passengers, ETTh1; a plain PyTorch peer.

- m4-hourly: 414 series, the 48 hours after each (Makridakis et al. 2020). One network for all.
- airline: 144 months. Trained on the first 96 (67 %); each of the last 48 is told from all before it: one step ahead.
- etth1: 12, 4 and 4 months of hours, 7 targets at once, standardised by the training part; every window of 24 hours of
  the test part (Zhou et al. 2021, section 5.1).
- speed: values told in a second of one core, beside the same model in plain PyTorch, in turn in one run. Both begin
  with the same weights and must give the same loss. The peer cuts windows in a Dataset, as people do; *ready* is the
  peer with our batches, so that only the network differs.

Settings were chosen by validation data, which are the end of the training part (of ETTh1, its 4 months).

    python benchmarks/forecaster.py [m4-hourly airline etth1 speed] [--seeds 3]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data import need
from ostinato import Forecaster
from ostinato.training.optimise import make_optimizer

M4: dict[str, Any] = {
    "series": ["series"], "time": "time", "target": ["value"], "horizon": 48, "season": 24, "lags": [24, 168],
    "context": 96, "hidden_size": 64, "batch_size": 64, "windows": 9600, "epochs": 5, "learning_rate": 0.005,
    "base": "seasonal", "validation_windows": 3,
}  # fmt: skip
AIRLINE: dict[str, Any] = {
    "time": "Month", "target": ["Passengers"], "horizon": 1, "context": 24, "transform": "log", "hidden_size": 16,
    "batch_size": 16, "epochs": 30, "learning_rate": 0.001, "validation_windows": 24,
}  # fmt: skip
ETTH1: dict[str, Any] = {
    "time": "date", "target": ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"], "horizon": 24, "context": 96,
    "lags": [24, 168], "point": "mean", "hidden_size": 64, "batch_size": 32, "windows": 4000, "epochs": 3,
    "dropout": 0.3, "learning_rate": 0.002, "validation_windows": 120,
}  # fmt: skip


def m4_hourly(folder: Path) -> tuple[Path, Path]:
    """The training part in long form, and the 48 hours after it."""
    paths, begun = (folder / "m4-train.csv", folder / "m4-test.csv"), {}
    for path, part in zip(paths, ("train", "test"), strict=True):
        with gzip.open(need(f"forecasting/m4/Hourly-{part}.csv.gz"), "rt") as source, path.open("w") as target:
            target.write("series,time,value\n")
            for name, *cells in list(csv.reader(source))[1:]:
                values = [cell for cell in cells if cell]
                first = begun.get(name, 0)
                target.writelines(f"{name},{first + step},{value}\n" for step, value in enumerate(values))
                begun[name] = first + len(values)
    return paths


def etth1(folder: Path, context: int) -> dict[str, Path]:
    """Standardised by the training part; the other two begin `context` hours and a week earlier, which are read."""
    with gzip.open(need("forecasting/ETTh1.csv.gz"), "rt") as source:
        names, *rows = list(csv.reader(source))
    values = np.array([[float(cell) for cell in row[1:]] for row in rows])
    month, before = 30 * 24, context + 168
    mean, deviation = values[: 12 * month].mean(0), values[: 12 * month].std(0)
    values = (values - mean) / deviation
    found = {}
    for part, first, last in (
        ("train", 0, 12 * month), ("validation", 12 * month - before, 16 * month),
        ("test", 16 * month - before, 20 * month),
    ):  # fmt: skip
        found[part] = folder / f"etth1-{part}.csv"
        with found[part].open("w") as target:
            target.write(",".join(names) + "\n")
            for row in range(first, last):
                target.write(f"{rows[row][0]},{','.join(f'{value:.6f}' for value in values[row])}\n")
    return found


def told(name: str, rows: Sequence[dict[str, float]], figures: Sequence[str]) -> None:
    """The seeds' figures, and their mean."""
    for figure in figures:
        each = [row[figure] for row in rows]
        print(
            f"  {name} {figure}: {statistics.mean(each):.4f}  ({', '.join(f'{value:.4f}' for value in each)})",
            flush=True,
        )


def run_m4(folder: Path, seeds: int, ets: int) -> None:
    train, test = m4_hourly(folder)
    found, table = [], {}
    for seed in range(seeds):
        begun = time.process_time()
        model = Forecaster(**M4, seed=seed, threads=1, gradient_by_lag=False).fit(train, progress=None)
        back = model.backtest([train, test], ets=ets if seed == 0 else 0)
        table = table or back.table
        found.append(back.table["this model"] | {"cpu_seconds": time.process_time() - begun})
        print(f"seed {seed}: {found[-1]}", flush=True)
    print("M4 Hourly: published sMAPE 13.912 seasonal naive, 14.698 M4's RNN, 9.328 the winner")
    told("ours", found, ("smape", "mase", "coverage_90", "cpu_seconds"))
    others(table)


def others(table: dict[str, dict[str, float]]) -> None:
    """What stands beside the model."""
    for name, row in table.items():
        if name != "this model":
            print(f"  {name}: " + ", ".join(f"{key} {value:.4f}" for key, value in row.items() if key in
                                            ("smape", "mase", "rmse", "coverage_90")))  # fmt: skip


def run_airline(folder: Path, seeds: int) -> None:
    lines = need("forecasting/airline-passengers.csv").read_text().splitlines()
    lines = [line.replace('"', "") for line in lines if line.strip()]
    (every := folder / "airline.csv").write_text("\n".join(lines))
    (train := folder / "airline-train.csv").write_text("\n".join(lines[:97]))
    found, table = [], {}
    for seed in range(seeds):
        model = Forecaster(**AIRLINE, seed=seed, threads=1, gradient_by_lag=False).fit(train, progress=False)
        back = model.backtest(every, windows=48, stride=1, ets=48 if seed == 0 else 0)
        table = table or back.table
        found.append(back.table["this model"])
    print("airline passengers, one step ahead over the last 48 months: published test RMSE 47.53 (LSTM tutorial)")
    told("ours", found, ("rmse", "smape", "mase", "coverage_90"))
    others(table)


def run_etth1(folder: Path, seeds: int) -> None:
    parts = etth1(folder, ETTH1["context"])
    found, table = [], {}
    for seed in range(seeds):
        begun = time.process_time()
        model = Forecaster(**ETTH1, seed=seed, threads=1, gradient_by_lag=False)
        model.fit(parts["train"], parts["validation"], progress=None)
        back = model.backtest(parts["test"], windows=0, stride=1, since="2017-10-24", ets=0, batch_size=256)
        table = table or back.table
        row = back.table["this model"]
        found.append(row | {"mse": row["rmse"] ** 2, "cpu_seconds": time.process_time() - begun})
        print(f"seed {seed}, {back.windows:,} windows from {back.first}: {found[-1]}", flush=True)
    print("ETTh1, 24 h: published MSE 0.650 LSTMa, 0.577 Informer")
    told("ours", found, ("mse", "mae", "coverage_90", "cpu_seconds"))
    for name in ("naive", "seasonal naive"):
        print(f"  {name}: mse {table[name]['rmse'] ** 2:.4f}, mae {table[name]['mae']:.4f}")


class PlainForecaster(nn.Module):
    """The model of `Forecaster`'s defaults, of torch's modules."""

    def __init__(self, inputs: int, ahead: int, hidden: int, levels: Sequence[float]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(inputs, hidden), nn.GRU(ahead, hidden)
        self.bridge, self.combine = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.linear, self.levels = nn.Linear(hidden, len(levels)), torch.tensor(levels)

    def forward(self, inputs: Tensor, ahead: Tensor, base: Tensor, targets: Tensor) -> Tensor:
        """Σ of the loss over a batch; all of them [time, batch, feature]."""
        _, last = self.encoder(inputs)
        hidden, _ = self.decoder(ahead, torch.tanh(self.bridge(last)))
        error = (targets - base) - self.linear(torch.tanh(self.combine(hidden)))
        return (2 * torch.maximum(self.levels * error, (self.levels - 1) * error)).mean(-1).sum()


class PlainWindows(torch.utils.data.Dataset):
    """Windows as people cut them: one at a time, of a list of tensors."""

    def __init__(self, series: list[Tensor], places: np.ndarray, context: int, horizon: int, lags: list[int]) -> None:
        self.series, self.places, self.context, self.horizon, self.lags = series, places, context, horizon, lags

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        row, origin = self.places[index].tolist()
        values, begin = self.series[row], origin - self.context
        past = values[begin:origin]
        mean, deviation = past.mean(), past.std(unbiased=False)
        deviation = torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.ones_like(deviation))
        scaled = (
            (values[max(0, origin - self.context - max(self.lags)) : origin + self.horizon] - mean) / deviation
        ).float()
        at = len(scaled) - self.horizon
        step = torch.arange(self.horizon)
        seen, ahead = [], []
        for lag in self.lags:
            first = at - self.context - lag
            part = scaled[max(first, 0) : at - lag]
            seen.append(torch.cat([torch.zeros(self.context - len(part)), part]))
            back = at + step - lag * (step // lag + 1)
            ahead.append(scaled[torch.where(back >= 0, back, at - 1)])
        past = scaled[at - self.context : at]
        inputs = torch.stack([past, torch.ones_like(past), *seen], 1)
        ahead.append((step + 1) / self.horizon)
        return inputs, torch.stack(ahead, 1), ahead[0].unsqueeze(1), scaled[at:].unsqueeze(1)


def run_speed(folder: Path, blocks: int, steps: int = 8) -> None:
    train, _ = m4_hourly(folder)
    (folder / "m" / "run").mkdir(parents=True)
    model = Forecaster(**M4 | {"calendar": False, "dropout": 0}, threads=1)
    corpus = model.prepare([str(train)], [], folder / "m")
    model._codec = corpus.codec
    torch.manual_seed(0)
    model._network = model.build()
    objective: Any = model.objective(corpus)
    windows = model.cut_windows(corpus.train)
    full = windows.every(1)
    full = full[(full[:, 1] >= M4["context"] + 168)]  # so that the peer needs no padding
    ours_batches = model.batches_at(windows, full, seed=0)
    peer = PlainForecaster(4, 3, M4["hidden_size"], model.settings.quantiles)
    body, head = model.network.body, model.network.head
    with torch.no_grad():
        for gru, part in ((peer.encoder, body.encoder), (peer.decoder, body.decoder)):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(gru, f"{name}_l0").copy_(getattr(part.layers[0].cell, name))
        for own, theirs in (
            (body.bridge.linear, peer.bridge),
            (body.combine, peer.combine),
            (head.linear, peer.linear),
        ):
            theirs.weight.copy_(own.weight)
            theirs.bias.copy_(own.bias)
    values = torch.from_numpy(np.array(windows.values[:, 0]))
    series = list(values.split(windows.lengths.tolist()))
    cut = PlainWindows(series, full, M4["context"], M4["horizon"], M4["lags"])

    def ours(index: int) -> tuple[Tensor, int]:
        batch = ours_batches[index]
        return objective.loss(batch, None)[0], objective.count(batch)

    def ready(index: int) -> tuple[Tensor, int]:
        batch = ours_batches[index]
        return peer(batch.inputs, batch.ahead, batch.base, batch.targets), batch.targets.numel()

    def plain(index: int) -> tuple[Tensor, int]:
        chosen = ours_batches._order[index * M4["batch_size"] : (index + 1) * M4["batch_size"]]
        parts = torch.utils.data.default_collate([cut[each] for each in chosen.tolist()])
        batch = [part.transpose(0, 1) for part in parts]
        return peer(*batch), batch[3].numel()

    sides: dict[str, tuple[nn.Module, Callable[[int], tuple[Tensor, int]]]] = {
        "ours": (model.network, ours), "peer": (peer, plain), "ready": (peer, ready)
    }  # fmt: skip
    at_first = [float(loss(0)[0].detach()) for _, loss in sides.values()]
    assert max(at_first) - min(at_first) < 1e-3 * at_first[0], at_first
    optimizers = {name: make_optimizer(network.parameters(), model.settings) for name, (network, _) in sides.items()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for block in range(blocks + 1):
        for name, (network, loss) in sides.items():
            begun, count = time.process_time(), 0
            for index in range(block * steps, (block + 1) * steps):
                total, told_values = loss(index)
                optimizers[name].zero_grad(set_to_none=True)
                (total / told_values).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizers[name].step()
                count += told_values
            if block:  # the first warms up
                found[name].append(count / (time.process_time() - begun))
    middle = {name: statistics.median(each) for name, each in found.items()}
    print("training, values told a second of one core: " + ", ".join(f"{k} {v:,.0f}" for k, v in middle.items()))
    for name in ("peer", "ready"):
        ratio = statistics.median(a / b for a, b in zip(found["ours"], found[name], strict=True))
        print(f"  ours / {name}: {ratio:.2f}")


def main() -> None:
    jobs = ("m4-hourly", "airline", "etth1", "speed")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(jobs)} [default: all]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ets", type=int, default=414, help="series of M4 that ETS is fitted to")
    parser.add_argument("--blocks", type=int, default=7)
    options = parser.parse_args()
    if odd := set(options.jobs) - set(jobs):
        parser.error(f"{sorted(odd)[0]}: one of {', '.join(jobs)}")
    torch.set_num_threads(1)
    for job in options.jobs or jobs:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if job == "m4-hourly":
                run_m4(folder, options.seeds, options.ets)
            elif job == "airline":
                run_airline(folder, options.seeds)
            elif job == "etth1":
                run_etth1(folder, options.seeds)
            else:
                run_speed(folder, options.blocks)


if __name__ == "__main__":
    main()
