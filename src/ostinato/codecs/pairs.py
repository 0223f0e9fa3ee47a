"""Two languages: each side of a pair to ids and back, by one vocabulary or by one each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ostinato.analysis import HAN
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.codecs.vocabulary import UNKNOWN
from ostinato.errors import BundleError, DataError

END = 0
"""The id that ends a text, and that stands before the first token of a target."""
END_TOKEN = "</s>"
_HAN = re.compile(f"[{HAN}]")


class SideCodec:
    """A text ↔ ids that end with `END`; the ids of a `TextCodec` stand above it, each one higher.

    A word or a byte pair has its blank before it, so a text that does not begin with a Chinese character is read as if
    a blank went before: its first word is then the same token as elsewhere.

    Args:
        text: the codec of the tokens.

    >>> side = SideCodec(TextCodec.learn([" a b a"], TextSettings(level="word", min_count=1)))
    >>> ids = side.encode("b a")
    >>> ids.tolist(), side.decode(ids)
    ([3, 2, 0], 'b a')
    """

    def __init__(self, text: TextCodec) -> None:
        self.text = text
        self.unknown_id = None if text.unknown_id is None else text.unknown_id + 1

    @property
    def vocabulary(self) -> list[str]:
        """Tokens by id."""
        return [END_TOKEN, *self.text.vocabulary]

    def __len__(self) -> int:
        return len(self.text) + 1

    def encode(self, text: str) -> np.ndarray:
        """Ids of a text and `END`, int32 [tokens + 1]."""
        return np.append(self.text.encode(opened(text, self.text.level)) + 1, END).astype(np.int32)

    def tokens(self, text: str) -> list[str]:
        """The piece of text behind each id of `encode`, without blanks around it; the last is `END`'s."""
        found = self.text.tokens(opened(text, self.text.level))
        return [*(found if self.text.level == "char" else (piece.strip(" ") for piece in found)), END_TOKEN]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, alone."""
        found = [END_TOKEN if index == END else self.text.decode([index - 1]) for index in ids]
        return found if self.text.level == "char" else [piece.strip(" ") for piece in found]

    def decode(self, ids: Iterable[int], copied: Sequence[str] = ()) -> str:
        """The text of some ids up to `END`.

        Args:
            ids: what `encode` gives.
            copied: what stands in the place of each unknown token, in order; `<unk>` if there are too few.
        """
        words, held = iter(copied), list(ids)
        held = [index - 1 for index in (held[: held.index(END)] if END in held else held)]
        if self.unknown_id is None or self.unknown_id - 1 not in held:
            return self.text.decode(held).strip(" ")
        parts, known = [], list[int]()
        for index in held:
            if index == self.unknown_id - 1:
                parts += [self.text.decode(known), _spaced(next(words, UNKNOWN), self.text)]
                known = []
            else:
                known.append(index)
        return "".join([*parts, self.text.decode(known)]).strip(" ")


class PairCodec:
    """Source and target, by one vocabulary or by one each.

    Args:
        source: of the source.
        target: of the target; the source's own where one serves both.

    >>> pairs = [("ein Hund", "a dog"), ("ein Ball", "a ball")]
    >>> codec = PairCodec.learn(lambda: iter(pairs), TextSettings(level="word", min_count=1), None)
    >>> codec.target.decode(codec.target.encode("a ball")), codec.joint
    ('a ball', False)
    """

    def __init__(self, source: SideCodec, target: SideCodec) -> None:
        self.source, self.target = source, target

    @property
    def joint(self) -> bool:
        """Whether one vocabulary serves both."""
        return self.source is self.target

    @property
    def vocabulary(self) -> list[str]:
        """The source's tokens by id."""
        return self.source.vocabulary

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def learn(
        cls, pairs: Callable[[], Iterator[tuple[str, str]]], source: TextSettings, target: TextSettings | None
    ) -> PairCodec:
        """The codec of a corpus.

        Args:
            pairs: reads source and target from the beginning.
            source: what a token of the source is, or of both where `target` is the same object.
            target: of the target; as the source's, but learned apart, if None.

        Raises:
            DataError: if a side is empty.
        """

        def side(number: int, settings: TextSettings) -> Iterator[str]:
            return (opened(pair[number], settings.level) for pair in pairs())

        if target is source:
            both = SideCodec(TextCodec.learn(blocks_of(text for n in (0, 1) for text in side(n, source)), source))
            return cls(both, both)
        settings = (source, target or source)
        codecs = []
        for number, (name, each) in enumerate(zip(("source", "target"), settings, strict=True)):
            try:
                codecs.append(TextCodec.learn(blocks_of(side(number, each)), each))
            except DataError as error:
                raise DataError(f"the {name}s: {error}") from None
        return cls(*map(SideCodec, codecs))

    def save(self, folder: Path) -> None:
        """Write both; one folder where they are one."""
        for name, side in (("source", self.source),) if self.joint else (
            ("source", self.source), ("target", self.target)
        ):  # fmt: skip
            (folder / name).mkdir(exist_ok=True)
            side.text.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> PairCodec:
        """What `save` wrote.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        if not (folder / "source").is_dir():
            raise BundleError(f"{folder}: expected the codec of a pair of languages: source/ is missing")
        source = SideCodec(TextCodec.load(folder / "source"))
        return cls(source, SideCodec(TextCodec.load(folder / "target")) if (folder / "target").is_dir() else source)


def opened(text: str, level: str) -> str:
    """A text as it is read: with a blank before it, unless its tokens are characters or its first is Chinese.

    >>> opened("a dog", "word"), opened("一只狗", "bpe")
    (' a dog', '一只狗')
    """
    text = text.strip()
    return text if level == "char" or not text or _HAN.match(text) else " " + text


def blocks_of(texts: Iterator[str]) -> Iterator[str]:
    """Texts by the thousand, each on a line: how words are found is chosen by the first block."""
    while block := list(islice(texts, 1000)):
        yield "\n".join(block)


def _spaced(word: str, codec: TextCodec) -> str:
    """A word that is put among tokens: with a blank before it where words have one."""
    return word if codec.level != "word" or _HAN.match(word) or codec.settings.splitter == "jieba" else " " + word
