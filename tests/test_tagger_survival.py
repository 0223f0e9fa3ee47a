"""A tagger's training that is killed ends, resumed, in the same bits as one that was not."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import torch

import ostinato
from tests import tagger_survival

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.tagger_survival"])


def test_killed_while_it_reads_and_while_it_trains(tmp_path: Path) -> None:
    corpus, folder = tmp_path / "train.txt", tmp_path / "m"
    lines = [f"w{(at * at) % 7} {'B-x' if at % 3 == 0 else 'I-x' if at % 3 == 1 else 'O'}" for at in range(90)]
    corpus.write_text("\n".join(line + ("\n" if at % 6 == 5 else "") for at, line in enumerate(lines)) + "\n")
    deaths = [("replace", 4), ("replace", 30), ("fsync", 20), None]
    for death in deaths:
        process = FORK.Process(target=tagger_survival.train, args=(str(corpus), str(folder), death))
        process.start()
        process.join()
        assert process.exitcode == (0 if death is None else -signal.SIGKILL), death
    whole = ostinato.Tagger(**tagger_survival.SETTINGS).fit(corpus, progress=False)
    found = ostinato.load(folder).network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole.network.state_dict().items())
