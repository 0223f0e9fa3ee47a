"""The READMEs run, and tell the same in both languages."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text("utf-8"))


def commands(name: str) -> list[str]:
    """The calls of make and ostinato, without comments."""
    lines = [line.split("  #")[0] for line in (ROOT / name).read_text("utf-8").splitlines()]
    return [" ".join(line.split()) for line in lines if line.startswith(("    make", "    ostinato"))]


def test_both_languages_show_the_same() -> None:
    english, chinese = "README.md", "README.zh-CN.md"
    assert len(commands(english)) > 8
    assert commands(english) == commands(chinese)
    for (kind, text), (other_kind, other) in zip(blocks(english), blocks(chinese), strict=True):
        assert kind == other_kind
        if kind == "text":
            assert text == other
    headings = [len(re.findall(r"^## ", (ROOT / name).read_text("utf-8"), re.MULTILINE)) for name in (english, chinese)]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_python_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held-out.txt").write_text(corpus.read_text()[:2000])
    for number, (kind, text) in enumerate(blocks(name)):
        if kind == "python":
            script = tmp_path / f"block{number}.py"
            script.write_text(text, encoding="utf-8")
            found = runpy.run_path(str(script))
            if "outputs" in found:
                assert found["outputs"].shape == (100, 8, 64)
            else:
                assert (tmp_path / "models" / "mine" / "weights.safetensors").exists()
