"""The forecaster: what it learns, what its intervals hold, what is said of bad input; at the command line too."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import Forecaster, load
from ostinato.cli import demo_forecaster
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.codecs.series_codec import SeriesCodec
from ostinato.errors import DataError, SettingsError
from ostinato.quantile_heads import QuantileHead, conformal_factors, pinball
from ostinato.series import SeriesReader, SeriesSettings
from ostinato.tasks.forecast_calibration import distribution, quantile
from ostinato.tasks.forecast_scores import Actual, ForecastTally
from ostinato.tasks.series_windows import SeriesWindows, WindowSettings

SMALL: dict[str, Any] = {"hidden_size": 12, "epochs": 3, "batch_size": 32, "warmup_steps": 2, "seed": 1, "threads": 1}
SALES: dict[str, Any] = {"time": "日期", "target": ["units"], "series": ["店"], "known": ["price"], "horizon": 5}


def sales(path: Path, days: int = 80, stores: str = "a猫c", future: int = 5, end: str = "\r\n") -> Path:
    """Units that follow the price and the day of the week."""
    draw = np.random.default_rng(0)
    lines = ["日期,店,units,price"]
    first = np.datetime64("2024-01-01")
    for number, store in enumerate(stores):
        for day in range(days + future):
            price = 1 + (day * 7 + number) % 3
            units = 50 + 20 * number + 9 * (day % 7 == 5) - 8 * price + draw.normal(0, 1)
            lines.append(f"{first + day},{store},{f'{units:.3f}' if day < days else ''},{price}")
    path.write_text(end.join(lines) + end, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecaster, Path]:
    folder = tmp_path_factory.mktemp("预测")
    path = sales(folder / "销售.csv")
    chosen = SMALL | SALES | {"epochs": 40, "learning_rate": 0.01, "validation_windows": 3, "gradient_by_lag": False}
    return Forecaster(**chosen).fit(path, output=folder / "m", progress=False), path


def run(*arguments: Any) -> None:
    LazyGroup("ostinato", COMMANDS).main([str(each) for each in arguments], prog_name="ostinato", standalone_mode=False)


def windows_of(values: list[float], season: int = 3, horizon: int = 2, context: int = 4, **more: Any) -> SeriesWindows:
    codec = SeriesCodec.learn(
        lambda: iter([series_of(values)]), ["y"], [], [], horizon, season, more.pop("lags", [3]), False, False
    )
    return SeriesWindows(
        [codec.encode(series_of(values))], codec, WindowSettings(context, horizon, "window", "seasonal")
    )


def series_of(values: list[float]) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.csv"
        path.write_text("y\n" + "".join(f"{v}\n" for v in values))
        return next(SeriesReader([path], SeriesSettings()).examples())


def test_it_learns_what_the_price_does(made: tuple[Forecaster, Path]) -> None:
    model, path = made
    assert model.metrics["validation_mase"] < 0.75 * model.metrics["validation_seasonal_naive_mase"]
    found = list(model.predict(path))
    assert [each.series for each in found] == ["a", "猫", "c"] and found[0].times[0] == "2024-03-21"
    means = []
    for price in (1, 3):
        lines = [
            line if line.split(",")[2] else line[:-1] + str(price) for line in path.read_text("utf-8").splitlines()
        ]
        (priced := path.with_name("priced.csv")).write_text("\n".join(lines), encoding="utf-8")
        means.append([each.point.mean() for each in model.predict(priced)])
    assert (np.subtract(*means) > 4).all()  # a price that is higher by 2 costs 16 units
    assert all((np.diff(each.quantiles, axis=2) >= 0).all() for each in found)


def test_nothing_of_the_future_is_seen(made: tuple[Forecaster, Path]) -> None:
    """The targets of a window change nothing that is said of them."""
    model, path = made
    series = next(model.reader([path]).examples())
    row = model.codec.encode(series)
    windows = model.cut_windows([row])
    place = np.array([[0, 60]])
    with torch.inference_mode():
        before = model.network(windows.batch(place))
        changed = dict(row) | {"values": row["values"].copy()}
        changed["values"][60:] += 1000
        after = model.network(model.cut_windows([changed]).batch(place))
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder": "direct", "scaling": "series", "base": "last"},
        {"attention": True, "cell": "lstm", "bidirectional": True, "scaling": "level"},
        {"point": "mean", "transform": "log", "base": "none", "quantiles": [0.25, 0.5, 0.75], "conformal": False},
    ],
)
def test_every_kind_trains_and_comes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    path = sales(tmp_path / "s.csv", days=40, stores="ab")
    model = Forecaster(**SMALL | SALES | {"epochs": 1} | changes).fit(path, output=tmp_path / "m", progress=False)
    [first, _] = load(tmp_path / "m").predict(path)
    [again, _] = model.predict(path)
    assert np.array_equal(first.point, again.point) and np.isfinite(first.quantiles).all()
    found: Any = model.evaluate(path)
    assert math.isfinite(found["smape"]) and set(found["beside"]) == {"naive", "seasonal naive"}


def test_several_targets_and_all_that_stands_beside(tmp_path: Path) -> None:
    lines = ["time,a,b,wind,kind"]
    lines += [f"2024-01-{1 + h // 24:02}T{h % 24:02}:00Z,{h % 24},{5 - h % 12},{h % 5},x" for h in range(24 * 9)]
    (path := tmp_path / "h.csv").write_text("\n".join(lines))
    options: Any = {"target": "a,b", "observed": ["wind"], "static": ["kind"], "horizon": 4, "context": 30}
    model = Forecaster(**SMALL | options).fit(path, progress=False)
    assert model.codec.season == 24 and model.codec.lags == [24] and model.codec.cycles == ["day"]
    [found] = model.predict(path)
    assert found.point.shape == (4, 2) and found.times[0] == "2024-01-10T00:00:00+00:00"
    assert set(model.backtest(path, ets=0).by_target) == {"a", "b"}


def test_a_window_holds_what_it_should() -> None:
    values = [1.0, 2.0, 4.0, 7.0, 11.0, math.nan, 22.0, 29.0, 37.0]
    windows = windows_of(values)
    batch = windows.batch(np.array([[0, 5], [0, 2]]))
    assert batch.lengths.tolist() == [4, 2]
    context = np.array(values[1:5])
    assert batch.location[0].item() == pytest.approx(context.mean()) and batch.scale[0].item() == pytest.approx(
        context.std()
    )
    assert np.allclose(batch.inputs[:, 0, 0], (context - context.mean()) / context.std(), atol=1e-6)
    assert batch.inputs[2:, 1].abs().sum() == 0
    lagged = (np.array([1.0, 2.0]) - context.mean()) / context.std()
    assert np.allclose(batch.inputs[2:, 0, 2], lagged, atol=1e-6) and batch.inputs[:2, 0, 2].abs().sum() == 0
    # the season before each step that is told: steps 2 and 3
    assert np.allclose(batch.base[:, 0, 0], (np.array([4.0, 7.0]) - context.mean()) / context.std(), atol=1e-6)
    assert batch.known[:, 0, 0].tolist() == [False, True]
    actual = windows.actual(np.array([[0, 5]]))
    assert np.isnan(actual.values[0]).all() and actual.values[1, 0, 0] == 22
    assert actual.naive[:, 0, 0].tolist() == [11, 11] and actual.seasonal[:, 0, 0].tolist() == [4, 7]
    drift = SeriesWindows(
        [windows.codec.encode(series_of(values))], windows.codec, WindowSettings(4, 2, "none", "drift")
    )
    assert drift.batch(np.array([[0, 5]])).base[:, 0, 0].tolist() == [4 + 9, 7 + 9]  # 11 − 2 in a season
    assert actual.season_error[0, 0] == pytest.approx((6 + 9) / 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(2, 30), st.integers(1, 7))
def test_windows_are_within_their_series(context: int, horizon: int, length: int, stride: int) -> None:
    windows = windows_of([float(each) for each in range(length)], season=2, horizon=horizon, context=context, lags=[2])
    every, last = windows.every(stride), windows.at_end(0, stride)
    for places in (every, last):
        assert (places[:, 1] >= 1).all() and (places[:, 1] + horizon <= length).all()
        if len(places):
            assert places[-1, 1] == length - horizon  # the newest is one of them
            batch = windows.batch(places)
            assert torch.isfinite(batch.inputs).all() and (batch.lengths >= 1).all()
    assert len(every) >= (length > horizon)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=40, max_size=200), st.integers(0, 99))
def test_calibrated_quantiles_hold(values: list[float], seed: int) -> None:
    y = np.array(values) + np.random.default_rng(seed).normal(0, 1, len(values))
    levels = [0.1, 0.5, 0.9]
    middle = float(np.median(y))
    q = np.tile([middle - 0.01, middle, middle + 0.02], (len(y), 1))
    factors = conformal_factors(y, q, levels)
    moved = q[:, 1:2] + factors * (q - q[:, 1:2])
    near = 1e-9 * np.abs(y).max()  # the border is one of the values, found by a quotient and a product
    assert (y <= moved[:, 2] + near).mean() >= 0.9 and (y >= moved[:, 0] - near).mean() >= 0.9
    assert (factors >= 0).all() and factors[1] == 1


def test_the_quantile_loss_is_least_at_the_quantile() -> None:
    y = torch.arange(101.0)
    levels = torch.tensor([0.05, 0.5, 0.9])
    losses = torch.stack([pinball(y, torch.full((101, 3), q), levels).mean(0) for q in range(101)])
    assert losses.argmin(0).tolist() == [5, 50, 90]
    head = QuantileHead(3, 1, [0.1, 0.5, 0.9])
    found = torch.tensor([[[3.0, 1.0, 2.0]]])
    assert head.quantiles(found).flatten().tolist() == [1, 2, 3] and head.point(found).item() == 2
    known = torch.tensor([[False]])
    assert head.loss(found, torch.zeros(1, 1), known) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 5), min_size=3, max_size=3), st.floats(0.002, 0.998))
def test_a_distribution_and_its_inverse(gaps: list[float], u: float) -> None:
    levels = np.array([0.05, 0.3, 0.5, 0.95])
    q = np.cumsum([0.0, *gaps])[None]
    y = quantile(np.array([u]), q, levels)
    assert distribution(y, q, levels)[0] == pytest.approx(u, abs=1e-6)


def test_the_figures_are_the_published_ones() -> None:
    """sMAPE and MASE of the M4 competition, worked by hand; coverage of what is known alone."""
    y = np.array([[[100.0]], [[np.nan]], [[50.0]]])
    point = np.array([[[110.0]], [[9.0]], [[40.0]]])
    tally = ForecastTally([0.05, 0.5, 0.95])
    q = np.stack([point - 10, point, point + 5], axis=-1)
    tally.add(Actual(y, y, y, np.array([[4.0]])), point, q)
    found = tally.figures()
    assert found["smape"] == pytest.approx((200 * 10 / 210 + 200 * 10 / 90) / 2)
    assert found["mase"] == pytest.approx(10 / 4) and found["rmse"] == pytest.approx(10)
    assert found["coverage_90"] == 0.5 and found["width_90"] == pytest.approx(15)
    assert found["pinball"] == pytest.approx(np.mean([[0, 5, 0.05 * 15], [0.05 * 20, 5, 0.95 * 5]]))


def test_a_backtest_beside_simpler_methods(made: tuple[Forecaster, Path]) -> None:
    pytest.importorskip("statsmodels")
    model, path = made
    found = model.backtest(path, windows=4, ets=6)
    assert found.windows == 12 and found.series == 3 and found.last == "2024-03-16"
    assert {"this model", "naive", "seasonal naive", "ETS (some)", "this model (the same)"} == set(found.table)
    assert "6 of 12 windows" in found.notes[0]
    assert all(figures["mase"] > 0 for figures in found.table.values())
    assert 0.5 < found.table["this model"]["coverage_90"] <= 1
    since = model.backtest(path, windows=0, stride=1, since="2024-03-10", ets=0)
    assert since.first == "2024-03-10" and since.last == "2024-03-16" and since.windows == 21
    with pytest.raises(DataError, match=r"no window of 5 steps since 2030-01-01"):
        model.backtest(path, since="2030-01-01", ets=0)
    with pytest.raises(SettingsError, match="since = '7': expected a stamp"):
        model.backtest(path, since="7", ets=0)


def test_paths_are_drawn(made: tuple[Forecaster, Path], tmp_path: Path) -> None:
    model, path = made
    found = model.generate(path, samples=60, seed=4)
    again = model.generate(path, samples=60, seed=4)
    assert found["猫"].shape == (60, 5, 1) and np.array_equal(found["猫"], again["猫"])
    forecast = {each.series: each for each in model.predict(path)}["猫"]
    within = (found["猫"] >= forecast.quantiles[..., 0]) & (found["猫"] <= forecast.quantiles[..., -1])
    assert 0.8 < within.mean() < 0.98
    with pytest.raises(DataError, match=r"'price' \(--known\) is needed .* not there at 2024-03-26"):
        model.generate(path, steps=7)
    free = sales(tmp_path / "s.csv", days=40, stores="a", future=0)
    other = Forecaster(**SMALL | SALES | {"known": [], "epochs": 1}).fit(free, output=tmp_path / "m", progress=False)
    assert other.generate(free, steps=12, samples=2, seed=1)["a"].shape == (2, 12, 1)
    run("generate", tmp_path / "m", "--after", free, "--samples", "2", "-o", tmp_path / "p.csv")
    assert len(list(csv.DictReader((tmp_path / "p.csv").read_text("utf-8").splitlines()))) == 10


def test_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = sales(tmp_path / "销售.csv", days=50, stores="a猫")
    flags = ["--time", "日期", "--target", "units", "--series", "店", "--known", "price", "--horizon", 5]
    small = ["--hidden-size", 8, "--epochs", 1, "--threads", 1, "-q"]
    run("fit", "forecaster", path, *flags, *small, "-o", tmp_path / "m")
    assert (tmp_path / "m" / "report.html").exists() and "smape" in capsys.readouterr().out
    run("predict", tmp_path / "m", path, "--plot", tmp_path / "图.png")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10 and printed[0].split("\t")[:2] == ["a", "2024-02-20"]
    assert (tmp_path / "图.png").read_bytes()[:4] == b"\x89PNG"
    run("predict", tmp_path / "m", path, "--only", "猫", "--json", "--interval", 0.8)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 5 and rows[0]["series"] == "猫" and rows[0]["seen"]
    assert rows[0]["units_low"] <= rows[0]["units"] <= rows[0]["units_high"]
    run("backtest", tmp_path / "m", path, "--ets", 0)
    told = capsys.readouterr().out
    assert "2 windows of 5 steps" in told and "seasonal naive" in told
    run("info", tmp_path / "m")
    assert "forecaster" in capsys.readouterr().out
    for wrong, told in (
        (["--plot", "f.gif"], r"f.gif: a picture is a .png, .svg, .pdf file"),
        (["--interval", 0.99], r"needs the quantile 0.005, beyond those that were learned"),
        (["--only", "b"], r"--only b: the files have no such series, but a, 猫"),
    ):
        with pytest.raises(SettingsError, match=told):
            run("predict", tmp_path / "m", path, *wrong)


def test_the_demo_forecasts_the_sun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("statsmodels")
    demo_forecaster.demo(tmp_path / "m", 0.05, quiet=True)  # which ends it early
    printed = capsys.readouterr().out
    rows = {line[:14].strip(): float(line[14:].split()[0]) for line in printed.splitlines()[3:7]}
    assert rows.keys() == {"this model", "seasonal naive", "naive", "ETS"} and rows["this model"] < rows["naive"]
    assert "  2013 " in printed


def test_what_the_future_lacks_is_told(made: tuple[Forecaster, Path], tmp_path: Path) -> None:
    model, _ = made
    with pytest.raises(
        DataError, match=r"line 2: series 'a': 'price' \(--known\) is needed .* 5 steps after 2024-03-20"
    ):
        list(model.predict(sales(tmp_path / "s.csv", future=2)))


def test_a_series_that_training_did_not_have(made: tuple[Forecaster, Path], tmp_path: Path) -> None:
    model, _ = made
    [found] = model.predict(sales(tmp_path / "s.csv", days=3, stores="z"))
    assert not found.seen and np.isfinite(found.quantiles).all()


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        ("time,y\n1,2\n", {"frequency": "step"}, r"line 2: validation keeps 3 steps .* at least 4 .* longest has 1:"),
        ("time,y\n1,\n2,\n3,\n", {}, r"line 2: validation keeps 3 steps .* longest has 0:"),
        ("time,y\n" + "".join(f"{t},{t}e99\n" for t in range(30)), {}, r"line 13: column 'y': '11e99': expected a fin"),
        ("time,y\n" + "".join(f"{t},{t - 9}\n" for t in range(30)), {"transform": "log"}, r"line 2: y is -9 at 0: log"),
        ("time,y\n" + "".join(f"{t},{t}\n" for t in range(30)), {"known": "y", "target": "y"}, r"'y' has two roles"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned(tmp_path: Path, rows: str, options: dict[str, Any], told: str) -> None:
    (path := tmp_path / "s.csv").write_text(rows)
    with pytest.raises((DataError, SettingsError), match=told):
        Forecaster(**SMALL | {"horizon": 3} | options).fit(path, progress=False)


def test_constant_and_short_series_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["s,time,y"]
    lines += [f"const,{t},5" for t in range(60)] + [f"zero,{t},0" for t in range(60)] + ["one,3,7"]
    lines += [f"wave,{t},{math.sin(t):.4f}" for t in range(60)]
    lines += [f"gap,{t},{t % 5 if t < 20 or t > 40 else ''}" for t in range(60)]
    (path := tmp_path / "s.csv").write_text("\n".join(lines))
    model = Forecaster(**SMALL | {"series": ["s"], "horizon": 4, "context": 12}).fit(path, progress=None)
    told = capsys.readouterr().err
    assert "1 examples passed over: a series of less than 5 steps" in told and "values are missing" in told
    found = {each.series: each for each in model.predict(path)}
    assert np.abs(found["const"].point - 5).max() < 2 and np.abs(found["zero"].point).max() < 1
    assert all(np.isfinite(each.quantiles).all() for each in found.values()) and found["one"].point.shape == (4, 1)
    assert math.isfinite(model.evaluate(path)["smape"])
