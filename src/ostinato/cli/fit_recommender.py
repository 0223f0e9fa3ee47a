"""`ostinato fit recommender`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.items import ItemSettings
from ostinato.tasks.events import EventSettings
from ostinato.tasks.recommender import Recommender
from ostinato.tasks.recommender_settings import HeldOutSettings, RankingSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Recommender,
    "Train a recommender: event logs of users or sessions to a model that tells the next item.",
    {
        "Reading": EventSettings,
        "Items": ItemSettings,
        "Held out": HeldOutSettings,
        "Measuring": RankingSettings,
        "Training": TrainingSettings,
    },
    "Files of events (CSV, TSV, JSONL, Parquet, plain lines with --separator), folders, patterns, or -.",
    "what --split says",
)
