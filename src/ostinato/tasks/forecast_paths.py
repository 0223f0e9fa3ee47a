"""Series that might be: paths drawn from what a forecaster says of the steps to come."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy.stats import norm

from ostinato.errors import DataError, SettingsError
from ostinato.files import write_text
from ostinato.series import Series
from ostinato.settings import Settings
from ostinato.tasks.corpus import resolve
from ostinato.tasks.forecast_calibration import quantile


class GenerateSettings(Settings):
    """How a series goes on that might be."""

    after: list[str] = Field([], description="files with what was; the paths go on from their last values")
    steps: int | None = Field(None, ge=1, description="of a path [default: the horizon]; more go on from those drawn")
    samples: int = Field(1, ge=1, description="paths of each series")
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed draws the same paths")


def paths_of(
    model: Any, series: Iterable[Series], steps: int | None, samples: int, seed: int | None
) -> Iterator[tuple[Series, np.ndarray]]:
    r"""Draw paths of series.

    Step k is drawn from the model's calibrated quantiles, y_k = F_k⁻¹(Φ(z_k)), where z_k = ρ·z_k−1 + √(1 − ρ²)·ε_k
    and ρ is how the validation errors of neighbouring steps hang together: a Gaussian copula. A path longer than the
    horizon goes on from what was drawn.

    Returns:
        Each series with its paths, float64 [samples, steps, target].

    Raises:
        DataError: if a series has no value, or what is known of the future does not reach far enough.
    """
    codec = model.codec
    horizon = codec.horizon
    wanted = steps or horizon
    head = model.network.head
    levels, rho = head.levels.double().cpu().numpy(), head.correlation.double().cpu().numpy()
    draw = np.random.default_rng(seed)
    for each in series:
        if not each.history:
            raise DataError(f"{each.where}: series {each.name!r}: all values are missing: there is nothing to go on")
        n = each.history
        length = n + wanted
        values = np.full((samples, length, len(codec.targets)), np.nan)
        values[:, :n] = each.values[:n]
        beside = [_as_long(part, length + horizon) for part in (each.known, each.observed)]
        z = draw.standard_normal((samples, len(rho)))
        for begin in range(n, length, horizon):
            rows = []
            for path in values:
                known, observed = (part[: begin + horizon] for part in beside)
                so_far = each._replace(values=_as_long(path[:begin], begin + horizon), known=known, observed=observed)
                codec.check_future(so_far)
                rows.append(codec.encode(so_far))
            windows = model.cut_windows(rows)
            with torch.inference_mode():
                batch = model.on_device(windows.batch(np.stack([np.arange(samples), windows.lengths], axis=1)))
                _, quantiles = model.outer(batch, model.network(batch))
            for step in range(min(horizon, length - begin)):
                values[:, begin + step] = quantile(norm.cdf(z), quantiles[step], levels)
                z = rho * z + np.sqrt(1 - rho**2) * draw.standard_normal(z.shape)
        yield each, values[:, n:]


def write_paths(model: Any, output: Path, options: GenerateSettings) -> dict[str, Any]:
    """Draw paths and write them as CSV, TSV or JSON lines; gives what there is to tell.

    Raises:
        SettingsError: if there is nothing to go on from, or the file's name says no form.
    """
    if not options.after:
        raise SettingsError("go on from what? give --after FILE with the last values of each series")
    form = output.suffix.removeprefix(".")
    if form not in ("csv", "tsv", "jsonl"):
        raise SettingsError(f"{output}: paths are written as .csv, .tsv or .jsonl")
    rows: list[dict[str, Any]] = []
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        series = model.reader(resolve(options.after, Path(scratch))).examples()
        for each, paths in paths_of(model, series, options.steps, options.samples, options.seed):
            count += 1
            for number, path in enumerate(paths):
                for step, values in enumerate(path):
                    row: dict[str, Any] = {"series": each.name} if model.settings.series else {}
                    row |= {"sample": number, "time": each.told(each.history + step)}
                    row |= {name: float(f"{v:.8g}") for name, v in zip(model.codec.targets, values, strict=True)}
                    rows.append(row)
    if form == "jsonl":
        write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(rows[0]), delimiter="," if form == "csv" else "\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(output, lines.getvalue())
    return {"series": count, "paths": count * options.samples, "rows": len(rows), "file": str(output)}


def _as_long(values: np.ndarray, length: int) -> np.ndarray:
    """The first rows, NaN where there are no more."""
    found = np.full((length, values.shape[1]), np.nan)
    found[: len(values)] = values[:length]
    return found
