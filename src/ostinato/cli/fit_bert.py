"""`ostinato fit bert`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.tasks.bert import Bert
from ostinato.tasks.corpus import ReadingSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Bert,
    "Train a small BERT from scratch: text to contextual vectors, by masked tokens and next sentences.",
    {"Reading": ReadingSettings, "Training": TrainingSettings},
    "Files, folders, patterns, or - for standard input.",
    "the end of the corpus",
)
