"""The codec of speech: sound to features, and text to labels and back."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from ostinato.bundle import read_json
from ostinato.codecs.audio import AudioCodec
from ostinato.errors import BundleError, DataError
from ostinato.files import write_text
from ostinato.settings import Settings

BLANK_NAME = "<blank>"
_ABOUT = "labels.json"


class LabelSettings(Settings):
    """What a label is."""

    labels: Literal["char", "word"] = Field("char", description="what is told of a sound: its characters, or its words")
    lowercase: bool = Field(False, description="fold texts to lower case")


class LabelsOfText(NamedTuple):
    """A text ↔ labels, which are characters or words; label 0 is CTC's blank.

    Texts are normalised (NFC), and what is blank in them, however much of it, is one space.

    Args:
        kind: char or word.
        lowercase: whether texts are folded.
        names: of the labels, `<blank>` first.

    >>> labels = LabelsOfText.learn(["three  one", "one"], LabelSettings(labels="word"))
    >>> labels.names, labels.ids("one two three").tolist(), labels.text([1, 2])
    (('<blank>', 'one', 'three'), [1, 2], 'one three')
    """

    kind: str
    lowercase: bool
    names: tuple[str, ...]

    @classmethod
    def learn(cls, texts: Iterable[str], settings: LabelSettings) -> Self:
        """The labels of the texts of training, by falling frequency.

        Raises:
            DataError: if the texts hold none.
        """
        empty = cls(settings.labels, settings.lowercase, (BLANK_NAME,))
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(empty.pieces(text))
        if not counts:
            raise DataError("all texts are empty: expected what is said in each sound")
        return empty._replace(names=(BLANK_NAME, *sorted(counts, key=lambda name: (-counts[name], name))))

    def pieces(self, text: str) -> list[str]:
        """The labels of a text by name, known or not."""
        found = self.normalised(text)
        return found.split() if self.kind == "word" else list(found)

    def normalised(self, text: str) -> str:
        """A text as it is compared with another."""
        text = " ".join(unicodedata.normalize("NFC", text).split())
        return text.lower() if self.lowercase else text

    def text(self, ids: Iterable[int]) -> str:
        """The text of labels."""
        names = [self.names[index] for index in ids]
        return " ".join(names) if self.kind == "word" else "".join(names).strip(" ")

    def ids(self, text: str) -> np.ndarray:
        """The labels of a text, int32 [labels]; those that training did not have are left out."""
        known = {name: index for index, name in enumerate(self.names) if index}
        return np.array([known[piece] for piece in self.pieces(text) if piece in known], np.int32)


class TranscriptCodec:
    """Sound → steps of features; text ↔ labels.

    Args:
        audio: of the sound.
        labels: of the text.
    """

    def __init__(self, audio: AudioCodec, labels: LabelsOfText) -> None:
        self.audio, self.of_text = audio, labels

    @property
    def vocabulary(self) -> Sequence[str]:
        """Labels by id, the blank first."""
        return self.of_text.names

    @cached_property
    def blank_label(self) -> int | None:
        """The label of a space, if there is one."""
        return self.of_text.names.index(" ") if " " in self.of_text.names else None

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        self.audio.save(folder)
        write_text(folder / _ABOUT, json.dumps(self.of_text._asdict(), ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about = read_json(folder / _ABOUT)
        try:
            labels = LabelsOfText(str(about["kind"]), bool(about["lowercase"]), tuple(map(str, about["names"])))
        except (KeyError, TypeError) as error:
            raise BundleError(f"{folder / _ABOUT}: damaged: {error}") from None
        if labels.names[:1] != (BLANK_NAME,) or labels.kind not in ("char", "word"):
            raise BundleError(f"{folder / _ABOUT}: damaged: expected kind char or word, and {BLANK_NAME} first")
        return cls(AudioCodec.load(folder), labels)
