"""Files of series: time stamps, gaps, steps, and what is said of bad rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.errors import DataError, SettingsError
from ostinato.series import Series, SeriesReader, SeriesSettings
from ostinato.time_stamps import DAY, SECOND, Frequency, calendar, find_frequency, read_stamp, write_stamp


def read(path: Path, content: str, name: str = "s.csv", **options: Any) -> list[Series]:
    (path / name).write_text(content, encoding="utf-8", newline="")
    return list(SeriesReader([path / name], SeriesSettings(**options)).examples())


@pytest.mark.parametrize(
    ("stamps", "step", "gaps"),
    [
        (["2024-01-01T00:00", "2024-01-01T00:15", "2024-01-01T01:00"], "15min", 2),
        (["2024/01/01 05:00:00", "2024/01/01 06:00:00"], "1h", 0),
        (["2024-01-31", "2024-02-29", "2024-04-30"], "month", 1),
        (["2023-01-15", "2023-02-15", "2023-03-15"], "month", 0),
        (["1949-01", "1949-02", "1949-04"], "month", 1),
        (["2020Q1", "2020Q2", "2020 Q4"], "quarter", 1),
        (["2001-01-01", "2002-01-01", "2003-01-01"], "year", 0),
        (["20240101", "20240108", "20240115"], "week", 0),
        (["3", "4", "9"], "step", 4),
    ],
)
def test_the_step_is_found(tmp_path: Path, stamps: list[str], step: str, gaps: int) -> None:
    [series] = read(tmp_path, "date,y\r\n" + "".join(f"{each},{at}\r\n" for at, each in enumerate(stamps)))
    assert str(series.frequency) == step
    assert np.isnan(series.values).sum() == gaps == len(series.values) - series.rows
    again = [series.told(at) for at in np.flatnonzero(np.isfinite(series.values[:, 0]))]
    wanted = [read_stamp(each) for each in stamps]
    assert [read_stamp(each) for each in again] == wanted


def test_rows_of_many_series_in_any_order(tmp_path: Path) -> None:
    [a, b] = read(
        tmp_path,
        "店,date,卖出,price,region\nb,2024-01-02,2,9,x\na,2024-01-01,1,8,y\nb,2024-01-01,1,9,x\na,2024-01-02,,8,y\na,2024-01-03,,7,y\n",
        series=["店"], target=["卖出"], known=["price"], static=["region"],
    )  # fmt: skip
    assert (a.name, b.name) == ("b", "a")
    assert a.values[:, 0].tolist() == [1, 2] and a.static == ("x",)
    assert b.history == 1 and b.known[:, 0].tolist() == [8, 8, 7]


def test_a_series_goes_on_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,y\n1,5\n2,6\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"time": 3, "y": 7}) + "\n")
    [series] = SeriesReader([tmp_path / "a.csv", tmp_path / "b.jsonl"], SeriesSettings()).examples()
    assert series.values[:, 0].tolist() == [5, 6, 7]


def test_what_has_no_name_is_csv(tmp_path: Path) -> None:
    [series] = read(tmp_path, "time,y\n1,5\n2,6\n", name="standard-input")
    assert series.values[:, 0].tolist() == [5, 6]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from datetime import datetime

    from pyarrow import parquet

    table = pyarrow.table({"when": [datetime(2024, 1, 1, hour) for hour in (0, 1, 3)], "y": [1.5, None, 3.0]})
    parquet.write_table(table, tmp_path / "s.parquet")
    reader = SeriesReader([tmp_path / "s.parquet"], SeriesSettings(time="when"))
    [series] = reader.examples()
    assert np.isnan(series.values[:, 0]).tolist() == [False, True, True, False]
    assert reader.fingerprint()["bytes"] == (tmp_path / "s.parquet").stat().st_size


def test_without_stamps_rows_are_steps(tmp_path: Path) -> None:
    [series] = read(tmp_path, "y\n3\n4\nNA\n5\n")
    assert str(series.frequency) == "step" and series.history == 4 and np.isnan(series.values[2, 0])


def test_zones_become_utc(tmp_path: Path) -> None:
    rows = "time,y\n2024-03-31T01:00+01:00,1\n2024-03-31T03:00+02:00,2\n2024-03-31T02:00Z,3\n"
    [series] = read(tmp_path, rows)
    assert len(series.values) == 3 and series.told(2) == "2024-03-31T02:00:00+00:00"


@pytest.mark.parametrize(
    ("how", "found"), [("mean", 2.5), ("sum", 5.0), ("first", 2.0), ("last", 3.0)]
)  # fmt: skip
def test_rows_of_one_step(tmp_path: Path, how: str, found: float) -> None:
    rows = "time,y\n2024-01-01T05:00,2\n2024-01-01T11:00,3\n2024-01-02T12:00,7\n"
    [series] = read(tmp_path, rows, frequency="d", duplicates=how)
    assert series.values[:, 0].tolist() == [found, 7.0] and series.told(0) == "2024-01-01"


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        ("", {}, "s.csv: empty"),
        ("time,y\n", {}, "holds no rows"),
        ("time,y\n2024-01-01,1\nsoon,2\n", {}, r"line 3: column 'time': expected an ISO 8601.*found 'soon'.*--time-f"),
        ("time,y\n01/02/2024,1\n", {}, r"line 2: .*found '01/02/2024'"),
        ("time,y\n2024-01-01,1\n2024-01-02,inf\n", {}, r"line 3: column 'y': 'inf': expected a finite number"),
        ("time,y\n2024-01-01,1\n2024-01-02,\"1,5\"\n", {}, r"line 3: column 'y': .*found '1,5'; a decimal comma"),
        ("time,y\n2024-01-01,1\n2024-01-01,2\n2024-01-02,2\n", {}, r"line 3: 2024-01-01T.*the same time .*--dup"),
        ("time,y\n2024-01-01T00:00,1\n2024-01-01T01:00Z,2\n", {}, r"line 3: .*is a zoned time, but .* a time:"),
        ("time,y\n2024-01-01,1\n7,2\n", {}, r"line 3: column 'time': '7' is a number"),
        ("time,y\n2024-01-01,1\n", {}, r"line 2: no series has two different time stamps.*--frequency"),
        ("time,y\n1,1\n3,1\n5,1\n6,1\n", {}, r"line 5: 6: lies between steps of 2 steps"),
        ("time,y\n2024-01-01,1\n2024-01-02,1\n2024-01-02T07:00,1\n2024-01-03,1\n2024-01-04,1", {}, r"line 4:.*between"),
        ("time,y\n0001-01-01T00:00:00,1\n2024-01-01T00:00:00,1\n2024-01-01T00:00:01,1\n", {}, r"line 4: .*it right"),
        ("time,a,b\n1,2,3\n", {}, r"line 2: which column is to be forecast.*columns: time, a, b"),
        ("time,units\n1,2\n", {"target": ["unit"]}, r"no column 'unit'.*did you mean units"),
        ("time,s,y\n1,,3\n", {"series": ["s"]}, r"line 2: column 's': empty"),
        ("time,r,y\n1,a,3\n2,b,3\n", {"static": ["r"]}, r"line 3: series '': static columns say b, but a at .*line 2"),
        ("time,y\n1,2\n2,3\n", {"frequency": "h"}, r"'time': counts steps, which a step of 1h does not fit"),
    ],
)  # fmt: skip
def test_bad_rows(tmp_path: Path, rows: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(tmp_path, rows, **options)


def test_a_stated_form(tmp_path: Path) -> None:
    [series] = read(tmp_path, "time,y\n31/12/2023,1\n01/01/2024,2\n", time_format="%d/%m/%Y")
    assert series.told(1) == "2024-01-01"
    [series] = read(tmp_path, "time,y\n1700000000,1\n1700000060,2\n", time_format="unix")
    assert str(series.frequency) == "1min" and series.told(0) == "2023-11-14T22:13:20+00:00"


def test_an_unknown_step_is_told() -> None:
    with pytest.raises(SettingsError, match=r"frequency = 'fortnight': expected such as 30s, 15min"):
        Frequency.parse("fortnight")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 200), st.sampled_from(["h", "15min", "d", "week", "month", "quarter", "year"]), st.integers(2, 40),
    st.data(),
)  # fmt: skip
def test_a_step_that_was_written_is_found(begin: int, name: str, length: int, data: st.DataObject) -> None:
    frequency = Frequency.parse(name)
    start = int(frequency.stamps(0, begin, 1)[0])
    stamps = frequency.stamps(start, 0, length)
    assert (frequency.steps(stamps, start) == np.arange(length)).all()
    if length > 6:  # one gap cannot be most frequent then
        stamps = np.delete(stamps, data.draw(st.integers(1, length - 2)))
        assert find_frequency([stamps], numbers=False) == frequency
    assert read_stamp(write_stamp(start, "time", frequency)) == (start, "time", 0)


def test_the_calendar_is_that_of_the_clock() -> None:
    monday_noon = read_stamp("2024-01-01T12:00")
    assert monday_noon is not None
    found = calendar(
        np.array([monday_noon.at, monday_noon.at + 7 * DAY, monday_noon.at + 6 * 3600 * SECOND]), ["day", "week"]
    )
    assert np.allclose(found[0], found[1], atol=1e-6)
    assert np.allclose(found[0], [0, -1, np.sin(2 * np.pi / 14), np.cos(2 * np.pi / 14)], atol=1e-6)
    assert np.allclose(found[2, :2], [-1, 0], atol=1e-6)
