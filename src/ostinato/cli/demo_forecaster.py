"""`ostinato demo forecaster`: how the sun's spots go on, from three hundred years of them."""

from __future__ import annotations

import csv
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ostinato.cli.demo import is_demo
from ostinato.cli.show import number, table
from ostinato.errors import MissingExtra
from ostinato.tasks.forecaster import Forecaster

NAME = "sunspots.csv"
_HELD_OUT = 35  # years at the end, which the training does not see
_FIGURES = ("mase", "rmse", "coverage_90")


def write_spots(folder: Path) -> tuple[Path, Path]:
    """The yearly numbers since 1700, without the last years and with them.

    Raises:
        MissingExtra: without statsmodels, which has them.
    """
    if find_spec("statsmodels") is None:
        raise MissingExtra("statsmodels", "series", "the sunspots of ostinato demo forecaster")
    import statsmodels

    source = Path(statsmodels.__file__).parent / "datasets" / "sunspots" / "sunspots.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(int(float(year)), float(spots)) for year, spots in list(csv.reader(file))[1:]]
    paths = folder / NAME, folder / "sunspots-all.csv"
    for path, kept in zip(paths, (rows[:-_HELD_OUT], rows), strict=True):
        path.write_text("year,spots\n" + "".join(f"{year},{spots}\n" for year, spots in kept), "utf-8")
    return paths


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a forecaster on the sunspots, and test it on years that it has not seen."""
    with tempfile.TemporaryDirectory() as folder:
        train, every = write_spots(Path(folder))
        model = Forecaster(
            time="year", target=["spots"], horizon=5, season=11, context=33, hidden_size=32, epochs=40, windows=None,
            batch_size=16, dropout=0.2, validation_windows=7, gradient_by_lag=False, max_minutes=minutes, seed=1,
        )  # fmt: skip
        model.fit(train, output=output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        found = model.backtest(every, windows=_HELD_OUT // 5)
        [forecast] = model.predict(every)
    lines = [
        [method, *(number(row[name]) if name in row else "" for name in _FIGURES)]
        for method, row in found.table.items()
    ]
    table(
        f"{_HELD_OUT} years that it has not seen, from {found.first} on, five at a time",
        ["", *(name.replace("_", " ") for name in _FIGURES)],
        lines,
    )
    print("\nand after the last of them (in brackets: where nine of ten should lie):")
    for year, point, low, high in zip(
        forecast.times, forecast.point[:, 0], forecast.quantiles[:, 0, 0], forecast.quantiles[:, 0, -1], strict=True
    ):
        print(f"  {year}  {point:6.1f}  [{low:6.1f}, {high:6.1f}]  {'█' * round(max(point, 0) / 4)}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato predict {output} YOUR.csv --plot forecast.png   # rows of year,spots\n"
        f"  ostinato backtest {output} YOUR.csv --windows 4\n"
        "  ostinato fit forecaster sales.csv --time date --target units --series store --horizon 28 -o models/mine"
    )
