"""The codec of a tagger: tokens to the numbers of words and characters, tags and labels to their ids and back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from ostinato.codecs.vocabulary import Vocabulary, most_frequent
from ostinato.errors import BundleError, DataError
from ostinato.files import write_text
from ostinato.settings import Settings
from ostinato.spans import Scheme, is_span_tag, scheme_of, spans_of, tags_of
from ostinato.tagged import Sentence

LONGEST = 40  # characters of a token that are read: the first three fifths and the last two, where it has more
_DIGIT = re.compile(r"\d")
_SPELLING = ("shape", "prefix 2", "prefix 3", "suffix 2", "suffix 3")


class TagSettings(Settings):
    """How tokens and tags become numbers."""

    scheme: Literal["auto", "bio", "bioes", "none"] = Field(
        "auto", description="of spans, that the network learns; auto: bioes where tags are spans; none: as they are"
    )
    min_count: int = Field(1, ge=1, description="words seen less often in training are unknown")
    max_words: int | None = Field(None, ge=2, description="keep the most frequent words")
    lowercase: bool = Field(True, description="words by their lower-case form; characters are read as they are")
    zero_digits: bool = Field(True, description="words with every digit as 0")
    spelling: bool = Field(False, description="shape, prefixes and suffixes of a token as further inputs")


class Form(NamedTuple):
    """A token as numbers."""

    key: int
    """Of 64 bits, another for every other token."""
    word: int
    characters: np.ndarray
    """int32 [characters]."""
    spelling: tuple[int, ...]


class TagCodec:
    """Vocabularies of words, characters and further inputs; tags and labels.

    Args:
        settings: as they were in training.
        words: of forms, see `TagSettings`.
        counts: of the words in training, by id, int64 [words].
        characters: of tokens.
        inputs: the vocabularies of spelling, if that is on, then those of further columns.
        tags: that the network tells apart.
        data_scheme: of the tags in the training files; None where they are no spans.
        scheme: of `tags`.
        labels: of sentences; empty if they have none.
        about: what else is remembered of the training files, as JSON has it.
    """

    def __init__(
        self,
        settings: TagSettings,
        words: Vocabulary,
        counts: np.ndarray,
        characters: Vocabulary,
        inputs: Sequence[Vocabulary],
        tags: Sequence[str],
        data_scheme: Scheme | None,
        scheme: Scheme | None,
        labels: Sequence[str],
        about: dict[str, Any],
    ) -> None:
        self.settings, self.words, self.counts, self.characters = settings, words, counts, characters
        self.inputs, self.tags, self.labels, self.about = tuple(inputs), tuple(tags), tuple(labels), about
        self.data_scheme: Scheme | None = data_scheme
        self.scheme: Scheme | None = scheme
        self._tag_ids = {tag: index for index, tag in enumerate(self.tags)}
        self._label_ids = {label: index for index, label in enumerate(self.labels)}
        self.form = lru_cache(maxsize=1 << 16)(self._form)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words by id."""
        return self.words.tokens

    @classmethod
    def learn(cls, sentences: Iterable[Sentence], settings: TagSettings) -> Self:
        """The codec of training sentences.

        Raises:
            DataError: if there are none, or their tags are not what the scheme says.
        """
        words, characters, tags, labels = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        further: list[Counter[str]] = []
        about: dict[str, Any] = {}
        first: dict[str, str] = {}  # tag → where it stands first
        as_spans: dict[Scheme, Counter[str]] = {"bio": Counter(), "bioes": Counter()}
        changed = dict.fromkeys(as_spans, 0)
        single = han = 0
        spelt = len(_SPELLING) * settings.spelling  # of the further inputs, those whose rare values say nothing
        for sentence in sentences:
            if not sentence.tokens:
                continue
            if sentence.source and not about:
                about = {"format": sentence.source.format, "columns": sentence.source.column}
            columns = [*_columns(zip(*map(_spelling, sentence.tokens), strict=True), settings), *sentence.inputs]
            further = further or [Counter() for _ in columns]
            for counter, column in zip(further, columns, strict=True):
                counter.update(column)
            for token in sentence.tokens:
                words[_word(token, settings)] += 1
                characters.update(token)
                if "\u4e00" <= token[0] <= "\u9fff":
                    han, single = han + 1, single + (len(token) == 1)
            given = sentence.tags or ()
            for at, tag in enumerate(given):
                tags[tag] += 1
                if tag not in first:
                    first[tag] = sentence.place(at)
            spans = spans_of(given) if all(map(is_span_tag, given)) else []
            for kind, counter in as_spans.items():
                wanted = tags_of(spans, len(given), kind)
                counter.update(wanted)
                changed[kind] += sum(a != b for a, b in zip(wanted, given, strict=True))
            if sentence.label is not None:
                labels[sentence.label] += 1
        if not words:
            raise DataError("no tokens to learn from: the training files hold no sentences")
        data_scheme = _data_scheme(tags, first, settings)
        scheme: Scheme | None = None
        if data_scheme is not None:
            scheme = "bio" if settings.scheme == "bio" else "bioes"
            about["illegal_tags"], tags = changed[data_scheme], as_spans[scheme]
        about["single_characters"] = 0 < han <= 1.05 * single  # Chinese was given character by character
        vocabulary = Vocabulary.of_counts(words, settings.min_count, settings.max_words)
        counts = np.array([words[word] for word in vocabulary.tokens], np.int64)
        return cls(
            settings, vocabulary, counts, Vocabulary.of_counts(characters),
            [Vocabulary(most_frequent(counter, 2 if at < spelt else 1, None)) for at, counter in enumerate(further)],
            sorted(tags), data_scheme, scheme, sorted(labels), about,
        )  # fmt: skip

    def _form(self, token: str) -> Form:
        key = int.from_bytes(blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)
        word = int(self.words.ids([_word(token, self.settings)])[0])
        read = token if len(token) <= LONGEST else token[: LONGEST * 3 // 5] + token[-(LONGEST * 2 // 5) :]
        spelling: tuple[int, ...] = ()
        if self.settings.spelling:
            spelling = tuple(int(v.ids([s])[0]) for v, s in zip(self.inputs, _spelling(token), strict=False))
        return Form(key, word, self.characters.ids(read), spelling)

    def further(self, sentence: Sentence) -> np.ndarray:
        """Ids of further inputs, int32 [inputs, tokens].

        Raises:
            DataError: if the sentence has other columns than those of training.
        """
        forms = [self.form(token).spelling for token in sentence.tokens]
        spelt = len(_SPELLING) * self.settings.spelling
        wanted = len(self.inputs) - spelt
        if len(sentence.inputs) != wanted:
            raise DataError(
                f"{sentence.where}: the model reads {wanted} further column{'s' * (wanted != 1)} of each token "
                f"(--inputs of its training), found {len(sentence.inputs)}"
            )
        rows = [*np.array(forms, np.int32).reshape(len(forms), spelt).T]
        rows += [v.ids(column) for v, column in zip(self.inputs[spelt:], sentence.inputs, strict=True)]
        return np.array(rows, np.int32).reshape(len(self.inputs), len(forms))

    def tag_ids(self, tags: Sequence[str]) -> np.ndarray:
        """Ids of tags of the files, in the scheme of the network; −1 for what training never had. int32 [tokens]."""
        if self.scheme is not None:
            tags = tags_of(spans_of(tags), len(tags), self.scheme)
        return np.array([self._tag_ids.get(tag, -1) for tag in tags], np.int32)

    def label_id(self, label: str | None) -> int:
        """The id of a label; −1 for one that training never had."""
        return -1 if label is None else self._label_ids.get(label, -1)

    def tags_of(self, ids: Iterable[int]) -> list[str]:
        """Tags as the files have them, of ids; what is illegal is read as conlleval does."""
        tags = [self.tags[index] for index in ids]
        if self.data_scheme is None:
            return tags
        return tags_of(spans_of(tags), len(tags), self.data_scheme)

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        self.words.save(folder / "words.json")
        self.characters.save(folder / "characters.json")
        about = {
            "settings": self.settings.plain(), "counts": self.counts.tolist(), "tags": self.tags, "labels": self.labels,
            "data_scheme": self.data_scheme, "scheme": self.scheme, "about": self.about,
            "inputs": [vocabulary.tokens for vocabulary in self.inputs],
        }  # fmt: skip
        write_text(folder / "tags.json", json.dumps(about, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        words, characters = (Vocabulary.load(folder / f"{name}.json") for name in ("words", "characters"))
        path = folder / "tags.json"
        try:
            a = json.loads(path.read_text("utf-8"))
            inputs, counts = [Vocabulary(tokens) for tokens in a["inputs"]], np.array(a["counts"], np.int64)
            parts: Any = (inputs, a["tags"], a["data_scheme"], a["scheme"], a["labels"], a["about"])
            if len(counts) != len(words):
                raise ValueError(f"{len(counts)} counts of {len(words)} words")
            return cls(TagSettings.checked(a["settings"]), words, counts, characters, *parts)
        except OSError as error:
            raise BundleError(f"{error.filename}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path}: damaged: {error}") from None


def _data_scheme(tags: Counter[str], first: dict[str, str], settings: TagSettings) -> Scheme | None:
    """The scheme of the tags in the files; None where they are to be taken as they are.

    Raises:
        DataError: if they are no spans where they should be, or only nearly.
    """
    if settings.scheme == "none":
        return None
    if (found := scheme_of(tags)) is not None:
        return found
    odd = sorted((tag for tag in tags if not is_span_tag(tag)), key=lambda tag: tags[tag])
    spans = sum(count for tag, count in tags.items() if is_span_tag(tag) and tag != "O")
    others = sum(tags[tag] for tag in odd)
    if settings.scheme != "auto" or spans > others:
        if not odd:
            raise DataError(f"scheme = {settings.scheme}: all {tags.total():,} tags are O: there is no span to learn")
        raise DataError(
            f"{first[odd[0]]}: tag {odd[0]!r}: expected O, or B-, I-, E- or S- and a type, as in BIO and BIOES; "
            "--scheme none takes tags as they are"
        )
    return None


def _word(token: str, settings: TagSettings) -> str:
    word = token.lower() if settings.lowercase else token
    return _DIGIT.sub("0", word) if settings.zero_digits else word


def _spelling(token: str) -> tuple[str, ...]:
    """What Huang et al. 2015, section 3.1, take from a token's letters: its shape, prefixes and suffixes.

    >>> _spelling("McDonald's"), _spelling("1.25")[0]
    (("XxXx'x", 'mc', 'mcd', "'s", "d's"), 'd.d')
    """
    letters = ["X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in token[:LONGEST]]
    shape = "".join(c for at, c in enumerate(letters) if at == 0 or c != letters[at - 1])
    low = token.lower()
    return shape, low[:2], low[:3], low[-2:], low[-3:]


def _columns(spelling: Iterable[tuple[str, ...]], settings: TagSettings) -> Iterator[tuple[str, ...]]:
    return iter(spelling) if settings.spelling else iter(())
