"""The settings of a transcriber: features, labels, network, augmentation; how sounds are transcribed."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ostinato.codecs.audio import AudioSettings
from ostinato.codecs.transcripts import LabelSettings
from ostinato.settings import Settings
from ostinato.tasks.clips import ClipSettings
from ostinato.tasks.recurrent_settings import RecurrentSettings
from ostinato.training.settings import TrainingSettings


class AugmentationSettings(Settings):
    """What makes the sounds of training harder, or more."""

    speeds: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="each recording is learned at each of these speeds, such as 0.9,1,1.1"
    )
    band_masks: int = Field(2, ge=0, description="SpecAugment: stretches of bands that are silenced (0: none)")
    widest_bands: int = Field(6, ge=1, description="SpecAugment: most bands of such a stretch")
    time_masks: int = Field(2, ge=0, description="SpecAugment: stretches of time that are silenced (0: none)")
    longest_mask_ms: float = Field(150.0, gt=0, description="SpecAugment: the longest of those")

    @field_validator("speeds", mode="before")
    @classmethod
    def _as_numbers(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if not all(0.5 <= speed <= 2 for speed in self.speeds) or len(set(self.speeds)) < len(self.speeds):
            raise ValueError(f"speeds = {','.join(map(str, self.speeds))}: expected different ones from 0.5 to 2")
        return self


class TranscriberSettings(
    ClipSettings, AudioSettings, LabelSettings, AugmentationSettings, RecurrentSettings, TrainingSettings
):
    """All that can be set about a transcriber."""

    stack_frames: int = Field(3, ge=1, le=32, description="frames that are one step of the network")
    bidirectional: bool = Field(True, description="layers in both directions; without, it can transcribe a stream")
    hidden_size: int = Field(128, ge=1, description="units of a layer, in each direction")
    num_layers: int = Field(2, ge=1, description="layers upon each other")
    dropout: float = Field(0.2, ge=0, lt=1, description="between layers and after the last")
    input_dropout: float | None = Field(0.0, ge=0, lt=1, description="before the first layer")
    epochs: int = Field(30, ge=1, description="passes over the training data")
    batch_size: int = Field(16, ge=1, description="recordings side by side")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.label_smoothing:
            raise ValueError("label_smoothing: CTC has no target at a step that could be smoothed; leave it out")
        return self


class PredictSettings(Settings):
    """What can be set about transcribing."""

    beam_size: int | None = Field(
        None, ge=1, description="prefixes that are kept; 1: the likeliest path alone [default: 1; with --lm 16]"
    )
    lm: str | None = Field(
        None, description="folder of an n-gram language model that is asked too (ostinato fit ngram)"
    )
    lm_weight: float | None = Field(
        None, ge=0, description="what its log-probability is multiplied with [default: 0.5]"
    )
    word_bonus: float | None = Field(
        None, description="added for each token of the language model, which favours short texts [default: 0]"
    )
    piece_seconds: float = Field(30.0, ge=1, description="longer sounds are cut where they are quiet")
    longest_seconds: float = Field(14_400.0, gt=0, description="a longer sound is refused; a stream has no end")
    pictures: str | None = Field(
        None, description="folder to draw each sound into, with the labels over time (the extra plot)"
    )
    stream: bool = Field(False, description="tell what is said while it is said, of - or of a wav file")
    pause_seconds: float = Field(1.0, gt=0, description="stream: so long without a label ends a line")
    raw: Literal["s16le", "s32le", "f32le", "u8"] | None = Field(
        None, description="stream: samples without the header of a wav file, of this kind, mono"
    )
    rate: int | None = Field(None, ge=1000, le=768000, description="raw: samples a second [default: as in training]")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.lm is None:
            for name in ("lm_weight", "word_bonus"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: is of a language model: name one with lm")
        elif self.beam_size == 1:
            raise ValueError("lm: needs several prefixes to choose from: beam_size of 2 or more")
        if self.stream and self.beams > 1:
            raise ValueError("stream: tells each label once it is heard, and a beam may change its mind; leave it out")
        if self.stream and self.pictures:
            raise ValueError("pictures: a stream has no end at which it could be drawn; leave one out")
        if not self.stream and (self.raw or self.rate):
            raise ValueError("raw, rate: are of a stream; a file says itself what it is")
        if self.rate and not self.raw:
            raise ValueError("rate: is of raw samples; a wav file says its own")
        return self

    @property
    def beams(self) -> int:
        """How many prefixes are kept."""
        return self.beam_size or (1 if self.lm is None else 16)
