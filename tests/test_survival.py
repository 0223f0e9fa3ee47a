"""A training that is killed, stopped, or finds the disk full ends in the same bits as one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import ostinato
from ostinato.training.checkpoint import list_checkpoints
from tests import survival

# a fork of a process that has imported torch but not yet used it: a new training begins in milliseconds
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.survival"])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("survival") / "corpus.txt"
    words = ["rain", "sea", "the", "a", "bird", "sang", "of", "old", "tree", "and", "stone"]
    chosen = random.Random(0).choices(words, k=3000)
    path.write_text("\n".join(" ".join(chosen[i : i + 10]) for i in range(0, 3000, 10)) + "\n")
    return path


def start(function: Any, *arguments: Any) -> Any:
    process = FORK.Process(target=function, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def undisturbed(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], float]:
    """The weights of a training that nobody disturbs, and how long it took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "model"
    begun = time.monotonic()
    process = start(survival.train, str(text), str(folder))
    process.join()
    assert process.exitcode == 0
    return survival.weights(folder), time.monotonic() - begun


def same_bits(folder: Path, wanted: dict[str, torch.Tensor]) -> None:
    found = survival.weights(folder)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    assert not list(folder.rglob(".ostinato-*")), "half-written files were left"
    steps = [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert steps == sorted(steps), "the history tells a step twice"


def test_twenty_kills_at_random_moments(text: Path, undisturbed: Any, tmp_path: Path) -> None:
    wanted, seconds = undisturbed
    chance = random.Random(1)
    kills = finished = 0
    folder = tmp_path / "model-0"
    while kills < 20:
        process = start(survival.train, str(text), str(folder))
        process.join(chance.uniform(0.0, 0.35 * seconds))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        if process.exitcode == 0:
            same_bits(folder, wanted)
            finished += 1
            folder = tmp_path / f"model-{finished}"
        else:
            assert process.exitcode == -signal.SIGKILL
    process = start(survival.train, str(text), str(folder))
    process.join()
    assert process.exitcode == 0
    same_bits(folder, wanted)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("count", [1, 2, 6, 11, 17, 30, 41])
def test_killed_in_the_middle_of_a_write(text: Path, undisturbed: Any, tmp_path: Path, call: str, count: int) -> None:
    """Between the bytes and the rename: of the manifest, the ids, a checkpoint, the best weights."""
    folder = tmp_path / "model"
    process = start(survival.train, str(text), str(folder), (call, count))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process = start(survival.train, str(text), str(folder))
    process.join()
    assert process.exitcode == 0
    same_bits(folder, undisturbed[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_at_the_command_line(text: Path, undisturbed: Any, tmp_path: Path, number: signal.Signals) -> None:
    """One more step, a checkpoint, a hint how to go on; then the same bits."""
    folder = tmp_path / "model"
    options = [
        f"--{'' if value is not False else 'no-'}{name.replace('_', '-')}={value}"
        for name, value in survival.SETTINGS.items()
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "ostinato", "fit", "language-model"]
    with subprocess.Popen(
        [*command, str(text), "-o", str(folder), *options], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while not list_checkpoints(folder / "run") and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert f"stopped by {number.name} after step" in errors
    assert f"--resume {folder}" in errors
    assert list_checkpoints(folder / "run", "stopped")
    resumed = subprocess.run([*command, "--resume", str(folder), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(resumed.stdout)["model"] == str(folder)
    same_bits(folder, undisturbed[0])


def test_full_disk_keeps_the_last_good_checkpoint(text: Path, undisturbed: Any, tmp_path: Path) -> None:
    folder, log = tmp_path / "model", tmp_path / "log"
    process = start(survival.train, str(text), str(folder))
    process.join()
    before = {path: path.read_bytes() for _, path in list_checkpoints(folder / "run")}
    size = min(len(data) for data in before.values())
    process = start(survival.train_on_a_full_disk, str(folder), size // 2, 6, str(log))
    process.join()
    assert process.exitcode == 0
    assert "could not save at step" in log.read_text()
    assert "the last good checkpoint stays" in log.read_text()
    assert {path: path.read_bytes() for _, path in list_checkpoints(folder / "run")} == before
    assert not list(folder.rglob(".ostinato-*"))
    ostinato.load(folder)
    process = start(survival.train, str(text), str(folder))
    process.join()
    assert process.exitcode == 0


def test_damaged_checkpoint_gives_way_to_the_one_before(text: Path, undisturbed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    process = start(survival.train, str(text), str(folder), ("fsync", 45))
    process.join()
    newest = list_checkpoints(folder / "run")[0][1]
    data = bytearray(newest.read_bytes())
    data[-3] ^= 1
    newest.write_bytes(data)
    process = start(survival.train, str(text), str(folder))
    process.join()
    assert process.exitcode == 0
    same_bits(folder, undisturbed[0])
