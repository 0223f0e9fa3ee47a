"""Classification by a network: texts to one label, several, one in an order, or a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import r2_score
from torch import Tensor

from ostinato import bundle
from ostinato.analysis import Analyzer, AnalyzerSettings, tokens_for
from ostinato.codecs.labelled_text import Labels, as_number
from ostinato.codecs.vocabulary import Vocabulary
from ostinato.errors import DataError, SettingsError
from ostinato.features.matrices import in_batches
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.tasks.calibrating import calibrate, uncalibrate
from ostinato.tasks.classifier_network import classifier_network
from ostinato.tasks.classifier_settings import CRITERIA, ClassifierSettings
from ostinato.tasks.classifying import ClassifyingModel, Prediction, WordWeight
from ostinato.tasks.committee import Committee, members_of
from ostinato.tasks.examples import Example
from ostinato.tasks.explaining import explain
from ostinato.tasks.label_figures import LabelFigures, NumberFigures
from ostinato.tasks.late_fusion import COLUMNS, NO_TERMS, FusedText, fit_again, fit_linear, linear_scores, term_rows
from ostinato.tasks.model import Predicted
from ostinato.tasks.supervised import Prepared, Row, SupervisedModel
from ostinato.tasks.text_inputs import TextInputs, word_row
from ostinato.topologies import SeqToVec, count_parameters

_SAMPLE = 1000  # texts that are looked through for Chinese


class Texts(NamedTuple):
    """A batch."""

    inputs: TextInputs
    lengths: Tensor
    """Words, int64 [batch]."""
    targets: Tensor
    """As the head takes them."""
    given: list[list[float]]
    """Ids of each text's labels, those beyond the labels never seen in training; or its number."""
    rows: Sequence[Row]
    """What it was made of."""


class Classifier(ClassifyingModel, SupervisedModel):  # pyright: ignore[reportIncompatibleMethodOverride] - fit takes labels
    r"""The label of a text, by a network over its words, with scikit-learn's interface and that of every task.

    x_t embeds word t (and the n-grams of its characters), h = network(x), v = pooling(h), and a head makes
    probabilities of v: see `ostinato.label_heads`, `ostinato.pooling`, `SeqToVec`. With `linear`
    the scores s of a linear model of the same texts are added, z + w·s: see `ostinato.tasks.late_fusion`.

    Args:
        settings: by name, see `ClassifierSettings`.

    >>> texts = ["a fine fish", "a stale fish"] * 30
    >>> model = Classifier(cell="gru", hidden_size=8, epochs=8, learning_rate=0.02, dropout=0.0, seed=1)
    >>> model = model.fit(texts, ["good", "bad"] * 30)
    >>> model.predict(["fine", "how stale"]).tolist(), model.predict_proba(["fine"]).shape
    (['good', 'bad'], (1, 2))
    """

    task = "classifier"
    Settings = ClassifierSettings
    codec_type = FusedText
    length_column = "words"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._bert: Any = None
        self._unseen: dict[str, int] = {}

    @property
    def columns(self) -> dict[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride] - by the settings
        """Of a row: ids of words, n-grams and how many each word has, frozen vectors, labels as ids or a number."""
        found = {"words": "<i4", "target": "<f8"}
        if self.settings.subwords:
            found |= {"buckets": "<i4", "counts": "<i4"}
        return found | ({"vectors": "<f2"} if self.settings.bert else {}) | (COLUMNS if self.settings.linear else {})

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

    def build(self) -> SeqToVec | Committee:
        """Embedding, network, pooling and head, with fresh weights; or several of them."""
        width = self._inputs.size if self.settings.bert else None
        members = [classifier_network(self.settings, self.codec, width) for _ in range(self.settings.members)]
        network = Committee(members) if len(members) > 1 else members[0]
        if self.settings.linear:
            network.head.register_buffer("linear_weight", torch.zeros(1))
        return network

    @property
    def _inputs(self) -> Any:
        if self._bert is None:
            from ostinato.tasks.bert_inputs import BertInputs

            self._bert = BertInputs(self.settings, self.settings.device)
        return self._bert

    def learn_codec(self, examples: Callable[[], Iterator[Any]]) -> FusedText:
        """Analyzer, vocabulary and labels of the training part."""
        s = self.settings
        chosen = self._part(AnalyzerSettings).plain()
        if chosen["tokens"] == "auto":
            texts = [example.text for example in islice(examples(), _SAMPLE)]
            chosen["tokens"] = tokens_for(texts, self.reporter.message)
        analyzer = Analyzer(**chosen)
        counts = Counter(word for text in self.unlabelled() for word in analyzer(text))

        def given() -> Iterator[tuple[str, ...]]:
            for example in examples():
                if not s.bert:
                    counts.update(analyzer(example.text))
                yield example.labels

        labels = Labels.learn(s.kind, s.order, given(), self._in_memory or "str")
        words = Vocabulary(["<unk>"]) if s.bert else Vocabulary.of_counts(counts, s.min_count, s.vocabulary_size)
        self._unseen = {}
        many = f"{len(labels.names):,} labels" if labels.names else "numbers"
        self.reporter.message(f"{labels.texts:,} training texts, {many}, {len(words):,} different words")
        linear = fit_linear(analyzer, labels.kind, examples, s.seed, self.reporter.message) if s.linear else None
        return FusedText(analyzer, words, labels, linear)

    def unlabelled(self) -> Iterator[str]:
        """Texts without labels whose words are to be known too."""
        return iter(())

    def encode(self, example: Example) -> Row:
        """Ids of words and labels; a text without words is one unknown word."""
        (row,) = self.encode_all([example])
        return row

    def row(self, tokens: Sequence[str], labels: tuple[str, ...]) -> Row:
        """The same of tokens."""
        row = word_row(tokens, self.codec.words, self.settings.subwords) | {"target": self._target(labels)}
        return row | NO_TERMS if self.settings.linear else row

    def encode_all(self, examples: Sequence[Example]) -> list[Any]:
        """The same of many, which a frozen BERT reads in batches."""
        if self.settings.bert:
            rows = self._encode_by_bert(examples)
        else:
            rows = [self.row(self.codec.analyzer(each.text) or [""], each.labels) for each in examples]
        if self.codec.linear is None:
            return rows
        found = term_rows(self.codec.linear, [example.text for example in examples])
        return [{**row, **terms} for row, terms in zip(rows, found, strict=True)]

    def _encode_by_bert(self, examples: Sequence[Example]) -> list[Row]:
        read = self._inputs.of_texts([example.text for example in examples])
        none = np.zeros((1, self._inputs.size), np.float16)
        return [
            {
                "words": np.zeros(max(len(each.tokens), 1), np.int32),
                "target": self._target(example.labels),
                "vectors": (each.vectors.astype(np.float16) if len(each.tokens) else none).reshape(-1),
            }
            for each, example in zip(read, examples, strict=True)
        ]

    def _target(self, labels: tuple[str, ...]) -> np.ndarray:
        if self.kind == "number":
            return np.array([as_number(labels)] if labels else [])
        known = self.codec.labels_of.ids
        return np.array([known.get(each, -1) if each in known else self._new(each) for each in labels], float)

    def _new(self, label: str) -> int:
        return self._unseen.setdefault(label, len(self.codec.labels) + len(self._unseen))

    def batch(self, rows: Sequence[Row]) -> Texts:
        """Words and targets side by side."""
        lengths = torch.tensor([len(row["words"]) for row in rows])
        given = [row["target"].tolist() for row in rows]
        known = len(self.codec.labels)
        if self.kind == "multi":
            targets = torch.zeros(len(rows), known)
            for row, labels in enumerate(given):
                targets[row, [int(label) for label in labels if label < known]] = 1.0
        elif self.kind == "number":
            targets = torch.tensor([labels[0] if labels else 0.0 for labels in given])
        else:
            ids = [int(labels[0]) if labels and labels[0] < known else IGNORED for labels in given]
            targets = torch.tensor(ids)
        return Texts(TextInputs(rows), lengths, targets, given, rows)

    def parameters(self) -> int:
        """Trained numbers, those of the linear model among them."""
        linear = self.codec.linear
        return count_parameters(self.network) + (0 if linear is None else linear.parameters())

    def size(self) -> str:
        """Trained numbers, and what the linear model has of them."""
        linear = self.codec.linear
        return super().size() + ("" if linear is None else f", and a linear model of {linear.size()}")

    def count(self, batch: Texts) -> int:
        """Texts."""
        return len(batch.lengths)

    def opinions(self, batch: Texts) -> list[Tensor]:
        """What the head of each member says of each text, [batch, outputs]."""
        return [each.head.logits(each(batch.inputs, lengths=batch.lengths)[0]) for each in members_of(self.network)]

    def logits(self, batch: Texts) -> Tensor:
        """What is said of each text, [batch, outputs]: the mean of the members' opinions, and w·s of a linear model."""
        z = torch.stack(self.opinions(batch)).mean(0)
        if self.codec.linear is None or not self.network.head.linear_weight.item():  # 0 until it is fitted
            return z
        return z + self.network.head.linear_weight * self.linear_scores(batch)

    def linear_scores(self, batch: Texts) -> Tensor:
        """s, what the linear model says of each text, [batch, labels]; see `late_fusion`."""
        return torch.from_numpy(linear_scores(self.codec.linear, batch.rows)).to(batch.targets.device)

    def loss(self, batch: Texts) -> Tensor:
        """Σ of the head's loss; with consistency α of two passes ½ (L + L') + α·½ (KL(p‖p') + KL(p'‖p)).

        The passes differ by what dropout leaves out, and are to say the same of a text (Liang et al. 2021, section 2.1;
        their loss is twice this). Of several members the mean.
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
    def measure(self, batches: Iterable[Texts]) -> dict[str, float]:
        """Mean loss, and the figures of the kind of label."""
        figures, total, texts = self.tally(), 0.0, 0
        for batch in batches:
            on_device = self.on_device(batch)
            logits = self.logits(on_device)
            total += float(self.network.head.loss(logits, on_device.targets))
            texts += len(batch.lengths)
            self._add(figures, self.network.head.probabilities(logits).cpu().numpy(), batch.given)
        found = {name: float(value) for name, value in figures.figures().items() if name != "examples"}
        return {"loss": total / max(texts, 1)} | found

    @torch.inference_mode()
    def confusion(self, batches: Iterable[Texts]) -> dict[str, dict[str, int]]:
        """Where a text has one label: the right label → what was told → how often; labels new to it left out.

        Raises:
            SettingsError: if texts have several labels, or a number.
        """
        if self.kind in ("multi", "number"):
            raise SettingsError(f"a confusion matrix is of one label a text; this model's are of kind = {self.kind}")
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
            self.reporter.message(f"validation: labels that no training text has, always missed: {names}")
        return found

    def finish(self, corpus: Prepared) -> dict[str, float]:
        """Settle what the validation examples say; then the linear model, if there is one, learns from them too."""
        linear = self.codec.linear
        if linear is None:
            return self.settle(corpus)
        fit_again(linear, [corpus.train])  # that of a training which has ended before has seen all
        found = self.settle(corpus)
        fit_again(linear, [corpus.train, corpus.validation])
        assert self._folder is not None  # noqa: S101
        self.codec.save(self._folder / bundle.CODEC)
        return found

    def settle(self, corpus: Prepared) -> dict[str, float]:
        """Calibrate probabilities and the threshold on the validation examples, and weigh the linear model there."""
        if self.codec.linear is None:
            found = calibrate(self, corpus.validation) if self.settings.calibrate else {}
        else:
            uncalibrate(self.network.head)
            alone = self.measure(self.batches(corpus.validation))
            found = calibrate(self, corpus.validation)
            found = self.measure(self.batches(corpus.validation)) | found
            found |= {f"network_{name}": alone[name] for name in {"loss", self.criterion}}
            self.reporter.message(
                f"linear: weight {found['linear_weight']:.3f}; validation {self.criterion.replace('_', ' ')} "
                f"{found[self.criterion]:.4f}, by the network alone {alone[self.criterion]:.4f}"
            )
        assert self._folder is not None  # noqa: S101
        self.write_weights(self._folder / bundle.WEIGHTS, {})
        return found

    def scores(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Probabilities of the labels; of kind = number the number."""

        def told(batch: Texts) -> Iterable[np.ndarray]:
            return self.network.head.probabilities(self.logits(batch)).cpu().numpy()

        return map(np.stack, in_batches(self.in_order((Example(text, ()) for text in texts), told)))

    def compare(self, examples: Iterable[Example], confusion: bool = True) -> dict[str, Any]:
        """How well examples are told, as they come; of kind = number, correlation and errors."""
        if self.kind != "number":
            return super().compare(examples, confusion)
        first, second = tee(examples)
        figures = NumberFigures()
        for block in self.scores(example.text for example in first):
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

    def explain(self, texts: Iterable[str]) -> Iterator[list[WordWeight]]:
        """Gradient × input: Σ_d x_{t,d} ∂z/∂x_{t,d}, z the log-odds of a text's best label; see `explaining`."""
        return explain(self, texts)

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The label of each text; where there may be several, a tuple of them; of kind = number the number."""
        if self.kind == "number":
            return np.concatenate([*self.scores(texts), np.zeros((0, 1))])[:, 0]
        return super().predict(texts)

    def score(self, X: Sequence[str], y: Sequence[Any], sample_weight: Any = None) -> float:  # noqa: N803 - theirs
        """The share of texts X that get their labels y and no others; of kind = number, R² (`sklearn.metrics`)."""
        if self.kind == "number":
            return float(r2_score(y, self.predict(X), sample_weight=sample_weight))
        return super().score(X, y, sample_weight)

    def rank(self, texts: Iterable[str], top: int = 1) -> Iterator[Prediction]:
        """The best labels of each text with their scores; of kind = number, `value` with the number."""
        if self.kind == "number":
            return (Prediction(["value"], [float(row[0])]) for block in self.scores(texts) for row in block)
        return super().rank(texts, top)
