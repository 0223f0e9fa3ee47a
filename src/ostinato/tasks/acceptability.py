"""Acceptability: is this a well-formed sentence? By a trained classifier, its threshold chosen for Matthews' MCC."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from sklearn.metrics import matthews_corrcoef
from torch import Tensor

from ostinato import bundle
from ostinato.analysis import Span
from ostinato.errors import DataError
from ostinato.records import Record
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.classifier_settings import ClassifierSettings
from ostinato.tasks.classifying import PredictSettings, WordWeight
from ostinato.tasks.committee import members_of
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings
from ostinato.tasks.labelling import LabelledBatch
from ostinato.tasks.late_fusion import FusedText
from ostinato.tasks.matthews import best_mcc, expected_mcc
from ostinato.tasks.real_sentences import RealSettings, learn_real_sentences, real_lines, write_real_sentences
from ostinato.tasks.sentence_measures import (
    MEASURES,
    SentenceMeasures,
    join,
    ngrams_of,
    share_out,
    unigram_log_probabilities,
)
from ostinato.tasks.supervised import Prepared, Row

_TRAINED_BIAS = "trained_bias"  # a note beside the weights: of *acceptable*, before the border was moved
_REAL = "real"  # of the codec: the language model of real sentences
_COLA = ["1", "2", "3", "4"]  # source, label, the author's mark, sentence


class AcceptabilityReader(ExampleReader):
    r"""Labelled sentences; of four columns without names, as CoLA has, the second is the label, the fourth the text.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "cola.tsv"
    >>> _ = path.write_text("gj04\t1\t\tHe left.\ngj04\t0\t*\tHe leave left.\n")
    >>> list(AcceptabilityReader([path], ExampleSettings(header=False)).examples())
    [Example(text='He left.', labels=('1',)), Example(text='He leave left.', labels=('0',))]
    """

    def text_of(self, record: Record) -> str:
        """The sentence."""
        if self.settings.text is None and list(record.fields) == _COLA:
            return record.text(_COLA[3])
        return super().text_of(record)

    def label_column(self, record: Record) -> str:
        """Where the label stands."""
        return (
            _COLA[1] if self.settings.label is None and list(record.fields) == _COLA else super().label_column(record)
        )


class SentenceSettings(ExampleSettings):
    """How labelled sentences are read."""

    header: bool = Field(False, description="the first row of a table names its columns; CoLA's files have no such row")


class AcceptabilitySettings(RealSettings, SentenceSettings, ClassifierSettings):
    """All that can be set about a classifier of sentences."""

    kind: Literal["single"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - no other
        "single", description="of label"
    )
    criterion: str | None = Field("mcc", description="chooses the best epoch: mcc, accuracy, f1_macro or loss")
    subwords: int = Field(10_000, ge=0, description="buckets for n-grams of 3 to 5 characters, beside each word")
    # a small network: thousands of sentences are few, and a larger one learns them by heart
    hidden_size: int = Field(64, ge=1, description="units of a layer, of each direction")
    pooling: Literal["last", "mean", "max", "attention", "labels"] | None = Field(
        "attention", description="of the steps to a vector"
    )
    word_dropout: float = Field(0.2, ge=0, lt=1, description="share of words taken for unknown in training")
    batch_size: int = Field(64, ge=1, description="sequences side by side")
    learning_rate: float | Literal["auto"] = Field(0.003, description="peak rate; auto: found by a short sweep")
    epochs: int = Field(8, ge=1, description="passes over the training data")

    @model_validator(mode="after")
    def _embed_real_sentences(self) -> Self:
        if self.bert is not None and self.passes:
            raise ValueError("real: its words are learned, and with bert there are none to learn")
        if self.real_ngrams and self.real is None:
            raise ValueError("real_ngrams: of which sentences? name a file of them with real")
        return self


class SentencePredictSettings(PredictSettings):
    """How sentences are read, and what is said of them."""

    header: bool = Field(False, description="the first row of a table names its columns; CoLA's files have no such row")


def check_labels(labels: Sequence[str]) -> None:
    """Refuse what is no judgement.

    Raises:
        DataError: unless there are two labels; the later by the alphabet, 1 after 0, is *acceptable*.
    """
    if len(labels) != 2:
        raise DataError(f"{len(labels)} labels, {', '.join(labels[:5])}: a sentence is acceptable (1) or not (0)")


@dataclass(frozen=True)
class JudgedText(FusedText):
    """Words as ids, labels, perhaps a linear model, and perhaps what n-grams of real sentences say.

    Args:
        analyzer, words, labels_of, linear: as of `FusedText`.
        measures: by a language model of real sentences.
    """

    measures: SentenceMeasures | None = None

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        super().save(folder)
        if self.measures is not None:
            self.measures.save(folder / _REAL)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        found = super().load(folder)
        return replace(found, measures=SentenceMeasures.load(folder / _REAL)) if (folder / _REAL).exists() else found


class Acceptability(Classifier):
    r"""A classifier whose border is where Matthews' correlation is expected to be highest.

    With z the log-odds of *acceptable* by the network, and g what n-grams of real sentences say (`real_ngrams`, see
    `SentenceMeasures`), p = σ(a·z + v·g + c), fitted to the validation examples. The threshold τ is where the
    correlation that these p let expect is highest, and the score of a sentence σ(log-odds p − log-odds τ), so that
    above ½ is acceptable. Labels are 0 and 1, or any two, the later by the alphabet being *acceptable*.

    Args:
        settings: by name, see `AcceptabilitySettings`.

    >>> good, bad = ["the cat sat", "a dog ran", "the dog sat"], ["cat the sat", "ran a dog", "sat dog the"]
    >>> model = Acceptability(hidden_size=8, epochs=8, learning_rate=0.02, dropout=0.0, word_dropout=0.0, subwords=0)
    >>> model = model.fit((good + bad) * 20, [1, 1, 1, 0, 0, 0] * 20)
    >>> model.predict(["a dog sat"]).tolist()
    [1]
    """

    task = "acceptability"
    Settings = AcceptabilitySettings
    PredictSettings = SentencePredictSettings
    reader_type = AcceptabilityReader
    codec_type = JudgedText

    @property
    def columns(self) -> dict[str, str]:
        """Of a row: as of any classifier, and the measures."""
        return super().columns | ({"measures": "<f4"} if self.settings.real_ngrams else {})

    def build(self) -> Any:
        """As of any classifier; of each measure the weight is 0 until it is fitted."""
        network = super().build()
        if self.settings.real_ngrams:
            network.head.register_buffer("measure_weights", torch.zeros(len(MEASURES)))
        return network

    def learn_codec(self, examples: Callable[[], Iterator[Example]]) -> JudgedText:
        """As of any classifier, of two labels; its words are also those of the real sentences."""
        s, codec = self.settings, super().learn_codec(examples)
        check_labels(codec.labels)
        measures = None
        if s.real_ngrams:

            def sentences() -> Iterator[str]:
                judged = (each.text for each in examples() if each.labels == (codec.labels[1],))
                return (" ".join(text.split()) for text in chain(real_lines(s.real, s), judged))

            model = ngrams_of(sentences, s.real_ngrams, self.reporter.message, codec.analyzer.lowercase)
            measures = SentenceMeasures(model, unigram_log_probabilities(model, sentences()))
        return JudgedText(codec.analyzer, codec.words, codec.labels_of, codec.linear, measures)

    def row(self, tokens: Sequence[str], labels: tuple[str, ...]) -> Row:
        """As of any classifier, its measures not known."""
        row = super().row(tokens, labels)
        return {**row, "measures": np.zeros(len(MEASURES), np.float32)} if self.settings.real_ngrams else row

    def encode_all(self, examples: Sequence[Example]) -> list[Any]:
        """As of any classifier, with the measures."""
        rows, measures = super().encode_all(examples), self.codec.measures
        if measures is None:
            return rows
        return [{**row, "measures": measures.of(each.text)} for row, each in zip(rows, examples, strict=True)]

    def logits(self, batch: LabelledBatch) -> Tensor:
        """As of any classifier; to that of *acceptable* comes v·g."""
        z = super().logits(batch)
        if self.codec.measures is None or not self.network.head.measure_weights.any():
            return z
        gained = self._measured(batch).to(z.device) @ self.network.head.measure_weights
        return torch.stack([z[:, 0], z[:, 1] + gained], 1)

    @staticmethod
    def _measured(batch: LabelledBatch) -> Tensor:
        return torch.from_numpy(np.stack([row["measures"] for row in batch.rows]))

    def explain(self, texts: Iterable[str]) -> Iterator[list[WordWeight]]:
        """As of any classifier, and a word's part of v·g; with measures, places are in the text with single blanks."""
        if (measures := self.codec.measures) is None:
            yield from super().explain(texts)
            return
        weights = self.network.head.measure_weights.cpu().numpy() / float(self.network.head.temperature)
        for text in (" ".join(each.split()) for each in texts):
            (found,) = super().explain([text])
            spans, shares = measures.shares(text)
            accepted = float(next(self.scores([text]))[0, 1]) > 0.5
            own = shares @ weights * (1.0 if accepted else -1.0)
            parts = share_out(spans, own, [Span(each.word, each.start, each.end) for each in found])
            yield [each._replace(weight=each.weight + float(part)) for each, part in zip(found, parts, strict=True)]

    def unlabelled(self) -> Iterator[str]:
        """The lines of `real`, if there are any."""
        s = self.settings
        return iter(()) if s.real is None or not s.passes else real_lines(s.real, s)

    def prepare_more(self, examples: Callable[[], Iterator[Example]], run: Path) -> dict[str, Any]:
        """Real sentences, the acceptable ones of the training part among them, and such with mistakes."""
        if not self.settings.passes:
            return {}
        judged = (each.text for each in examples() if each.labels == (self.codec.labels[1],))
        return write_real_sentences(self, chain(self.unlabelled(), judged), run)

    def begin(self, corpus: Prepared, folder: Path) -> None:
        """Learn from real sentences, if that is wanted."""
        if self.settings.passes:
            self.data |= learn_real_sentences(self, corpus, folder)

    def measure(self, batches: Iterable[LabelledBatch]) -> dict[str, float]:
        """As of any classifier, but Matthews' correlation at the best border: that chooses the best epoch."""
        held = list(batches)
        p, _, right = self._judged(held)
        return super().measure(held) | {"mcc": best_mcc(p, right)[1]}

    @torch.inference_mode()
    def _judged(self, batches: Iterable[LabelledBatch]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """p, g, and what is right."""
        p, g, right = [], [], []
        for batch in batches:
            p.append(self.network.head.probabilities(self.logits(self.on_device(batch)))[:, 1].cpu().numpy())
            g.append(self._measured(batch).numpy() if self.codec.measures else np.zeros((len(batch.rows), 0)))
            right += [labels[0] == 1 for labels in batch.given]
        return np.concatenate(p).astype(float), np.concatenate(g), np.array(right)

    @torch.inference_mode()
    def settle(self, corpus: Prepared) -> dict[str, float]:
        """Calibrate, join the measures, move the border; a finished training may come here again."""
        assert self._folder is not None  # noqa: S101
        head, path = self.network.head, self._folder / bundle.WEIGHTS
        biases = [each.head.linear.bias for each in members_of(self.network)]
        if _TRAINED_BIAS in (notes := bundle.read_tensors(path)[1]):
            for bias, before in zip(biases, json.loads(notes[_TRAINED_BIAS]), strict=True):
                bias[1] = before
        if self.codec.measures is not None:
            head.measure_weights.zero_()
        found, trained = super().settle(corpus), [bias[1].item() for bias in biases]
        p, g, right = self._judged(self.batches(corpus.validation))
        joined = join(log_odds(p), g, right)
        head.temperature.div_(joined.scale)
        t = float(head.temperature)
        if self.codec.measures is not None:
            head.measure_weights.copy_(torch.from_numpy(joined.weights * t))
        for bias in biases:
            bias[1] += joined.bias * t
        p = self._judged(self.batches(corpus.validation))[0]
        found |= {"calibration_error": self.measure(self.batches(corpus.validation))["calibration_error"]}
        threshold = min(max(expected_mcc(p)[0], 1e-6), 1 - 1e-6)
        for bias in biases:
            bias[1] -= t * math.log(threshold / (1 - threshold))
        self.write_weights(path, {_TRAINED_BIAS: json.dumps(trained)})
        told = matthews_corrcoef(right, p > threshold)
        return found | {"temperature": t, "bias": joined.bias, "threshold": threshold, "mcc": float(told)}


def log_odds(p: np.ndarray) -> np.ndarray:
    """The log-odds of probabilities, log p / (1 − p); 0 and 1 are taken for nearly so."""
    inside = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(inside) - np.log1p(-inside)
