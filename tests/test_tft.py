"""The transformer behind the same seams as the other forecasters."""

from dataclasses import replace

import numpy as np
import pytest

from griddispatch.data.profiles import Profiles, synthetic
from griddispatch.data.weather import DAY, RUN
from griddispatch.errors import InputError
from griddispatch.forecasting.anchor import Anchor
from griddispatch.forecasting.tft import TFT, Settings, stretch_of
from griddispatch.forecasting.tft_inputs import KNOWN, network_inputs
from griddispatch.forecasting.windows import LEVELS, Windows, lit, truth

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


def test_the_anchor_is_nearer_to_the_truth_than_a_constant(data: Profiles) -> None:
    anchor, issues = Anchor.fit(data), data.issues("train", 11)
    windows, came = Windows.of(data, issues), truth(data, issues) / data.capacity[:, None]
    point, unit = anchor.ahead(windows, data)
    mask = lit(data, issues)
    for n in range(5):
        y, p, u = (x[:, n][mask[:, n]] for x in (came, point, unit))
        assert np.abs(y - p).mean() < 0.7 * np.abs(y - y.mean()).mean()
        # Another share of the issues than it was fitted on.
        assert (np.abs(y - p) / u).mean() == pytest.approx(1, abs=0.05)


def test_a_load_that_follows_its_profile_leaves_nothing(data: Profiles) -> None:
    power = data.power.copy()
    free = np.asarray(data.index.dayofweek >= 5)
    power[:, 4] = np.where(free, 50.0, 80.0)
    flat = data.with_power(power)
    anchor, windows = Anchor.fit(data), Windows.of(flat, flat.issues("test", 50))
    plain = Anchor.fit(flat)
    point, _ = plain.ahead(windows, flat)
    assert 150 * point[:, 4] == pytest.approx(np.where(windows.weekday >= 5, 50.0, 80.0))
    day, _ = anchor.behind(windows, flat)
    usual = anchor.profile[:, np.rint(windows.hour * 4).astype(int), 4]
    before = np.where((windows.weekday - 1) % 7 >= 5, usual[1], usual[0])
    assert day[:, 4] * anchor.size[4] == pytest.approx(windows.past[:, :, 4] - before)


def test_an_hour_of_the_network_is_the_mean_of_its_quarters(data: Profiles) -> None:
    anchor, windows = Anchor.fit(data), Windows.of(data, data.issues("test", 60))
    inputs = network_inputs(windows, data, anchor)
    names = ["tilt", "azimuth", "PV", "sine", "cosine", "weekend", "power", "past clear", *KNOWN]
    clear = inputs["decoder_cont"][..., names.index("clear sky")].numpy()
    hourly = windows.clear.transpose(0, 2, 1).reshape(-1, 24, 4).mean(2)
    assert clear == pytest.approx(hourly, abs=1e-6)
    last = inputs["decoder_cont"][..., names.index("last power")].numpy()
    day, _ = anchor.behind(windows, data)
    assert last[:, 7] == pytest.approx(day[..., -1].ravel(), rel=1e-5, abs=1e-5)


def test_stretched_bands_cover_nine_tenths() -> None:
    came = np.random.default_rng(0).standard_normal((50, 40))
    quantiles = np.broadcast_to(0.5 * np.linspace(-1.6, 1.6, 7), (50, 40, 7))
    mask = np.ones((50, 40), dtype=bool)
    factor = stretch_of(quantiles, came, mask)
    assert factor == pytest.approx(2.056, abs=0.1)  # 1.645 / 0.8
    inside = np.abs(came) <= factor * 0.8
    assert inside.mean() == pytest.approx(0.9, abs=1e-3)
    mask[:, 20:] = False
    came[:, 20:] = 99.0
    assert stretch_of(quantiles, came, mask) < 3


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
