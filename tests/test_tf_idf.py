"""TF-IDF: each variant beside its formula, written down again, and beside scikit-learn's."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from ostinato.errors import SettingsError
from ostinato.features import BagOfWords, TfIdf

DOCS = ["猫 喜欢 鱼", "狗 不 喜欢 鱼 鱼", "a cat a fish", "fish fish fish", "狗"]
corpora = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8).map(" ".join), min_size=1, max_size=12).filter(any)

# n documents, df of them with the term; from the papers, one number at a time
IDF = {
    "textbook": lambda n, df: math.log(n / (1 + df)),
    "smooth": lambda n, df: math.log((1 + n) / (1 + df)) + 1,
    "unsmoothed": lambda n, df: math.log(n) - math.log(df) + 1,
    "standard": lambda n, df: -math.log(df / n),
    "probabilistic": lambda n, df: max(0.0, math.log((n - df) / df)) if n > df else 0.0,
    "none": lambda *_: 1.0,
}
TF = {
    "count": lambda count, _: count,
    "frequency": lambda count, length: count / length,
    "sublinear": lambda count, _: 1 + math.log(count),
    "binary": lambda *_: 1,
}
NORM = {
    "none": lambda _: 1.0,
    "l1": lambda row: sum(abs(x) for x in row),
    "l2": lambda row: math.sqrt(sum(x * x for x in row)),
}


def by_formula(docs, idf, tf, norm):
    split = [doc.split() for doc in docs]
    terms = sorted({term for doc in split for term in doc})
    df = {term: sum(term in doc for doc in split) for term in terms}
    rows = []
    for doc in split:
        count = Counter(doc)
        row = [TF[tf](count[t], len(doc)) * IDF[idf](len(docs), df[t]) if count[t] else 0.0 for t in terms]
        rows.append([x / (NORM[norm](row) or 1.0) for x in row])
    return np.array(rows)


@given(corpora)
@settings(max_examples=8, deadline=None)
@pytest.mark.parametrize("norm", NORM)
@pytest.mark.parametrize("tf", TF)
@pytest.mark.parametrize("idf", IDF)
def test_every_variant_is_its_formula(idf, tf, norm, docs):
    ours = TfIdf(idf=idf, tf=tf, norm=norm)
    wanted = by_formula(docs, idf, tf, norm)
    np.testing.assert_allclose(ours.fit_transform(docs).toarray(), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.fit(docs).transform(docs).toarray(), wanted, rtol=1e-12, atol=1e-12)


def test_the_textbook_by_hand():
    # 4 documents; 猫 in 1, 喜欢 and 鱼 in 2, 不 in 1: idf = log(4/2), log(4/3)
    docs = ["猫 喜欢 鱼", "狗 不 喜欢 鱼", "鸟", "飞 飞"]
    weights = TfIdf(idf="textbook", vocabulary=["猫", "狗", "喜欢", "不", "鱼"])
    rare, common = math.log(4 / 2), math.log(4 / 3)
    wanted = [[rare / 3, 0, common / 3, 0, common / 3], [0, rare / 4, common / 4, rare / 4, common / 4]]
    np.testing.assert_allclose(weights.fit(docs).transform(docs[:2]).toarray(), wanted, rtol=1e-12)
    np.testing.assert_allclose(weights.idf_, [rare, rare, common, rare, common], rtol=1e-12)


def test_the_textbook_brings_its_own_tf_and_norm_unless_told():
    same = TfIdf(idf="textbook", tf="frequency", norm="none").fit_transform(DOCS).toarray()
    assert np.array_equal(TfIdf(idf="textbook").fit_transform(DOCS).toarray(), same)
    counted = TfIdf(idf="textbook", tf="count", norm="none").fit_transform(DOCS).toarray()
    assert not np.allclose(counted, same)
    normed = TfIdf(idf="textbook", norm="l2").fit_transform(DOCS).toarray()
    lengths = np.linalg.norm(normed, axis=1)
    np.testing.assert_allclose(lengths, 1)


@pytest.mark.parametrize("sublinear", [False, True])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(("norm", "theirs"), [("l2", "l2"), ("l1", "l1"), ("none", None)])
@pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2)])
def test_scikit_learn_gives_the_same(sublinear, smooth, norm, theirs, ngram_range):
    peer = TfidfVectorizer(
        tokenizer=str.split, token_pattern=None, sublinear_tf=sublinear, smooth_idf=smooth, norm=theirs,
        ngram_range=ngram_range,
    )  # fmt: skip
    wanted = peer.fit_transform(DOCS)
    idf, tf = "smooth" if smooth else "unsmoothed", "sublinear" if sublinear else "count"
    ours = TfIdf(idf=idf, tf=tf, norm=norm, ngram_range=ngram_range)
    np.testing.assert_allclose(ours.fit_transform(DOCS).toarray(), wanted.toarray(), rtol=1e-12)
    np.testing.assert_allclose(ours.idf_, peer.idf_, rtol=1e-12)
    assert ours.get_feature_names_out().tolist() == peer.get_feature_names_out().tolist()


def test_the_length_counts_every_token_of_a_text():
    some = TfIdf(idf="none", tf="frequency", norm="none", vocabulary=["fish"])
    assert some.fit(DOCS).transform(["fish and chips", "fish"]).toarray().tolist() == [[1 / 3], [1.0]]


def test_texts_without_a_term_are_zero():
    for options in ({}, {"idf": "textbook"}, {"tf": "sublinear"}):
        assert TfIdf(**options).fit(DOCS).transform(["", "unseen"]).nnz == 0


@pytest.mark.parametrize("idf", IDF)
def test_terms_of_no_document_have_a_finite_weight(idf):
    weights = TfIdf(idf=idf, vocabulary=["fish", "never"]).fit(DOCS)
    assert np.isfinite(weights.idf_).all()
    assert np.isfinite(TfIdf(idf=idf, hashed=32).fit(DOCS).transform(["quite unseen"]).toarray()).all()


def test_hashed_weights_are_those_of_the_terms_where_none_meet():
    hashed, learnt = TfIdf(hashed=1 << 20).fit(DOCS), TfIdf().fit(DOCS)
    np.testing.assert_allclose(np.sort(hashed.transform(DOCS).data), np.sort(learnt.transform(DOCS).data), rtol=1e-12)


def test_without_idf_and_norm_it_counts():
    plain = TfIdf(idf="none", tf="count", norm="none").fit_transform(DOCS)
    assert np.array_equal(plain.toarray(), BagOfWords().fit_transform(DOCS).toarray())


def test_a_later_part_changes_the_weights():
    weights = TfIdf().fit(DOCS)
    before = weights.idf_.copy()
    again = weights.partial_fit(["猫"]).idf_
    assert not np.allclose(before, again)
    np.testing.assert_allclose(again, TfIdf().fit([*DOCS, "猫"]).idf_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idf": "smoth"}, "idf = 'smoth': Input should be 'textbook', 'smooth'"),
        ({"tf": "log"}, "tf = 'log': Input should be 'count', 'frequency', 'sublinear' or 'binary'"),
        ({"norm": "max"}, "norm = 'max': Input should be 'l2', 'l1' or 'none'"),
    ],
)
def test_an_unknown_variant_is_told(options, message):
    with pytest.raises(SettingsError, match=message):
        TfIdf(**options).fit(DOCS)
