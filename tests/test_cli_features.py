"""`ostinato features` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from ostinato.analysis import Analyzer
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import OstinatoError
from ostinato.features import BagOfWords, NGrams, TfIdf
from tests.test_cli import ostinato

TEXTS = ["猫喜欢鱼", "狗不喜欢鱼", "the cat, the dog", "a dog"]


@pytest.fixture
def features(capsys):
    """The command in this process, which is faster; its errors are raised."""

    def call(*arguments: Any) -> dict[str, Any]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main(["features", *map(str, arguments), "--json"], prog_name="ostinato", standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("id,text\n" + "".join(f'{at},"{text}"\n' for at, text in enumerate(TEXTS)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["tfidf"], TfIdf()),
        (["tfidf", "--idf", "textbook"], TfIdf(idf="textbook")),
        (
            ["tfidf", "--idf", "none", "--tf", "sublinear", "--norm", "none"],
            TfIdf(idf="none", tf="sublinear", norm="none"),
        ),
        (["counts", "--ngram-range", "1,2", "--binary"], BagOfWords(ngram_range=(1, 2), binary=True)),
        (["counts", "--min-df", "2", "--max-df", "1.0"], BagOfWords(min_df=2)),
        (["counts", "--max-df", "1"], BagOfWords(max_df=1)),
        (["counts", "--hashed", "64"], BagOfWords(hashed=64)),
        (["counts", "--tokens", "words", "--no-lowercase"], BagOfWords(Analyzer(tokens="words", lowercase=False))),
        (["counts", "--stop-words", "english"], BagOfWords(Analyzer(stop_words="english"))),
        (["counts", "--stop-words", "the,鱼"], BagOfWords(Analyzer(stop_words=["the", "鱼"]))),
        (["counts", "--char-ngrams", "2,3"], BagOfWords(Analyzer(char_ngrams=(2, 3)))),
        (["ngrams"], NGrams()),
        (["ngrams", "--n", "3", "--unit", "characters"], NGrams(n=3, unit="characters")),
        (
            ["ngrams", "--n", "2,3", "--unit", "subwords", "--max-features", "5"],
            NGrams(n=(2, 3), unit="subwords", max_features=5),
        ),
    ],
)
def test_the_command_gives_what_python_gives(arguments, made, reviews, tmp_path, features):
    figures = features(*arguments, reviews, "--column", "text", "-o", tmp_path / "x.npz")
    wanted = made.fit_transform(TEXTS)
    found = sparse.load_npz(tmp_path / "x.npz")
    np.testing.assert_allclose(found.toarray(), wanted.toarray(), rtol=1e-12)
    assert figures == {
        "texts": 4, "terms": wanted.shape[1], "entries": wanted.nnz, "matrix": str(tmp_path / "x.npz"),
        "terms_in": str(tmp_path / "x.terms"),
    }  # fmt: skip
    kept = type(made).load(tmp_path / "x.terms")
    assert kept.get_feature_names_out().tolist() == made.get_feature_names_out().tolist()
    # the terms of one text for another
    again = features(arguments[0], reviews, "-o", tmp_path / "y.npz", "--using", tmp_path / "x.terms")
    assert again["terms_in"] == str(tmp_path / "x.terms") and not (tmp_path / "y.terms").exists()
    assert (sparse.load_npz(tmp_path / "y.npz") != found).nnz == 0


def test_every_format_gives_the_same(reviews, tmp_path, features):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    (tmp_path / "a.tsv").write_text("".join(f"0\t{text}\n" for text in TEXTS), encoding="utf-8")
    stop = tmp_path / "stop.txt"
    stop.write_text("the\r\n\r\n鱼\n", encoding="utf-8")
    wanted = TfIdf(Analyzer(stop_words=["the", "鱼"])).fit_transform(TEXTS).toarray()
    for number, arguments in enumerate(
        [
            (reviews,),
            (tmp_path / "a.txt",),
            (tmp_path / "a.jsonl",),
            (tmp_path / "a.tsv", "--column", "2", "--no-header"),
        ]
    ):
        features("tfidf", *arguments, "--stop-words", stop, "-o", tmp_path / f"{number}.npz")
        np.testing.assert_allclose(sparse.load_npz(tmp_path / f"{number}.npz").toarray(), wanted)
    twice = features("tfidf", tmp_path / "a.txt", tmp_path / "a.jsonl", "-o", tmp_path / "both.npz")
    assert twice["texts"] == 8


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (
            ["--column", "txt"],
            r"reviews\.csv: line 2: no column 'txt' \(columns: id, text\) \(did you mean text\?\)",
            1,
        ),
        (["--idf", "textbok"], "idf = 'textbok': Input should be 'textbook'", 2),
        (["--min-df", "many"], "min_df = 'many'", 2),
        (["--stop-words", "englsh"], r"stop_words = 'englsh': one of english.*did you mean english", 2),
        (["--stop-words", "english,chinese"], "chinese is the name of a list, not a word.*english\\+chinese", 2),
        (["--format", "cvs"], r"format = 'cvs'.*did you mean csv", 2),
        (["--encoding", "utf-16"], r"reviews\.csv: not utf-16: .*; pass the right --encoding", 1),
        (["--min-df", "3"], "no term is left of 4 texts: .* none in 3 to 4 of them", 1),
        (["--hashed", "8", "--min-df", "2"], "min_df chooses among learnt terms", 2),
        (["--using", "nowhere"], "nowhere: no such folder", 1),
        (["--using", "nowhere", "--min-df", "2"], "--using has settings of its own: leave out min_df", 2),
    ],
)
def test_what_is_wrong_is_told(arguments, message, code, reviews, tmp_path, features):
    with pytest.raises(OstinatoError, match=message) as caught:
        features("tfidf", reviews, "-o", tmp_path / "x.npz", *arguments)
    assert caught.value.exit_code == code
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["reviews.csv"]


def test_what_a_text_file_may_lack(tmp_path, features):
    for name, content, message in (
        ("empty.txt", "", "the corpus is empty"),
        ("blank.txt", "\n \n", "no term is left of 2 texts: all are empty or stop words"),
        ("header.csv", "text\n", "the corpus is empty"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(OstinatoError, match=message):
            features("counts", tmp_path / name, "-o", tmp_path / "x.npz")
    (tmp_path / "text.txt").write_text("a text\n")
    features("counts", tmp_path / "text.txt", "-o", tmp_path / "y.npz")
    with pytest.raises(OstinatoError, match="the corpus is empty: there are no texts to make vectors of"):
        features("counts", tmp_path / "empty.txt", "-o", tmp_path / "x.npz", "--using", tmp_path / "y.terms")
    assert not (tmp_path / "x.npz").exists()


def test_what_ngrams_are_is_said_once(reviews, tmp_path, features):
    with pytest.raises(OstinatoError, match="--unit characters says what a token is: leave out --tokens"):
        features("ngrams", reviews, "-o", tmp_path / "x.npz", "--unit", "characters", "--tokens", "words")
    with pytest.raises(Exception, match="No such option"):
        features("ngrams", reviews, "-o", tmp_path / "x.npz", "--ngram-range", "1,2")


def test_nothing_is_replaced_unasked(reviews, tmp_path, features, capsys):
    features("counts", reviews, "-o", tmp_path / "x.npz")
    with pytest.raises(OstinatoError, match=r"x\.npz: stands there already: --overwrite replaces it") as caught:
        features("tfidf", reviews, "-o", tmp_path / "x.npz")
    assert caught.value.exit_code == 2
    (tmp_path / "x.npz").unlink()
    with pytest.raises(OstinatoError, match=r"x\.terms: stands there already"):
        features("tfidf", reviews, "-o", tmp_path / "x.npz")
    features("tfidf", reviews, "-o", tmp_path / "x.npz", "--overwrite")
    LazyGroup("ostinato", COMMANDS).main(["info", str(tmp_path / "x.terms")], standalone_mode=False)
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert (told["task"], told["documents"], told["columns"]) == ("tf-idf", "4", "9")


def test_from_standard_input_in_a_process_of_its_own(tmp_path):
    output = tmp_path / "sub" / "x.npz"
    run = ostinato("features", "counts", "-", "-o", output, stdin="猫 鱼\nfish\n")
    assert run.stdout.splitlines()[0].split() == ["texts", "2"]
    assert sparse.load_npz(output).shape == (2, 3)
    run = ostinato("features", "counts", "-", "-o", tmp_path / "y.npz", "--column", "txt", stdin="fish\n", status=1)
    assert "line 1: no column 'txt' (columns: text) (did you mean text?)" in run.stderr
