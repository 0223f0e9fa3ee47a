"""How the next token is chosen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ostinato.sampling import GenerationSettings, choose, generate_ids, until

P = torch.tensor([0.5, 0.3, 0.15, 0.05])


def frequencies(**options: Any) -> dict[int, float]:
    generator = torch.Generator().manual_seed(0)
    drawn = choose(P.log().expand(20_000, 4), GenerationSettings(**options), generator)
    return {token: count / 20_000 for token, count in Counter(drawn.tolist()).items()}


def test_temperature() -> None:
    assert frequencies(temperature=0) == {0: 1.0}
    for temperature in (0.5, 1.0, 2.0):
        wanted = P ** (1 / temperature) / (P ** (1 / temperature)).sum()
        found = frequencies(temperature=temperature)
        assert all(abs(found[token] - float(wanted[token])) < 0.015 for token in range(4))


def test_top_k_and_top_p() -> None:
    assert set(frequencies(top_k=2)) == {0, 1}
    assert abs(frequencies(top_k=2)[0] - 0.625) < 0.015
    assert set(frequencies(top_p=0.5)) == {0}
    assert set(frequencies(top_p=0.51)) == {0, 1}
    assert set(frequencies(top_p=0.96)) == {0, 1, 2, 3}
    assert set(frequencies(top_k=9)) == {0, 1, 2, 3}


def echo(ids: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The next token is most likely the one that was just read."""
    log_p = torch.full((len(ids), 5), -2.0)
    log_p[torch.arange(len(ids)), ids] = -0.5
    return log_p, state


def test_repetition_penalty_and_ban() -> None:
    def first(**options: Any) -> list[int]:
        settings = GenerationSettings(tokens=4, temperature=0, **options)
        return [row[0] for row in generate_ids(echo, None, [2], settings)]

    assert first() == [2, 2, 2, 2]
    penalised = first(repetition_penalty=10.0)
    assert 2 not in penalised
    assert len(set(penalised)) == 4
    # the penalty forgets what left the window
    assert first(repetition_penalty=10.0, repetition_window=1) == [0, 1, 0, 1]
    settings = GenerationSettings(tokens=2, temperature=0)
    assert [row[0] for row in generate_ids(echo, None, [2], settings, banned=[2])] == [0, 0]


def test_samples_and_seed() -> None:
    settings = GenerationSettings(tokens=12, samples=3, seed=5, temperature=2.0)
    rows = list(generate_ids(echo, None, [1], settings))
    assert [len(row) for row in rows] == [3] * 12
    assert rows == list(generate_ids(echo, None, [1], settings))
    assert rows != list(generate_ids(echo, None, [1], settings.model_copy(update={"seed": 6})))
    assert len({tuple(column) for column in zip(*rows, strict=True)}) == 3


def test_without_end() -> None:
    stream = generate_ids(echo, None, [1], GenerationSettings(tokens=0, seed=0))
    assert len([next(stream) for _ in range(2000)]) == 2000


@given(st.text("ab.", max_size=40), st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3), st.integers(1, 5))
def test_until_cuts_at_the_first_stop(text: str, stop: list[str], size: int) -> None:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    ends = [at for each in stop if (at := text.find(each)) >= 0]
    found = "".join(until(pieces, stop))
    if not ends:
        assert found == text
    else:
        # a piece may complete two stops at once; the text ends where the first of those found begins
        assert text.startswith(found)
        assert len(found) in ends
        assert not any(each in found for each in stop)


@pytest.mark.parametrize("options", [{"temperature": -1}, {"top_p": 0}, {"top_k": 0}, {"tokens": -1}, {"samples": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        GenerationSettings.checked(options)
