"""`ostinato fit vectors` and `ostinato vectors` as a user calls them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.analysis import Analyzer
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import BundleError, DataError, OstinatoError, SettingsError
from ostinato.features import WordVectors
from tests.test_cli import ostinato
from tests.test_word_vectors import SMALL, TEXTS

pytest.importorskip("gensim")
FLAGS = ["--vector-size", "12", "--min-count", "1", "--epochs", "4", "--sample", "0", "--window", "2"]


@pytest.fixture
def call(capsys):
    """The command in this process, which is faster; its errors are raised."""

    def run(*arguments: Any) -> Any:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([*map(str, arguments)], prog_name="ostinato", standalone_mode=False)
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in arguments else out

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def few(tmp_path: Path) -> Path:
    rows = [[1, 0, 0], [1, 1, 0], [0, 0, 2], [0, 0.5, 0.5]]
    vectors = WordVectors.from_arrays(["man", "king", "woman", "queen"], np.array(rows))
    return vectors.save(tmp_path / "few")


def test_a_corpus_to_vectors(call, corpus, tmp_path, capsys):
    figures = call("fit", "vectors", corpus, "-o", tmp_path / "v", *FLAGS, "--tokens", "whitespace", "--json")
    assert (figures["words"], figures["tokens"], figures["features"]) == (10, 1800, 12)
    made = WordVectors.load(tmp_path / "v")
    direct = WordVectors(Analyzer(tokens="whitespace"), **SMALL).fit(TEXTS)
    assert (made.vectors_ == direct.vectors_).all() and made.words_ == direct.words_
    assert made.get_params() == direct.get_params()
    with pytest.raises(BundleError, match="--overwrite"):
        call("fit", "vectors", corpus, "-o", tmp_path / "v", *FLAGS)
    call("fit", "vectors", corpus, "-o", tmp_path / "v", *FLAGS, "--lr", "0.1", "--overwrite", "-q")
    assert WordVectors.load(tmp_path / "v").learning_rate == 0.1
    assert "word-vectors" in call("info", tmp_path / "v")
    assert call("info", tmp_path / "v", "--json")["size"] == "120 parameters"


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_fasttext_and_its_options(call, corpus, tmp_path, loss):
    table = tmp_path / "table.csv.gz"
    table.write_bytes(gzip.compress(b"id,words\n" + "".join(f"{n},{t}\n" for n, t in enumerate(TEXTS)).encode()))
    call(
        "fit", "vectors", table, "--column", "words", "-o", tmp_path / "v", *FLAGS, "--method", "fasttext",
        "--architecture", "cbow", "--loss", loss, "--subwords", "2,3", "--buckets", "5", "--max-words", "9",
        "--stop-words", "cat,saw", "--seed", "4", "--tokens", "words",
    )  # fmt: skip
    made = WordVectors.load(tmp_path / "v")
    assert (made.method, made.architecture, made.loss, made.subwords, made.seed) == (
        "fasttext",
        "cbow",
        loss,
        (2, 3),
        4,
    )
    assert len(made) == 8 and made.about_["ngram_rows"] == 5 and "cat" not in made
    assert len(call("vectors", "nearest", tmp_path / "v", "horses", "--top", "3", "--json")) == 3


def test_progress_goes_to_standard_error(corpus, tmp_path):
    result = ostinato("fit", "vectors", corpus, "-o", tmp_path / "v", *FLAGS, "--json")
    assert json.loads(result.stdout)["words"] == 10
    assert "reading" in result.stderr and "7,200 of 7,200 words" in result.stderr
    result = ostinato("vectors", "nearest", tmp_path / "v", "hat", status=1)
    assert result.stdout == ""
    assert result.stderr == "ostinato: 'hat' is not among the 10 words of the vectors (did you mean cat?)\n"
    result = ostinato("fit", "vectors", corpus, "-o", tmp_path / "w", "--windw", "3", status=2)
    assert "--window" in result.stderr


def test_questions_about_words(call, few):
    assert call("vectors", "nearest", few, "man", "--top", "2").splitlines() == [" 0.7071  king", " 0.0000  woman"]
    [best] = call("vectors", "analogy", few, "man", "king", "woman", "--top", "1", "--json")
    assert best["word"] == "queen" and best["similarity"] > 0.9
    assert call("vectors", "similarity", few, "man", "king", "--json")["similarity"] == pytest.approx(0.5**0.5)
    with pytest.raises(DataError, match="did you mean king"):
        call("vectors", "analogy", few, "man", "kingg", "woman")


def test_analogies_of_a_file(call, few, tmp_path):
    (path := tmp_path / "questions.txt").write_text(
        ": family\nman king woman queen\nMan King Woman Queen\nman king woman duke\n\n"
        ": gram1-odd\nman woman king queen\n"
    )
    found = call("vectors", "evaluate", few, path, "--json")
    assert found["semantic"] == {"accuracy": 1.0, "correct": 2, "answered": 2, "questions": 3}
    assert found["syntactic"]["answered"] == 1 and found["all"]["questions"] == 4
    assert list(found["sections"]) == ["family", "gram1-odd"]
    assert call("vectors", "evaluate", few, path, "--case", "exact", "--json")["semantic"]["answered"] == 1
    assert call("vectors", "evaluate", few, path, "--restrict", "3", "--json")["all"]["answered"] == 0
    table = call("vectors", "evaluate", few, path).splitlines()
    assert table[1].split() == ["family", "100.00%", "2", "2", "3"] and table[-1].split()[0] == "all"
    with pytest.raises(SettingsError, match="did you mean lower"):
        call("vectors", "evaluate", few, path, "--case", "lowr")


def test_similarities_of_a_file(call, few, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("# word word score\nman\tking\t9\nman\twoman\t1\nqueen\twoman\t8\na\tb\t3\n")
    found = call("vectors", "evaluate", few, path, "--json")
    # the first and the third are equally alike: ranks 2.5, 1, 2.5 beside 3, 1, 2
    assert found == {"spearman": pytest.approx(0.75**0.5), "covered": 3, "pairs": 4}
    path.write_text("man\tking\t9\n")
    assert call("vectors", "evaluate", few, path, "--json") == {"spearman": None, "covered": 1, "pairs": 1}


def test_similarities_of_words_never_seen(call, corpus, tmp_path):
    call("fit", "vectors", corpus, "-o", tmp_path / "v", *FLAGS, "--method", "fasttext", "--subwords", "2,3")
    (path := tmp_path / "pairs.tsv").write_text("cat\tdog\t9\ncats\tdogs\t8\ncats\tsaws\t1\n")
    found = call("vectors", "evaluate", tmp_path / "v", path, "--json")
    assert (found["covered"], found["covered_with_unseen"], found["pairs"]) == (1, 3, 3)
    assert found["spearman"] is None and found["spearman_with_unseen"] > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (": family\nman king woman\n", "line 2: 'man king woman': expected four words"),
        ("", "empty"),
        ("man\tking\n", "line 1: .*expected two words and a number"),
        ("man\tking\tx\n", "line 1: .*expected two words and a number"),
        ("# nothing\n", "empty"),
        (b": a\n\xff b c d\n", "line 2, byte 4: ff is not utf-8"),
    ],
)
def test_files_to_evaluate_on_that_are_wrong(call, few, tmp_path, content, message):
    (path := tmp_path / "file").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        call("vectors", "evaluate", few, path)


def test_there_and_back_through_every_form(call, few, tmp_path):
    wanted = WordVectors.load(few)
    before = few
    for name, form in (("a.vec", "word2vec"), ("b.bin", "word2vec-binary"), ("c.txt", "glove"), ("d", "folder")):
        to = ["--to", "glove"] if form == "glove" else []
        assert call("vectors", "convert", before, tmp_path / name, *to, "--json")["form"] == form
        before = tmp_path / name
        found = WordVectors.read(before)
        assert found.words_ == wanted.words_ and (found.vectors_ == wanted.vectors_).all()
        assert call("vectors", "nearest", before, "man", "--top", "1") == " 0.7071  king\n"
    call("vectors", "convert", tmp_path / "a.vec", tmp_path / "d", "--from", "word2vec", "--overwrite")
    for arguments, message in (
        ([few, tmp_path / "d"], "--overwrite"),
        ([few, tmp_path / "e.txt"], "its name does not say"),
        ([few, tmp_path / "e", "--to", "text"], "one of folder"),
        ([few, tmp_path / "d", "--to", "glove", "--overwrite"], "is a folder"),
        ([tmp_path / "c.txt", tmp_path / "e", "--from", "word2vec-binary"], "expected the numbers of words"),
        ([tmp_path / "none", tmp_path / "e"], "No such file"),
    ):
        with pytest.raises(OstinatoError, match=message):
            call("vectors", "convert", *arguments)
