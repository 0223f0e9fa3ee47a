"""Acceptability by a language model: a sentence is as well formed as it is probable, by length and by its words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from ostinato import bundle
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features.matrices import in_batches
from ostinato.files import write_text
from ostinato.tasks.acceptability import (
    AcceptabilityReader,
    SentencePredictSettings,
    SentenceSettings,
    check_labels,
)
from ostinato.tasks.at_once import ModelAtOnce
from ostinato.tasks.classifying import ClassifyingModel, WordWeight
from ostinato.tasks.matthews import best_mcc
from ostinato.tasks.parts import parts
from ostinato.tasks.sentence_measures import MEASURES, SentenceMeasures, ngrams_of, unigram_log_probabilities
from ostinato.tasks.writing import WritingModel

_MODEL, _LABELS = "language-model", "labels.json"


class AcceptabilityScoreSettings(SentenceSettings):
    """All that can be set about judging by a language model."""

    language_model: str | None = Field(
        None, description="folder of a language model [default: n-grams of the acceptable training sentences]"
    )
    measure: Literal["slor", "mean", "worst"] = Field(
        "slor", description="mean log p of a token; SLOR, that less a unigram's; or the worst token's, less a unigram's"
    )
    ngram_order: int = Field(3, ge=1, description="tokens of the longest n-gram, where no language model is given")
    seed: int = Field(0, ge=0, description="of the examples drawn for validation")


@dataclass(frozen=True)
class LanguageModelJudge:
    """A language model with the names of two labels.

    Args:
        model: the language model.
        labels: *not acceptable*, *acceptable*.
        python: what labels are in Python.
    """

    model: WritingModel
    labels: tuple[str, ...]
    python: str = "str"
    several: bool = False

    def save(self, folder: Path) -> None:
        """Write it into a folder; the language model is a bundle of its own in it."""
        folder.mkdir(exist_ok=True)
        if not (folder / _MODEL).exists():
            self.model.save(folder / _MODEL)
        write_text(folder / _LABELS, json.dumps({"labels": self.labels, "python": self.python}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        from ostinato.tasks import load  # which knows this module

        about, model = bundle.read_json(folder / _LABELS), load(folder / _MODEL)
        labels = about.get("labels")
        if not isinstance(labels, list) or len(labels) != 2 or not isinstance(model, WritingModel):
            raise BundleError(f"{folder / _LABELS}: damaged: expected the key labels, a list of two")
        return cls(model, tuple(map(str, labels)), str(about.get("python", "str")))


class AcceptabilityScore(  # pyright: ignore[reportIncompatibleMethodOverride] - fit takes labels
    ClassifyingModel, ModelAtOnce
):
    r"""A sentence s of n tokens is acceptable if its score is above a threshold (Lau, Clark & Lappin 2017, section 3).

    | measure | score |
    |---|---|
    | `mean` | log p(s) / n |
    | `slor` | (log p(s) − log p_u(s)) / n, p_u the product of the unigram probabilities of its tokens |
    | `worst` | the least of log p(w_t | w_<t) − log p_u(w_t) |

    The threshold is where Matthews' correlation with the validation examples is highest; labels are as of
    `Acceptability`. Unigram probabilities are relative frequencies in the acceptable training sentences, one being
    added to each count.

    Args:
        settings: by name, see `AcceptabilityScoreSettings`.

    >>> good, bad = ["the cat sat", "a dog ran", "the dog sat"], ["cat the sat", "ran a dog", "sat dog the"]
    >>> model = AcceptabilityScore(measure="mean").fit((good + bad) * 20, [1, 1, 1, 0, 0, 0] * 20)
    >>> model.predict(["a dog sat", "sat a the"]).tolist()
    [1, 0]
    """

    task = "acceptability-score"
    PredictSettings = SentencePredictSettings
    reader_type = AcceptabilityReader
    Settings = AcceptabilityScoreSettings
    codec_type = LanguageModelJudge
    _tensors: dict[str, np.ndarray] | None = None

    def learn(
        self, corpus: Sequence[str], validation: Sequence[str], folder: Path, tell: Callable[[str], None]
    ) -> None:
        """Take or make a language model, count words, choose the threshold."""
        s, started = self.settings, time.monotonic()
        train, held_out, self.data = parts(
            corpus, validation, self.reader, s.validation_fraction, s.seed, folder / bundle.RUN
        )
        labels = tuple(sorted({label for example in train() for label in example.labels}))
        check_labels(labels)

        def acceptable() -> Iterator[str]:
            return (" ".join(example.text.split()) for example in train() if example.labels == labels[1:])

        model = self._language_model(acceptable, tell)
        self._codec = LanguageModelJudge(model, labels, self._in_memory or "str")
        self._codec.save(folder / bundle.CODEC)
        self._tensors = {"unigram": unigram_log_probabilities(model, acceptable()), "threshold": np.zeros(1)}
        judged = [(score, example.labels) for score, example in self._judged(held_out)]
        if len({labels for _, labels in judged}) < 2:
            raise DataError("the validation examples have one label: the threshold needs both; give more, or others")
        scores = np.array([score for score, _ in judged])
        threshold, mcc = best_mcc(scores, np.array([given == labels[1:] for _, given in judged]))
        self._tensors["threshold"][0] = threshold
        self.metrics = {"validation_mcc": mcc, "validation_examples": len(judged), "threshold": threshold}
        self.metrics |= {"training_seconds": round(time.monotonic() - started, 1)}
        self.data |= {"train_examples": sum(1 for _ in train())}

    def _language_model(self, acceptable: Callable[[], Iterator[str]], tell: Callable[[str], None]) -> WritingModel:
        from ostinato.tasks import load  # which knows this module

        if self.settings.language_model is not None:
            model = load(self.settings.language_model)
            if not isinstance(model, WritingModel):
                raise SettingsError(f"language_model = {self.settings.language_model}: it is a {model.task}")
            return model
        return ngrams_of(acceptable, self.settings.ngram_order, tell)

    def _judged(self, examples: Callable[[], Iterator[Any]]) -> Iterator[tuple[float, Any]]:
        return zip(chain.from_iterable(self._raw(e.text for e in examples())), examples(), strict=True)

    @property
    def _measures(self) -> SentenceMeasures:
        return SentenceMeasures(self.codec.model, self.tensors["unigram"])

    def _raw(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The measure of each text, in blocks; what has no token is as bad as can be."""
        measures, column = self._measures, MEASURES.index(self.settings.measure)
        for block in in_batches(texts):
            found = np.stack([measures.of(text) for text in block])
            yield np.where(found[:, MEASURES.index("length")] > 0, found[:, column], -30.0)

    def _words(self, text: str) -> list[WordWeight]:
        """What each token adds to the score; of `mean` and `slor` before it is divided by their number."""
        spans, shares = self._measures.shares(text)
        own = shares[:, MEASURES.index(self.settings.measure)]
        values = own if self.settings.measure == "worst" else own * len(spans)
        return [WordWeight(*span, float(value)) for span, value in zip(spans, values, strict=True)]

    def scores(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """How far below the threshold, and how far above it."""
        for found in self._raw(texts):
            above = found - self.tensors["threshold"][0]
            yield np.stack([-above, above], axis=1)

    def explain(self, texts: Iterable[str]) -> Iterator[list[WordWeight]]:
        """What each token adds to the sum whose mean is the score; places are in the text with single blanks."""
        return map(self._words, texts)

    @property
    def threshold(self) -> float:
        """Of the scores: they are distances from it."""
        return 0.0

    @property
    def probabilistic(self) -> bool:
        """They are none."""
        return False

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Threshold, and log p of each token alone.

        Raises:
            SettingsError: before `fit`.
        """
        if self._tensors is None:
            raise SettingsError(f"this {type(self).__name__} has not been trained: call fit first")
        return self._tensors

    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write threshold and unigrams, whole or not at all."""
        bundle.write_tensors(path, self.tensors, notes)

    def load_weights(self, path: Path, device: str) -> None:  # noqa: ARG002 - the language model is where it was loaded
        """Read them."""
        tensors = bundle.read_tensors(path)[0]
        sizes = {name: tensor.shape for name, tensor in tensors.items()}
        if sizes != {"unigram": (len(self.codec.model.codec),), "threshold": (1,)}:
            raise BundleError(f"{path}: does not fit codec/: found {sizes}")
        self._tensors = tensors

    def size(self) -> str:
        """That of the language model."""
        return f"{self.codec.model.size()}, and a threshold"
