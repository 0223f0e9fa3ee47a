"""What every model of the next token can do: score a text, and write one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.errors import SettingsError
from ostinato.sampling import GenerationSettings, generate_ids, until
from ostinato.tasks.fitting import FittedModel


class Scored(NamedTuple):
    """A token of a text and log p of it given all before, nats."""

    token: str
    log_probability: float


class WritingModel(FittedModel):
    """A model whose network gives log p of the next token (`SeqToSeq`, causal)."""

    def score(self, text: str) -> list[Scored]:
        """Log p of each token of a text, as if a new line had gone before."""
        return list(self.score_blocks([text]))

    def score_blocks(self, blocks: Iterable[str]) -> Iterator[Scored]:
        """The same for a text that comes in blocks, each of which goes on from the one before."""
        device = next(self.network.parameters()).device
        state, last = self.network.initial_state(1), self.codec.start_id()
        for block in blocks:
            ids = [last, *self.codec.encode(block).tolist()]
            for start in range(0, len(ids) - 1, 512):
                part = torch.tensor(ids[start : start + 513], device=device).unsqueeze(1)
                with torch.no_grad():
                    hidden, state = self.network(part[:-1], state)
                    log_p = (
                        self.network.head.log_probabilities(hidden).gather(2, part[1:].unsqueeze(1)).flatten().tolist()
                    )
                for index, value in zip(ids[start + 1 :], log_p, strict=False):
                    yield Scored(self.codec.decode([index]), value)
            last = ids[-1]

    def _open(self, prompt: str) -> str:
        """The prompt without blanks at its end, where a blank is a part of the word that follows."""
        return prompt if self.codec.level == "char" else prompt.rstrip(" ")

    def _ids(self, prompt: str, settings: GenerationSettings) -> Iterator[list[int]]:
        banned = [] if settings.unknown or self.codec.unknown_id is None else [self.codec.unknown_id]
        device = next(self.network.parameters()).device

        def step(ids: Tensor, state: Any) -> tuple[Tensor, Any]:
            with torch.no_grad():
                return self.network.step(ids.to(device), state)

        read = [self.codec.start_id(), *self.codec.encode(prompt).tolist()]
        return generate_ids(step, self.network.initial_state(settings.samples), read, settings, banned)

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
