"""Sentences made wrong: real ones, with a mistake that keeps nearly all of their words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

SHORTEST = 3  # words; what is shorter is often a sentence in any order
_FREQUENT = 100  # words that count as function words
_STEM, _ENDING = 4, 3  # characters: words are forms of each other if they begin alike and only their endings differ
_TRIES = 20


class Corruption:
    """Makes sentences that are no sentences of those that are, for a network that learns to tell them apart.

    Each gets one mistake, drawn from those that it offers a place for: two neighbours are swapped, a word is moved,
    left out, or said twice, some words in a row are shuffled, a word of another sentence comes in, an inflected form
    takes the place of another (*walks*, *walked*), or one of the most frequent words that of another (*the*, *to*).
    (Warstadt, Singh & Bowman 2019, section 5, permute words, or draw sentences from a language model.)

    Args:
        words: those that there are, the most frequent first.
        seed: of what is drawn.

    >>> corruption = Corruption(["the", "cat", "sleeps", "slept", "well"], seed=1)
    >>> wrong = corruption(["the", "cat", "sleeps", "well"])
    >>> wrong != ["the", "cat", "sleeps", "well"], 3 <= len(wrong) <= 5
    (True, True)
    """

    def __init__(self, words: Sequence[str], seed: int) -> None:
        self._words, self._draw = list(words), np.random.default_rng(seed)
        self._frequent = set(self._words[:_FREQUENT])
        families: defaultdict[str, list[str]] = defaultdict(list)
        for word in self._words:
            if len(word) >= _STEM:
                families[word[: max(_STEM, len(word) - _ENDING)]].append(word)
        self._forms = {word: family for family in families.values() if len(family) > 1 for word in family}
        self._mistakes: list[Callable[[list[str]], list[str] | None]] = [
            self._swap, self._move, self._leave_out, self._repeat, self._shuffle, self._insert, self._inflect,
            self._mistake_function_word,
        ]  # fmt: skip

    def __call__(self, sentence: Sequence[str]) -> list[str] | None:
        """The words of a sentence with a mistake; None if none was found that changes it.

        >>> Corruption(["a"], seed=0)(["a", "a"]) is None
        True
        """
        if len(sentence) < SHORTEST:
            return None
        for _ in range(_TRIES):
            mistake = self._mistakes[self._draw.integers(len(self._mistakes))]
            found = mistake(list(sentence))
            if found is not None and found != list(sentence):
                return found
        return None

    def _at(self, sentence: list[str]) -> int:
        return int(self._draw.integers(len(sentence)))

    def _swap(self, sentence: list[str]) -> list[str]:
        at = int(self._draw.integers(len(sentence) - 1))
        sentence[at], sentence[at + 1] = sentence[at + 1], sentence[at]
        return sentence

    def _move(self, sentence: list[str]) -> list[str]:
        word = sentence.pop(self._at(sentence))
        sentence.insert(int(self._draw.integers(len(sentence) + 1)), word)
        return sentence

    def _leave_out(self, sentence: list[str]) -> list[str]:
        del sentence[self._at(sentence)]
        return sentence

    def _repeat(self, sentence: list[str]) -> list[str]:
        at = self._at(sentence)
        sentence.insert(at, sentence[at])
        return sentence

    def _shuffle(self, sentence: list[str]) -> list[str]:
        length = int(self._draw.integers(3, min(len(sentence), 6) + 1))
        at = int(self._draw.integers(len(sentence) - length + 1))
        order = self._draw.permutation(length)
        return sentence[:at] + [sentence[at + int(each)] for each in order] + sentence[at + length :]

    def _insert(self, sentence: list[str]) -> list[str]:
        rank = int(len(self._words) ** self._draw.random()) - 1  # as frequent words are drawn more often (Zipf)
        sentence.insert(int(self._draw.integers(len(sentence) + 1)), self._words[rank])
        return sentence

    def _inflect(self, sentence: list[str]) -> list[str] | None:
        return self._replace(sentence, self._forms.get)

    def _mistake_function_word(self, sentence: list[str]) -> list[str] | None:
        frequent = self._words[:_FREQUENT]
        return self._replace(sentence, lambda word: frequent if word in self._frequent else None)

    def _replace(self, sentence: list[str], others: Callable[[str], list[str] | None]) -> list[str] | None:
        places = [at for at, word in enumerate(sentence) if others(word)]
        if not places:
            return None
        at = places[int(self._draw.integers(len(places)))]
        chosen = others(sentence[at])
        assert chosen is not None  # noqa: S101
        sentence[at] = chosen[int(self._draw.integers(len(chosen)))]
        return sentence
