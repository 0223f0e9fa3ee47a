"""`ostinato fit TASK`: train, or resume."""

from __future__ import annotations

from ostinato.cli.app import COMMANDS, LazyGroup

GROUP = LazyGroup(
    "fit",
    {
        "language-model": ("ostinato.cli.fit_language_model", "Text to a model that writes and scores text."),
        "classifier": ("ostinato.cli.fit_classifier", "Texts with labels to a model that names them."),
        "acceptability": ("ostinato.cli.fit_acceptability", "Judged sentences to a model that judges others."),
        "vectors": ("ostinato.cli.fit_vectors", "Text to a vector for each word: word2vec or fastText."),
        "ngram": ("ostinato.cli.fit_ngram", "The same by counting n-grams: the baseline, in seconds."),
        "bert": ("ostinato.cli.fit_bert", "A small BERT from scratch, for contextual vectors."),
    },
    help=COMMANDS["fit"][1],
)
