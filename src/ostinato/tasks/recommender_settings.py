"""The settings of a recommender: the network, what it descends, how it is measured, what is asked of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ostinato.codecs.items import ItemSettings
from ostinato.ranking_heads import Loss
from ostinato.settings import Settings
from ostinato.tasks.events import EventSettings
from ostinato.tasks.recurrent_settings import RecurrentSettings
from ostinato.training.settings import TrainingSettings, TruncationSettings

Cutoffs = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


class RankingSettings(Settings):
    """What is told of how well the wanted item is ranked."""

    cutoffs: Cutoffs = Field([10, 20], description="the k of recall@k, MRR@k and NDCG@k; the first chooses the epoch")
    sampled: int = Field(
        100, ge=0, description="items not met by the user, beside the wanted one, for `sampled` figures"
    )
    sampled_by: Literal["uniform", "popularity"] = Field("uniform", description="how those are drawn")
    exclude_seen: bool = Field(False, description="never rank what the history holds already")


class HeldOutSettings(Settings):
    """What of the log is kept for validation, and what is told there."""

    split: Literal["users", "last", "time"] = Field(
        "users",
        description="for validation: histories drawn at random; the last item of each (of three or more); the latest",
    )
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="of the histories, for users and time")
    targets: Literal["all", "last"] | None = Field(
        None, description="held out: tell each item from those before, or the last [default: last if that is the split]"
    )


class RecommenderSettings(
    EventSettings, ItemSettings, HeldOutSettings, RankingSettings, RecurrentSettings, TruncationSettings,
    TrainingSettings,
):  # fmt: skip
    """All that can be set about a recommender."""

    cell: str = Field("gru", description="the equations of a layer, such as gru, lstm or mingru")
    hidden_size: int = Field(128, ge=1, description="units of a layer")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    embedding_size: int | None = Field(None, ge=1, description="features of an item [default: hidden_size]")
    tie_weights: bool = Field(True, description="an item has one vector, where it is read and where it is ranked")
    time_gaps: bool = Field(False, description="read also how long ago the item before was")
    loss: Loss = Field("sampled-cross-entropy", description="what training descends; see docs/recommender.md")
    negatives: int = Field(2048, ge=0, description="items drawn to be ranked below, in each step of training")
    alpha: float = Field(0.5, ge=0, le=1, description="they are drawn by count^alpha")
    in_batch: bool = Field(True, description="what else the batch wants is ranked below too")
    logq: float | None = Field(
        None,
        ge=0,
        le=1,
        description="sampled-cross-entropy: how far to correct for how negatives come [default: 1]",
    )
    bpr_regularisation: float | None = Field(None, ge=0, description="bpr-max: λ of the scores' squares [default: 1]")
    bptt_steps: int = Field(20, ge=0, description="steps back-propagated through; 1 as in the paper. 0: no limit")
    batch_size: int = Field(64, ge=1, description="histories side by side")

    @model_validator(mode="after")
    def _agree(self) -> RecommenderSettings:
        if self.logq is not None and self.loss != "sampled-cross-entropy":
            raise ValueError(f"logq: is of loss = sampled-cross-entropy, not of {self.loss}; leave it out")
        if self.bpr_regularisation is not None and self.loss != "bpr-max":
            raise ValueError(f"bpr_regularisation: is of loss = bpr-max, not of {self.loss}; leave it out")
        if self.label_smoothing and self.loss != "cross-entropy":
            raise ValueError(f"label_smoothing: {self.loss} has no smoothed form; use loss = cross-entropy")
        if self.loss != "cross-entropy" and not self.negatives and not self.in_batch:
            raise ValueError(f"negatives = 0: {self.loss} needs some; give more, or in_batch")
        return self

    @property
    def only_last(self) -> bool:
        """Whether of a held-out history only the last item is to be told."""
        return self.targets == "last" if self.targets is not None else self.split == "last"


class EvaluateSettings(Settings):
    """What can be set about an evaluation; what is not, is as in training."""

    cutoffs: Cutoffs | None = Field(None, description="the k of recall@k, MRR@k and NDCG@k [default: as in training]")
    sampled: int | None = Field(None, ge=0, description="items not met, for `sampled` [default: as in training]")
    sampled_by: Literal["uniform", "popularity"] | None = Field(
        None, description="how those are drawn [default: as in training]"
    )
    exclude_seen: bool | None = Field(None, description="never rank what the history holds [default: as in training]")
    targets: Literal["all", "last"] | None = Field(
        None, description="each item from those before, or the last [default: as in training]"
    )


class PredictSettings(Settings):
    """What can be asked of a recommender."""

    history: list[str] = Field([], description="items of a history, in place of files; repeatable; '' for none")
    top: int = Field(10, ge=1, description="items to recommend")
    exclude_seen: bool | None = Field(None, description="nothing that the history holds [default: as in training]")

    @property
    def whole(self) -> bool:
        """Whether no file is needed."""
        return bool(self.history)
