"""Forecasting: what series will be, from what they were and what is known of the future; one network for all."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato import bundle
from ostinato.attention import MultiplicativeAttention
from ostinato.bundle import CODEC, read_json
from ostinato.codecs.series_codec import COLUMNS, SeriesCodec
from ostinato.errors import DataError
from ostinato.files import write_text
from ostinato.quantile_heads import QuantileHead
from ostinato.series import Series, SeriesReader, SeriesSettings, target_names
from ostinato.table import Table
from ostinato.tasks.corpus import SPOOLED, Sources, resolve
from ostinato.tasks.forecast_calibration import calibrate
from ostinato.tasks.forecast_paths import GenerateSettings, paths_of, write_paths
from ostinato.tasks.forecast_rows import predictions
from ostinato.tasks.forecast_scores import Actual, ForecastTally
from ostinato.tasks.forecaster_network import DirectForecaster, RecurrentForecaster
from ostinato.tasks.forecaster_settings import ForecasterSettings, PredictSettings
from ostinato.tasks.model import Predicted
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.tasks.series_windows import SeriesWindows, WindowBatch, WindowSettings
from ostinato.tasks.supervised import Prepared, Row, SupervisedModel, Unusable
from ostinato.training.batches import DrawnBatches

_MOST_CONTEXT = 512  # steps that are read if nothing else is said
_TRIED = 1024  # windows that choose the simple forecast


class Forecast(NamedTuple):
    """What is said of the steps after a series' last."""

    series: str
    times: list[str | int]
    """[horizon]"""
    point: np.ndarray
    """[horizon, target]"""
    quantiles: np.ndarray
    """[horizon, target, level], by the levels of `settings.quantiles`."""
    seen: bool
    """Whether training had a series of this name."""
    history: np.ndarray
    """What was, [time, target], gaps filled."""
    history_times: list[str | int]


class Forecaster(SupervisedModel):
    r"""Quantiles of y_t+1 … y_t+H given y_1 … y_t, by an encoder and a decoder over what is known of the steps to come.

    Args:
        settings: by name, see `ForecasterSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "wave.csv"
    >>> rows = [f"{t},{10 + np.sin(t / 2):.4f}" for t in range(300)]
    >>> _ = path.write_text("time,y\n" + "\n".join(rows))
    >>> model = Forecaster(horizon=6, context=24, hidden_size=16, epochs=8, windows=640, seed=1).fit(
    ...     path, progress=False
    ... )
    >>> [forecast] = model.predict(path)
    >>> forecast.times[0], forecast.quantiles.shape, bool(np.abs(forecast.point[0, 0] - 10 - np.sin(150)) < 0.3)
    (300, (6, 1, 7), True)
    """

    task = "forecaster"
    pipeline_tag = "time-series-forecasting"
    Settings = ForecasterSettings
    PredictSettings = PredictSettings
    GenerateSettings = GenerateSettings
    codec_type = SeriesCodec
    columns = COLUMNS
    length_column = "values"
    criterion = "loss"

    @property
    def window_settings(self) -> WindowSettings:
        """How windows are cut, with what the data said."""
        s, codec = self.settings, self.codec
        context = s.context or min(_MOST_CONTEXT, max([2 * codec.season, 2 * codec.horizon, *codec.lags, 8]))
        return WindowSettings(context, codec.horizon, s.scaling, codec.base if s.base == "auto" else s.base)

    def build(self) -> Any:
        """Encoder, decoder and head, with fresh weights."""
        s, codec = self.settings, self.codec
        encoder = recurrent_network(s, codec.input_size, s.bidirectional)
        head = QuantileHead(s.hidden_size, len(codec.targets), s.quantiles, s.point == "mean")
        if s.decoder == "direct":
            return DirectForecaster(encoder, codec.told_size, codec.horizon, s.hidden_size, head, s.around())
        decoder = recurrent_network(s, codec.told_size)
        sizes = decoder.output_size, encoder.output_size
        attention = MultiplicativeAttention(*sizes) if s.attention else None
        return RecurrentForecaster(encoder, decoder, s.hidden_size, head, attention, s.around())

    def reader(self, files: Sequence[Path], **changes: Any) -> SeriesReader:
        """Reads series, at the step of training once there was one."""
        frequency = None if self._codec is None else self.codec.frequency
        return SeriesReader(files, self._part(SeriesSettings).model_copy(update=changes), frequency)

    def learn_codec(self, examples: Callable[[], Iterator[Series]]) -> SeriesCodec:
        """Step, season and scales."""
        s = self.settings
        return SeriesCodec.learn(
            examples, s.target, s.known, s.observed, s.horizon, s.season, s.lags, s.calendar, s.transform == "log"
        )

    def prepare(self, sources: Sequence[str], validation: Sequence[str], folder: Path) -> Prepared:
        """Read, keep the end of each series for validation, learn the codec, write both parts as numbers."""
        run = folder / bundle.RUN
        if (run / "examples.json").exists():
            codec = SeriesCodec.load(folder / CODEC)
            return Prepared(codec, Table(run, "train"), Table(run, "validation"), read_json(run / "examples.json"))
        s = self.settings
        self._codec = None
        reader = self.reader(resolve(sources, run))
        if not s.target:
            self.settings = s = s.model_copy(update={"target": target_names(reader.files, reader.settings)})
        every = list(reader.examples())
        about: dict[str, Any] = {"train": reader.fingerprint()}
        self._codec = self.learn_codec(lambda: iter(every))  # which says how long the horizon is
        kept = 0 if validation else s.validation_windows * self.codec.horizon
        train, held_out = parted(every, kept, self.codec.horizon)
        if not validation and not held_out:
            longest = max(each.history for each in every)
            raise DataError(
                f"{every[0].where}: validation keeps {kept:,} steps of each series, and at least "
                f"{self.codec.horizon + 1:,} must be left, but the longest has {longest:,}: give longer series, "
                "a shorter --horizon, or other files with --validation"
            )
        self._codec = codec = self.learn_codec(lambda: iter(train))
        tables = [self._written(run, "train", train)]
        codec.base = self._best_base(tables[0])
        (folder / CODEC).mkdir(exist_ok=True)
        codec.save(folder / CODEC)
        if validation:
            held = self.reader(resolve(validation, run))
            held_out, about["validation"] = list(held.examples()), held.fingerprint()
        self._tell(codec)
        about |= codec.about
        tables.append(self._written(run, "validation", held_out))
        windows = [len(self.places(table, name == "train")) for table, name in zip(tables, ("train", ""), strict=True)]
        if not windows[0]:
            raise DataError(f"train: no window of {self.codec.horizon} steps has a target: give longer series")
        about |= {"train_windows": windows[0], "validation_windows": windows[1]}
        write_text(run / "examples.json", json.dumps(about, indent=1) + "\n")
        self.reporter.message(f"{windows[0]:,} windows to learn from, {windows[1]:,} for validation")
        (run / SPOOLED).unlink(missing_ok=True)
        return Prepared(codec, tables[0], tables[1], about)

    def _best_base(self, table: Table) -> str:
        """The simple forecast whose mean error, in the scale of each window, is least on windows to learn from."""
        kinds = ("last", "seasonal", "drift") if self.codec.season > 1 else ("last",)
        every = self.cut_windows(table).every(self.settings.stride)
        places = every[np.linspace(0, len(every) - 1, min(_TRIED, len(every))).round().astype(int)]
        errors = {}
        for kind in kinds if len(places) else ():
            windows = SeriesWindows(table, self.codec, self.window_settings._replace(base=kind))
            found = [windows.batch(places[at : at + 256]) for at in range(0, len(places), 256)]
            total = sum(float(((batch.targets - batch.base).abs() * batch.known).sum()) for batch in found)
            errors[kind] = total / max(1, sum(self.count(batch) for batch in found))
        return min(errors, key=lambda kind: errors[kind]) if errors else "last"

    def _tell(self, codec: SeriesCodec) -> None:
        found, w = codec.about, self.window_settings
        season = f"a season of {codec.season}" if codec.season > 1 else "no season"
        self.reporter.message(
            f"{found['series']:,} series, {found['steps']:,} steps of {codec.frequency}, {season}; reads {w.context}, "
            f"tells {w.horizon}, beginning with the {w.base} forecast"
        )
        if found["missing_values"]:
            gaps = f", {found['gaps']:,} of their steps without a row" if found["gaps"] else ""
            self.reporter.message(f"{found['missing_values']:,} values are missing{gaps}: filled, and not learned from")

    def encode(self, example: Series) -> Row:
        """Targets, calendar, covariates."""
        wanted = self.codec.horizon + 1
        if example.history < wanted:
            raise Unusable(f"a series of less than {wanted} steps (the horizon and one)")
        return self.codec.encode(example)

    def cut_windows(self, rows: Table | Sequence[Row]) -> SeriesWindows:
        """Windows of series."""
        return SeriesWindows(rows, self.codec, self.window_settings)

    def places(self, table: Table | Sequence[Row], learning: bool) -> np.ndarray:
        """Where windows of a table begin, [windows, 2]."""
        windows = self.cut_windows(table)
        s = self.settings
        return windows.every(s.stride) if learning else windows.at_end(s.validation_windows)

    def batches(self, table: Table, seed: int | None = None, batch_size: int | None = None) -> Any:
        """Batches of windows: with a seed drawn anew every epoch, else the last of each series."""
        windows, places = self.cut_windows(table), self.places(table, seed is not None)
        return self.batches_at(windows, places, seed, batch_size)

    def batches_at(
        self, windows: SeriesWindows, places: np.ndarray, seed: int | None = None, batch_size: int | None = None
    ) -> DrawnBatches:
        """Batches of the windows at some places; without a seed in order, each with what came."""
        s = self.settings

        def collate(indices: np.ndarray) -> Any:
            batch = windows.batch(places[indices])
            return batch if seed is not None else (batch, windows.actual(places[indices]))

        return DrawnBatches(len(places), batch_size or s.batch_size, collate, seed, s.windows)

    def batch(self, rows: Sequence[Row]) -> WindowBatch:
        """The last window of each series."""
        windows = self.cut_windows(rows)
        ends = np.maximum(windows.lengths - self.codec.horizon, 1)
        return windows.batch(np.stack([np.arange(len(rows)), ends], axis=1))

    def steps(self, lengths: np.ndarray) -> np.ndarray:
        """How many are read of rows with so many values."""
        return np.minimum(lengths // len(self.codec.targets) - self.codec.horizon, self.window_settings.context)

    def step_names(self, rows: Sequence[Row]) -> list[list[str]]:
        """What a report shows of each step that was read: the first target."""
        found = []
        batch = self.batch(rows)
        k = len(self.codec.targets)
        for row, steps, end in zip(rows, batch.lengths.tolist(), batch.places[:, 1].tolist(), strict=True):
            values = self.codec.outer(np.asarray(row["values"])[::k])[end - steps : end]
            found.append([f" {value:.4g}" for value in values.tolist()])
        return found

    def count(self, batch: WindowBatch) -> int:
        """Targets that are not missing."""
        return int(batch.known.sum())

    def loss(self, batch: WindowBatch) -> Tensor:
        """The pinball loss of all levels."""
        return self.network.head.loss(self.network(batch), batch.targets, batch.known)

    def measure(self, batches: Iterable[tuple[WindowBatch, Actual]]) -> dict[str, float]:
        """The mean loss of a value, and the figures of a `ForecastTally`; with those of the seasonal naive forecast."""
        return self.tallied(batches)[0]

    def measure_fully(self, batches: Iterable[tuple[WindowBatch, Actual]]) -> dict[str, Any]:
        """The figures of a `ForecastTally` beside those of the naive and the seasonal naive forecast."""
        found, told = self.tallied(batches)
        own = {name: value for name, value in found.items() if not name.startswith("seasonal_naive_")}
        return own | {"beside": told}

    @torch.inference_mode()
    def tallied(self, batches: Iterable[tuple[WindowBatch, Actual]]) -> tuple[dict[str, float], dict[str, Any]]:
        """The figures, and those of all simple forecasts by their names."""
        head, total, known = self.network.head, 0.0, 0
        tally = ForecastTally(self.settings.quantiles)
        simple = {"seasonal naive": ForecastTally(), "naive": ForecastTally()}
        for batch, actual in batches:
            batch = self.on_device(batch)
            found = self.network(batch)
            total += float(head.loss(found, batch.targets, batch.known))
            known += self.count(batch)
            tally.add(actual, *self.outer(batch, found))
            simple["naive"].add(actual, actual.naive)
            simple["seasonal naive"].add(actual, actual.seasonal)
        told = {name: each.figures() for name, each in simple.items()}
        figures = {"loss": total / max(known, 1)} | tally.figures()
        figures |= {
            f"seasonal_naive_{name}": told["seasonal naive"].get(name, 0.0) for name in ("smape", "mase", "rmse")
        }
        return figures, told

    def outer(self, batch: WindowBatch, found: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Points [horizon, batch, target] and quantiles [horizon, batch, target, level] in the files' units."""
        head = self.network.head
        location, scale = batch.location.cpu().numpy(), batch.scale.cpu().numpy()
        quantiles = head.quantiles(found).double().cpu().numpy()
        point = head.point(found).double().cpu().numpy()
        outer = self.codec.outer
        return outer(location + scale * point), outer(location[..., None] + scale[..., None] * quantiles)

    def finish(self, corpus: Prepared) -> dict[str, float]:
        """Make the intervals hold on the validation windows."""
        found = calibrate(self, self.batches(corpus.validation)) if self.settings.conformal else {}
        assert self._folder is not None  # noqa: S101
        self.write_weights(self._folder / bundle.WEIGHTS, {})
        return found

    def predict(self, corpus: Sources, **reading: Any) -> Iterator[Forecast]:
        """What comes after the last value of each series.

        Args:
            corpus: files, folders, patterns, or `-`; with rows of the known columns for all steps to come, if the
                model has any.
            reading: settings of reading that differ from those of training.

        Raises:
            DataError: if they cannot be read, or something is missing that the model needs.
        """
        with tempfile.TemporaryDirectory() as scratch:
            sources = [corpus] if isinstance(corpus, str | Path) else corpus
            yield from self.forecast(self.reader(resolve(sources, Path(scratch)), **reading).examples())

    def forecast(self, series: Iterable[Series]) -> Iterator[Forecast]:
        """What comes after the last value of series, in their order."""
        waiting: deque[Series] = deque()

        def rows(each: Series) -> Row:
            if not each.history:
                raise DataError(
                    f"{each.where}: series {each.name!r}: all values are missing: there is nothing to go on"
                )
            self.codec.check_future(each)
            waiting.append(each)
            return self.codec.encode(each)

        def last(rows: Sequence[Row]) -> WindowBatch:
            windows = self.cut_windows(rows)
            return windows.batch(np.stack([np.arange(len(rows)), windows.lengths], axis=1))

        def use(batch: WindowBatch) -> list[tuple[np.ndarray, np.ndarray]]:
            point, quantiles = self.outer(batch, self.network(batch))
            return [(point[:, at], quantiles[:, at]) for at in range(point.shape[1])]

        for point, quantiles in self.in_order(series, use, rows, last):
            each = waiting.popleft()
            n, h = each.history, self.codec.horizon
            times = [each.told(step) for step in range(n, n + h)]
            first = max(0, n - max(3 * h, self.window_settings.context))
            seen, before = each.name in self.codec.series, [each.told(step) for step in range(first, n)]
            yield Forecast(each.name, times, point, quantiles, seen, each.values[first:n], before)

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """A row a step and series; see `ostinato predict`."""
        return predictions(self, files, options)

    def generate(
        self, corpus: Sources, steps: int | None = None, samples: int = 1, seed: int | None = None
    ) -> dict[str, np.ndarray]:
        """Paths that each series of files might take: name → float64 [samples, steps, target]; see `paths_of`."""
        with tempfile.TemporaryDirectory() as scratch:
            sources = [corpus] if isinstance(corpus, str | Path) else corpus
            series = self.reader(resolve(sources, Path(scratch))).examples()
            return {each.name: paths for each, paths in paths_of(self, series, steps, samples, seed)}

    def write_generated(self, output: Path, options: GenerateSettings) -> dict[str, Any]:
        """Paths to a file; see `ostinato generate`."""
        return write_paths(self, output, options)

    def backtest(self, corpus: Sources, **options: Any) -> Any:
        """Forecasts from rolling origins, beside simpler methods; see `ostinato.tasks.backtest.backtest`."""
        from ostinato.tasks.backtest import backtest  # which scores forecasters

        return backtest(self, corpus, **options)


def parted(series: Sequence[Series], kept: int, horizon: int) -> tuple[list[Series], list[Series]]:
    """What is learned from, and what is validated on: the last `kept` steps of series that are long enough for that."""
    enough = kept + horizon
    train = [cut(each, each.history - kept) if each.history > enough else each for each in series]
    return train, [each for each in series if each.history > enough]  # of the others all is learned from


def cut(series: Series, steps: int) -> Series:
    """The series as it was known after some steps; what is known of the future stays."""
    values, observed = series.values.copy(), series.observed.copy()
    values[steps:], observed[steps:] = np.nan, np.nan
    return series._replace(values=values, observed=observed)
