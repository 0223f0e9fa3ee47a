"""How good a tagger is: tags, spans and labels of sentences, counted as they come."""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.spans import SpanScore


class TaggingScore:
    """Figures of tags as they should be and as they were found.

    Args:
        spans: whether tags are spans; then F1, precision and recall are conlleval's.
        labels: whether sentences have labels.

    >>> score = TaggingScore(spans=True, labels=True)
    >>> score.add(["B-city", "I-city"], "flight", ["B-city", "O"], "flight")
    >>> score.figures()
    {'f1': 0.0, 'precision': 0.0, 'recall': 0.0, 'accuracy': 0.5, 'label_accuracy': 1.0, 'exact_match': 0.0}
    """

    def __init__(self, spans: bool, labels: bool) -> None:
        self._spans = SpanScore() if spans else None
        self._labels = labels
        self._right = self._tokens = self._labels_right = self._exact = self._sentences = 0

    def add(self, given: Sequence[str], label: str | None, found: Sequence[str], found_label: str | None) -> None:
        """The tags and the label of a sentence, as they should be and as they were found."""
        if self._spans is not None:
            self._spans.add(given, found)
        right = sum(map(str.__eq__, given, found))
        self._right, self._tokens, self._sentences = self._right + right, self._tokens + len(given), self._sentences + 1
        self._labels_right += label == found_label
        self._exact += right == len(given) and (label == found_label or not self._labels)

    def figures(self) -> dict[str, float]:
        """`accuracy` of tags and what is told of spans and labels; `exact_match`: sentences in which all is right."""
        found = {} if self._spans is None else self._spans.figures()
        found["accuracy"] = self._right / max(self._tokens, 1)
        if self._labels:
            found["label_accuracy"] = self._labels_right / max(self._sentences, 1)
        return found | {"exact_match": self._exact / max(self._sentences, 1)}

    def by_type(self) -> dict[str, float]:
        """F1 of each type of span."""
        return {} if self._spans is None else {f"f1 {t}": each["f1"] for t, each in self._spans.by_type().items()}
