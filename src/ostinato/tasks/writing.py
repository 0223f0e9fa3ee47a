"""What every model of the next token can do: score a text, and write one."""

from __future__ import annotations

import math
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ostinato.data import TextReader
from ostinato.errors import SettingsError
from ostinato.sampling import GenerationSettings, generate_ids, until
from ostinato.tasks.corpus import Sources, resolve
from ostinato.tasks.model import Model
from ostinato.tokens import TokenFile

_SCORED_AT_ONCE = 512  # tokens


class Scored(NamedTuple):
    """A token of a text and log p of it given all before, nats."""

    token: str
    log_probability: float


class WritingModel(Model):
    """A model that gives log p of the next token of a text."""

    @abstractmethod
    def initial_state(self, rows: int) -> Any:
        """What `step` needs to know of the tokens before the first, for so many texts side by side: nothing."""

    @abstractmethod
    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Ids [rows], read after all that the state knows → log p of the next [rows, vocabulary], the state after."""

    @abstractmethod
    def follow(self, ids: Sequence[int], state: Any) -> tuple[Sequence[float], Any]:
        """Log p of each of some tokens given all before, nats, and a state to go on from; None is a line's begin."""

    @abstractmethod
    def mean_loss(self, tokens: TokenFile, batch_size: int | None) -> float:
        """Mean −log p of all tokens but the first, nats."""

    def evaluate(
        self,
        corpus: Sources,
        batch_size: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
    ) -> dict[str, float | int]:
        """Score a held-out corpus with the full softmax.

        Args:
            corpus: files, folders or patterns.
            batch_size: streams side by side, each of which starts without context; by default as `mean_loss` says.
            encoding: of the files; as in training if None.
            errors: at bytes that are not text: strict, replace or ignore; as in training if None.

        Returns:
            loss (nats a token), perplexity exp(loss), bits_per_character, tokens, characters, and how many unknown.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            s, count = self.settings, {"characters": 0, "unknown": 0}
            files = resolve([corpus] if isinstance(corpus, str | Path) else corpus, folder)
            reader = TextReader(files, encoding or s.encoding, errors or s.errors)

            def ids() -> Iterator[Any]:
                for block in reader.blocks():
                    encoded = self.codec.encode(block)
                    count["characters"] += len(block)
                    count["unknown"] += int((encoded == self.codec.unknown_id).sum())
                    yield encoded

            tokens = TokenFile.write(folder, "held-out", ids(), len(self.codec))
            loss = self.mean_loss(tokens, batch_size)
        # the first token has nothing before it and is not scored: neither are its characters
        per_character = loss * len(tokens) / count["characters"] / math.log(2)
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "bits_per_character": per_character,
            "tokens": len(tokens) - 1,
            "characters": count["characters"],
            "unknown_tokens": count["unknown"],
        }

    def score(self, text: str) -> list[Scored]:
        """Log p of each token of a text, as if a new line had gone before."""
        return list(self.score_blocks([text]))

    def score_blocks(self, blocks: Iterable[str]) -> Iterator[Scored]:
        """The same for a text that comes in blocks, each of which goes on from the one before."""
        state = None
        for block in blocks:
            ids = self.codec.encode(block).tolist()
            for start in range(0, len(ids), _SCORED_AT_ONCE):
                part = ids[start : start + _SCORED_AT_ONCE]
                log_p, state = self.follow(part, state)
                for index, value in zip(part, log_p, strict=True):
                    yield Scored(self.codec.decode([index]), value)

    def _open(self, prompt: str) -> str:
        """The prompt without blanks at its end, where a blank is a part of the word that follows."""
        return prompt if self.codec.level == "char" else prompt.rstrip(" ")

    def _ids(self, prompt: str, settings: GenerationSettings) -> Iterator[list[int]]:
        banned = [] if settings.unknown or self.codec.unknown_id is None else [self.codec.unknown_id]
        read = [self.codec.start_id(), *self.codec.encode(prompt).tolist()]
        return generate_ids(self.step, self.initial_state(settings.samples), read, settings, banned)

    def stream(self, prompt: str = "", **options: Any) -> Iterator[str]:
        """Pieces of one text as they are made, the prompt first; see `GenerationSettings` for the options.

        At levels above the character, blanks at the end of the prompt are left to the word that comes next.
        """
        settings, prompt = GenerationSettings.checked(options), self._open(prompt)
        if settings.samples != 1:
            raise SettingsError(f"samples = {settings.samples}: a stream is one text; use generate")
        yield prompt
        drawn = (row[0] for row in self._ids(prompt, settings))
        yield from until(self.codec.stream(drawn, prompt), settings.stop)

    def generate(self, prompt: str = "", **options: Any) -> Any:
        """A text that goes on from the prompt, or a list of them if `samples` is above 1.

        Raises:
            SettingsError: for an option that is unknown or out of range, or `tokens=0` (without end: use `stream`).
        """
        settings, prompt = GenerationSettings.checked(options), self._open(prompt)
        if not settings.tokens:
            raise SettingsError("tokens = 0 has no end: use stream, or give a number")
        rows = list(zip(*self._ids(prompt, settings), strict=True))
        texts = [prompt + "".join(until(self.codec.stream(row, prompt), settings.stop)) for row in rows]
        return texts if settings.samples > 1 else texts[0]

    def sample(self) -> str:
        """A short text for the model card."""
        return self.generate("", tokens=300 if self.settings.level == "char" else 80, temperature=0.8, seed=0)


def quoted(level: str, loss: float) -> dict[str, float]:
    """The figure that the field quotes of a loss: bits per character at the level of characters, else perplexity."""
    return {"bits_per_character": loss / math.log(2)} if level == "char" else {"perplexity": perplexity(loss)}


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that is no number."""
    return math.exp(loss) if loss < 700 else math.inf
