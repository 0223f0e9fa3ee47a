"""Files of word vectors: written and read again they are the same bits, and what is wrong with one is told by place."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.errors import DataError, SettingsError
from ostinato.features.vector_files import FORMATS, read_vectors, write_vectors

WORDS = ["the", "猫", "3.14", "e\u0301", "New York", "a\u00a0b", "1_000", "-"]
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def vectors_of(words, features=3):
    return np.random.default_rng(0).standard_normal((len(words), features)).astype(np.float32)


@pytest.fixture
def file(tmp_path):
    def make(content: bytes | str, name: str = "vectors"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


# read again


@pytest.mark.parametrize("kind", FORMATS)
@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1), min_size=1, unique=True),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_written_and_read_again_vectors_are_the_same_bits(kind, tmp_path_factory, words, data):
    features = data.draw(st.integers(1, 4))
    numbers = data.draw(st.lists(finite, min_size=features * len(words), max_size=features * len(words)))
    vectors = np.array(numbers, np.float32).reshape(len(words), features)
    write_vectors(path := tmp_path_factory.mktemp("v") / "v", words, vectors, kind)
    found = read_vectors(path, kind)
    assert found.words == words
    assert found.vectors.tobytes() == vectors.tobytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_format_is_seen(tmp_path, kind):
    words = [word for word in WORDS if " " not in word or kind != "word2vec-binary"]
    write_vectors(path := tmp_path / "v", words, vectors_of(words), kind)
    packed = tmp_path / "v.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for each in (path, packed):
        found = read_vectors(each)
        assert found.words == words
        assert (found.vectors == vectors_of(words)).all()


def test_many_words(tmp_path):
    words = [f"word{n}" for n in range(5000)]
    for kind in FORMATS:
        write_vectors(tmp_path / kind, words, vectors_of(words, 40), kind)
        found = read_vectors(tmp_path / kind)
        assert found.words == words and found.vectors.shape == (5000, 40)
        assert (found.vectors == vectors_of(words, 40)).all()


def test_gensim_reads_and_writes_the_same(tmp_path):
    keyed = pytest.importorskip("gensim.models").KeyedVectors
    words = ["the", "猫", "3.14", "cat"]
    for binary, kind in ((False, "word2vec"), (True, "word2vec-binary")):
        write_vectors(path := tmp_path / kind, words, vectors_of(words), kind)
        theirs = keyed.load_word2vec_format(path, binary=binary)
        assert theirs.index_to_key == words and (theirs.vectors == vectors_of(words)).all()
        theirs.save_word2vec_format(path, binary=binary)
        ours = read_vectors(path)
        assert ours.words == words and (ours.vectors == vectors_of(words)).all()


def test_a_blank_at_the_end_of_a_line_as_the_program_word2vec_writes_it(file):
    found = read_vectors(file("2 2\nthe 1 2 \ncat 3 4 \n"))
    assert found.words == ["the", "cat"] and found.vectors.tolist() == [[1, 2], [3, 4]]
    assert read_vectors(file("the 1 2\r\ncat 3 4\r\n")).vectors.tolist() == [[1, 2], [3, 4]]


def test_other_encodings(file):
    path = file("1 2\ncaf\xe9 1 2\n".encode("latin-1"))
    assert read_vectors(path, encoding="latin-1").words == ["caf\xe9"]
    assert read_vectors(path, errors="replace").words == ["caf\ufffd"]
    assert read_vectors(path, errors="ignore").words == ["caf"]
    with pytest.raises(SettingsError, match="not those of ASCII"):
        read_vectors(path, encoding="utf-16")
    with pytest.raises(SettingsError, match="knows no such encoding"):
        read_vectors(path, encoding="utf-9")


def test_what_formats_cannot_hold(tmp_path):
    for kind, word in (
        ("word2vec-binary", "New York"), ("word2vec", "about 3"), ("glove", "about 3"), ("glove", "a\nb"),
        ("word2vec", ""), ("glove", " a"), ("word2vec", "\ud800"),
    ):  # fmt: skip
        with pytest.raises(DataError, match="could not be read again"):
            write_vectors(tmp_path / "v", ["the", word], vectors_of("ab"), kind)
        assert not list(tmp_path.iterdir())  # not even half a file
    with pytest.raises(SettingsError, match="did you mean glove"):
        write_vectors(tmp_path / "v", ["the"], vectors_of("a"), "glov")


# what is wrong


@pytest.mark.parametrize("kind", ["word2vec-binary", "glove"])
def test_every_truncation_is_noticed(tmp_path, kind):
    write_vectors(path := tmp_path / "v", ["the", "猫"], vectors_of("ab"), kind)
    whole = path.read_bytes()
    ends = {len(whole)} | ({whole.index(b"\n") + 1} if kind == "glove" else {len(whole) - 1})
    for cut in set(range(len(whole))) - ends:  # GloVe does not say how many words there are
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"v: (line \d|byte \d|holds no)"):
            read_vectors(path, kind)
    if kind == "glove":
        path.write_bytes(whole[: min(ends)])
        assert read_vectors(path).words == ["the"]


def test_a_truncated_text_is_noticed_by_its_first_line(tmp_path):
    write_vectors(path := tmp_path / "v", ["the", "猫"], vectors_of("ab"), "word2vec")
    whole = path.read_bytes()
    for cut in range(whole.rindex(b" ") + 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError):
            read_vectors(path, "word2vec")
    path.write_bytes(whole[:-1])
    assert read_vectors(path).words == ["the", "猫"]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("3 2\na 1 2\nb 3 4\n", "auto", r"line 4 \(byte 16\): the file ends after 2 words, the first line says 3"),
        ("1 2\na 1 2\nb 3 4\n", "auto", r"line 3 \(byte 10\): more words than the 1"),
        ("2 3\na 1 2 3\nb 4 5\n", "auto", r"line 3 \(byte 12\): 'b 4 5': expected a word and 3 numbers, found 2"),
        ("2 2\na 1 2\nb 4 5 6\n", "auto", r"line 3 .*expected a word and 2 numbers, found 3"),
        ("a 1 2\nb 4 5 6\n", "auto", r"line 2 \(byte 6\): .*expected a word and 2 numbers, found 3"),
        ("a 1 2\nb 4\n", "auto", "line 2 .*expected a word and 2 numbers, found 1"),
        ("a 1 2\nb 4 x\n", "auto", "line 2 .*found 1 and 'x'"),
        ("1 2\na x y\n", "auto", "line 2 .*found 0 and 'x'"),
        ("a 1 2\nb 4 1_0\n", "auto", "line 2 .*found 1 and '1_0'"),
        ("a 1 2\n\nb 4 5\n", "auto", "line 2 .*empty line"),
        ("2 2\na 1 2\na 4 5\n", "auto", "line 3 .*'a' stands there twice, the first time as word 1"),
        ("a 1 2\n 4 5\n", "auto", "line 2 .*no word"),
        ("a 1 nan\nb 4 5\n", "auto", "word 1, 'a', is not finite"),
        ("a 1 2\nb 1e99 5\n", "auto", "word 2, 'b', is not finite"),
        (b"1 2\ncaf\xe9 1 2\n", "auto", r"line 2 \(byte 7\): e9 is not utf-8 .*--encoding"),
        ("", "auto", "line 1: '' begins no file of vectors"),
        ("0 5\n", "word2vec", "holds no vectors"),
        ("the cat sat\n", "auto", "line 1: 'the cat sat' begins no file of vectors"),
        ("a 1 2\n", "word2vec", "line 1 .*expected the numbers of words and of features"),
        ("2 0\na\nb\n", "word2vec", "line 1 .*expected the numbers"),
        ("2 99999999999\na 1\nb 2\n", "word2vec", "line 1 .*expected the numbers"),
        (b"2 1\na \0\0\0\0\na \0\0\0\0\n", "word2vec-binary", r"byte 11: 'a' stands there twice"),
        (b"2 1\na \0\0\0\0\n", "word2vec-binary", r"byte 11: the file ends within word 2 of 2"),
        (b"2 1\na \0\0\0\0b \0\0", "word2vec-binary", r"byte 14: the file ends within word 2 of 2"),
        (b"1 1\na \0\0\0\0\nb \0\0\0\0\n", "word2vec-binary", r"byte 10: more than the 1 words"),
        (b"9 1\n" + b"x" * 9999, "word2vec-binary", r"byte 4: no blank after word 1"),
        (b"1 1\n\xff \0\0\0\0", "word2vec-binary", r"byte 4: ff is not utf-8"),
        (b"1 1\na " + struct.pack("<f", float("inf")), "word2vec-binary", "'a', is not finite"),
        (b"\x80\x04\x95\0\0", "auto", "a pickle, which runs code"),
        (struct.pack("<i", 793712314), "auto", "fastText's own form: read the .vec"),
    ],
)
def test_what_is_wrong_is_told_by_place(file, content, kind, message):
    with pytest.raises(DataError, match=message):
        read_vectors(file(content), kind)


def test_files_that_cannot_be_read(file, tmp_path):
    for kind in ("auto", *FORMATS):
        with pytest.raises(DataError, match="cannot be read: No such file"):
            read_vectors(tmp_path / "none", kind)
        with pytest.raises(DataError, match="damaged gzip"):
            read_vectors(file(b"1 2\na 1 2\n", "plain.gz"), kind)
    with pytest.raises(DataError, match="damaged gzip"):
        read_vectors(file(gzip.compress(b"a 1 2\n" * 99)[:-9], "cut.gz"))
    with pytest.raises(SettingsError, match="did you mean word2vec"):
        read_vectors(tmp_path, "word2vek")
