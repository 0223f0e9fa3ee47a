"""How much memory does training take? Each side in a process of its own, less the same process without the training."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

STEPS, BATCH, HIDDEN = 1000, 32, 256
TITLE = f"LSTM, T {STEPS:,}, B {BATCH}, H {HIDDEN}"
SIDES = ("ours", "ours_low_memory", "torch")


def training_memory(threads: int, told: Callable[[str], None]) -> dict[str, float]:
    """MiB that training adds to the peak of a process, by side."""
    found = {}
    for side in SIDES:
        told(f"memory, {TITLE}, {side}")
        found[side] = _alone(side, threads, "train") - _alone(side, threads, "rest")
    return found


def _alone(side: str, threads: int, what: str) -> float:
    command = [sys.executable, "-m", "ostinato.benchmarking.memory", side, str(threads), what]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main(side: str, threads: str, what: str) -> None:
    """Train three steps, or only make what they need, and print the peak in MiB."""
    import torch

    from ostinato.cells import LSTMCell
    from ostinato.networks import Recurrent

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    inputs = torch.randn(STEPS, BATCH, HIDDEN, requires_grad=True)
    gradient = torch.randn(STEPS, BATCH, HIDDEN)
    if side == "torch":
        layer = torch.nn.LSTM(HIDDEN, HIDDEN)
    else:
        layer = Recurrent(LSTMCell(HIDDEN, HIDDEN), memory="low" if side == "ours_low_memory" else "fast")
    parameters = [inputs, *layer.parameters()]
    for _ in range(3 if what == "train" else 0):
        torch.autograd.grad(layer(inputs)[0], parameters, gradient)
    print(peak_mib())  # noqa: T201 - the process's result


def peak_mib() -> float:
    """The most memory that this process has held.

    Linux counts in `ru_maxrss` what the parent held when it started this process, and the parent may hold more than the
    child ever does; VmHWM is the child's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
