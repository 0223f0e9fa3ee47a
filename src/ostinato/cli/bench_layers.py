"""`ostinato bench layers`: time one recurrent layer beside the best peers."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli.show import table
from ostinato.errors import SettingsError

app = typer.Typer(add_completion=False)
NOISY = 0.25
_LABELS = {
    "ours": "ours", "ours_float32": "our float32", "ours_low_memory": "ours, low memory", "torch": "torch.nn",
    "jax": "JAX scan", "onnxruntime": "ONNX RT", "torch_loop": "Python loop", "torch_loop_hoisted": "hoisted loop",
    "torch_nn_lstm": "nn.LSTM", "torch_nn_lstm_cell": "nn.LSTMCell",
}  # fmt: skip


@app.command()
def layers(
    cell: Annotated[list[str] | None, typer.Option(help=r"rnn, gru or lstm; repeatable. \[default: all]")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help=r"B,H or B,H,ragged; repeatable. \[default: six from 1,64 to 64,512]")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help=r"For each side. \[default: 2]")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="The median over so many is told.")] = 15,
    dtype: Annotated[
        str, typer.Option(help="float32, or bf16: under autocast, beside torch likewise and our own float32.")
    ] = "float32",
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Both directions.")] = False,
    extras: Annotated[
        bool,
        typer.Option("--extras", help="Instead: LayerNorm-LSTM and a cell of one's own beside loops, one step, bf16."),
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Instead: peak memory of training a long LSTM.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, times in seconds.")] = False,
) -> None:
    """Time one recurrent layer: training (forward and backward) and inference, 100 steps, inputs as wide as the layer.

    Ours and the peers that are installed compute the same numbers, which is checked, and are timed in turn.
    A ratio above 1 means that ours is faster.
    """
    if (extras or memory) and (shape or bidirectional or dtype != "float32"):
        raise SettingsError(
            "--shape, --dtype and --bidirectional are for the table of layers, not --extras or --memory"
        )
    from ostinato.benchmarking.jobs import DTYPES, GATES, SHAPES, Job, Shape, known

    cells = [known("cell", each, GATES) for each in cell or GATES]
    shapes = [Shape.parse(each) for each in shape or ()] or SHAPES
    known("dtype", dtype, DTYPES)
    threads = _take_cores(threads)
    import torch

    from ostinato.benchmarking import extras as of_extras
    from ostinato.benchmarking import layers as of_layers
    from ostinato.benchmarking import memory as of_memory

    torch.set_num_threads(threads)
    found = _machine(threads) | {"rounds": rounds}
    if extras:
        found["extras"] = of_extras.measure_extras(cells, rounds, _tell)
    if memory:
        found["training_memory_mib"] = of_memory.training_memory(threads, _tell)
    if not (extras or memory):
        jobs = [Job(each, size, bidirectional, dtype) for each in cells for size in shapes]
        found |= of_layers.measure_layers(jobs, rounds, _tell)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        _show(found)


def _take_cores(threads: int | None) -> int:
    """Keep to as many cores as threads were asked for: JAX has no other way to be told, and counts them at import."""
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if threads is None:
        threads = min(2, len(here))
    if threads > len(here):
        raise SettingsError(f"threads = {threads}: this process may use {len(here)} cores")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, here[:threads])
    else:
        os.environ.setdefault("PJRT_NPROC", str(threads))
    return threads


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _machine(threads: int) -> dict[str, Any]:
    import torch

    from ostinato.benchmarking.peers import PEERS, missing

    cpu, absent = Path("/proc/cpuinfo"), missing()
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    processor = models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
    return {
        "processor": processor, "vector_instructions": torch.backends.cpu.get_cpu_capability(), "threads": threads,
        "versions": {name: _version(name) for name in ("ostinato", *PEERS) if name not in absent},
        "not_installed": absent,
    }  # fmt: skip


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout, or installed under another name, as onnxruntime-gpu is
        return "of unknown version"


def _show(found: dict[str, Any]) -> None:
    """For people."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    print(f"{found['processor']} ({found['vector_instructions']}), {found['threads']} threads; {versions}")
    for name, packages in found["not_installed"].items():
        print(f"{_LABELS[name]}: not installed (pip install {' '.join(packages)})")
    if rows := found.get("layers"):
        print(f"fastest matrix product: {found['gemm_peak_flop_per_second'] / 1e9:.0f} GFLOP/s")
        for mode in ("training", "inference"):
            _show_times(f"{mode}, {rows[0]['dtype']}, T 100", [row for row in rows if row["mode"] == mode], found)
    for what in dict.fromkeys(row["what"] for row in found.get("extras", ())):
        _show_times("bf16" if what == "bf16" else "", [row for row in found["extras"] if row["what"] == what], found)
    if memory := found.get("training_memory_mib"):
        from ostinato.benchmarking.memory import TITLE

        table(
            f"memory that training adds, {TITLE}", ["", "MiB"], [[_LABELS[n], f"{m:,.0f}"] for n, m in memory.items()]
        )


def _show_times(title: str, rows: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """Milliseconds of each side, and each peer's ratio."""
    layers, ratios = "cell" in rows[0], list(rows[0]["ratio"])
    headers = ["", "ours", *(header for name in ratios for header in (_LABELS[name], "×"))]
    headers += ["best ×"] if len(ratios) > 1 else []
    headers += ["of GEMM", "backend"] if layers else []
    lines, noisy = [], False
    for row in rows:
        times = {
            name: f"{'~' if row['spread'][name] > NOISY else ''}{seconds * 1e3:,.3f}"
            for name, seconds in row["seconds"].items()
        }
        noisy |= any(time.startswith("~") for time in times.values())
        line = [_name(row), times["ours"]]
        line += [text for name in ratios for text in (times[name], f"{row['ratio'][name]:.2f}")]
        line += [f"{row['best_ratio']:.2f}"] if len(ratios) > 1 else []
        line += [f"{row['share_of_gemm_peak']:.0%}", row["backend"]] if layers else []
        lines.append(line)
    how = f"ms, median of {found['rounds']} rounds; × is a peer's time over ours"
    table(f"{title}; {how}" if title else how, headers, lines)
    if noisy:
        print("~ half of the rounds are further apart than a quarter of the median: other work held the machine")


def _name(row: dict[str, Any]) -> str:
    if "cell" not in row:
        return f"{row['title']}, {row['mode']}"
    sizes = f"{row['cell']}, B {row['batch_size']}, H {row['hidden_size']}"
    return sizes + (", ragged" if row["ragged"] else "") + (", both ways" if row["bidirectional"] else "")
