"""`ostinato fit playlist`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.items import ItemSettings
from ostinato.tasks.events import EventSettings
from ostinato.tasks.playlist import Playlist
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Playlist,
    "Train a model of playlists: one name, of an item or an artist, to a sequence of items, none of them twice.",
    {"Reading": EventSettings, "Items": ItemSettings, "Training": TrainingSettings},
    "Files of playlists (CSV, TSV, JSONL, Parquet, plain lines with --separator), folders, patterns, or -.",
    "playlists drawn at random",
)
