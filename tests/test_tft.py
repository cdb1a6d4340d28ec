"""The transformer behind the same seams as the other forecasters."""

from dataclasses import replace

import numpy as np
import pytest

from griddispatch.data.profiles import Profiles, synthetic
from griddispatch.data.weather import DAY, RUN
from griddispatch.errors import InputError
from griddispatch.forecasting.tft import TFT, Settings
from griddispatch.forecasting.windows import LEVELS, lit

TINY = Settings(hidden=4, heads=1, iterations=6, batch=5, checks=3)


@pytest.fixture(scope="module")
def data() -> Profiles:
    return synthetic(1, lengths={"train": 10, "validation": 2, "test": 2}, first_day="2021-05-03")


@pytest.fixture(scope="module")
def tft(data: Profiles) -> TFT:
    return TFT.fit(data, (0, 1), TINY)


def test_the_future_cannot_change_its_forecast_and_the_past_can(data: Profiles, tft: TFT) -> None:
    issue = data.issues("test")[40:41]
    before = tft.forecast(data, issue)
    power, values = data.power.copy(), data.runs.values.copy()
    power[issue[0] :] = 0.0
    values[issue[0] // RUN + 1 :] += 100.0
    later = replace(data.with_power(power), runs=replace(data.runs, values=values))
    assert np.array_equal(tft.forecast(later, issue), before)
    power = data.power.copy()
    power[: issue[0]] *= 0.5
    assert np.abs(tft.forecast(data.with_power(power), issue) - before).max() > 1e-3


def test_its_quantiles_never_cross_and_pv_sleeps_at_night(data: Profiles, tft: TFT) -> None:
    issues = data.issues("validation", 31)
    quantiles = tft.forecast(data, issues)
    assert quantiles.shape == (len(issues), 5, DAY, len(LEVELS))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (quantiles[~lit(data, issues)] == 0).all()
    assert tft.forecast(data, issues[:0]).shape == (0, 5, DAY, len(LEVELS))


def test_training_keeps_its_best_check_and_repeats_itself(data: Profiles, tft: TFT) -> None:
    assert list(tft.history.groupby("seed").size()) == [3, 3]
    alone = TFT.fit(data, (1,), TINY)
    second = tft.history[tft.history["seed"] == 1]["loss"].to_numpy()
    assert np.array_equal(alone.history["loss"].to_numpy(), second)
    assert second.min() < second[0]


def test_weights_of_variables_and_attention_sum_to_one(data: Profiles, tft: TFT) -> None:
    look = tft.look(data, data.issues("test", 60), [0, 4])
    assert look.variables.groupby("group")["weight"].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    assert look.attention.shape == (24, 48)
    assert look.attention.sum(1) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="an issue or more"):
        tft.look(data, data.issues("test")[:0])


def test_impossible_settings_are_named(data: Profiles) -> None:
    with pytest.raises(InputError, match="1 or more"):
        Settings(hidden=0)
    with pytest.raises(InputError, match="dropout"):
        Settings(dropout=1.0)
    with pytest.raises(InputError, match="seed"):
        TFT.fit(data, ())
