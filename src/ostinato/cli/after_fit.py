"""The report that stands in a model's folder once it is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def report_of(folder: Path, model: Any = None) -> Path | None:
    """Write `report.html` into a model's folder; what goes wrong is told in a line, for the model stands anyway.

    Args:
        folder: of the model.
        model: what stands there, if it is loaded.

    Returns:
        The file; None if it could not be written.
    """
    try:
        from ostinato.report.writing import write_report

        return write_report(folder, model=model)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        print(f"no report ({said}); the model stands, and `ostinato inspect {folder}` tries again", file=sys.stderr)
        return None
