"""`ostinato fit transcriber`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.audio import AudioSettings
from ostinato.codecs.transcripts import LabelSettings
from ostinato.tasks.clips import ClipSettings
from ostinato.tasks.transcriber import Transcriber
from ostinato.tasks.transcriber_settings import AugmentationSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Transcriber,
    "Train a transcriber: recordings with what is said in them to a model that writes down others.",
    {
        "Reading": ClipSettings, "Sound": AudioSettings, "Text": LabelSettings, "Augmentation": AugmentationSettings,
        "Training": TrainingSettings,
    },
    "Tables (CSV, TSV, JSONL, Parquet) with the columns audio, a path from the table's folder, and text.",
    "recordings drawn at random",
)  # fmt: skip
