import dataclasses

import numpy as np
import pytest

from griddispatch.data.microgrid import (
    QUANTITIES,
    MicrogridDays,
    Scenario,
    base_days,
    draw_days,
)
from griddispatch.errors import InputError


def test_a_day_is_the_same_however_many_are_drawn():
    few, many = (draw_days(n, 5, "train") for n in (3, 150))
    for name in QUANTITIES:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:3])


def test_splits_and_seeds_share_no_day():
    drawn = [draw_days(4, seed, split) for seed in (0, 1) for split in ("train", "test")]
    drawn.append(draw_days(4, 0, "validation"))
    loads = {day.load[k].tobytes() for day in drawn for k in range(4)}
    assert len(loads) == 20


def test_values_stay_within_the_plant():
    days = draw_days(200, 0, "train", scenario="as_printed_prices")
    for name, low, high in (
        ("pv", 0, 60),
        ("wind", 0, 40),
        ("load", 5, 100),
        ("heat", 10, 150),
        ("price", 0.105, 0.15 * 1.4 * 8),
        ("import_kw", 40, 100),
    ):
        values = getattr(days, name)
        assert values.min() >= low - 1e-9
        assert values.max() <= high + 1e-9
    assert days.pv[:, :20].max() == 0.0  # night until 5


def test_dark_days_are_calm_in_the_base_days_and_in_those_drawn_from_them():
    pv, wind, _, _ = base_days()
    drawn = draw_days(400, 1, "train")
    before = np.corrcoef(pv.mean(1), wind.mean(1))[0, 1]
    after = np.corrcoef(drawn.pv.mean(1), drawn.wind.mean(1))[0, 1]
    assert before > 0.5
    assert after == pytest.approx(before, abs=0.15)
    assert drawn.heat.mean(1).std() / drawn.heat.mean() == pytest.approx(0.15, abs=0.03)


def test_prices_follow_the_clock_and_spike_for_whole_hours():
    quiet = draw_days(20, 0, "train", scenario="as_published", steps=24)
    assert np.ptp(quiet.price, axis=0).max() == 0.0
    assert set(np.round(quiet.price[0] / 0.15, 9)) == {0.7, 1.0, 1.4}
    assert (quiet.import_kw == 100).all()
    days = draw_days(400, 0, "train")
    factor = days.price / np.repeat(quiet.price[:1], 4, axis=1)
    spiky = factor > 1.001
    assert factor[spiky].min() >= 5
    assert factor.max() <= 8
    # An hour starts a spike with probability 0.01, unless one goes on; the mean length is 2 hours.
    assert spiky.mean() == pytest.approx(0.0195, abs=0.006)
    hourly = spiky.reshape(-1, 24, 4)
    assert (hourly.all(2) == hourly.any(2)).all()
    assert (days.import_kw < 100).mean() == pytest.approx(0.004, abs=0.003)


def test_a_higher_rate_adds_events_to_the_same_days():
    low, high = (draw_days(50, 0, "train", scenario=Scenario(spike_rate=r)) for r in (0.02, 0.1))
    np.testing.assert_array_equal(low.load, high.load)
    assert (high.price > 0.3).sum() > (low.price > 0.3).sum() > 0


def changed(**values):
    return dataclasses.replace(draw_days(2, 0, "train"), **values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_days(0, 0, "train"), "count >= 1"),
        (lambda: draw_days(1, -1, "train"), "seed >= 0"),
        (lambda: draw_days(1, 0, "train", steps=50), "multiple of 24"),
        (lambda: draw_days(1, 0, "tests"), "no split 'tests'"),
        (lambda: draw_days(1, 0, "train", scenario="harsh"), "no scenario 'harsh'"),
        (lambda: Scenario(spike_rate=-0.1), "spike_rate is -0.1"),
        (lambda: Scenario(derating_rate=1.1), "derating_rate is 1.1"),
        (lambda: Scenario(derating_rate=float("nan")), "derating_rate is nan"),
        (lambda: Scenario(spike_factor=(8.0, 5.0)), "low <= high"),
        (lambda: Scenario(price_eur=float("inf")), "price_eur is inf"),
        (lambda: Scenario(derated_kw=120.0), "must not exceed import_kw"),
        (lambda: changed(load=np.ones((2, 95))), "load has shape"),
        (lambda: changed(pv=np.full((2, 96), np.nan)), "pv is nan on day 0, step 0"),
        (lambda: changed(price=np.full((2, 96), -0.1)), "price is -0.1"),
        (lambda: MicrogridDays(*[np.zeros((0, 96))] * 6), "give .days, steps."),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
