"""Cells of the virtual power plant study, its published defects, and its comparison."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.agents.dromarl_config import PRESETS
from griddispatch.agents.maddpg import MADDPGConfig
from griddispatch.agents.vpp_rules import MarginRule, Numbers, mean_demand
from griddispatch.assets.vpp import preset
from griddispatch.data.vpp_demand import SHIFTS, draw_days
from griddispatch.envs.vpp import COSTS
from griddispatch.errors import InputError
from griddispatch.evaluation import vpp_comparison as comparison
from griddispatch.evaluation import vpp_experiments as experiments
from griddispatch.evaluation import vpp_published as published
from griddispatch.evaluation import vpp_references as references
from griddispatch.evaluation.vpp_experiments import Sizes
from griddispatch.risk_measures import cvar

SIZES = Sizes(train=20, validation=4, test=5)
P_HIGH = np.linspace(0.3, 0.7, 12)


@cache
def rule():
    return MarginRule(mean_demand(draw_days(20, 0, "train")), Numbers(4.0, 0.9, 0.25), load=-0.8)


@cache
def trained():
    config = replace(PRESETS["MADDPG"], rounds=2, warmup=1, environments=4, batch=16, hidden=(8,))
    config = replace(config, critic=(8,), replay=200)
    return experiments.train_and_test(
        "MADDPG", config, [0, 3], SIZES, P_HIGH, None, tested=("nominal", "combined"), records=2
    )


def made_up(costs, policy="a", shift="nominal", **columns):
    """Rows of a policy with costs [seeds, days]."""
    costs = np.atleast_2d(np.asarray(costs, dtype=float))
    seed, day = np.indices(costs.shape)
    named = {"policy": policy, "shift": shift, "seed": seed.ravel(), "day": day.ravel()}
    return pd.DataFrame(named | {"cost": costs.ravel()} | columns)


# -- cells --------------------------------------------------------------------------------


def test_a_cell_has_every_seed_on_every_day_of_every_shift():
    cell = trained()
    wanted = {(s, k, d) for s in ("nominal", "combined") for k in (0, 3) for d in range(SIZES.test)}
    assert set(zip(cell.days["shift"], cell.days["seed"], cell.days["day"], strict=True)) == wanted
    assert len(cell.days) == len(wanted)
    assert set(cell.validation["shift"]) == set(experiments.CHOOSING)
    assert set(cell.validation["day"]) == set(range(SIZES.validation))
    assert len(cell.policies) == 2


def test_the_curve_has_what_the_policies_did_on_validation_days():
    cell = trained()
    last = cell.curve[cell.curve["seed"].eq(3)].iloc[-1]
    env = experiments.environment("validation", SIZES.validation, P_HIGH)
    played = experiments.judged(env, cell.policies[1], "MADDPG", "nominal", 3)
    assert last["mean"] == pytest.approx(played["cost"].mean(), rel=1e-5)
    assert last["reward"] == pytest.approx(played["reward"].mean(), rel=1e-5)
    assert last["comfort"] == pytest.approx(played["comfort_day"].mean())
    watched = experiments.watch(env, cell.policies[1])
    assert last["adjustment"] == pytest.approx(100 * np.abs(watched.adjustment).mean(), rel=1e-4)


def test_a_cell_under_another_name_has_it_everywhere():
    cell = trained().named("b")
    for frame in (cell.curve, cell.days, cell.validation):
        assert set(frame["policy"]) == {"b"}
    assert set(trained().days["policy"]) == {"MADDPG"}


def test_every_learner_has_its_preset():
    assert set(experiments.LEARNERS.values()) <= set(PRESETS)
    assert "combined" not in experiments.CHOOSING


def test_training_validation_and_test_days_never_meet():
    parts = ("train", "validation", "test")
    days = [experiments.environment(part, 3).days.demand_kw for part in parts]
    for i, one in enumerate(days):
        for other in days[:i]:
            assert not (one[:, None] == other[None]).all(2).any()


def test_parts_of_the_cost_of_a_judged_day_add_up():
    env = experiments.environment("test", 4, P_HIGH, "combined")
    found = experiments.judged(env, rule(), "rule", "combined")
    np.testing.assert_allclose(found[list(COSTS)].sum(axis=1), found["cost"], rtol=1e-5)
    assert found["balanced"].between(0, 100).all()
    watched = experiments.watch(env, rule())
    np.testing.assert_allclose(watched.costs.sum((1, 2)), found["cost"], rtol=1e-5)
    ramp = np.abs(np.diff(watched.output_kw.sum(-1), axis=1)).mean(1)
    np.testing.assert_allclose(found["ramp_kw"], ramp, rtol=1e-5)
    assert (found["comfort_day"] == (np.abs(watched.adjustment) > 0.3).sum(1)).all()
    assert found["comfort_day"].sum() > 0


def test_what_is_watched_balances():
    played = experiments.watch(experiments.environment("test", 4, P_HIGH), rule())
    left = played.demand_kw - played.output_kw.sum(-1) - played.reserve_kw - played.imbalance_kw
    np.testing.assert_allclose(left, 0, atol=1e-4)
    np.testing.assert_allclose(played.load, -0.8, rtol=1e-6)


def test_estimates_of_the_inertia_are_those_of_the_actor():
    env = experiments.environment("test", 3, P_HIGH)
    found = experiments.inertia_estimates(env, trained().policies)
    assert found.shape == (2, 3)
    assert ((found > 0) & (found < 1)).all()
    assert not np.allclose(found[0], found[1])


# -- references ---------------------------------------------------------------------------


def test_the_margin_rule_is_the_best_within_the_premium():
    free = references.tuned_margin(SIZES, P_HIGH, premium=1e6, tried=12)
    tight = references.tuned_margin(SIZES, P_HIGH, premium=0.0, tried=12)
    env = experiments.environment("validation", SIZES.validation, P_HIGH)
    cost = [experiments.judged(env, one, "m", "nominal")["cost"].mean() for one in (free, tight)]
    assert cost[1] <= cost[0]
    with pytest.raises(InputError, match="tried is 0"):
        references.tuned_margin(SIZES, P_HIGH, 3.0, 0)


def test_foresight_costs_in_the_simulator_what_its_plan_says_and_bounds_a_rule():
    plans = [references.best_dispatch(day, "combined", P_HIGH, 1e-3) for day in range(2)]
    rows = references.foresight_rows(plans, "combined", P_HIGH)
    np.testing.assert_allclose(rows["cost"], [p.cost[0] for p in plans], rtol=1e-4)
    env = experiments.environment("test", 2, P_HIGH, "combined")
    ruled = experiments.judged(env, rule(), "rule", "combined")["cost"]
    assert (ruled.to_numpy() >= [p.bound for p in plans]).all()


def test_a_schedule_is_made_for_the_mean_or_for_some_days():
    mean, some = (references.day_ahead(n, SIZES, P_HIGH, 0.01) for n in (0, 2))
    assert len(mean.cost) == 1
    assert len(some.cost) == 2
    assert mean.on.shape == some.on.shape == (12, 7)


def test_models_of_the_demand_have_their_names():
    made = [
        references.demand_model(k, "published", [0], SIZES, 1) for k in references.DEMAND_MODELS
    ]
    assert [type(one).__name__ for one in made] == ["VRNN", "GRUMixture", "Linear", "Linear"]
    with pytest.raises(InputError, match="no demand model 'x'"):
        references.demand_model("x", "published", [0], SIZES, 1)


def test_the_game_is_played_by_name():
    config = MADDPGConfig(rounds=2, warmup=1)
    first, second = (references.play_game(n, config, [0]) for n in ("published", "repaired"))
    assert first.supply.shape == second.supply.shape == (3, 1, 12, 3)


# -- as published -------------------------------------------------------------------------


def test_free_shedding_takes_energy_and_saves_more_than_the_repaired_plant_allows():
    days = draw_days(1, 0, "test", model="published")
    free, repaired = (published.shedding(preset(n), days) for n in ("as_published", "repaired"))
    assert free.saved > 20 > repaired.saved >= 0
    assert free.taken_kwh > repaired.taken_kwh


def test_with_the_published_signs_more_cost_is_more_reward():
    signs = published.signs(draw_days(5, 0, "test", model="published"))
    (needed, cheap), (full, dear) = signs["as needed"], signs["all at full output"]
    assert full > needed
    assert dear > cheap


def test_noise_alone_leaves_one_period_in_five_within_half_a_kilowatt():
    assert published.within_noise(100_000) == pytest.approx(19.7, abs=0.3)
    with pytest.raises(InputError, match="count is 0"):
        published.within_noise(0)


def test_more_demand_is_paid_for_at_once():
    env = experiments.environment("test", 5)
    now, later = published.reach(env, rule(), 0.2)
    assert now > 5 * abs(later)
    nothing = published.reach(env, rule(), 0.0)
    assert nothing == (0.0, 0.0)
    costs = published.period_costs(env, rule())
    judged = experiments.judged(env, rule(), "rule", "nominal")["cost"]
    np.testing.assert_allclose(costs.sum(1), judged, rtol=1e-6)


# -- comparison ---------------------------------------------------------------------------


@given(st.lists(st.floats(1, 1e4), min_size=2, max_size=30))
def test_mean_and_cvar_of_one_seed_are_those_of_its_days(costs):
    drawn = comparison.resample(made_up([costs]), draws=3)["a", "nominal"]
    assert drawn["mean"][0] == pytest.approx(np.mean(costs))
    assert drawn["cvar10"][0] == pytest.approx(float(cvar(np.array(costs), 0.9)))


def test_the_cvar_is_taken_seed_by_seed():
    costs = np.stack([np.arange(10.0), 100 + np.arange(10.0)])
    drawn = comparison.resample(made_up(costs), draws=3)["a", "nominal"]
    assert drawn["cvar10"][0] == pytest.approx((9 + 109) / 2)


def test_policies_and_shifts_share_their_draws():
    costs = np.random.default_rng(0).random((3, 20)) + 1
    table = pd.concat(
        [made_up(costs), made_up(2 * costs, "b"), made_up(3 * costs, "a", "combined")]
    )
    drawn = comparison.resample(table, draws=50)
    for metric in comparison.COST:
        ratio = drawn["b", "nominal"][metric] / drawn["a", "nominal"][metric]
        np.testing.assert_allclose(ratio, 2)
        ratio = drawn["a", "combined"][metric] / drawn["a", "nominal"][metric]
        np.testing.assert_allclose(ratio, 3)
    found = comparison.difference(drawn, "a", "b", "nominal", "cvar10")
    assert (found["value"], found["verdict"]) == (pytest.approx(50), "more")
    assert comparison.above(drawn, "b", "a", "nominal").low == pytest.approx(100)


def test_other_metrics_differ_in_their_own_unit():
    table = pd.concat([made_up([[1.0, 2.0]], balanced=[98.0, 100.0])])
    table = pd.concat([table, made_up([[1.0, 2.0]], "b", balanced=[95.0, 97.0])])
    drawn = comparison.resample(table, draws=20)
    found = comparison.difference(drawn, "a", "b", "nominal", "balanced")
    assert (found["value"], found["low"]) == (3.0, 3.0)


def test_slopes_are_those_of_a_line():
    rows = [
        made_up([[10.0 + 4 * at, 20.0 + 4 * at]], shift=shift)
        for shift, at in comparison.SLOPES["sigma"].items()
    ]
    drawn = comparison.resample(pd.concat(rows), draws=9)
    np.testing.assert_allclose(comparison.slope(drawn, "a", "sigma", "mean"), 4)
    results = comparison.results(drawn).set_index(["shift", "metric"])
    assert results.loc[("slope of sigma", "cvar10"), "mean"] == pytest.approx(4)
    assert "slope of mean" not in results.index.get_level_values(0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.concat([made_up([[1.0]]), made_up([[1.0]])]), "the same day stands twice"),
        (pd.concat([made_up([[1.0, 2.0]]), made_up([[1.0]], "b")]), "different days"),
        (made_up([[1.0, 2.0], [3.0, 4.0]]).iloc[:3], "seeds with different days"),
    ],
)
def test_what_cannot_be_compared_is_refused(table, message):
    with pytest.raises(InputError, match=message):
        comparison.resample(table, draws=2)


def candidate(radius, nominal, tail):
    shifts = [made_up([[nominal] * 10]), made_up([[tail] * 10], shift="sigma x1.5")]
    return pd.concat(shifts).assign(radius=radius, carried=radius > 0.1)


def test_the_radius_has_the_smallest_tail_within_the_premium():
    tried = pd.concat([candidate(0, 100, 200), candidate(0.1, 102, 150), candidate(0.2, 104, 120)])
    table = comparison.radius_table(tried, premium=3)
    assert table.loc[table["chosen"], "radius"].to_list() == [0.1]
    assert table["carried"].to_list() == [False, False, True]
    np.testing.assert_allclose(table["premium"], [0, 2, 4])
    assert comparison.radius_table(tried, 5)["chosen"].to_list() == [False, False, True]
    with pytest.raises(InputError, match="radius 0"):
        comparison.radius_table(candidate(0.1, 1, 1), 3)


def test_the_correlation_is_the_mean_over_seeds():
    truth = np.random.default_rng(0).random(40)
    found = comparison.correlation(np.stack([2 * truth, -truth, np.ones(40)]), truth, draws=50)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert comparison.correlation(truth[None], truth, draws=5).low == pytest.approx(1)


def test_shifted_days_are_paired_and_only_the_shift_changes():
    plain, shifted = (
        experiments.environment("test", 3, P_HIGH, s) for s in ("nominal", "combined")
    )
    np.testing.assert_array_equal(plain.days.kappa, shifted.days.kappa)
    assert torch.equal(plain.response, shifted.response)
    more = experiments.environment("test", 3, P_HIGH, "mean +20 %").days.demand_kw.sum()
    assert more / plain.days.demand_kw.sum() == pytest.approx(1.2, abs=0.01)
    assert set(SHIFTS) >= set(comparison.SLOPES["mean"]) | set(comparison.SLOPES["sigma"])
