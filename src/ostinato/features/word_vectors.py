"""Word vectors: words that stand among the same words have similar vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ostinato.analysis import Analyzer
from ostinato.bundle import writing_bundle
from ostinato.errors import DataError, SettingsError, nearest
from ostinato.features.subwords import Subwords
from ostinato.features.vector_evaluation import Analogies, Similarities, evaluate_analogies, evaluate_similarities
from ostinato.features.vector_files import read_vectors, write_vectors
from ostinato.features.vector_folder import read_word_vectors, write_word_vectors
from ostinato.features.vector_training import Progress, VectorSettings, train


class Neighbour(NamedTuple):
    """A word, and the cosine between its vector and what was asked for."""

    word: str
    similarity: float


class WordVectors(TransformerMixin, BaseEstimator):
    r"""A vector for each word, learned from the words around it, by gensim; nothing of gensim is needed to use them.

    With `skipgram` the vector v of a word w learns to tell each word c around it, and with `cbow` v is the mean of the
    vectors of those around it, and tells the word in their midst. What is made large, with an output vector u of each
    word:

    | loss | |
    |---|---|
    | `negative` | log σ(u_c · v) + Σ log σ(−u_n · v), over `negatives` words n drawn with p(n) ∝ count(n)^¾ |
    | `hierarchical` | Σ log σ(± u_node · v), over the path to the word in a Huffman tree |

    A word whose share f of the corpus is beyond `sample` = t is kept with p = √(t/f) + t/f each time (Mikolov et al.
    2013a; 2013b). With `fasttext` v is the mean of the word's own vector and those of its n-grams of characters, so
    that a word never seen has a vector too, that of its n-grams (Bojanowski et al. 2017). There are as many vectors
    of n-grams as the vocabulary has different ones, or fewer, where n-grams are hashed to some `buckets`.

    With one thread the same texts, settings and seed give the same bits. The texts are read once and kept as numbers
    in a temporary file, four bytes a word; memory is bounded by the vocabulary.

    Args:
        analyzer: text to words; `Analyzer()` if None. Each text is one sentence: windows do not reach beyond it.
        method, architecture, loss, vector_size, window, epochs, min_count, max_words, negatives, negative_exponent,
            sample, learning_rate, subwords, buckets, threads, seed: see `VectorSettings`.

    `fit` raises:
        SettingsError: for a setting that is out of range.
        DataError: if there are fewer than two words, or something is no text.
        MissingExtra: without gensim (the extra `vectors`).

    >>> texts = ["the king and the queen rule", "the man and the woman walk"] * 50
    >>> vectors = WordVectors(vector_size=8, min_count=1, epochs=2, seed=1).fit(texts)
    >>> vectors.words_[:2], vectors["king"].shape, len(vectors.nearest("king", top=3))
    (['the', 'and'], (8,), 3)
    """

    kind: ClassVar[str] = "word-vectors"
    words_: list[str]
    """By falling frequency."""
    vectors_: np.ndarray
    """float32 [words, features]."""
    counts_: np.ndarray | None
    """How often each word occurred, int64 [words]; None if the vectors come from a file that does not say."""
    subwords_: Subwords | None
    """Vectors of n-grams, with `fasttext`."""
    about_: dict[str, Any]
    """Sizes, and where the vectors are from."""

    def __init__(
        self,
        analyzer: Analyzer | None = None,
        method: str = "word2vec",
        architecture: str = "skipgram",
        loss: str = "negative",
        vector_size: int = 100,
        window: int = 5,
        epochs: int = 5,
        min_count: int = 5,
        max_words: int | None = None,
        negatives: int = 5,
        negative_exponent: float = 0.75,
        sample: float = 1e-4,
        learning_rate: float = 0.05,
        subwords: tuple[int, int] = (3, 6),
        buckets: int | None = None,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.analyzer = analyzer
        self.method = method
        self.architecture = architecture
        self.loss = loss
        self.vector_size = vector_size
        self.window = window
        self.epochs = epochs
        self.min_count = min_count
        self.max_words = max_words
        self.negatives = negatives
        self.negative_exponent = negative_exponent
        self.sample = sample
        self.learning_rate = learning_rate
        self.subwords = subwords
        self.buckets = buckets
        self.threads = threads
        self.seed = seed

    # learning

    def settings(self) -> VectorSettings:
        """The parameters but for the analyzer, checked.

        Raises:
            SettingsError: for one that is out of range.
        """
        given = {name: getattr(self, name) for name in VectorSettings.model_fields}
        return VectorSettings.checked(
            {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        )

    def base_analyzer(self) -> Analyzer:
        """The analyzer that was given, or the default."""
        analyzer = Analyzer() if self.analyzer is None else self.analyzer
        if not isinstance(analyzer, Analyzer):
            raise SettingsError(f"analyzer: expected an ostinato.Analyzer, found {type(analyzer).__name__}")
        return analyzer

    def fit(self, texts: Iterable[str], y: Any = None, report: Callable[[Progress], None] | None = None) -> Self:  # noqa: ARG002
        """Learn vectors from texts, which are read once.

        Args:
            texts: any iterable of strings.
            y: nothing; scikit-learn passes it.
            report: is told from time to time how far it is, maybe by another thread.
        """
        trained = train(self._analysed(texts), self.settings(), report)
        about = {"words": len(trained.words), "tokens": trained.read, "training_seconds": round(trained.seconds, 2)}
        self._take(trained.words, trained.vectors, trained.counts, trained.subwords, about)
        return self

    def _analysed(self, texts: Iterable[str]) -> Iterator[list[str]]:
        if isinstance(texts, str | bytes):
            raise DataError("expected many texts, such as a list of strings, found one string")
        analyzer = self.base_analyzer()
        for number, text in enumerate(texts):
            try:
                yield analyzer(text)
            except DataError as error:
                raise DataError(f"text {number}: {error}") from None

    def _take(
        self, words: list[str], vectors: np.ndarray, counts: Any, subwords: Subwords | None, about: dict[str, Any]
    ) -> None:
        self.words_, self.vectors_, self.counts_, self.subwords_ = words, vectors, counts, subwords
        self.about_ = about | {"features": vectors.shape[1]}
        if subwords is not None:
            self.about_ |= {"ngram_rows": len(subwords.held)}
        for name in ("_ids", "_units"):
            self.__dict__.pop(name, None)

    @classmethod
    def from_arrays(cls, words: Sequence[str], vectors: np.ndarray, analyzer: Analyzer | None = None) -> Self:
        """Vectors that are there already.

        Args:
            words: each once, the most frequent first.
            vectors: [words, features].
            analyzer: what the words were found with; `Analyzer()` if None.

        Raises:
            DataError: if the two do not fit, or a word stands there twice.
        """
        rows = np.ascontiguousarray(vectors, np.float32)
        if rows.ndim != 2 or len(rows) != len(words) or not rows.size:
            raise DataError(f"expected vectors [{len(words)} words, features], found {list(rows.shape)}")
        if len(set(words)) != len(words):
            raise DataError("expected different words, found one twice")
        made = cls(analyzer, vector_size=rows.shape[1])
        made._take(list(words), rows, None, None, {"words": len(words)})
        return made

    # looking up

    @cached_property
    def _ids(self) -> dict[str, int]:
        check_is_fitted(self)
        return {word: index for index, word in enumerate(self.words_)}

    @cached_property
    def _units(self) -> np.ndarray:
        """The vectors at length 1, and zeros as they are."""
        lengths = np.linalg.norm(self.vectors_, axis=1, keepdims=True)
        return self.vectors_ / np.where(lengths > 0, lengths, 1)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, word: str) -> bool:
        return self.find(word) is not None

    def find(self, word: str) -> int | None:
        """The row of a word: of the word as it is, or as the analyzer has it, such as in lower case."""
        if (index := self._ids.get(word)) is None:
            index = self._ids.get(self._plain(word))
        return index

    def _plain(self, word: str) -> str:
        found = self.base_analyzer()(word)
        return found[0] if len(found) == 1 else word

    def lookup(self, word: str) -> np.ndarray | None:
        """The vector of a word, float32 [features]; of one never seen that of its n-grams; None if there is none."""
        if (index := self.find(word)) is not None:
            return self.vectors_[index]
        return None if self.subwords_ is None else self.subwords_.vector(self._plain(word))

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of a word, float32 [features].

        Raises:
            DataError: if it has none.
        """
        if (found := self.lookup(word)) is None:
            near = nearest(word, self.words_[:20_000])
            raise DataError(f"{word!r} is not among the {len(self.words_):,} words of the vectors{near}")
        return found

    def similarity(self, first: str, second: str) -> float:
        """The cosine between the vectors of two words.

        Raises:
            DataError: if one has none.
        """
        return float(_unit(self[first]) @ _unit(self[second]))

    def nearest(self, word: str, top: int = 10) -> list[Neighbour]:
        """The words whose vectors have the largest cosine with that of a word, itself left out.

        Raises:
            DataError: if it has no vector.
        """
        return self._best(_unit(self[word]), [word], top)

    def analogy(self, a: str, b: str, c: str, top: int = 1) -> list[Neighbour]:
        """What is to `c` as `b` is to `a`: argmax over w of cos(w, b̂ − â + ĉ), a, b and c left out (3CosAdd).

        With the vectors at length 1 (Mikolov et al. 2013b, section 4). Man, king, woman should give queen.

        Raises:
            DataError: if one of them has no vector.
        """
        return self._best(_unit(_unit(self[b]) - _unit(self[a]) + _unit(self[c])), [a, b, c], top)

    def _best(self, wanted: np.ndarray, leave_out: Sequence[str], top: int) -> list[Neighbour]:
        if top < 1:
            raise SettingsError(f"top = {top}: at least 1")
        scores = self._units @ wanted
        scores[[index for word in leave_out if (index := self.find(word)) is not None]] = -np.inf
        best = np.sort(np.argpartition(-scores, min(top, len(scores) - 1))[:top])
        ordered = best[np.argsort(-scores[best], kind="stable")]
        return [Neighbour(self.words_[index], float(scores[index])) for index in ordered if scores[index] > -np.inf]

    # texts

    def transform(self, texts: Iterable[str]) -> np.ndarray:
        """The mean of the vectors of each text's words, float32 [texts, features]; zeros where none has a vector."""
        check_is_fitted(self)
        rows = []
        for words in self._analysed(texts):
            found = [vector for word in words if (vector := self.lookup(word)) is not None]
            rows.append(np.mean(found, axis=0) if found else np.zeros(self.vectors_.shape[1], np.float32))
        return np.array(rows, np.float32).reshape(len(rows), self.vectors_.shape[1])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002
        """A name for each feature, with its number."""
        check_is_fitted(self)
        return np.array([f"vector{index}" for index in range(self.vectors_.shape[1])], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "words_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    # evaluation

    def evaluate_analogies(self, path: str | Path, case: str = "ignore", restrict: int = 300_000) -> Analogies:
        """Accuracy on a file of questions such as questions-words.txt; see `ostinato.features.vector_evaluation`."""
        check_is_fitted(self)
        return evaluate_analogies(self.words_, self._units, Path(path), case, restrict)

    def evaluate_similarities(self, path: str | Path, unseen: bool = False) -> Similarities:
        """Spearman's ρ with the similarities that people gave, in a TSV file of word, word, number.

        Args:
            path: of the file.
            unseen: count pairs too that hold a word outside the vocabulary, if n-grams give it a vector.
        """

        def similarity(first: str, second: str) -> float | None:
            known = all((self.lookup(word) is not None) if unseen else (word in self) for word in (first, second))
            return self.similarity(first, second) if known else None

        check_is_fitted(self)
        return evaluate_similarities(Path(path), similarity)

    # kept

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write them as a folder of JSON and safetensors.

        Raises:
            BundleError: if something stands there that would be lost.
        """
        check_is_fitted(self)
        with writing_bundle(Path(path), overwrite) as new:
            write_word_vectors(self, new)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing, damaged, or holds something else.
            MissingExtra: if its analyzer needs a package that is not installed.
        """
        return read_word_vectors(cls, Path(path))

    @classmethod
    def read(cls, path: str | Path, format: str = "auto", encoding: str = "utf-8", errors: str = "strict") -> Self:  # noqa: A002
        """Vectors from a folder that `save` wrote, or from a file of another program (see `read_vectors`).

        Raises:
            DataError, BundleError: if it cannot be read, with the place.
        """
        if Path(path).is_dir():
            return cls.load(path)
        words, vectors = read_vectors(Path(path), format, encoding, errors)
        made = cls.from_arrays(words, vectors)
        made.about_["source"] = Path(path).name
        return made

    def write(self, path: str | Path, format: str) -> Path:  # noqa: A002
        """Write the vectors of the words for another program (see `read_vectors`); those of n-grams are not held there.

        Raises:
            DataError: if the format cannot hold a word.
            SettingsError: if there is no such format.
        """
        check_is_fitted(self)
        write_vectors(Path(path), self.words_, self.vectors_, format)
        return Path(path)


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector
