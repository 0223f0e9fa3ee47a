"""Tagging: a label for every token of a sentence, and, where training has them, one for the sentence."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.codecs.tags import TagCodec, TagSettings
from ostinato.crf import CRF
from ostinato.errors import DataError
from ostinato.heads import Softmax
from ostinato.pooling import make_pooling, valid_steps
from ostinato.spans import Span, is_span_tag, legal, spans_of
from ostinato.tagged import Sentence, TaggedReader, row, written
from ostinato.tasks.model import Predicted
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.tasks.running_text import Tokeniser
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable
from ostinato.tasks.tagger_network import TaggerNetwork, TokenBatch, WordsAndCharacters, token_batch
from ostinato.tasks.tagger_score import TaggingScore
from ostinato.tasks.tagger_settings import PredictSettings, TaggerSettings

_PIECE = 1024  # tokens of a sentence that are tagged at once


class Tagging(NamedTuple):
    """What a tagger says of a sentence."""

    tokens: tuple[str, ...]
    tags: list[str]
    """One a token."""
    label: str | None
    """Of the sentence; None if training had none."""
    spans: list[Span]
    """What the tags say where they are spans; else empty."""


class Tagger(SupervisedModel):
    r"""p(tags | tokens) by layers in both directions over words and their characters, with a CRF above or a softmax.

    Args:
        settings: by name, see `TaggerSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "train.txt"
    >>> _ = path.write_text("the DET\ncat NOUN\nsleeps VERB\n\na DET\ndog NOUN\nsees VERB\nit PRON\n\n" * 20)
    >>> tagger = Tagger(hidden_size=16, epochs=6, batch_size=4, warmup_steps=0, seed=1).fit(path, progress=False)
    >>> [tagging.tags for tagging in tagger.predict([["the", "dog", "sleeps"], "A cat sees it"])]
    [['DET', 'NOUN', 'VERB'], ['DET', 'NOUN', 'VERB', 'PRON']]
    """

    task = "tagger"
    pipeline_tag = "token-classification"
    Settings = TaggerSettings
    PredictSettings = PredictSettings
    codec_type = TagCodec
    columns = {  # noqa: RUF012
        "words": "<i4", "keys": "<i8", "characters": "<i4", "sizes": "<i4", "inputs": "<i4", "tags": "<i4",
        "label": "<i4", "given": "<u1",
    }  # fmt: skip
    length_column = "words"

    @property
    def criterion(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - by the data
        """F1 where tags are spans, else the share of tokens that are tagged right."""
        return "accuracy" if self.codec.data_scheme is None else "f1"

    def build(self) -> TaggerNetwork:
        """Embedding, layers and heads, with fresh weights."""
        s, codec = self.settings, self.codec
        width = s.embedding_size or 100
        embedding = WordsAndCharacters(
            torch.from_numpy(codec.counts), width, len(codec.characters), s.character_embedding, s.character_hidden,
            [len(vocabulary) for vocabulary in codec.inputs], s.input_embedding, s.word_dropout,
        )  # fmt: skip
        network = recurrent_network(s, embedding.output_size, s.bidirectional)
        if s.head == "crf":
            rules = () if codec.scheme is None else map(torch.from_numpy, legal(codec.tags, codec.scheme))
            head: Any = CRF(network.output_size, len(codec.tags), *rules)
        else:
            head = Softmax(network.output_size, len(codec.tags))
        pooling = make_pooling(s.pooling, network.output_size) if codec.labels else None
        label_head = Softmax(network.output_size, len(codec.labels)) if codec.labels else None
        return TaggerNetwork(embedding, network, head, pooling, label_head, *s.around())

    def reader(self, files: Sequence[Path], **changes: Any) -> TaggedReader:
        """Reads tagged sentences."""
        s = self.settings
        names = ("format", "column", "token_column", "label_column", "inputs", "encoding", "errors")
        return TaggedReader(files, **({name: getattr(s, name) for name in names} | changes))

    def learn_codec(self, examples: Callable[[], Iterator[Sentence]]) -> TagCodec:
        """Vocabularies, tags and labels."""
        codec = TagCodec.learn(examples(), self._part(TagSettings))
        tell = self.reporter.message
        kinds = f"{len(codec.tags):,} tags" + (f", {len(codec.labels):,} labels of sentences" if codec.labels else "")
        spans = "" if codec.data_scheme is None else f"; spans in {codec.data_scheme.upper()}, learned in "
        tell(f"{len(codec.words):,} different words, {kinds}{spans}{(codec.scheme or '').upper() if spans else ''}")
        if illegal := codec.about.get("illegal_tags"):
            tell(f"{illegal:,} tags are not legal in {str(codec.data_scheme).upper()}: read as conlleval reads them")
        return codec

    def encode(self, example: Sentence) -> Row:
        """Words, characters, tags."""
        if example.tags is not None and not example.tokens:
            raise Unusable("a sentence without tokens")
        if example.tags is not None and len(example.tokens) > _PIECE:
            raise Unusable(f"a sentence of more than {_PIECE:,} tokens: is an empty line missing?")
        codec, forms = self.codec, [self.codec.form(token) for token in example.tokens]
        unknown = np.full(len(forms), -1, np.int32)
        return {
            "words": np.array([form.word for form in forms], np.int32),
            "keys": np.array([form.key for form in forms], np.int64),
            "characters": np.concatenate([*(form.characters for form in forms), np.zeros(0, np.int32)]),
            "sizes": np.array([len(form.characters) for form in forms], np.int32),
            "inputs": codec.further(example).ravel(),
            "tags": unknown if example.tags is None else codec.tag_ids(example.tags),
            "label": np.array([codec.label_id(example.label)], np.int32),
            "given": np.frombuffer(json.dumps([example.label, example.tags]).encode(), np.uint8),
        }

    def batch(self, rows: Sequence[Row]) -> TokenBatch:
        """Sentences side by side, and each different token once."""
        return token_batch(rows, len(self.codec.inputs))

    def count(self, batch: TokenBatch) -> int:
        """Tokens."""
        return int(batch.lengths.sum())

    def loss(self, batch: TokenBatch) -> Tensor:
        """−log p of the tags, and of the labels if there are any."""
        hidden, pooled = self.network.features(batch)
        return self._loss(batch, hidden, pooled, self.settings.label_smoothing)[0]

    def _loss(self, batch: TokenBatch, hidden: Tensor, pooled: Tensor | None, smoothing: float) -> tuple[Tensor, int]:
        """Σ over what training knows, and of how many tokens: a CRF has no probability for a tag that it has not."""
        head = self.network.head
        if isinstance(head, CRF):
            live = valid_steps(len(hidden), batch.lengths, hidden)
            known = ((batch.tags >= 0) | ~live).all(0)  # pyright: ignore[reportOptionalOperand]
            total = head.losses(hidden, batch.tags.clamp(min=0), batch.lengths)[known].sum()
            tokens = int(batch.lengths[known].sum())
        else:
            total = head.loss(hidden.flatten(0, 1), batch.tags.flatten(), smoothing)
            tokens = int((batch.tags >= 0).sum())
        if pooled is not None:
            total = total + self.settings.label_weight * self.network.label_head.loss(pooled, batch.labels, smoothing)
        return total, tokens

    def _decode(self, batch: TokenBatch) -> list[tuple[list[str], str | None]]:
        """Tags of each sentence, and its label."""
        return self._best(batch, *self.network.features(batch))

    def _best(self, batch: TokenBatch, hidden: Tensor, pooled: Tensor | None) -> list[tuple[list[str], str | None]]:
        head, labels = self.network.head, self.codec.labels
        if isinstance(head, CRF):
            ids = head.decode(hidden, batch.lengths.clamp(min=1))
        else:
            ids = head.log_probabilities(hidden).argmax(-1)
        found = [self.codec.tags_of(row[:n]) for row, n in zip(ids.t().tolist(), batch.lengths.tolist(), strict=True)]
        if pooled is None:
            return [(tags, None) for tags in found]
        best = self.network.label_head.log_probabilities(pooled).argmax(-1).tolist()
        return [(tags, labels[index]) for tags, index in zip(found, best, strict=True)]

    def measure(self, batches: Iterable[TokenBatch]) -> dict[str, float]:
        """The mean loss of a token, and the figures of a `TaggingScore`."""
        loss, score = self._scored(batches)
        return {"loss": loss} | score.figures()

    def measure_fully(self, batches: Iterable[TokenBatch]) -> dict[str, float]:
        """The same, and `f1` of each type of span."""
        loss, score = self._scored(batches)
        return {"loss": loss} | score.figures() | score.by_type()

    @torch.inference_mode()
    def _scored(self, batches: Iterable[TokenBatch]) -> tuple[float, TaggingScore]:
        score, total, known = TaggingScore(self.codec.data_scheme is not None, bool(self.codec.labels)), 0.0, 0
        for batch in map(self.on_device, batches):
            hidden, pooled = self.network.features(batch)
            loss, tokens = self._loss(batch, hidden, pooled, 0.0)
            total, known = total + float(loss), known + tokens
            for given, (tags, label) in zip(batch.given, self._best(batch, hidden, pooled), strict=True):
                wanted_label, wanted = json.loads(given)
                score.add(wanted, wanted_label, tags, label)
        return total / max(known, 1), score

    @torch.inference_mode()
    def confusion(self, batches: Iterable[TokenBatch]) -> dict[str, dict[str, int]]:
        """The right tag of a token → what was told → how often; tokens without a tag are left out."""
        counts: Counter[tuple[str, str]] = Counter()
        for batch in map(self.on_device, batches):
            for given, (tags, _) in zip(batch.given, self._decode(batch), strict=True):
                wanted = json.loads(given)[1] or []
                counts.update((right, told) for right, told in zip(wanted, tags, strict=False) if right is not None)
        found: dict[str, dict[str, int]] = {}
        for (right, told), count in sorted(counts.items()):
            found.setdefault(right, {})[told] = count
        return found

    def predict(self, sentences: Iterable[Sequence[str] | str]) -> Iterator[Tagging]:
        """Tags of sentences, as they come.

        Args:
            sentences: each a list of tokens, or a text (see `ostinato.tasks.running_text`).

        Raises:
            DataError: if something is neither, or the model reads more than tokens.
        """
        if isinstance(sentences, str):
            raise DataError("expected many sentences, such as a list of lists of words, found one string")
        split = self._tokeniser()

        def read() -> Iterator[Sentence]:
            for number, each in enumerate(sentences):
                tokens = tuple(split(each) if isinstance(each, str) else each)
                if not all(isinstance(token, str) and token for token in tokens):
                    raise DataError(f"sentence {number}: expected a text or a list of words, found {str(each)[:40]!r}")
                yield Sentence(tokens)

        for sentence, tags, label in self._tag(read()):
            yield Tagging(sentence.tokens, tags, label, spans_of(tags) if self.codec.data_scheme is not None else [])

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """Tags of the sentences of files, in the files' formats; see `ostinato predict`."""
        given = options.plain()
        split = self._tokeniser() if given.pop("tokens") == "auto" else str.split
        for path in files:
            if path.name in ("seq.out", "label") and path.with_name("seq.in") in files:
                continue
            reader = self.reader([path], **given, tagged=False, split=split)
            if options.format == "auto" and reader.format_of(path) == "columns" and not self._has_columns(reader, path):
                reader = replace(reader, format="text")
            for sentence, tags, label in self._tag(reader.examples()):
                found = row(sentence, tags, label)
                if self.codec.data_scheme is not None:
                    found["spans"] = [span._asdict() for span in spans_of(tags)]
                yield Predicted(found, written(sentence, tags, label))

    def _has_columns(self, reader: TaggedReader, path: Path) -> bool:
        """Whether a file that may be plain text begins like those of training: as many columns, and a tag in its."""
        about = self.codec.about
        fields = next((line for _, line in reader.lines(path) if line.strip()), "").split()
        if about.get("format") != "columns" or len(fields) != about["columns"]:
            return False
        tag = fields[int(self.settings.column or len(fields)) - 1]
        return tag in self.codec.tags if self.codec.data_scheme is None else is_span_tag(tag)

    def _tokeniser(self) -> Tokeniser:
        return Tokeniser(self.codec.words, bool(self.codec.about.get("single_characters")))

    def _tag(self, sentences: Iterable[Sentence]) -> Iterator[tuple[Sentence, list[str], str | None]]:
        """Tags of sentences; a very long one is tagged in pieces."""
        waiting: deque[tuple[Sentence, int]] = deque()

        def pieces() -> Iterator[Sentence]:
            for sentence in sentences:
                starts = range(0, max(1, len(sentence.tokens)), _PIECE)
                waiting.append((sentence, len(starts)))
                for at in starts:
                    cut = slice(at, at + _PIECE)
                    inputs = tuple(column[cut] for column in sentence.inputs)
                    yield Sentence(sentence.tokens[cut], None, None, inputs, sentence.source)

        found = self.in_order(pieces(), self._decode)
        for first in found:
            sentence, count = waiting.popleft()
            parts = [first, *islice(found, count - 1)]
            yield sentence, [tag for tags, _ in parts for tag in tags], first[1]
