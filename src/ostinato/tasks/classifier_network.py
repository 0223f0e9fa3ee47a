"""The network of a classifier: embedding, what reads it, pooling, and a head for its kind of label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ostinato.codecs.labelled_text import LabelledText, Labels
from ostinato.errors import SettingsError, nearest
from ostinato.feedforward import Convolution, Unchanged
from ostinato.label_heads import LabelHead, Number, OneLabel, OrderedLabels, SeveralLabels, SharedLabels
from ostinato.pooling import make_pooling
from ostinato.subword_embedding import FrozenVectors, SubwordEmbedding
from ostinato.tasks.classifier_settings import ClassifierSettings
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.topologies import SeqToVec


class Beside(nn.Module):
    """h'_t = [h_t, x_t]: what a network makes of each step, and the step itself (Lai et al. 2015, section 3.1).

    Args:
        network: over time.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.input_size, self.output_size = network.input_size, network.output_size + network.input_size

    def initial_state(self, batch_size: int) -> Any:
        """The network's."""
        return self.network.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """Inputs [time, batch, input] → outputs [time, batch, hidden + input], and the state after."""
        outputs, state = self.network(inputs, state, lengths)
        return torch.cat([outputs, inputs], dim=-1), state


def classifier_network(settings: ClassifierSettings, codec: LabelledText, width: int | None = None) -> SeqToVec:
    """The network that settings and codec describe, untrained.

    Args:
        settings: of the classifier.
        codec: whose words and labels there are.
        width: of frozen vectors, instead of embeddings.
    """
    s = settings
    embedding: Any = (
        SubwordEmbedding(len(codec.words), s.embedding_size or s.hidden_size, s.subwords, s.word_dropout)
        if width is None
        else FrozenVectors(width)
    )
    size, between, features = embedding.output_size, None, 0
    network: Any
    if s.network == "cnn":
        network = Convolution(size, s.filters, s.widths)
    elif s.network == "mlp":
        network, features = Unchanged(size), s.hidden_size
        between = nn.Sequential(nn.Linear(size, features), nn.ReLU())
    else:
        network = recurrent_network(s, size, s.bidirectional)
        network = Beside(network) if s.beside else network
    pooling = make_pooling(s.pooling or ("mean" if s.network == "mlp" else "max"), network.output_size)
    head = label_head(s, codec.labels_of, features or network.output_size)
    before, after = s.around()
    return SeqToVec(embedding, network, pooling, head, before, after, s.window_steps, between)


def label_head(settings: ClassifierSettings, labels: Labels, features: int) -> LabelHead:
    """The head for a kind of label."""
    if labels.kind == "number":
        if settings.class_weight is not None:
            raise SettingsError("class_weight: kind = number has no labels to weigh")
        return Number(features, labels.mean, labels.deviation)
    weights = label_weights(settings.class_weight, labels)
    if labels.kind == "ordinal":
        return OrderedLabels(features, len(labels.names), weights)
    if labels.kind == "multi":
        return (SharedLabels if settings.shared else SeveralLabels)(features, len(labels.names), weights)
    return OneLabel(features, len(labels.names), weights)


def label_weights(given: str | dict[str, float] | None, labels: Labels) -> Tensor | None:
    """The weights of labels in the loss, float [labels]; None for 1 each.

    `balanced`, of n texts in K labels, is n / (K n_k) of a label that n_k texts have; where a text may have several,
    (n − n_k) / n_k, so that each label's two sides weigh the same.

    Raises:
        SettingsError: if a label is unknown.

    >>> labels = Labels("single", ("a", "b"), (30, 10), texts=40)
    >>> label_weights("balanced", labels).tolist(), label_weights({"b": 3.0}, labels).tolist()
    ([0.6666666865348816, 2.0], [1.0, 3.0])
    """
    if given is None:
        return None
    counts = torch.tensor(labels.counts, dtype=torch.float64).clamp(min=1)
    if given == "balanced":
        if labels.kind == "multi":
            return ((labels.texts - counts).clamp(min=1) / counts).float()
        return (labels.texts / (len(counts) * counts)).float()
    assert isinstance(given, dict)  # noqa: S101
    if unknown := given.keys() - set(labels.names):
        first = min(unknown)
        raise SettingsError(f"class_weight: no text has the label {first!r}{nearest(first, labels.names)}")
    return torch.tensor([given.get(name, 1.0) for name in labels.names])
