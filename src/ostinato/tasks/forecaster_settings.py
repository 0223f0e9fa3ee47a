"""The settings of a forecaster: how series are read, what of them the network sees, what it tells."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ostinato.cells import CELLS
from ostinato.series import SeriesSettings
from ostinato.settings import Settings
from ostinato.tasks.recurrent_settings import WholeSequenceSettings
from ostinato.training.settings import TrainingSettings

QUANTILES = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]


class ForecastSettings(Settings):
    """What is forecast, and from what."""

    horizon: int | None = Field(None, ge=1, description="steps that are forecast at once [default: a season, or 8]")
    context: int | None = Field(
        None, ge=1, description="steps that are read [default: two seasons or horizons, or the longest lag if longer]"
    )
    season: int | None = Field(
        None, ge=1, description="steps of a season, 1: none [default: 24 of hours, 7 of days, 12 of months, …]"
    )
    lags: list[int] | None = Field(
        None, description="so many steps back a series is shown once more [default: season, and a week of hours]"
    )
    calendar: bool = Field(True, description="show the time of the day, of the week and of the year")
    scaling: Literal["window", "series", "level", "none"] = Field(
        "window",
        description="divide by the deviation of what is read, or of the series in training, or by the level alone",
    )
    base: Literal["auto", "seasonal", "drift", "last", "none"] = Field(
        "auto",
        description="the simple forecast that the network corrects: the season before, the same with what it has "
        "gained since, or the last value; auto: the best on the training windows",
    )
    transform: Literal["none", "log"] = Field("none", description="log: the network sees log(1 + y)")
    decoder: Literal["recurrent", "direct"] = Field(
        "recurrent", description="recurrent: step after step; direct: all steps from one vector"
    )
    attention: bool = Field(False, description="let the decoder look at each step that was read")
    quantiles: list[float] = Field(QUANTILES, description="that are learned; 0.5 is one of them")
    point: Literal["median", "mean"] = Field("median", description="the one number that is told of a step")
    conformal: bool = Field(True, description="widen or narrow the intervals until they hold on the validation data")
    windows: int | None = Field(20_000, ge=1, description="of an epoch, drawn anew for each (none: all there are)")
    stride: int = Field(1, ge=1, description="steps between windows to learn from")
    validation_windows: int = Field(
        1, ge=1, description="kept for validation at the end of each series, a horizon apart"
    )

    @field_validator("quantiles")
    @classmethod
    def _rise(cls, value: list[float]) -> list[float]:
        if any(not 0 < each < 1 for each in value) or sorted(set(value)) != value or 0.5 not in value:
            raise ValueError("expected rising levels between 0 and 1, 0.5 among them, such as 0.05,0.5,0.95")
        return value

    @field_validator("lags")
    @classmethod
    def _positive(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and any(each < 1 for each in value):
            raise ValueError("expected steps back, from 1 up")
        return value


class ForecasterSettings(SeriesSettings, ForecastSettings, WholeSequenceSettings, TrainingSettings):
    """All that can be set about a forecaster."""

    cell: str = Field("gru", description=f"the equations of a layer: {', '.join(CELLS)}")
    hidden_size: int = Field(64, ge=1, description="units of a layer")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    dropout: float = Field(0.1, ge=0, lt=1, description="between layers, and after the last")
    input_dropout: float | None = Field(0.0, ge=0, lt=1, description="before the first layer")
    bidirectional: bool = Field(False, description="read what was in both directions")
    batch_size: int = Field(64, ge=1, description="windows side by side")
    epochs: int = Field(20, ge=1, description="passes over the windows of an epoch")
    gradient_by_lag: bool = Field(True, description="note at each evaluation how far back the gradient reaches")

    @field_validator("target", "series", "known", "observed", "static", mode="before")
    @classmethod
    def _apart(cls, value: Any) -> Any:
        """`--target a,b` is two columns, as is `--target a --target b`."""
        named = [value] if isinstance(value, str) else value
        return [each.strip() for name in named for each in str(name).split(",") if each.strip()]

    @model_validator(mode="after")
    def _agree(self) -> ForecasterSettings:
        roles = [*self.target, *self.series, *self.known, *self.observed, *self.static]
        if twice := next((name for name in roles if roles.count(name) > 1 or name == self.time), None):
            raise ValueError(f"column {twice!r} has two roles: give it one of time, target, series, known, observed, …")
        if self.attention and self.decoder == "direct":
            raise ValueError("attention: a direct decoder has no steps to look from; use decoder = recurrent")
        if self.label_smoothing:
            raise ValueError("label_smoothing: a number has no classes; leave it out")
        return self


class PredictSettings(Settings):
    """What can be set about a forecast of files; columns are those of training."""

    interval: float = Field(0.9, gt=0, lt=1, description="share of what comes that should lie between low and high")
    plot: str | None = Field(None, description="draw what was and what is forecast: a .png, .svg or .pdf file")
    plot_series: int = Field(6, ge=1, description="series in the picture, the first ones")
    only: list[str] = Field([], description="of these series alone; repeatable")
    format: str = Field("auto", description="of the files; auto: by name")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
