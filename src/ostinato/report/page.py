"""The page: one file that holds its data, its style, its program and plotly, and asks nobody for anything."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from ostinato.diagnostics.findings import Finding, Language, Text, number
from ostinato.report.live import told
from ostinato.report.sections import Section

SCRIPTS = ("base.js", "charts.js", "reading.js", "parts.js", "page.js")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_TILES = (
    ("validation_perplexity", Text("perplexity, validation", "困惑度（验证）")),
    ("validation_bits_per_character", Text("bits a character, validation", "每字符比特（验证）")),
    ("validation_bleu", Text("BLEU, validation", "BLEU（验证）")),
    ("validation_accuracy", Text("accuracy, validation", "准确率（验证）")),
    ("validation_f1", Text("F1, validation", "F1（验证）")),
    ("validation_pearson", Text("Pearson's r, validation", "皮尔逊相关（验证）")),
    ("validation_mcc", Text("Matthews' correlation", "马修斯相关系数")),
    ("validation_loss", Text("loss, validation", "损失（验证）")),
    ("steps", Text("steps", "步数")),
    ("epochs", Text("epochs", "轮数")),
    ("training_seconds", Text("seconds of training", "训练秒数")),
)
_TASKS = {
    "language-model": Text("A language model", "语言模型"), "classifier": Text("A classifier", "分类器"),
    "tagger": Text("A tagger", "标注器"), "translator": Text("A translator", "翻译器"),
    "similarity": Text("A similarity model", "相似度模型"),
    "tree-classifier": Text("A classifier of trees", "树分类器"),
    "acceptability": Text("A judge of sentences", "句子可接受性判断"), "ngram": Text("An n-gram model", "n 元模型"),
    "linear-classifier": Text("A linear classifier", "线性分类器"), "bert": Text("A BERT", "BERT 模型"),
    "conditional-language-model": Text("A conditional language model", "条件语言模型"),
}  # fmt: skip


def document(subject: Any, sections: Iterable[Section], lang: Language) -> dict[str, Any]:
    """All that the page shows, as JSON has it.

    Args:
        subject: what the sections ask for what they need.
        sections: in order; those whose needs are not met are left out.
        lang: in which the page opens.
    """
    made = [found for section in sections if (found := section.plain(subject)) is not None]
    manifest = subject.manifest or {}
    return {
        "lang": lang, "name": Path(subject.folder).resolve().name, "subtitle": _subtitle(manifest)._asdict(),
        "tiles": _tiles(manifest, subject.run), "findings": [_finding(each) for each in subject.findings],
        "sections": made, "version": version("ostinato"), "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "live": None,
    }  # fmt: skip


def page(content: dict[str, Any]) -> str:
    """The file.

    What comes of users enters as JSON, without a `<`, and reaches the screen as text; and a policy in the page forbids
    it to load or to send anything.

    Args:
        content: of `document`.
    """
    parts = {
        "lang": "zh-CN" if content["lang"] == "zh" else "en", "title": html.escape(f"{content['name']} · ostinato"),
        "style": _file("page.css"), "document": embedded(content), "plotly": plotly(),
        "script": "(() => {\n" + "\n".join(map(_file, SCRIPTS)) + "\n})();",
        "connect": "'self'" if content["live"] else "'none'",
    }  # fmt: skip
    return _PLACE.sub(lambda match: parts[match[1]], _file("page.html"))


def embedded(content: Any) -> str:
    r"""JSON that no HTML parser sees the end of.

    >>> embedded({"text": "</script><!--"})
    '{"text":"\\u003c/script>\\u003c!--"}'
    """
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def plotly() -> str:
    """The program that draws the charts, of the package plotly."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")


@cache
def _file(name: str) -> str:
    return (files("ostinato.report") / "page" / name).read_text("utf-8")


def _subtitle(manifest: dict[str, Any]) -> Text:
    settings = manifest.get("settings", {})
    task = _TASKS.get(manifest.get("task", ""), Text(*2 * (str(manifest.get("task", "")),)))
    shape = [str(settings[name]) for name in ("num_layers", "hidden_size") if settings.get(name) is not None]
    cell = " ".join(part for part in (str(settings.get("cell") or "").upper(), " × ".join(shape)) if part)
    size = str(manifest.get("size", ""))
    return Text(*(" · ".join(part for part in (task.said(lang), cell, size) if part) for lang in ("en", "zh")))


def _tiles(manifest: dict[str, Any], run: Any) -> list[tuple[dict[str, str], str]]:
    metrics = dict(manifest.get("metrics") or {})
    if not metrics and run is not None:  # a training that goes on
        metrics = {"validation_loss": float(run.validation_loss.min())} if len(run.validation_loss) else {}
        metrics |= {"steps": int(run.step[-1])} if len(run.step) else {}
    return [(name._asdict(), told(metrics[key])) for key, name in _TILES if key in metrics][:6]


def _finding(finding: Finding) -> dict[str, Any]:
    """As the page has it: what is the case, the limit, the cause, and each change as the option to pass."""
    plain, limit = finding.plain(), finding.threshold
    good = finding.severity == "good"
    bound = Text(
        f"{number(limit.value)} {limit.unit.en}".strip() + f"; {limit.why.en}",
        f"{number(limit.value)} {limit.unit.zh}".strip() + f"；{limit.why.zh}",
    )
    return {
        **{name: plain[name] for name in ("name", "severity", "title", "where", "seen", "cause", "advice", "source")},
        "threshold": None if good else bound._asdict(),
        "changes": [] if good else plain["changes"],
        "follows": [each.title._asdict() for each in finding.follows],
    }
