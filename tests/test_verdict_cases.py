"""Built cases, one of each kind: `benchmarks/verdict.py` draws more and counts how often the verdict is right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from ostinato.diagnostics.diagnosis import diagnose
from ostinato.diagnostics.verdict import complaints

PATH = Path(__file__).parents[1] / "benchmarks" / "verdict_cases.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("verdict_cases", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verdict_cases"] = module  # where its dataclass looks for the module's names
    spec.loader.exec_module(module)
    return module


CASES = _load()


@pytest.mark.parametrize("kind", CASES.KINDS)
def test_the_fault_that_is_built_in_is_named_first(kind: str, tmp_path: Path) -> None:
    case = CASES.make_case(kind, 3, tmp_path)
    found = complaints(diagnose(case.folder, case.held_out).verdict)
    right = CASES.KINDS[kind][1]
    if right:
        assert found and found[0].name in right, (case.about, [finding.name for finding in found])
    else:
        assert not found, (case.about, [finding.name for finding in found])
