"""All that can be set about a classifier by a network, and the networks that have a name."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ostinato.analysis import AnalyzerSettings
from ostinato.errors import SettingsError, nearest
from ostinato.settings import Settings
from ostinato.tasks.bert_inputs import BertInputSettings
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.examples import ExampleSettings
from ostinato.tasks.recurrent_settings import WholeSequenceSettings
from ostinato.training.settings import TrainingSettings

NETWORKS: dict[str, dict[str, Any]] = {
    "recurrent": {},
    "mlp": {"network": "mlp"},
    "cnn": {"network": "cnn"},
    "rnn": {"cell": "rnn", "bidirectional": False, "num_layers": 1},
    "gru": {"cell": "gru", "bidirectional": False, "num_layers": 1},
    "lstm": {"cell": "lstm", "bidirectional": False, "num_layers": 1},
    "bilstm": {"cell": "lstm", "bidirectional": True, "num_layers": 1},
    "deep-bilstm": {"cell": "lstm", "bidirectional": True, "num_layers": 3},
}
"""Name → the settings that it stands for."""

_RECURRENT = (
    "cell", "num_layers", "bidirectional", "weight_init", "recurrent_init", "forget_bias", "layer_norm", "batch_norm",
    "beside",
)  # fmt: skip
_OF_NETWORK = {"mlp": ("hidden_size",), "cnn": ("filters", "widths"), "recurrent": (*_RECURRENT, "hidden_size")}
CRITERIA = {
    "single": ("accuracy", "loss", "mcc", "f1_macro"),
    "multi": ("f1_micro", "loss", "precision_at_1", "f1_macro", "accuracy"),
    "ordinal": ("kappa", "loss", "accuracy", "mean_absolute_error", "f1_macro", "mcc"),
    "number": ("pearson", "loss", "mean_absolute_error", "root_mean_square_error"),
}
"""Kind of label → the figures that can choose the best epoch, the usual one first."""


class LabelSettings(Settings):
    """What labels are, what they count, and what chooses the best epoch by them."""

    kind: Literal["auto", "single", "multi", "ordinal", "number"] = Field(
        "auto", description="of label: one each, any number, one in an order, a number; auto: multi if one has two"
    )
    order: list[str] | None = Field(None, description="ordinal: labels, the least first [default: by their value]")
    class_weight: str | dict[str, float] | None = Field(
        None, description="weights of labels in the loss: balanced, or label=weight,…"
    )
    shared: bool = Field(False, description="multi: labels share a mass of 1 (softmax), instead of a decision for each")
    calibrate: bool = Field(True, description="fit the temperature of probabilities on the validation examples")
    criterion: str | None = Field(
        None, description="chooses the best epoch: loss, accuracy, f1_macro, mcc, … [default: by the kind of label]"
    )

    @field_validator("order", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(each) for each in value] if isinstance(value, list | tuple) else value

    @field_validator("class_weight", mode="before")
    @classmethod
    def _read_weights(cls, value: Any) -> Any:
        if not isinstance(value, str) or value == "balanced":
            return value
        try:
            return {name: float(weight) for name, _, weight in (part.rpartition("=") for part in value.split(","))}
        except ValueError:
            raise ValueError("expected balanced, or weights such as good=1,bad=2.5") from None

    @field_validator("class_weight")
    @classmethod
    def _check_weights(cls, value: Any) -> Any:
        if isinstance(value, dict) and not all(weight > 0 for weight in value.values()):
            raise ValueError("expected weights above 0")
        return value

    @model_validator(mode="after")
    def _agree_with_kind(self) -> Self:
        if self.order is not None and self.kind != "ordinal":
            raise ValueError("order: is of kind = ordinal")
        if self.shared and self.kind not in ("auto", "multi"):
            raise ValueError("shared: is of kind = multi")
        known = CRITERIA[self.kind] if self.kind != "auto" else tuple({n for each in CRITERIA.values() for n in each})
        if self.criterion is not None and self.criterion not in known:
            raise ValueError(
                f"criterion = {self.criterion!r}: of kind = {self.kind} one of {', '.join(sorted(known))}"
                f"{nearest(self.criterion, known)}"
            )
        return self


class PooledNetworkSettings(WholeSequenceSettings):
    """What reads the steps of a sequence, and what makes one vector of them."""

    network: Literal["recurrent", "cnn", "mlp"] = Field("recurrent", description="what reads the steps")
    bidirectional: bool = Field(True, description="read in both directions")
    beside: bool = Field(False, description="pool what the layers read too, beside what they make of it")
    filters: int = Field(100, ge=1, description="cnn: of each width")
    widths: tuple[int, ...] = Field((3, 4, 5), min_length=1, description="cnn: of filters, in steps")
    pooling: Literal["last", "mean", "max", "attention", "labels"] | None = Field(
        None, description="of the steps to a vector; labels: each label scores every step [default: max; mlp: mean]"
    )
    window_steps: int | None = Field(
        512, ge=2, description="longer ones are read in windows of so many steps, the state carried on (none: whole)"
    )
    members: int = Field(
        1, ge=1, description="networks that learn side by side and are asked together; so many times the time"
    )
    consistency: float = Field(
        0.0, ge=0, description="weight of how far two passes with other dropout disagree (R-Drop); twice the time"
    )
    hidden_size: int = Field(128, ge=1, description="units of a layer, of each direction")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    dropout: float = Field(0.5, ge=0, lt=1, description="between layers, and before the first and after the last")

    @field_validator("widths", mode="before")
    @classmethod
    def _as_numbers(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agree_with_network(self) -> Self:
        own = _OF_NETWORK[self.network]
        for network, names in _OF_NETWORK.items():
            for name in names:
                if name not in own and getattr(self, name) != type(self).model_fields[name].get_default():
                    raise ValueError(f"{name}: is of network = {network}, and network = {self.network} has none")
        return self


class LabellingSettings(LabelSettings, PooledNetworkSettings, TrainingSettings):
    """All that any classifier by a network has."""

    epochs: int = Field(20, ge=1, description="passes over the training data")
    learning_rate: float | Literal["auto"] = Field(0.002, description="peak rate; auto: found by a short sweep")
    patience: int | None = Field(5, ge=1, description="stop after so many evaluations without gain")

    @model_validator(mode="after")
    def _agree_with_pooling(self) -> Self:
        if self.pooling == "labels":
            if self.network == "mlp":
                raise ValueError("pooling = labels: scores no hidden layer, which network = mlp has after its pooling")
            if self.kind in ("ordinal", "number"):
                raise ValueError(f"pooling = labels: kind = {self.kind} has one score, not one a label")
        return self


class ClassifierSettings(AnalyzerSettings, ExampleSettings, BertInputSettings, EmbeddingSettings, LabellingSettings):
    """All that can be set about a classifier of texts by a network."""

    ngram_range: tuple[int, int] = Field(
        (1, 1), description="mlp, linear: fewest and most words of a term [default: 1,1; linear: 1,2]"
    )
    label_names: bool = Field(
        False, description="pooling = labels: words that are in a label's name, or like them, speak for it (beside too)"
    )
    min_count: int = Field(1, ge=1, description="rarer words are unknown")
    vocabulary_size: int | None = Field(None, ge=2, description="keep the most frequent words")
    subwords: int = Field(0, ge=0, description="buckets for n-grams of 3 to 5 characters, beside each word (0: none)")
    word_dropout: float = Field(0.1, ge=0, lt=1, description="share of words taken for unknown in training")
    linear: bool = Field(
        False,
        description="single, multi: add a linear model's scores of n-grams, weighed by the validation examples",
    )
    embedding_size: int | None = Field(None, ge=1, description="features of a word [default: hidden_size]")

    @model_validator(mode="after")
    def _agree_with_text(self) -> Self:
        if self.ngram_range != (1, 1) and self.network != "mlp":
            raise ValueError(
                f"ngram_range: n-grams of words are no sequence for network = {self.network}; mlp has them"
            )
        if self.label_names and self.pooling != "labels":
            raise ValueError("label_names: is of pooling = labels")
        if self.bert is not None:
            if self.label_names:
                raise ValueError("label_names: compares them with trained embeddings, and with bert there are none")
            for name in ("vectors", "subwords", "embedding_size", "vocabulary_size"):
                if getattr(self, name) != type(self).model_fields[name].get_default():
                    raise ValueError(f"{name}: is of trained embeddings, and with bert there are none")
        if self.linear:
            if self.kind in ("ordinal", "number"):
                raise ValueError(f"linear: kind = {self.kind} has one score, and a linear model would give one a label")
            if not self.calibrate:
                raise ValueError("linear: its weight is fitted when probabilities are calibrated, and calibrate is off")
        return self


def with_network(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a network of `NETWORKS`, and those that were given.

    Raises:
        SettingsError: if one of them says something else.

    >>> with_network("gru", {"hidden_size": 64})
    {'cell': 'gru', 'bidirectional': False, 'num_layers': 1, 'hidden_size': 64}
    """
    stands_for = NETWORKS[name]
    for setting, value in given.items():
        if (
            setting in stands_for
            and str(value) != str(stands_for[setting])
            and not (setting == "num_layers" and name == "deep-bilstm")
        ):
            raise SettingsError(
                f"{setting} = {value!r}: model = {name} stands for {setting} = {stands_for[setting]!r}; leave one out"
            )
    return stands_for | given
