"""`ostinato fit similarity`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.tasks.pair_codec import PairTextSettings
from ostinato.tasks.pair_examples import PairReadingSettings
from ostinato.tasks.similarity import ComparingSettings, Similarity
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Similarity,
    "Train a similarity model: pairs of texts with a score to a network that compares texts.",
    {
        "Text": PairTextSettings,
        "Reading": PairReadingSettings,
        "Comparing": ComparingSettings,
        "Training": TrainingSettings,
    },
    "Files, folders, patterns, or - for standard input: tables with two texts and a score a row.",
    "a share of the pairs, drawn at random",
)
