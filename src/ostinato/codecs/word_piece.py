"""Text to word pieces, as BERT reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ostinato.errors import BundleError, DataError
from ostinato.files import write_text

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PADDING, UNKNOWN, CLS, SEP, MASK = range(len(SPECIAL))
TOKENIZER = "tokenizer.json"


class WordPieceCodec:
    """Word pieces (Schuster & Nakajima 2012; Devlin et al. 2019): a word is the longest piece that begins it, then `##`
    and the longest piece that goes on, and so forth; a Chinese character is a word.

    Args:
        tokenizer: whose first ids are those of `SPECIAL`.

    >>> codec = WordPieceCodec.learn(lambda: ["low slow lower lowest owls 猫喜欢鱼"] * 9, size=40)
    >>> codec.tokenizer.encode("Lowlow 猫喜").tokens
    ['[CLS]', 'low', '##low', '猫', '喜', '[SEP]']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a text that holds "[SEP]" means the five characters

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The pieces by id."""
        ids = self.tokenizer.get_vocab()
        return tuple(sorted(ids, key=ids.__getitem__))

    @classmethod
    def learn(
        cls, texts: Callable[[], Iterable[str]], size: int, lowercase: bool = True, min_count: int = 2
    ) -> WordPieceCodec:
        """Learn at most `size` pieces: the characters, then what occurs side by side most often, merged.

        The same texts give the same ids: the trainer of tokenizers numbers `##x` in an order that differs from run to
        run, so it is given them in ours.

        Args:
            texts: begins the corpus anew at each call; it is read twice.
            size: of the vocabulary, special tokens included.
            lowercase: fold to lower case, without accents.
            min_count: leave out rarer characters and pairs.

        Raises:
            DataError: if the corpus is empty.
        """
        normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
        splitter = pre_tokenizers.BertPreTokenizer()
        characters: Counter[str] = Counter()
        within: set[str] = set()
        for text in texts():
            words = Counter(w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
            for word, count in words.items():
                for character in word:
                    characters[character] += count
                within.update(word[1:])
        if not characters:
            raise DataError("the corpus is empty: there is nothing to learn word pieces from")
        frequent = sorted((-count, character) for character, count in characters.items() if count >= min_count)
        alphabet = [character for _, character in frequent[: (size - len(SPECIAL)) // 2]]
        inner = [f"##{character}" for character in sorted(within & set(alphabet))]
        tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[UNKNOWN]))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=min_count,
            special_tokens=[*SPECIAL, *inner],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts(), trainer)
        return cls(_tokenizer(tokenizer.get_vocab(), normalizer, splitter))

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """The ids of each sentence, without special tokens."""
        return [each.ids for each in self.tokenizer.encode_batch(list(sentences), add_special_tokens=False)]

    def save(self, folder: Path) -> None:
        """Write the codec as JSON."""
        write_text(folder / TOKENIZER, self.tokenizer.to_str(pretty=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> WordPieceCodec:
        """The codec that `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        path = folder / TOKENIZER
        try:
            codec = cls(Tokenizer.from_str(path.read_text("utf-8")))
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}") from None
        except Exception as error:  # the library raises a bare Exception
            raise BundleError(f"{path}: damaged: {error}") from None
        if codec.vocabulary[: len(SPECIAL)] != SPECIAL:
            raise BundleError(f"{path}: damaged: its first ids are not those of {', '.join(SPECIAL)}")
        return codec


def _tokenizer(vocabulary: dict[str, int], normalizer: Any, splitter: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNKNOWN], max_input_chars_per_word=100))
    parts: dict[str, Any] = {"normalizer": normalizer, "pre_tokenizer": splitter, "decoder": decoders.WordPiece()}
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return tokenizer
