"""From log-probabilities to the next token, and from tokens to text that stops where it should."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ostinato.settings import Settings


class GenerationSettings(Settings):
    """How text is made."""

    tokens: int = Field(200, ge=0, description="how many to make; 0: without end")
    temperature: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="p^(1/temperature), normalised; 0: always the most likely"
    )
    top_k: int | None = Field(None, ge=1, description="choose among the k most likely")
    top_p: float | None = Field(None, gt=0, le=1, description="choose among the most likely that sum to p")
    repetition_penalty: float = Field(1.0, ge=1, description="log p of recent tokens is multiplied with this; 1: off")
    repetition_window: int = Field(256, ge=1, description="how many tokens are recent")
    stop: list[str] = Field(default_factory=list, description="end before any of these strings")
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed makes the same text")
    samples: int = Field(1, ge=1, description="texts made side by side")
    unknown: bool = Field(False, description="let <unk> be chosen")


def choose(log_p: Tensor, settings: GenerationSettings, generator: torch.Generator) -> Tensor:
    """Draw from each row: temperature, then top-k (Fan et al. 2018), then top-p (Holtzman et al. 2020, section 3.1).

    Args:
        log_p: [batch, vocabulary], normalised or not.
        settings: what to keep.
        generator: what to draw with, on the CPU.

    Returns:
        Ids, int64 [batch].

    >>> log_p = torch.tensor([[0.5, 0.3, 0.2]]).log()
    >>> draw = lambda **options: choose(log_p, GenerationSettings(**options), torch.Generator().manual_seed(0)).item()
    >>> draw(temperature=0), draw(top_k=1), draw(top_p=0.4)
    (0, 0, 0)
    """
    log_p = log_p.cpu()
    if settings.temperature == 0:
        return log_p.argmax(dim=-1)
    log_p = (log_p - log_p.amax(dim=-1, keepdim=True)) / settings.temperature
    if settings.top_k is not None and settings.top_k < log_p.shape[-1]:
        least = log_p.topk(settings.top_k, dim=-1).values[:, -1:]
        log_p = log_p.masked_fill(log_p < least, -math.inf)
    if settings.top_p is not None:
        p, order = log_p.softmax(dim=-1).sort(dim=-1, descending=True)
        beyond = p.cumsum(dim=-1) - p >= settings.top_p  # the one that crosses the sum is kept
        log_p = log_p.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -math.inf)
    return torch.multinomial(log_p.softmax(dim=-1), 1, generator=generator).squeeze(-1)


def generate_ids(
    step: Callable[[Tensor, Any], tuple[Tensor, Any]],
    state: Any,
    prompt: Sequence[int],
    settings: GenerationSettings,
    banned: Sequence[int] = (),
) -> Iterator[list[int]]:
    """Ids of each next token, one for every sample, for as long as the settings say, at constant memory.

    Args:
        step: ids [samples] and a state → log p [samples, vocabulary] and the state after.
        state: for `samples` rows.
        prompt: ids read first, at least one.
        settings: how to choose.
        banned: ids that are never chosen.
    """
    generator = torch.Generator()
    if settings.seed is None:
        generator.seed()
    else:
        generator.manual_seed(settings.seed)
    recent = [deque(prompt, maxlen=settings.repetition_window) for _ in range(settings.samples)]
    log_p = torch.empty(0)
    for token in prompt:
        log_p, state = step(torch.full((settings.samples,), token), state)
    made = 0
    while not settings.tokens or made < settings.tokens:
        log_p[:, list(banned)] = -math.inf
        if settings.repetition_penalty != 1:
            for row, ids in zip(log_p, recent, strict=True):
                seen = torch.tensor(sorted(set(ids)), device=log_p.device)
                row[seen] *= settings.repetition_penalty
        chosen = choose(log_p, settings, generator)
        for row, token in zip(recent, chosen.tolist(), strict=True):
            row.append(token)
        yield chosen.tolist()
        made += 1
        if made != settings.tokens:
            log_p, state = step(chosen, state)


def until(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """The pieces of a text up to the first of some strings; what may be the beginning of one is held back.

    >>> list(until(["On", "e. T", "wo"], stop=[". "]))
    ['O', 'ne']
    >>> "".join(until(["On", "e."], stop=[". "]))
    'One.'
    """
    held, longest = "", max((len(text) for text in stop), default=1)
    for piece in pieces:
        held += piece
        ends = [at for text in stop if text and (at := held.find(text)) >= 0]
        if ends:
            yield held[: min(ends)]
            return
        sure = len(held) - longest + 1
        if sure > 0:
            yield held[:sure]
            held = held[sure:]
    if held:
        yield held
