"""Classification by a network: texts to one label, several, one in an order, or a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato import bundle
from ostinato.analysis import Analyzer, AnalyzerSettings, tokens_for
from ostinato.codecs.labelled_text import Labels
from ostinato.codecs.vocabulary import Vocabulary
from ostinato.tasks.calibrating import uncalibrate
from ostinato.tasks.classifier_network import classifier_network
from ostinato.tasks.classifier_settings import ClassifierSettings
from ostinato.tasks.classifying import WordWeight
from ostinato.tasks.committee import Committee
from ostinato.tasks.examples import Example
from ostinato.tasks.explaining import explain
from ostinato.tasks.labelling import LabelledBatch, LabellingModel
from ostinato.tasks.late_fusion import COLUMNS, NO_TERMS, FusedText, fit_again, fit_linear, linear_scores, term_rows
from ostinato.tasks.supervised import Prepared, Row
from ostinato.tasks.text_inputs import TextInputs, word_row
from ostinato.topologies import SeqToVec, count_parameters

_SAMPLE = 1000  # texts that are looked through for Chinese


class Classifier(LabellingModel):
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

    @property
    def columns(self) -> dict[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride] - by the settings
        """Of a row: ids of words, n-grams and how many each word has, frozen vectors, labels as ids or a number."""
        found = {"words": "<i4", "target": "<f8"}
        if self.settings.subwords:
            found |= {"buckets": "<i4", "counts": "<i4"}
        return found | ({"vectors": "<f2"} if self.settings.bert else {}) | (COLUMNS if self.settings.linear else {})

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
        row = word_row(tokens, self.codec.words, self.settings.subwords) | {"target": self.target(labels)}
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
                "target": self.target(example.labels),
                "vectors": (each.vectors.astype(np.float16) if len(each.tokens) else none).reshape(-1),
            }
            for each, example in zip(read, examples, strict=True)
        ]

    def batch(self, rows: Sequence[Row]) -> LabelledBatch:
        """Words and targets side by side."""
        lengths = torch.tensor([len(row["words"]) for row in rows])
        given = [row["target"].tolist() for row in rows]
        return LabelledBatch(TextInputs(rows), lengths, self.targets(given), given, rows)

    def asked(self, sequence: str) -> Example:
        """A text without a label."""
        return Example(sequence, ())

    def parameters(self) -> int:
        """Trained numbers, those of the linear model among them."""
        linear = self.codec.linear
        return count_parameters(self.network) + (0 if linear is None else linear.parameters())

    def size(self) -> str:
        """Trained numbers, and what the linear model has of them."""
        linear = self.codec.linear
        return super().size() + ("" if linear is None else f", and a linear model of {linear.size()}")

    def logits(self, batch: LabelledBatch) -> Tensor:
        """What is said of each text, [batch, outputs]: the mean of the members' opinions, and w·s of a linear model."""
        z = super().logits(batch)
        if self.codec.linear is None or not self.network.head.linear_weight.item():  # 0 until it is fitted
            return z
        return z + self.network.head.linear_weight * self.linear_scores(batch)

    def linear_scores(self, batch: LabelledBatch) -> Tensor | None:
        """s, what the linear model says of each text, [batch, labels]; see `late_fusion`."""
        if self.codec.linear is None:
            return None
        return torch.from_numpy(linear_scores(self.codec.linear, batch.rows)).to(batch.targets.device)

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
            return super().settle(corpus)
        uncalibrate(self.network.head)
        alone = self.measure(self.batches(corpus.validation))
        found = super().settle(corpus)
        found = self.measure(self.batches(corpus.validation)) | found
        found |= {f"network_{name}": alone[name] for name in {"loss", self.criterion}}
        self.reporter.message(
            f"linear: weight {found['linear_weight']:.3f}; validation {self.criterion.replace('_', ' ')} "
            f"{found[self.criterion]:.4f}, by the network alone {alone[self.criterion]:.4f}"
        )
        return found

    def explain(self, texts: Iterable[str]) -> Iterator[list[WordWeight]]:
        """Gradient × input: Σ_d x_{t,d} ∂z/∂x_{t,d}, z the log-odds of a text's best label; see `explaining`."""
        return explain(self, texts)
