"""Is the C++ that is printed from a cell's equations as fast as C++ that is written by hand?

`handwritten.cpp` holds LSTM and GRU by hand, on the same contract. It is compiled here as a user's own cell is, and
takes the place of the generated code in the same time loop: first outputs and all gradients are compared, then both
are timed in turn on one thread, by its processor time; a ratio is the median of those of the pairs. *step* is the
point-wise work alone of one time step of 32 sequences; *layer* is all of a layer over 100 steps.

    python benchmarks/handwritten.py [--rounds 100] [--hidden 64,128,256]
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ostinato.benchmarking.timing import Disagreement
from ostinato.cells import GRUCell, LSTMCell
from ostinato.kernels import passes
from ostinato.kernels.cell_kernels import Kernel, build, instruction_set, kernel_of, native_module

SOURCE = Path(__file__).with_suffix(".cpp")
CELLS: tuple[Any, ...] = (LSTMCell, GRUCell)  # in the order of handwritten.cpp
STEPS, BATCH = 100, 32
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}  # of a tensor's largest value
SECONDS = 0.002  # of one side of a pair: short, so that both meet the same machine


def compiled(isa: str) -> ctypes.CDLL:
    """The hand-written cells."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "handwritten.so"
        build(SOURCE.read_text(), isa, library)
        loaded = ctypes.CDLL(str(library))
    loaded.cell_by_hand.restype = ctypes.c_void_p
    loaded.repeat.argtypes = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    loaded.repeat.restype = None
    return loaded


def problem(cell: Any, steps: int, batch: int, hidden: int, dtype: torch.dtype) -> passes.Problem:
    """A layer with the cell's generated kernel: input size = hidden size, random weights, inputs and state."""
    kernel = kernel_of(cell)
    assert isinstance(kernel, Kernel), kernel
    torch.manual_seed(0)
    rows, scale = len(cell.gates) * hidden, hidden**-0.5

    def weight(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=dtype).uniform_(-scale, scale)

    inputs = torch.randn(steps, batch, hidden, dtype=dtype)
    state = [torch.rand(batch, hidden, dtype=dtype) for _ in cell.State._fields]
    return passes.Problem(
        kernel, inputs, state, weight(rows, hidden), weight(rows, hidden), weight(rows), weight(rows),
        vectors=None, norm_ih=None, norm_hh=None, norm_state=None, lengths=None, resets=None, zoneout=[],
        reverse=False, bf16=False, low_memory=False,
    )  # fmt: skip


def train(p: passes.Problem, d_output: Tensor) -> list[Tensor]:
    """Forward and backward: all outputs, last states and gradients."""
    history, final, saved = passes.forward(p, True, False)
    assert saved is not None
    out = passes.backward(p, history, saved, [d_output, *[None] * (len(final) - 1)], [None] * len(final), True)
    gradients = [part for part in (out.inputs, *out.state, *out[2:]) if part is not None]
    return [*history, *final, *gradients]


def check(cell: Any, by_hand: Kernel) -> None:
    """See that both compute the same, with short blocks of units and without.

    Raises:
        Disagreement: if they do not.
    """
    for dtype, tolerance in TOLERANCE.items():
        for steps, batch, hidden in ((1, 1, 1), (7, 5, 63), (9, 13, 17), (20, 32, 64)):
            p = problem(cell, steps, batch, hidden, dtype)
            d_output = torch.randn_like(p.inputs)
            ours, theirs = train(p, d_output), train(p._replace(kernel=by_hand), d_output)
            for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
                error = float((mine - other).abs().max() / mine.abs().max())
                if not error <= tolerance:
                    where = f"{cell.__name__}, {dtype}, T {steps}, B {batch}, H {hidden}, result {index}"
                    raise Disagreement(
                        f"{where}: generated and hand-written differ by {error:.2g} of the largest value"
                    )


def compare(sides: tuple[Callable[[int], Any], Callable[[int], Any]], rounds: int) -> tuple[float, float, float]:
    """Seconds of one call of each side, and the ratio; a side is given how often to repeat its work."""
    calls = 1
    while (seconds := elapsed(sides[0], calls)) < SECONDS:
        calls *= max(2, round(SECONDS / max(seconds, 1e-6) / 2))
    pairs: list[tuple[float, float]] = []
    for index in range(rounds):
        times = {side: elapsed(sides[side], calls) / calls for side in ((0, 1) if index % 2 else (1, 0))}
        pairs.append((times[0], times[1]))
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


def elapsed(side: Callable[[int], Any], calls: int) -> float:
    """Processor time of this thread, which others on the machine do not add to."""
    begun = time.thread_time()
    side(calls)
    return time.thread_time() - begun


def steps(kernels: tuple[Kernel, Kernel], library: ctypes.CDLL, hidden: int) -> dict[str, Any]:
    """What is done point by point in one step of a layer, by the name of the column."""
    blocks = hidden * 4 // native_module().vector_bytes(kernels[0].isa)

    def side(kernel: Kernel, backward: bool, keep: bool) -> Callable[[int], Any]:
        return lambda calls: library.repeat(kernel.address, backward, keep, BATCH, blocks, calls)

    ways = {"inference": (False, False), "forward": (False, True), "backward": (True, True)}
    return {name: tuple(side(kernel, *way) for kernel in kernels) for name, way in ways.items()}


def layers(cell: Any, kernels: tuple[Kernel, Kernel], hidden: int) -> dict[str, Any]:
    """All of a layer, by the name of the column."""
    p = problem(cell, STEPS, BATCH, hidden, torch.float32)
    d_output = torch.randn_like(p.inputs)

    def side(kernel: Kernel, run: Callable[[passes.Problem], Any]) -> Callable[[int], Any]:
        with_it = p._replace(kernel=kernel)
        return lambda calls: [run(with_it) for _ in range(calls)]

    ways = {
        "inference": lambda each: passes.forward(each, False, False),
        "training": lambda each: train(each, d_output),
    }
    return {name: tuple(side(kernel, run) for kernel in kernels) for name, run in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--hidden", default="64,128,256")
    options = parser.parse_args()
    torch.set_num_threads(1)
    isa = instruction_set()
    library = compiled(isa)
    print(f"{isa}, 1 thread, float32; microseconds, generated / by hand; median of {options.rounds} pairs")
    print(f"{'':<15} {'':<16} {'generated':>11} {'by hand':>11}  ratio")
    for index, cell in enumerate(CELLS):
        ours = kernel_of(cell)
        assert isinstance(ours, Kernel), ours
        address = int(library.cell_by_hand(index))
        by_hand = Kernel(cell.__name__, address, isa, *native_module().facts(address))
        check(cell, by_hand)
        kernels = (ours, by_hand)
        for hidden in map(int, options.hidden.split(",")):
            work = {f"step, {name}": sides for name, sides in steps(kernels, library, hidden).items()}
            work |= {f"layer, {name}": sides for name, sides in layers(cell, kernels, hidden).items()}
            for what, sides in work.items():
                mine, hand, ratio = compare(sides, options.rounds)
                name = f"{cell.__name__}, H {hidden}"
                print(f"{name:<15} {what:<16} {mine * 1e6:11,.2f} {hand * 1e6:11,.2f} {ratio:6.3f}", flush=True)


if __name__ == "__main__":
    main()
