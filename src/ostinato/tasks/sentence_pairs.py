"""Pairs of segments with masked tokens, from documents on disk: what a BERT is pre-trained on."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.bundle import CODEC, read_json
from ostinato.codecs.word_piece import CLS, MASK, PADDING, SEP, SPECIAL, WordPieceCodec
from ostinato.data import TextReader, fingerprint, split_at
from ostinato.errors import BundleError, DataError
from ostinato.features.matrices import in_batches
from ostinato.files import write_text, writing
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.tasks.corpus import SPOOLED, ReadingSettings, resolve
from ostinato.tokens import TokenFile

_SENTENCE = re.compile(r"[^。！？]*?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’）」』]*|$)")


class Documents(NamedTuple):
    """Documents as token ids, cut into sentences and, across these, into chunks of one input's length."""

    tokens: TokenFile
    sentences: np.ndarray
    """Where each begins among the tokens, and the end of the last, int64 [sentences + 1], memory-mapped."""
    chunks: np.ndarray
    """First sentence, the one after the last, and document, int64 [chunks, 3], memory-mapped."""

    @classmethod
    def write(cls, run: Path, name: str, sentences: Iterator[tuple[int, str]], codec: Any, room: int) -> Documents:
        """Write sentences that come with the numbers of their documents, in memory some thousand at once.

        A sentence of more than half of `room` tokens is cut, so that two make a pair. A chunk takes sentences of one
        document as long as they fit into `room`, and two at least where the document has them.
        """
        with writing(run / f"{name}.sentences") as starts, writing(run / f"{name}.chunks") as chunks:

            def blocks() -> Iterator[np.ndarray]:
                starts.write(np.array([0], "<i8").data)
                total, number, first, held, document, half = 0, 0, 0, 0, 0, room // 2
                for batch in in_batches(sentences):
                    encoded = codec.encode([text for _, text in batch])
                    ids: list[int] = []
                    for (found, _), sentence in zip(batch, encoded, strict=True):
                        for piece in (sentence[at : at + half] for at in range(0, len(sentence), half)):
                            full = held + len(piece) > room and number - first > 1
                            if number > first and (found != document or full):
                                chunks.write(np.array([first, number, document], "<i8").data)
                                first, held = number, 0
                            total, number, held, document = total + len(piece), number + 1, held + len(piece), found
                            starts.write(np.array([total], "<i8").data)
                            ids += piece
                    yield np.array(ids, np.int64)
                if number > first:
                    chunks.write(np.array([first, number, document], "<i8").data)

            TokenFile.write(run, name, blocks(), len(codec))
        return cls.find(run, name)

    @classmethod
    def find(cls, run: Path, name: str) -> Documents:
        """What `write` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        tokens = TokenFile.find(run, name)
        try:
            arrays = [_mapped(run / f"{name}.{each}") for each in ("sentences", "chunks")]
        except (OSError, ValueError) as error:
            raise BundleError(f"{run / name}: damaged: {error}") from None
        if tokens is None or len(arrays[1]) % 3 or (len(arrays[0]) and arrays[0][-1] != len(tokens)):
            raise BundleError(f"{run / name}: damaged: its tokens, sentences and chunks do not fit each other")
        return cls(tokens, arrays[0], arrays[1].reshape(-1, 3))

    def check(self, what: str, max_length: int) -> None:
        """Refuse documents of which no pairs can be made.

        Raises:
            DataError: if there are fewer than two chunks.
        """
        if len(self.chunks) < 2:
            raise DataError(
                f"too short: {what} holds {len(self.tokens):,} tokens, {len(self.chunks)} inputs of max_length = "
                f"{max_length}, but 2 at least are needed, to draw false next sentences: give more text"
            )

    def ids(self, first: int, end: int) -> np.ndarray:
        """The ids of some sentences on end."""
        return self.tokens.ids[self.sentences[first] : self.sentences[end]].astype(np.int64)


class PreparedDocuments(NamedTuple):
    """What training reads."""

    codec: WordPieceCodec
    train: Documents
    validation: Documents
    about: dict[str, Any]


def prepare(
    sources: Sequence[str], validation_sources: Sequence[str], s: Any, reading: ReadingSettings, folder: Path,
    message: Callable[[str], None],
) -> PreparedDocuments:  # fmt: skip
    """Learn word pieces from the training part and write the ids of both parts, unless that was done before.

    An empty line ends a document. The validation part is `validation_sources`, or else the end of the corpus.

    Args:
        sources: of the corpus.
        validation_sources: of the validation data; none: the end of the corpus.
        s: settings of the task.
        reading: how files are read.
        folder: of the bundle to be.
        message: gets what the user should know.

    Raises:
        DataError: if the corpus cannot be read, or is too short.
        BundleError: if what was written before is damaged.
    """
    run = folder / "run"
    if (run / "corpus.json").exists():
        about = read_json(run / "corpus.json")
        parts = [Documents.find(run, name) for name in ("train", "validation")]
        return PreparedDocuments(WordPieceCodec.load(folder / CODEC), parts[0], parts[1], about)
    files = resolve(sources, run)
    message(f"reading {', '.join(path.name for path in files[:3])}{' …' if len(files) > 3 else ''}")
    readers = [TextReader(files, reading.encoding, reading.errors)]
    about: dict[str, Any] = {"train": asdict(fingerprint(readers[0]))}
    cut = characters = about["train"]["characters"]
    if validation_sources:
        readers.append(TextReader(resolve(validation_sources, run), reading.encoding, reading.errors))
        about["validation"] = asdict(fingerprint(readers[1]))
    else:
        cut = characters - max(1, int(characters * reading.validation_fraction))

    def part(number: int) -> Iterator[str]:
        if len(readers) > 1:
            return readers[number].blocks()
        return (block for which, block in split_at(readers[0].blocks(), cut, whole_lines=True) if which == number)

    codec = WordPieceCodec.learn(lambda: part(0), s.vocabulary_size, s.lowercase)
    (folder / CODEC).mkdir(exist_ok=True)
    codec.save(folder / CODEC)
    parts = []
    for number, name in enumerate(("train", "validation")):
        found = Documents.write(run, name, numbered_sentences(part(number), s.sentences), codec, s.max_length - 3)
        found.check(f"the {name} part", s.max_length)
        parts.append(found)
        about[f"{name}_tokens"], about[f"{name}_inputs"] = len(found.tokens), len(found.chunks)
    write_text(run / "corpus.json", json.dumps(about, indent=1) + "\n")
    counts = f"{about['train_tokens']:,} training tokens in {about['train_inputs']:,} inputs"
    message(f"{counts}, {about['validation_inputs']:,} for validation, {len(codec):,} word pieces")
    (run / SPOOLED).unlink(missing_ok=True)
    return PreparedDocuments(codec, parts[0], parts[1], about)


def _mapped(path: Path) -> np.ndarray:
    return np.memmap(path, "<i8", mode="r") if path.stat().st_size else np.zeros(0, np.int64)


def split_sentences(line: str) -> list[str]:
    """The sentences of a line: each ends with its marks, in Chinese without a blank after them.

    >>> split_sentences('He said "Go." She went. 猫喜欢鱼。狗呢？ 3.5 is')
    ['He said "Go."', 'She went.', '猫喜欢鱼。', '狗呢？', '3.5 is']
    """
    return [sentence for match in _SENTENCE.finditer(line) if (sentence := match[0].strip())]


def numbered_sentences(blocks: Iterator[str], kind: str) -> Iterator[tuple[int, str]]:
    """Sentences with the numbers of their documents, which end at empty lines; `kind` is of the setting `sentences`."""
    document = 0
    for block in blocks:
        lines = block.split("\n")
        for at, line in enumerate(lines):
            if line.strip():
                for sentence in split_sentences(line) if kind == "marks" else [line]:
                    yield document, sentence
            elif at < len(lines) - 1:  # what follows the last line end is no line
                document += 1


class Window(NamedTuple):
    """A batch: int64 [batch, time] each but `is_next`, int64 [batch]."""

    inputs: Tensor
    segments: Tensor
    seen: Tensor
    """1 where there is no padding."""
    targets: Tensor
    """What stood where something was masked; −100 elsewhere."""
    is_next: Tensor
    """0 where the second segment follows the first, 1 where it does not: the order of BERT's own head."""


class Pairs:
    """The batches of an epoch: each chunk once, cut in two segments, of which half the times the second is exchanged
    for that of another chunk, of another document if there is one; then masked. All that is drawn depends on seed,
    epoch and place in it alone, so that a resumed run draws the same.

    Args:
        documents: what they are made of.
        batch_size: pairs at once.
        max_length: tokens of a pair, [CLS] and both [SEP] included.
        share: of the tokens to mask.
        vocabulary: how many ids there are.
        seed: of all that is drawn.
    """

    def __init__(
        self, documents: Documents, batch_size: int, max_length: int, share: float, vocabulary: int, seed: int
    ) -> None:
        self.documents, self.batch_size, self.room = documents, batch_size, max_length - 3
        self.share, self.vocabulary, self.seed = share, vocabulary, seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Take the order of an epoch."""
        self._epoch = epoch
        self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.documents.chunks))

    def __len__(self) -> int:
        return math.ceil(len(self.documents.chunks) / self.batch_size)

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self._epoch, index])
        chunks = self._order[index * self.batch_size :][: self.batch_size]
        pairs = [self._pair(int(chunk), rng) for chunk in chunks]
        longest = max(len(a) + len(b) for a, b, _ in pairs) + 3
        inputs = np.full((len(pairs), longest), PADDING, np.int64)
        segments, seen = np.zeros_like(inputs), np.zeros_like(inputs)
        targets = np.full_like(inputs, IGNORED)
        for row, (a, b, _) in enumerate(pairs):
            ids = np.concatenate([[CLS], a, [SEP], b, [SEP]])
            masked, wanted = mask_tokens(ids, self.share, self.vocabulary, rng)
            inputs[row, : len(ids)], targets[row, : len(ids)], seen[row, : len(ids)] = masked, wanted, 1
            segments[row, len(a) + 2 : len(ids)] = 1
        is_next = np.array([0 if follows else 1 for _, _, follows in pairs], np.int64)
        return Window(*map(torch.from_numpy, (inputs, segments, seen, targets, is_next)))

    def _pair(self, chunk: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
        first, end, _ = self.documents.chunks[chunk]
        cut = self._cut(first, end, rng)
        follows = bool(cut < end and rng.random() < 0.5)
        if follows:
            second = self.documents.ids(cut, end)
        else:
            start, stop, _ = self.documents.chunks[self._other(chunk, rng)]
            middle = self._cut(start, stop, rng)
            second = self.documents.ids(middle if middle < stop else start, stop)
        return *trimmed(self.documents.ids(first, cut), second, self.room, rng), follows

    @staticmethod
    def _cut(first: int, end: int, rng: np.random.Generator) -> int:
        """Where the second segment begins; the end if there is but one sentence."""
        return int(rng.integers(first + 1, end)) if end - first > 1 else int(end)

    def _other(self, chunk: int, rng: np.random.Generator) -> int:
        chunks = self.documents.chunks
        other = chunk
        for _ in range(10):
            other = (chunk + int(rng.integers(1, len(chunks)))) % len(chunks)
            if chunks[other, 2] != chunks[chunk, 2]:
                break
        return other


def mask_tokens(
    ids: np.ndarray, share: float, vocabulary: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a share of the tokens, one at least; of these 80 % become [MASK], 10 % a token drawn from the vocabulary,
    and 10 % stay (Devlin et al. 2019, section 3.1).

    Args:
        ids: int64 [time]; special tokens are never chosen.
        share: of the tokens.
        vocabulary: how many ids there are.
        rng: what draws.

    Returns:
        The ids as the network sees them, and what stood at the chosen places, −100 elsewhere.

    >>> masked, targets = mask_tokens(np.array([2, 7, 8, 9, 3]), 0.3, 20, np.random.default_rng(0))
    >>> masked.tolist(), targets.tolist()
    ([2, 7, 8, 4, 3], [-100, -100, -100, 9, -100])
    """
    places = np.flatnonzero(ids >= len(SPECIAL))
    chosen = rng.choice(places, min(len(places), max(1, round(share * len(places)))), replace=False)
    drawn = rng.random(len(chosen))
    random = rng.integers(len(SPECIAL), vocabulary, len(chosen))
    masked, targets = ids.copy(), np.full_like(ids, IGNORED)
    targets[chosen] = ids[chosen]
    masked[chosen] = np.where(drawn < 0.8, MASK, np.where(drawn < 0.9, random, ids[chosen]))
    return masked, targets


def trimmed(a: np.ndarray, b: np.ndarray, room: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two segments that fit into `room`: what is too much goes from the longer one, at both its ends by chance.

    >>> a, b = trimmed(np.arange(5), np.arange(9), 8, np.random.default_rng(0))
    >>> len(a), len(b)
    (4, 4)
    """
    over = len(a) + len(b) - room
    if over > 0:
        # down to equal lengths from the longer one alone, then in turn
        shorter, longer = sorted((len(a), len(b)))
        alone = min(over, longer - shorter)
        rest = over - alone
        cuts = (alone + (rest + 1) // 2, rest // 2)
        first, second = cuts if len(a) > len(b) else cuts[::-1]
        a, b = _shorter(a, first, rng), _shorter(b, second, rng)
    return a, b


def _shorter(ids: np.ndarray, by: int, rng: np.random.Generator) -> np.ndarray:
    front = int(rng.integers(0, by + 1))
    return ids[front : len(ids) - (by - front)]
