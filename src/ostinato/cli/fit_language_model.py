"""`ostinato fit language-model`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.text import TextSettings
from ostinato.tasks.corpus import ReadingSettings
from ostinato.tasks.language_model import LanguageModel
from ostinato.training.settings import TrainingSettings, TruncationSettings

app = fit_app(
    LanguageModel,
    "Train a language model: text to a network that gives the probability of each next token.",
    {"Text": TextSettings, "Reading": ReadingSettings, "Training": TrainingSettings, "Truncation": TruncationSettings},
    "Files, folders, patterns, or - for standard input.",
    "the end of the corpus",
)
