"""n-gram language modelling: what a recurrent model must beat, trained in seconds by counting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ostinato import bundle
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.kneser_ney import KneserNey
from ostinato.ngram_counts import NGramCounts
from ostinato.tasks.at_once import ModelAtOnce
from ostinato.tasks.corpus import ReadingSettings, prepare
from ostinato.tasks.writing import WritingModel, quoted
from ostinato.tokens import TokenFile

_TOLD_EVERY_SECONDS = 10.0


class NGramSettings(TextSettings, ReadingSettings):
    """All that can be set about an n-gram language model."""

    order: int = Field(5, ge=1, description="tokens of the longest n-gram, the last of which is told from the others")
    across_lines: bool = Field(
        True, description="contexts reach over line ends; if not, each line is a sentence of its own"
    )


class NGramLanguageModel(WritingModel, ModelAtOnce):
    r"""A language model that counts: interpolated modified Kneser-Ney (Chen & Goodman 1999), see `KneserNey`.

    Text, files and figures are those of `LanguageModel`, so that the two stand side by side. A text begins as if a line
    had ended before it; a line end is a token that is predicted like others. With `across_lines=False` the context of a
    token begins with the line end before its line.

    Args:
        settings: by name, see `NGramSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "corpus.txt"
    >>> _ = path.write_text("the cat sat on the mat\n" * 200)
    >>> model = NGramLanguageModel(order=6).fit(path, progress=False)
    >>> model.generate("the c", tokens=17, temperature=0)
    'the cat sat on the mat'
    >>> model.evaluate(path)["perplexity"] < 1.2
    True
    """

    task = "ngram"
    Settings = NGramSettings
    _ngrams: KneserNey | None = None

    @property
    def ngrams(self) -> KneserNey:
        """The counts and probabilities.

        Raises:
            SettingsError: before `fit`.
        """
        if self._ngrams is None:
            raise SettingsError(f"this {type(self).__name__} has not been trained: call fit first")
        return self._ngrams

    def learn(
        self, corpus: Sequence[str], validation: Sequence[str], folder: Path, tell: Callable[[str], None]
    ) -> None:
        """Write ids, count them, score the validation part."""
        text, reading = self._part(TextSettings), self._part(ReadingSettings)
        found = prepare(corpus, validation, text, reading, folder, tell)
        started = time.monotonic()
        self._ngrams = self._count(found.train, found.codec, tell)
        seconds = round(time.monotonic() - started, 1)
        self._codec, self.data = found.codec, found.about
        loss = self.mean_loss(found.validation, None)
        figures = {f"validation_{name}": value for name, value in quoted(self.settings.level, loss).items()}
        self.metrics = {"validation_loss": loss, **figures, "ngrams": self._ngrams.size, "training_seconds": seconds}

    def _count(self, tokens: TokenFile, codec: TextCodec, tell: Callable[[str], None]) -> KneserNey:
        line_end = None if self.settings.across_lines else codec.line_end_id()
        counts = NGramCounts(self.settings.order, len(codec), line_end, before=[codec.start_id()])
        told, read = time.monotonic(), 0
        for ids in tokens.blocks():
            counts.add(ids)
            read += len(ids)
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                tell(f"counted {read:,} of {len(tokens):,} tokens")
        ngrams = KneserNey.from_counts(counts)
        for n, level in enumerate(ngrams.levels, 1):
            if not level.estimated:
                tell(f"order {n}: the counts give no discounts; taken are {', '.join(map(str, level.discounts))}")
        return ngrams

    def initial_state(self, rows: int) -> np.ndarray:
        """That no token was read."""
        return self.ngrams.begin(rows)

    def step(self, ids: Tensor, state: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The distribution after one more token in each row."""
        state = self.ngrams.advance(ids.numpy(), state)
        return torch.from_numpy(np.log(self.ngrams.distribution(state))), state

    def follow(self, ids: Sequence[int], state: Any) -> tuple[list[float], Any]:
        """One look at each order for all tokens."""
        log_p, state = self._read(np.array(ids), state)
        return log_p.tolist(), state

    def mean_loss(self, tokens: TokenFile, batch_size: int | None) -> float:
        """The text is one stream, whatever its length.

        Raises:
            SettingsError: if more streams are wanted.
            DataError: if there are fewer than two tokens.
        """
        if batch_size not in (None, 1):
            raise SettingsError(f"batch_size = {batch_size}: an n-gram model reads a text as one stream; leave it out")
        if len(tokens) < 2:
            raise DataError(f"too short: {len(tokens)} tokens, but at least 2 are needed; give more text")
        state, total = None, 0.0
        for ids in tokens.blocks():
            first = 1 if state is None else 0  # the first token of all is read, not scored
            log_p, state = self._read(ids, state)
            total -= float(log_p[first:].sum())
        return total / (len(tokens) - 1)

    def _read(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, np.ndarray]:
        if state is None:
            state = self.ngrams.advance(np.array([self.codec.start_id()]), self.ngrams.begin(1))
        p, state = self.ngrams.read(ids.astype(np.int64), state)
        return np.log(p), state

    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write the counts, whole or not at all."""
        bundle.write_tensors(path, self.ngrams.tensors(), notes)

    def load_weights(self, path: Path, device: str) -> None:
        """Read the counts, and compute the rest."""
        if device not in ("cpu", "auto"):
            raise SettingsError(f"device = {device!r}: an n-gram model runs on the CPU")
        tensors, _ = bundle.read_tensors(path)
        try:
            self._ngrams = KneserNey.from_tensors(tensors, self.settings.order, len(self.codec))
        except ValueError as error:
            raise BundleError(f"{path}: does not fit ostinato.json: {error}") from None

    def size(self) -> str:
        """How many different n-grams were seen."""
        return f"{self.ngrams.size:,} n-grams of 1 to {self.ngrams.order} tokens"
