"""How fast, how large and how good is training a language model, beside the plain PyTorch way?

Ours is `LanguageModel.fit`; the peer is what one writes by hand: `nn.Embedding`, `nn.LSTM`, `nn.Linear`, the full
cross-entropy of a window, with the same initialisers, batches, optimiser, clipping and threads. Each runs in a process
of its own, in turn, several times; a figure is the median, a ratio the median of those of pairs run back to back.

    python benchmarks/language_model.py [--runs 3] [--steps 150] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data import need, penn_treebank

JOBS: dict[str, dict[str, Any]] = {
    "char, V 66, H 256": {"level": "char", "hidden_size": 256, "batch_size": 32, "bptt_steps": 64},
    "word, V 10k, H 200": {"level": "word", "hidden_size": 200, "batch_size": 20, "bptt_steps": 35},
    "word, V 10k, H 200, bf16": {
        "level": "word", "hidden_size": 200, "batch_size": 20, "bptt_steps": 35, "precision": "bf16"
    },
}  # fmt: skip


def ours(job: dict[str, Any], corpus: Path, folder: Path, steps: int) -> tuple[float, float, float]:
    """Tokens a second, mean loss over the last third of the steps, and nothing else of the work of `fit`."""
    from ostinato import LanguageModel

    settings = {
        "splitter": "whitespace", "min_count": 1, "num_layers": 2, "dropout": 0.2, "learning_rate": 0.003, "seed": 0,
        "schedule": "constant", "warmup_steps": 0, "log_every": 10, "checkpoint_every": 10_000, "device": "cpu",
        "evaluate_every": 10_000, "max_steps": steps, "validation_fraction": 0.02, **job,
    }  # fmt: skip
    model = LanguageModel(**settings).fit(corpus, output=folder / "model", overwrite=True, progress=False)
    records = [record for record in model.history if record["kind"] == "train"][1:]  # the first warms up
    speed = statistics.median(record["tokens_per_second"] for record in records)
    return speed, statistics.mean(record["loss"] for record in records[-len(records) // 3 :]), peak_mib()


def plain(job: dict[str, Any], _: Path, folder: Path, steps: int) -> tuple[float, float, float]:
    """The same by hand, on the ids that ours has written."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    vocabulary = json.loads((folder / "model" / "codec" / "vocabulary.json").read_text())
    ids = np.fromfile(folder / "model" / "run" / "train.u16", "<u2").astype(np.int64)
    size, hidden = len(vocabulary), job["hidden_size"]
    width = min(hidden, 64) if job["level"] == "char" else hidden
    torch.manual_seed(0)
    embedding, lstm = nn.Embedding(size, width), nn.LSTM(width, hidden, 2, dropout=0.2)
    output, dropout = nn.Linear(hidden, size), nn.Dropout(0.2)
    nn.init.normal_(embedding.weight, std=width**-0.5)
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if "weight" in name:
                for block in parameter.chunk(4):
                    (nn.init.orthogonal_ if "hh" in name else nn.init.xavier_uniform_)(block)
            else:
                parameter.zero_()
                if "ih" in name:
                    parameter.chunk(4)[1].fill_(1.0)
        nn.init.zeros_(output.bias)
    parameters = [*embedding.parameters(), *lstm.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(parameters, 0.003, betas=(0.9, 0.99), weight_decay=0.0)
    batch, window = job["batch_size"], job["bptt_steps"]
    row = (len(ids) - 1) // batch
    data = torch.from_numpy(np.stack([ids[r * row : (r + 1) * row + 1] for r in range(batch)], 1))
    state: Any = None
    losses, speeds, since, at = [], [], time.monotonic(), 0
    for step in range(steps):
        if at + window > row:
            at, state = 0, None
        part = data[at : at + window + 1]
        at += window
        with torch.autocast("cpu", torch.bfloat16, enabled=job.get("precision") == "bf16"):
            hiddens, state = lstm(dropout(embedding(part[:-1])), state)
            logits = output(dropout(hiddens))
        state = tuple(each.detach() for each in state)
        loss = functional.cross_entropy(logits.reshape(-1, size).float(), part[1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 10 == 0:
            speeds.append(10 * batch * window / (time.monotonic() - since))
            since = time.monotonic()
    return statistics.median(speeds[1:]), statistics.mean(losses[-len(losses) // 3 :]), peak_mib()


def peak_mib() -> float:
    """The most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_alone(who: str, name: str, corpus: Path, folder: Path, steps: int, threads: int) -> tuple[float, float, float]:
    """One side of one job in a process of its own."""
    arguments = [sys.executable, __file__, "--side", who, name, str(corpus), str(folder), str(steps), str(threads)]
    return tuple(
        json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    )


def one_side(who: str, name: str, corpus: str, folder: str, steps: str, threads: str) -> None:
    import torch

    torch.set_num_threads(int(threads))
    side = {"ours": ours, "plain": plain}[who]
    print(json.dumps(side(JOBS[name], Path(corpus), Path(folder), int(steps))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"training, 2-layer LSTM, {options.steps} steps, {options.threads} threads; median of {options.runs} pairs")
    print("  ".join([" " * 26, " tokens/s     plain  ratio", " peak MiB   plain  ratio", "  loss  plain"]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpora = {"char": need("lm/tinyshakespeare.txt"), "word": penn_treebank(folder)["train"]}
        for name, job in JOBS.items():
            arguments = (name, corpora[job["level"]], folder, options.steps, options.threads)
            pairs = [[run_alone(side, *arguments) for side in ("ours", "plain")] for _ in range(options.runs)]
            (s, loss, m), (ps, plain_loss, pm) = (
                [statistics.median(pair[side][i] for pair in pairs) for i in range(3)] for side in (0, 1)
            )
            speed, memory = (statistics.median(a[i] / b[i] for a, b in pairs) for i in (0, 2))
            row = [f"{name:<26}", f"{s:9,.0f} {ps:9,.0f} {speed:6.2f}", f"{m:9,.0f} {pm:7,.0f} {memory:6.2f}"]
            print("  ".join([*row, f"{loss:6.3f} {plain_loss:6.3f}"]), flush=True)
            assert math.isfinite(loss)


if __name__ == "__main__":
    one_side(*sys.argv[2:]) if sys.argv[1:2] == ["--side"] else main()
