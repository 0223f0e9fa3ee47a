"""`ostinato index` and `ostinato search` as a user calls them, and the files that they read."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ostinato import Analyzer
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import DataError, OstinatoError, SettingsError
from ostinato.features import BM25
from ostinato.features.retrieval import sources
from ostinato.features.retrieval.html_text import VisibleText, declared_encoding
from ostinato.features.retrieval.sources import SourceSettings, find_documents, read_documents
from tests.search_corpus import unsynced  # noqa: F401 - a fixture
from tests.test_cli import ostinato

PAGE = """<!DOCTYPE html><html><head><title>Wraps &amp; more</title><style>p { color: secret }</style>
<script>var secret = "<p>secret</p>";</script></head><body><!-- secret --><nav hidden>secret</nav>
<h1>Decorators</h1><p style="display: none">secret</p><p>They <b>wr</b>ap
functions.<p>Here&nbsp;&#x732B;.<br>Line</p><table><tr><td>one</td><td>two</td></tr></table>
<pre>a  b
c</pre><noscript>secret</noscript></body></html>"""

Call = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Call:
    """A command in this process, which is faster; its errors are raised. Returns both its outputs."""

    def call(*arguments: Any) -> tuple[str, str]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr()

    return call


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of every kind of file."""
    monkeypatch.chdir(tmp_path)
    folder = Path("docs")
    (folder / "deep" / ".hidden").mkdir(parents=True)
    (folder / "guide.md").write_text("# Decorators\n\nA decorator wraps a function.\n")
    (folder / "deep" / "notes.txt").write_text("How decorators work: they work by wrapping.\n")
    (folder / "deep" / "page.html").write_text(PAGE)
    (folder / "deep" / ".hidden" / "x.txt").write_text("decorators decorators")
    (folder / "books.csv").write_text('id,year,text\n7,2019,"Work, old"\n8,2021,New work\n')
    rows = '{"text": "猫 喜欢 鱼", "tags": ["cat", "fish"]}', "", '{"text": "work", "tags": []}', ""
    (folder / "more.jsonl").write_text("\n".join(rows))
    (folder / "zipped.txt.gz").write_bytes(gzip.compress(b"compressed decorators"))
    (folder / "picture.png").write_bytes(b"\x89PNG\x00")
    return folder


def test_the_whole_way(docs: Path, run: Call) -> None:
    out, told = run("index", docs, "-o", "index", "--json")
    assert json.loads(out) == {"index": "index", "documents": 8, "added": 8, "replaced": 0, "unchanged": 0}
    assert "passed over files of other kinds (1 × .png; a file that is named is read as text)" in told
    assert "reading 6 files" in told and "8 documents read" in told
    out, told = run("search", "index", "how do decorators work", "--top", 5)
    assert out.startswith("  1  ") and "docs/deep/notes.txt\n     **How** **decorators** **work**: they **work**" in out
    assert len(out.splitlines()) == 10
    assert "in no document: do" in told
    out, _ = run("search", "index", "work", "--where", "year>=2020", "--json")
    hit = {"rank": 1, "id": "8", "text": "New work", "metadata": {"year": "2021"}, "spans": [[4, 8]]}
    found = json.loads(out)
    assert found["hits"][0].pop("score") == pytest.approx(BM25.load("index").search("work", 9, "year=2021")[0].score)
    assert found == {"query": "work", "unknown": [], "hits": [hit]}
    out, _ = run("search", "index", "喜欢", "--where", "tags=cat", "--where", "tags!=dog")
    assert "docs/more.jsonl:1" in out and "**喜欢**" in out


def test_again_adds_and_replaces(docs: Path, run: Call) -> None:
    run("index", docs, "-o", "index")
    figures = json.loads(run("index", docs, "-o", "index", "--json")[0])
    assert figures == {"index": "index", "documents": 8, "added": 0, "replaced": 0, "unchanged": 8}
    (docs / "guide.md").write_text("# Metaclasses\n")
    (docs / "new.md").write_text("brand new\n")
    figures = json.loads(run("index", docs, "-o", "index", "--json")[0])
    assert figures == {"index": "index", "documents": 9, "added": 2, "replaced": 1, "unchanged": 7}
    assert "docs/guide.md" in run("search", "index", "metaclasses")[0]
    with pytest.raises(SettingsError, match=r"settings of its own: leave out --stem, --k1, or begin anew"):
        run("index", docs, "-o", "index", "--stem", "english", "--k1", "2")
    figures = json.loads(run("index", docs / "new.md", "-o", "index", "--overwrite", "--b", "0.5", "--json")[0])
    assert figures["documents"] == 1
    assert BM25.load("index").settings.b == 0.5


def test_options_reach_the_index(docs: Path, run: Call) -> None:
    options = ["--stem", "english", "--stop-words", "how,they", "--idf", "bm25+", "--delta", "0.4", "--k1", "0.9"]
    run("index", docs, "-o", "index", *options)
    engine = BM25.load("index")
    assert (engine.settings.idf, engine.settings.delta, engine.settings.k1) == ("bm25+", 0.4, 0.9)
    assert (engine.analyzer.stem, engine.analyzer.stop_words) == ("english", ("how", "they"))
    assert "**wraps**" in run("search", "index", "wrapping")[0]
    out = run("search", "index", "wrap", "--idf", "atire", "--k1", "2", "--json")[0]
    assert json.loads(out)["hits"][0]["score"] == BM25.load("index", idf="atire", k1=2).search("wrap")[0].score


def test_columns(tmp_path: Path, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("doc_id,title,abstract,text\n1,One,first,t\n2,Two,second,t\n")
    run("index", "a.csv", "-o", "index", "--column", "title", "--column", "abstract", "--id-column", "doc_id")
    hit = BM25.load("index").search("second")[0]
    assert (hit.id, hit.text, hit.metadata) == ("2", "Two\nsecond", {"text_": "t"})
    with pytest.raises(DataError, match=r"a\.csv: line 2: no column 'titel' .*did you mean title"):
        run("index", "a.csv", "-o", "other", "--column", "titel")
    with pytest.raises(DataError, match=r"a\.csv: line 2: no column 'key'"):
        run("index", "a.csv", "-o", "other", "--id-column", "key")
    Path("b.csv").write_text("id,text\n1,a\n1,b\n")
    with pytest.raises(DataError, match=r"b\.csv: line 3: two documents have the id '1'"):
        run("index", "b.csv", "-o", "other")
    Path("c.jsonl").write_text('{"id": null, "text": "a"}\n')
    with pytest.raises(DataError, match=r"c\.jsonl: line 1: column 'id': expected what names the document, found None"):
        run("index", "c.jsonl", "-o", "other")
    assert not Path("other").exists()


def test_settings_that_would_not_be_used(docs: Path, run: Call) -> None:
    for options, why in (
        ([docs / "guide.md", "--column", "x"], "column: there is no table"),
        ([docs / "guide.md", "--no-header"], "header: there is no table"),
        ([docs / "books.csv", "--per", "line"], "there are only tables"),
        ([docs, "--delta", "1"], "only bm25"),
        ([docs, "--idf", "okapi"], "idf = 'okapi'"),
    ):
        with pytest.raises(SettingsError, match=why):
            run("index", *options, "-o", "index")
    assert not Path("index").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["index", "nowhere", "-o", "x"], 1, "nowhere: no such file or folder"),
        (["index", "empty", "-o", "x"], 1, "empty: the folder holds no files"),
        (["index", "blank.txt", "-o", "x"], 1, "there are no documents to index"),
        (["index", "stop.txt", "-o", "x", "--stop-words", "english"], 1, "no word is left of 1 documents"),
        (["index", "latin.txt", "-o", "x"], 1, "latin.txt: line 3, byte 9: e9 is not utf-8"),
        (["index", "bad.csv", "-o", "x"], 1, "bad.csv: line 2: 1 columns, but there are 2"),
        (["index", "bad.jsonl", "-o", "x"], 1, "bad.jsonl: line 2: not JSON"),
        (["index", "pictures", "-o", "x"], 1, "pictures: no text, Markdown, HTML, CSV, TSV or JSONL"),
        (["search", "nowhere", "a"], 1, "nowhere: no such folder"),
        (["search", "index", "zebra"], 1, "none of the query's words stands in the index: zebra"),
        (["search", "index", "?"], 1, "no word is left of the query '?'"),
        (["search", "index", "cat", "--where", "colour=red"], 2, "no document has the field 'colour' (fields: path)"),
        (["search", "index", "cat", "--where", "path"], 2, "expected a comparison such as year=2020"),
        (["search", "old", "cat"], 1, "an index of format 0, and this version reads 1"),
        (["search", "index", "cat", "--idf", "okapi"], 2, "idf = 'okapi'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    arguments: list[str], code: int, message: str, tmp_path: Path, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "blank.txt": b" \n\n", "stop.txt": b"the of and", "latin.txt": b"one\ntwo\nd\xe9j\xe0\n",
        "bad.csv": b"id,text\n1\n", "bad.jsonl": b'{"text": "a"}\n{"text"\n', "cat.txt": b"a cat",
    }.items():  # fmt: skip
        Path(name).write_bytes(content)
    Path("empty").mkdir()
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(b"\0")
    for folder in ("index", "old"):
        run("index", "cat.txt", "-o", folder)
    manifest = Path("old/ostinato.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"index_format": 0}))
    with pytest.raises(OstinatoError) as caught:
        run(*arguments)
    assert message in str(caught.value)
    assert caught.value.exit_code == code
    assert not Path("x").exists()


def test_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cats")
    made = ostinato("index", tmp_path / "a.txt", "-o", tmp_path / "index")
    assert "documents  1" in made.stdout
    failed = ostinato("search", tmp_path / "index", "dogs", status=1)
    assert failed.stderr.splitlines() == ["ostinato: none of the query's words stands in the index: dogs"]
    assert not failed.stdout


def test_nothing_fits(docs: Path, run: Call) -> None:
    run("index", docs / "books.csv", "-o", "index")
    out, told = run("search", "index", "work", "--where", "year>2050")
    assert (out, told) == ("", "ostinato: no document that fits --where holds a word of the query\n")
    assert json.loads(run("search", "index", "work", "--where", "year>2050", "--json")[0])["hits"] == []


def test_marks_on_a_terminal(docs: Path, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", docs / "books.csv", "-o", "index")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "New \x1b[1mwork\x1b[0m" in run("search", "index", "work")[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "New **work**" in run("search", "index", "work")[0]


# files


def read(*files: Any, **settings: Any) -> list[tuple[Any, str, dict[str, Any]]]:
    chosen = SourceSettings(**settings)
    found = find_documents(files, chosen, lambda _: None)
    return [(each.id, each.text, dict(each.metadata)) for each in read_documents(found, chosen)]


def test_pieces_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_bytes(b"\n one\r\ntwo\n \n\nthree\nfour")
    assert read("a.txt") == [("a.txt", "\n one\ntwo\n \n\nthree\nfour", {"path": "a.txt"})]
    paragraphs = [each[:2] for each in read("a.txt", per="paragraph")]
    assert paragraphs == [("a.txt:2", " one\ntwo"), ("a.txt:6", "three\nfour")]
    assert [each[0] for each in read("a.txt", per="line")] == ["a.txt:2", "a.txt:3", "a.txt:6", "a.txt:7"]
    assert read("a.txt", per="line")[-1] == ("a.txt:7", "four", {"path": "a.txt", "line": 7})


def test_a_file_that_is_too_long_for_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes several, cut at line ends, so that memory does not grow with files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "LONGEST", 100)
    lines = [f"line {number} of it" for number in range(40)]
    Path("a.txt").write_text("\n".join(lines))
    pieces = read("a.txt")
    assert len(pieces) > 5 and all(len(text) <= 100 for _, text, _ in pieces)
    assert "\n".join(text for _, text, _ in pieces).splitlines() == lines
    assert [name for name, _, _ in pieces][:2] == ["a.txt", f"a.txt:{len(pieces[0][1].splitlines()) + 1}"]
    Path("b.txt").write_text("x" * 1050)
    assert [len(text) for _, text, _ in read("b.txt")] == [100] * 10 + [50]


def test_visible_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.html").write_text(PAGE)
    text = "Decorators\n\nThey wrap functions.\n\nHere 猫.\nLine\n\none two\n\na  b\nc"
    assert read("a.html") == [("a.html", text, {"path": "a.html", "title": "Wraps & more"})]
    assert [each[:2] for each in read("a.html", per="paragraph")][1] == ("a.html#2", "They wrap functions.")
    for size in (1, 2, 7, 50):  # however it comes
        blocks = [PAGE[at : at + size] for at in range(0, len(PAGE), size)]
        assert "".join(VisibleText().texts(blocks)) == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("a<br>b<br/>c", "a\nb\nc"), ("<ul><li>a<li>b</ul>c", "a\nb\n\nc"), ("a <i>b</i> c", "a b c"),
        ("a<span hidden>x<b>y</b></span>b", "ab"), ("<p hidden>x<p>y", "y"), ("<div hidden>x<p>x</div>y", "y"),
        ("1 < 2 &amp;&amp; 3", "1 < 2 && 3"), ("<p>a</b>b</p>", "ab"),
        ("<ruby>汉<rp>(</rp><rt>hàn</rt></ruby>", "汉hàn"), ("<textarea> a\n b</textarea>", " a\n b"),
        ("<svg><title>x</title><text>y</text></svg>", "y"), ("", ""),
        ("<script>if (a</b) {}</script>c", "c"), ("<select><option>a<option>b</select>", "a\nb"),
    ],
)  # fmt: skip
def test_html(page: str, text: str) -> None:
    assert "".join(VisibleText().texts([page])) == text


def test_a_page_says_its_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.html").write_bytes('<meta charset="gb2312"><p>猫镕</p>'.encode("gb18030"))
    Path("b.html").write_bytes(b"<?xml version='1.0' encoding='iso-8859-1'?><p>\xe9</p>")
    Path("c.html.gz").write_bytes(gzip.compress(b"<meta http-equiv=x content='text/html; charset=koi8-r'>\xc1"))
    Path("d.html").write_bytes(b'<meta charset="no-such">plain')
    assert [text for _, text, _ in read("*.html*")] == ["猫镕", "é", "а", "plain"]
    with pytest.raises(DataError, match=r"b\.html: line 1, byte 46: e9 is not utf-8"):
        read("b.html", encoding="utf-8")
    assert declared_encoding(Path("none.html")) is None


def test_formats(docs: Path) -> None:
    assert [each[0] for each in read(docs / "books.csv")] == ["7", "8"]
    assert [each[0] for each in read(docs / "books.csv", format="text")] == ["docs/books.csv"]
    assert [each[:2] for each in read(docs / "books.csv", format="csv", header=False, column=["3"], id_column="2")] == [
        ("year", "text"), ("2019", "Work, old"), ("2021", "New work"),
    ]  # fmt: skip
    assert read(docs / "picture.png", errors="replace")[0][1] == "\ufffdPNG\0"
    assert [each[0] for each in read(docs)] == [
        "7", "8", "docs/deep/notes.txt", "docs/deep/page.html", "docs/guide.md", "docs/more.jsonl:1",
        "docs/more.jsonl:3", "docs/zipped.txt.gz",
    ]  # fmt: skip


# what is shown


def test_snippets() -> None:
    text = "filler " * 100 + "the old cat\n saw a  cat and the dog here " + "filler " * 100 + "a dog"
    hit = BM25().index([text]).search("cat dog")[0]
    shown = hit.highlighted("[", "]", width=60)
    assert "the old [cat] saw a [cat] and the [dog] here" in shown
    assert shown.startswith("…") and shown.endswith("…") and len(shown) < 90
    assert hit.highlighted("", "") == text
    assert hit.highlighted("", "", width=len(text)) == " ".join(text.split())
    assert [text[span.start : span.end] for span in hit.spans] == ["cat", "cat", "dog", "dog"]


def test_overlapping_marks() -> None:
    hit = BM25(Analyzer(tokens="words", ngram_range=(1, 2))).index(["the old cat sat"]).search("old cat")[0]
    assert hit.highlighted("[", "]") == "the [old cat] sat"
    shown = hit.highlighted("[", "]", width=20)
    assert shown == "the [old cat] sat"


def test_marks_do_not_stand_between_words_that_touch() -> None:
    hit = BM25(Analyzer(tokens="characters")).index(["猫喜欢吃鱼"]).search("喜欢鱼")[0]
    assert hit.highlighted() == "猫**喜欢**吃**鱼**"


def test_snippet_of_one_word_longer_than_its_width() -> None:
    hit = BM25().index(["a " + "x" * 300 + " b"]).search("x" * 300)[0]
    assert hit.highlighted("[", "]", width=50) == f"…[{'x' * 50}]…"


def test_progress_is_shown(docs: Path, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from ostinato.cli import index

    monkeypatch.setattr(index, "_SHOWN_EVERY_SECONDS", (0.0, 0.0))
    _, told = run("index", docs, "-o", "index")
    assert "ostinato: 3 documents, " in told and "a second\n" in told
    assert os.path.isdir("index/segments")  # noqa: PTH112
