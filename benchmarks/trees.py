r"""How good are recursive networks on the Stanford Sentiment Treebank, and what does a batch of trees cost?

*quality*: train and dev choose, test is reported; no pre-trained vectors. A tree classifier of each cell, five labels
and two, and an LSTM over the same words that learns the same labels: every phrase of the training trees is an example,
its label that of its node. All by one loop, with the same optimiser, batches of as many labels, and dropout; the
epoch with the best accuracy on the whole sentences of dev is kept.

*speed*: forward and backward of a batch of 25 trees of the training part, at one width for words and units: the binary
Tree-LSTM by level, natively and by the reference's plain PyTorch; the same equations node by node in plain PyTorch, as
they are usually written; and an LSTM over the same words. Medians of the processor's time on one core, in turn, so that
what else the machine does counts for little.

    python benchmarks/trees.py quality [--models tree-lstm,lstm] [--labels 5,2] [--seeds 1,2,3] [--epochs 8]
    python benchmarks/trees.py speed [--sizes 50,150,300]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from data import need
from ostinato import LSTMCell, Recurrent, TreeClassifier, backend
from ostinato.codecs.tree_codec import NONE
from ostinato.codecs.trees import Tree
from ostinato.heads import Softmax
from ostinato.networks import Deep
from ostinato.pooling import LastPooling
from ostinato.tasks.supervised import SupervisedModel, pad
from ostinato.tasks.tree_classifier import TreeClassifierSettings
from ostinato.tasks.tree_examples import ReadTree, TreeReader, TreeReadingSettings
from ostinato.topologies import SeqToVec, count_parameters
from ostinato.tree_cells import NaryTreeLSTMCell
from ostinato.trees import Forest, Recursive, forest, node_heights

PARTS = {part: f"trees/sst/{part}.txt" for part in ("train", "dev", "test")}
SETTINGS: dict[str, dict[str, Any]] = {
    "recursive": {"hidden_size": 30, "dropout": 0.0},
    "rntn": {"hidden_size": 30, "dropout": 0.0},
    "tree-lstm": {"hidden_size": 150},
    "child-sum": {"hidden_size": 150},
    "lstm": {"hidden_size": 150},
}


class Phrases(NamedTuple):
    """Phrases side by side."""

    words: Tensor
    lengths: Tensor
    labels: Tensor


class PhraseLSTM(SupervisedModel):
    """An LSTM over the words of a phrase, in the place of the tree: h_T is what the softmax reads."""

    task = "tree-classifier"
    Settings = TreeClassifierSettings
    codec_type = TreeClassifier.codec_type
    columns = {"words": "<i4", "label": "<i4"}  # noqa: RUF012
    length_column = "words"
    criterion = "root_accuracy"

    def reader(self, files: Sequence[Path], **changes: Any) -> TreeReader:
        """Trees, as of a tree classifier."""
        return TreeReader(files, self._part(TreeReadingSettings).model_copy(update=changes))

    def learn_codec(self, examples: Callable[[], Iterator[ReadTree]]) -> Any:
        """The same words and labels."""
        return TreeClassifier.learn_codec(self, examples)  # pyright: ignore[reportArgumentType]

    def encode(self, example: Any) -> Any:
        """A phrase is a row already."""
        return example

    def _written(self, folder: Path, name: str, examples: Iterable[ReadTree]) -> Any:
        """Of the training part all phrases, of others the sentences."""
        rows = (row for example in examples for row in self.phrases(example.tree, whole=name != "train"))
        return super()._written(folder, name, rows)

    def phrases(self, tree: Tree, whole: bool) -> Iterator[dict[str, Any]]:
        """The words under each node that has a label."""
        row, first = self.codec.row(tree), {}
        leaves: list[int] = []
        for node, above in enumerate(tree.parents):
            first.setdefault(node, len(leaves))
            if row["words"][node] != NONE:
                leaves.append(row["words"][node])
            if above >= 0:
                first.setdefault(above, first[node])
            if row["labels"][node] != NONE and (above < 0 or not whole):
                yield {"words": leaves[first[node] :], "label": row["labels"][node : node + 1]}

    def build(self) -> SeqToVec:
        """Embedding, one LSTM and a softmax."""
        s = self.settings
        embedding = nn.Embedding(len(self.codec.vocabulary), s.hidden_size)
        nn.init.normal_(embedding.weight, std=s.hidden_size**-0.5)
        network = Deep([Recurrent(LSTMCell(s.hidden_size, s.hidden_size))])
        head = Softmax(s.hidden_size, len(self.codec.labels))
        return SeqToVec(embedding, network, LastPooling(), head, s.dropout, s.dropout)

    def batch(self, rows: Sequence[Any]) -> Phrases:
        """Phrases side by side."""
        return Phrases(*pad([row["words"] for row in rows]), torch.tensor([int(row["label"][0]) for row in rows]))

    def count(self, batch: Phrases) -> int:
        """Phrases."""
        return len(batch.labels)

    def loss(self, batch: Phrases) -> Tensor:
        """Σ −log p of the labels."""
        return self.network.head.loss(self.network(batch.words, None, batch.lengths)[0], batch.labels)

    @torch.no_grad()
    def measure(self, batches: Iterable[Phrases]) -> dict[str, float]:
        """Of whole sentences, by the names of a tree classifier."""
        total, right, sided, seen, with_side = 0.0, 0, 0, 0, 0
        sides = self.codec.sides
        for batch in batches:
            log_p = self.network.head.log_probabilities(self.network(batch.words, None, batch.lengths)[0])
            total -= float(log_p.gather(1, batch.labels.unsqueeze(1)).sum())
            right, seen = right + int((log_p.argmax(1) == batch.labels).sum()), seen + len(batch.labels)
            if sides is not None:
                p = log_p.exp()
                above = p[:, sides[1]].sum(1) > p[:, sides[0]].sum(1)
                low, high = (torch.isin(batch.labels, torch.tensor(side)) for side in sides)
                sided, with_side = sided + int((high & above | low & ~above).sum()), with_side + int((low | high).sum())
        found = {"loss": total / seen, "root_accuracy": right / seen, "roots": seen}
        return found | ({"root_binary_accuracy": sided / with_side} if with_side else {})


def train_one(name: str, labels: int, seed: int, epochs: int) -> dict[str, float]:
    """Figures of a model on dev and on test."""
    train, dev, test = (need(path) for path in PARTS.values())
    chosen = SETTINGS[name] | {"epochs": epochs, "seed": seed, "binary": labels == 2, "threads": 1, "patience": None}
    # a batch of 25 trees has some 930 labels
    model: Any = PhraseLSTM(**chosen, batch_size=930) if name == "lstm" else TreeClassifier(**chosen, cell=name)
    model.fit(train, dev, progress=None)
    found = {f"dev_{key}": model.metrics.get(f"validation_{key}", 0.0) for key in ("root_accuracy",)}
    tested = model.evaluate(test)
    found |= {key: tested.get(key, 0.0) for key in ("root_accuracy", "root_binary_accuracy", "node_accuracy")}
    return found | {"parameters": count_parameters(model.network), "minutes": model.metrics["training_seconds"] / 60}


def quality(models: list[str], labels: list[int], seeds: list[int], epochs: int) -> None:
    """The table: a row a run, as it ends, and the means of the seeds after them."""
    print("model        labels  seed   dev root  test root  below/above  all nodes  parameters  minutes")
    for count in labels:
        for name in models:
            runs = []
            for seed in seeds:
                runs.append(train_one(name, count, seed, epochs))
                print_row(name, count, str(seed), runs[-1])
            if len(runs) > 1:
                mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
                spread = statistics.pstdev(run["root_accuracy"] for run in runs)
                print_row(name, count, "mean", mean, f"  (test root ± {spread:.4f})")


def print_row(name: str, labels: int, seed: str, found: dict[str, float], more: str = "") -> None:
    """A row of the table."""
    row = f"{name:<11} {labels:7}  {seed:>4}  {found['dev_root_accuracy']:9.4f}  {found['root_accuracy']:9.4f}"
    row += f"  {found['root_binary_accuracy']:11.4f}  {found['node_accuracy']:9.4f}"
    print(f"{row}  {found['parameters']:10,.0f}  {found['minutes']:7.1f}{more}", flush=True)


def node_by_node(cell: NaryTreeLSTMCell, inputs: Tensor, trees: list[np.ndarray]) -> Tensor:
    """The states of the roots, a node at a time, as a binary Tree-LSTM is usually written."""
    size, roots, leaf = cell.hidden_size, [], 0
    zero = inputs.new_zeros(size)
    for tree in trees:
        stack: list[tuple[Tensor, Tensor]] = []
        has_children = set(tree.tolist())
        for node in range(len(tree)):
            if node in has_children:
                right, left = stack.pop(), stack.pop()
                x, children = cell.bias, torch.cat([left[0], right[0]])
            else:
                x, children = cell.weight_ih @ inputs[leaf] + cell.bias, None
                left = right = (zero, zero)
                leaf += 1
            f, i, o, u = x.split(size)
            left_f, right_f = f, f
            if children is not None:
                parts = (cell.weight_hh @ children).split(size)
                left_f, right_f, i, o, u = f + parts[0], f + parts[1], i + parts[2], o + parts[3], u + parts[4]
            c = torch.sigmoid(i) * torch.tanh(u) + torch.sigmoid(left_f) * left[1] + torch.sigmoid(right_f) * right[1]
            stack.append((torch.sigmoid(o) * torch.tanh(c), c))
        roots.append(stack[0][0])
    return torch.stack(roots)


def by_reference(network: Recursive, inputs: Tensor, shape: Forest) -> Any:
    """The states, each level differentiated by autograd."""
    with backend("reference"):
        return network(inputs, shape)


def speed(sizes: list[int], rounds: int = 15) -> None:
    """The table: milliseconds a batch, and the ratios."""
    torch.set_num_threads(1)
    reader = TreeReader([need(PARTS["train"])], TreeReadingSettings.checked({}))
    trees = [np.array(example.tree.parents) for _, example in zip(range(25), reader.examples(), strict=False)]
    shape = forest(trees, [node_heights(tree) for tree in trees], 2)
    lengths = torch.tensor([(len(tree) + 1) // 2 for tree in trees])
    print(f"25 trees, {len(shape.order):,} nodes, {shape.leaves:,} words, {len(shape.levels)} levels")
    print("size  by level ms  LSTM ms  ratio  reference ms  ratio  node by node ms  ratio")
    for size in sizes:
        torch.manual_seed(0)
        cell = NaryTreeLSTMCell(size, size)
        by_level, lstm = Recursive(cell), Recurrent(LSTMCell(size, size))
        words = torch.randn(shape.leaves, size)  # leaves are of one height: their order is that of the words
        padded = torch.randn(int(lengths.max()), len(trees), size)
        with torch.no_grad():
            roots = by_level(words, shape).hidden[shape.roots]
            torch.testing.assert_close(roots, node_by_node(cell, words, trees), rtol=1e-4, atol=1e-5)
        sides: list[Callable[[Tensor], Tensor]] = [
            lambda x: by_level(x, shape).hidden[shape.roots].sum(),  # noqa: B023
            lambda x: lstm(x, None, lengths)[1].hidden.sum(),  # noqa: B023
            lambda x: by_reference(by_level, x, shape).hidden[shape.roots].sum(),  # noqa: B023
            lambda x: node_by_node(cell, x, trees).sum(),  # noqa: B023
        ]
        inputs = [words, padded, words, words]
        times: list[list[float]] = [[], [], [], []]
        for at in range(rounds + 2):
            for side, x, its in zip(sides, inputs, times, strict=True):
                x = x.clone().requires_grad_()
                begun = time.process_time()
                side(x).backward()
                if at >= 2:
                    its.append(1000 * (time.process_time() - begun))
        ours, its_lstm, reference, plain = (statistics.median(each) for each in times)
        row = f"{size:4}  {ours:11.2f}  {its_lstm:7.2f}  {ours / its_lstm:5.2f}"
        row += f"  {reference:12.2f}  {reference / ours:5.2f}"
        print(f"{row}  {plain:15.1f}  {plain / ours:5.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("quality", "speed"))
    parser.add_argument("--models", default=",".join(SETTINGS))
    parser.add_argument("--labels", default="5,2")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--sizes", default="50,150,300")
    options = parser.parse_args()
    numbers = {name: [int(each) for each in getattr(options, name).split(",")] for name in ("labels", "seeds", "sizes")}
    if options.question == "speed":
        speed(numbers["sizes"])
    else:
        quality(options.models.split(","), numbers["labels"], numbers["seeds"], options.epochs)


if __name__ == "__main__":
    main()
