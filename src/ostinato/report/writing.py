"""A report as a file, and its charts as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ostinato.diagnostics.findings import Language
from ostinato.files import write_text
from ostinato.report.charts import Chart
from ostinato.report.content import alignment_chart
from ostinato.report.of_model import SECTIONS
from ostinato.report.page import document, page
from ostinato.report.subject import Subject


def write_report(
    folder: str | Path,
    held_out: Sequence[str | Path] = (),
    output: str | Path | None = None,
    lang: Language = "en",
    device: str = "cpu",
    model: Any = None,
) -> Path:
    """Write all that can be shown of a model as one HTML file, whole or not at all.

    Args:
        folder: of the model.
        held_out: files, folders or patterns like those of training; the validation data that the training kept in
            `run/` if there are none.
        output: the file; `report.html` in the model's folder if None.
        lang: in which the page opens, `en` or `zh`; it can be switched there.
        device: where the model runs.
        model: what stands in the folder, if it is loaded already.

    Returns:
        The file.

    Raises:
        BundleError: if the folder is not a model.
        DataError: if the files cannot be read, or hold nothing that the model can use.
    """
    subject = Subject(Path(folder), tuple(map(str, held_out)), device, model)
    path = Path(folder) / "report.html" if output is None else Path(output)
    write_text(path, page(document(subject, SECTIONS, lang)))
    return path


def charts_of(subject: Subject) -> list[Chart]:
    """All charts of a subject, in the order of the page."""
    found = [chart for section in SECTIONS if section.shown(subject) for chart in section.charts(subject)]
    found += [alignment_chart(each, number) for number, each in enumerate(subject.alignments)]
    return [chart for chart in found if not chart.empty]
