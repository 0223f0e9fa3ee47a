"""The visible text of an HTML page."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905
_HIDDEN = frozenset(
    "script style template noscript title datalist audio video canvas iframe object rp".split()  # noqa: SIM905
)
_PARAGRAPHS = frozenset(
    """address article aside blockquote body details dialog div dl fieldset figcaption figure footer form h1 h2 h3 h4
    h5 h6 header hr main nav ol p pre section summary table ul""".split()  # noqa: SIM905
)
_LINES = frozenset("br caption dd dt legend li option optgroup tr".split())  # noqa: SIM905
_CELLS = frozenset(("td", "th"))
_CLOSED_BY_THE_NEXT = frozenset("dd dt li option p td th tr".split())  # noqa: SIM905
_UNSEEN = re.compile(r"(display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_DECLARED = re.compile(rb"""<(?:meta|\?xml)\b[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_AS_READ = {"gb2312": "gb18030", "gbk": "gb18030"}  # what pages call GB 2312 often is more


class VisibleText(HTMLParser):
    r"""What a reader sees of a page: no scripts, styles, comments and hidden elements; blocks stand apart.

    Attributes:
        title: of the page, once it was read.

    >>> page = VisibleText()
    >>> "".join(page.texts(["<title>T</title><style>p {}</style><p>One<b>s</b> &amp; all<p hidden>no<p>two"]))
    'Ones & all\n\ntwo'
    >>> page.title
    'T'
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._open: list[tuple[str, bool]] = []  # elements, and whether each hides what is in it
        self._text: list[str] = []
        self._gap = ""  # what comes before the next word: a blank, or line ends
        self._begun = False

    def texts(self, blocks: Iterable[str]) -> Iterator[str]:
        """The text of a page that comes in blocks."""
        for block in blocks:
            self.feed(block)
            yield self._taken()
        self.close()
        yield self._taken()

    def _taken(self) -> str:
        text, self._text = "".join(self._text), []
        return text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag in _CLOSED_BY_THE_NEXT and self._open and self._open[-1][0] == tag:
            self._open.pop()
        self._part(tag)
        if tag not in _VOID:
            given = dict(attrs)
            unseen = "hidden" in given or _UNSEEN.search(given.get("style") or "") is not None
            self._open.append((tag, unseen or tag in _HIDDEN))

    def handle_endtag(self, tag: str) -> None:
        """An element ends, and with it all that was left open in it."""
        names = [name for name, _ in self._open]
        if tag in names:
            del self._open[len(names) - 1 - names[::-1].index(tag) :]
        self._part(tag)

    def _part(self, tag: str) -> None:
        gap = "\n\n" if tag in _PARAGRAPHS else "\n" if tag in _LINES else " " if tag in _CELLS else ""
        self._gap = max(self._gap, gap, key=lambda each: (each.count("\n"), len(each)))

    def handle_data(self, data: str) -> None:
        """Text of the innermost open element."""
        if any(hides for _, hides in self._open):
            if self._open[-1][0] == "title" and not self._begun:
                self.title = " ".join(f"{self.title}{data}".split())
        elif any(name in ("pre", "textarea") for name, _ in self._open):
            self._put(data)
        else:
            if data[:1].isspace():
                self._gap = self._gap or " "
            if words := data.split():
                self._put(" ".join(words))
            if data[-1:].isspace():
                self._gap = self._gap or " "

    def _put(self, text: str) -> None:
        self._text += [self._gap if self._begun else "", text]
        self._gap, self._begun = "", True


def declared_encoding(path: Path) -> str | None:
    """What a page says of its own encoding near its beginning, if Python knows it."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            found = _DECLARED.search(file.read(2048))
        name = codecs.lookup(found[1].decode("ascii")).name if found else None
    except (OSError, EOFError, LookupError, ValueError):  # who reads the file in earnest tells what is wrong
        return None
    return _AS_READ.get(name, name) if name else None
