"""The split by date: counts, no overlap, nested sets, and the same rule for each set."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.data import splits
from griddispatch.data.series import Series
from griddispatch.errors import InputError


def zeros(first: str, days: int) -> Series:
    """Return a series of zeros at one node."""
    index = pd.date_range(first, periods=96 * days, freq="15min", tz="UTC")
    block = np.zeros((len(index), 1))
    return Series("zeros", index, (1,), block, block, block, block[:, 0], pd.DataFrame())


WHOLE = zeros("2020-07-17", 169)


def test_the_split_of_the_34_node_series() -> None:
    assert len(splits.test_days(WHOLE)) == 30
    assert splits.test_days(WHOLE)[::29] == ("2020-09-01", "2020-09-30")
    assert len(splits.stress_days(WHOLE)) == 14
    assert splits.stress_days(WHOLE)[:2] == ("2020-10-01", "2020-10-08")
    assert splits.stress_days(WHOLE)[-1] == "2020-12-31"
    counts = {p: len(splits.training_days(WHOLE, p)) for p in splits.PRIMARY}
    assert counts == {"1 month": 26, "3 months": 78, "all": 125}
    assert all(day.startswith("2020-10") for day in splits.training_days(WHOLE, "1 month"))
    assert len(set(splits.training_days(WHOLE, "all")) - set(WHOLE.dates[-93:])) == 46


def test_all_is_every_day_that_is_neither_test_nor_stress() -> None:
    parts = [splits.test_days(WHOLE), splits.stress_days(WHOLE), splits.training_days(WHOLE, "all")]
    assert sorted(day for part in parts for day in part) == list(WHOLE.dates)


@given(
    first=st.dates(date(2020, 6, 1), date(2020, 10, 4)),
    days=st.integers(150, 220),
    primary=st.sampled_from(splits.PRIMARY),
)
def test_no_day_has_two_roles(first: date, days: int, primary: str) -> None:
    series = zeros(str(first), days)
    training = splits.training_days(series, primary)
    validation, fit = splits.validation_days(series, primary), splits.fit_days(series, primary)
    held_out = set(splits.stress_days(series))
    held_out |= {day for day in series.dates if day.startswith("2020-09")}
    assert not held_out & set(training)
    assert not set(validation) & set(fit)
    assert sorted(validation + fit) == list(training)


def test_the_sets_are_nested_and_validation_does_not_depend_on_the_set() -> None:
    sets = [set(splits.training_days(WHOLE, primary)) for primary in splits.PRIMARY]
    assert sets[0] < sets[1] < sets[2]
    everywhere = set(splits.validation_days(WHOLE, "all"))
    for primary, training in zip(splits.PRIMARY, sets, strict=True):
        assert set(splits.validation_days(WHOLE, primary)) == everywhere & training


def test_validation_is_about_a_sixth_and_spread_over_weekdays_and_months() -> None:
    for primary in splits.PRIMARY:
        share = len(splits.validation_days(WHOLE, primary)) / len(
            splits.training_days(WHOLE, primary)
        )
        assert 0.15 < share < 0.2
    stamps = pd.DatetimeIndex(splits.validation_days(WHOLE, "all"))
    assert stamps.dayofweek.value_counts().max() <= 4
    assert set(stamps.dayofweek) == set(range(7))
    assert set(stamps.month) == {7, 8, 10, 11, 12}


def test_another_year_or_set_is_refused() -> None:
    with pytest.raises(InputError, match="zeros holds no test day"):
        splits.test_days(zeros("2021-01-01", 365))
    with pytest.raises(InputError, match="no primary set '2 months'; take one of 1 month, 3"):
        splits.training_days(WHOLE, "2 months")


def test_the_raw_series_covers_the_split(raw_data: Path) -> None:
    series = Series.read(raw_data / "34_node_time_series.csv")
    assert series.dates == WHOLE.dates
