"""Reading a series: what is repaired, what is refused, and what is left alone."""

import contextlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from griddispatch.data.series import Days, Series
from griddispatch.errors import InputError

BLOCKS = ("load", "pv", "reactive", "price")
MORNING = [
    "date_time,active_power_node_1,active_power_node_2,price",
    "2020-01-01 00:00:00+00:00,10,100,30",
    "2020-01-01 00:15:00+00:00,11,110,31",
    "2020-01-01 00:30:00+00:00,12,120,32",
    "2020-01-01 00:45:00+00:00,13,130,33",
    "2020-01-01 01:00:00+00:00,14,140,34",
    "2020-01-01 01:15:00+00:00,15,150,35",
    "2020-01-01 01:30:00+00:00,16,160,36",
]


def save(folder: Path, lines: list[str]) -> Path:
    path = folder / "feeder.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def edited(row: int, old: str, new: str) -> list[str]:
    """Return the small file with a text replaced in one row (line number, header = 1)."""
    lines = MORNING.copy()
    assert old in lines[row - 1]
    lines[row - 1] = lines[row - 1].replace(old, new)
    return lines


def frame(days: int = 2, nodes: int = 2, reactive: bool = False, seed: int = 0) -> pd.DataFrame:
    """Return a good file of the documented format, as a table with text stamps."""
    random = np.random.default_rng(seed)
    kinds = ["active_power_node_", "renewable_active_power_node_"]
    kinds += ["reactive_power_node_"] if reactive else []
    names = [f"{kind}{node}" for kind in kinds for node in range(1, nodes + 1)] + ["price"]
    stamps = pd.date_range("2020-03-01", periods=96 * days, freq="15min", tz="UTC")
    table = pd.DataFrame(random.normal(50, 30, (len(stamps), len(names))), columns=names)
    table.insert(0, "date_time", stamps.astype(str))
    return table


def problem(path: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        Series.read(path, **options)
    return str(caught.value)


# --- what a good file gives


def test_columns_go_to_their_blocks(tmp_path: Path) -> None:
    table = frame(reactive=True)
    table.to_csv(tmp_path / "feeder.csv", index=False)
    series = Series.read(tmp_path / "feeder.csv")
    assert series.name == "feeder"
    assert series.nodes == (1, 2)
    assert str(series.index.tz) == "UTC"
    np.testing.assert_array_equal(series.load[:, 1], table["active_power_node_2"])
    np.testing.assert_array_equal(series.pv[:, 0], table["renewable_active_power_node_1"])
    np.testing.assert_array_equal(series.reactive[:, 1], table["reactive_power_node_2"])
    np.testing.assert_array_equal(series.price, table["price"])
    assert series.repairs.empty


def test_node_order_is_by_number_whatever_the_order_of_the_columns(tmp_path: Path) -> None:
    table = frame(nodes=11).sample(frac=1, axis=1, random_state=1)
    table.to_csv(tmp_path / "feeder.csv", index=False)
    series = Series.read(tmp_path / "feeder.csv")
    assert series.nodes == tuple(range(1, 12))
    for column, node in enumerate(series.nodes):
        np.testing.assert_array_equal(series.load[:, column], table[f"active_power_node_{node}"])


def test_pv_and_reactive_power_may_be_absent(tmp_path: Path) -> None:
    series = Series.read(save(tmp_path, MORNING))
    assert not series.pv.any()
    assert not series.reactive.any()
    np.testing.assert_array_equal(series.load[:2], [[10, 100], [11, 110]])


def test_other_time_zones_become_utc_and_naive_stamps_are_utc(tmp_path: Path) -> None:
    shifted = [line.replace("+00:00", "+02:00") for line in MORNING]
    naive = [line.replace("+00:00", "") for line in MORNING]
    utc = Series.read(save(tmp_path, MORNING)).index
    assert Series.read(save(tmp_path, naive)).index.equals(utc)
    assert Series.read(save(tmp_path, shifted)).index.equals(utc - pd.Timedelta("2h"))


def test_quotes_crlf_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    quoted = [",".join(f'"{field}"' for field in line.split(",")) for line in MORNING]
    path = tmp_path / "feeder.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*quoted, "", ""]).encode())
    np.testing.assert_array_equal(Series.read(path).load, Series.read(save(tmp_path, MORNING)).load)


@given(seed=st.integers(0, 2**32 - 1), reactive=st.booleans())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_and_read_again_it_is_the_same(tmp_path: Path, seed: int, reactive: bool) -> None:
    table = frame(days=1, reactive=reactive, seed=seed)
    table.iloc[5, 1], table.iloc[6, 2] = -0.0, 5e-324
    table.to_csv(tmp_path / "feeder.csv", index=False)
    first = Series.read(tmp_path / "feeder.csv")
    first.to_csv(tmp_path / "again.csv")
    second = Series.read(tmp_path / "again.csv")
    assert second.index.equals(first.index)
    assert second.index.freq == first.index.freq
    assert second.nodes == first.nodes
    assert second.repairs.empty
    for block in BLOCKS:
        assert getattr(first, block).tobytes() == getattr(second, block).tobytes()


# --- what is repaired


def test_a_stamp_off_the_grid_is_floored_and_reported(tmp_path: Path) -> None:
    series = Series.read(save(tmp_path, edited(4, "00:30:00", "00:30:01")))
    assert series.index[2] == pd.Timestamp("2020-01-01 00:30", tz="UTC")
    assert series.repairs[["row", "column", "problem"]].to_numpy().tolist() == [
        [4, "date_time", "stamp off the grid"]
    ]
    assert series.repairs["stamp"][0] == series.index[2]


def test_an_empty_cell_is_interpolated_and_reported(tmp_path: Path) -> None:
    series = Series.read(save(tmp_path, edited(4, ",120,", ",,")))
    assert series.load[2, 1] == 120.0
    row = series.repairs.iloc[0]
    assert (row["row"], row["column"], row["value"]) == (4, "active_power_node_2", 120.0)


def test_a_missing_stamp_is_inserted_and_reported_for_each_column(tmp_path: Path) -> None:
    lines = MORNING[:3] + MORNING[4:]
    series = Series.read(save(tmp_path, lines))
    np.testing.assert_array_equal(series.load[:, 0], np.arange(10.0, 17.0))
    assert series.repairs["row"].isna().all()
    assert series.repairs["column"].tolist() == MORNING[0].split(",")[1:]
    assert set(series.repairs["problem"]) == {"missing stamp"}


def test_max_gap_is_inclusive(tmp_path: Path) -> None:
    lines = MORNING[:2] + [f"{line.split(',')[0]},,{line.split(',')[2]},0" for line in MORNING[2:6]]
    path = save(tmp_path, lines + MORNING[6:])
    np.testing.assert_array_equal(Series.read(path).load[:, 0], np.arange(10.0, 17.0))
    assert "row 6, column active_power_node_1: 4 values in a row" in problem(path, max_gap="45min")


def test_max_gap_is_inclusive_for_missing_stamps_too(tmp_path: Path) -> None:
    good = frame(days=1)
    good.drop(index=range(50, 54)).to_csv(tmp_path / "feeder.csv", index=False)
    series = Series.read(tmp_path / "feeder.csv")
    assert len(series.index) == 96
    assert series.repairs["stamp"].nunique() == 4
    assert "4 steps are missing" in problem(tmp_path / "feeder.csv", max_gap="45min")


@st.composite
def damage(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a good table and the same table with gaps that can be repaired."""
    good = frame(days=1, seed=draw(st.integers(0, 1000)))
    bad = good.copy()
    steps, columns = len(good), len(good.columns)
    for column in draw(st.sets(st.integers(1, columns - 1))):
        start = draw(st.integers(1, steps - 6))
        bad.iloc[start : start + draw(st.integers(1, 4)), column] = np.nan
    for row in draw(st.sets(st.integers(0, steps - 1), max_size=4)):
        second = draw(st.integers(0, 899))
        stamp = pd.Timestamp(str(bad.iloc[row, 0])) + pd.Timedelta(seconds=second)
        bad.iloc[row, 0] = str(stamp)
    complete = [k for k in range(1, steps - 1) if bad.iloc[max(0, k - 4) : k + 5].notna().all(None)]
    gone = draw(st.sets(st.sampled_from(complete), max_size=3)) if complete else set()
    return good, bad.drop(index=sorted(gone))


@given(tables=damage())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_repair_fills_every_gap_and_touches_nothing_else(
    tmp_path: Path, tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    good, bad = tables
    bad.to_csv(tmp_path / "feeder.csv", index=False)
    series = Series.read(tmp_path / "feeder.csv")
    columns = list(good.columns[1:])
    read = np.column_stack([series.load, series.pv, series.price])
    kept = bad[columns].reindex(good.index).notna().to_numpy()
    assert len(series.index) == len(good)
    assert np.isfinite(read).all()
    assert read[kept].tobytes() == good[columns].to_numpy()[kept].tobytes()
    cells = series.repairs[series.repairs["column"] != "date_time"]
    at = series.index.get_indexer(pd.DatetimeIndex(cells["stamp"]))
    reported = np.zeros_like(kept)
    reported[at, [columns.index(name) for name in cells["column"]]] = True
    np.testing.assert_array_equal(reported, ~kept)
    np.testing.assert_array_equal(read[~kept], read[reported])
    for stamp, name, value in zip(cells["stamp"], cells["column"], cells["value"], strict=True):
        assert read[series.index.get_loc(stamp), columns.index(name)] == value
    low, high = good[columns].min().to_numpy(), good[columns].max().to_numpy()
    assert ((low <= read) & (read <= high)).all()
    moved = pd.to_datetime(bad["date_time"], format="ISO8601").dt.floor("15min").astype(str)
    assert (series.repairs["column"] == "date_time").sum() == (bad["date_time"] != moved).sum()


# --- what is refused: the file, the row, the column, the mend


@pytest.mark.parametrize(
    ("row", "old", "new", "said"),
    [
        (1, "price", "prise", "column price: the column is missing"),
        (1, "price", "prise", "column 'prise': unknown column number 4; the closest known name is"),
        (1, "active_power_node_2", "activ_power_node_2", "known name is active_power_node_2,"),
        (1, "active_power_node_2", "renewable_active_power_node_2", "column active_power_node_2"),
        (1, "node_2", "node_1", "column active_power_node_1: the column stands twice"),
        (1, "date_time", "time", "column date_time: the column is missing"),
        (4, "00:30:00", "00:15:00", "row 4, column date_time: 2020-01-01 00:15:00+00:00 falls"),
        (4, "00:30:00", "00:00:00", "row 4, column date_time: 2020-01-01 00:00:00+00:00 is earl"),
        (4, "2020-01-01 00:30:00+00:00", "soon", "row 4, column date_time: 'soon' is no stamp"),
        (4, "2020-01-01 00:30:00+00:00", "", "row 4, column date_time: '' is no stamp"),
        (
            8,
            "2020",
            "2200",
            "steps are missing before 2200-01-01 01:30:00+00:00, more than max_gap = 1h",
        ),
        (4, "120", "12O", "row 4, column active_power_node_2: '12O' is no finite number; write"),
        (4, "120", "inf", "row 4, column active_power_node_2: 'inf' is no finite number"),
        (4, "120", "True", "row 4, column active_power_node_2: 'True' is no finite number"),
        (4, "12,", "1,2,", "row 4: the line has 5 fields, the header has 4"),
        (4, ",32", "", "row 4: the line has 3 fields, the header has 4"),
        (2, ",30", ",", "row 2, column price: empty at the edge of the file (1 in a row)"),
        (8, ",36", ",", "row 8, column price: empty at the edge of the file (1 in a row)"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, row: int, old: str, new: str, said: str) -> None:
    message = problem(save(tmp_path, edited(row, old, new)))
    assert said in message
    assert str(tmp_path / "feeder.csv") in message


def test_a_gap_over_the_limit_is_named(tmp_path: Path) -> None:
    table = frame(days=1)
    table.iloc[10:15, 2] = np.nan
    table.drop(index=range(50, 55)).to_csv(tmp_path / "feeder.csv", index=False)
    message = problem(tmp_path / "feeder.csv")
    assert "row 52, column date_time: 5 steps are missing before 2020-03-01 13:45:00" in message
    assert "row 16, column active_power_node_2: 5 values in a row are missing" in message


def test_pv_of_one_node_only_names_the_missing_column(tmp_path: Path) -> None:
    frame().drop(columns="renewable_active_power_node_2").to_csv(
        tmp_path / "feeder.csv", index=False
    )
    message = problem(tmp_path / "feeder.csv")
    assert "column renewable_active_power_node_2: the column is missing" in message


def test_one_error_names_everything(tmp_path: Path) -> None:
    lines = edited(4, "120", "x")
    lines[0] = lines[0].replace("price", "prize")
    lines[4] = lines[4].replace("00:45", "00:30")
    lines[5] += ",1"
    message = problem(save(tmp_path, lines))
    for said in ("5 problems", "'prize'", "column price", "row 6: ", "'x'", "row 5, column date"):
        assert said in message
    assert len(message.splitlines()) == 6


def test_twenty_problems_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    table = frame(days=1).astype(object)
    table.iloc[:30, 1] = "?"
    table.to_csv(tmp_path / "feeder.csv", index=False)
    message = problem(tmp_path / "feeder.csv")
    assert len(message.splitlines()) == 1 + 20 + 1
    assert message.endswith("and 10 more")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (MORNING[0].encode(), "there is no line under the header"),
        (b"a,b\n1,2\n", "column active_power_node_1: the column is missing"),
        (MORNING[0].replace(",", ";").encode(), "semicolons"),
        (b"\xff\xfe\x00", "is no UTF-8 text"),
    ],
)
def test_a_file_without_data_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "feeder.csv"
    path.write_bytes(content)
    assert said in problem(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "absent.csv cannot be read: No such file" in problem(tmp_path / "absent.csv")
    assert "cannot be read" in problem(tmp_path)


def test_a_file_with_another_step_is_not_invented_to_fit(tmp_path: Path) -> None:
    table = frame(days=2).iloc[::4]
    table.to_csv(tmp_path / "feeder.csv", index=False)
    assert "read the file with its own step" in problem(tmp_path / "feeder.csv")
    hourly = Series.read(tmp_path / "feeder.csv", step="1h")
    assert hourly.days(hourly.dates).load.shape == (2, 24, 2)
    assert hourly.days(hourly.dates).step_hours == 1.0


@pytest.mark.parametrize("options", [{"step": "7min"}, {"step": "x"}, {"max_gap": "-1h"}])
def test_a_wrong_option_is_named(tmp_path: Path, options: dict[str, str]) -> None:
    message = problem(save(tmp_path, MORNING), **options)
    assert next(iter(options.values())) in message


@given(
    text=st.text(alphabet="date_time,price12.\n;\"'xnaif-+: activ_power_node_\r\0é", max_size=300)
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused_with_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "feeder.csv").write_text(text, encoding="utf-8", newline="")
    with pytest.raises(InputError):
        Series.read(tmp_path / "feeder.csv")


@given(
    row=st.integers(1, 7),
    column=st.integers(0, 3),
    text=st.text(max_size=12).filter(lambda text: not set(text) & set('",\r\n')),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cell_is_read_or_refused(tmp_path: Path, row: int, column: int, text: str) -> None:
    lines = MORNING.copy()
    cells = lines[row].split(",")
    cells[column] = text
    lines[row] = ",".join(cells)
    path = save(tmp_path, lines)
    with contextlib.suppress(InputError):  # any other exception, or a warning, fails the test
        series = Series.read(path)
        assert np.isfinite(np.column_stack([series.load, series.price])).all()


# --- slots and days


@pytest.fixture
def three_days(tmp_path: Path) -> Series:
    frame(days=3).iloc[10:-7].to_csv(tmp_path / "feeder.csv", index=False)
    return Series.read(tmp_path / "feeder.csv")


def test_only_complete_days_count(three_days: Series) -> None:
    assert three_days.dates == ("2020-03-02",)


def test_days_are_cut_at_midnight_utc(three_days: Series) -> None:
    day = three_days.days(["2020-03-02"])
    at = three_days.index.get_loc(pd.Timestamp("2020-03-02", tz="UTC"))
    np.testing.assert_array_equal(day.load[0], three_days.load[at : at + 96])
    np.testing.assert_array_equal(day.price[0], three_days.price[at : at + 96])
    np.testing.assert_array_equal(day.net_load, day.load - day.pv)
    assert (len(day), day.step_hours, day.nodes) == (1, 0.25, (1, 2))


def test_a_slot_is_one_step(three_days: Series) -> None:
    slot = three_days.slot("2020-03-02 12:15")
    np.testing.assert_array_equal(slot.load, three_days.days("2020-03-02").load[0, 49])
    assert slot.price == three_days.days("2020-03-02").price[0, 49]
    assert three_days.slot("2020-03-02 14:15+02:00").price == slot.price


@pytest.mark.parametrize("stamp", ["2020-03-02 12:16", "2021-01-01", "noon", "NaT"])
def test_an_unknown_slot_is_named(three_days: Series, stamp: str) -> None:
    with pytest.raises(InputError, match=stamp):
        three_days.slot(stamp)


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("2020-03-01", r"'2020-03-01' \(86 of 96 steps\); its complete days are 1 from 2020-03-02"),
        ("2019-03-02", r"'2019-03-02' \(0 of 96 steps\)"),
        ("02.03.2020", r"'02.03.2020'"),
    ],
)
def test_an_incomplete_or_unknown_day_is_named(three_days: Series, date: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        three_days.days([date])


def test_days_select_keeps_order_and_repeats(tmp_path: Path) -> None:
    frame(days=4).to_csv(tmp_path / "feeder.csv", index=False)
    days = Series.read(tmp_path / "feeder.csv").days(["2020-03-01", "2020-03-03", "2020-03-04"])
    picked = days.select(["2020-03-04", "2020-03-01", "2020-03-04"])
    np.testing.assert_array_equal(picked.load, days.load[[2, 0, 2]])
    np.testing.assert_array_equal(picked.price, days.price[[2, 0, 2]])
    assert len(days.select([])) == 0
    with pytest.raises(InputError, match="'2020-03-02' among these days"):
        days.select(["2020-03-02"])


def test_days_refuse_wrong_shapes_and_nan(three_days: Series) -> None:
    day = three_days.days("2020-03-02")
    values = {name: getattr(day, name) for name in BLOCKS}
    with pytest.raises(InputError, match="load has shape"):
        Days(("a", "b"), day.nodes, step_hours=0.25, **values)
    values["pv"] = np.full_like(day.pv, np.nan)
    with pytest.raises(InputError, match="pv holds a value that is not finite"):
        Days(day.dates, day.nodes, step_hours=0.25, **values)


# --- the real files


def test_the_34_node_file_has_one_bad_line(raw_data: Path) -> None:
    series = Series.read(raw_data / "34_node_time_series.csv")
    assert series.load.shape == (16224, 34)
    assert (series.dates[0], series.dates[-1], len(series.dates)) == (
        "2020-07-17",
        "2021-01-01",
        169,
    )
    assert set(series.repairs["row"]) == {3828}
    assert set(series.repairs["stamp"]) == {pd.Timestamp("2020-08-25 20:30", tz="UTC")}
    assert series.repairs["problem"].value_counts().to_dict() == {
        "empty cell": 35,
        "stamp off the grid": 1,
    }


def test_the_25_node_file_is_read_within_two_seconds(raw_data: Path) -> None:
    start = time.process_time()
    series = Series.read(raw_data / "25_node_time_series.csv")
    assert time.process_time() - start < 2.0
    assert series.load.shape == (35040, 25)
    assert (len(series.dates), len(series.repairs), series.repairs["row"].nunique()) == (
        365,
        50,
        42,
    )
