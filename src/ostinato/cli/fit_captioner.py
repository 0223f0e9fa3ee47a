"""`ostinato fit captioner`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.images import ImageSettings
from ostinato.codecs.text import TextSettings
from ostinato.tasks.captioner import Captioner
from ostinato.tasks.captions import CaptionSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Captioner,
    "Train a captioner: a convolutional encoder, and a decoder fed by its vector or attending to places.",
    {"Reading": CaptionSettings, "Images": ImageSettings, "Text": TextSettings, "Training": TrainingSettings},
    "A table of images and captions (CSV, TSV, JSONL, Parquet), or a folder of images with a .txt beside each.",
    "images drawn at random",
)
