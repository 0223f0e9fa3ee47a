"""What a report shows beside curves: confusions, alignments, neighbours of words, samples, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from ostinato.diagnostics.findings import Text
from ostinato.diagnostics.held_out import HeldOut
from ostinato.errors import SettingsError
from ostinato.report.charts import Axis, Chart, Grid
from ostinato.tasks.alignment import Alignment

NEIGHBOURS = 8
_WORDS = 3000  # the most frequent, whose neighbours are found
_LABELS = 30  # of a confusion matrix that can be read
_CONFUSED = 20
_ALIGNED = 8  # sentences


def confusion(model: Any, data: HeldOut) -> dict[str, dict[str, int]] | None:
    """The right label → what was told → how often; None where the task has no such thing."""
    if not hasattr(model, "confusion") or data.rows is None:
        return None
    rows, size = data.rows, model.settings.batch_size
    try:
        return model.confusion(model.batch(rows[start : start + size]) for start in range(0, len(rows), size))
    except SettingsError:  # several labels, or a number
        return None


def confusion_chart(counts: Mapping[str, Mapping[str, int]]) -> Chart | None:
    """The matrix as colours; None of more labels than can be read."""
    told = sorted({label for row in counts.values() for label in row} | set(counts))
    if len(told) > _LABELS:
        return None
    values = np.array([[counts.get(right, {}).get(label, 0) for label in told] for right in told], float)
    return Chart(
        "confusion", Text("Right label beside the one told", "正确标签与预测标签"), Axis(Text("told", "预测")),
        Axis(Text("right", "正确")),
        grid=Grid(told, told, values, Text("examples", "样本数"), counted=len(told) <= 12),
        note=Text("Off the diagonal stand the mistakes.", "对角线之外是错误。"), wide=True,
    )  # fmt: skip


def most_confused(counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str, int]]:
    """Right label, label told, how often: the most frequent mistakes.

    >>> most_confused({"a": {"a": 9, "b": 2}, "b": {"a": 1}})
    [('a', 'b', 2), ('b', 'a', 1)]
    """
    pairs = [(right, told, count) for right, row in counts.items() for told, count in row.items() if right != told]
    return sorted(pairs, key=lambda each: -each[2])[:_CONFUSED]


def alignments(model: Any, data: HeldOut) -> list[Alignment]:
    """Where a translator looked in some sentences; none where it has no attention."""
    if model.task != "translator" or data.rows is None:
        return []
    texts = [bytes(row["source_text"]).decode("utf-8", "replace") for row in data.rows[:_ALIGNED]]
    found = (each.candidates[0].alignment for each in model.predict(texts))
    return [each for each in found if each is not None and each.source and each.target]


def alignment_chart(aligned: Alignment, number: int) -> Chart:
    """An alignment as a picture: the darker, the more."""
    return Chart(
        f"alignment-{number}", Text("Where it looked", "注意力对齐"),
        Axis(Text("source", "源")), Axis(Text("made", "译文")),
        grid=Grid(aligned.source, aligned.target, np.array(aligned.weights, float), Text("weight", "权重")),
        note=Text("A row for each token that was made, a column for each of the source.",
                   "每行是生成的一个词元，每列是源文的一个词元。"),
        wide=True,
    )  # fmt: skip


class Neighbours(NamedTuple):
    """The words whose vectors point most the same way."""

    words: list[str]
    nearest: np.ndarray
    """int [words, neighbours], the best first."""
    cosine: np.ndarray
    """float32 [words, neighbours]."""


def neighbours(model: Any) -> Neighbours | None:
    """The nearest neighbours of the most frequent tokens by the cosine of their embeddings.

    None where the model has no embedding of its vocabulary. N-grams of characters are left out of the vectors.
    """
    found = _embedding(model)
    if found is None:
        return None
    vectors, vocabulary = found
    count = min(len(vocabulary), _WORDS)
    words, unit = (
        list(vocabulary[:count]),
        vectors[:count] / np.linalg.norm(vectors[:count], axis=1, keepdims=True).clip(1e-12),
    )
    few = min(NEIGHBOURS, count - 1)
    if few < 1:
        return None
    nearest, cosine = np.zeros((count, few), np.int64), np.zeros((count, few), np.float32)
    for start in range(0, count, 512):  # a block of all products at a time
        products = unit[start : start + 512] @ unit.T
        rows = np.arange(len(products))
        products[rows, start + rows] = -np.inf
        best = np.argpartition(-products, few - 1, axis=1)[:, :few]
        order = np.argsort(-np.take_along_axis(products, best, 1), axis=1, kind="stable")
        nearest[start : start + 512] = np.take_along_axis(best, order, 1)
        cosine[start : start + 512] = np.take_along_axis(products, nearest[start : start + 512], 1)
    return Neighbours(words, nearest, cosine)


def _embedding(model: Any) -> tuple[np.ndarray, list[str]] | None:
    """Vectors [tokens, features] of a vocabulary."""
    network = getattr(model, "_network", None)
    if network is None:
        return None
    owner = next((getattr(network, name) for name in ("writer", "encoder") if hasattr(network, name)), network)
    module = getattr(owner, "embedding", None) or getattr(network, "embedding", None)
    table = module if isinstance(module, nn.Embedding) else getattr(module, "words", None)
    vocabulary = getattr(model.codec, "vocabulary", None)
    tokens: list[str] = [*getattr(vocabulary, "tokens", vocabulary or ())]
    if not isinstance(table, nn.Embedding) or table.num_embeddings != len(tokens):
        return None
    if getattr(getattr(model.codec, "source", None), "text", None) is not None and model.settings.level == "bpe":
        tokens = model.codec.source.pieces(range(len(tokens)))
    elif getattr(model.codec, "level", None) == "bpe":
        tokens = [model.codec.piece(index) for index in range(len(tokens))]
    return table.weight.detach().float().cpu().numpy(), tokens


def samples(model: Any) -> list[tuple[Text, str]]:
    """Texts that a model writes, each with what was asked for."""
    if model.task in ("language-model", "ngram"):
        tokens = 300 if model.settings.level == "char" else 80
        return [
            (
                Text(f"temperature {temperature}", f"温度 {temperature}"),
                model.generate("", tokens=tokens, temperature=temperature, seed=1),
            )
            for temperature in (0.5, 0.8, 1.0)
        ]
    if model.task == "conditional-language-model":
        labels = model.codec.labels[:4]
        return [
            (Text(f"label {each}", f"标签 {each}"), model.generate(label=each, tokens=80, seed=1)) for each in labels
        ]
    return []
