"""What measuring costs: a layer over a thousand lags, and the notes that a training takes of itself.

    python benchmarks/measures.py [--hidden 200] [--lags 1000]

Seconds are of the processor, of one thread, so that what else runs does not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

from ostinato import LanguageModel, Recurrent
from ostinato.cells import CELLS
from ostinato.diagnostics.measure import measure
from ostinato.measures.forgetting import doubling
from ostinato.measures.gradients import gradient_by_lag
from ostinato.measures.spectra import eigenvalues, log_singular_values, lyapunov_exponents, mean_jacobian
from ostinato.measures.units import units
from ostinato.training.measuring import GradientProbe, Interval, UpdateSize


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and what came of them."""
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def layers(hidden: int, lags: int) -> None:
    """Each measure of a layer of every cell, on four sequences; Jacobians are multiplied along two."""
    columns = ("gradient", "units", "lyapunov", "singular", "spectrum")
    print(f"{hidden} units, {lags} lags, seconds\n\n{'cell':<16}" + "".join(f"{name:>10}" for name in columns))
    for name, kind in CELLS.items():
        torch.manual_seed(0)
        layer, inputs = Recurrent(kind(hidden, hidden)), torch.randn(lags + 1, 4, hidden)
        gradient, [found] = timed(
            lambda layer=layer, x=inputs: gradient_by_lag(layer, lambda: torch.sum(layer(x)[0][-1]))
        )
        steps = found.linearised
        work: tuple[Callable[[], Any], ...] = (
            lambda steps=steps: units(steps),
            lambda steps=steps: lyapunov_exponents(steps, rows=[0, 1]),
            lambda steps=steps: log_singular_values(steps, doubling(lags).tolist(), rows=[0, 1]),
            lambda steps=steps: eigenvalues(mean_jacobian(steps, rows=[0, 1])),
        )
        seconds = [gradient, *(timed(each)[0] for each in work)]
        print(f"{name:<16}" + "".join(f"{each:>10.2f}" for each in seconds), flush=True)


def training() -> None:
    """The model of `ostinato demo` for an epoch: the share of its notes, and then the time of measuring it."""
    spent: dict[str, float] = {}

    def watch(kind: type, name: str, what: str) -> None:
        inner = getattr(kind, name)

        def outer(*args: Any, **options: Any) -> Any:
            seconds, found = timed(lambda: inner(*args, **options))
            spent[what] = spent.get(what, 0.0) + seconds
            return found

        setattr(kind, name, outer)

    watch(GradientProbe, "record", "gradient by lag, at an evaluation")
    watch(UpdateSize, "__init__", "size of an update, every 20 steps")
    watch(UpdateSize, "ratio", "size of an update, every 20 steps")
    watch(Interval, "add", "batches")
    watch(Interval, "figures", "batches")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "python-reference.txt"
        corpus.write_text("\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n", encoding="utf-8")
        model = LanguageModel(hidden_size=192, num_layers=2, epochs=1, batch_size=16, threads=1, seed=1)
        seconds, _ = timed(lambda: model.fit(corpus, progress=False))
        print(f"\na training of an epoch, {model.size()}: {seconds:.1f} s")
        for what, part in spent.items():
            print(f"  {what:<36}{part:8.3f} s {part / seconds:8.2%}")
        seconds, _ = timed(lambda: measure(model, corpus))
        print(f"measuring that model: {seconds:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--lags", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    layers(given.hidden, given.lags)
    training()
