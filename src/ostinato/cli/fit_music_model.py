"""`ostinato fit music-model`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.tasks.music import MusicModel
from ostinato.tasks.music_settings import PieceSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    MusicModel,
    "Train a model of polyphonic music: pieces to a model that tells how likely others are, and makes new ones.",
    {"Reading": PieceSettings, "Training": TrainingSettings},
    "MIDI files, or pitches of each step as JSONL or CSV; folders of them, patterns, or -.",
    "pieces drawn at random",
)
