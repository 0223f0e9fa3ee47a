"""`ostinato fit conditional-language-model`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.text import TextSettings
from ostinato.tasks.conditional_language_model import ConditionalLanguageModel
from ostinato.tasks.examples import ExampleSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    ConditionalLanguageModel,
    "Train a language model under labels: texts with labels to a network that writes a text for a label.",
    {"Reading": ExampleSettings, "Text": TextSettings, "Training": TrainingSettings},
    "Files (CSV, TSV, JSONL, fastText's), folders, patterns, or - for standard input.",
    "texts drawn at random",
)
