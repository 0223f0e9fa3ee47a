"""Learning from examples that stand on their own: what classifier, tagger, translator and others share."""

from __future__ import annotations

import json
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.bundle import CODEC, read_json
from ostinato.errors import DataError
from ostinato.features.matrices import in_batches
from ostinato.files import write_text
from ostinato.table import Table
from ostinato.tasks.corpus import SPOOLED, Sources, resolve, source_names
from ostinato.tasks.fitting import FittedModel
from ostinato.tasks.parts import Part, Reader, parts
from ostinato.training.batches import LengthBatches
from ostinato.training.measuring import PROBE_ROWS, PROBE_STEPS
from ostinato.training.objective import Evaluation

Row = Mapping[str, Any]
"""An example as numbers: an array, or a list, for each column."""


LESS_IS_BETTER = frozenset({"loss", "mean_absolute_error", "root_mean_square_error", "character_error_rate"})
"""Of figures that choose the best epoch."""


class Unusable(DataError):
    """An example from which nothing can be learned or measured, such as one whose label is not known.

    Args:
        reason: why; examples that are passed over are counted by it.
        where: it stands, for one that is told of alone.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason, self.where = reason, where


class Prepared(NamedTuple):
    """What training reads."""

    codec: Any
    train: Table
    validation: Table
    about: dict[str, Any]


class SupervisedModel(FittedModel):
    """A network that learns from examples; its settings hold `validation_fraction`, and those of training.

    A task says how examples are read (`reader`), what codec they give (`learn_codec`), how one becomes a row of numbers
    (`encode`), how rows become a batch (`batch`), what training descends (`loss`, `count`), and how good the network is
    on batches (`measure`).
    """

    columns: dict[str, str]
    """Of a row: name → NumPy's name of its type."""
    length_column: ClassVar[str]
    """The column whose lengths make batches of like sequences; of ids of `codec.vocabulary`."""
    read_from: ClassVar[tuple[int, int]] = (0, 0)
    """The step of a batch that reads the first of them, and how many at the end are never read."""
    criterion: str
    """The figure of `measure` that chooses the best epoch: the more the better, but for those in `LESS_IS_BETTER`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.passed_over: dict[str, int] = {}
        """Part → how many of its examples were unusable when it was last written as numbers."""

    @abstractmethod
    def reader(self, files: Sequence[Path], **changes: Any) -> Reader:
        """Reads examples from files, as the settings say but for changes of them."""

    @abstractmethod
    def learn_codec(self, examples: Callable[[], Iterator[Any]]) -> Any:
        """The codec for the training part, which can be read as often as needed."""

    @abstractmethod
    def encode(self, example: Any) -> Row:
        """The row of an example, by `self.codec`.

        Raises:
            Unusable: if it is to be passed over, and counted.
        """

    def encode_all(self, examples: Sequence[Any]) -> list[Row | Unusable]:
        """The rows of some thousand examples, or why one has none; for what is faster together than one by one."""
        found: list[Row | Unusable] = []
        for example in examples:
            try:
                found.append(self.encode(example))
            except Unusable as reason:
                found.append(reason)
        return found

    @abstractmethod
    def batch(self, rows: Sequence[Row]) -> Any:
        """A batch, a tuple of tensors, of rows."""

    def step_names(self, rows: Sequence[Row]) -> list[list[str]] | None:  # noqa: ARG002
        """What each step of rows is called where a report shows it; None: they are tokens of the vocabulary."""
        return None

    @abstractmethod
    def count(self, batch: Any) -> int:
        """What the loss is a sum over."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Σ of the loss over a batch on the network's device, nats."""

    @abstractmethod
    def measure(self, batches: Iterable[Any]) -> dict[str, float]:
        """`loss`, a mean, and the figures of the field, of batches; the network is in evaluation mode."""

    def measure_fully(self, batches: Iterable[Any]) -> dict[str, float]:
        """What `evaluate` tells: the figures of `measure`, and more where a task has more to say."""
        return self.measure(batches)

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Prepared:
        """Read, learn the codec, write both parts as numbers, unless that was done before."""
        run = folder / "run"
        if (run / "examples.json").exists():
            about = read_json(run / "examples.json")
            codec = self.codec_type.load(folder / CODEC)
            return Prepared(codec, Table(run, "train"), Table(run, "validation"), about)
        train, held_out, about = self.split(sources, validation, run)
        self._codec = self.learn_codec(train)
        (folder / CODEC).mkdir(exist_ok=True)
        self._codec.save(folder / CODEC)
        tables = [self._written(run, name, part()) for name, part in (("train", train), ("validation", held_out))]
        about |= {"train_examples": len(tables[0]), "validation_examples": len(tables[1])}
        about |= {f"{name}_examples_passed_over": count for name, count in self.passed_over.items() if count}
        about |= self.prepare_more(train, run)
        write_text(run / "examples.json", json.dumps(about, indent=1) + "\n")
        self.reporter.message(f"{len(tables[0]):,} training examples, {len(tables[1]):,} for validation")
        (run / SPOOLED).unlink(missing_ok=True)
        return Prepared(self._codec, tables[0], tables[1], about)

    def split(self, sources: Sequence[str], validation: Sequence[str], run: Path) -> tuple[Part, Part, dict[str, Any]]:
        """Training examples, those for validation, and the fingerprints of their files; see `parts`."""
        s = self.settings
        return parts(sources, validation, self.reader, s.validation_fraction, s.seed, run)

    def prepare_more(self, examples: Callable[[], Iterator[Any]], run: Path) -> dict[str, Any]:  # noqa: ARG002
        """Write what else training reads, such as other data; gives what the bundle says of it."""
        return {}

    def _written(self, folder: Path, name: str, examples: Iterable[Any]) -> Table:
        """The examples as a table; those that are unusable are counted, and told of."""
        skipped: Counter[str] = Counter()
        first: dict[str, str] = {}

        def rows() -> Iterator[Row]:
            for block in in_batches(examples):
                for row in self.encode_all(block):
                    if isinstance(row, Unusable):
                        skipped[row.reason] += 1
                        first.setdefault(row.reason, row.where)
                    else:
                        yield row

        table = Table.write(folder, name, rows(), self.columns)
        self.passed_over[name] = skipped.total()
        for reason, count in skipped.most_common(5):
            where = f" (the first: {first[reason]})" if first[reason] else ""
            self.reporter.message(f"{name}: {count:,} examples passed over: {reason}{where}")
        if more := skipped.total() - sum(count for _, count in skipped.most_common(5)):
            self.reporter.message(f"{name}: {more:,} others passed over")
        if not len(table):
            why = f": {skipped.most_common(1)[0][0]}" if skipped else ""
            more = f"; all {skipped.total():,} were passed over{why}" if skipped else ""
            raise DataError(f"{name}: no examples{more}; give more, or others")
        return table

    def embedded(self, corpus: Prepared) -> tuple[Sequence[str], Iterable[np.ndarray]]:
        """The tokens of the embedding, by id, and the ids of the training examples."""
        values = corpus.train.values(self.length_column)
        return corpus.codec.vocabulary, (values[at : at + (1 << 20)] for at in range(0, len(values), 1 << 20))

    def batches(self, table: Table, seed: int | None = None, batch_size: int | None = None) -> LengthBatches:
        """Batches of a table: in another order every epoch with a seed, in the order of length without."""

        def collate(indices: np.ndarray) -> Any:
            return self.batch([{name: table.entry(name, row) for name in self.columns} for row in indices.tolist()])

        return LengthBatches(table.lengths(self.length_column), batch_size or self.settings.batch_size, collate, seed)

    def steps(self, lengths: np.ndarray) -> np.ndarray:
        """How many steps the network reads of rows whose `length_column` is so long."""
        return lengths

    def objective(self, corpus: Prepared) -> FromExamples:
        """What training descends."""
        return FromExamples(self, corpus)

    def on_device(self, batch: Any) -> Any:
        """A batch where the network is."""
        return to_device(batch, next(self.network.parameters()).device)

    def in_order(
        self,
        examples: Iterable[Any],
        use: Callable[[Any], Iterable[Any]],
        encode: Callable[[Any], Row] | None = None,
        collate: Callable[[Sequence[Row]], Any] | None = None,
    ) -> Iterator[Any]:
        """What `use` makes of batches, a result for every example, in their order; some thousand are held at once.

        Args:
            examples: as they come.
            use: a batch on the network's device → results, in its order.
            encode: an example → its row; `self.encode` if None, which passes over what has no label.
            collate: rows → a batch; `self.batch` if None.
        """
        for block in in_batches(examples):
            rows: list[Any] = self.encode_all(block) if encode is None else [encode(example) for example in block]
            if wrong := [row for row in rows if isinstance(row, Unusable)]:
                raise wrong[0]
            order = np.argsort([len(row[self.length_column]) for row in rows], kind="stable")
            found: list[Any] = [None] * len(rows)
            for first in range(0, len(rows), self.settings.batch_size):
                at = order[first : first + self.settings.batch_size].tolist()
                with torch.inference_mode():
                    results = use(self.on_device((collate or self.batch)([rows[row] for row in at])))
                for row, result in zip(at, results, strict=True):
                    found[row] = result
            yield from found

    def evaluate(
        self, corpus: Sources, batch_size: int | None = None, encoding: str | None = None, errors: str | None = None
    ) -> dict[str, float]:
        """The figures of the field on files like those of training.

        Args:
            corpus: files, folders, patterns, or `-`.
            batch_size: examples side by side; as in training if None.
            encoding: of the files; as in training if None.
            errors: at bytes that are not text: strict, replace or ignore; as in training if None.

        Raises:
            DataError: if they cannot be read, or hold no examples.
        """
        changes = {name: value for name, value in (("encoding", encoding), ("errors", errors)) if value is not None}
        with tempfile.TemporaryDirectory() as scratch:
            run = Path(scratch)
            files = resolve(source_names(corpus, None)["corpus"], run)
            table = self._written(run, "examples", self.reader(files, **changes).examples())
            found = self.measure_fully(self.batches(table, batch_size=batch_size))
            return found | {"examples": len(table)}


class FromExamples:
    """The objective of a `SupervisedModel`: its loss on batches, and its figures on the validation examples."""

    def __init__(self, model: SupervisedModel, corpus: Prepared) -> None:
        self.model, self.network = model, model.network
        self.windows = model.batches(corpus.train, model.settings.seed)
        self.validation = model.batches(corpus.validation)
        table, column = corpus.validation, model.length_column
        probed = probed_rows(model.steps(table.lengths(column)))
        self._probed = model.batch([{name: table.entry(name, row) for name in model.columns} for row in probed])

    def begin_epoch(self, epoch: int) -> None:
        """Other batches."""
        self.windows.begin(epoch)

    def initial_state(self) -> Any:
        """None: each example stands on its own."""
        return ()

    def count(self, window: Any) -> int:
        """What the loss is a sum over."""
        return self.model.count(window)

    def loss(self, window: Any, state: Any) -> tuple[Tensor, Any]:
        """Σ of the loss over a batch."""
        batch = self.model.on_device(window)
        device = next(self.network.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.model.settings.precision == "bf16"):
            return self.model.loss(batch), state

    @torch.inference_mode()
    def evaluate(self) -> Evaluation:
        """The figures of the field on the validation examples."""
        found = self.model.measure(self.validation)
        loss, name = found.pop("loss"), self.model.criterion
        if name == "loss":
            return Evaluation(loss, loss, found)
        figures = {name: found[name], **found}  # what chooses is told first
        return Evaluation(loss, found[name] if name in LESS_IS_BETTER else -found[name], figures)

    def probe(self) -> Tensor:
        """Σ of the loss over some of the longer validation examples."""
        return self.model.loss(self.model.on_device(self._probed))

    def figures(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        """A mean loss alone says nothing more."""
        return {}

    def save_best(self, step: int, loss: float) -> None:
        """Keep the weights."""
        self.model.keep_best(step, loss)


def probed_rows(lengths: np.ndarray) -> list[int]:
    """Which examples the gradient is followed in: a few of the longest quarter, but none of more than 256 steps.

    >>> probed_rows(np.array([3, 9, 400, 5, 7]))
    [1]
    """
    order = np.argsort(-lengths, kind="stable")
    fitting = order[lengths[order] <= 2 * PROBE_STEPS]
    if not len(fitting):
        return [int(order[-1])]
    longer = fitting[: max(1, len(fitting) // 4)]
    return longer[np.linspace(0, len(longer) - 1, min(PROBE_ROWS, len(longer))).astype(int)].tolist()


def to_device(batch: Any, device: torch.device) -> Any:
    """The same tuples with their tensors, and what else has a `to`, on a device."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, tuple):
        parts = [to_device(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    return batch


def pad(entries: Sequence[Any], value: float = 0) -> tuple[Tensor, Tensor]:
    """Entries side by side, [time, batch], the shorter ones filled up at the end, and their lengths, int64 [batch].

    >>> padded, lengths = pad([np.array([1, 2]), np.array([3])])
    >>> padded.tolist(), lengths.tolist()
    ([[1, 3], [2, 0]], [2, 1])
    """
    lengths = np.array([len(entry) for entry in entries], np.int64)
    kind = np.result_type(*(np.asarray(entry).dtype for entry in entries))
    padded = np.full((int(lengths.max(initial=0)), len(entries)), value, np.int64 if kind.kind in "iu" else np.float32)
    for row, entry in enumerate(entries):
        padded[: len(entry), row] = entry
    return torch.from_numpy(padded), torch.from_numpy(lengths)
