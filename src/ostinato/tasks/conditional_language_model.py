"""Text from a label: a language model that is told what its text is to be about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.codecs.pairs import END, SideCodec, blocks_of, opened
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.errors import BundleError, SettingsError, nearest
from ostinato.files import write_text
from ostinato.heads import make_head
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.sampling import GenerationSettings, generate_ids, until
from ostinato.tasks.embeddings import EmbeddingSettings
from ostinato.tasks.examples import Example, ExampleReader, ExampleSettings
from ostinato.tasks.recurrent_settings import RecurrentSettings, recurrent_network
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable, pad
from ostinato.tasks.writing import perplexity
from ostinato.topologies import VecToSeq
from ostinato.training.settings import TrainingSettings


class ConditionalSettings(TextSettings, ExampleSettings, EmbeddingSettings, RecurrentSettings, TrainingSettings):
    """All that can be set about a language model under labels."""

    level: Literal["char", "word", "bpe"] = Field("bpe", description="a token is a character, a word, or a byte pair")
    embedding_size: int | None = Field(128, ge=1, description="features of a token")
    label_size: int = Field(64, ge=1, description="features of a label")
    condition: Literal["state", "inputs", "both"] = Field(
        "both", description="what the label gives: the first state, something added to every token, or both"
    )
    tie_weights: bool = Field(True, description="the output layer shares the embedding's weights")
    max_tokens: int = Field(400, ge=1, description="longer texts are passed over, and counted")


class LabelledText:
    """Text ↔ ids that end with `END`, and labels ↔ ids.

    Args:
        text: the codec of the text.
        labels: in the order of their ids.
    """

    def __init__(self, text: SideCodec, labels: Sequence[str]) -> None:
        self.text, self.labels = text, tuple(labels)
        self._ids = {label: index for index, label in enumerate(self.labels)}

    @property
    def vocabulary(self) -> list[str]:
        """Tokens by id."""
        return self.text.vocabulary

    def label_ids(self, labels: Iterable[str]) -> list[int]:
        """Ids of labels.

        Raises:
            SettingsError: naming those there are, if one is not known.
        """
        for label in labels:
            if label not in self._ids:
                known = ", ".join(self.labels[:20]) + (" …" if len(self.labels) > 20 else "")
                raise SettingsError(f"label {label!r}: one of {known}{nearest(label, self.labels)}")
        return [self._ids[label] for label in labels]

    def save(self, folder: Path) -> None:
        """Write both."""
        (folder / "text").mkdir(exist_ok=True)
        self.text.text.save(folder / "text")
        write_text(folder / "labels.json", json.dumps(self.labels, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> LabelledText:
        """What `save` wrote.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        text = SideCodec(TextCodec.load(folder / "text"))
        try:
            labels = json.loads((folder / "labels.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(f"{folder / 'labels.json'}: damaged: {error}") from None
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BundleError(f"{folder / 'labels.json'}: damaged: expected a list of strings")
        return cls(text, labels)


class LabelToText(nn.Module):
    """The mean of the labels' vectors conditions a sequence.

    Args:
        labels: how many there are.
        label_size: features of each.
        writer: of the sequence.
    """

    def __init__(self, labels: int, label_size: int, writer: VecToSeq) -> None:
        super().__init__()
        self.labels = nn.EmbeddingBag(labels, label_size, mode="mean")
        nn.init.normal_(self.labels.weight, std=0.5)  # as unlike from the beginning as what it is to change
        self.writer = writer

    @property
    def embedding(self) -> nn.Module:
        """Of the tokens."""
        return self.writer.embedding

    def begin(self, labels: Tensor, counts: Tensor) -> Any:
        """The state before the first token, from the ids of all rows' labels on end and how many each has."""
        return self.writer.begin(self.labels(labels, counts.cumsum(0) - counts))


class LabelledBatch(NamedTuple):
    """Texts side by side, with their labels."""

    labels: Tensor
    """Of all rows on end."""
    label_counts: Tensor
    inputs: Tensor
    """[time, batch]"""
    targets: Tensor
    """[time, batch]; `IGNORED` at padding."""
    lengths: Tensor


class ConditionalLanguageModel(SupervisedModel):
    r"""p(text | labels) = ∏ p(token | tokens before, labels).

    Args:
        settings: by name, see `ConditionalSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text("label,text\n" + "5,very good\n1,not good\n" * 40)
    >>> model = ConditionalLanguageModel(hidden_size=16, num_layers=1, epochs=2, batch_size=8, warmup_steps=0)
    >>> _ = model.fit(path, progress=False)
    >>> isinstance(model.generate(label="5", seed=0), str)
    True
    """

    task = "conditional-language-model"
    Settings = ConditionalSettings
    codec_type = LabelledText
    columns = {"text": "<i4", "labels": "<i4"}  # noqa: RUF012
    length_column = "text"
    read_from = (1, 1)  # a mark is read first, the last token never
    criterion = "loss"

    def build(self) -> LabelToText:
        """Labels, embedding, layers and head, with fresh weights."""
        s, size = self.settings, len(self.codec.text)
        width = s.embedding_size or s.hidden_size
        embedding = nn.Embedding(size, width)
        nn.init.normal_(embedding.weight, std=0.05 if s.tie_weights else width**-0.5)
        shared = embedding.weight if s.tie_weights else None
        head = make_head("full", width if s.tie_weights else s.hidden_size, size, shared)
        network = recurrent_network(s, width)
        writer = VecToSeq(s.label_size, embedding, network, head, s.condition, *s.around())
        return LabelToText(len(self.codec.labels), s.label_size, writer)

    def reader(self, files: Sequence[Path], **changes: Any) -> ExampleReader:
        """Reads labelled texts."""
        return ExampleReader(files, self._part(ExampleSettings).model_copy(update=changes))

    def learn_codec(self, examples: Callable[[], Iterator[Example]]) -> LabelledText:
        """The text's tokens, and all labels."""
        settings = self._part(TextSettings)
        text = TextCodec.learn(blocks_of(opened(each.text, settings.level) for each in examples()), settings)
        return LabelledText(SideCodec(text), sorted({label for each in examples() for label in each.labels}))

    def encode(self, example: Example) -> Row:
        """Ids of the text and of its labels."""
        if not example.text.strip():
            raise Unusable("an empty text")
        try:
            labels = self.codec.label_ids(example.labels)
        except SettingsError as error:
            raise Unusable(f"{error}, the labels of the training data") from None
        text = self.codec.text.encode(example.text)
        if len(text) - 1 > self.settings.max_tokens:
            raise Unusable(f"longer than max_tokens = {self.settings.max_tokens}")
        return {"text": text, "labels": labels}

    def batch(self, rows: Sequence[Row]) -> LabelledBatch:
        """Ids side by side."""
        targets, lengths = pad([row["text"] for row in rows], IGNORED)
        inputs = torch.cat([targets.new_full((1, len(rows)), END), targets[:-1]]).clamp(min=0)
        labels = torch.from_numpy(np.concatenate([row["labels"] for row in rows]).astype(np.int64))
        counts = torch.tensor([len(row["labels"]) for row in rows])
        return LabelledBatch(labels, counts, inputs, targets, lengths)

    def count(self, batch: LabelledBatch) -> int:
        """Tokens to tell, the ends counted in."""
        return int(batch.lengths.sum())

    def loss(self, batch: LabelledBatch) -> Tensor:
        """Σ −log p over the texts' tokens."""
        return self._loss(batch, self.network.writer.head.loss, self.settings.label_smoothing)

    def _loss(self, batch: LabelledBatch, loss: Callable[..., Tensor], *options: Any) -> Tensor:
        state = self.network.begin(batch.labels, batch.label_counts)
        hidden, _ = self.network.writer(batch.inputs, state, batch.lengths)
        real = batch.targets >= 0
        return loss(hidden[real], batch.targets[real], *options)

    def measure(self, batches: Iterable[LabelledBatch]) -> dict[str, float]:
        """Loss and perplexity, a token."""
        total, counted = 0.0, 0
        for batch in map(self.on_device, batches):
            with torch.inference_mode():
                total += float(self._loss(batch, self.network.writer.head.full_loss))
            counted += self.count(batch)
        return {"loss": total / counted, "perplexity": perplexity(total / counted)}

    @torch.no_grad()
    def _ids(self, prompt: str, labels: Sequence[str], settings: GenerationSettings) -> Iterator[list[int]]:
        """Ids of each next token, one for every sample, until all have ended."""
        if not labels:
            raise SettingsError(f"label: none is given; one of {', '.join(self.codec.labels[:20])}")
        side, rows = self.codec.text, settings.samples
        ids = torch.tensor(self.codec.label_ids(labels) * rows)
        counts = torch.full((rows,), len(labels))
        state = self.network.begin(*self.on_device((ids, counts)))
        device = next(self.network.parameters()).device
        read = [END, *side.encode(prompt)[:-1].tolist()]
        banned = [] if settings.unknown or side.unknown_id is None else [side.unknown_id]
        ended = [False] * rows
        for row in generate_ids(
            lambda ids, state: self.network.writer.step(ids.to(device), state), state, read, settings, banned
        ):
            ended = [before or index == END for before, index in zip(ended, row, strict=True)]
            yield [END if over else index for over, index in zip(ended, row, strict=True)]
            if all(ended):
                return

    def _text(self, ids: Iterable[int], prompt: str) -> Iterator[str]:
        """Pieces of a text, from its ids up to `END`."""

        def told() -> Iterator[int]:
            for index in ids:
                if index == END:
                    return
                yield index - 1

        begun = bool(prompt.strip())
        for piece in self.codec.text.text.stream(told(), prompt):
            yield piece if begun else piece.lstrip(" ")
            begun = begun or bool(piece)

    def stream(self, prompt: str = "", label: str | Sequence[str] = (), **options: Any) -> Iterator[str]:
        """Pieces of one text as they are made, the prompt first; see `generate`."""
        settings = GenerationSettings.checked(options)
        if settings.samples != 1:
            raise SettingsError(f"samples = {settings.samples}: a stream is one text; use generate")
        drawn = (row[0] for row in self._ids(prompt, _listed(label), settings))
        yield prompt
        yield from until(self._text(drawn, prompt), settings.stop)

    def generate(self, prompt: str = "", label: str | Sequence[str] = (), **options: Any) -> Any:
        """A text under a label, or several: the prompt and what follows, up to its end or `tokens`; a list of samples.

        Raises:
            SettingsError: for a label that is not known, or an option that is unknown or out of range.
        """
        settings = GenerationSettings.checked(options)
        rows = list(zip(*self._ids(prompt, _listed(label), settings), strict=True))
        texts = [prompt + "".join(until(self._text(row, prompt), settings.stop)) for row in rows]
        return texts if settings.samples > 1 else texts[0]

    def log_probability(self, text: str, label: str | Sequence[str]) -> float:
        """Log p of a whole text under labels, nats."""
        row = self.encode(Example(text, tuple(_listed(label))))
        with torch.inference_mode():
            return -float(self._loss(self.on_device(self.batch([row])), self.network.writer.head.full_loss))

    def sample(self) -> str:
        """A text under each of the first labels, for the model card."""
        labels = self.codec.labels[:3]
        return "\n\n".join(f"{each}: {self.generate(label=each, tokens=60, seed=0)}" for each in labels)


def _listed(label: str | Sequence[str]) -> list[str]:
    return [label] if isinstance(label, str) else list(label)
