"""Naming the labels of sequences by a network: what training, measuring and telling share, whatever a step is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import r2_score
from torch import Tensor

from ostinato import bundle
from ostinato.codecs.labelled_text import as_number
from ostinato.errors import DataError, SettingsError
from ostinato.features.matrices import in_batches
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.tasks.calibrating import calibrate
from ostinato.tasks.classifier_settings import CRITERIA
from ostinato.tasks.classifying import ClassifyingModel, Prediction, WordWeight
from ostinato.tasks.committee import members_of
from ostinato.tasks.label_figures import LabelFigures, NumberFigures
from ostinato.tasks.model import Predicted
from ostinato.tasks.supervised import Prepared, Row, SupervisedModel


class LabelledBatch(NamedTuple):
    """A batch."""

    inputs: Any
    """Of all sequences, whose slices are of steps."""
    lengths: Tensor
    """Steps, int64 [batch]."""
    targets: Tensor
    """As the head takes them."""
    given: list[list[float]]
    """Ids of each sequence's labels, those beyond the labels never seen in training; or its number."""
    rows: Sequence[Row]
    """What it was made of."""


class LabellingModel(ClassifyingModel, SupervisedModel):  # pyright: ignore[reportIncompatibleMethodOverride] - fit takes labels
    """A classifier whose network is a `SeqToVec` with a head of `ostinato.label_heads`, or a `Committee` of such.

    Its settings hold `LabelSettings`, its codec `labels_of`. A task says what an example's steps are: it has `reader`,
    `learn_codec`, `encode`, `batch` and `asked`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._unseen: dict[str, int] = {}

    @abstractmethod
    def asked(self, sequence: Any) -> Any:
        """The example, without a label, of what `predict` is given."""

    @property
    def criterion(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - by the settings
        """The figure that chooses the best epoch."""
        known = CRITERIA[self.codec.labels_of.kind]
        return self.settings.criterion or known[0]

    @property
    def kind(self) -> str:
        """Of label."""
        return self.codec.labels_of.kind

    @property
    def threshold(self) -> float:
        """Fitted on the validation examples."""
        return float(self.network.head.threshold)

    def target(self, labels: tuple[str, ...]) -> np.ndarray:
        """Ids of labels, those never seen in training counted on beyond the others; or the number."""
        if self.kind == "number":
            return np.array([as_number(labels)] if labels else [])
        known = self.codec.labels_of.ids
        return np.array([known.get(each, -1) if each in known else self._new(each) for each in labels], float)

    def _new(self, label: str) -> int:
        return self._unseen.setdefault(label, len(self.codec.labels) + len(self._unseen))

    def targets(self, given: Sequence[Sequence[float]]) -> Tensor:
        """What `target` gave for each sequence of a batch, as the head takes it."""
        known = len(self.codec.labels)
        if self.kind == "multi":
            targets = torch.zeros(len(given), known)
            for row, labels in enumerate(given):
                targets[row, [int(label) for label in labels if label < known]] = 1.0
            return targets
        if self.kind == "number":
            return torch.tensor([labels[0] if labels else 0.0 for labels in given])
        return torch.tensor([int(labels[0]) if labels and labels[0] < known else IGNORED for labels in given])

    def count(self, batch: LabelledBatch) -> int:
        """Sequences."""
        return len(batch.lengths)

    def opinions(self, batch: LabelledBatch) -> list[Tensor]:
        """What the head of each member says of each sequence, [batch, outputs]."""
        return [each.head.logits(each(batch.inputs, lengths=batch.lengths)[0]) for each in members_of(self.network)]

    def logits(self, batch: LabelledBatch) -> Tensor:
        """What is said of each sequence, [batch, outputs]: the mean of the members' opinions."""
        return torch.stack(self.opinions(batch)).mean(0)

    def linear_scores(self, batch: LabelledBatch) -> Tensor | None:  # noqa: ARG002 - of texts
        """What a linear model beside the network says of each sequence, [batch, labels]; None without one."""
        return None

    def loss(self, batch: LabelledBatch) -> Tensor:
        """Σ of the head's loss; with consistency α of two passes ½ (L + L') + α·½ (KL(p‖p') + KL(p'‖p)).

        The passes differ by what dropout leaves out, and are to say the same of a sequence (Liang et al. 2021, section
        2.1; their loss is twice this). Of several members the mean.
        """
        s, heads = self.settings, [each.head for each in members_of(self.network)]

        def mean_loss(opinions: list[Tensor]) -> Tensor:
            each = (h.loss(z, batch.targets, s.label_smoothing) for h, z in zip(heads, opinions, strict=True))
            return torch.stack(list(each)).mean()

        first = self.opinions(batch)
        if not s.consistency:
            return mean_loss(first)
        second = self.opinions(batch)
        apart = [head.divergence(z, again) for head, z, again in zip(heads, first, second, strict=True)]
        return 0.5 * (mean_loss(first) + mean_loss(second)) + s.consistency * torch.stack(apart).mean()

    @torch.inference_mode()
    def measure(self, batches: Iterable[LabelledBatch]) -> dict[str, float]:
        """Mean loss, and the figures of the kind of label."""
        figures, total, count = self.tally(), 0.0, 0
        for batch in batches:
            on_device = self.on_device(batch)
            logits = self.logits(on_device)
            total += float(self.network.head.loss(logits, on_device.targets))
            count += len(batch.lengths)
            self._add(figures, self.network.head.probabilities(logits).cpu().numpy(), batch.given)
        found = {name: float(value) for name, value in figures.figures().items() if name != "examples"}
        return {"loss": total / max(count, 1)} | found

    @torch.inference_mode()
    def confusion(self, batches: Iterable[LabelledBatch]) -> dict[str, dict[str, int]]:
        """Where a sequence has one label: the right label → what was told → how often; labels new to it left out.

        Raises:
            SettingsError: if sequences have several labels, or a number.
        """
        if self.kind in ("multi", "number"):
            what = f"{self.things[:-1]}; this model's are of kind = {self.kind}"
            raise SettingsError(f"a confusion matrix is of one label a {what}")
        figures, names = self.tally(), self.labels
        for batch in batches:
            logits = self.logits(self.on_device(batch))
            self._add(figures, self.network.head.probabilities(logits).cpu().numpy(), batch.given)
        counts = figures.confusion()
        return {names[a]: {names[b]: n for b, n in row.items()} for a, row in counts.items() if 0 <= a < len(names)}

    def _add(self, figures: Any, probabilities: np.ndarray, given: list[list[float]]) -> None:
        if self.kind == "number":
            figures.add(probabilities[:, 0], np.array(given)[:, 0])
        else:
            figures.add(probabilities, [tuple(map(int, each)) for each in given])

    def tally(self) -> Any:
        """What counts how good labels are."""
        if self.kind == "number":
            return NumberFigures()
        return LabelFigures(len(self.labels), self.codec.several, self.threshold, self.kind == "ordinal")

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Prepared:
        """Read, learn the codec, write both parts as numbers."""
        found = super().prepare(sources, validation, folder)
        if self._unseen:
            names = ", ".join(sorted(self._unseen)[:5])
            self.reporter.message(f"validation: labels that no training {self.things[:-1]} has, always missed: {names}")
        return found

    def finish(self, corpus: Prepared) -> dict[str, float]:
        """Settle what the validation examples say."""
        return self.settle(corpus)

    def settle(self, corpus: Prepared) -> dict[str, float]:
        """Calibrate probabilities and the threshold on the validation examples."""
        found = calibrate(self, corpus.validation) if self.settings.calibrate else {}
        assert self._folder is not None  # noqa: S101
        self.write_weights(self._folder / bundle.WEIGHTS, {})
        return found

    def scores(self, texts: Iterable[Any]) -> Iterator[np.ndarray]:
        """Probabilities of the labels; of kind = number the number."""

        def told(batch: LabelledBatch) -> Iterable[np.ndarray]:
            return self.network.head.probabilities(self.logits(batch)).cpu().numpy()

        return map(np.stack, in_batches(self.in_order(map(self.asked, texts), told)))

    def compare(self, examples: Iterable[Any], confusion: bool = True) -> dict[str, Any]:
        """How well examples are told, as they come; of kind = number, correlation and errors."""
        if self.kind != "number":
            return super().compare(examples, confusion)
        first, second = tee(examples)
        figures = NumberFigures()
        for block in self.scores(map(self.sequence_of, first)):
            figures.add(block[:, 0], np.array([as_number(next(second).labels) for _ in block]))
        if not figures.texts:
            raise DataError("no examples to measure; for validation a larger share may help, or a file of its own")
        return figures.figures()

    def _predicted(
        self, fields: dict[str, Any], found: Prediction, top: int, words: list[WordWeight] | None
    ) -> Predicted:
        said = super()._predicted(fields, found, top, words)
        if self.kind != "number":
            return said
        row = {name: value for name, value in said.row.items() if name not in ("label", "score")}
        own = {"given_label": "label", "given_score": "score"}  # nothing takes their place
        row = {own.get(name, name): value for name, value in row.items()}
        return Predicted(row | {"value": found.scores[0]}, said.text.removeprefix("value\t"))

    def predict(self, texts: Iterable[Any]) -> np.ndarray:
        """The label of each sequence; where there may be several, a tuple of them; of kind = number the number."""
        if self.kind == "number":
            return np.concatenate([*self.scores(texts), np.zeros((0, 1))])[:, 0]
        return super().predict(texts)

    def score(self, X: Sequence[Any], y: Sequence[Any], sample_weight: Any = None) -> float:  # noqa: N803 - theirs
        """The share of sequences X that get their labels y and no others; of kind = number, R² (`sklearn.metrics`)."""
        if self.kind == "number":
            return float(r2_score(y, self.predict(X), sample_weight=sample_weight))
        return super().score(X, y, sample_weight)

    def rank(self, texts: Iterable[Any], top: int = 1) -> Iterator[Prediction]:
        """The best labels of each sequence with their scores; of kind = number, `value` with the number."""
        if self.kind == "number":
            return (Prediction(["value"], [float(row[0])]) for block in self.scores(texts) for row in block)
        return super().rank(texts, top)
