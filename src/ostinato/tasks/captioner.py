"""Captions: a text about an image, by a convolutional encoder and a decoder of its vector, or attending to places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.attention import Memory, make_attention
from ostinato.beam_search import Beam
from ostinato.codecs.images import ImageCodec, ImageSettings
from ostinato.codecs.pairs import END, END_TOKEN, SideCodec, blocks_of, opened
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.encoder_decoder import EncoderDecoder
from ostinato.errors import DataError, MissingExtra, SettingsError
from ostinato.heads import make_head
from ostinato.image_encoder import ImageEncoder, Places, PlacesToVector
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.networks import map_state
from ostinato.tasks.captioning import CaptioningModel
from ostinato.tasks.captions import CaptionCodec, Captioned, CaptionReader, CaptionSettings
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.recurrent_settings import RecurrentSettings, recurrent_network
from ostinato.tasks.supervised import FromExamples, Prepared, Row, SupervisedModel, Unusable, pad
from ostinato.tasks.translation_quality import has_sacrebleu, translation_quality
from ostinato.tasks.translator import FromPairs
from ostinato.tasks.writing import perplexity
from ostinato.topologies import VecToSeq
from ostinato.training.settings import TrainingSettings


class CaptionerSettings(
    TextSettings, CaptionSettings, ImageSettings, EmbeddingSettings, RecurrentSettings, TrainingSettings
):
    """All that can be set about a captioner."""

    level: Literal["char", "word", "bpe"] = Field("word", description="a token is a character, a word, or a byte pair")
    embedding_size: int | None = Field(128, ge=1, description="features of a token")
    hidden_size: int = Field(256, ge=1, description="units of a decoder's layer")
    num_layers: int = Field(1, ge=1, description="layers of the decoder upon each other")
    filters: tuple[int, ...] = Field((16, 32, 64, 64), min_length=1, description="features of each convolution")
    places: int = Field(8, ge=1, description="convolutions halve the image until no side has more places than this")
    attention: Literal["additive", "general", "dot", "scaled", "none"] = Field(
        "additive", description="scores of places; none: the decoder is fed by one vector of the whole image"
    )
    feed: Literal["none", "attentional", "context"] = Field(
        "none", description="what the decoder reads beside a token: nothing (fast), input feeding, or the context"
    )
    vector_size: int = Field(
        256, ge=1, description="features of the vector of an image, and of a place that is attended to"
    )
    condition: Literal["state", "inputs", "both"] = Field(
        "both", description="what that vector gives: the first state, something added to every token, or both"
    )
    tie_weights: bool = Field(False, description="the output layer shares the embedding's weights")
    scheduled_sampling: float = Field(
        0.0, ge=0, le=1, description="share of inputs that the model draws itself, in the last epoch; it rises from 0"
    )
    max_tokens: int = Field(60, ge=1, description="longer captions are passed over, and counted; none longer is made")
    beam_size: int = Field(5, ge=1, description="hypotheses of evaluate and predict; validation takes the likeliest")
    length_penalty: float = Field(1.0, ge=0, description="α of (5 + length)^α / 6^α, which log p is divided by")
    criterion: Literal["loss", "exact", "bleu"] = Field(
        "loss", description="what chooses the best epoch; bleu, of four words, says nothing of shorter captions"
    )
    bleu_tokenizer: str = Field("auto", description="sacrebleu's; auto: zh where captions are Chinese, else 13a")
    batch_size: int = Field(64, ge=1, description="images side by side")
    epochs: int = Field(20, ge=1, description="passes over the training data")
    learning_rate: float | Literal["auto"] = Field(0.001, description="peak rate; auto: found by a short sweep")

    @model_validator(mode="after")
    def _agree(self) -> CaptionerSettings:
        if self.attention == "none" and self.feed != "none":
            raise ValueError("attention = none: there is nothing to feed")
        if any(each < 1 for each in self.filters):
            raise ValueError(f"filters = {self.filters}: each at least 1")
        if self.vectors is not None and self.level == "bpe":
            raise ValueError("vectors: are of words or characters, and tokens of level = bpe are pieces of bytes")
        return self


class CaptionBatch(NamedTuple):
    """Images side by side, and all their captions."""

    images: Tensor
    """uint8 [images, channels, height, width]"""
    of: Tensor
    """The image of each caption, int64 [captions]."""
    inputs: Tensor
    """What the decoder reads, [time, captions]: the captions one step later."""
    targets: Tensor
    """What it is to tell, [time, captions]; `IGNORED` at padding."""
    lengths: Tensor
    texts: tuple[tuple[str, ...], ...]
    """The captions of each image as they were."""


class ImageToText(nn.Module):
    """An image encoder, and a decoder of its vector (`VecToSeq`) or of its places (`EncoderDecoder`).

    Args:
        encoder: of images.
        decoder: of what it gives.
        vector: of all places; None where the decoder attends to them.
    """

    def __init__(
        self, encoder: ImageEncoder, decoder: VecToSeq | EncoderDecoder, vector: PlacesToVector | None
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.vector = encoder, decoder, vector

    @property
    def embedding(self) -> Any:
        """Of tokens."""
        return self.decoder.embedding if isinstance(self.decoder, VecToSeq) else self.decoder.target_embedding

    @property
    def head(self) -> Any:
        """What tells the next token."""
        return self.decoder.head

    def encode(self, images: Tensor) -> tuple[Memory | None, Any]:
        """Images uint8 [batch, channels, height, width] → what is attended to, and the decoder's first state."""
        places = self.encoder(images)
        if isinstance(self.decoder, EncoderDecoder):
            return self.decoder.encode(places)
        assert self.vector is not None  # noqa: S101
        return None, self.decoder.begin(self.vector(places))

    def forward(self, images: Tensor, of: Tensor, inputs: Tensor, lengths: Tensor, sampled: float = 0.0) -> Tensor:
        """What the head reads of known captions, [time, captions, features]; each image is encoded once.

        Args:
            images: uint8 [batch, channels, height, width].
            of: the image of each caption, int64 [captions].
            inputs: ids, each before the one that is to be told, [time, captions].
            lengths: int64 [captions].
            sampled: share of inputs that the model draws itself; 0 is teacher forcing.
        """
        memory, state = self.encode(images)
        state = map_state(lambda part: part.index_select(0, of), state)
        if isinstance(self.decoder, EncoderDecoder):
            chosen = memory and Memory(memory.values[of], memory.keys[of], None)
            return self.decoder.decode(inputs, chosen, state, lengths, sampled)[0]
        return self.decoder(inputs, state, lengths, sampled)[0]

    def step(self, ids: Tensor, state: Any, memory: Memory | None) -> tuple[Tensor, Tensor | None, Any]:
        """Ids [rows] → log p of the next [rows, vocabulary], weights of places [rows, places] or None, the state."""
        if isinstance(self.decoder, EncoderDecoder):
            return self.decoder.step(ids, state, memory)
        log_p, state = self.decoder.step(ids, state)
        return log_p, None, state


class Captioner(CaptioningModel, SupervisedModel):
    r"""p(caption | image) = ∏ p(token | tokens before, image) (Vinyals et al. 2015; with attention Xu et al. 2015).

    Args:
        settings: by name, see `CaptionerSettings`.

    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for colour in ("red", "blue"):
    ...     Image.new("RGB", (8, 8), colour).save(folder / f"{colour}.png")
    >>> _ = (folder / "images.csv").write_text("image,caption\nred.png,all red\nblue.png,all blue\n")
    >>> small = {"hidden_size": 16, "vector_size": 16, "filters": (4,), "min_count": 1}
    >>> model = Captioner(**small, epochs=30, dropout=0, learning_rate=0.02)
    >>> _ = model.fit(folder / "images.csv", folder / "images.csv", progress=False)
    >>> [each.text for each in model.predict([folder / "red.png", folder / "blue.png"])]
    ['all red', 'all blue']
    """

    task = "captioner"
    pipeline_tag = "image-to-text"
    Settings = CaptionerSettings
    codec_type = CaptionCodec
    columns = {"image": "<u1", "captions": "<i4", "texts": "<u1"}  # noqa: RUF012
    length_column = "captions"
    sampled = 0.0
    """Share of the decoder's inputs that it draws itself, in this epoch."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.criterion = self.settings.criterion
        self._too_long = 0

    def build(self) -> ImageToText:
        """Encoder, embedding, decoder and head, with fresh weights."""
        s, size = self.settings, len(self.codec.text)
        channels, height, columns = self.codec.images.shape
        encoder = ImageEncoder(channels, height, columns, s.filters, s.places)
        count, seen = encoder.grid[0] * encoder.grid[1], encoder.output_size
        width = s.embedding_size or s.hidden_size
        embedding = nn.Embedding(size, width)
        nn.init.normal_(embedding.weight, std=0.05 if s.tie_weights else width**-0.5)
        features = width if s.tie_weights else s.hidden_size
        head = make_head("full", features, size, embedding.weight if s.tie_weights else None)
        if s.attention == "none":
            decoder = VecToSeq(s.vector_size, embedding, recurrent_network(s, width), head, s.condition, *s.around())
            return ImageToText(encoder, decoder, PlacesToVector(count, seen, s.vector_size))
        fed = {"none": 0, "attentional": features, "context": s.vector_size}[s.feed]
        attention = make_attention(s.attention, s.hidden_size, s.vector_size)
        places: Any = Places(count, seen, s.vector_size)
        layers = recurrent_network(s, width + fed)
        decoder = EncoderDecoder(
            nn.Identity(), places, embedding, layers, head, features, attention, s.feed, *s.around()
        )
        return ImageToText(encoder, decoder, None)

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Prepared:
        """Read, learn size and vocabulary, write bytes and ids."""
        if self.settings.criterion == "bleu" and not has_sacrebleu():
            raise MissingExtra("sacrebleu", "eval", "the criterion bleu")
        return super().prepare(sources, validation, folder)

    def reader(self, files: Sequence[Path], **changes: Any) -> CaptionReader:
        """Reads captioned images."""
        return CaptionReader(files, self._part(CaptionSettings).model_copy(update=changes))

    def learn_codec(self, examples: Callable[[], Iterator[Captioned]]) -> CaptionCodec:
        """The size of the images, and the captions' tokens."""
        text, images = self._part(TextSettings), self._part(ImageSettings)
        captions = chain.from_iterable(each.captions for each in examples())
        learned = TextCodec.learn(blocks_of(opened(each, text.level) for each in captions), text)
        return CaptionCodec(self._image_codec(examples(), images), SideCodec(learned))

    def _image_codec(self, examples: Iterator[Captioned], settings: ImageSettings) -> ImageCodec:
        """Of the images that can be read, where others are passed over."""

        def sound() -> Iterator[tuple[Any, str]]:
            for each in examples:
                if self.settings.damaged == "skip":
                    try:
                        ImageCodec.learn([each[:2]], settings)
                    except DataError:
                        continue
                yield each[:2]

        return ImageCodec.learn(sound(), settings)

    def encode(self, example: Captioned) -> Row:
        """Bytes, ids and texts."""
        if not example.captions:
            raise Unusable("an empty caption")
        ids = [self.codec.text.encode(text) for text in example.captions]
        fitting = [at for at, each in enumerate(ids) if 1 < len(each) <= self.settings.max_tokens + 1]
        if not fitting:
            raise Unusable(f"no caption of 1 to max_tokens = {self.settings.max_tokens} tokens")
        self._too_long += len(ids) - len(fitting)
        try:
            row = dict(self.encode_image(example))
        except DataError:
            if self.settings.damaged == "stop":
                raise
            raise Unusable("an image that cannot be read") from None
        texts = "\n".join(example.captions[at] for at in fitting)
        captions = np.concatenate([ids[at] for at in fitting])
        return row | {"captions": captions, "texts": np.frombuffer(texts.encode("utf-8", "replace"), np.uint8)}

    def encode_image(self, example: Captioned | np.ndarray) -> Row:
        """The row of an image to be told of, a file's or an array."""
        codec = self.codec.images
        image = codec.pixels(example) if isinstance(example, np.ndarray) else codec.read(example.image, example.where)
        return {"image": image.reshape(-1), "captions": np.array([END]), "texts": np.zeros(0, np.uint8)}

    def prepare_more(self, examples: Callable[[], Iterator[Captioned]], run: Path) -> dict[str, Any]:
        """Tells of captions that were passed over while others of their images were not."""
        if self._too_long:
            limit = f"longer than max_tokens = {self.settings.max_tokens}"
            self.reporter.message(f"{self._too_long:,} captions passed over: {limit}, or without a token")
        return super().prepare_more(examples, run)

    def batch(self, rows: Sequence[Row]) -> CaptionBatch:
        """Bytes and ids side by side."""
        captions = [_split(row["captions"]) for row in rows]
        targets, lengths = pad([each for row in captions for each in row], IGNORED)
        inputs = torch.cat([targets.new_full((1, targets.shape[1]), END), targets[:-1]]).clamp(min=0)
        of = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(row) for row in captions]))
        images = torch.from_numpy(np.stack([row["image"] for row in rows])).view(-1, *self.codec.images.shape)
        texts = tuple(tuple(bytes(row["texts"]).decode().split("\n")) for row in rows)
        return CaptionBatch(images, of, inputs, targets, lengths, texts)

    def step_names(self, rows: Sequence[Row]) -> list[list[str]]:
        """What the decoder reads of each caption: the mark of its beginning, and all tokens but the last."""
        blank = "" if self.settings.level == "char" else " "
        pieces = (self.codec.text.pieces(each[:-1]) for row in rows for each in _split(row["captions"]))
        return [[END_TOKEN, *(blank + piece for piece in each)] for each in pieces]

    def count(self, batch: CaptionBatch) -> int:
        """Tokens to tell, the ends counted in."""
        return int(batch.lengths.sum())

    def loss(self, batch: CaptionBatch) -> Tensor:
        """Σ −log p over the captions' tokens."""
        return self._loss(batch, self.network.head.loss, self.sampled, self.settings.label_smoothing)

    def _loss(self, batch: CaptionBatch, loss: Callable[..., Tensor], sampled: float, *options: Any) -> Tensor:
        features = self.network(batch.images, batch.of, batch.inputs, batch.lengths, sampled)
        real = batch.targets >= 0
        return loss(features[real], batch.targets[real], *options)

    def measure(self, batches: Iterable[CaptionBatch]) -> dict[str, float]:
        """Loss and perplexity; of the likeliest token at each step the share of exact captions, and BLEU."""
        return self._measure(batches, self.beam(size=1))

    def measure_fully(self, batches: Iterable[CaptionBatch]) -> dict[str, float]:
        """The same figures, with the beam of the settings."""
        return self._measure(batches, self.beam())

    def _measure(self, batches: Iterable[CaptionBatch], beam: Beam) -> dict[str, float]:
        total, counted = 0.0, 0
        found: list[str] = []
        references: list[tuple[str, ...]] = []
        for batch in map(self.on_device, batches):
            with torch.inference_mode():
                total += float(self._loss(batch, self.network.head.full_loss, 0.0))
            counted += self.count(batch)
            found += [each.text for each in self.search(batch, beam)]
            references += batch.texts
        loss = total / counted
        exact = sum(text in known for text, known in zip(found, references, strict=True)) / len(found)
        figures = {"loss": loss, "perplexity": perplexity(loss), "exact": exact}
        if has_sacrebleu():
            quality = translation_quality(found, references, self.settings.bleu_tokenizer)
            self.signatures = {"bleu_signature": quality.signatures["bleu_signature"]}
            figures["bleu"] = quality.bleu
        return figures

    def beam(self, **changes: Any) -> Beam:
        """How to search, as the settings say but for changes."""
        beam = Beam(self.settings.beam_size, 1, self.settings.length_penalty)
        beam = beam._replace(**{name: value for name, value in changes.items() if value is not None})
        if beam.most > beam.size:
            raise SettingsError(f"n_best = {beam.most}: a beam of {beam.size} holds no more than {beam.size}")
        return beam

    def objective(self, corpus: Prepared) -> FromExamples:
        """What training descends, with the share of scheduled sampling of each epoch."""
        return FromPairs(self, corpus)


def _split(ids: np.ndarray) -> list[np.ndarray]:
    """The captions of an image, each with its end.

    >>> [each.tolist() for each in _split(np.array([5, 2, 0, 7, 0]))]
    [[5, 2, 0], [7, 0]]
    """
    return np.split(ids, np.flatnonzero(ids == END)[:-1] + 1)
