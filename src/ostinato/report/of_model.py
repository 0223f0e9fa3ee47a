"""The sections that need the model itself: what it read, where it looked, what it writes."""

from __future__ import annotations

from typing import Any

from ostinato.diagnostics.findings import Text
from ostinato.report.activations import Read
from ostinato.report.charts import plain
from ostinato.report.content import (
    alignment_chart,
    confusion_chart,
    most_confused,
)
from ostinato.report.measured import forgetting_chart, gate_charts, gradient_charts, spectrum_charts, state_charts
from ostinato.report.sections import REACH, TABLES, TRAINING, Section, packed
from ostinato.report.training import layer_words

_SHOWN = 40  # characters of a sentence in a list


def _reading(subject: Any) -> dict[str, Any]:
    read: Read = subject.read
    layers = [
        {"name": layer_words(name)._asdict(), "units": len(levels), "levels": packed(levels, "i1"),
         "largest": packed(largest, "<f4")}
        for name, (levels, largest) in read.layers.items()
    ]  # fmt: skip
    surprise = None if read.surprise is None else plain(read.surprise.round(2))
    return {
        "pieces": read.pieces, "begins": read.begins, "layers": layers, "surprise": surprise,
        "characters": getattr(subject.model.settings, "level", "word") == "char",
    }  # fmt: skip


def _alignments(subject: Any) -> dict[str, Any]:
    found = subject.alignments
    texts = [" ".join(each.source) for each in found]
    return {
        "titles": [text[:_SHOWN] + ("…" if len(text) > _SHOWN else "") for text in texts],
        "charts": [alignment_chart(each, number).plain() for number, each in enumerate(found)],
    }


def _confusion_charts(subject: Any) -> list[Any]:
    chart = confusion_chart(subject.confusion)
    return [] if chart is None else [chart]


def _confused(subject: Any) -> dict[str, Any] | None:
    pairs = most_confused(subject.confusion)
    return {"pairs": pairs} if pairs else None


def _neighbours(subject: Any) -> dict[str, Any]:
    words, nearest, cosine = subject.neighbours
    first = next(
        (at for at, word in enumerate(words) if at > 20 and len(word.strip()) > 3 and word.strip().isalpha()), 0
    )
    return {
        "words": words, "few": nearest.shape[1], "first": first, "nearest": packed(nearest, "<u2"),
        "cosine": packed((cosine * 127).round().clip(-127, 127), "i1"),
    }  # fmt: skip


def _samples(subject: Any) -> dict[str, Any]:
    texts = [{"title": title._asdict(), "text": text} for title, text in subject.samples]
    return {"texts": texts, "characters": getattr(subject.model.settings, "level", "word") == "char"}


SECTIONS = (
    TRAINING,
    Section(
        "gradient", Text("How far back it learns", "能学到多远"),
        Text("The gradient of one late loss by the hidden state of earlier steps. What lies where it has faded cannot "
              "be learned from, however long the sequences are.",
              "某一后期损失对更早隐藏状态的梯度。梯度消失之处的内容，无论序列多长都无法学到。"),
        ("measured",), lambda subject: gradient_charts(subject.measured),
    ),
    REACH,
    Section(
        "forgetting", Text("How much it remembers", "能记住多少"),
        Text("The same targets, told with more and more of the text before them.", "同样的目标，给出越来越长的上文。"),
        ("measured",),
        lambda subject: [] if subject.measured.forgetting is None else [forgetting_chart(subject.measured.forgetting)],
    ),
    Section(
        "spectrum", Text("What a step keeps", "每一步保留什么"),
        Text("The Jacobian of the state: over many steps its largest singular value, of one step, as a mean over the "
              "text, its eigenvalues.",
              "状态的雅可比矩阵：多步的最大奇异值，以及单步（在文本上取平均）的特征值。"),
        ("measured",), lambda subject: spectrum_charts(subject.measured),
    ),
    Section(
        "gates", Text("Gates and units", "门与单元"),
        Text("A gate at an end of its range passes no gradient: a few such units are a memory, all of them a network "
              "that has stopped learning.",
              "处于量程末端的门不再传递梯度：少量这样的单元是记忆，若全部如此，网络就停止了学习。"),
        ("measured",), lambda subject: gate_charts(subject.measured) + state_charts(subject.measured),
    ),
    Section(
        "activations", Text("What a unit does", "单元的行为"),
        Text("A unit's output at every token, against its own largest: warm above zero, cold below. Choose a unit, or "
              "have those found that follow something in the text.",
              "某个单元在每个词元上的输出（相对其自身最大值）：暖色为正，冷色为负。可以选择单元，也可以查找随文本特征变化的单元。"),
        ("read",), kind="reading", data=_reading,
    ),
    Section(
        "attention", Text("Where it looked", "注意力"),
        Text("How much each token that was made attended to each of the source.",
              "每个生成的词元对源文各词元的关注程度。"),
        ("alignments",), kind="alignments", data=_alignments,
    ),
    Section(
        "forecasts", Text("What it forecasts", "预测"),
        Text("The end of some series that it has not learned from.", "若干未学习过的序列末尾。"),
        ("forecasts",), lambda subject: subject.forecasts,
    ),
    Section(
        "confusion", Text("What it confuses", "混淆矩阵"),
        Text("On data that it has not learned from.", "在未学习过的数据上。"),
        ("confusion",), _confusion_charts, kind="confused", data=_confused,
    ),
    Section(
        "neighbours", Text("Neighbours of a word", "词的近邻"),
        Text("Words whose embeddings point most the same way. Type one of the most frequent.",
              "嵌入方向最接近的词。可输入任一常用词。"),
        ("neighbours",), kind="neighbours", data=_neighbours,
    ),
    Section(
        "samples", Text("What it writes", "生成样例"),
        Text("Drawn from the model, token by token.", "由模型逐词元生成。"),
        ("samples",), kind="samples", data=_samples,
    ),
    TABLES,
)  # fmt: skip
"""All, in the order of the page."""
