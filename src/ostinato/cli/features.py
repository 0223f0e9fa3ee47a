"""`ostinato features WHAT FILE -o features.npz`: text to vectors."""

from __future__ import annotations

from ostinato.cli.app import COMMANDS, LazyGroup

_TERMS = "ostinato.cli.features_terms"
GROUP = LazyGroup(
    "features",
    {
        "counts": (f"{_TERMS}:COUNTS", "How often each word stands in each text."),
        "tfidf": (f"{_TERMS}:TFIDF", "The same, weighed by how few texts hold the word."),
        "ngrams": (f"{_TERMS}:NGRAMS", "How often each n-gram, of words or characters, stands in each text."),
        "bert": ("ostinato.cli.features_bert", "What a pre-trained network makes of each text."),
    },
    help=COMMANDS["features"][1],
)
