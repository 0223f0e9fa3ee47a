"""Tasks: a codec, a topology and a head, each in one file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ostinato.bundle import read_manifest
from ostinato.errors import BundleError, SettingsError, nearest

TASKS = {
    "acceptability": "ostinato.tasks.acceptability:Acceptability",
    "acceptability-score": "ostinato.tasks.acceptability_score:AcceptabilityScore",
    "bert": "ostinato.tasks.bert:Bert",
    "captioner": "ostinato.tasks.captioner:Captioner",
    "conditional-language-model": "ostinato.tasks.conditional_language_model:ConditionalLanguageModel",
    "classifier": "ostinato.tasks.classifier:Classifier",
    "forecaster": "ostinato.tasks.forecaster:Forecaster",
    "language-model": "ostinato.tasks.language_model:LanguageModel",
    "linear-classifier": "ostinato.tasks.linear_classifier:LinearClassifier",
    "music-model": "ostinato.tasks.music:MusicModel",
    "frame-predictor": "ostinato.tasks.frame_predictor:FramePredictor",
    "playlist": "ostinato.tasks.playlist:Playlist",
    "recommender": "ostinato.tasks.recommender:Recommender",
    "similarity": "ostinato.tasks.similarity:Similarity",
    "tree-classifier": "ostinato.tasks.tree_classifier:TreeClassifier",
    "sequence-classifier": "ostinato.tasks.sequence_classifier:SequenceClassifier",
    "ngram": "ostinato.tasks.ngram:NGramLanguageModel",
    "tagger": "ostinato.tasks.tagger:Tagger",
    "transcriber": "ostinato.tasks.transcriber:Transcriber",
    "translator": "ostinato.tasks.translator:Translator",
}
"""Where the class of each task is."""


_METHODS = {"score": "score_blocks"}  # a classifier's `score` is scikit-learn's


def task_class(name: str) -> Any:
    """The class of a task.

    Raises:
        BundleError: if this version has no such task.
    """
    if name not in TASKS:
        raise BundleError(f"task {name!r}: this version has {', '.join(TASKS)}{nearest(name, TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)


def load(path: str | Path, device: str = "cpu") -> Any:
    """The model in a folder, whatever its task.

    Args:
        path: of the folder.
        device: where its weights go.

    Raises:
        BundleError: if the folder is not a model, or damaged; the text says how.
    """
    folder = Path(path)
    return task_class(read_manifest(folder)["task"]).from_bundle(folder, device)


def load_for(verb: str, path: str | Path, device: str = "cpu") -> Any:
    """The model in a folder, for the method of a name.

    Raises:
        BundleError: as `load`.
        SettingsError: if that is nothing a model of its task does.
    """
    model = load(path, device)
    if not hasattr(model, _METHODS.get(verb, verb)):
        verbs = ("evaluate", "generate", "predict", "score")
        able = ", ".join(each for each in verbs if hasattr(model, _METHODS.get(each, each)))
        raise SettingsError(f"{path}: a {model.task} cannot {verb}; what it can: {able}")
    return model
