"""`ostinato fit TASK`: train, or resume."""

from __future__ import annotations

from ostinato.cli.app import COMMANDS, LazyGroup

GROUP = LazyGroup(
    "fit",
    {
        "language-model": ("ostinato.cli.fit_language_model", "Text to a model that writes and scores text."),
        "classifier": (
            "ostinato.cli.fit_classifier",
            "Texts, series, sounds … with labels to a model that names them.",
        ),
        "tagger": ("ostinato.cli.fit_tagger", "Tagged sentences to a model that tags others."),
        "forecaster": ("ostinato.cli.fit_forecaster", "Series to a model that tells how they go on, with intervals."),
        "similarity": ("ostinato.cli.fit_similarity", "Pairs of texts with a score to a model that compares texts."),
        "tree-classifier": ("ostinato.cli.fit_tree_classifier", "Trees to a model that labels their nodes."),
        "acceptability": ("ostinato.cli.fit_acceptability", "Judged sentences to a model that judges others."),
        "vectors": ("ostinato.cli.fit_vectors", "Text to a vector for each word: word2vec or fastText."),
        "ngram": ("ostinato.cli.fit_ngram", "The same by counting n-grams: the baseline, in seconds."),
        "conditional-language-model": (
            "ostinato.cli.fit_conditional_language_model",
            "Texts with labels to a model that writes a text for a label.",
        ),
        "captioner": ("ostinato.cli.fit_captioner", "Images with captions to a model that says what it sees."),
        "transcriber": ("ostinato.cli.fit_transcriber", "Recordings with texts to a model that writes down speech."),
        "translator": ("ostinato.cli.fit_translator", "Texts with their translations to a model that translates."),
        "music-model": ("ostinato.cli.fit_music_model", "Pieces of music (MIDI) to a model that makes others."),
        "frame-predictor": (
            "ostinato.cli.fit_frame_predictor",
            "Clips (GIF, folders of images, arrays) to a model that tells the next frames.",
        ),
        "recommender": ("ostinato.cli.fit_recommender", "Event logs to a model that tells the next item."),
        "playlist": ("ostinato.cli.fit_playlist", "Playlists to a model that makes one from a name."),
        "bert": ("ostinato.cli.fit_bert", "A small BERT from scratch, for contextual vectors."),
    },
    help=COMMANDS["fit"][1],
)
