"""`ostinato fit translator`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.text import TextSettings
from ostinato.tasks.parallel import ParallelSettings
from ostinato.tasks.translator import Translator
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Translator,
    "Train a translator: a recurrent encoder and decoder with attention between them.",
    {"Reading": ParallelSettings, "Text": TextSettings, "Training": TrainingSettings},
    "A table of pairs (TSV, CSV, JSONL), or two files of parallel lines, the source's first: train.de train.en.",
    "pairs drawn at random (two parallel files: --dev val.de --dev val.en)",
)
