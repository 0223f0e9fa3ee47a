"""Bags of words and n-grams: what is counted, that parts add up, and that scikit-learn takes them for its own."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC
from sklearn.utils import estimator_checks

from ostinato.analysis import Analyzer
from ostinato.errors import DataError, SettingsError
from ostinato.features import BagOfWords, NGrams, TfIdf, counts, matrices

DOCS = ["猫 喜欢 鱼", "狗 不 喜欢 鱼", "the cat saw the dog", "a dog, a cat", "I am a cat"]
KINDS = [BagOfWords, NGrams, TfIdf]
corpora = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8).map(" ".join), min_size=1, max_size=12)


# counts


def test_counts_over_an_own_vocabulary():
    words = BagOfWords(vocabulary=["猫", "狗", "喜欢", "不", "鱼"])
    wanted = [[1, 0, 1, 0, 1], [0, 1, 1, 1, 1]]
    assert words.transform(DOCS[:2]).toarray().tolist() == wanted  # nothing is to be learnt
    assert words.fit_transform(DOCS[:2]).toarray().tolist() == wanted
    assert words.fit(DOCS).transform(DOCS[:2]).toarray().tolist() == wanted
    by_column = BagOfWords(vocabulary={"鱼": 1, "猫": 0})
    assert by_column.transform(DOCS[:2]).toarray().tolist() == [[1, 1], [0, 1]]
    assert by_column.get_feature_names_out().tolist() == ["猫", "鱼"]


def test_counts_over_a_learnt_vocabulary():
    words = BagOfWords().fit(["b a b", "c"])
    assert words.vocabulary_ == {"a": 0, "b": 1, "c": 2}
    counted = words.transform(["b b b", "", "unseen c"])
    assert counted.toarray().tolist() == [[0, 3, 0], [0, 0, 0], [0, 0, 1]] and counted.dtype == np.int64
    assert BagOfWords(binary=True).fit_transform(["b a b", "c"]).toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert words.transform([]).shape == (0, 3)


def test_ngrams_of_words_and_characters():
    assert set(NGrams().fit(["猫 喜欢 吃 鱼"]).vocabulary_) == {"猫 喜欢", "喜欢 吃", "吃 鱼"}
    assert set(NGrams(n=(1, 2)).fit(["a b"]).vocabulary_) == {"a", "b", "a b"}
    assert set(NGrams(n=2, unit="characters").fit(["ab c"]).vocabulary_) == {"ab", "bc"}
    assert set(NGrams(n=(3, 4), unit="subwords").fit(["ab c"]).vocabulary_) == {"<ab", "ab>", "<ab>", "<c>"}
    assert set(BagOfWords(ngram_range=(2, 3)).fit(["a b c"]).vocabulary_) == {"a b", "b c", "a b c"}


@given(
    corpora, st.sampled_from([(1, 1), (1, 2), (2, 3)]), st.integers(1, 3), st.sampled_from([1.0, 0.7, 4]), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_scikit_learn(docs, ngram_range, min_df, max_df, binary):
    options = {"ngram_range": ngram_range, "min_df": min_df, "max_df": max_df, "binary": binary}
    theirs = CountVectorizer(tokenizer=str.split, token_pattern=None, **options)
    try:
        wanted = theirs.fit_transform(docs)
    except ValueError:
        with pytest.raises((DataError, SettingsError)):
            BagOfWords(**options).fit(docs)
        with pytest.raises((DataError, SettingsError)):
            BagOfWords(**options).fit_transform(docs)
        return
    ours = BagOfWords(**options)
    assert (ours.fit_transform(docs).toarray() == wanted.toarray()).all()
    assert (ours.fit(iter(docs)).transform(iter(docs)).toarray() == wanted.toarray()).all()
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()


def test_the_most_frequent_terms_are_kept():
    docs = ["a a a b", "b c c", "c d"]
    assert list(BagOfWords(max_features=2).fit(docs).vocabulary_) == ["a", "c"]
    assert list(BagOfWords(max_features=3).fit(docs).vocabulary_) == ["a", "b", "c"]
    assert list(BagOfWords(max_features=9).fit(docs).vocabulary_) == ["a", "b", "c", "d"]


def test_bounds_are_numbers_or_shares():
    docs = ["a b", "a b", "a c", "a"]
    assert list(BagOfWords(min_df=2).fit(docs).vocabulary_) == ["a", "b"]
    assert list(BagOfWords(min_df=0.5, max_df=0.5).fit(docs).vocabulary_) == ["b"]
    assert list(BagOfWords(max_df=1).fit(docs).vocabulary_) == ["c"]
    assert list(BagOfWords(max_df=1.0).fit(docs).vocabulary_) == ["a", "b", "c"]
    assert list(BagOfWords(min_df=np.int64(2)).fit(docs).vocabulary_) == ["a", "b"]


def test_hashed_terms_have_columns_without_a_vocabulary():
    words = BagOfWords(hashed=64)
    counted = words.transform(["a b a", "zebra"])
    assert counted.shape == (2, 64) and counted.sum(1).tolist() == [3, 1] and counted.max() == 2
    assert (words.fit_transform(["a b a", "zebra"]) != counted).nnz == 0
    assert words.get_feature_names_out()[:2].tolist() == ["hash0", "hash1"]
    assert not hasattr(words, "vocabulary_")
    assert BagOfWords(hashed=1).transform(["a b c"]).toarray().tolist() == [[3]]  # all meet
    # the same on every machine: MurmurHash3
    assert BagOfWords(hashed=1000).transform(["cat 猫"]).nonzero()[1].tolist() == [
        counts._bucket(t, 1000) for t in ("猫", "cat")
    ]
    assert counts._bucket("cat", 1 << 20) == 300839


# scale


def test_a_stream_is_counted_without_being_kept(monkeypatch):
    monkeypatch.setattr(matrices, "ROWS_AT_ONCE", 64)

    def texts(number):
        return ("the cat sat on the mat and saw the dog number " + str(n % 50) for n in range(number))

    def peak(number):
        tracemalloc.start()
        words = TfIdf().fit(texts(number))
        rows = sum(block.shape[0] for block in words.stream(texts(number)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == number
        return most

    peak(100)  # what is imported and cached the first time
    few, many = peak(1_000), peak(6_000)
    assert many < few * 1.1 + 20_000


@given(corpora, corpora, st.sampled_from([*KINDS]), st.sampled_from([None, 32]), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_merged_parts_are_as_one_pass(left, right, kind, hashed, min_df):
    options = {"hashed": hashed} if hashed else {"min_df": min_df, "max_features": 5}
    try:
        whole = kind(**options).fit(left + right)
    except DataError:
        return  # no term is left
    wanted = whole.transform(left + right).toarray()
    merged = kind(**options).partial_fit(left).merge(kind(**options).partial_fit(right))
    in_turn = kind(**options).partial_fit(left).partial_fit(right)
    for other in (merged, in_turn):
        assert other.statistics_ == whole.statistics_
        assert other.get_feature_names_out().tolist() == whole.get_feature_names_out().tolist()
        assert np.array_equal(other.transform(left + right).toarray(), wanted)
    assert np.array_equal(kind(**options).fit_transform(left + right).toarray(), wanted)


def test_what_is_learnt_later_changes_the_columns():
    words = BagOfWords().fit(["b"])
    assert words.transform(["a b"]).shape == (1, 1)
    assert words.partial_fit(["a"]).transform(["a b"]).toarray().tolist() == [[1, 1]]
    assert words.fit(["c"]).get_feature_names_out().tolist() == ["c"]  # fit forgets


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            BagOfWords(Analyzer(lowercase=False)),
            "cannot merge: analyzer is .*lowercase=True.* here and .*lowercase=False",
        ),
        (BagOfWords(vocabulary=["a"]), r"cannot merge: vocabulary is None here and \['a'\] there"),
        (BagOfWords(hashed=8), "cannot merge: hashed is None here and 8 there"),
        (NGrams(), "cannot merge: kind is bag-of-words here and n-grams there"),
    ],
)
def test_parts_that_do_not_fit_are_not_merged(other, message):
    with pytest.raises(SettingsError, match=message):
        BagOfWords().fit(["a b"]).merge(other.fit(["a b"]))


# scikit-learn's conventions


@pytest.mark.parametrize("kind", KINDS)
def test_conventions_of_scikit_learn(kind):
    estimator = kind()
    with warnings.catch_warnings(record=True) as told:  # scikit-learn has nothing general for what reads text
        warnings.simplefilter("always")
        estimator_checks.check_estimator(estimator)
    assert [warning.category for warning in told] == [SkipTestWarning]
    for check in (
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
    ):
        check(kind.__name__, estimator)
    fitted = clone(estimator.set_params(min_df=2)).fit(DOCS * 2)
    assert fitted.min_df == 2 and fitted.fit(DOCS * 2) is fitted
    first, again = fitted.transform(DOCS), fitted.fit(DOCS * 2).transform(DOCS)
    assert sparse.issparse(first) and (first != again).nnz == 0
    assert first.shape == (len(DOCS), len(fitted.get_feature_names_out()))
    assert (fitted.transform(DOCS[::-1]) != first[::-1]).nnz == 0
    assert (sparse.vstack([fitted.transform([text]) for text in DOCS]) != first).nnz == 0
    assert fitted.set_output(transform="default").transform(DOCS).nnz == first.nnz


@pytest.mark.parametrize("kind", KINDS)
def test_before_fit_there_is_nothing(kind):
    for call in (kind().transform, kind().stream):
        with pytest.raises(NotFittedError):
            list(call(DOCS))
    with pytest.raises(NotFittedError):
        kind().get_feature_names_out()
    with pytest.raises(NotFittedError):
        kind().merge(kind().fit(DOCS))
    with pytest.raises(NotFittedError):
        TfIdf(vocabulary=["a"]).transform(DOCS)


def test_a_pipeline_and_a_search_over_its_parameters():
    texts = ["good fish", "very good", "good good dog", "bad fish", "very bad", "bad bad dog"] * 4
    labels = [1, 1, 1, 0, 0, 0] * 4
    pipeline = make_pipeline(make_union(TfIdf(), NGrams(n=3, unit="subwords")), LogisticRegression())
    assert pipeline.fit(texts, labels).score(texts, labels) == 1.0
    assert make_pipeline(TfIdf(), LinearSVC()).fit(texts, labels).score(texts, labels) == 1.0  # wants 32-bit indices
    assert TfIdf().fit(texts).transform(texts).indices.dtype == np.int32
    names = pipeline[:-1].get_feature_names_out()
    assert "tfidf__good" in names and "ngrams__<go" in names
    grid = {"tfidf__ngram_range": [(1, 1), (1, 2)], "tfidf__idf": ["smooth", "textbook"], "tfidf__min_df": [1, 2]}
    grid["tfidf__analyzer"] = [None, Analyzer(stop_words="english")]
    search = GridSearchCV(make_pipeline(TfIdf(), LogisticRegression()), grid, cv=2).fit(texts, labels)
    assert search.best_score_ == 1.0 and search.predict(["a good cat", "a bad cat"]).tolist() == [1, 0]


# what is wrong


@pytest.mark.parametrize(
    ("options", "docs", "message"),
    [
        ({}, [], "the corpus is empty"),
        ({"hashed": 4}, [], "the corpus is empty"),
        ({"vocabulary": ["a"]}, [], "the corpus is empty"),
        ({}, ["", " \n"], "no term is left of 2 texts: all are empty or stop words"),
        (
            {"analyzer": Analyzer(stop_words="english")},
            ["the and of"],
            "no term is left of 1 texts: all are empty or stop",
        ),
        (
            {"min_df": 3},
            ["a b", "c"],
            "no term is left of 2 texts: 3 terms occur, none in 3 to 2 of them|less than min_df",
        ),
        ({"min_df": 2}, ["a b", "c"], "no term is left of 2 texts: 3 terms occur, none in 2 to 2 of them"),
        ({}, "one string", "expected many texts, .* found one string"),
        ({}, ["a", None], "text 1: expected a text, found NoneType"),
        ({}, ["a", float("nan")], "text 1: expected a text, found float: 'nan'"),
        ({"min_df": 1.5}, ["a"], "min_df = 1.5: a share of the documents from 0.0 to 1.0, or a whole number"),
        ({"min_df": -1}, ["a"], "min_df = -1: Input should be greater"),
        ({"min_df": 2, "max_df": 1}, ["a b"], "max_df = 1 is 1 of 1 documents, which is less than min_df = 2"),
        ({"ngram_range": (2, 1)}, ["a"], r"ngram_range = \(2, 1\): fewest and most"),
        ({"hashed": 0}, ["a"], "hashed = 0: Input should be greater"),
        ({"hashed": 8, "min_df": 2}, ["a"], "min_df chooses among learnt terms, and hashed leaves nothing"),
        ({"hashed": 8, "vocabulary": ["a"]}, ["a"], "vocabulary or hashed"),
        ({"vocabulary": ["a"], "max_features": 2}, ["a"], "max_features chooses among learnt terms, and vocabulary"),
        ({"vocabulary": ["a", "a"]}, ["a"], "vocabulary: 'a' stands there twice"),
        ({"vocabulary": []}, ["a"], "vocabulary: expected at least one term"),
        ({"vocabulary": "word"}, ["a"], "vocabulary: expected at least one term, each a string"),
        ({"vocabulary": ["a", 1]}, ["a"], "vocabulary: expected at least one term, each a string"),
        (
            {"vocabulary": ["cat", "Dog"]},
            ["a"],
            "vocabulary: 'Dog' is never found, since the analyzer makes 'dog' of it",
        ),
        ({"vocabulary": ["a", "a b"]}, ["a"], r"vocabulary: 'a b' has 2 words, and ngram_range = \(1, 1\)"),
        (
            {"vocabulary": ["a"], "ngram_range": (2, 2)},
            ["a"],
            r"vocabulary: 'a' has 1 words, and ngram_range = \(2, 2\)",
        ),
        ({"vocabulary": {"a": 0, "b": 2}}, ["a"], "vocabulary: expected the columns 0 to 1, each once"),
        ({"analyzer": "word"}, ["a"], r"analyzer: expected an ostinato\.Analyzer, found str"),
    ],
)
def test_what_is_wrong_is_told(options, docs, message):
    for call in (BagOfWords(**options).fit, BagOfWords(**options).fit_transform):
        with pytest.raises((DataError, SettingsError), match=message):
            call(docs)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(TypeError):
        BagOfWords(min_dff=2)
    with pytest.raises(SettingsError, match="unit = 'letters': Input should be 'words'"):
        NGrams(unit="letters").fit(["a"])
