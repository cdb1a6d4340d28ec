"""Rollouts, captured value and intervals."""

import numpy as np
import pytest
import torch
from feeders import made_up_days, small_feeder
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.agents.rules import (
    DoNothing,
    PriceThreshold,
    Schedule,
    YesterdaysSchedule,
    fixed_schedule,
    tuned_threshold,
)
from griddispatch.errors import InputError
from griddispatch.evaluation.metrics import captured_value
from griddispatch.evaluation.rollout import evaluate, rollout
from griddispatch.evaluation.statistics import bootstrap, captured, mean


def test_doing_nothing_earns_nothing_and_pays_the_idle_penalty():
    feeder = small_feeder()
    table = evaluate({"Do nothing": DoNothing()}, feeder)
    assert not table[["profit", "charged", "discharged"]].to_numpy().any()
    np.testing.assert_allclose(table["penalty"], feeder.idle_penalty.sum(1))
    np.testing.assert_allclose(table["soc_end"], 0.4)
    assert list(table["date"]) == list(feeder.days.dates)


def test_table_agrees_with_the_rollout_and_energy_is_conserved():
    feeder = small_feeder()
    rule = PriceThreshold(30, 50)
    run, table = rollout(rule, feeder), evaluate({"rule": rule}, feeder)
    np.testing.assert_allclose(table["reward"], run.reward.sum(1))
    np.testing.assert_allclose(table["reward"], table["profit"] - table["penalty"] - table["wear"])
    stored = (run.soc[:, -1] - run.soc[:, 0]).sum(1) * 300
    np.testing.assert_allclose(table["charged"] - table["discharged"], stored, atol=1e-9)
    np.testing.assert_allclose(
        table["profit"], -(run.power_kw.sum(2) * feeder.price / 1000 * 0.25).sum(1)
    )


def test_fixed_schedule_earns_on_the_profile_it_was_made_for():
    feeder = small_feeder()
    table = evaluate({"Do nothing": DoNothing(), "Fixed": fixed_schedule(feeder)}, feeder)
    profit = table.groupby("policy")["profit"].mean()
    assert profit["Fixed"] > 1


def test_yesterdays_schedule_uses_yesterdays_prices_only():
    days = made_up_days(3)
    rule = YesterdaysSchedule()
    before = rollout(rule, small_feeder(days=days)).power_kw
    changed = made_up_days(3)
    changed.price[:] = changed.price[:, ::-1]
    object.__setattr__(changed, "price_before", days.price_before)
    assert torch.equal(rollout(YesterdaysSchedule(), small_feeder(days=changed)).power_kw, before)


def test_threshold_is_the_best_of_its_grid():
    feeder = small_feeder()

    def score(rule, days):
        return float(evaluate({"rule": rule}, days)["reward"].sum())

    best = tuned_threshold(feeder, score, levels=5)
    grid = np.quantile(feeder.days.price, np.linspace(0.1, 0.9, 5))
    assert score(best, feeder) == pytest.approx(
        max(score(PriceThreshold(a, b), feeder) for i, a in enumerate(grid) for b in grid[i + 1 :])
    )


def test_a_schedule_for_other_days_is_an_error():
    with pytest.raises(InputError, match="8"):
        rollout(Schedule(np.zeros((3, 96, 2))), small_feeder())


def test_captured_value_by_hand():
    assert captured_value([-1, -1], [-1, -1], [1, 3]) == 0
    assert captured_value([1, 3], [-1, -1], [1, 3]) == 100
    assert captured_value([0, 1], [-1, -1], [1, 3]) == pytest.approx(50)
    assert captured_value([-2, -3], [-1, -1], [1, 3]) == pytest.approx(-50)
    assert np.isnan(captured_value([0], [0], [0]))


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        x = rng.normal(5, 1, (1, 40))
        interval = bootstrap(mean, x, draws=500, seed=trial)
        hits += interval.low <= 5 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_over_seeds_is_wider_than_over_days_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 1)) + 0.1 * rng.normal(size=(5, 30))
    crossed = bootstrap(mean, x)
    days_only = bootstrap(mean, x.mean(0, keepdims=True))
    assert crossed.high - crossed.low > 3 * (days_only.high - days_only.low)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-5, 5))
def test_captured_value_does_not_depend_on_an_equal_shift_of_all_rewards(seed, shift):
    rng = np.random.default_rng(seed)
    idle = rng.normal(size=(1, 12))
    optimum = idle + rng.uniform(1, 2, (1, 12))
    policy = idle + rng.uniform(0, 1, (3, 12))
    a = bootstrap(captured, policy, idle, optimum, draws=50)
    b = bootstrap(captured, policy + shift, idle + shift, optimum + shift, draws=50)
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert a.low <= a.high


def test_bootstrap_refuses_what_cannot_be_compared():
    with pytest.raises(InputError, match="same days"):
        bootstrap(mean, np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(InputError, match="NaN"):
        bootstrap(mean, np.array([[1.0, np.nan]]))
