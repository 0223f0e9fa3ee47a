"""The settings of a tagger: how tagged files are read, what the network is, how files are tagged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ostinato.codecs.tags import TagSettings
from ostinato.settings import Settings
from ostinato.tagged import TaggedFormat
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.recurrent_settings import WholeSequenceSettings
from ostinato.training.settings import TrainingSettings


class TaggedSettings(Settings):
    """How tagged files are read."""

    format: TaggedFormat = Field("auto", description="of the files; auto: by name")
    column: str | None = Field(
        None, description="of the tag: CoNLL-U's name, a number from 1, or JSON's key [default: upos; the last; tags]"
    )
    token_column: str | None = Field(None, description="of the token, likewise [default: form; 1; tokens]")
    label_column: str | None = Field(None, description="JSON: key of a label of the sentence [default: label]")
    inputs: list[str] = Field([], description="further columns that are known beforehand, likewise, such as xpos or 2")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="sentences kept for validation, drawn at random")


class TaggerSettings(TaggedSettings, TagSettings, EmbeddingSettings, WholeSequenceSettings, TrainingSettings):
    """All that can be set about a tagger."""

    head: Literal["crf", "softmax"] = Field("crf", description="crf: the best sequence of tags; softmax: tag by tag")
    bidirectional: bool = Field(True, description="layers in both directions, hidden_size units in each")
    embedding_size: int | None = Field(None, ge=1, description="features of a word [default: 100]")
    character_embedding: int = Field(30, ge=1, description="features of a character")
    character_hidden: int = Field(50, ge=0, description="units over a word's characters, each way (0: words alone)")
    input_embedding: int = Field(20, ge=1, description="features of a further input")
    word_dropout: float = Field(1.0, ge=0, description="α: a word of count n is unknown with probability α / (α + n)")
    pooling: Literal["attention", "max", "mean", "last"] = Field("attention", description="for the sentence's label")
    label_weight: float = Field(1.0, gt=0, description="of the sentence's label in the loss")
    hidden_size: int = Field(200, ge=1, description="units of a layer, in each direction")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    dropout: float = Field(0.5, ge=0, lt=1, description="between layers, and before the first and after the last")
    epochs: int = Field(20, ge=1, description="passes over the training data")

    @model_validator(mode="after")
    def _agree(self) -> TaggerSettings:
        if self.head == "crf" and self.label_smoothing:
            raise ValueError("label_smoothing: a CRF has no smoothed form; use head = softmax")
        return self


class PredictSettings(Settings):
    """What can be set about tagging files."""

    format: TaggedFormat = Field(
        "auto",
        description="of the files; auto: by name; text, unless it begins like columns of training",
    )
    tokens: Literal["auto", "whitespace"] = Field(
        "auto", description="of plain text; auto: signs are split off words, and Chinese into words; see docs/tagger.md"
    )
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
