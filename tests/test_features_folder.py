"""What was counted, in a folder, and matrices, in a file: what comes back, what is damaged, what is half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from ostinato.analysis import Analyzer
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features import BagOfWords, NGrams, matrices
from tests.test_features import DOCS, KINDS, corpora


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"min_df": 2}, {"hashed": 16}, {"vocabulary": ["fish", "cat", "猫"]}])
def test_what_is_saved_comes_back(kind, options, tmp_path):
    made = kind(Analyzer(stop_words=["dog"]) if kind is not NGrams else 1, **options).fit(DOCS)
    path = made.save(tmp_path / "features")
    again = kind.load(path)
    assert np.array_equal(again.transform(DOCS).toarray(), made.transform(DOCS).toarray())
    assert again.get_feature_names_out().tolist() == made.get_feature_names_out().tolist()
    assert again.analyzer_ == made.analyzer_ and again.statistics_ == made.statistics_
    more = ["the fish saw the dog", "猫"]
    assert np.array_equal(
        again.partial_fit(more).transform(DOCS).toarray(),
        kind.load(path).merge(clone(made).partial_fit(more)).transform(DOCS).toarray(),
    )
    assert not [name for name in path.rglob("*") if name.suffix not in (".json", ".safetensors")]


def test_without_statistics_only_the_columns_are_kept(tmp_path):
    made = BagOfWords(min_df=2).fit(["a b", "a c"])
    slim = BagOfWords.load(made.save(tmp_path / "slim", statistics=False))
    assert slim.transform(["a b"]).toarray().tolist() == [[1]]
    assert json.loads((tmp_path / "slim" / "other_terms.json").read_text()) == []
    for call in (lambda: slim.partial_fit(["b"]), lambda: slim.merge(made), lambda: made.merge(slim)):
        with pytest.raises(SettingsError, match="saved without the counts of terms that have no column"):
            call()
    assert slim.fit(["b", "b"]).get_feature_names_out().tolist() == ["b"]  # from the beginning it can
    whole = BagOfWords().fit(["a b"]).save(tmp_path / "whole", statistics=False)
    assert BagOfWords.load(whole).partial_fit(["c"]).transform(["c"]).shape == (1, 3)  # nothing was left out


def test_terms_that_are_no_text_elsewhere_are_kept(tmp_path):
    odd = BagOfWords(Analyzer(tokens="whitespace")).fit(['quote" \ud800 \\n 👍🏽 \u2028x'])
    again = BagOfWords.load(odd.save(tmp_path / "odd"))
    assert again.vocabulary_ == odd.vocabulary_


def _edit(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "vocabulary.json").unlink(), r"vocabulary\.json: No such file"),
        (lambda f: (f / "vocabulary.json").write_text('["a"'), r"vocabulary\.json: damaged: "),
        (lambda f: (f / "vocabulary.json").write_text("[1]"), "expected a list of strings"),
        (lambda f: (f / "vocabulary.json").write_text('["a"]'), "expected two vectors of 1 counts"),
        (lambda f: (f / "counts.safetensors").write_bytes((f / "counts.safetensors").read_bytes()[:-1]), "damaged"),
        (lambda f: (f / "counts.safetensors").unlink(), r"counts\.safetensors: no such file"),
        (lambda f: (f / "ostinato.json").unlink(), "not an ostinato model"),
        (lambda f: _edit(f / "ostinato.json", format=99), "format 99 is newer"),
        (lambda f: _edit(f / "ostinato.json", task="tf-idf"), "holds tf-idf, not bag-of-words"),
        (lambda f: _edit(f / "ostinato.json", settings={"min_dff": 1}), r"ostinato\.json: damaged"),
        (lambda f: _edit(f / "ostinato.json", analyzer={"tokns": 1}), r"damaged: unknown setting 'tokns' \(did you"),
        (lambda f: _edit(f / "ostinato.json", analyzer_fingerprint="0" * 12), "by other rules than this version's"),
        (
            lambda f: _edit(f / "ostinato.json", settings={"min_df": 9}),
            "damaged: the counts do not lead to the columns",
        ),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_damaged_folder_is_told(damage, message, tmp_path):
    path = BagOfWords().fit(DOCS).save(tmp_path / "features")
    damage(path)
    with pytest.raises(BundleError, match=message):
        BagOfWords.load(path)


def test_nothing_is_replaced_unasked(tmp_path):
    words = BagOfWords().fit(DOCS)
    words.save(tmp_path / "features")
    with pytest.raises(BundleError, match="--overwrite"):
        words.save(tmp_path / "features")
    words.save(tmp_path / "features", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="will not be replaced"):
        words.save(tmp_path / "mine", overwrite=True)


@given(corpora, st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_matrix_is_written_block_by_block(tmp_path_factory, docs, rows):
    words = BagOfWords().partial_fit([*docs, "a"])
    blocks = [words.transform(docs[start : start + rows]) for start in range(0, len(docs), rows)]
    path = tmp_path_factory.mktemp("matrix") / "features.npz"
    wanted = words.transform(docs)
    assert matrices.write_matrix(path, iter(blocks), wanted.shape[1]) == (len(docs), wanted.nnz)
    found = sparse.load_npz(path)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype and (found != wanted).nnz == 0
    assert isinstance(found, sparse.csr_array)
    assert [entry.name for entry in path.parent.iterdir()] == ["features.npz"]


def test_a_matrix_is_written_whole_or_not_at_all(tmp_path):
    def blocks():
        yield BagOfWords(vocabulary=["a"]).transform(["a"])
        raise DataError("the file ends here")

    with pytest.raises(DataError):
        matrices.write_matrix(tmp_path / "features.npz", blocks(), 1)
    assert list(tmp_path.iterdir()) == []
    assert matrices.write_matrix(tmp_path / "empty.npz", iter([]), 3) == (0, 0)
    assert sparse.load_npz(tmp_path / "empty.npz").shape == (0, 3)
