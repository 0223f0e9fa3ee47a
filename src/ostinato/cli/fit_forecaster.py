"""`ostinato fit forecaster`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.series import SeriesSettings
from ostinato.tasks.forecaster import Forecaster
from ostinato.tasks.forecaster_settings import ForecastSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Forecaster,
    "Train a forecaster: one or many series to a model that tells how they go on, each step with its intervals.",
    {"Reading": SeriesSettings, "Forecast": ForecastSettings, "Training": TrainingSettings},
    "Files of rows (CSV, TSV, JSONL, Parquet), one for each time stamp and series; folders, patterns, or -.",
    "the end of each series",
)
