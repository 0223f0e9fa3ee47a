"""Text to vectors: counts, TF-IDF and n-grams, with scikit-learn's interface.

>>> from ostinato.features import BagOfWords
>>> words = BagOfWords(vocabulary=["猫", "狗", "喜欢", "不", "鱼"])
>>> words.fit_transform(["猫 喜欢 鱼", "狗 不 喜欢 鱼"]).toarray().tolist()
[[1, 0, 1, 0, 1], [0, 1, 1, 1, 1]]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.features.bert import BertVectors as BertVectors
    from ostinato.features.counts import BagOfWords as BagOfWords
    from ostinato.features.n_grams import NGrams as NGrams
    from ostinato.features.retrieval.bm25 import BM25 as BM25
    from ostinato.features.tf_idf import TfIdf as TfIdf
    from ostinato.features.word_vectors import WordVectors as WordVectors

# name → where it is; imported when first used, so that one kind of features does not wait for the packages of another
_PUBLIC = {
    "BM25": "ostinato.features.retrieval.bm25",
    "BagOfWords": "ostinato.features.counts",
    "BertVectors": "ostinato.features.bert",
    "NGrams": "ostinato.features.n_grams",
    "TfIdf": "ostinato.features.tf_idf",
    "WordVectors": "ostinato.features.word_vectors",
}

__all__ = [*_PUBLIC]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ostinato.features' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
