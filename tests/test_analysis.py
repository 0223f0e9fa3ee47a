"""Analysis: what a token is, where it stands, and that what is saved means the same."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import analysis
from ostinato.analysis import Analyzer
from ostinato.errors import DataError, MissingExtra, SettingsError
from ostinato.stop_words import CHINESE, ENGLISH

KINDS = ["words", "whitespace", "characters", "chinese"]
# what trips analysers: marks that combine, also with a starter (Hangul, ﾞ), full width, ligatures, İ and Σ, emoji
TRICKY = [
    "e\u0301",
    "\u0301",
    "ﾊﾞ",
    "가",
    "각",
    "ＡＢＣ",
    "ﬁ",
    "①",
    "㎏",
    "½",
    "İ",
    "ΑΣ",
    "ß",
    "don’t",
    "don't",
    "हिन्दी",
    "👨‍👩‍👧",
    "👍🏽",
]
TRICKY += [
    "猫喜欢吃鱼",
    "我们用Python写",
    "カタガ",
    "\r\n",
    "\n",
    "\t",
    "\u3000",
    "\u00a0",
    " ",
    "，",
    "。",
    "...",
    "a",
    "I",
    "_",
    "’",
]
texts = st.lists(st.one_of(st.sampled_from(TRICKY), st.text(max_size=6)), max_size=8).map("".join)
analyzers = st.builds(
    Analyzer,
    normalization=st.sampled_from(["nfkc", "nfc", "none"]),
    lowercase=st.booleans(),
    tokens=st.sampled_from(KINDS),
    ngram_range=st.sampled_from([(1, 1), (1, 2), (2, 3)]),
    stop_words=st.sampled_from([None, "english", "chinese", ("猫", "a")]),
    stem=st.sampled_from([None, "english"]),
)


# words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" \n\t\u3000", []),
        ("I am a cat.", ["i", "am", "a", "cat"]),
        ("猫", ["猫"]),
        ("猫 喜欢 鱼", ["猫", "喜欢", "鱼"]),
        (
            "猫不喜欢动物园。Cats love Python3，真的！",
            ["猫", "不", "喜欢", "动物园", "cats", "love", "python3", "真的"],
        ),
        ("Don’t DON'T 'quoted'", ["don't", "don't", "quoted"]),
        ("line one\r\nline two", ["line", "one", "line", "two"]),
        ("ＮＬＰ　１２３ ﬁne", ["nlp", "123", "fine"]),
        ("cafe\u0301 caf\u00e9", ["café", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("한국어 ひら・カナ", ["한국어", "ひ", "ら", "カ", "ナ"]),
        ("3.14 e-mail a@b.org", ["3", "14", "e", "mail", "a", "b", "org"]),
        ("👍🏽 good 👨‍👩‍👧!", ["good"]),
    ],
)
def test_words_of_mixed_text(text, wanted):
    assert Analyzer(tokens="chinese")(text) == wanted


def test_without_a_dictionary_each_han_character_is_a_word():
    assert Analyzer(tokens="words")("猫喜欢Python") == ["猫", "喜", "欢", "python"]


def test_tokens_between_blanks_and_characters():
    assert Analyzer(tokens="whitespace")("A b-c,\r\n猫。 👍🏽") == ["a", "b-c,", "猫。", "👍🏽"]
    assert Analyzer(tokens="characters")("a 猫e\u0301\u0323!\n👍🏽") == ["a", "猫", "ẹ\u0301", "!", "👍🏽"]
    assert Analyzer(tokens="characters", ngram_range=(2, 2))("喜欢 鱼") == ["喜欢", "欢鱼"]


def test_case_and_form_can_be_left_as_they_are():
    plain = Analyzer(tokens="words", normalization="none", lowercase=False)
    assert plain("Don’t ＡＢ e\u0301") == ["Don’t", "ＡＢ", "e\u0301"]
    assert Analyzer(tokens="words", normalization="nfc", lowercase=False)("ＡＢ e\u0301") == ["ＡＢ", "é"]


def test_stop_words():
    assert Analyzer(tokens="words", stop_words="english")("This isn’t the end of it: cats") == ["end", "cats"]
    assert Analyzer(tokens="chinese", stop_words="chinese")("我们的猫也喜欢鱼") == ["猫", "喜欢", "鱼"]
    both = Analyzer(tokens="chinese", stop_words="english+chinese")
    assert both("the 猫 and 我们") == ["猫"]
    assert Analyzer(tokens="words", stop_words=["THE", "Ｃａｔ"])("The cat sat") == ["sat"]
    assert Analyzer(tokens="words", stop_words="english", ngram_range=(2, 2))("cats and dogs") == ["cats dogs"]
    assert Analyzer(tokens="words", stop_words="english")("it is what it is") == []


def test_stop_lists_are_what_tokens_look_like():
    words = Analyzer(tokens="whitespace")
    assert all(words(word) == [word] for word in ENGLISH | CHINESE)
    assert all(Analyzer(tokens="words")(word) == [word] for word in ENGLISH)


def test_stems():
    stemmed = Analyzer(tokens="chinese", stem="english")
    assert stemmed("Connected connections, 喜欢 running") == ["connect", "connect", "喜欢", "run"]


def test_ngrams_of_words_and_of_characters():
    words = Analyzer(tokens="whitespace", ngram_range=(1, 3))
    assert words("a b c") == ["a", "b", "c", "a b", "b c", "a b c"]
    assert Analyzer(tokens="whitespace", ngram_range=(2, 2))("alone") == []
    parts = Analyzer(tokens="chinese", char_ngrams=(3, 4))
    assert parts("cat 猫") == ["<ca", "cat", "at>", "<cat", "cat>", "<猫>"]
    assert Analyzer(tokens="words", char_ngrams=(4, 5))("a") == ["<a>"]  # too short for any: it stays, whole


@given(st.text(st.characters(max_codepoint=127)))
@settings(max_examples=200, deadline=None)
def test_words_of_plain_ascii_are_words(text):
    assert analysis._ASCII_WORD.findall(text) == analysis._PATTERNS["words"].findall(text)


# places


@given(analyzers, texts)
@settings(max_examples=300, deadline=None)
def test_spans_are_the_tokens_in_their_places(analyzer, text):
    spans = analyzer.spans(text)
    assert [span.token for span in spans] == analyzer(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)


@given(st.sampled_from(KINDS), st.sampled_from(["nfkc", "nfc", "none"]), st.booleans(), texts)
@settings(max_examples=300, deadline=None)
def test_what_stands_at_a_span_is_its_token(tokens, normalization, lowercase, text):
    analyzer = Analyzer(tokens=tokens, normalization=normalization, lowercase=lowercase)

    def prepared(some: str) -> str:
        some = some if normalization == "none" else unicodedata.normalize(normalization.upper(), some)
        return some.replace("’", "'").lower().replace("ς", "σ") if lowercase else some.replace("’", "'")

    spans = analyzer.spans(text)
    for span in spans:
        assert span.token.replace("’", "'").replace("ς", "σ") in prepared(text[span.start : span.end])
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(spans))


def test_spans_count_characters_of_the_text_as_given():
    text = "㎏ of ｶﾞﾗｽ, cafe\u0301s İx"
    found = {span.token: text[span.start : span.end] for span in Analyzer(tokens="words").spans(text)}
    assert found == {"kg": "㎏", "of": "of", "ガ": "ｶﾞ", "ラ": "ﾗ", "ス": "ｽ", "cafés": "cafe\u0301s", "i̇x": "İx"}
    chinese = "我们用Python写程序"
    spans = Analyzer(tokens="chinese", ngram_range=(2, 2)).spans(chinese)
    assert ("用 python", "用Python") in [(span.token, chinese[span.start : span.end]) for span in spans]


@given(analyzers, texts)
@settings(max_examples=100, deadline=None)
def test_line_ends_and_blanks_do_not_matter(analyzer, text):
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    assert analyzer(unix) == analyzer(unix.replace("\n", "\r\n"))
    assert analyzer(f" {unix}\t\n") == analyzer(unix)


@given(
    st.lists(
        st.sampled_from(["가", "ᄀ", "ᅡ", "ᆨ", "e", "\u0301", "\u0323", "ｶ", "ﾞ", "\u0b47", "\u0b3e", "ﷺ", "Å"]),
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_normalising_piece_by_piece_is_normalising(pieces):
    text = "".join(pieces)
    for form in ("NFC", "NFKC"):
        parts = [unicodedata.normalize(form, text[start:end]) for start, end in analysis._apart(text, form)]
        assert "".join(parts) == unicodedata.normalize(form, text)


# settings


@given(analyzers)
@settings(max_examples=50, deadline=None)
def test_what_is_saved_is_the_same(analyzer):
    again = Analyzer.from_dict(json.loads(json.dumps(analyzer.to_dict())))
    assert again == analyzer and hash(again) == hash(analyzer) and again.fingerprint() == analyzer.fingerprint()
    assert pickle.loads(pickle.dumps(analyzer)) == analyzer  # noqa: S301 - workers of scikit-learn get it so


def test_the_fingerprint_tells_analyzers_apart(monkeypatch):
    made = [{}, {"lowercase": False}, {"ngram_range": (1, 2)}, {"stop_words": "english"}, {"stop_words": ["a"]}]
    prints = [Analyzer(tokens="words", **options).fingerprint() for options in made]
    assert len(set(prints)) == len(made)
    assert prints[0] == "d02db3fd47a7"  # as long as RULES = 1
    own = Analyzer(tokens="words", stop_words=sorted(ENGLISH))
    assert own.fingerprint() == prints[3]  # the same words, however they are named
    monkeypatch.setattr(analysis, "RULES", 2)
    assert Analyzer(tokens="words").fingerprint() != prints[0]


def test_an_analyzer_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Analyzer().lowercase = False


def test_auto_is_settled_when_it_is_made(monkeypatch):
    assert Analyzer().tokens == "chinese"
    monkeypatch.setattr(analysis, "has_dictionary", lambda: False)
    assert Analyzer().tokens == "words"
    with pytest.raises(MissingExtra, match=r"tokens = 'chinese' \(words .*\) needs rjieba, .*ostinato\[zh\]"):
        Analyzer(tokens="chinese")


def test_chinese_words_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(MissingExtra, match=r"ostinato\[zh\]"):
        analysis.chinese_words("猫")


def test_stems_name_the_extra(monkeypatch):
    monkeypatch.setattr(analysis, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"stem = 'english' needs PyStemmer.*ostinato\[stem\]"):
        Analyzer(tokens="words", stem="english")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokns": "words"}, r"unknown setting 'tokns' \(did you mean tokens\?\)"),
        ({"tokens": "word"}, "tokens = 'word': Input should be 'auto', 'words'"),
        ({"stop_words": "englsh"}, r"stop_words = 'englsh': one of english, .* \(did you mean english\?\)"),
        ({"stop_words": [1]}, "stop_words = .*: expected words, found int"),
        ({"ngram_range": (2, 1)}, r"ngram_range = \(2, 1\): fewest and most, such as \(1, 2\)"),
        ({"ngram_range": (0, 1)}, r"ngram_range = \(0, 1\): fewest"),
        ({"char_ngrams": (3, 2)}, r"char_ngrams = \(3, 2\)"),
        ({"char_ngrams": (3, 3), "ngram_range": (1, 2)}, "ngram_range: is of words"),
        ({"stem": "klingon"}, "stem = 'klingon': Input should be 'english'"),
    ],
)
def test_a_wrong_setting_is_told(options, message):
    with pytest.raises(SettingsError, match=message):
        Analyzer(**options)
    with pytest.raises(SettingsError, match=message):
        Analyzer.from_dict(options)


@pytest.mark.parametrize("wrong", [None, 3.0, b"bytes", ["a", "list"]])
def test_what_is_no_text_is_told(wrong):
    for call in (Analyzer(), Analyzer().spans):
        with pytest.raises(DataError, match=f"expected a text, found {type(wrong).__name__}"):
            call(wrong)


def test_analysis_needs_no_torch():
    code = "import sys, ostinato.analysis; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
