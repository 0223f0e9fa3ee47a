"""Translation: a text in one language to a text in another, by an encoder, a decoder and attention between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.attention import make_attention
from ostinato.beam_search import Beam
from ostinato.codecs.pairs import END, PairCodec
from ostinato.codecs.text import TextSettings
from ostinato.encoder_decoder import EncoderDecoder
from ostinato.errors import MissingExtra, SettingsError
from ostinato.heads import make_head
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.networks import Deep
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.parallel import Pair, ParallelReader, ParallelSettings
from ostinato.tasks.recurrent_settings import RecurrentSettings, recurrent_network
from ostinato.tasks.supervised import FromExamples, Prepared, Row, SupervisedModel, Unusable, pad
from ostinato.tasks.translating import TranslatingModel
from ostinato.tasks.translation_quality import has_sacrebleu, translation_quality
from ostinato.tasks.writing import perplexity
from ostinato.training.settings import TrainingSettings

_LONGEST_TOKEN = 100  # characters, as a mean over a whole text


class TranslatorSettings(TextSettings, ParallelSettings, EmbeddingSettings, RecurrentSettings, TrainingSettings):
    """All that can be set about a translator."""

    level: Literal["char", "word", "bpe"] = Field("bpe", description="a token is a character, a word, or a byte pair")
    target_level: Literal["char", "word", "bpe"] | None = Field(
        None, description="what a token of the target is [default: as of the source]"
    )
    joint: bool | None = Field(
        None, description="one vocabulary for both languages [default: for byte pairs on both sides]"
    )
    embedding_size: int | None = Field(256, ge=1, description="features of a token")
    hidden_size: int = Field(512, ge=1, description="units of a decoder's layer; a direction of the encoder has half")
    num_layers: int = Field(1, ge=1, description="layers upon each other, of the encoder and of the decoder")
    dropout: float = Field(0.3, ge=0, lt=1, description="between layers, of embedded tokens and of what the head reads")
    bidirectional: bool = Field(True, description="the encoder reads in both directions")
    reverse_source: bool = Field(False, description="read the source from its end (Sutskever et al. 2014)")
    attention: Literal["additive", "general", "dot", "scaled", "none"] = Field(
        "general", description="scores: additive (Bahdanau), general or dot (Luong), scaled dot, or no attention"
    )
    feed: Literal["none", "attentional", "context"] = Field(
        "none", description="what the decoder reads beside a token: nothing (fast), input feeding, or the context"
    )
    coverage: bool = Field(False, description="attention knows how much each source token was attended to before")
    tie_weights: bool = Field(True, description="the output layer shares the target embedding's weights")
    softmax: Literal["full", "sampled"] = Field("full", description="softmax that training descends")
    num_samples: int = Field(1024, ge=1, description="sampled softmax: negatives a step")
    scheduled_sampling: float = Field(
        0.0, ge=0, le=1, description="share of inputs that the model draws itself, in the last epoch; it rises from 0"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target spread over all tokens")
    max_tokens: int = Field(150, ge=1, description="longer pairs are passed over, and counted")
    beam_size: int = Field(5, ge=1, description="hypotheses of evaluate and predict; validation takes the likeliest")
    length_penalty: float = Field(1.0, ge=0, description="α of (5 + length)^α / 6^α, which log p is divided by")
    coverage_penalty: float = Field(0.0, ge=0, description="β of what tokens attended to less than once cost")
    criterion: Literal["bleu", "chrf", "loss"] | None = Field(
        None, description="what chooses the best epoch [default: bleu, or loss where sacrebleu is not installed]"
    )
    bleu_tokenizer: str = Field("auto", description="sacrebleu's; auto: zh where the target is Chinese, else 13a")
    batch_size: int = Field(64, ge=1, description="pairs side by side")
    epochs: int = Field(20, ge=1, description="passes over the training data")
    learning_rate: float | Literal["auto"] = Field(0.002, description="peak rate; auto: found by a short sweep")

    @property
    def most_characters(self) -> int:
        """Of a text; beyond, it has too many tokens, whatever they are."""
        return _LONGEST_TOKEN * self.max_tokens

    @model_validator(mode="after")
    def _agree(self) -> TranslatorSettings:
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(
                f"hidden_size = {self.hidden_size}: a bidirectional encoder halves it; give an even number"
            )
        if self.joint and self.target_level not in (None, self.level):
            raise ValueError("joint: one vocabulary for both languages needs one level for both")
        if self.attention == "none" and (self.feed != "none" or self.coverage or self.coverage_penalty):
            raise ValueError("attention = none: there is nothing for feed, coverage or coverage_penalty")
        if self.softmax != "full" and self.label_smoothing and "label_smoothing" in self.model_fields_set:
            raise ValueError(f"label_smoothing: softmax = {self.softmax} has no smoothed form; use full")
        if self.vectors is not None and self.level == "bpe":
            raise ValueError("vectors: are of words or characters, and tokens of level = bpe are pieces of bytes")
        return self


class PairBatch(NamedTuple):
    """Pairs side by side."""

    source: Tensor
    """[source, batch]"""
    source_lengths: Tensor
    inputs: Tensor
    """What the decoder reads, [target, batch]: the target one step later."""
    targets: Tensor
    """What it is to tell, [target, batch]; `IGNORED` at padding."""
    lengths: Tensor
    texts: tuple[tuple[str, str], ...]
    """Source and target as they were."""


class Translator(TranslatingModel, SupervisedModel):
    r"""p(target | source) = ∏ p(token | tokens before, source), by a recurrent encoder and decoder with attention.

    Args:
        settings: by name, see `TranslatorSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text("eins zwei\tone two\nzwei drei\ttwo three\n" * 40)
    >>> model = Translator(level="word", hidden_size=16, embedding_size=8, epochs=2, batch_size=8, dropout=0)
    >>> _ = model.fit(path, progress=False)
    >>> [each.text for each in model.predict(["eins zwei"])] != []
    True
    """

    task = "translator"
    pipeline_tag = "translation"
    Settings = TranslatorSettings
    codec_type = PairCodec
    columns = {"source": "<i4", "target": "<i4", "source_text": "<u1", "target_text": "<u1"}  # noqa: RUF012
    length_column = "source"
    sampled = 0.0
    """Share of the decoder's inputs that it draws itself, in this epoch."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.criterion = self.settings.criterion or ("bleu" if has_sacrebleu() else "loss")

    def build(self) -> EncoderDecoder:
        """Embeddings, encoder, attention, decoder and head, with fresh weights."""
        s, codec = self.settings, self.codec
        width, ways = s.embedding_size or s.hidden_size, 2 if s.bidirectional else 1
        embedding = nn.Embedding(len(codec.source), width)
        nn.init.normal_(embedding.weight, std=0.05 if s.tie_weights else width**-0.5)
        target_embedding = embedding
        if not codec.joint:
            target_embedding = nn.Embedding(len(codec.target), width)
            nn.init.normal_(target_embedding.weight, std=0.05 if s.tie_weights else width**-0.5)
        half = s.model_copy(update={"hidden_size": s.hidden_size // ways})
        encoder = recurrent_network(half, width, s.bidirectional)
        attention = None
        if s.attention != "none":
            attention = make_attention(s.attention, s.hidden_size, s.hidden_size, s.coverage)
        features = width if s.tie_weights else s.hidden_size
        fed = {"none": 0, "attentional": features, "context": s.hidden_size}[s.feed]
        decoder: Deep = recurrent_network(s, width + fed)
        shared = target_embedding.weight if s.tie_weights else None
        head = make_head(s.softmax, features, len(codec.target), shared, samples=s.num_samples)
        return EncoderDecoder(
            embedding, encoder, target_embedding, decoder, head, features, attention, s.feed, *s.around()
        )

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Prepared:
        """Read, learn both vocabularies, write ids."""
        if not has_sacrebleu():
            if self.settings.criterion in ("bleu", "chrf"):
                raise MissingExtra("sacrebleu", "eval", f"the criterion {self.settings.criterion}")
            if self.settings.criterion is None:
                self.reporter.message("sacrebleu is not installed: the best epoch is chosen by loss, not by BLEU")
        return super().prepare(sources, validation, folder)

    def reader(self, files: Sequence[Path], **changes: Any) -> ParallelReader:
        """Reads pairs."""
        return ParallelReader(files, self._part(ParallelSettings).model_copy(update=changes))

    def learn_codec(self, examples: Callable[[], Iterator[Pair]]) -> PairCodec:
        """Both vocabularies, or the one for both."""
        s, source = self.settings, self._part(TextSettings)
        target = source.model_copy(update={"level": s.target_level or s.level})
        joint = s.joint if s.joint is not None else (s.level, target.level) == ("bpe", "bpe")

        def sound() -> Iterator[Pair]:  # a line of megabytes is none that could be translated, but long to learn from
            return (each for each in examples() if max(map(len, each)) <= s.most_characters)

        return PairCodec.learn(sound, source, source if joint else target)

    def encode(self, example: Pair) -> Row:
        """Ids and texts."""
        s, codec = self.settings, self.codec
        too_long = Unusable(f"longer than max_tokens = {s.max_tokens}")
        if max(map(len, example)) > s.most_characters:
            raise too_long
        source, target = codec.source.encode(example.source), codec.target.encode(example.target)
        if len(source) == 1 or len(target) == 1:
            raise Unusable(f"an empty {'source' if len(source) == 1 else 'target'}")
        if max(len(source), len(target)) - 1 > s.max_tokens:
            raise too_long
        return self._row(source, target, *example)

    def encode_source(self, text: str) -> Row:
        """The same of a text to translate, cut where a pair would be passed over."""
        text = text[: self.settings.most_characters + 1]
        source = self.codec.source.encode(text)[:-1][: self.settings.max_tokens]
        return self._row(np.append(source, END), np.array([END]), text, "")

    def _row(self, source: np.ndarray, target: np.ndarray, *texts: str) -> Row:
        if self.settings.reverse_source:
            source = np.append(source[-2::-1], END)
        held = [np.frombuffer(text.encode("utf-8", "replace"), np.uint8) for text in texts]
        return {"source": source, "target": target, "source_text": held[0], "target_text": held[1]}

    def batch(self, rows: Sequence[Row]) -> PairBatch:
        """Ids side by side."""
        source, source_lengths = pad([row["source"] for row in rows], END)
        targets, lengths = pad([row["target"] for row in rows], IGNORED)
        inputs = torch.cat([targets.new_full((1, len(rows)), END), targets[:-1]])
        texts = tuple((bytes(row["source_text"]).decode(), bytes(row["target_text"]).decode()) for row in rows)
        return PairBatch(source, source_lengths, inputs.clamp(min=0), targets, lengths, texts)

    def count(self, batch: PairBatch) -> int:
        """Tokens to tell, the ends counted in."""
        return int(batch.lengths.sum())

    def loss(self, batch: PairBatch) -> Tensor:
        """Σ −log p over the target's tokens."""
        return self._loss(batch, self.network.head.loss, self.sampled, self.settings.label_smoothing)

    def _loss(self, batch: PairBatch, loss: Callable[..., Tensor], sampled: float, *options: Any) -> Tensor:
        features, _ = self.network(batch.source, batch.inputs, batch.source_lengths, batch.lengths, sampled)
        real = batch.targets >= 0
        return loss(features[real], batch.targets[real], *options)  # cost follows the real tokens

    def measure(self, batches: Iterable[PairBatch]) -> dict[str, float]:
        """Loss and perplexity with the full softmax, and BLEU and chrF of the likeliest token at each step."""
        return self._measure(batches, self.beam(size=1))

    def measure_fully(self, batches: Iterable[PairBatch]) -> dict[str, float]:
        """The same figures, with the beam of the settings."""
        return self._measure(batches, self.beam())

    def _measure(self, batches: Iterable[PairBatch], beam: Beam) -> dict[str, float]:
        total, counted = 0.0, 0
        found: list[str] = []
        references: list[str] = []
        for batch in map(self.on_device, batches):
            with torch.inference_mode():
                total += float(self._loss(batch, self.network.head.full_loss, 0.0))
            counted += self.count(batch)
            if has_sacrebleu():
                found += [each.text for each in self.search(batch, beam)]
                references += [target for _, target in batch.texts]
        loss = total / counted
        figures = {"loss": loss, "perplexity": perplexity(loss)}
        if found:
            quality = translation_quality(found, references, self.settings.bleu_tokenizer)
            self.signatures = quality.signatures
            figures |= {"bleu": quality.bleu, "chrf": quality.chrf}
        return figures

    def beam(self, **changes: Any) -> Beam:
        """How to search, as the settings say but for changes."""
        s = self.settings
        beam = Beam(s.beam_size, 1, s.length_penalty, s.coverage_penalty)
        beam = beam._replace(**{name: value for name, value in changes.items() if value is not None})
        if beam.most > beam.size:
            raise SettingsError(f"n_best = {beam.most}: a beam of {beam.size} holds no more than {beam.size}")
        return beam

    def objective(self, corpus: Prepared) -> FromExamples:
        """What training descends."""
        return FromPairs(self, corpus)


class FromPairs(FromExamples):
    """Pairs, with the share of scheduled sampling of each epoch."""

    model: Translator

    def begin_epoch(self, epoch: int) -> None:
        """Other batches, and a larger share."""
        super().begin_epoch(epoch)
        s = self.model.settings
        self.model.sampled = s.scheduled_sampling * min(1.0, epoch / max(1, s.epochs - 1))
