"""The models that classify, by the names that the command line gives them."""

from __future__ import annotations

from functools import partial

from ostinato.cli.fit_by_model import Choice
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.classifier_settings import NETWORKS, with_network
from ostinato.tasks.linear_classifier import LinearClassifier

CLASSIFIERS = {name: Choice(Classifier, partial(with_network, name)) for name in NETWORKS} | {
    "linear": Choice(LinearClassifier)
}
