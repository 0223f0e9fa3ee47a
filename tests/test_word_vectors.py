"""Word vectors: trained as gensim trains them, found by word, kept without pickle, and used without gensim."""

from __future__ import annotations

import json
import sys
import tempfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from ostinato.analysis import Analyzer
from ostinato.errors import BundleError, DataError, MissingExtra, SettingsError
from ostinato.features import WordVectors
from ostinato.features.subwords import Subwords, ngram_buckets, rows_of_words
from ostinato.features.vector_training import Progress, VectorSettings, _spool, train

gensim = pytest.importorskip("gensim.models")

ANIMALS, TOOLS = ["cat", "dog", "horse", "cow", "猫"], ["hammer", "saw", "drill", "wrench", "锯"]
SMALL = {"vector_size": 12, "min_count": 1, "epochs": 4, "sample": 0.0, "window": 2}


def sentences(lines: int = 300) -> list[list[str]]:
    """Animals stand among animals, and tools among tools."""
    draw = np.random.default_rng(0)
    return [draw.choice([ANIMALS, TOOLS][line % 2], 6).tolist() for line in range(lines)]


TEXTS = [" ".join(sentence) for sentence in sentences()]


@pytest.fixture(scope="module")
def fasttext() -> WordVectors:
    return WordVectors(Analyzer(tokens="whitespace"), method="fasttext", subwords=(2, 4), **SMALL).fit(TEXTS)


@pytest.fixture(scope="module")
def few() -> WordVectors:
    """Vectors that are easy to reckon with."""
    words = ["man", "king", "woman", "queen", "King", "Man", "zero"]
    rows = [[1, 0, 0], [1, 1, 0], [0, 0, 2], [0, 0.5, 0.5], [1, 1, 0.1], [1, 0, 0.1], [0, 0, 0]]
    return WordVectors.from_arrays(words, np.array(rows))


# training


@pytest.mark.parametrize("method", ["word2vec", "fasttext"])
@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_training_is_gensims_to_the_bit(method, architecture, loss):
    s = VectorSettings(method=method, architecture=architecture, loss=loss, buckets=7, seed=3, **SMALL)
    ours = train(sentences(), s)
    common = {
        "vector_size": 12, "min_count": 1, "epochs": 4, "sample": 0, "window": 2, "alpha": 0.05, "seed": 3,
        "workers": 1, "sg": int(architecture == "skipgram"), "hs": int(loss == "hierarchical"), "batch_words": 100,
        "negative": 5 if loss == "negative" else 0, "sorted_vocab": 0,
    }  # fmt: skip
    # every one of seven buckets is in use, so that a row is a bucket
    theirs = gensim.Word2Vec(**common) if method == "word2vec" else gensim.FastText(bucket=7, **common)
    theirs.build_vocab_from_freq(dict(zip(ours.words, ours.counts.tolist(), strict=True)))
    theirs.train(sentences(), total_words=1800, epochs=4)
    assert theirs.wv.index_to_key == ours.words
    assert (theirs.wv.vectors == ours.vectors).all()
    if ours.subwords is not None:
        assert (theirs.wv.vectors_ngrams == ours.subwords.vectors).all()
        unseen = ours.subwords.vector("houses")
        assert unseen is not None and np.allclose(unseen, theirs.wv["houses"], atol=1e-6)


def test_words_among_the_same_words_are_alike(fasttext):
    for vectors in (fasttext, WordVectors(Analyzer(tokens="whitespace"), **SMALL | {"epochs": 20}).fit(TEXTS)):
        for group in (ANIMALS, TOOLS):
            for word in group:
                assert {each.word for each in vectors.nearest(word, top=4)} == set(group) - {word}


def test_one_thread_and_one_seed_give_the_same_bits():
    first, again, other = (WordVectors(seed=seed, **SMALL).fit(iter(TEXTS)) for seed in (1, 1, 2))
    assert (first.vectors_ == again.vectors_).all()
    assert not (first.vectors_ == other.vectors_).all()
    assert first.words_ == other.words_


def test_with_two_threads_it_learns_as_well():
    vectors = WordVectors(Analyzer(tokens="whitespace"), threads=2, **SMALL | {"epochs": 20}).fit(TEXTS)
    assert {each.word for each in vectors.nearest("cat", top=4)} == set(ANIMALS) - {"cat"}


def test_which_words_are_kept():
    texts = ["b b b b a a a a", "c c c d d", "e"] * 5
    vectors = WordVectors(**SMALL | {"min_count": 10}).fit(texts)
    assert vectors.words_ == ["a", "b", "c", "d"]
    assert vectors.counts_ is not None and vectors.counts_.tolist() == [20, 20, 15, 10]
    assert WordVectors(max_words=3, **SMALL).fit(texts).words_ == ["a", "b", "c"]
    assert vectors.about_["tokens"] == 70


def test_a_long_sentence_is_trained_to_its_end():
    words = np.random.default_rng(0).choice(ANIMALS + TOOLS, 25_000).tolist()
    whole = train([words], VectorSettings(**SMALL | {"epochs": 1}))
    parts = train([words[at : at + 10_000] for at in (0, 10_000, 20_000)], VectorSettings(**SMALL | {"epochs": 1}))
    assert (whole.vectors == parts.vectors).all()
    assert not (whole.vectors == train([words[:10_000]], VectorSettings(**SMALL | {"epochs": 1})).vectors).all()


def test_the_corpus_is_read_once_and_progress_is_told():
    told: list[Progress] = []
    WordVectors(**SMALL).fit((text for text in TEXTS), report=told.append)
    assert told[-1].words == told[-1].total == 4 * 1800
    assert [each.words for each in told] == sorted(each.words for each in told)


def test_a_failure_while_training_is_not_waited_for():
    def fail(_: Progress) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        WordVectors(**SMALL).fit(TEXTS, report=fail)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "the corpus is empty"),
        (["", " ,"], {}, "the corpus is empty"),
        (["the 的", "of"], {"analyzer": Analyzer(stop_words="english+chinese")}, "or holds stop words alone"),
        (["a b c"] * 4, {}, "none of 3 different words occur at least min_count = 5 times"),
        (["a a a a a b"], {}, "1 of 2 different words occurs at least min_count = 5"),
        ("a b", {}, "expected many texts"),
        (["a b", 3], {}, "text 1: expected a text, found int"),
    ],
)
def test_what_cannot_be_learnt_from(texts, options, message):
    with pytest.raises(DataError, match=message):
        WordVectors(**options).fit(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "glove"}, "method = 'glove'"),
        ({"subwords": (4, 3)}, "fewest and most"),
        ({"sample": 1.0}, "sample"),
        ({"epochs": 0}, "epochs"),
        ({"analyzer": "words"}, "expected an ostinato.Analyzer"),
    ],
)
def test_settings_that_are_wrong(options, message):
    with pytest.raises(SettingsError, match=message):
        WordVectors(**options).fit(TEXTS)


def test_without_gensim_training_says_so_and_use_goes_on(fasttext, tmp_path, monkeypatch):
    fasttext.save(tmp_path / "vectors")
    monkeypatch.setitem(sys.modules, "gensim", None)
    with pytest.raises(MissingExtra, match=r"needs gensim.*ostinato\[vectors\]"):
        WordVectors(**SMALL).fit(TEXTS)
    vectors = WordVectors.load(tmp_path / "vectors")
    assert vectors.nearest("catty", top=1) == fasttext.nearest("catty", top=1)


# n-grams


@given(st.text(max_size=12), st.integers(1, 4), st.integers(0, 4), st.sampled_from([1, 17, 2_000_000, 2**32]))
@settings(max_examples=200, deadline=None)
def test_buckets_are_fasttexts(word, fewest, more, buckets):
    fast = pytest.importorskip("gensim.models.fasttext")
    try:
        word.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which fastText has no bytes for
    wanted = [h % buckets for h in map(fast.ft_hash_bytes, fast.compute_ngrams_bytes(word, fewest, fewest + more))]
    assert ngram_buckets(word, fewest, fewest + more, buckets) == wanted


def test_rows_are_those_of_the_vocabulary(fasttext):
    held, rows = rows_of_words(["ab", "b"], 1, 3, 2**32)
    assert len(held) == len({"a", "b", "<a", "ab", "b>", "<ab", "ab>", "<b", "<b>"})
    assert [held[each].tolist() for each in rows] == [ngram_buckets(word, 1, 3, 2**32) for word in ("ab", "b")]
    assert len(rows_of_words(["ab", "b"], 1, 3, 4)[0]) <= 4
    grams = {f"<{w}>"[at : at + n] for w in ANIMALS + TOOLS for n in (2, 3, 4) for at in range(len(w) + 3 - n)}
    assert fasttext.about_["ngram_rows"] == len(grams)


def test_a_word_never_seen_has_the_mean_of_what_was_trained_of_its_ngrams(fasttext):
    held = fasttext.subwords_
    known = [h for h in ngram_buckets("horses", 2, 4, held.buckets) if h in held.held]
    assert 0 < len(known) < len(ngram_buckets("horses", 2, 4, held.buckets))
    wanted = np.mean([held.vectors[held.held.tolist().index(h)] for h in known], axis=0)
    assert np.allclose(fasttext["horses"], wanted, atol=1e-6) and "horses" not in fasttext
    assert fasttext.nearest("horses", top=1)[0].word == "horse"
    assert fasttext.lookup("ψξ") is None
    with pytest.raises(DataError, match="'ψξ' is not among the 10 words"):
        fasttext.nearest("ψξ")


def test_words_shorter_than_any_ngram():
    vectors = WordVectors(Analyzer(tokens="whitespace"), method="fasttext", subwords=(5, 6), **SMALL).fit(["猫 a"] * 9)
    assert vectors.about_["ngram_rows"] == 0 and np.isfinite(vectors.vectors_).all()
    assert vectors.lookup("b") is None
    assert Subwords(5, 6, 10, np.zeros(0, np.int64), np.zeros((0, 2), np.float32)).vector("long word") is None


# looking up


def test_nearest_and_analogy_by_hand(few):
    found = few.nearest("man", top=9)
    assert [each.word for each in found] == ["Man", "king", "King", "woman", "queen", "zero"]
    assert found[1].similarity == pytest.approx(0.5**0.5)
    assert few.similarity("man", "king") == pytest.approx(0.5**0.5)
    unit = [v / np.linalg.norm(v) for v in few.vectors_[:6]]
    wanted = unit[1] - unit[0] + unit[2]
    cosines = {w: u @ wanted / np.linalg.norm(wanted) for w, u in zip(few.words_, unit, strict=False)}
    [best] = few.analogy("man", "king", "woman")
    assert best.word == "queen" and best.similarity == pytest.approx(cosines["queen"], abs=1e-6)
    assert "woman" not in {each.word for each in few.analogy("man", "king", "woman", top=7)}
    with pytest.raises(SettingsError, match="at least 1"):
        few.nearest("man", top=0)


def test_a_word_is_found_as_it_is_and_then_as_the_analyzer_has_it(few):
    assert few.find("King") == 4 and few.find("KING") == 1 and few.find("ｑｕｅｅｎ") == 3
    assert "queen" in few and "prince" not in few and len(few) == 7
    with pytest.raises(DataError, match=r"'quen' is not among the 7 words of the vectors \(did you mean queen\?\)"):
        few["quen"]


def test_arrays_that_do_not_fit():
    for words, rows, message in (
        (["a"], np.zeros((2, 3)), "1 words"), (["a", "a"], np.ones((2, 3)), "different"), (["a"], np.zeros(3), "found"),
        ([], np.zeros((0, 3)), "found"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            WordVectors.from_arrays(words, rows)


# scikit-learn


def test_texts_are_the_mean_of_their_words(few):
    found = few.transform(["king man nobody", "nobody", "KING"])
    assert np.allclose(found, [few.vectors_[:2].mean(0), np.zeros(3), few.vectors_[1]])
    assert few.transform([]).shape == (0, 3)
    assert few.get_feature_names_out().tolist() == ["vector0", "vector1", "vector2"]


def test_scikit_learn_takes_it_for_its_own():
    for check in (
        estimator_checks.check_estimator_cloneable, estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init, estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance, estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
    ):  # fmt: skip
        check("WordVectors", WordVectors())
    for call in (len, lambda v: v.transform(TEXTS), lambda v: v.nearest("cat"), lambda v: v.save("nowhere")):
        with pytest.raises(NotFittedError):
            call(WordVectors())
    labels = [line % 2 for line in range(60)]
    pipe = make_pipeline(WordVectors(Analyzer(tokens="whitespace"), **SMALL), LogisticRegression())
    search = GridSearchCV(pipe, {"wordvectors__window": [1, 2]}, cv=2).fit(TEXTS[:60], labels)
    assert search.best_score_ == 1.0
    assert clone(pipe).get_params()["wordvectors__epochs"] == 4


# kept


def test_saved_and_loaded_they_are_the_same(fasttext, few, tmp_path):
    for number, vectors in enumerate((fasttext, few)):
        folder = vectors.save(tmp_path / str(number))
        again = WordVectors.read(folder)
        assert again.words_ == vectors.words_ and (again.vectors_ == vectors.vectors_).all()
        assert again.get_params() == vectors.get_params() | {"analyzer": vectors.base_analyzer()}
        assert again.about_ == vectors.about_
        for word in ("cat", "houses", "man"):
            one, other = vectors.lookup(word), again.lookup(word)
            assert (one is None and other is None) or np.array_equal(one, other)
        assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    assert WordVectors.load(tmp_path / "0").counts_.tolist() == fasttext.counts_.tolist()
    with pytest.raises(BundleError, match="--overwrite"):
        few.save(tmp_path / "0")
    few.save(tmp_path / "0", overwrite=True)
    assert WordVectors.load(tmp_path / "0").words_ == few.words_


def test_a_damaged_folder_is_refused(fasttext, tmp_path):
    def saved(name):
        return fasttext.save(tmp_path / name)

    folder = saved("words")
    (folder / "vocabulary.json").write_text('["cat"]')
    with pytest.raises(BundleError, match="damaged: expected"):
        WordVectors.load(folder)
    folder = saved("weights")
    (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-7])
    with pytest.raises(BundleError, match=r"weights\.safetensors: damaged"):
        WordVectors.load(folder)
    folder = saved("rows")
    save_file(load_file(folder / "weights.safetensors") | {"counts": np.zeros(3)}, folder / "weights.safetensors")
    with pytest.raises(BundleError, match="damaged"):
        WordVectors.load(folder)
    folder = saved("settings")
    manifest = json.loads((folder / "ostinato.json").read_text())
    for change, message in (
        ({"settings": manifest["settings"] | {"windw": 3}}, "damaged"),
        ({"settings": manifest["settings"] | {"vector_size": 7}}, "damaged: expected"),
        ({"analyzer": None}, "damaged"),
        ({"task": "tf-idf"}, "holds tf-idf, not word-vectors"),
        ({"format": 99}, "newer"),
    ):
        (folder / "ostinato.json").write_text(json.dumps(manifest | change))
        with pytest.raises(BundleError, match=message):
            WordVectors.load(folder)
    with pytest.raises(BundleError, match="no such folder"):
        WordVectors.load(tmp_path / "none")


def test_files_of_other_programs(few, tmp_path):
    for kind in ("word2vec", "word2vec-binary", "glove"):
        again = WordVectors.read(few.write(tmp_path / kind, kind))
        assert again.words_ == few.words_ and (again.vectors_ == few.vectors_).all()
        assert again.about_ == {"words": 7, "features": 3, "source": kind}
        assert again.nearest("man", 1) == few.nearest("man", 1)


@pytest.mark.parametrize("case", ["ignore", "exact"])
def test_analogies_and_similarities_are_gensims(case, tmp_path):
    draw = np.random.default_rng(5)
    words = [*(word for n in range(25) for word in (f"w{n}", f"W{n}")), "Alone"]
    vectors = draw.standard_normal((51, 4)).astype(np.float32)
    pick = [*words, "w99"]
    lines = [f": gram{s}\n" + "".join(" ".join(draw.choice(pick, 4)) + "\n" for _ in range(80)) for s in range(3)]
    (questions := tmp_path / "questions").write_text("".join(lines))
    rows = enumerate(draw.choice(pick, (60, 2)))
    (pairs := tmp_path / "pairs").write_text("".join(f"{a}\t{b}\t{n}\n" for n, (a, b) in rows))
    theirs = gensim.KeyedVectors(4)
    theirs.add_vectors(words, vectors)
    analyzer = Analyzer(tokens="whitespace", lowercase=False)
    ours = WordVectors.from_arrays(words, vectors, analyzer)
    for restrict in (300_000, 40):
        _, sections = theirs.evaluate_word_analogies(questions, restrict, case_insensitive=case == "ignore")
        found = ours.evaluate_analogies(questions, case, restrict)
        for theirs_of, mine in zip(sections, [*found.sections.values(), found.total()], strict=True):
            correct, wrong = len(theirs_of["correct"]), len(theirs_of["incorrect"])
            assert mine.answered == correct + wrong > 0
            # gensim looks at five words only, which may all be spellings of those asked about
            assert correct <= mine.correct <= correct + (case == "ignore")
    _, spearman, share = theirs.evaluate_word_pairs(pairs, case_insensitive=False)
    alike = ours.evaluate_similarities(pairs)
    assert alike.spearman == pytest.approx(spearman[0]) and alike.covered == round(60 * (1 - share / 100))


def test_memory_is_that_of_the_vocabulary_and_not_of_the_text():
    def peak(lines: int) -> int:
        corpus = (["the", "cat", "saw", "a", "dog"] * 20 for _ in range(lines))
        with tempfile.TemporaryFile() as file:
            tracemalloc.start()
            spooled = _spool(corpus, file, VectorSettings())
            read = sum(map(len, spooled))
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert read == spooled.total == lines * 100
        return found

    peak(10)
    short, long = peak(1500), peak(6000)
    assert long < short + 500_000  # the text is 1.8 MB longer as numbers, and more as words
