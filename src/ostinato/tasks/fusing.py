"""A language model that speaks for the labels of a transcriber (shallow fusion)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ostinato.codecs.transcripts import TranscriptCodec
from ostinato.errors import SettingsError
from ostinato.tasks import load
from ostinato.tasks.ngram import NGramLanguageModel


class Said(NamedTuple):
    """What a language model knows of the labels so far."""

    state: tuple[int, ...]
    """Of the n-grams."""
    word: str = ""
    """The characters of a word that is not yet at its end, where characters are labels and words tokens."""
    begun: bool = False
    """Whether anything was said."""


class LanguageModelScorer:
    r"""α log p_LM(l) + β |l|, where |l| counts the tokens of the language model (Hannun et al. 2014, equation 1).

    A model of characters is asked at each character; one of words at each word: where labels are characters, once the
    space after the word comes, or the end. A text is a line: it begins after a line end, and the line end after it is
    asked for too.

    Args:
        model: trained.
        codec: of the transcriber.
        weight: α.
        bonus: β.

    Raises:
        SettingsError: if labels cannot be tokens of the model.
    """

    def __init__(self, model: NGramLanguageModel, codec: TranscriptCodec, weight: float, bonus: float) -> None:
        self.weight, self.bonus, self._names = weight, bonus, codec.vocabulary
        self._ngrams, self._text = model.ngrams, model.codec
        level, kind = model.codec.level, codec.of_text.kind
        if level == "bpe":
            raise SettingsError("lm: its tokens are byte pairs, which no label ends with: train it with --level char")
        self._spelt = level == "word" and kind == "char"  # words that come letter by letter
        if self._spelt and codec.blank_label is None:
            raise SettingsError(
                "lm: its tokens are words, but no text of the transcriber's training has blanks between words: train "
                "the language model with --level char"
            )
        self._words, self._blank = kind == "word", codec.blank_label
        self._line_end = model.codec.line_end_id()
        begun = range(2) if self._words else range(1)
        self._ids = [[self._text.encode(self._written(name, bool(each))) for name in self._names] for each in begun]
        self._single = [np.array([ids[0] if len(ids) == 1 else -1 for ids in found]) for found in self._ids]

    @classmethod
    def load(cls, folder: str, codec: TranscriptCodec, weight: float, bonus: float) -> LanguageModelScorer:
        """The same of a model in a folder.

        Raises:
            BundleError: if it is none.
            SettingsError: if it is a model of another kind.
        """
        model = load(Path(folder))
        if not isinstance(model, NGramLanguageModel):
            raise SettingsError(f"lm = {folder!r}: a {model.task}; expected an n-gram model (ostinato fit ngram)")
        return cls(model, codec, weight, bonus)

    def begin(self) -> Said:
        """After a line end."""
        start = np.array([self._text.start_id()])
        return Said(_key(self._ngrams.advance(start, self._ngrams.begin(1))))

    def scores(self, state: Said) -> np.ndarray:
        """What each label adds."""
        found = np.zeros(len(self._names))
        if self._spelt:
            if state.word:
                found[self._blank] = self._follow(self._written(state.word, state.begun), state)[0]
            return found
        begun = int(self._words and state.begun)
        single = self._single[begun]
        log_p = np.log(self._ngrams.distribution(np.array([state.state]))[0])
        found = self.weight * log_p[np.maximum(single, 0)] + self.bonus
        for label in np.flatnonzero(single[1:] < 0) + 1:
            found[label] = self._read(self._ids[begun][label], state)[0]
        return found

    def advance(self, state: Said, label: int) -> Said:
        """After a label."""
        if not self._spelt:
            return Said(self._read(self._ids[int(self._words and state.begun)][label], state)[1], "", True)
        if label != self._blank:
            return state._replace(word=state.word + self._names[label])
        if not state.word:
            return state
        return Said(self._follow(self._written(state.word, state.begun), state)[1], "", True)

    def end(self, state: Said) -> float:
        """The word that is not yet at its end, and the line end."""
        total = 0.0
        if state.word:
            total, after = self._follow(self._written(state.word, state.begun), state)
            state = Said(after)
        if self._line_end is not None:
            total += self.weight * float(np.log(self._ngrams.distribution(np.array([state.state]))[0, self._line_end]))
        return total

    def _written(self, name: str, begun: bool) -> str:
        """A label or word as it stands in a text of the language model."""
        return " " + name if begun else name

    def _follow(self, text: str, state: Said) -> tuple[float, tuple[int, ...]]:
        return self._read(self._text.encode(text), state)

    def _read(self, ids: np.ndarray, state: Said) -> tuple[float, tuple[int, ...]]:
        """What ids add, and the state after."""
        if not len(ids):
            return 0.0, state.state
        p, after = self._ngrams.read(ids.astype(np.int64), np.array([state.state]))
        return float(self.weight * np.log(p).sum() + self.bonus * len(ids)), _key(after)


def _key(state: np.ndarray) -> tuple[int, ...]:
    return tuple(state[0].tolist())
