"""One recurrent layer, training and inference, beside every peer that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from ostinato.benchmarking.jobs import Job
from ostinato.benchmarking.peers import PEERS, backend_of, missing, ours
from ostinato.benchmarking.timing import compare, gemm_rate

BF16_TOLERANCE = 0.05
"""bfloat16 has 8 bits, and the rounding of a hundred steps adds up."""


def measure_layer(job: Job, training: bool, rounds: int) -> dict[str, Any]:
    """Times of one layer; those of bf16 beside our own float32 too."""
    numbers = job.numbers()
    with torch.inference_mode(not training):
        sides = {"ours": ours(job, numbers, training)}
        if job.dtype != "float32":
            sides["ours_float32"] = ours(replace(job, dtype="float32"), numbers, training)
        absent = missing()
        for name, peer in PEERS.items():
            if name not in absent and job.dtype in peer.dtypes and (peer.trains or not training):
                sides[name] = peer.make(job, numbers, training)
        times = compare(sides, rounds, 1e-4 if job.dtype == "float32" else BF16_TOLERANCE)
        backend = backend_of(job, numbers, training)
    return {
        "cell": job.cell, "mode": "training" if training else "inference", "batch_size": job.shape.batch_size,
        "hidden_size": job.shape.hidden_size, "ragged": job.shape.ragged, "bidirectional": job.bidirectional,
        "dtype": job.dtype, "backend": backend, **times, "gemm_flop": job.gemm_flop(numbers, training),
    }  # fmt: skip


def measure_layers(jobs: Iterable[Job], rounds: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Times of layers, and their share of the machine's rate of matrix products, which is measured between them.

    Args:
        jobs: of one dtype.
        rounds: see `ostinato.benchmarking.timing.in_turn`.
        told: what is going on.
    """
    jobs = list(jobs)
    dtype = torch.float32 if jobs[0].dtype == "float32" else torch.bfloat16
    peak, rows = 0.0, []
    for job in jobs:
        peak = max(peak, gemm_rate(dtype))
        for training in (True, False):
            told(f"{job.cell}, {job.shape}, {'training' if training else 'inference'}")
            rows.append(measure_layer(job, training, rounds))
    peak = max(peak, gemm_rate(dtype))
    for row in rows:
        row["share_of_gemm_peak"] = row["gemm_flop"] / row["seconds"]["ours"] / peak
    return {"gemm_peak_flop_per_second": peak, "layers": rows}
