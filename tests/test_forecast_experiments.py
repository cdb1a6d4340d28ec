"""Cells of the study of dispatch with forecasts: fits, choices, runs, comparisons."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from griddispatch.data.profiles import Profiles, synthetic
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError
from griddispatch.evaluation import forecast_comparison as comparison
from griddispatch.evaluation import forecast_dispatch as dispatch
from griddispatch.evaluation import forecast_experiments as experiments
from griddispatch.evaluation.closed_loop import Run
from griddispatch.evaluation.forecast_dispatch import BEST, IDLE, Driven, Job
from griddispatch.evaluation.forecast_experiments import NAIVE, Made, Packed, Sizes
from griddispatch.evaluation.forecasts import pinball
from griddispatch.forecasting.naive import seasonal_naive
from griddispatch.forecasting.tft import Settings
from griddispatch.forecasting.windows import truth
from griddispatch.optimization.mpc_plant import BLOCK, Plant

CASE = "energy only"
SIZES = Sizes(
    Settings(4, iterations=2, batch=10, checks=1), 400, 1000, 5, test_days=2, every=2, paths=40
)


@cache
def data() -> Profiles:
    lengths = {"train": 15, "validation": 3, "test": 3}
    return synthetic(2, lengths=lengths, first_day="2021-05-15")


@cache
def naive() -> Made:
    return experiments.fit(data(), NAIVE, SIZES)


def with_other_powers_from(step: int) -> Profiles:
    power = data().power.copy()
    power[step:] = power[step:][::-1] * 0.5
    return data().with_power(power)


def test_packed_quantiles_are_the_same_to_a_fraction_of_any_error() -> None:
    issues = data().issues("test")[:5]
    quantiles = seasonal_naive(data()).forecast(data(), issues)
    packed = Packed.of(quantiles, issues, data())
    assert packed.codes.dtype == np.uint16
    assert np.abs(packed.quantiles() - quantiles).max() < data().ceiling.max() / 100_000
    assert np.array_equal(packed.quantiles(issues[3:4])[0], packed.quantiles()[3])
    with pytest.raises(InputError, match="not forecast"):
        packed.quantiles(issues[-1:] + 1)


@pytest.mark.parametrize("name", experiments.FORECASTERS)
def test_every_forecaster_covers_each_step_of_the_first_test_days(name: str) -> None:
    made = naive() if name == NAIVE else experiments.fit(data(), name, SIZES)
    steps = data().steps("test")[: 2 * DAY]
    assert np.array_equal(made.test.issues, steps)
    assert made.test.codes.shape == (2 * DAY, 5, DAY, 7)
    assert (np.diff(made.test.codes.astype(int), axis=-1) >= 0).all()
    held = data().issues("validation", 2)
    assert np.array_equal(made.calibration.issues, held)
    assert (set(made.looks) == {"pv", "load"}) == (name == "TFT")


def test_no_fit_sees_what_comes_after_its_issue() -> None:
    first = int(data().steps("test")[0])
    other = experiments.fit(with_other_powers_from(first + 10), NAIVE, SIZES)
    assert np.array_equal(other.calibration.codes, naive().calibration.codes)
    assert np.array_equal(other.test.codes[:11], naive().test.codes[:11])
    assert not np.array_equal(other.test.codes[-1], naive().test.codes[-1])


def test_fits_are_put_together_by_the_mean_of_their_quantiles() -> None:
    zero = replace(naive().test, codes=np.zeros_like(naive().test.codes))
    both = experiments.together([naive(), replace(naive(), test=zero)])
    half = naive().test.codes / 2
    assert np.abs(both.test.codes - half).max() <= 0.5
    assert both.seconds == 2 * naive().seconds
    late = replace(naive().test, issues=naive().test.issues + 1)
    with pytest.raises(InputError, match="different issues"):
        experiments.together([naive(), replace(naive(), test=late)])
    with pytest.raises(InputError, match="no fit"):
        experiments.together([])


def test_an_unknown_forecaster_and_no_days_are_named() -> None:
    with pytest.raises(InputError, match="no forecaster 'Oracle'"):
        experiments.fit(data(), "Oracle", SIZES)
    with pytest.raises(InputError, match="days is 0"):
        experiments.days_of(data(), "test", 0)


def test_every_way_runs_and_foresight_is_best() -> None:
    steps = experiments.days_of(data(), "test", 2)
    value, night = {CASE: 0.13}, {CASE: 0.4}
    jobs = dispatch.lineup([CASE], value, night)
    ways = ("median", "scenarios", "robust", "open loop")
    jobs += [Job(way, way, CASE, 0.13) for way in ways]
    sizes = replace(SIZES, kept=3)
    driven = dispatch.drive(data(), jobs, steps, naive(), sizes)
    cost = {d.job.controller: d.run.cost for d in driven}
    assert min(cost, key=lambda name: cost[name]) == BEST
    assert max(cost, key=lambda name: cost[name]) == IDLE
    solved = {d.job.controller: len(d.run.milliseconds) for d in driven}
    assert solved["open loop"] == 2
    assert solved["scenarios"] == 2 * DAY
    assert dispatch.least_cost(data(), CASE, steps) <= cost[BEST] + 1e-6
    dear = [replace(job, case="demand charge") for job in jobs if job.way in ways]
    costs = {d.run.cost for d in dispatch.drive(data(), dear, steps, naive(), sizes)}
    assert len(costs) == len(ways)
    again = dispatch.drive(data(), jobs[-3:-2], steps, naive(), sizes)
    assert again[0].run.cost == cost["scenarios"]


def test_ways_that_need_forecasts_say_so() -> None:
    steps = experiments.days_of(data(), "test", 1)
    with pytest.raises(InputError, match=r"median: .* need forecasts"):
        dispatch.drive(data(), [Job("x", "median", CASE)], steps)


def test_a_choice_looks_at_validation_days_alone() -> None:
    job = Job("x", "median", CASE, 0.13)
    cost = dispatch.choose(data(), job, 1)
    first = int(data().steps("validation")[0])
    assert dispatch.choose(with_other_powers_from(int(data().steps("test")[0])), job, 1) == cost
    assert dispatch.choose(with_other_powers_from(first + 40), job, 1) != cost


def test_a_longer_view_is_worth_something() -> None:
    steps = experiments.days_of(data(), "test", 2)
    varied = dispatch.variations(CASE, 0.13, "foresight", BEST)
    assert {what for what, _, _ in varied} == {"horizon", "interval"}
    picked = [
        job for what, hours, job in varied if (what, hours) in (("horizon", 2), ("horizon", 24))
    ]
    short, long = (d.run.cost for d in dispatch.drive(data(), picked, steps))
    assert long < short
    seldom = next(job for what, hours, job in varied if (what, hours) == ("interval", 6))
    assert len(dispatch.drive(data(), [seldom], steps)[0].run.milliseconds) == 8


def test_the_lineup_names_each_controller_once_per_case() -> None:
    value, night = dict.fromkeys(("a", "b"), 0.1), {"a": 0.2, "b": 0.6}
    jobs = [
        j for f in (None, *experiments.FORECASTERS) for j in dispatch.lineup("ab", value, night, f)
    ]
    keys = [(j.case, j.controller) for j in jobs]
    assert len(keys) == len(set(keys)) == 2 * 13
    assert {j.night for j in jobs if j.way == "rules"} == {0.2, 0.6}


def test_times_of_all_shapes_are_measured() -> None:
    spent = dispatch.solve_ms(data(), CASE, naive(), replace(SIZES, kept=2))
    assert list(spent) == ["block", "full", "block x scenarios", "full x scenarios"]
    assert 0 < spent["block"] < spent["full x scenarios"]


# Comparison ----------------------------------------------------------------------------------


def test_blocks_of_a_week_leave_a_weekly_pattern_whole() -> None:
    pattern = np.tile([1.0, 2, 3, 4, 5, 6, 20], 6)

    def average(x: np.ndarray) -> np.ndarray:
        return x.mean(1)

    weekly = comparison.block_bootstrap(average, pattern, draws=200)
    assert (weekly.low, weekly.high) == pytest.approx((pattern.mean(), pattern.mean()))
    daily = comparison.block_bootstrap(average, pattern, block=1, draws=200)
    assert daily.high - daily.low > 1
    drift = comparison.block_bootstrap(average, np.arange(42.0), draws=500)
    single = comparison.block_bootstrap(average, np.arange(42.0), block=1, draws=500)
    assert drift.high - drift.low > single.high - single.low


def test_bad_days_are_named() -> None:
    with pytest.raises(InputError, match="no block of 7"):
        comparison.block_bootstrap(lambda x: x.mean(1), np.ones(6))
    with pytest.raises(InputError, match="9 days beside 8"):
        comparison.block_bootstrap(lambda x, y: x.mean(1), np.ones(8), np.ones(9))
    with pytest.raises(InputError, match="NaN"):
        comparison.block_bootstrap(lambda x: x.mean(1), np.array([1, np.nan] * 9))


def run(costs: np.ndarray) -> Run:
    """A run whose days cost what they should."""
    index = pd.date_range("2021-07-01", periods=len(costs) * DAY, freq="15min", tz="UTC")
    names = ("grid", "battery", "spill", "cut", "later", "caught_up", "violation")
    steps = pd.DataFrame(0.0, index, [*names, "pv", "load"])
    steps["cost"] = np.repeat(costs / DAY, DAY)
    return Run(steps, 0.0, np.array([]), Plant())


def played() -> list[Driven]:
    rng = np.random.default_rng(0)
    base = 100 + 10 * rng.standard_normal(21)
    factors = {BEST: 1.0, "TFT, P50": 1.05, f"{NAIVE}, P50": 1.1, IDLE: 1.4, "close": 1.01}
    return [Driven(Job(name, "idle", CASE), run(k * base)) for name, k in factors.items()]


def test_costs_are_compared_by_day() -> None:
    daily = comparison.daily_costs(played())
    gain = comparison.cheaper(daily, CASE, "TFT, P50", f"{NAIVE}, P50", 100)
    assert gain == pytest.approx((100 * (1 - 1.05 / 1.1),) * 3)
    value = comparison.captured(daily, CASE, "TFT, P50", f"{NAIVE}, P50", 100)
    assert value == pytest.approx((50, 50, 50))
    assert np.isnan(comparison.captured(daily, CASE, "TFT, P50", "close", 100)).all()
    with pytest.raises(InputError, match="no days of nobody"):
        comparison.of(daily, CASE, "nobody")


def test_results_hold_a_line_per_controller() -> None:
    table = comparison.results(played(), [f"{NAIVE}, P50"], draws=50).set_index("controller")
    assert list(table["above"]) == pytest.approx([0, 5, 10, 40, 1])
    assert table.loc[BEST, f"captured {NAIVE}, P50"] == pytest.approx(100)
    assert table.loc[IDLE, f"captured {NAIVE}, P50"] == pytest.approx(-300)
    assert (table["low"] < table["cost"]).all()
    assert (table["cost"] < table["high"]).all()


def test_the_better_forecaster_has_the_lower_loss() -> None:
    issues = data().issues("test", 5)
    came = truth(data(), issues)[..., None]
    spread = np.linspace(-5, 5, 7)
    noise = np.random.default_rng(1).normal(size=came.shape)
    forecasts = {"near": came + spread + noise, "far": came + spread + 9 * noise}
    table = comparison.against(forecasts, data(), issues, "near")
    assert list(table["series"]) == list(data().names)
    assert (table["difference"] < 0).all()
    assert (table["p"] < 0.01).all()
    losses = [pinball(q, came[..., 0]).mean() for q in forecasts.values()]
    assert losses[0] < losses[1]


def test_the_horizon_of_a_day_is_no_short_one() -> None:
    job = Job("x", "median", CASE, 0.13, blocks=BLOCK)
    assert sum(job.blocks) == DAY
    assert sum(dispatch.LEISURE) == DAY
