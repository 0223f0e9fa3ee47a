"""`ostinato fit tagger`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.tags import TagSettings
from ostinato.tasks.tagger import Tagger
from ostinato.tasks.tagger_settings import TaggedSettings
from ostinato.training.settings import TrainingSettings

app = fit_app(
    Tagger,
    "Train a tagger: sentences with a tag for each token to a model that tags others; spans, slots and intents too.",
    {"Reading": TaggedSettings, "Words and tags": TagSettings, "Training": TrainingSettings},
    "Files (CoNLL-U, columns as of CoNLL-2000 and 2003, JSONL), folders (of ATIS's seq.in, seq.out and label), or -.",
    "sentences drawn at random",
)
