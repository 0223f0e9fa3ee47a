"""How good is the translator, and how fast does it train beside the plain PyTorch way?

    python benchmarks/translator.py speed [--runs 3] [--steps 30] [--only NAME]
    python benchmarks/translator.py multi30k [--seeds 0 1 2] [--epochs 5] [--keep FOLDER]
    python benchmarks/translator.py chinese [--seeds 0 1 2] [--epochs 12] [--keep FOLDER]

*speed*: ours is the loss, gradient, clipping and step of `Translator`; the peer is what one writes by hand, with
`nn.LSTM` or `nn.GRU`, `pack_padded_sequence`, the same attention, the cross-entropy of all logits, and the very same
batches, weights' sizes, optimiser and clipping. Each runs in a process of its own, on one thread, in turn; a figure is
target tokens for each second of the processor, so that other work on the machine counts for nothing; the median, and
the median of the ratios of pairs run back to back.

*multi30k*: German to English, trained on train, the epoch chosen by BLEU on val, scored once on test_2016_flickr with a
beam of 5. *chinese*: cmn-eng.txt, English to Chinese. Its distinct English sentences are drawn into 90/5/5 parts, so
that no source stands in two; Chinese by the character, scored with sacrebleu's tokenizer zh.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data import need

MULTI30K = {
    "hidden_size": 384, "embedding_size": 256, "max_vocabulary": 6000, "batch_size": 32, "dropout": 0.3, "epochs": 5,
    "precision": "bf16", "checkpoint_every": 500,
}  # fmt: skip
CHINESE = {
    "level": "word", "target_level": "char", "hidden_size": 384, "embedding_size": 256, "batch_size": 32,
    "dropout": 0.3, "epochs": 12, "precision": "bf16", "checkpoint_every": 500,
}  # fmt: skip
SPEED: dict[str, dict[str, Any]] = {
    "LSTM 512, Luong": {"cell": "lstm"},
    "GRU 512, Luong": {"cell": "gru"},
    "LSTM 256, Luong": {"cell": "lstm", "hidden_size": 256},
    "LSTM 512, Luong, bf16": {"cell": "lstm", "precision": "bf16"},
    "GRU 512, Bahdanau, by steps": {"cell": "gru", "feed": "context", "attention": "additive"},
}


# quality


def multi30k() -> dict[str, list[Path]]:
    """The files of each part, German first."""
    names = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    return {part: [need(f"mt/multi30k/{name}.{way}.gz") for way in ("de", "en")] for part, name in names.items()}


def chinese(folder: Path) -> dict[str, list[Path]]:
    """A draw over distinct English sentences, the same always."""
    import numpy as np

    rows = [line.split("\t")[:2] for line in need("mt/cmn-eng.txt").read_text("utf-8").splitlines()]
    sources = sorted({source for source, _ in rows})
    drawn = np.random.default_rng(2024).permutation(len(sources)) / len(sources)
    share = {source: float(at) for source, at in zip(sources, drawn, strict=True)}
    parts = {"train": (0.0, 0.9), "validation": (0.9, 0.95), "test": (0.95, 1.0)}
    found = {}
    for part, (low, high) in parts.items():
        lines = [f"{source}\t{target}\n" for source, target in rows if low <= share[source] < high]
        found[part] = [folder / f"{part}.tsv"]
        found[part][0].write_text("".join(lines), encoding="utf-8")
    return found


def quality(name: str, options: argparse.Namespace) -> None:
    from ostinato import Translator

    print(f"{name}: seed  validation BLEU  test BLEU   chrF  perplexity  minutes  parameters")
    scores, signature = [], ""
    with tempfile.TemporaryDirectory() as scratch:
        parts = multi30k() if name == "multi30k" else chinese(Path(scratch))
        settings = (MULTI30K if name == "multi30k" else CHINESE) | {"threads": options.threads}
        if options.epochs:
            settings["epochs"] = options.epochs
        for seed in options.seeds:
            folder = Path(options.keep or scratch) / f"{name}-{seed}"
            if (folder / "run" / "sources.json").exists():
                model = Translator.resume(folder)
            else:
                files = [parts[part] for part in ("train", "validation")]
                model = Translator(**settings, seed=seed).fit(*files, output=folder)
            found = model.evaluate(parts["test"])
            minutes = model.metrics["training_seconds"] / 60
            scores.append(found["bleu"])
            signature = found["bleu_signature"]
            row = f"{'':<{len(name)}}  {seed:4}  {model.metrics['validation_bleu']:15.2f}  {found['bleu']:9.2f}"
            row += f"  {found['chrf']:5.2f}  {found['perplexity']:10.2f}  {minutes:7.1f}  {model.size()}"
            print(row, flush=True)
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    print(f"mean BLEU {statistics.mean(scores):.2f}{spread} ({signature})")


# speed


def prepared(job: dict[str, Any]) -> tuple[Any, Any]:
    """An untrained translator, and its batches of Multi30k."""
    import torch

    from ostinato import Translator

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    (folder / "run").mkdir()
    model = Translator(**{"hidden_size": 512, "max_vocabulary": 8000, "batch_size": 64, "device": "cpu", **job})
    parts = multi30k()
    corpus = model.prepare([str(each) for each in parts["train"]], [str(each) for each in parts["validation"]], folder)
    model._codec = corpus.codec
    model._network = model.build().train()
    return model, model.batches(corpus.train, seed=0)


def timed(network: Any, loss: Any, batches: Any, steps: int) -> tuple[float, float]:
    """Target tokens for each second of the processor, and the mean loss of the last third of the steps."""
    import torch

    from ostinato.training.optimise import clip_gradients

    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, 0.002, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    losses, tokens, begun = [], 0, 0.0
    for index in range(steps + 3):
        if index == 3:  # the first warm up
            begun = time.process_time()
        batch = batches[index]
        count = int(batch.lengths.sum())
        optimizer.zero_grad(set_to_none=True)
        mean = loss(batch) / count
        mean.backward()
        clip_gradients(parameters, 1.0, None)
        optimizer.step()
        losses.append(float(mean.detach()))
        tokens += count if index >= 3 else 0
    return tokens / (time.process_time() - begun), statistics.mean(losses[-steps // 3 :])


def ours(job: dict[str, Any], steps: int) -> tuple[float, float]:
    import torch

    model, batches = prepared(job)

    def loss(batch: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=model.settings.precision == "bf16"):
            return model.loss(batch)

    return timed(model.network, loss, batches, steps)


def plain(job: dict[str, Any], steps: int) -> tuple[float, float]:
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    model, batches = prepared(job)
    s, size = model.settings, len(model.codec.target)
    width, hidden = s.embedding_size, s.hidden_size
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[s.cell]

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(size, width)
            nn.init.normal_(self.embedding.weight, std=0.05)
            self.encoder = kind(width, hidden // 2, bidirectional=True)
            self.decoder = kind(width + (hidden if s.feed == "context" else 0), hidden)
            self.bridge = nn.Linear(hidden, hidden * (2 if s.cell == "lstm" else 1))
            self.key = nn.Linear(hidden, hidden, bias=s.attention == "additive")
            self.query, self.score = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, 1, bias=False)
            self.combine = nn.Linear(2 * hidden, width)
            self.bias = nn.Parameter(torch.zeros(size))
            self.dropout = nn.Dropout(s.dropout)

        def attend(self, queries: Any, memory: Any, keys: Any, mask: Any) -> Any:
            """[batch, target, hidden] → contexts."""
            if s.attention == "additive":
                scores = self.score(torch.tanh(self.query(queries).unsqueeze(2) + keys.unsqueeze(1))).squeeze(3)
            else:
                scores = torch.bmm(queries, keys.transpose(1, 2))
            return torch.bmm(scores.masked_fill(mask, -1e9).softmax(-1), memory)

        def forward(self, batch: Any) -> Any:
            packed = pack_padded_sequence(
                self.dropout(self.embedding(batch.source)), batch.source_lengths, enforce_sorted=False
            )
            outputs, last = self.encoder(packed)
            memory = pad_packed_sequence(outputs)[0].transpose(0, 1)
            last = last[0] if s.cell == "lstm" else last
            first = torch.tanh(self.bridge(torch.cat([last[0], last[1]], 1))).unsqueeze(0)
            state: Any = tuple(part.contiguous() for part in first.chunk(2, 2)) if s.cell == "lstm" else first
            keys = self.key(memory)
            mask = torch.arange(memory.shape[1]).unsqueeze(0) >= batch.source_lengths.unsqueeze(1)
            mask, inputs = mask.unsqueeze(1), self.dropout(self.embedding(batch.inputs))
            if s.feed == "none":
                packed = pack_padded_sequence(inputs, batch.lengths, enforce_sorted=False)
                found = pad_packed_sequence(self.decoder(packed, state)[0])[0].transpose(0, 1)
                contexts = self.attend(found, memory, keys, mask)
            else:
                steps, contexts = [], []
                for step in inputs:
                    top = (state[0] if s.cell == "lstm" else state).transpose(0, 1)
                    contexts.append(self.attend(top, memory, keys, mask))
                    each, state = self.decoder(torch.cat([step, contexts[-1].squeeze(1)], 1).unsqueeze(0), state)
                    steps.append(each.transpose(0, 1))
                found, contexts = torch.cat(steps, 1), torch.cat(contexts, 1)
            features = self.dropout(torch.tanh(self.combine(torch.cat([contexts, found], 2))))
            return functional.linear(features, self.embedding.weight, self.bias).transpose(0, 1)

    network = Plain().train()

    def loss(batch: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=s.precision == "bf16"):
            logits = network(batch)
        return functional.cross_entropy(
            logits.reshape(-1, size).float(), batch.targets.reshape(-1), reduction="sum",
            label_smoothing=s.label_smoothing,
        )  # fmt: skip

    return timed(network, loss, batches, steps)


def run_alone(who: str, name: str, steps: int) -> tuple[float, float]:
    """One side of one job in a process of its own."""
    arguments = [sys.executable, __file__, "--side", who, name, str(steps)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def speed(runs: int, steps: int, only: str) -> None:
    print(f"training a translator, one thread, {steps} steps of 64 pairs; median of {runs} pairs")
    print(f"{'':<28}  tokens/s   plain  ratio   loss  plain")
    for name in (name for name in SPEED if only in name):
        pairs = [[run_alone(who, name, steps) for who in ("ours", "plain")] for _ in range(runs)]
        fast, slow = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[0][0] / pair[1][0] for pair in pairs)
        losses = f"{pairs[0][0][1]:5.3f}  {pairs[0][1][1]:5.3f}"
        print(f"{name:<28}  {fast:8,.0f}  {slow:6,.0f}  {ratio:5.2f}  {losses}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "multi30k", "chinese"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--only", default="", help="jobs of speed whose name holds this")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", help="folder of the models; a training that stands there is resumed")
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.runs, options.steps, options.only)
    else:
        quality(options.what, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps({"ours": ours, "plain": plain}[sys.argv[2]](SPEED[sys.argv[3]], int(sys.argv[4]))))
    else:
        main()
