"""Similarity: how alike two texts are, on the scale of the data; one encoder for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from ostinato.errors import DataError
from ostinato.pair_heads import Comparison, CosineHead, DistributionHead, Encoded, LabelHead, ManhattanHead
from ostinato.pooling import MeanPooling, make_pooling, valid_steps
from ostinato.records import RecordFormat
from ostinato.settings import Settings
from ostinato.subword_embedding import SubwordEmbedding
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.model import Predicted
from ostinato.tasks.pair_codec import NO_LABEL, Pair, PairCodec, PairTextSettings
from ostinato.tasks.pair_examples import PairReader, PairReadingSettings
from ostinato.tasks.ranking import Found, most_similar
from ostinato.tasks.recurrent_settings import WholeSequenceSettings, recurrent_network
from ostinato.tasks.supervised import SupervisedModel, Unusable
from ostinato.tasks.text_inputs import TextInputs
from ostinato.topologies import SeqToVec, TwoSeqToVec
from ostinato.training.settings import TrainingSettings


class ComparingSettings(Settings):
    """How two vectors are compared."""

    bidirectional: bool = Field(True, description="read in both directions; hidden_size is that of each")
    pooling: Literal["last", "mean", "max", "attention"] = Field("max", description="of the steps to a vector")
    words_in_vector: bool = Field(True, description="the mean of the words' own vectors is a part of a text's vector")
    compare: Literal["matched", "distribution", "manhattan", "cosine"] = Field(
        "matched",
        description="distribution: features of both vectors (Tai 2015); matched: and how well their words match; "
        "manhattan: exp(−L1) (MaLSTM); cosine",
    )
    compare_size: int = Field(50, ge=1, description="units between features and marks")
    marks: int = Field(5, ge=2, description="on the scale, for matched and distribution")
    label_weight: float = Field(1.0, ge=0, description="of the loss of the pairs' labels, if the data have them")


class SimilaritySettings(
    ComparingSettings, WholeSequenceSettings, EmbeddingSettings, PairTextSettings, PairReadingSettings, TrainingSettings
):
    """All of a similarity model."""

    hidden_size: int = Field(100, ge=1, description="units of a layer, of each direction")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    dropout: float = Field(0.4, ge=0, lt=1, description="on words, between layers, and before and after comparing")
    embedding_size: int | None = Field(None, ge=1, description="features of a word [default: hidden_size]")
    epochs: int = Field(12, ge=1, description="passes over the training data")
    learning_rate: float | Literal["auto"] = Field(0.002, description="peak rate; auto: found by a short sweep")
    patience: int | None = Field(5, ge=1, description="stop after so many evaluations without gain")


class PredictSettings(Settings):
    """How pairs are read."""

    format: RecordFormat = Field("auto", description="csv, tsv or jsonl; auto: by name, else by line one")
    first_column: str | None = Field(None, description="of the first text: its name, or its number from 1")
    second_column: str | None = Field(None, description="of the second text")
    header: bool = Field(True, description="the first row names the columns; else they are called 1, 2, …")
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class PairBatch(NamedTuple):
    """Pairs side by side: all first texts, then all second ones."""

    tokens: TextInputs
    lengths: Tensor
    """int64 [2·pairs]."""
    scores: Tensor
    """On the data's own scale, float64 [pairs]."""
    shares: Tensor
    """The same from 0 to 1, float32 [pairs]."""
    labels: Tensor
    """int64 [pairs], negative where there is none."""


class Likeness(NamedTuple):
    """How alike two texts are."""

    score: float
    """On the scale of the training data."""
    label: str | None
    """What the one is to the other, if the model was trained with labels."""


class Similarity(SupervisedModel):
    r"""Pairs of texts with scores to a model that compares texts.

    Args:
        settings: by name, see `SimilaritySettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> rows = ["a dog runs,a dog runs,5", "a dog runs,the sea is calm,1", "calm sea,the sea is calm,4"] * 10
    >>> _ = path.write_text("sentence_a,sentence_b,score\n" + "\n".join(rows))
    >>> model = Similarity(hidden_size=8, epochs=8, dropout=0, learning_rate=0.02, batch_size=4, seed=1)
    >>> model = model.fit(path, path, progress=False)
    >>> same, other = model.predict([("a dog runs", "a dog runs"), ("a dog runs", "the sea is calm")])
    >>> same.score > other.score
    True
    """

    task = "similarity"
    Settings = SimilaritySettings
    PredictSettings = PredictSettings
    codec_type = PairCodec
    pipeline_tag = "sentence-similarity"
    columns = {"words": "<i4", "cut": "<i4", "buckets": "<i4", "counts": "<i4", "score": "<f8", "label": "<i4"}  # noqa: RUF012
    length_column = "words"
    criterion = "pearson"

    def reader(self, files: Sequence[Path], **changes: Any) -> PairReader:
        """Pairs of files."""
        return PairReader(files, PairReadingSettings.checked(self._part(PairReadingSettings).plain() | changes))

    def learn_codec(self, examples: Callable[[], Iterator[Pair]]) -> PairCodec:
        """Words, scale and labels of the training pairs."""
        return PairCodec.learn(examples(), self._part(PairTextSettings))

    def encode(self, example: Pair) -> dict[str, Any]:
        """A row, unless one of the texts holds no words."""
        row = self.pair_row(example)
        if not 0 < row["cut"][0] < len(row["words"]):
            raise Unusable("a text without words")
        return row

    def pair_row(self, pair: Pair) -> dict[str, Any]:
        """The words of both texts on end, the first text's number of them, the score and the label."""
        a, b = (self.codec.text_row(text) for text in (pair.first, pair.second))
        row: dict[str, Any] = {name: np.concatenate([a[name], b[name]]) for name in a}
        score = np.nan if pair.score is None else pair.score
        return row | {"cut": [len(a["words"])], "score": [score], "label": [self.codec.label_id(pair.label)]}

    def build(self) -> TwoSeqToVec:
        """Encoder and head, with fresh weights; the head of labels is a part of the pairs' head."""
        s, codec = self.settings, self.codec
        width = s.embedding_size or s.hidden_size
        words = len(codec.vocabulary)
        embedding = SubwordEmbedding(words, width, s.buckets if s.char_ngrams else 0)
        network = recurrent_network(s, width, s.bidirectional)
        pooling = make_pooling(s.pooling, network.output_size)
        parts = (embedding, network, pooling, nn.Identity(), s.around()[0], 0.0)
        encoder = TextEncoder(*parts, words=width if s.words_in_vector else 0, every=s.compare == "matched")

        def comparison() -> Comparison:
            return Comparison(encoder.output_size, s.compare_size, s.around()[1], width if encoder.every else 0)

        heads = {"manhattan": ManhattanHead, "cosine": CosineHead}
        head = heads[s.compare]() if s.compare in heads else DistributionHead(comparison(), s.compare_size, s.marks)
        if codec.labels and s.label_weight:
            head.labels = LabelHead(comparison(), s.compare_size, len(codec.labels))
        return TwoSeqToVec(encoder, head)

    def batch(self, rows: Sequence[Any]) -> PairBatch:
        """First texts, then second ones."""
        sides: list[dict[str, np.ndarray]] = []
        for second in (False, True):
            for row in rows:
                cut = int(row["cut"][0])
                in_first = int(np.sum(row["counts"][:cut]))
                words, grams = (slice(cut, None), slice(in_first, None)) if second else (slice(cut), slice(in_first))
                sides.append({n: row[n][at] for n, at in (("words", words), ("counts", words), ("buckets", grams))})
        tokens, lengths = self._texts(sides)
        scores = np.array([row["score"][0] for row in rows], np.float64)
        shares = np.array([self.codec.share(score) for score in scores], np.float32)
        labels = torch.tensor([int(row["label"][0]) for row in rows])
        return PairBatch(tokens, lengths, torch.from_numpy(scores), torch.from_numpy(shares), labels)

    @staticmethod
    def _texts(rows: Sequence[Any]) -> tuple[TextInputs, Tensor]:
        return TextInputs(rows), torch.tensor([len(row["words"]) for row in rows])

    def count(self, batch: PairBatch) -> int:
        """Pairs."""
        return len(batch.shares)

    def loss(self, batch: PairBatch) -> Tensor:
        """Σ of the head's loss, and of −log p of the labels, nats."""
        a, b = self.network(batch.tokens, batch.lengths)
        total = self.network.head.loss(a, b, batch.shares)
        labels = getattr(self.network.head, "labels", None)
        if labels is not None and bool((batch.labels >= 0).any()):
            log_p = labels(a, b)[batch.labels >= 0]
            known = batch.labels[batch.labels >= 0]
            total = total + self.settings.label_weight * functional.nll_loss(log_p, known, reduction="sum")
        return total

    def measure(self, batches: Iterable[PairBatch]) -> dict[str, float]:
        """Pearson's and Spearman's correlation, and the mean squared error on the data's own scale.

        With labels also their accuracy; one that was not learned counts as missed.
        """
        scores: list[float] = []
        wanted: list[float] = []
        total, right, labelled = 0.0, 0, 0
        for batch in map(self.on_device, batches):
            with torch.no_grad():
                a, b = self.network(batch.tokens, batch.lengths)
                total += float(self.network.head.loss(a, b, batch.shares))
                scores += [self.codec.score(share) for share in self.network.head(a, b).tolist()]
                if (labels := getattr(self.network.head, "labels", None)) is not None:
                    right += int((labels(a, b).argmax(1) == batch.labels).sum())
                    labelled += int((batch.labels != NO_LABEL).sum())
            wanted += batch.scores.tolist()
        x, y = np.array(scores), np.array(wanted)
        found = {"loss": total / len(x), **correlations(x, y), "mse": float(np.mean((x - y) ** 2))}
        return found | ({"label_accuracy": right / labelled} if labelled else {})

    def predict(self, pairs: Iterable[tuple[str, str] | Pair]) -> Iterator[Likeness]:
        """How alike the texts of each pair are, as the pairs come.

        Raises:
            DataError: if something is no pair of texts.
        """
        return self.in_order((self._pair(pair) for pair in pairs), self._likeness, self.pair_row)

    @staticmethod
    def _pair(pair: Any) -> Pair:
        if isinstance(pair, Pair):
            return pair._replace(score=None, label=None)
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DataError(f"expected a pair of texts, found {str(pair)[:60]!r}")
        return Pair(*pair)

    def _likeness(self, batch: PairBatch) -> list[Likeness]:
        a, b = self.network(batch.tokens, batch.lengths)
        names: list[str | None] = [None] * len(batch.scores)
        if (labels := getattr(self.network.head, "labels", None)) is not None:
            names = [self.codec.labels[at] for at in labels(a, b).argmax(1).tolist()]
        shares = self.network.head(a, b).tolist()
        return [Likeness(self.codec.score(share), name) for share, name in zip(shares, names, strict=True)]

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """How alike the texts of each row of files are; see `ostinato predict`."""
        reader = PairReader(files, PairReadingSettings.checked(options.plain()), scored=False)
        pairs, again = tee(reader.examples())
        for pair, found in zip(again, self.predict(pairs), strict=False):
            row: dict[str, Any] = {"first": pair.first, "second": pair.second, "score": found.score}
            label = [] if found.label is None else [found.label]
            row |= {"label": found.label} if label else {}
            yield Predicted(row, "\t".join([f"{found.score:.4f}", *label, pair.first, pair.second]))

    def vectors(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The encoder's vector of each text, float32 [features], as the texts come; of one without words, zeros."""

        def encoded(batch: Any) -> list[np.ndarray]:
            tokens, lengths = batch
            if not len(tokens):
                return [np.zeros(self.network.encoder.output_size, np.float32)] * len(lengths)
            found = self.network.encoder(tokens, lengths).vectors
            return list(found.masked_fill((lengths == 0).unsqueeze(1), 0).float().cpu().numpy())

        return self.in_order(texts, encoded, self.codec.text_row, self._texts)

    def similar(self, query: str, texts: Iterable[str], top: int = 10) -> list[Found]:
        """The texts that are most like a query, the best first; see `ostinato.tasks.ranking`."""
        return most_similar(self, query, texts, top)

    @property
    def by_vectors(self) -> bool:
        """Whether texts are compared by their vectors alone, not word by word."""
        return not self.network.encoder.every

    @torch.no_grad()
    def compare(self, vector: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Scores of vectors [texts, features] beside one [features], float64 [texts], on the data's own scale."""
        device = next(self.network.parameters()).device
        a, b = (Encoded(torch.from_numpy(np.array(each, np.float32)).to(device)) for each in (vector[None], vectors))
        return self.codec.score(self.network.head(a, b).double().cpu().numpy())


class TextEncoder(SeqToVec):
    """A `SeqToVec` that gives more than a vector: [pooled; (1/T) Σ_t e_t], and the own vector e_t of each word.

    Args:
        parts: as of `SeqToVec`.
        words: features of a word if the mean of the words' own vectors is a part of the text's, else 0.
        every: whether the words' vectors are wanted.
    """

    def __init__(self, *parts: Any, words: int = 0, every: bool = False) -> None:
        super().__init__(*parts)
        self.words, self.every = words, every
        self.output_size = int(parts[1].output_size) + words

    def forward(self, ids: Any, lengths: Tensor) -> Encoded:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Texts side by side (see `TextInputs`) and their lengths [texts] → the texts."""
        own = self.embedding(ids[:])
        embedded = self.input_dropout(own)
        outputs, state = self.network(embedded, None, lengths)
        vectors = self.pooling(outputs, state, lengths)
        if self.words:
            vectors = torch.cat([vectors, MeanPooling()(embedded, state, lengths)], dim=-1)
        if not self.every:
            return Encoded(vectors)
        mask = valid_steps(len(own), lengths, own)
        assert mask is not None  # noqa: S101
        return Encoded(vectors, own.transpose(0, 1), mask.t())


def correlations(scores: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Pearson's and Spearman's, 0 where one side does not vary.

    >>> correlations(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))["spearman"]
    1.0
    """
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(wanted) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(np.corrcoef(scores, wanted)[0, 1]),
        "spearman": float(np.corrcoef(stats.rankdata(scores), stats.rankdata(wanted))[0, 1]),
    }
