"""`ostinato fit tree-classifier`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.tree_codec import TreeTextSettings
from ostinato.tasks.tree_classifier import TreeClassifier
from ostinato.tasks.tree_examples import TreeReadingSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    TreeClassifier,
    "Train a tree classifier: trees with labels at their nodes to a recursive network that names them.",
    {"Trees": TreeTextSettings, "Reading": TreeReadingSettings, "Training": TrainingSettings},
    "Files, folders, patterns, or - for standard input: trees in brackets, or as JSON lines.",
    "a share of the trees, drawn at random",
)
