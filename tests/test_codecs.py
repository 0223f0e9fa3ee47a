"""Codecs: text to ids and back at every level, what they learn, and how they are kept."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.codecs import splitters, text
from ostinato.codecs.splitters import SPLITTERS, choose_splitter
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.codecs.vocabulary import UNKNOWN
from ostinato.errors import BundleError, DataError, MissingExtra, SettingsError

ENGLISH = "the cat sat on the mat, and the dog sat by the cat.\nI don't know: a bird? a bird!\n" * 3
CHINESE = "猫喜欢在动物园吃鱼。\n我们也喜欢鱼，我不去动物园。\n" * 3
MIXED = "我们用 Python 写 hello world 程序。\nhello 动物园, don't go!\n" * 3
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LEVELS = ["char", "word", "bpe"]


def learn(*blocks: str, **options) -> TextCodec:
    return TextCodec.learn(blocks, TextSettings.checked({"min_count": 1, **options}))


def tokens(codec: TextCodec, of: str) -> list[str]:
    return [codec.vocabulary[index] for index in codec.encode(of)]


# round trips


@given(corpus=anything.filter(bool), normalization=st.sampled_from(["none", "NFC", "NFKC"]), lowercase=st.booleans())
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("level", ["char", "word"])
def test_what_was_learnt_comes_back(level, corpus, normalization, lowercase):
    options = {"level": level, "splitter": "words", "normalization": normalization, "lowercase": lowercase}
    codec = learn(corpus, **options)
    wanted = corpus if normalization == "none" else unicodedata.normalize(normalization, corpus)
    ids = codec.encode(corpus)
    assert ids.dtype == np.int32 and 0 not in ids
    assert codec.decode(ids) == (wanted.lower() if lowercase else wanted)


BPE = learn(ENGLISH, MIXED, level="bpe", normalization="none", max_vocabulary=300)


@given(anything)
@settings(max_examples=100, deadline=None)
def test_byte_pairs_know_every_text(some):
    assert BPE.unknown_id is None and len(BPE) == 300
    assert BPE.decode(BPE.encode(some)) == some


@given(st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat", "dog", "\n", " ", ",", "."]), max_size=30))
@settings(max_examples=50, deadline=None)
def test_texts_of_learnt_words_come_back(words):
    some = "".join(words)
    codec = learn(some + "\n", *(word + " " + word for word in words), level="word", splitter="words")
    assert codec.decode(codec.encode(some)) == some


@given(st.lists(st.sampled_from([*CHINESE, *"hello world 3.14 \t", " — ", "don't"]), max_size=40))
@settings(max_examples=50, deadline=None)
def test_chinese_words_joined_are_the_text(pieces):
    some = "".join(pieces)
    assert "".join(SPLITTERS["jieba"].split(some)) == some
    codec = learn(some + "。", level="word", splitter="jieba")
    assert codec.decode(codec.encode(some)) == unicodedata.normalize("NFC", some)


@given(anything)
@settings(max_examples=100, deadline=None)
def test_words_by_unicode_joined_are_the_text(some):
    assert "".join(SPLITTERS["words"].split(some)) == some


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("corpus", [ENGLISH, CHINESE, MIXED])
def test_pieces_joined_are_the_text(level, corpus):
    codec = learn(corpus, level=level, max_vocabulary=270 if level == "bpe" else None)
    ids = codec.encode(corpus)
    pieces = list(codec.stream(iter(ids.tolist())))
    assert "".join(pieces) == codec.decode(ids) == corpus
    assert len(pieces) - len(ids) == (level == "bpe")  # one more, for what the bytes at the end leave open
    assert codec.decode([]) == ""
    assert len(codec.encode("")) == 0 and codec.encode("").dtype == np.int32


# words


def test_chinese_words_are_found_by_dictionary():
    codec = learn(CHINESE, level="word")
    assert codec.settings.splitter == "jieba"
    found = tokens(codec, "我们喜欢动物园。")
    assert found == ["我们", "喜欢", "动物园", "。"]
    assert tokens(codec, "我不去") == ["我", "不", "去"]  # words of one character are words
    assert tokens(learn(CHINESE, level="char"), "我不去动物园") == list("我不去动物园")


def test_chinese_without_a_dictionary_is_taken_by_character():
    assert SPLITTERS["words"].split("猫 喜欢吃fish。") == ["猫", " 喜", "欢", "吃", "fish", "。"]
    assert SPLITTERS["words"].split("カタ ひらがな 한국어") == ["カ", "タ", " ひ", "ら", "が", "な", " 한국어"]


def test_mixed_text_keeps_both_kinds_of_words():
    codec = learn(CHINESE + MIXED, level="word")
    assert codec.settings.splitter == "jieba"
    assert {"我们", "动物园", "Python", "hello", "world"} <= set(codec.vocabulary)
    english = learn(ENGLISH * 5 + "我们喜欢鱼。\n", level="word")
    assert english.settings.splitter == "words"
    assert tokens(english, "the cat 我们") == ["the", " cat", UNKNOWN, "们"]
    assert tokens(english, "I don't") == ["I", " don't"]


@pytest.mark.parametrize(("han", "wanted"), [(29, "words"), (30, "jieba")])
def test_the_splitter_is_chosen_by_the_share_of_han(han, wanted):
    assert choose_splitter("auto", "鱼" * han + "x" * (100 - han) + "1 ,." * 200) == wanted
    assert choose_splitter("auto", "123 …") == "words"
    assert choose_splitter("whitespace", "鱼") == "whitespace"


def test_text_that_is_split_already_keeps_its_unknown_words():
    corpus = "the <unk> sat on the N <unk> mat\nthe <unk> sat\n"
    codec = learn(corpus, level="word", splitter="whitespace")
    assert codec.vocabulary.count(UNKNOWN) == 1
    assert codec.encode("the <unk> sat").tolist()[1] == codec.unknown_id == 0
    assert codec.decode(codec.encode(corpus)) == corpus
    assert codec.decode(codec.encode("  the \t sat \n on")) == "the sat\non"  # runs of blanks are one


def test_an_unknown_splitter_is_refused():
    with pytest.raises(SettingsError, match="splitter = 'spaces': one of auto, words, whitespace, jieba"):
        choose_splitter("spaces", "")


def test_chinese_words_without_the_dictionary_name_the_extra(monkeypatch):
    monkeypatch.setattr(splitters, "has_dictionary", lambda: False)
    with pytest.raises(MissingExtra, match=r"needs rjieba, .* pip install 'ostinato\[zh\]'"):
        learn(CHINESE, level="word")
    assert learn(ENGLISH, level="word").settings.splitter == "words"
    assert len(learn(CHINESE, level="char")) == len(set(CHINESE)) + 1


# vocabularies


@pytest.mark.parametrize("level", ["char", "word"])
def test_ids_run_by_falling_frequency(level):
    codec = learn(ENGLISH, level=level, splitter="words")
    counts = Counter(ENGLISH if level == "char" else SPLITTERS["words"].split(ENGLISH))
    wanted = sorted(counts, key=lambda token: (-counts[token], token))
    assert codec.vocabulary == (UNKNOWN, *wanted)
    capped = learn(ENGLISH, level=level, splitter="words", max_vocabulary=5)
    assert capped.vocabulary == (UNKNOWN, *wanted[:4])
    often = learn(ENGLISH, level=level, splitter="words", min_count=6)
    assert often.vocabulary == (UNKNOWN, *(token for token in wanted if counts[token] >= 6))
    assert 1 < len(often) < len(codec)


def test_rare_words_are_dropped_by_default_and_rare_characters_are_not():
    words = TextCodec.learn(["a a b"], TextSettings(level="word"))
    assert words.vocabulary == (UNKNOWN,) and len(TextCodec.learn(["a a b"], TextSettings())) == 4
    assert TextCodec.learn(["x x x y"], TextSettings(level="word")).vocabulary == (UNKNOWN, " x")


@pytest.mark.parametrize(("size", "wanted"), [(2, 256), (256, 256), (270, 270), (10_000, None)])
def test_byte_pairs_stop_at_the_cap(size, wanted):
    codec = learn(ENGLISH, level="bpe", max_vocabulary=size, min_count=2)
    assert len(codec) == wanted if wanted else 256 < len(codec) < size
    assert len(set(codec.vocabulary)) == len(codec)


@pytest.mark.parametrize("level", ["char", "word"])
def test_what_is_unknown_is_marked(level):
    codec = learn("abc abc", level=level)
    ids = codec.encode("猫")
    assert ids.tolist() == [codec.unknown_id] == [0]
    assert codec.decode(ids) == UNKNOWN


@pytest.mark.parametrize(
    ("normalization", "wanted"),
    [("none", "e\u0301 ﬁ A\u030a"), ("NFC", "\u00e9 ﬁ \u00c5"), ("NFKC", "\u00e9 fi \u00c5")],
)
@pytest.mark.parametrize("level", LEVELS)
def test_text_is_normalised_when_learnt_and_when_read(level, normalization, wanted):
    some = "e\u0301 ﬁ A\u030a"
    codec = learn(some, level=level, normalization=normalization)
    assert codec.decode(codec.encode(some)) == wanted
    assert codec.decode(codec.encode("e\u0301")) == wanted.split()[0]
    assert level == "bpe" or set("".join(codec.vocabulary[1:])) == set(wanted)


@pytest.mark.parametrize("level", LEVELS)
def test_case_is_folded_on_demand(level):
    codec = learn("The THE the", level=level, lowercase=True)
    assert codec.decode(codec.encode("tHe the")) == "the the"
    assert not any(token != token.lower() for token in codec.vocabulary if level != "bpe")
    kept = learn("The THE the", level=level)
    assert kept.decode(kept.encode("The THE the")) == "The THE the"


def test_characters_of_several_tokens_come_whole():
    codec = learn("abc\n" * 5, level="bpe", max_vocabulary=256)
    pieces = list(codec.stream(codec.encode("a猫b🐈")))
    assert pieces == ["a", "", "", "猫", "b", "", "", "", "🐈", ""]
    assert codec.decode(codec.encode("a猫")[:-1]) == "a\ufffd"  # cut off within a character


def test_a_text_starts_after_a_line_end():
    for level in LEVELS:
        codec = learn(ENGLISH, level=level)
        assert codec.decode([codec.start_id()]) == "\n"
    assert learn("aab", level="char").start_id() == 1


# blocks


@pytest.mark.parametrize("options", [{}, {"lowercase": True, "normalization": "NFKC"}, {"splitter": "words"}])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("corpus", [ENGLISH, CHINESE, MIXED, "a\u2028b\x0bc\n\n  d\u0301 \n\u0301e\x85 f\n" * 3])
def test_a_corpus_in_blocks_is_the_corpus(level, corpus, options):
    lines = corpus.splitlines(keepends=True) if corpus.isascii() else re.findall(r"[^\n]*\n", corpus)
    whole, parts = learn(corpus, level=level, **options), learn(*lines, level=level, **options)
    assert whole.vocabulary == parts.vocabulary
    for together in (1, 2, 3):
        blocks = ["".join(lines[at : at + together]) for at in range(0, len(lines), together)]
        ids = np.concatenate([whole.encode(block) for block in blocks])
        assert ids.tolist() == whole.encode(corpus).tolist()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("blocks", [[], [""], ["", ""]])
def test_an_empty_corpus_is_an_error(level, blocks):
    with pytest.raises(DataError, match="the corpus is empty"):
        learn(*blocks, level=level)


def test_a_corpus_of_blanks_has_no_words_between_blanks():
    with pytest.raises(DataError, match="the corpus is empty"):
        learn("  \t ", level="word", splitter="whitespace")


@pytest.mark.parametrize("level", LEVELS)
def test_an_error_in_a_corpus_is_told_as_it_is(level):
    def blocks():
        yield ENGLISH
        raise DataError("corpus.txt: byte 7")

    with pytest.raises(DataError, match=r"^corpus\.txt: byte 7$"):
        TextCodec.learn(blocks(), TextSettings(level=level))


def test_counting_in_bounded_memory_keeps_frequent_words(monkeypatch):
    monkeypatch.setattr(text, "_COUNTED_AT_ONCE", 60)
    largest = []

    class Watched(Counter):
        def update(self, *arguments, **named):
            largest.append(len(self))
            super().update(*arguments, **named)

    monkeypatch.setattr(text, "Counter", Watched)
    frequent = [f"often{i}" for i in range(20)]
    blocks = [
        " ".join([f"rare{block}x{i}" for i in range(40)] + frequent[: 10 + block // 10] * (40 + block)) + "\n"
        for block in range(100)
    ]  # half of the frequent words come in late
    codec = learn(*blocks, level="word", splitter="whitespace", max_vocabulary=21)
    assert max(largest) <= 60
    assert set(codec.vocabulary[1:]) <= {*frequent, "\n"}
    assert set(frequent[:19]) <= set(codec.vocabulary)


# on disk


@pytest.mark.parametrize("level", LEVELS)
def test_a_saved_codec_is_the_same(level, tmp_path):
    codec = learn(MIXED, "\0\u2028\"\\'\n", level=level, lowercase=True, max_vocabulary=280)
    codec.save(tmp_path)
    loaded = TextCodec.load(tmp_path)
    assert type(loaded) is type(codec)
    assert (loaded.vocabulary, loaded.settings, loaded.unknown_id) == (
        codec.vocabulary, codec.settings, codec.unknown_id,
    )  # fmt: skip
    assert loaded.encode(MIXED + ENGLISH).tolist() == codec.encode(MIXED + ENGLISH).tolist()
    assert loaded.decode(loaded.encode(MIXED)) == codec.decode(codec.encode(MIXED))


@pytest.mark.parametrize("level", LEVELS)
def test_missing_and_damaged_files_are_named(level, tmp_path):
    codec = learn(ENGLISH, level=level)
    codec.save(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == (3 if level == "bpe" else 2)
    for path, content in kept.items():
        path.unlink()
        with pytest.raises(BundleError, match=re.escape(f"{path}: No such file")):
            TextCodec.load(tmp_path)
        for damaged in (b"", content[: len(content) // 2], b"\xff" + content, b"[]" if path.stem == "codec" else b"{}"):
            path.write_bytes(damaged)
            with pytest.raises(BundleError, match=re.escape(str(tmp_path))):
                TextCodec.load(tmp_path)
        path.write_bytes(content)
    assert TextCodec.load(tmp_path).vocabulary == codec.vocabulary


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("vocabulary.json", ["<unk>", 3]),
        ("vocabulary.json", ["<unk>", "ab"]),  # no character
        ("codec.json", {"level": "sentence"}),
        ("codec.json", {"levle": "char"}),
        ("codec.json", {"level": "bpe"}),  # tokenizer.json is missing
    ],
)
def test_contents_that_do_not_fit_are_damage(name, values, tmp_path):
    learn(ENGLISH, level="char").save(tmp_path)
    (tmp_path / name).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(BundleError, match=re.escape(str(tmp_path))):
        TextCodec.load(tmp_path)


def test_byte_pairs_and_vocabulary_must_agree(tmp_path):
    learn(ENGLISH, level="bpe").save(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps(["<unk>", "a"]), encoding="utf-8")
    with pytest.raises(BundleError, match=r"tokenizer\.json and vocabulary\.json do not agree"):
        TextCodec.load(tmp_path)
