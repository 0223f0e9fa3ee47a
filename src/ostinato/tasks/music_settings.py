"""The settings of a music model: how pieces are read, what the network is, how pieces are told of and made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ostinato.codecs.music import RollSettings
from ostinato.settings import Settings
from ostinato.tasks.recurrent_settings import RecurrentDropoutSettings
from ostinato.training.settings import TrainingSettings


class PieceSettings(RollSettings):
    """How pieces are read."""

    onsets: bool | None = Field(
        None, description="tell a struck key from one that goes on [default: where the training files do]"
    )
    encoding: str = Field("utf-8", description="of files of frames, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="pieces kept for validation, drawn at random")


class MusicSettings(PieceSettings, RecurrentDropoutSettings, TrainingSettings):
    """All that can be set about a music model."""

    head: Literal["nade", "bernoulli"] = Field(
        "nade", description="nade: each key given those below it, so that chords are whole; bernoulli: each for itself"
    )
    nade_units: int = Field(64, ge=1, description="hidden units of nade")
    outer: bool = Field(True, description="the highest and the lowest key of a frame are inputs of their own as well")
    shortcut: bool = Field(True, description="the head reads the frame before beside the network's output")
    bptt_steps: int = Field(
        256, ge=0, description="steps back-propagated through; a longer piece carries its state on. 0: all of a piece"
    )
    transpose: int = Field(
        0,
        ge=0,
        le=64,
        description="in training, pieces are moved by up to so many keys either way, drawn anew each time",
    )
    hidden_size: int = Field(200, ge=1, description="units of a layer")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    dropout: float = Field(0.3, ge=0, lt=1, description="between layers, and before the first and after the last")
    input_dropout: float | None = Field(0.1, ge=0, lt=1, description="before the first layer (none: dropout)")
    batch_size: int = Field(8, ge=1, description="pieces side by side")
    epochs: int = Field(60, ge=1, description="passes over the training data")
    clip_norm: float | None = Field(5.0, gt=0, description="scale the gradient down to this norm (none: off)")

    @model_validator(mode="after")
    def _agree(self) -> MusicSettings:
        if self.label_smoothing:
            raise ValueError("label_smoothing: keys that sound or not have no smoothed form; leave it out")
        return self


class PredictSettings(Settings):
    """What can be set about telling of pieces."""

    encoding: str = Field("utf-8", description="of files of frames, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    top: int = Field(5, ge=1, description="how many keys that come next are told")


class GenerateSettings(Settings):
    """What can be set about making a piece."""

    prime: str | None = Field(None, description="a piece (MIDI or frames) whose beginning the new one goes on from")
    prime_steps: int | None = Field(None, ge=1, description="how much of it is taken [default: half]")
    steps: int = Field(128, ge=1, le=1 << 16, description="how many to make, those of --from not counted")
    bars: float | None = Field(None, gt=0, description="the same in bars of four beats, instead of steps")
    temperature: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="p^(1/temperature) of each key, normalised; 0: the likelier always"
    )
    tempo: float | None = Field(
        None, ge=4, le=1000, description="quarter notes a minute [default: as the training files, else 120]"
    )
    program: int = Field(0, ge=0, le=127, description="General MIDI's instrument, from 0 (0: grand piano, 19: organ)")
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed makes the same piece")
    plot: str | None = Field(
        None, description="draw its piano roll to this file too (png, svg, pdf), under the piece of --from"
    )
