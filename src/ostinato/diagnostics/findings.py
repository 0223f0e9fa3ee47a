"""What a verdict is made of: a finding with its evidence, its threshold, its cause and what to change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Severity = Literal["problem", "warning", "good"]
Language = Literal["en", "zh"]
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "good")


class Text(NamedTuple):
    """The same in both languages.

    >>> Text("too large a step", "步长过大").said("zh")
    '步长过大'
    """

    en: str
    zh: str

    def said(self, language: Language) -> str:
        """In one language."""
        return self.zh if language == "zh" else self.en

    def __str__(self) -> str:
        return self.en


@dataclass(frozen=True)
class Threshold:
    """A limit, and why it stands there."""

    value: float
    unit: Text
    why: Text


class Quantity(NamedTuple):
    """A number that was measured."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Change:
    """One thing to change: the settings, as options of `ostinato fit` would give them.

    >>> Change("lstm", {"cell": "lstm"}, Text("gates keep the state", "门控保留状态")).option
    '--cell lstm'
    """

    name: str
    """Short, for tables."""
    settings: Mapping[str, Any]
    """Name → value."""
    why: Text

    @property
    def option(self) -> str:
        """As it is typed."""
        return " ".join(_option(name, value) for name, value in self.settings.items())


def _option(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    return f"{flag} {'none' if value is None else f'{value:g}' if isinstance(value, float) else value}"


@dataclass(frozen=True)
class Finding:
    """One thing that the measurements say."""

    name: str
    """Of the rule: `vanishing-gradient`."""
    severity: Severity
    title: Text
    where: Text
    """The layer, or the training."""
    evidence: tuple[Quantity, ...]
    threshold: Threshold
    seen: Text
    """The evidence as a sentence."""
    cause: Text
    changes: tuple[Change, ...]
    """Those that this task has, the likeliest to help first; none of them is set already."""
    advice: Text
    """What to do, where no setting does it."""
    source: str
    follows: tuple[Finding, ...] = ()
    """What else was found and is likely to go once this is mended."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it; numbers that are not finite as strings."""
        return {
            "name": self.name,
            "severity": self.severity,
            "title": self.title._asdict(),
            "where": self.where._asdict(),
            "evidence": [{"name": e.name, "value": _number(e.value), "unit": e.unit} for e in self.evidence],
            "threshold": {
                "value": self.threshold.value,
                "unit": self.threshold.unit._asdict(),
                "why": self.threshold.why._asdict(),
            },
            "seen": self.seen._asdict(),
            "cause": self.cause._asdict(),
            "changes": [
                {"option": c.option, "settings": dict(c.settings), "why": c.why._asdict()} for c in self.changes
            ],
            "advice": self.advice._asdict(),
            "source": self.source,
            "follows": [finding.plain() for finding in self.follows],
        }

    def said(self, language: Language = "en") -> str:
        """All of it in plain sentences, several lines."""
        zh = language == "zh"
        mark = {"problem": "✗", "warning": "!", "good": "✓"}[self.severity]
        limit, cause, change, source = (
            ("界限", "原因", "改法", "出处") if zh else ("limit", "cause", "change", "source")
        )
        colon, between = ("：", "；") if zh else (": ", "; ")
        where = self.where.said(language)
        head = f"{mark} {self.title.said(language)}"
        lines = [f"{head}（{where}）" if zh and where else f"{head} ({where})" if where else head]
        lines.append(f"  {self.seen.said(language)}")
        if self.severity != "good":
            bound = f"{number(self.threshold.value)} {self.threshold.unit.said(language)}".strip().replace(" （", "（")
            lines.append(f"  {limit}{colon}{bound}{between}{self.threshold.why.said(language)}")
            lines.append(f"  {cause}{colon}{self.cause.said(language)}")
            comma = "，" if zh else ", "
            lines += [f"  {change}{colon}{each.option}{comma}{each.why.said(language)}" for each in self.changes]
            if self.advice.said(language):
                lines.append(f"  {change}{colon}{self.advice.said(language)}")
        lines.append(f"  {source}{colon}{self.source}")
        if self.follows:
            names = ("、" if zh else "; ").join(each.title.said(language) for each in self.follows)
            lines.append(f"  {'随之而来' if zh else 'what follows from it'}{colon}{names}")
        return "\n".join(lines)


NOWHERE = Text("", "")
NO_ADVICE = Text("", "")


@dataclass
class Chooser:
    """The changes that a model's task has and that are not made already.

    Args:
        settings: of the model, by name.

    >>> Chooser({"cell": "lstm", "clip_norm": None}).pick(
    ...     Change("lstm", {"cell": "lstm"}, Text("", "")), Change("clip", {"clip_norm": 1.0}, Text("", ""))
    ... )[0].option
    '--clip-norm 1'
    """

    settings: Mapping[str, Any] = field(default_factory=dict)

    def pick(self, *changes: Change | None) -> tuple[Change, ...]:
        """Those that can be made."""
        return tuple(each for each in changes if each is not None and self._possible(each))

    def _possible(self, change: Change) -> bool:
        known = all(name in self.settings for name in change.settings)
        return known and any(self.settings[name] != value for name, value in change.settings.items())


def number(value: float) -> str:
    """Three digits, as people read them.

    >>> number(0.000123), number(12345.6), number(200.0), number(0.25), number(float("inf"))
    ('0.000123', '12,346', '200', '0.25', '∞')
    """
    if math.isnan(value):
        return "?"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-4:
        return f"{value:.1e}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else repr(float(value))
