"""The models that classify, by the names that the command line gives them, and by what a sequence is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ostinato.cli.fit_by_model import Choice, choose
from ostinato.errors import SettingsError
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.classifier_settings import NETWORKS, with_network
from ostinato.tasks.linear_classifier import LinearClassifier
from ostinato.tasks.sequence_classifier import SequenceClassifier

TEXT = "text"
"""What `--input` says of the sequences of `CLASSIFIERS`."""
CLASSIFIERS = {name: Choice(Classifier, partial(with_network, name)) for name in NETWORKS} | {
    "linear": Choice(LinearClassifier)
}
OF_SEQUENCES = {name: Choice(SequenceClassifier, partial(with_network, name)) for name in NETWORKS}


def by_input(choices: Mapping[str, Choice], name: str, settings: dict[str, Any]) -> tuple[Mapping[str, Choice], Choice]:
    """The models for what `input` says that a sequence is, and the one of a name; of text, `input` is taken out.

    Raises:
        SettingsError: if there is none of that name.
    """
    if settings.get("input", TEXT) == TEXT:
        settings.pop("input", None)
        return choices, choose(choices, name)
    if name in choices and name not in OF_SEQUENCES:
        raise SettingsError(
            f"model = {name}: is of texts; of input = {settings['input']} there are {', '.join(OF_SEQUENCES)}"
        )
    return OF_SEQUENCES, choose(OF_SEQUENCES, name)
