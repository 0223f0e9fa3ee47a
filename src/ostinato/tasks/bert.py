"""Pre-training a small BERT from scratch: text to a network that gives each token a vector that knows its context."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from ostinato.codecs.word_piece import PADDING, SPECIAL, WordPieceCodec
from ostinato.data import TextReader
from ostinato.features.bert_loading import TASK, bert_config, library
from ostinato.tasks.corpus import ReadingSettings, Sources, resolve, source_names
from ostinato.tasks.fitting import FittedModel
from ostinato.tasks.sentence_pairs import Documents, Pairs, PreparedDocuments, Window, numbered_sentences, prepare
from ostinato.training.objective import Evaluation
from ostinato.training.settings import TrainingSettings


class PreTrainingSettings(ReadingSettings, TrainingSettings):
    """All that can be set about the pre-training of a BERT."""

    hidden_size: int = Field(128, ge=1, description="features of a token; a multiple of num_heads")
    num_layers: int = Field(2, ge=1, description="layers upon each other")
    num_heads: int = Field(2, ge=1, description="of attention, in each layer")
    max_length: int = Field(128, ge=8, description="tokens of an input, [CLS] and both [SEP] included")
    dropout: float = Field(0.1, ge=0, lt=1, description="of hidden states and of attention")
    vocabulary_size: int = Field(8000, ge=len(SPECIAL) + 2, description="word pieces to learn, at most")
    lowercase: bool = Field(True, description="fold to lower case, without accents")
    sentences: Literal["marks", "lines"] = Field(
        "marks", description="a sentence ends with its marks or its line, or is a line; an empty line ends a document"
    )
    masked: float = Field(0.15, gt=0, lt=1, description="share of the tokens to tell from the others")
    batch_size: int = Field(32, ge=1, description="inputs at once")
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = Field(
        0.001, description="peak rate; auto: found by a short sweep"
    )
    weight_decay: float = Field(0.01, ge=0, description="decoupled for adamw, else added to the gradient")

    @model_validator(mode="after")
    def _agree(self) -> PreTrainingSettings:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size = {self.hidden_size} is no multiple of num_heads = {self.num_heads}")
        return self


class PreTraining(nn.Module):
    r"""An encoder with the two heads of its pre-training (Devlin et al. 2019, section 3.1), over hidden states h:

    masked token: p(token at t) = softmax(E · LayerNorm(GELU(W h_t + c)) + b), with E the embedding;
    next sentence: p = softmax(V tanh(U h_[CLS] + d) + e), where U, d are the encoder's own.

    Args:
        config: of the encoder, as transformers has it.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.bert = library("a BERT").BertModel(config)
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.next_sentence = nn.Linear(width, 2)
        for layer in (self.transform, self.next_sentence):
            nn.init.normal_(layer.weight, std=config.initializer_range)
            nn.init.zeros_(layer.bias)

    @property
    def embedding(self) -> nn.Embedding:
        """Of the tokens."""
        return self.bert.embeddings.word_embeddings

    def forward(self, window: Window) -> tuple[Tensor, Tensor]:
        """Logits of the masked tokens, [masked, vocabulary], in the order of rows, and of the pairs, [batch, 2]."""
        output = self.bert(window.inputs, attention_mask=window.seen, token_type_ids=window.segments)
        told = output.last_hidden_state[window.targets >= 0]  # the head is run where there is something to tell
        told = self.norm(functional.gelu(self.transform(told)))
        return functional.linear(told, self.embedding.weight, self.bias), self.next_sentence(output.pooler_output)


class MaskedAndNext:
    """The objective: mean −log p of the masked tokens, plus that of whether the second sentence follows the first."""

    def __init__(self, model: Any, documents: PreparedDocuments) -> None:
        s = model.settings
        self.model, self.network = model, model.network
        self.device = next(self.network.parameters()).device
        shared = (s.batch_size, s.max_length, s.masked, len(documents.codec), s.seed)
        self.windows: Any = Pairs(documents.train, *shared)
        self.validation = Pairs(documents.validation, *shared)  # of epoch 0 for ever: always the same masks

    def begin_epoch(self, epoch: int) -> None:
        """New pairs, new masks."""
        self.windows.begin(epoch)

    def initial_state(self) -> Any:
        """None: each input stands on its own."""
        return ()

    def count(self, window: Window) -> int:
        """Masked tokens."""
        return int((window.targets >= 0).sum())

    def loss(self, window: Window, state: Any) -> tuple[Tensor, Any]:
        """Σ −log p over the masked tokens, and for each of them the mean −log p of the pairs.

        So the loop, which divides by the number of targets, descends the sum of both means.
        """
        s = self.model.settings
        window = Window(*(part.to(self.device) for part in window))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            tokens, pairs = self.network(window)
            wanted = window.targets[window.targets >= 0]
            masked = functional.cross_entropy(tokens, wanted, reduction="sum", label_smoothing=s.label_smoothing)
            follows = functional.cross_entropy(pairs, window.is_next)
        return masked + self.count(window) * follows, state

    def evaluate(self) -> Evaluation:
        """The sum of both means on the validation data, and its parts."""
        parts = measure(self.network, self.validation)
        loss = parts["masked_loss"] + parts["next_sentence_loss"]
        return Evaluation(loss, loss, parts)

    def figures(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        """A sum of two means says nothing more."""
        return {}

    def save_best(self, step: int, loss: float) -> None:
        """Keep the weights."""
        self.model.keep_best(step, loss)


@torch.inference_mode()
def measure(network: PreTraining, batches: Pairs) -> dict[str, float]:
    """Mean −log p in nats, and the share that is right, of masked tokens and of pairs."""
    device = network.bias.device
    sums = dict.fromkeys(("masked", "masked_loss", "masked_right", "pairs", "next_loss", "next_right"), 0.0)
    for window in (batches[index] for index in range(len(batches))):
        window = Window(*(part.to(device) for part in window))
        tokens, pairs = network(window)
        wanted = window.targets[window.targets >= 0]
        sums["masked"] += len(wanted)
        sums["masked_loss"] += float(functional.cross_entropy(tokens, wanted, reduction="sum"))
        sums["masked_right"] += int((tokens.argmax(1) == wanted).sum())
        sums["pairs"] += len(pairs)
        sums["next_loss"] += float(functional.cross_entropy(pairs, window.is_next, reduction="sum"))
        sums["next_right"] += int((pairs.argmax(1) == window.is_next).sum())
    return {
        "masked_loss": sums["masked_loss"] / sums["masked"],
        "masked_accuracy": sums["masked_right"] / sums["masked"],
        "next_sentence_loss": sums["next_loss"] / sums["pairs"],
        "next_sentence_accuracy": sums["next_right"] / sums["pairs"],
    }


class Bert(FittedModel):
    r"""A BERT of its own word pieces, trained to tell masked tokens, and whether a sentence follows another.

    The network is that of transformers (the extra `bert`); the bundle is loaded as `ostinato.features.BertVectors`.

    Args:
        settings: by name, see `PreTrainingSettings`.

    Beside what every `fit` raises:
        DataError: if the corpus makes fewer than two inputs, or its validation part does.
        MissingExtra: if transformers is not installed.

    >>> Bert(hidden_size=10, num_heads=4)
    Traceback (most recent call last):
    ostinato.errors.SettingsError: hidden_size = 10 is no multiple of num_heads = 4
    """

    task = TASK
    Settings = PreTrainingSettings
    codec_type = WordPieceCodec
    pipeline_tag = "feature-extraction"

    def build(self) -> PreTraining:
        """Encoder and heads, with fresh weights."""
        return PreTraining(bert_config(self.settings.plain(), len(self.codec), PADDING))

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> PreparedDocuments:
        """Read, learn word pieces, write ids."""
        library("pre-training a BERT")  # before an hour of reading
        reading = self._part(ReadingSettings)
        return prepare(sources, validation, self.settings, reading, folder, self.reporter.message)

    def objective(self, corpus: PreparedDocuments) -> MaskedAndNext:
        """What training descends."""
        return MaskedAndNext(self, corpus)

    def evaluate(
        self, corpus: Sources, batch_size: int | None = None, encoding: str | None = None, errors: str | None = None
    ) -> dict[str, float]:
        """Losses in nats and accuracies on a text, with masks and pairs drawn as for the validation data.

        Args:
            corpus: a file, a folder, a pattern, several of them, or `-` for standard input.
            batch_size: inputs at once; as in training if None. What is drawn depends on it.
            encoding: of the files; as in training if None.
            errors: at bytes that are not text; as in training if None.

        Raises:
            DataError: if the text cannot be read, or makes fewer than two inputs.
        """
        s = self.settings
        with tempfile.TemporaryDirectory() as scratch:
            run = Path(scratch)
            files = resolve(source_names(corpus, None)["corpus"], run)
            blocks = TextReader(files, encoding or s.encoding, errors or s.errors).blocks()
            found = Documents.write(run, "text", numbered_sentences(blocks, s.sentences), self.codec, s.max_length - 3)
            found.check("the text", s.max_length)
            shape = (batch_size or s.batch_size, s.max_length, s.masked, len(self.codec), s.seed)
            parts = measure(self.network, Pairs(found, *shape))
        loss = parts["masked_loss"] + parts["next_sentence_loss"]
        return {"loss": loss, **parts, "tokens": len(found.tokens), "inputs": len(found.chunks)}
