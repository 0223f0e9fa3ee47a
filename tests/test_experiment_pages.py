"""Pages of the experiments: the code on them is the code that runs, and both languages show the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ostinato.experiments import EXPERIMENTS

# The pages

PAGES = Path(__file__).resolve().parents[1] / "docs" / "experiments"
ROW = re.compile(r"^\|.*\| `(.+)` \|$", re.MULTILINE)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_pages_show_the_code_that_runs(name: str) -> None:
    """In both languages: every line of code stands in the file named, commands and outputs are the same."""
    pages = {language: (PAGES / f"{name}{language}.md").read_text("utf-8") for language in ("", ".zh-CN")}
    for text in pages.values():
        source = re.search(r"\| \S+, ?`(src/ostinato/experiments/\w+\.py)` \|", text.replace("代码，", "代码,"))
        assert source
        module = " ".join((PAGES.parents[1] / source[1]).read_text("utf-8").split())
        lines = [line for line in ROW.findall(text) if not line.startswith("src/")]
        assert len(lines) >= 4
        for line in lines:
            assert line.replace("\\|", "|") in module
        (picture,) = set(re.findall(r"!\[.+\]\((.+)\)", text))
        assert 10_000 < (PAGES / picture).stat().st_size < 120_000
    english, chinese = (
        [line.split("  #")[0] for line in text.splitlines() if line.startswith("    ")] for text in pages.values()
    )
    assert english == chinese
    blocks = [re.findall(r"```text\n(.*?)```", text, re.DOTALL) for text in pages.values()]
    assert blocks[0] == blocks[1] != []


@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_the_index_names_all_and_its_python_runs(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PAGES / f"README{language}.md").read_text("utf-8")
    assert re.findall(r"^\| \[(.+?)\]", text, re.MULTILINE) == list(EXPERIMENTS)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, "README", "exec"), {})  # noqa: S102
    assert (tmp_path / "experiments" / "clipping" / "figure.png").exists()
