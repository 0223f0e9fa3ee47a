"""How it is timed: in turn, round after round, so that noise of the machine hits all alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ostinato.errors import OstinatoError

BLOCK_SECONDS = 0.02


class Disagreement(OstinatoError):
    """Two sides of a comparison do not compute the same."""


class Side(NamedTuple):
    """One of those that are compared."""

    run: Callable[[], Any]
    read: Callable[[Any], list[np.ndarray]]
    """The result of a run as arrays that all sides have alike: outputs, then gradients if there are any."""


def compare(sides: Mapping[str, Side], rounds: int, tolerance: float = 1e-4) -> dict[str, Any]:
    """Check that all sides agree with ours, the first, and time them.

    Returns:
        `seconds`: the median over rounds for each side; `spread`: of the middle half of its rounds, as a share of that;
        `ratio`: each peer's seconds over ours; `best_ratio`: the fastest peer's over ours.
    """
    check(sides, tolerance)
    times = in_turn({name: side.run for name, side in sides.items()}, rounds)
    seconds = {name: float(np.median(each)) for name, each in times.items()}
    spread = {
        name: float(np.subtract(*np.quantile(each, (0.75, 0.25)))) / seconds[name] for name, each in times.items()
    }
    ours, *peers = seconds
    ratio = {name: seconds[name] / seconds[ours] for name in peers}
    return {"seconds": seconds, "spread": spread, "ratio": ratio, "best_ratio": min(ratio.values(), default=None)}


def check(sides: Mapping[str, Side], tolerance: float) -> None:
    """See that every side computes what the first does, relative to the largest value where that is above one.

    Raises:
        Disagreement: a benchmark of the wrong thing is worthless.
    """
    results = {name: side.read(side.run()) for name, side in sides.items()}
    ours, *peers = results
    for name in peers:
        for index, (mine, theirs) in enumerate(zip(results[ours], results[name], strict=False)):
            what = f"gradient {index}" if index else "outputs"
            if mine.shape != theirs.shape:
                raise Disagreement(f"{what}: {ours} gives {list(mine.shape)}, {name} {list(theirs.shape)}")
            error = float(np.abs(mine - theirs).max(initial=0.0)) / max(1.0, float(np.abs(theirs).max(initial=0.0)))
            if not error <= tolerance:
                raise Disagreement(f"{what} of {ours} and {name} differ by {error:.2g}, more than {tolerance:g}")


def in_turn(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call, for each in every round.

    >>> max(in_turn({"nothing": lambda: None}, rounds=3)["nothing"]) < 1e-3
    True
    """
    calls = {name: calls_of_a_block(run) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names, random = list(runs), np.random.default_rng(0)
    for _ in range(rounds):
        for index in random.permutation(len(names)):  # so that nobody always follows the same
            name = names[index]
            seconds[name].append(block(runs[name], calls[name]))
    return seconds


def calls_of_a_block(run: Callable[[], Any]) -> int:
    """How many calls in a row take BLOCK_SECONDS: found by calling, since one call alone finds the caches cold."""
    calls = 1
    while (seconds := block(run, calls) * calls) < BLOCK_SECONDS:
        calls = math.ceil(calls * min(10.0, 1.2 * BLOCK_SECONDS / seconds))
    return calls


def block(run: Callable[[], Any], calls: int) -> float:
    """Seconds of one of several calls in a row."""
    settle()
    if calls > 1:
        run()  # so that the caches hold this side's numbers; one long call sees to that itself
    gc.disable()
    try:
        begun = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - begun) / calls
    finally:
        gc.enable()


def settle(at_most: float = 0.5) -> None:
    """Wait until no thread of this process is busy.

    Those of the library that ran before spin for a while in case there is more to do: OpenMP's for some 10 ms, ONNX
    Runtime's for some 50 ms; whoever came next would pay for it.
    """
    until = time.perf_counter() + at_most
    while time.perf_counter() < until:
        begun, used = time.perf_counter(), time.process_time()
        time.sleep(0.004)
        if time.process_time() - used < 0.1 * (time.perf_counter() - begun):
            return


def gemm_rate(dtype: torch.dtype, times: int = 3) -> float:
    """The most FLOP/s that a product of two matrices reaches here."""
    best = 0.0
    for rows, inner, columns in ((2048, 2048, 2048), (3200, 256, 1024)):
        left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        torch.mm(left, right)
        seconds = min(block(lambda left=left, right=right: torch.mm(left, right), 1) for _ in range(times))
        best = max(best, 2.0 * rows * inner * columns / seconds)
    return best
