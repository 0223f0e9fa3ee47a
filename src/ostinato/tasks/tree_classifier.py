"""The tree classifier: trees to a recursive network that labels every node, and the tree by its root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.codecs.tree_codec import NONE, TreeCodec, TreeTextSettings, UnknownLabel
from ostinato.codecs.trees import Tree, binarised, read_brackets
from ostinato.errors import DataError, nearest
from ostinato.heads import Softmax
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.settings import Settings
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.model import Predicted
from ostinato.tasks.supervised import Prepared, SupervisedModel, Unusable
from ostinato.tasks.tree_examples import ReadTree, TreeFormat, TreeReader, TreeReadingSettings
from ostinato.topologies import TreeToVec
from ostinato.training.report import make_reporter
from ostinato.training.settings import TrainingSettings
from ostinato.tree_cells import TREE_CELLS
from ostinato.trees import Forest, Recursive, forest, node_heights


class RecursiveSettings(Settings):
    """What a recursive network is made of."""

    cell: str = Field("tree-lstm", description=f"the equations of a node: {', '.join(TREE_CELLS)}")
    hidden_size: int = Field(150, ge=1, description="units of a node")
    dropout: float = Field(0.5, ge=0, lt=1, description="on the words' vectors and on the nodes'")
    input_dropout: float | None = Field(None, ge=0, lt=1, description="on the words' vectors [default: dropout]")
    output_dropout: float | None = Field(None, ge=0, lt=1, description="on the nodes' vectors [default: dropout]")
    forget_bias: float = Field(0.0, description="initial bias of a Tree-LSTM's forget gates")
    learn_from: Literal["all", "root"] = Field("all", description="the nodes whose labels training descends")

    @model_validator(mode="after")
    def _know(self) -> Self:
        if self.cell not in TREE_CELLS:
            raise ValueError(f"cell = {self.cell!r}: one of {', '.join(TREE_CELLS)}{nearest(self.cell, TREE_CELLS)}")
        return self


class TreeClassifierSettings(
    RecursiveSettings, EmbeddingSettings, TreeTextSettings, TreeReadingSettings, TrainingSettings
):
    """All of a tree classifier."""

    embedding_size: int | None = Field(None, ge=1, description="features of a word [default: hidden_size]")
    batch_size: int = Field(25, ge=1, description="trees side by side")
    epochs: int = Field(12, ge=1, description="passes over the training data")
    patience: int | None = Field(4, ge=1, description="stop after so many evaluations without gain")


class PredictSettings(Settings):
    """How trees are read, and what is said of them."""

    format: TreeFormat = Field("auto", description="brackets, json or text; auto: by the file's name and beginning")
    nodes: bool = Field(False, description="print the tree with its labels at every node")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class TreeBatch(NamedTuple):
    """Trees side by side."""

    words: Tensor
    """Of the leaves, or of all nodes with -1 for none, in the order of levels, int64."""
    labels: Tensor
    """Of the nodes as given, int64 [nodes]; -100 for none."""
    shape: Forest


class TreePrediction(NamedTuple):
    """What a tree is."""

    label: str
    """Of the root."""
    score: float
    """Its probability."""
    tree: Tree
    """The tree, with a label at every node."""


@dataclass
class _AsRead:
    """Reads trees, with two children at most if the cell takes no more, and tells of what it changed."""

    reader: TreeReader
    binary: bool
    tell: Callable[[str], None]

    def examples(self) -> Iterator[ReadTree]:
        """All of them."""
        changed = 0
        for example in self.reader.examples():
            tree = binarised(example.tree) if self.binary else example.tree
            changed += tree is not example.tree
            yield example._replace(tree=tree)
        if changed:
            self.tell(f"{changed:,} trees have nodes of more than two children, which were halved (--cell child-sum)")

    def fingerprint(self) -> dict[str, Any]:
        """What the files hold."""
        return self.reader.fingerprint()


class TreeClassifier(SupervisedModel):
    r"""Trees with labels at their nodes to a recursive network that names them.

    Args:
        settings: by name, see `TreeClassifierSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "trees.txt"
    >>> _ = path.write_text("(1 (1 good) (_ film))\n(0 (_ not) (1 good))\n" * 20)
    >>> model = TreeClassifier(hidden_size=8, dropout=0, epochs=30, learning_rate=0.02, patience=None, seed=1)
    >>> _ = model.fit(path, path, progress=False)
    >>> [found.label for found in model.predict(["(_ (_ not) (_ good))", "good film"])]
    ['0', '1']
    """

    task = "tree-classifier"
    Settings = TreeClassifierSettings
    PredictSettings = PredictSettings
    codec_type = TreeCodec
    pipeline_tag = "text-classification"
    columns = {"words": "<i4", "labels": "<i4", "parents": "<i4", "heights": "<i4"}  # noqa: RUF012
    length_column = "words"
    criterion = "root_accuracy"

    def reader(self, files: Sequence[Path], **changes: Any) -> _AsRead:
        """Trees of files, of plain text too if a codec is there."""
        settings = self._part(TreeReadingSettings).model_copy(update=changes)
        TreeReadingSettings.checked(settings.plain())
        return _AsRead(TreeReader(files, settings), self._arity is not None, self.reporter.message)

    @property
    def _arity(self) -> int | None:
        return TREE_CELLS[self.settings.cell].arity

    def learn_codec(self, examples: Callable[[], Iterator[ReadTree]]) -> TreeCodec:
        """Words and labels of the training trees."""
        return TreeCodec.learn((example.tree for example in examples()), self._part(TreeTextSettings))

    def encode(self, example: ReadTree) -> dict[str, Any]:
        """Words, labels and shape; a tree that says nothing of itself is unusable."""
        try:
            row = self.codec.row(example.tree)
        except UnknownLabel as error:
            raise Unusable(str(error)) from None
        labels = row["labels"]
        if (labels[-1] if self.settings.learn_from == "root" else labels.max()) == NONE:
            raise Unusable("no label at the root" if self.settings.learn_from == "root" else "no label at any node")
        return row | {"heights": node_heights(row["parents"])}

    def embedded(self, corpus: Prepared) -> tuple[Sequence[str], Iterable[np.ndarray]]:
        """The words, by id, and those of the training trees."""
        values = corpus.train.values("words")
        blocks = (values[at : at + (1 << 20)] for at in range(0, len(values), 1 << 20))
        return corpus.codec.vocabulary.tokens, (block[block >= 0] for block in blocks)

    def build(self) -> TreeToVec:
        """Embedding, recursive network and head, with fresh weights."""
        s = self.settings
        width = s.embedding_size or s.hidden_size
        embedding = nn.Embedding(len(self.codec.vocabulary), width)
        nn.init.normal_(embedding.weight, std=width**-0.5)
        forget = {"forget_bias": s.forget_bias} if "lstm" in s.cell or s.cell == "child-sum" else {}
        network = Recursive(TREE_CELLS[s.cell](width, s.hidden_size, **forget))
        before, after = (s.dropout if rate is None else rate for rate in (s.input_dropout, s.output_dropout))
        return TreeToVec(embedding, network, Softmax(s.hidden_size, len(self.codec.labels)), before, after)

    def batch(self, rows: Sequence[Any]) -> TreeBatch:
        """Trees laid out by level."""
        shape = forest([row["parents"] for row in rows], [row["heights"] for row in rows], self._arity)
        words = torch.from_numpy(np.concatenate([row["words"] for row in rows]).astype(np.int64))[shape.order]
        if bool((words[shape.leaves :] < 0).all()) and bool((words[: shape.leaves] >= 0).all()):
            words = words[: shape.leaves]
        labels = torch.from_numpy(np.concatenate([row["labels"] for row in rows]).astype(np.int64))
        if self.settings.learn_from == "root":
            kept = torch.full_like(labels, NONE)
            kept[shape.roots] = labels[shape.roots]
            labels = kept
        return TreeBatch(words, labels.masked_fill(labels == NONE, IGNORED), shape)

    def count(self, batch: TreeBatch) -> int:
        """Nodes with a label."""
        return int((batch.labels != IGNORED).sum())

    def loss(self, batch: TreeBatch) -> Tensor:
        """Σ −log p of the nodes' labels, nats."""
        hidden = self.network(batch.words, batch.shape)
        return self.network.head.loss(hidden, batch.labels, self.settings.label_smoothing)

    def measure(self, batches: Iterable[TreeBatch]) -> dict[str, float]:
        """Mean loss of the nodes that have a label; accuracy at them, and at the roots that have one.

        With labels that are numbers on a scale of three or more, also the accuracy of telling below its middle from
        above: root_binary_accuracy, of the roots that are not in the middle, by the side that is likelier.
        """
        total, sides = 0.0, self.codec.sides
        right, seen = np.zeros(3, np.int64), np.zeros(3, np.int64)
        for batch in map(self.on_device, batches):
            with torch.no_grad():
                log_p = self.network.head.log_probabilities(self.network(batch.words, batch.shape))
            labelled = batch.labels != IGNORED
            hits = (log_p.argmax(1) == batch.labels) & labelled
            total -= float(log_p[labelled].gather(1, batch.labels[labelled].unsqueeze(1)).sum())
            at_roots = labelled[batch.shape.roots]
            right[:2] += [int(hits.sum()), int(hits[batch.shape.roots].sum())]
            seen[:2] += [int(labelled.sum()), int(at_roots.sum())]
            if sides is not None:
                labels, p = batch.labels[batch.shape.roots], log_p[batch.shape.roots].exp()
                wanted = [torch.isin(labels, torch.tensor(side, device=labels.device)) for side in sides]
                above = p[:, sides[1]].sum(1) > p[:, sides[0]].sum(1)
                right[2] += int((wanted[1] & above).sum() + (wanted[0] & ~above).sum())
                seen[2] += int(sum(each.sum() for each in wanted))
        if not seen[0]:
            raise DataError("no labels to measure by")
        node, root, binary = (right / np.maximum(seen, 1)).tolist()
        found: dict[str, float] = {"loss": total / int(seen[0]), "root_accuracy": root, "node_accuracy": node}
        return found | ({"root_binary_accuracy": binary} if seen[2] else {}) | {"roots": int(seen[1])}

    def predict(self, trees: Iterable[Tree | str]) -> Iterator[TreePrediction]:
        """The labels of trees, as they come.

        Args:
            trees: `Tree`s, or strings: a tree in brackets, or plain text, which gets a tree from its punctuation.

        Raises:
            DataError: if something is neither.
        """
        if isinstance(trees, str | Tree):
            raise DataError("expected many trees, such as a list of strings, found one")
        return self._predicted(map(self._tree, trees))

    def _tree(self, given: Tree | str) -> Tree:
        if isinstance(given, Tree):
            return given
        if not isinstance(given, str):
            raise DataError(f"expected a tree or a text, found {type(given).__name__}")
        return next(read_brackets([given]))[0] if given.lstrip().startswith("(") else self.codec.tree_of(given)

    def _predicted(self, trees: Iterable[Tree]) -> Iterator[TreePrediction]:
        ready, again = tee(binarised(tree) if self._arity is not None else tree for tree in trees)
        for tree, (best, score) in zip(again, self.in_order(ready, self._named, self._unlabelled), strict=False):
            labels = tuple(self.codec.labels[label] for label in best)
            yield TreePrediction(labels[-1], score, tree._replace(labels=labels))

    def _unlabelled(self, tree: Tree) -> dict[str, np.ndarray]:
        parents = np.array(tree.parents, np.int32)
        labels = np.full(len(parents), NONE, np.int32)
        words = self.codec.word_ids(tree)
        return {"words": words, "labels": labels, "parents": parents, "heights": node_heights(parents)}

    def _named(self, batch: TreeBatch) -> list[tuple[list[int], float]]:
        """The likeliest label of each node of each tree, and its probability at the root."""
        p = self.network.head.log_probabilities(self.network(batch.words, batch.shape)).exp()
        score, best = p.max(1)
        ends = [root + 1 for root in batch.shape.roots.tolist()]
        return [(best[a:b].tolist(), float(score[b - 1])) for a, b in zip([0, *ends], ends, strict=False)]

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """The label of each tree of files; see `ostinato predict`."""
        given = {"format": options.format, "encoding": options.encoding, "errors": options.errors}
        settings = TreeReadingSettings.checked(given)
        reader = TreeReader(files, settings, self.codec.tree_of)
        kinds = {path: reader.kind(path) for path in files}
        if plain := [path.name for path, kind in kinds.items() if kind == "text"]:
            made = "plain text: each line gets a tree from its punctuation and by halving, which is no parse"
            make_reporter(None).message(f"{', '.join(plain[:3])}{' …' if len(plain) > 3 else ''}: {made}")
        examples, again = tee(reader.examples())
        for example, found in zip(again, self._predicted(each.tree for each in examples), strict=False):
            row = {"label": found.label, "score": found.score, "text": found.tree.text()}
            row |= {"tree": found.tree.brackets(), "tree_from": "text" if kinds[example.path] == "text" else "file"}
            said = row["tree"] if options.nodes else row["text"]
            yield Predicted(row, f"{found.label}\t{found.score:.4f}\t{said}")
