"""Readers: what they find, what they make of bytes, and what they say when bytes are wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tempfile
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostinato import data
from ostinato.data import TextReader, find_files, fingerprint, split_at, spool_standard_input
from ostinato.errors import DataError, SettingsError
from ostinato.tokens import TokenFile

TEXT = "The cat.\nÜber den Fluß, 猫喜欢鱼。\n\n🐈 end"
texts = st.text(st.sampled_from("ab é猫🐈\n\r\t"), max_size=80)
block_sizes = st.integers(4, 12)


def file_of(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(*paths: Path, **options: str) -> str:
    return "".join(TextReader(paths, **options).blocks())


def clean(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(data, "BLOCK_BYTES", 4)


# find_files


def test_files_are_found_by_name_folder_and_pattern(tmp_path):
    names = ["b.txt", "a.txt", "sub/c.txt", ".hidden.txt", ".git/d.txt", "sub/.e"]
    paths = {name: file_of(tmp_path, b"x", name) for name in names}
    seen = [paths["a.txt"], paths["b.txt"], paths["sub/c.txt"]]
    assert find_files([paths["b.txt"], str(paths["a.txt"])]) == [paths["b.txt"], paths["a.txt"]]
    assert find_files([tmp_path]) == seen
    assert find_files([f"{tmp_path}/*.txt"]) == seen[:2]
    assert find_files([f"{tmp_path}/**/*.txt"]) == seen
    assert find_files([paths[".hidden.txt"]]) == [paths[".hidden.txt"]]


def test_a_folder_whose_own_path_is_hidden_is_read(tmp_path):
    path = file_of(tmp_path, b"x", ".cache/a.txt")
    assert find_files([path.parent]) == [path]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = file_of(tmp_path, b"x", "part[1].txt")
    file_of(tmp_path, b"x", "part1.txt")
    assert find_files([path]) == [path]


def test_missing_sources_are_told_with_the_nearest_name(tmp_path):
    file_of(tmp_path, b"x", "corpus.txt")
    with pytest.raises(DataError, match=r"corpsu\.txt: no such file or folder \(did you mean corpus\.txt\?\)"):
        find_files([tmp_path / "corpsu.txt"])
    with pytest.raises(DataError, match=r"nowhere/a\.txt: no such file or folder$"):
        find_files([tmp_path / "nowhere" / "a.txt"])
    with pytest.raises(DataError, match=r"\*\.csv: no file matches"):
        find_files([f"{tmp_path}/*.csv"])
    with pytest.raises(DataError, match="no input"):
        find_files([])


def test_a_folder_without_visible_files_is_an_error(tmp_path):
    file_of(tmp_path, b"x", "folder/.hidden")
    with pytest.raises(DataError, match="folder: the folder holds no files"):
        find_files([tmp_path / "folder"])


# decoding


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "UTF8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "utf-8-sig"),
        (TEXT.encode("utf-16"), "utf-16"),
        (TEXT.encode("utf-32"), "utf-32"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("gb18030"), "gb18030"),
        (TEXT.replace("\n", "\r\n").encode(), "utf-8"),
        (TEXT.replace("\n", "\r").encode("gb18030"), "gb18030"),
    ],
)
@pytest.mark.parametrize("block_bytes", [4, 5, 1 << 20])
def test_text_is_the_same_in_every_encoding(content, encoding, block_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_BYTES", block_bytes)
    assert read(file_of(tmp_path, content), encoding=encoding) == TEXT
    assert read(file_of(tmp_path, gzip.compress(content), "text.gz"), encoding=encoding) == TEXT


def test_a_mark_is_dropped_from_every_file_but_only_at_its_start(tmp_path):
    mark = b"\xef\xbb\xbf"
    paths = [file_of(tmp_path, mark + b"a" + mark + b"b\n", name) for name in "12"]
    assert read(*paths) == "a\ufeffb\na\ufeffb\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_mark_of_another_encoding_names_the_option(encoding, tmp_path):
    path = file_of(tmp_path, "text".encode(encoding))
    with pytest.raises(DataError, match=rf"text\.txt: begins with the mark of .* --encoding {encoding}$"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-9", "", "hex", "rot13", "a\0b"])
def test_what_is_no_text_encoding_is_refused(encoding):
    with pytest.raises(SettingsError, match=r"encoding = .*: Python knows no such encoding"):
        TextReader([], encoding)


def test_an_unknown_way_with_errors_is_refused():
    with pytest.raises(SettingsError, match="errors = 'surrogateescape': one of strict, replace, ignore"):
        TextReader([], errors="surrogateescape")


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("before", [*range(14), 5000])
def test_bad_bytes_are_told_with_file_and_offset(before, prefix, tmp_path, small_blocks):
    path = file_of(tmp_path, prefix + b"x" * before + b"\xff" + b"y" * 9)
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: line 1, byte {len(prefix) + before:,}: ff is not utf-8")
    assert "--encoding" in message and "--errors replace" in message
    assert read(path, errors="replace") == "x" * before + "\ufffd" + "y" * 9
    assert read(path, errors="ignore") == "x" * before + "y" * 9


@given(
    parts=st.lists(st.sampled_from([b"a", b"\n", b"\r", "é".encode(), "猫".encode(), b"\xff", b"\xe7\x8c", b"\x80"])),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16-le"]),
    marked=st.booleans(),
    block_bytes=block_sizes,
)
@example(parts=[b"abc", "猫".encode()[:2]], encoding="utf-8", marked=False, block_bytes=4)  # cut off at the end
@example(parts=[b"\xff"], encoding="utf-8-sig", marked=True, block_bytes=4)
@settings(max_examples=150, deadline=None)
def test_offsets_are_those_of_decoding_in_one_go(parts, encoding, marked, block_bytes):
    mark = b"\xef\xbb\xbf" if marked and encoding.startswith("utf-8") else b""
    content = b"".join(parts)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "BLOCK_BYTES", block_bytes)
        path = file_of(Path(folder), mark + content)
        try:
            wanted = content.decode(encoding.removesuffix("-sig"))
        except UnicodeDecodeError as error:
            line = clean(content[: error.start].decode(encoding.removesuffix("-sig"))).count("\n") + 1
            with pytest.raises(DataError, match=re.escape(f"{path}: line {line}, byte {len(mark) + error.start}: ")):
                read(path, encoding=encoding)
        else:
            assert read(path, encoding=encoding) == clean(wanted)


# files


def test_damaged_gzip_files_are_named(tmp_path):
    whole = gzip.compress(TEXT.encode() * 50)
    spoilt = bytearray(whole)
    spoilt[-6] ^= 1  # in the checksum
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:5], b"plain text", bytes(spoilt)):
        path = file_of(tmp_path, content, "corpus.gz")
        with pytest.raises(DataError, match=r"corpus\.gz: damaged gzip file"):
            read(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: cannot be read: No such file"):
        read(tmp_path / "gone")


def test_an_empty_file_is_no_text(tmp_path):
    empty = file_of(tmp_path, b"", "empty")
    assert list(TextReader([empty]).blocks()) == []
    assert read(file_of(tmp_path, gzip.compress(b""), "empty.gz")) == ""
    assert read(empty, file_of(tmp_path, b"a", "a"), empty, file_of(tmp_path, b"b", "b")) == "a\nb"


def test_files_are_kept_apart_by_one_line_end(tmp_path):
    contents = [b"a", b"b\n", b"c\r", b"d\r\n", b"e"]
    paths = [file_of(tmp_path, content, str(index)) for index, content in enumerate(contents)]
    blocks = list(TextReader(paths).blocks())
    assert blocks == ["a\n", "b\n", "c\n", "d\n", "e"]  # each file's last line is whole in its block


def test_carriage_returns_across_blocks(tmp_path, small_blocks):
    assert read(file_of(tmp_path, b"abc\r\ndef\rg\r\r\n\r")) == "abc\ndef\ng\n\n\n"


def test_one_huge_line_comes_in_bounded_blocks_cut_before_blanks(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_BYTES", 64)
    text = " ".join(f"word{i}" for i in range(1000))
    blocks = list(TextReader([file_of(tmp_path, text.encode())]).blocks())
    assert "".join(blocks) == text
    assert max(map(len, blocks)) <= 10 * 64
    assert all(block.startswith(" word") for block in blocks[1:])
    without = list(TextReader([file_of(tmp_path, b"x" * 5000)]).blocks())
    assert "".join(without) == "x" * 5000 and max(map(len, without)) <= 10 * 64


@given(parts=st.lists(texts, min_size=1, max_size=3), block_bytes=block_sizes)
@settings(max_examples=80, deadline=None)
def test_blocks_joined_are_the_text_and_end_with_lines(parts, block_bytes):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "BLOCK_BYTES", block_bytes)
        paths = [file_of(Path(folder), part.encode(), str(index)) for index, part in enumerate(parts)]
        blocks = list(TextReader(paths).blocks())
    wanted = [clean(part) for part in parts]
    closed = [part if part.endswith("\n") or not part else part + "\n" for part in wanted[:-1]]
    assert "".join(blocks) == "".join(closed) + wanted[-1]
    assert all(blocks)
    for before, block in pairwise(blocks):
        assert before.endswith("\n") or len(before) >= 7 * block_bytes, (before, block)


# split_at


def cut_up(text: str, points: list[int]) -> list[str]:
    at = sorted({min(point, len(text)) for point in points} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(at)]


def parts_of(blocks: list[str], characters: int, whole_lines: bool) -> list[str]:
    found = list(split_at(blocks, characters, whole_lines))
    assert [part for part, _ in groupby(found, key=lambda item: item[0])] in ([], [0], [1], [0, 1])
    assert all(block for _, block in found)
    return ["".join(block for which, block in found if which == part) for part in (0, 1)]


@given(text=texts, points=st.lists(st.integers(0, 80)), characters=st.integers(0, 90))
def test_a_corpus_is_split_at_a_character(text, points, characters):
    assert parts_of(cut_up(text, points), characters, False) == [text[:characters], text[characters:]]


@given(text=texts, characters=st.integers(0, 90), together=st.integers(1, 4))
def test_a_corpus_is_split_at_the_end_of_a_line(text, characters, together):
    lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
    blocks = ["".join(lines[at : at + together]) for at in range(0, len(lines), together)]
    first, second = parts_of(blocks, characters, True)
    assert first + second == text
    assert len(first) >= min(characters, len(text))
    if first and second and not first.endswith("\n"):
        # the line was the last of its block: the cut is at the next blank, or where it was asked for
        assert second.startswith(" ") or len(first) == characters
        assert "\n" not in text[characters : len(first)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("one two three\nfour five\nsix\n", ["one two three\n", "four five\nsix\n"]),
        ("one two three four\n", ["one two", " three four\n"]),
        ("春眠不觉晓处处闻啼鸟", ["春眠不觉晓", "处处闻啼鸟"]),
    ],
)
def test_a_corpus_of_one_line_has_two_parts_too(text, wanted):
    assert parts_of([text], 5, True) == wanted


# the rest


def test_a_fingerprint_is_of_the_text_alone(tmp_path, small_blocks):
    plain = fingerprint(TextReader([file_of(tmp_path, TEXT.encode(), "a.txt")]))
    assert plain.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (plain.characters, plain.files) == (len(TEXT), ("a.txt",))
    other = file_of(tmp_path, gzip.compress(TEXT.replace("\n", "\r\n").encode("gb18030")), "b.gz")
    assert fingerprint(TextReader([other], "gb18030")).sha256 == plain.sha256
    assert fingerprint(TextReader([file_of(tmp_path, TEXT.encode() + b".")])).sha256 != plain.sha256


def test_standard_input_is_kept_byte_for_byte(tmp_path, monkeypatch, small_blocks):
    content = b"\xff\r\n" + bytes(range(256))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    spool_standard_input(tmp_path / "spooled")
    assert (tmp_path / "spooled").read_bytes() == content


@pytest.mark.parametrize(("vocabulary_size", "suffix"), [(1 << 16, ".u16"), ((1 << 16) + 1, ".u32")])
def test_ids_come_back_from_disk(vocabulary_size, suffix, tmp_path):
    blocks = [np.array([0, vocabulary_size - 1], np.int32), np.array([], np.int32), np.array([7])]
    written = TokenFile.write(tmp_path, "train", blocks, vocabulary_size)
    found = TokenFile.find(tmp_path, "train")
    assert written.path.name == "train" + suffix
    assert found is not None and found.ids.tolist() == [0, vocabulary_size - 1, 7]
    found.release()
    assert found.ids.tolist() == written.ids.tolist()
    assert TokenFile.find(tmp_path, "validation") is None
    assert len(TokenFile.write(tmp_path, "none", [], vocabulary_size)) == 0
    written.path.write_bytes(b"\0\0\0")
    with pytest.raises(DataError, match="3 bytes are not a whole number"):
        TokenFile(written.path)
