"""Text to token ids and back, with a vocabulary that travels with the model."""

from __future__ import annotations

import codecs
import json
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from ostinato.codecs.splitters import SPLITTERS, choose_splitter
from ostinato.codecs.vocabulary import most_frequent
from ostinato.errors import BundleError, DataError
from ostinato.files import write_text
from ostinato.settings import Settings

_COUNTED_AT_ONCE = 1 << 21  # distinct words; beyond that the rarest are forgotten, so that memory is bounded
_CODE_POINTS = 0x110000


class TextSettings(Settings):
    """What a token is."""

    level: Literal["char", "word", "bpe"] = Field("char", description="a token is a character, a word, or a byte pair")
    splitter: Literal["auto", "words", "whitespace", "jieba"] = Field(
        "auto", description="how words are found: by Unicode, between blanks, or Chinese by dictionary"
    )
    normalization: Literal["none", "NFC", "NFKC"] = Field("NFC", description="Unicode normalisation before all else")
    lowercase: bool = Field(False, description="fold to lower case")
    min_count: int | None = Field(
        None, ge=1, description="rarer tokens become <unk> [default: 2 for words and pairs, 1 for characters]"
    )
    max_vocabulary: int | None = Field(
        None, ge=2, description="keep the most frequent [default: 50000 words, 8000 byte pairs, all characters]"
    )


class TextCodec(ABC):
    r"""Text ↔ token ids; `decode(encode(text))` is the normalised text.

    Ids run from 0, those of characters and words by falling frequency after `<unk>`.

    >>> codec = TextCodec.learn(["猫 喜欢 鱼\n"], TextSettings(level="char"))
    >>> ids = codec.encode("鱼 喜欢 猫\n")
    >>> ids.dtype, codec.decode(ids)
    (dtype('int32'), '鱼 喜欢 猫\n')
    >>> codec.decode(codec.encode("狗"))
    '<unk>'
    """

    level: ClassVar[str]
    unknown_id: int | None = 0

    def __init__(self, settings: TextSettings, vocabulary: Sequence[str]) -> None:
        self.settings = settings
        self.vocabulary = tuple(vocabulary)

    def __len__(self) -> int:
        return len(self.vocabulary)

    @staticmethod
    def learn(blocks: Iterable[str], settings: TextSettings) -> TextCodec:
        """The codec for a corpus, given as blocks of text that end where a token ends.

        Raises:
            DataError: if the corpus is empty.
        """
        return _CODECS[settings.level]._learn((_normalise(block, settings) for block in blocks), settings)

    @classmethod
    @abstractmethod
    def _learn(cls, blocks: Iterable[str], settings: TextSettings) -> TextCodec: ...

    def encode(self, text: str) -> np.ndarray:
        """Ids, int32 [tokens], of a text; what the vocabulary does not hold becomes `unknown_id`."""
        return self._encode(_normalise(text, self.settings))

    @abstractmethod
    def _encode(self, text: str) -> np.ndarray: ...

    @abstractmethod
    def tokens(self, text: str) -> list[str]:
        """The piece of the normalised text behind each id of `encode`, those of unknown tokens too."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids."""
        return "".join(self.stream(ids))

    @abstractmethod
    def stream(self, ids: Iterable[int], before: str = "") -> Iterator[str]:
        """A piece of text for every id as it comes; the pieces joined are the text that follows the text `before`."""

    def line_end_id(self) -> int | None:
        """The id that a line ends with, if the vocabulary has it."""
        ids = self.encode("\n")
        return int(ids[0]) if len(ids) and ids[0] != self.unknown_id else None

    def start_id(self) -> int:
        """The id that stands before a text: a line end, or else the most frequent token."""
        line_end = self.line_end_id()
        return min(1, len(self) - 1) if line_end is None else line_end

    def save(self, folder: Path) -> None:
        """Write the codec as JSON."""
        settings = json.dumps(self.settings.plain(), indent=1)
        write_text(folder / "codec.json", settings + "\n")
        write_text(folder / "vocabulary.json", json.dumps(self.vocabulary, ensure_ascii=False, indent=0) + "\n")

    @staticmethod
    def load(folder: Path) -> TextCodec:
        """The codec that `save` wrote.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        try:
            settings = TextSettings.checked(json.loads((folder / "codec.json").read_text("utf-8")))
            vocabulary = json.loads((folder / "vocabulary.json").read_text("utf-8"))
            if not isinstance(vocabulary, list) or not all(isinstance(token, str) for token in vocabulary):
                raise ValueError("vocabulary.json is not a list of strings")
            return _CODECS[settings.level]._load(folder, settings, vocabulary)
        except OSError as error:
            raise BundleError(f"{error.filename}: {error.strerror}") from None
        except (ValueError, TypeError) as error:
            raise BundleError(f"{folder}: damaged codec: {error}") from None

    @classmethod
    def _load(cls, folder: Path, settings: TextSettings, vocabulary: list[str]) -> TextCodec:  # noqa: ARG003
        return cls(settings, vocabulary)


class CharCodec(TextCodec):
    """A token is a Unicode code point."""

    level = "char"

    def __init__(self, settings: TextSettings, vocabulary: Sequence[str]) -> None:
        super().__init__(settings, vocabulary)
        self._ids = np.zeros(_CODE_POINTS, np.int32)
        for index, character in enumerate(self.vocabulary[1:], 1):
            self._ids[ord(character)] = index

    @classmethod
    def _learn(cls, blocks: Iterable[str], settings: TextSettings) -> TextCodec:
        counts = np.zeros(_CODE_POINTS, np.int64)
        for block in blocks:
            counts += np.bincount(_code_points(block), minlength=_CODE_POINTS)
        found = {chr(point): int(counts[point]) for point in counts.nonzero()[0]}
        return cls(settings, most_frequent(Counter(found), settings.min_count or 1, settings.max_vocabulary))

    def _encode(self, text: str) -> np.ndarray:
        return self._ids[_code_points(text)]

    def tokens(self, text: str) -> list[str]:
        """Characters."""
        return list(_normalise(text, self.settings))

    def stream(self, ids: Iterable[int], before: str = "") -> Iterator[str]:  # noqa: ARG002
        """A piece of text for every id."""
        return (self.vocabulary[index] for index in ids)


class _Ids(dict[str, int]):
    """Ids of tokens, 0 for those that are not there."""

    def __missing__(self, token: str) -> int:
        return 0


class WordCodec(TextCodec):
    """A token is what a splitter finds."""

    level = "word"

    def __init__(self, settings: TextSettings, vocabulary: Sequence[str]) -> None:
        super().__init__(settings, vocabulary)
        self._splitter = SPLITTERS[choose_splitter(settings.splitter, "")]
        self._ids = _Ids({token: index for index, token in enumerate(self.vocabulary)})

    @classmethod
    def _learn(cls, blocks: Iterable[str], settings: TextSettings) -> TextCodec:
        counts: Counter[str] = Counter()
        floor = 0
        for block in blocks:
            if not counts:
                settings = settings.model_copy(
                    update={"splitter": choose_splitter(settings.splitter, block[: 1 << 16])}
                )
            counts.update(SPLITTERS[settings.splitter].split(block))
            while len(counts) > _COUNTED_AT_ONCE:
                floor += 1
                counts = Counter({token: count for token, count in counts.items() if count > floor})
        return cls(settings, most_frequent(counts, settings.min_count or 2, settings.max_vocabulary or 50_000))

    def _encode(self, text: str) -> np.ndarray:
        tokens = self._splitter.split(text)
        return np.fromiter(map(self._ids.__getitem__, tokens), np.int32, len(tokens))

    def tokens(self, text: str) -> list[str]:
        """What the splitter finds."""
        return self._splitter.split(_normalise(text, self.settings))

    def stream(self, ids: Iterable[int], before: str = "") -> Iterator[str]:
        """A piece of text for every id."""
        return self._splitter.join((self.vocabulary[index] for index in ids), before)


class BpeCodec(TextCodec):
    """A token is a run of bytes, merged by frequency (Sennrich et al. 2016, on bytes): nothing is unknown."""

    level = "bpe"
    unknown_id = None
    _bytes: ClassVar[dict[str, int]]

    def __init__(self, settings: TextSettings, tokenizer: Tokenizer) -> None:
        vocabulary = tokenizer.get_vocab()
        super().__init__(settings, sorted(vocabulary, key=vocabulary.__getitem__))
        self._tokenizer = tokenizer

    @classmethod
    def _learn(cls, blocks: Iterable[str], settings: TextSettings) -> TextCodec:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=max(settings.max_vocabulary or 8000, 256),
            min_frequency=settings.min_count or 2,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        seen = False

        def lines() -> Iterator[list[str]]:
            nonlocal seen
            for block in blocks:
                seen = seen or bool(block)
                yield block.splitlines(keepends=True)

        tokenizer.train_from_iterator(lines(), trainer)
        if not seen:
            raise DataError("the corpus is empty: there is nothing to learn a vocabulary from")
        return cls(settings, tokenizer)

    def _encode(self, text: str) -> np.ndarray:
        # line by line, so that the tokens do not depend on where a corpus was cut into blocks
        encoded = self._tokenizer.encode_batch(text.splitlines(keepends=True))
        return np.array([index for line in encoded for index in line.ids], np.int32)

    def tokens(self, text: str) -> list[str]:
        """Byte pairs as text; the bytes of a character that several pairs share stand as U+FFFD."""
        return [self.piece(index) for index in self.encode(text).tolist()]

    def piece(self, index: int) -> str:
        """A byte pair as text."""
        return bytes(_BYTE_OF[character] for character in self.vocabulary[index]).decode("utf-8", "replace")

    def stream(self, ids: Iterable[int], before: str = "") -> Iterator[str]:  # noqa: ARG002
        """A piece of text for every id, empty where a character is not yet whole."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character's bytes may be several tokens
        for index in ids:
            yield decoder.decode(bytes(_BYTE_OF[character] for character in self.vocabulary[index]))
        yield decoder.decode(b"", final=True)

    def save(self, folder: Path) -> None:
        """Write the codec, its merges included, as JSON."""
        super().save(folder)
        write_text(folder / "tokenizer.json", self._tokenizer.to_str(pretty=True))

    @classmethod
    def _load(cls, folder: Path, settings: TextSettings, vocabulary: list[str]) -> TextCodec:
        text = (folder / "tokenizer.json").read_text("utf-8")
        try:
            codec = cls(settings, Tokenizer.from_str(text))
        except Exception as error:  # the library raises a bare Exception
            raise BundleError(f"{folder / 'tokenizer.json'}: {error}") from None
        if list(codec.vocabulary) != vocabulary:
            raise BundleError(f"{folder}: tokenizer.json and vocabulary.json do not agree")
        return codec


_CODECS: dict[str, Any] = {codec.level: codec for codec in (CharCodec, WordCodec, BpeCodec)}


def _normalise(text: str, settings: TextSettings) -> str:
    if settings.normalization != "none":
        text = unicodedata.normalize(settings.normalization, text)
    return text.lower() if settings.lowercase else text


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def _byte_alphabet() -> dict[str, int]:
    """The byte that each printable stand-in of a byte-level vocabulary means (GPT-2's table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(moved)}


_BYTE_OF = _byte_alphabet()
