"""Acceptability: is this a well-formed sentence? By a trained classifier, its threshold chosen for Matthews' MCC."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from ostinato import bundle
from ostinato.errors import DataError
from ostinato.records import Record
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.classifier_settings import ClassifierSettings
from ostinato.tasks.classifying import PredictSettings
from ostinato.tasks.committee import members_of
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings
from ostinato.tasks.labelling import LabelledBatch
from ostinato.tasks.late_fusion import FusedText
from ostinato.tasks.real_sentences import RealSettings, learn_real_sentences, real_lines, write_real_sentences
from ostinato.tasks.supervised import Prepared

_TRAINED_BIAS = "trained_bias"  # a note beside the weights: of *acceptable*, before the border was moved
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


class Acceptability(Classifier):
    r"""A classifier whose border is where Matthews' correlation with the validation examples is highest.

    With p = P(acceptable) at the calibrated temperature and τ the best threshold, the score of a sentence is
    σ(log-odds p − log-odds τ), so that above ½ is acceptable. Labels are 0 and 1, or any two, the later by the alphabet
    being *acceptable*.

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

    def learn_codec(self, examples: Callable[[], Iterator[Example]]) -> FusedText:
        """As of any classifier, of two labels; its words are also those of the real sentences."""
        codec = super().learn_codec(examples)
        check_labels(codec.labels)
        return codec

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
        return super().measure(held) | {"mcc": self._best(held)[1]}

    @torch.inference_mode()
    def _best(self, batches: Iterable[LabelledBatch]) -> tuple[float, float]:
        """The border of p, and Matthews' correlation there."""
        p, right = [], []
        for batch in batches:
            p.append(self.network.head.probabilities(self.logits(self.on_device(batch)))[:, 1].cpu().numpy())
            right += [labels[0] == 1 for labels in batch.given]
        return best_mcc(np.concatenate(p).astype(float), np.array(right))

    @torch.inference_mode()
    def settle(self, corpus: Prepared) -> dict[str, float]:
        """Calibrate, then move the border, from the bias as it was trained: a finished training may come here again."""
        assert self._folder is not None  # noqa: S101
        path, biases = self._folder / bundle.WEIGHTS, [each.head.linear.bias for each in members_of(self.network)]
        if _TRAINED_BIAS in (notes := bundle.read_tensors(path)[1]):
            for bias, before in zip(biases, json.loads(notes[_TRAINED_BIAS]), strict=True):
                bias[1] = before
        found, trained = super().settle(corpus), [bias[1].item() for bias in biases]
        threshold, mcc = self._best(self.batches(corpus.validation))
        threshold = min(max(threshold, 1e-6), 1 - 1e-6)
        for bias in biases:
            bias[1] -= float(self.network.head.temperature) * math.log(threshold / (1 - threshold))
        self.write_weights(path, {_TRAINED_BIAS: json.dumps(trained)})
        return found | {"threshold": threshold, "mcc": mcc}


def best_mcc(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The threshold above which *yes* agrees best with what is right, and Matthews' correlation there.

    MCC = (tp·tn − fp·fn) / √((tp + fp)(tp + fn)(tn + fp)(tn + fn)) (Matthews 1975), at each border between two scores.

    >>> best_mcc(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, True, True]))
    (0.25, 1.0)
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], right[order].astype(float)
    tp, told = hits.cumsum(), np.arange(1, len(hits) + 1)
    yes, n = hits.sum(), len(hits)
    fp, fn = told - tp, yes - tp
    tn = n - yes - fp
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    mcc = np.where(spread > 0, (tp * tn - fp * fn) / np.maximum(spread, 1e-300), 0.0)
    mcc[:-1][scores[1:] == scores[:-1]] = -2.0  # equal scores are told alike
    best = int(mcc.argmax())
    below = scores[best + 1] if best + 1 < n else scores[best] - 1.0
    return float((scores[best] + below) / 2), float(max(mcc[best], -1.0))
