"""Classification by a linear model on TF-IDF n-grams: the baseline that a network must beat, trained in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ostinato import bundle
from ostinato.analysis import Analyzer, AnalyzerSettings, tokens_for
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features import TfIdf
from ostinato.features.labelled import LabelledTerms
from ostinato.features.tf_idf import TfIdfSettings
from ostinato.one_against_rest import OneAgainstRest
from ostinato.tasks.at_once import ModelAtOnce
from ostinato.tasks.classifying import ClassifyingModel
from ostinato.tasks.examples import Example, ExampleSettings
from ostinato.tasks.parts import parts

_SAMPLE = 1000  # texts that are looked through for Chinese


class LinearClassifierSettings(TfIdfSettings, AnalyzerSettings, ExampleSettings):
    """All that can be set about a linear classifier."""

    loss: Literal["squared_hinge", "logistic"] = Field(
        "squared_hinge", description="a support vector machine's, or logistic, which makes scores probabilities"
    )
    C: float = Field(0.3, gt=0, description="weight of an example's loss against the squares of the weights")
    seed: int = Field(0, ge=0, description="of the examples drawn for validation, and of the solver")
    ngram_range: tuple[int, int] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - never None
        (1, 2), description="fewest and most words of a term [default: 1,2, or 1,1 with char_ngrams]"
    )
    tokens: Literal["auto", "words", "whitespace", "characters", "chinese"] = Field(
        "auto", description="what a word is; auto: chinese if a text is, and rjieba is installed, else words"
    )
    min_df: int | float = Field(2, ge=0, description="leave out terms of fewer examples; with a point, a share of them")
    tf: Literal["count", "frequency", "sublinear", "binary"] | None = Field(
        "sublinear", description="the weight of a term in a text"
    )

    @model_validator(mode="before")
    @classmethod
    def _characters_instead(cls, values: Any) -> Any:
        return {"ngram_range": (1, 1)} | values if values.get("char_ngrams") else values


class LinearClassifier(ClassifyingModel, ModelAtOnce):  # pyright: ignore[reportIncompatibleMethodOverride] - fit takes labels
    r"""One linear score a label, see `OneAgainstRest`, of the TF-IDF vector of a text.

    Args:
        settings: by name, see `LinearClassifierSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text("label,text\n" + "good,a fine fish\nbad,a stale fish\n" * 20)
    >>> model = LinearClassifier().fit(path, progress=False)
    >>> model.predict(["fine", "how stale"]).tolist()
    ['good', 'bad']
    """

    task = "linear-classifier"
    Settings = LinearClassifierSettings
    codec_type = LabelledTerms
    _linear: OneAgainstRest | None = None

    def learn(
        self, corpus: Sequence[str], validation: Sequence[str], folder: Path, tell: Callable[[str], None]
    ) -> None:
        """Read, count, fit a weight vector a label, and measure."""
        s = self.settings
        train, held_out, about = parts(
            corpus, validation, self.reader, s.validation_fraction, s.seed, folder / bundle.RUN
        )
        self.learn_from(train, tell)
        self._codec.save(folder / bundle.CODEC)
        self.metrics |= {
            f"validation_{name}": value for name, value in self.compare(held_out(), confusion=False).items()
        }
        self.data = about | self.data

    def learn_from(self, examples: Callable[[], Iterator[Example]], tell: Callable[[str], None]) -> Self:
        """Count, and fit a weight vector a label, without measuring.

        Args:
            examples: reads them from the beginning.
            tell: gets what the user should know.

        Raises:
            DataError: if there is one label only, or no term.
        """
        s = self.settings
        given: list[tuple[str, ...]] = []

        def texts() -> Iterator[str]:
            for example in examples():
                given.append(example.labels)
                yield example.text

        started = time.monotonic()
        features = self._features([example.text for example in islice(examples(), _SAMPLE)], tell)
        x = features.fit_transform(texts())
        labels: tuple[str, ...] = tuple(sorted({label for each in given for label in each}))
        if len(labels) < 2:
            raise DataError(
                f"all {len(given):,} examples have one label, {''.join(labels)!r}: there is nothing to tell apart"
            )
        tell(f"{len(given):,} examples, {len(labels):,} labels, {x.shape[1]:,} terms")
        self._linear = OneAgainstRest.fit(x, given, labels, s.loss, s.C, s.seed, tell)
        self._codec = LabelledTerms(features, labels, any(len(each) > 1 for each in given), self._in_memory or "str")
        self.metrics = {"training_seconds": round(time.monotonic() - started, 1)}
        self.data = {"train_examples": len(given), "labels": len(labels), "terms": x.shape[1]}
        return self

    def _features(self, sample: list[str], tell: Callable[[str], None]) -> TfIdf:
        chosen = self._part(AnalyzerSettings).plain()
        if chosen["tokens"] == "auto":
            chosen["tokens"] = tokens_for(sample, tell)
        return TfIdf(Analyzer(**chosen), **self._part(TfIdfSettings).plain())

    def scores(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Distances from each label's border, or with loss = logistic its probability."""
        for x in self.codec.features.stream(texts):
            yield self.linear.scores(x, self.settings.loss)

    @property
    def threshold(self) -> float:
        """Of the scores."""
        return 0.5 if self.settings.loss == "logistic" else 0.0

    @property
    def probabilistic(self) -> bool:
        """With loss = logistic."""
        return self.settings.loss == "logistic"

    @property
    def linear(self) -> OneAgainstRest:
        """The weights.

        Raises:
            SettingsError: before `fit`.
        """
        if self._linear is None:
            raise SettingsError(f"this {type(self).__name__} has not been trained: call fit first")
        return self._linear

    def set_weights(self, weights: OneAgainstRest) -> None:
        """Take others, of the same terms and labels."""
        self._linear = weights

    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write the weights, whole or not at all."""
        bundle.write_tensors(path, self.linear.tensors(), notes)

    def load_weights(self, path: Path, device: str) -> None:
        """Read the weights."""
        if device not in ("cpu", "auto"):
            raise SettingsError(f"device = {device!r}: a linear classifier runs on the CPU")
        terms = len(self.codec.features.get_feature_names_out())
        try:
            self._linear = OneAgainstRest.from_tensors(bundle.read_tensors(path)[0], terms, len(self.labels))
        except ValueError as error:
            raise BundleError(f"{path}: does not fit codec/: {error}") from None

    def parameters(self) -> int:
        """Trained numbers."""
        return self.linear.weight.size + self.linear.bias.size

    def size(self) -> str:
        """How many weights."""
        return f"{self.linear.weight.shape[0]:,} terms × {len(self.labels):,} labels"

    def sample(self) -> str:
        """The terms that speak most for each of some labels."""
        terms = self.codec.features.get_feature_names_out()
        best = np.argsort(-self.linear.weight[:, :8], axis=0, kind="stable")[:8].T
        return "\n".join(f"{label}: {', '.join(terms[each])}" for label, each in zip(self.labels, best, strict=False))
