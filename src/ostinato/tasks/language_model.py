"""Language modelling: text to the probability of each next token, and text written by drawing from it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.cells import CELLS
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.data import TextReader
from ostinato.errors import SettingsError
from ostinato.heads import make_head
from ostinato.initialisers import INITIALISERS
from ostinato.networks import Deep, Recurrent
from ostinato.sampling import GenerationSettings, generate_ids, until
from ostinato.tasks.corpus import Corpus, ReadingSettings, prepare, resolve
from ostinato.tasks.fitting import FittedModel
from ostinato.tokens import TokenFile
from ostinato.topologies import SeqToSeq
from ostinato.training.settings import TrainingSettings
from ostinato.training.windows import Window, Windows


class LanguageModelSettings(TextSettings, ReadingSettings, TrainingSettings):
    """All that can be set about a language model."""

    cell: Literal["rnn", "relu-rnn", "gru", "lstm"] = Field("lstm", description="the equations of a layer")
    hidden_size: int = Field(256, ge=1, description="units of a layer")
    num_layers: int = Field(2, ge=1, description="layers upon each other")
    embedding_size: int | None = Field(
        None, ge=1, description="features of a token [default: hidden_size, at most 64 for characters]"
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="between layers, and before the first and after the last")
    input_dropout: float | None = Field(None, ge=0, lt=1, description="before the first layer [default: dropout]")
    output_dropout: float | None = Field(None, ge=0, lt=1, description="after the last layer [default: dropout]")
    tie_weights: bool = Field(False, description="the output layer shares the embedding's weights")
    weight_init: str = Field("xavier", description=f"of input weights: {', '.join(INITIALISERS)}")
    recurrent_init: str = Field("orthogonal", description="of recurrent weights, by the same names")
    forget_bias: float = Field(1.0, description="initial bias of an LSTM's forget gate")
    output: Literal["full", "adaptive", "sampled"] = Field("full", description="softmax that training descends")
    num_samples: int = Field(1024, ge=1, description="sampled softmax: negatives a step")
    cutoffs: list[int] | None = Field(None, description="adaptive softmax: ids at which clusters begin")

    @model_validator(mode="after")
    def _agree(self) -> LanguageModelSettings:
        for name in ("weight_init", "recurrent_init"):
            if getattr(self, name) not in INITIALISERS:
                raise ValueError(f"{name} = {getattr(self, name)!r}: one of {', '.join(INITIALISERS)}")
        if self.output == "adaptive" and self.tie_weights:
            raise ValueError("tie_weights: the clusters of output = adaptive have no weights to share; use full or sampled")
        if self.output != "full" and self.label_smoothing:
            raise ValueError(f"label_smoothing: output = {self.output} has no smoothed form; use full")
        return self


class Scored(NamedTuple):
    """A token of a text and log p of it given all before, nats."""

    token: str
    log_probability: float


class LanguageModel(FittedModel):
    """A recurrent language model: p(text) = ∏ p(token | tokens before), by a cell of any kind over embedded tokens.

    Args:
        settings: by name, see `LanguageModelSettings`.

    >>> path = Path(tempfile.mkdtemp()) / "corpus.txt"
    >>> _ = path.write_text("the cat sat on the mat\\n" * 200)
    >>> model = LanguageModel(hidden_size=16, num_layers=1, epochs=2, batch_size=4, warmup_steps=0, seed=1)
    >>> _ = model.fit(path, progress=False)
    >>> len(model.generate("the ", tokens=5, seed=0))
    9
    >>> sorted(model.evaluate(path))
    ['bits_per_character', 'characters', 'loss', 'perplexity', 'tokens', 'unknown_tokens']
    """

    task = "language-model"
    Settings = LanguageModelSettings
    resumable: ClassVar[frozenset[str]] = FittedModel.resumable

    def build(self) -> SeqToSeq:
        """Embedding, layers and head, with fresh weights."""
        s, size = self.settings, len(self.codec)
        width = s.embedding_size or (min(s.hidden_size, 64) if s.level == "char" else s.hidden_size)
        embedding = nn.Embedding(size, width)
        # tied, the embedding is the output layer, whose logits should start small
        nn.init.normal_(embedding.weight, std=0.05 if s.tie_weights else width**-0.5)
        kinds = {"weight_init": s.weight_init, "recurrent_init": s.recurrent_init, "forget_bias": s.forget_bias}
        sizes = [width] + [s.hidden_size] * s.num_layers
        cells = [CELLS[s.cell](below, above, **kinds) for below, above in zip(sizes, sizes[1:], strict=False)]
        network = Deep([Recurrent(cell) for cell in cells], s.dropout)
        shared = embedding.weight if s.tie_weights else None
        features = width if s.tie_weights else s.hidden_size
        head = make_head(s.output, features, size, shared, samples=s.num_samples, cutoffs=s.cutoffs)
        around = [s.dropout if rate is None else rate for rate in (s.input_dropout, s.output_dropout)]
        return SeqToSeq(embedding, network, head, *around)

    def prepare(self, sources: Sequence[str | Path], validation: Sequence[str | Path], folder: Path) -> Corpus:
        """Read, learn the codec, write ids."""
        run = folder / "run"
        files, held_out = resolve(sources, run), resolve(validation, run) if validation else []
        text, reading = self._part(TextSettings), self._part(ReadingSettings)
        return prepare(files, held_out, text, reading, folder, self.reporter.message)

    def objective(self, corpus: Corpus) -> NextToken:
        """What training descends."""
        return NextToken(self, corpus)

    def evaluate(
        self, corpus: str | Path | Sequence[str | Path], batch_size: int | None = None
    ) -> dict[str, float | int]:
        """Score a held-out corpus with the full softmax.

        Args:
            corpus: files, folders or patterns.
            batch_size: streams side by side, each of which starts without context; by default one for every 10,000
                tokens, at most 64.

        Returns:
            loss (nats a token), perplexity exp(loss), bits_per_character, tokens, characters, and how many unknown.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            s, count = self.settings, {"characters": 0, "unknown": 0}
            reader = TextReader(resolve([corpus] if isinstance(corpus, str | Path) else corpus, folder), s.encoding, s.errors)

            def ids() -> Iterator[Any]:
                for block in reader.blocks():
                    encoded = self.codec.encode(block)
                    count["characters"] += len(block)
                    count["unknown"] += int((encoded == self.codec.unknown_id).sum())
                    yield encoded

            tokens = TokenFile.write(folder, "held-out", ids(), len(self.codec))
            rows = batch_size or max(1, min(64, len(tokens) // 10_000))
            windows = Windows(tokens, rows, 256 if rows > 1 else 1024)
            loss = mean_loss(self.network, windows)
        per_character = loss * windows.targets / count["characters"] / math.log(2)
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "bits_per_character": per_character,
            "tokens": windows.targets,
            "characters": count["characters"],
            "unknown_tokens": count["unknown"],
        }

    def _read(self, text: str) -> list[int]:
        return [self.codec.start_id(), *self.codec.encode(text).tolist()]

    @torch.inference_mode()
    def score(self, text: str) -> list[Scored]:
        """log p of each token of a text, as if a new line had gone before."""
        ids = self._read(text)
        if len(ids) < 2:
            return []
        device = next(self.network.parameters()).device
        inputs = torch.tensor(ids, device=device).unsqueeze(1)
        scored, state = [], self.network.initial_state(1)
        for start in range(0, len(ids) - 1, 512):
            hidden, state = self.network(inputs[start : min(start + 512, len(ids) - 1)], state)
            targets = inputs[start + 1 : start + 1 + len(hidden)]
            scored += self.network.head.log_probabilities(hidden).gather(2, targets.unsqueeze(1)).flatten().tolist()
        return [Scored(self.codec.decode([index]), value) for index, value in zip(ids[1:], scored, strict=True)]

    def _ids(self, prompt: str, settings: GenerationSettings) -> Iterator[list[int]]:
        banned = [] if settings.unknown or self.codec.unknown_id is None else [self.codec.unknown_id]
        with torch.inference_mode():
            state = self.network.initial_state(settings.samples)
            device = next(self.network.parameters()).device

            def step(ids: Tensor, state: Any) -> tuple[Tensor, Any]:
                with torch.inference_mode():
                    return self.network.step(ids.to(device), state)

            yield from generate_ids(step, state, self._read(prompt), settings, banned)

    def stream(self, prompt: str = "", **options: Any) -> Iterator[str]:
        """Pieces of one text as they are made, the prompt first; see `GenerationSettings` for the options."""
        settings = GenerationSettings.checked(options)
        if settings.samples != 1:
            raise SettingsError(f"samples = {settings.samples}: a stream is one text; use generate")
        yield prompt
        drawn = (row[0] for row in self._ids(prompt, settings))
        yield from until(self.codec.stream(drawn), settings.stop)

    def generate(self, prompt: str = "", **options: Any) -> Any:
        """A text that goes on from the prompt, or a list of them if `samples` is above 1.

        Raises:
            SettingsError: for an option that is unknown or out of range, or `tokens=0` (without end: use `stream`).
        """
        settings = GenerationSettings.checked(options)
        if not settings.tokens:
            raise SettingsError("tokens = 0 has no end: use stream, or give a number")
        rows = list(zip(*self._ids(prompt, settings), strict=True))
        texts = [prompt + "".join(until(self.codec.stream(row), settings.stop)) for row in rows]
        return texts if settings.samples > 1 else texts[0]

    def sample(self) -> str:
        """A short text for the model card."""
        return self.generate("", tokens=300 if self.settings.level == "char" else 80, temperature=0.8, seed=0)


class NextToken:
    """The objective: mean −log p of the next token over windows of contiguous streams."""

    def __init__(self, model: LanguageModel, corpus: Corpus) -> None:
        s = model.settings
        self.model, self.network = model, model.network
        self.device = next(self.network.parameters()).device
        self.windows = Windows(corpus.train, s.batch_size, s.bptt_steps)
        rows = max(1, min(s.batch_size, (len(corpus.validation) - 1) // 2))
        self.validation = Windows(corpus.validation, rows, 256)
        self.tokens_per_character = corpus.about["validation_tokens"] / max(1, corpus.about["validation_characters"])

    def initial_state(self) -> Any:
        """Zeros."""
        return self.network.initial_state(self.windows.batch_size)

    def loss(self, window: Window, state: Any) -> tuple[Tensor, int, Any]:
        """Σ −log p over a window."""
        s = self.model.settings
        inputs, targets = window.inputs.to(self.device), window.targets.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            hidden, state = self.network(inputs, state)
            flat = hidden.reshape(-1, hidden.shape[-1])
            loss = self.network.head.loss(flat, targets.reshape(-1), s.label_smoothing)
        return loss, int((targets >= 0).sum()), state

    def evaluate(self) -> float:
        """Mean −log p on the validation data, full softmax."""
        return mean_loss(self.network, self.validation)

    def figures(self, loss: float) -> dict[str, float]:
        """Bits per character at the level of characters, else perplexity."""
        if self.model.settings.level == "char":
            return {"bits_per_character": loss / math.log(2)}
        return {"perplexity": perplexity(loss)}

    def save_best(self, step: int, loss: float) -> None:
        """Keep the weights."""
        self.model.keep_best(step, loss)


@torch.inference_mode()
def mean_loss(network: SeqToSeq, windows: Windows) -> float:
    """Mean −log p, nats a token, of the full softmax; the state is carried from window to window."""
    total, state = 0.0, network.initial_state(windows.batch_size)
    device = next(network.parameters()).device
    head: Any = network.head
    for window in (windows[index] for index in range(len(windows))):
        hidden, state = network(window.inputs.to(device), state)
        total += float(head.full_loss(hidden.reshape(-1, hidden.shape[-1]), window.targets.reshape(-1).to(device)))
    return total / windows.targets


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that is no number."""
    return math.exp(loss) if loss < 700 else math.inf
