"""How fast is the tagger trained, beside the same model in plain PyTorch? Tokens a second of one core, in one run.

Both train on the same sentences in the same batches: words (100) and a BiLSTM (2 × 50) over the characters (30) of each
different token of the batch, a BiLSTM (2 × 200), a CRF, AdamW with clipping, one dropout mask for all steps. The peer
is written as people write it: padding by `pad_sequence`, `nn.LSTM` with `pack_padded_sequence`, the CRF a loop of
logsumexp for autograd. *every token* is the peer with its characters read for every token of the batch, as most do.
Before any timing both are given the same weights and must give the same loss. They run in turn, a block of batches
each; the figure is the median over the blocks, and the ratio the median of the ratios.

    python benchmarks/tagger.py [--blocks 7]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from ostinato import Tagger
from ostinato.tasks.supervised import FromExamples
from ostinato.training.optimise import make_optimizer
from tagging import atis, conll2000, ewt

BATCHES = 12  # in a block
Losses = Callable[[int], tuple[Tensor, int]]  # number of a batch → Σ of the loss, tokens


class PlainCRF(nn.Module):
    """The recursion step by step, on what autograd keeps."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.start, self.end = nn.Parameter(torch.zeros(labels)), nn.Parameter(torch.zeros(labels))

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Σ −log p(tags)."""
        rows = torch.arange(emissions.shape[1])
        score = self.start[tags[0]] + emissions[0, rows, tags[0]]
        alpha = self.start + emissions[0]
        for step in range(1, len(emissions)):
            more = self.transitions[tags[step - 1], tags[step]] + emissions[step, rows, tags[step]]
            score = score + more * mask[step]
            longer = torch.logsumexp(alpha.unsqueeze(2) + self.transitions + emissions[step].unsqueeze(1), dim=1)
            alpha = torch.where(mask[step].unsqueeze(1), longer, alpha)
        score = score + self.end[tags[mask.sum(0) - 1, rows]]
        return (torch.logsumexp(alpha + self.end, dim=1) - score).sum()


class PlainTagger(nn.Module):
    """The model of the tagger's defaults, of torch's modules."""

    def __init__(self, words: int, characters: int, labels: int) -> None:
        super().__init__()
        self.words, self.characters = nn.Embedding(words, 100), nn.Embedding(characters, 30)
        self.speller = nn.LSTM(30, 50, bidirectional=True)
        self.network = nn.LSTM(200, 200, bidirectional=True)
        self.linear, self.crf = nn.Linear(400, labels), PlainCRF(labels)
        self.dropout = nn.Dropout(0.5)

    def forward(self, words: Tensor, spelt: Tensor, sizes: Tensor, places: Tensor, tags: Tensor, n: Tensor) -> Tensor:
        """The loss of a batch."""
        packed = pack_padded_sequence(self.characters(spelt), sizes, enforce_sorted=False)
        _, (last, _) = self.speller(packed)
        forms = torch.cat([last[0], last[1]], dim=1)
        x = torch.cat([self.words(words), forms[places]], dim=2)
        x = x * self.dropout(torch.ones_like(x[:1]))
        h, _ = pad_packed_sequence(self.network(pack_padded_sequence(x, n, enforce_sorted=False))[0])
        h = h * self.dropout(torch.ones_like(h[:1]))
        mask = torch.arange(len(h)).unsqueeze(1) < n
        return self.crf(self.linear(h), tags, mask)


def plain_batch(rows: list[Any], every_token: bool) -> tuple[Tensor, ...]:
    """A batch as people make it, of lists of tensors."""
    words = pad_sequence([torch.from_numpy(row["words"]).long() for row in rows])
    tags = pad_sequence([torch.from_numpy(row["tags"]).long() for row in rows])
    lengths = torch.tensor([len(row["words"]) for row in rows])
    spelt: list[Tensor] = []
    known: dict[int, int] = {}
    places = torch.zeros_like(words)
    for column, row in enumerate(rows):
        at = 0
        for step, (key, size) in enumerate(zip(row["keys"].tolist(), row["sizes"].tolist(), strict=True)):
            if every_token or key not in known:
                known[key] = len(spelt)
                spelt.append(torch.from_numpy(row["characters"][at : at + size]).long())
            places[step, column] = known[key]
            at += size
    return words, pad_sequence(spelt), torch.tensor([len(each) for each in spelt]), places, tags, lengths


def same_weights(plain: PlainTagger, ours: Any) -> None:
    """Give the peer our weights; gates stand in one order."""
    with torch.no_grad():
        plain.words.weight.copy_(ours.embedding.words.weight)
        plain.characters.weight.copy_(ours.embedding.characters.weight)
        for lstm, both in ((plain.speller, ours.embedding.speller), (plain.network, ours.network.layers[0])):
            for suffix, layer in (("", both.forward_layer), ("_reverse", both.backward_layer)):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(lstm, f"{name}_l0{suffix}").copy_(getattr(layer.cell, name))
        plain.linear.weight.copy_(ours.head.weight)
        plain.linear.bias.copy_(ours.head.bias)
        for name in ("transitions", "start", "end"):
            getattr(plain.crf, name).copy_(getattr(ours.head, name))


def trained(
    parameters: list[nn.Parameter], optimizer: Any, losses: Callable[[int], tuple[Tensor, int]], at: int
) -> float:
    """Tokens a second of a block of batches, in time of the CPU."""
    started, tokens = time.process_time(), 0
    for index in range(at, at + BATCHES):
        loss, count = losses(index)
        optimizer.zero_grad(set_to_none=True)
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        tokens += count
    return tokens / (time.process_time() - started)


def slots(folder: Path) -> dict[str, Path]:
    """ATIS without its intents, which the peer does not have."""
    found = {}
    for part, source in atis(folder).items():
        pairs = zip(*((source / name).read_text().splitlines() for name in ("seq.in", "seq.out")), strict=True)
        blocks = ["".join(f"{a} {b}\n" for a, b in zip(x.split(), y.split(), strict=True)) for x, y in pairs]
        found[part] = folder / f"atis.{part}.txt"
        found[part].write_text("\n".join(blocks))
    return found


def compare(name: str, split: dict[str, Any], blocks: int) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "run").mkdir()
        # no tag is illegal with scheme = none, as in the peer; and no word is dropped
        model = Tagger(scheme="none", word_dropout=0, threads=1)
        corpus = model.prepare([str(split["train"])], [str(split["validation"])], folder)
        model._codec = corpus.codec
        model._network = model.build()
        objective = FromExamples(model, corpus)
        columns = {name: model.columns[name] for name in ("words", "keys", "characters", "sizes", "tags")}
        order = model.batches(corpus.train, 0)

        def rows(index: int) -> list[Any]:
            chosen = order._order[order._starts[index % len(order)] :][: model.settings.batch_size]
            return [{name: corpus.train.entry(name, row).copy() for name in columns} for row in chosen.tolist()]

        def ours(index: int) -> tuple[Tensor, int]:
            batch = objective.windows[index % len(order)]
            return objective.loss(batch, None)[0], objective.count(batch)

        def peer(plain: PlainTagger, every: bool) -> Losses:
            def loss(index: int) -> tuple[Tensor, int]:
                batch = plain_batch(rows(index), every)
                return plain(*batch), int(batch[-1].sum())

            return loss

        sizes = len(corpus.codec.words), len(corpus.codec.characters), len(corpus.codec.tags)
        sides: dict[str, Any] = {"ours": (model.network, ours)}
        for side, every in (("peer", False), ("every token", True)):
            plain = PlainTagger(*sizes)
            same_weights(plain, model.network)
            sides[side] = (plain, peer(plain, every))
        for network, _ in sides.values():
            network.eval()
        at_first = [float(loss(0)[0].detach()) for _, loss in sides.values()]
        assert max(at_first) - min(at_first) < 1e-4 * at_first[0], at_first
        found: dict[str, list[float]] = {side: [] for side in sides}
        training = []
        for side, (network, loss) in sides.items():
            network.train()
            training.append(
                (side, list(network.parameters()), make_optimizer(network.parameters(), model.settings), loss)
            )
        for block in range(blocks + 1):
            for side, parameters, optimizer, loss in training:
                speed = trained(parameters, optimizer, loss, block * BATCHES)
                if block:  # the first warms up
                    found[side].append(speed)
    o, p, e = (statistics.median(found[side]) for side in sides)
    ratio, whole = (
        statistics.median(a / b for a, b in zip(found["ours"], found[side], strict=True))
        for side in ("peer", "every token")
    )
    return f"{name:<12}  {sizes[2]:4}  {o:9,.0f}  {p:9,.0f}  {ratio:5.2f}  {e:11,.0f}  {whole:5.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=7)
    blocks = parser.parse_args().blocks
    torch.set_num_threads(1)
    print("tokens/s      tags       ours       peer  ratio  every token  ratio")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("CoNLL-2000", conll2000), ("EWT, UPOS", ewt), ("ATIS", slots)):
            print(compare(name, make(Path(folder)), blocks), flush=True)


if __name__ == "__main__":
    main()
