"""`ostinato bench layers`: the figures are of the same computation, and belong together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from ostinato.benchmarking.extras import layer_norm_sides, mgu_sides, step_sides
from ostinato.benchmarking.jobs import GATES, Job, Shape
from ostinato.benchmarking.peers import PEERS, missing, ours
from ostinato.benchmarking.timing import Disagreement, Side, check, compare
from tests.test_cli import ostinato


def test_command() -> None:
    run = ostinato("bench", "layers", "--shape", "2,4", "--rounds", 1, "--cell", "gru", "--threads", 1, "--json")
    found = json.loads(run.stdout)
    assert found["threads"] == found["rounds"] == 1
    assert found["gemm_peak_flop_per_second"] > 1e8
    absent = set(found["not_installed"])
    assert absent == set(missing())
    assert set(found["versions"]) == {"ostinato", *PEERS} - absent
    training, inference = found["layers"]
    assert [training["mode"], inference["mode"]] == ["training", "inference"]
    for row in found["layers"]:
        assert (row["cell"], row["batch_size"], row["hidden_size"], row["ragged"]) == ("gru", 2, 4, False)
        assert row["backend"] in ("native", "aten", "reference")
        peers = {name for name, peer in PEERS.items() if peer.trains or row is inference} - absent
        seconds = row["seconds"]
        assert set(seconds) == {"ours", *peers}
        assert all(0 < value < 10 for value in seconds.values())
        assert row["ratio"] == pytest.approx({name: seconds[name] / seconds["ours"] for name in peers})
        assert row["best_ratio"] == min(row["ratio"].values())
        share = row["gemm_flop"] / seconds["ours"] / found["gemm_peak_flop_per_second"]
        assert row["share_of_gemm_peak"] == pytest.approx(share)
    assert inference["gemm_flop"] == 2 * 100 * 2 * 3 * 4 * (4 + 4)
    assert training["gemm_flop"] == 3 * inference["gemm_flop"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cell", "gruu"], "cell 'gruu': one of rnn, gru, lstm (did you mean gru?)"),
        (["--shape", "32x64"], "shape '32x64': expected B,H such as 32,128"),
        (["--dtype", "float16"], "dtype 'float16': one of float32, bf16"),
        (["--threads", 100_000], "threads = 100000: this process may use"),
        (["--memory", "--bidirectional"], "not --extras or --memory"),
    ],
)
def test_a_wrong_call_is_told(options: list[Any], said: str) -> None:
    assert said in ostinato("bench", "layers", *options, status=2).stderr


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("shape", [Shape(3, 5), Shape(3, 5, ragged=True)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sides_agree(cell: str, shape: Shape, bidirectional: bool) -> None:
    job, absent = Job(cell, shape, bidirectional), missing()
    numbers = job.numbers()
    for training in (True, False):
        peers = {n: p for n, p in PEERS.items() if n not in absent and n != "jax" and (p.trains or not training)}
        sides = {"ours": ours(job, numbers, training)}
        sides |= {name: peer.make(job, numbers, training) for name, peer in peers.items()}
        with torch.inference_mode(not training):
            arrays = sides["ours"].read(sides["ours"].run())
            check(sides, 1e-4)
        assert len(arrays) == (2 + 4 * (1 + bidirectional) if training else 1)


def test_extra_sides_agree() -> None:
    for training in (True, False):
        check(layer_norm_sides(training), 1e-4)
        check(mgu_sides(training), 1e-4)
    with torch.inference_mode():
        check(step_sides(), 1e-4)


def test_a_peer_that_computes_something_else_is_found() -> None:
    def side(value: float) -> Side:
        return Side(lambda: value, lambda result: [np.zeros(3), np.full(3, result)])

    assert compare({"ours": side(1.0), "peer": side(1.00001)}, rounds=2)["ratio"]["peer"] > 0
    for wrong in (1.1, float("nan")):
        with pytest.raises(Disagreement, match="gradient 1 of ours and peer differ by"):
            compare({"ours": side(1.0), "peer": side(wrong)}, rounds=2)
