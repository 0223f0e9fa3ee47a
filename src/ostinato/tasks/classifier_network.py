"""The network of a classifier: embedding, what reads it, pooling, and a head for its kind of label."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.codecs.labelled_text import LabelledText, Labels
from ostinato.errors import SettingsError, nearest
from ostinato.feedforward import Convolution, Unchanged
from ostinato.label_heads import LabelHead, Number, OneLabel, OrderedLabels, SeveralLabels, SharedLabels
from ostinato.pooling import LabelPooling, Pooling, make_pooling
from ostinato.subword_embedding import FrozenVectors, NameEmbedding, SubwordEmbedding
from ostinato.tasks.classifier_settings import ClassifierSettings, LabellingSettings, LabelSettings
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.tasks.text_inputs import TextInputs, word_row
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
    names = named(embedding, codec, s.subwords) if s.label_names else None
    return labelling_network(s, codec.labels_of, embedding, names)


def labelling_network(
    settings: LabellingSettings, labels: Labels, embedding: Any, names: NameEmbedding | None = None
) -> SeqToVec:
    """What reads steps, pooling and head, as settings and labels describe them, upon what makes features of steps.

    Args:
        settings: of the classifier.
        labels: what there is to tell.
        embedding: of steps, with its `output_size`.
        names: of the labels, if steps are compared with them.
    """
    s, size, between, features = settings, embedding.output_size, None, 0
    network: Any
    if s.network == "cnn":
        network = Convolution(size, s.filters, s.widths)
    elif s.network == "mlp":
        network, features = Unchanged(size), s.hidden_size
        between = nn.Sequential(nn.Linear(size, features), nn.ReLU())
    else:
        network = recurrent_network(s, size, s.bidirectional)
    if s.beside or names is not None:
        network = Beside(network)
    before, after = s.around()
    pooling: Pooling
    if s.pooling == "labels":
        pooling = LabelPooling(network.output_size, len(labels.names), after, names)
        head, after = label_head(s, labels, None), 0.0  # what is dropped is what labels score
    else:
        pooling = make_pooling(s.pooling or ("mean" if s.network == "mlp" else "max"), network.output_size)
        head = label_head(s, labels, features or network.output_size)
    return SeqToVec(embedding, network, pooling, head, before, after, s.window_steps, between)


def named(embedding: SubwordEmbedding, codec: LabelledText, subwords: int) -> NameEmbedding:
    """The names of labels by the words' own embedding; without n-grams a word that no text has says nothing.

    A name is cut at hyphens and underscores, and then like a text.
    """
    names = [codec.analyzer(re.sub("[-_]+", " ", name)) for name in codec.labels]
    known = sorted({word for name in names for word in name if subwords or word in codec.words})
    if not known:
        raise SettingsError(
            f"label_names: no text has a word of the labels' names, such as {codec.labels[0]!r}; try subwords"
        )
    places = {word: at for at, word in enumerate(known)}
    words = TextInputs([word_row([word], codec.words, subwords) for word in known])[:]
    return NameEmbedding(embedding, words, [[places[word] for word in name if word in places] for name in names])


def label_head(settings: LabelSettings, labels: Labels, features: int | None) -> LabelHead:
    """The head for a kind of label; of scores of each if there are no features."""
    if labels.kind == "number":
        assert features is not None  # noqa: S101 - the settings see to it
        if settings.class_weight is not None:
            raise SettingsError("class_weight: kind = number has no labels to weigh")
        return Number(features, labels.mean, labels.deviation)
    weights = label_weights(settings.class_weight, labels)
    if labels.kind == "ordinal":
        assert features is not None  # noqa: S101
        return OrderedLabels(features, len(labels.names), weights)
    kind = OneLabel if labels.kind == "single" else SharedLabels if settings.shared else SeveralLabels
    head = kind(features, len(labels.names), weights)
    if features is None:  # scores are evidence for a label, so b begins as what is known without any: how rare it is
        counts = torch.tensor(labels.counts, dtype=torch.float32)
        others = labels.texts - counts if kind is SeveralLabels else torch.full_like(counts, labels.texts)
        head.linear.bias.data = (counts / others.clamp(min=0.5)).log()
    return head


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
