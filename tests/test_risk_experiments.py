"""Cells of the microgrid study, and its comparison with intervals."""

import inspect
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.agents.microgrid_rules import HeatLed, NetLoad, Numbers, TimeOfUse
from griddispatch.errors import InputError
from griddispatch.evaluation import risk_comparison as comparison
from griddispatch.evaluation import risk_experiments as experiments
from griddispatch.evaluation.paired import below_bound, interval, less
from griddispatch.evaluation.risk_experiments import LEARNERS, Sizes
from griddispatch.learning.training import Training
from griddispatch.risk_measures import cvar, risk_objective, value_at_risk

SIZES = Sizes(train=3, validation=2, test=4)


def rules_instead(env, config, seeds, validation, *, records, progress):
    """Stand in for a learner; the curve says what it was given."""
    curve = pd.DataFrame({"seed": seeds, "objective": [float(k) for k in seeds]})
    given = {"train": len(env.days), "validation": len(validation.days), "records": records}
    return Training([TimeOfUse() for _ in seeds], curve.assign(**given), seconds=1.5, updates=7)


@cache
def trained():
    config = replace(LEARNERS["RU-TD3"].config, weight=0.6)
    return experiments.train_and_test(rules_instead, "RU-TD3", config, [0, 1], SIZES)


@cache
def judging():
    return experiments.environment("test", SIZES.test)


def made_up(policy, costs, weight=0.0):
    """Rows of a policy with costs [seeds, days]."""
    costs = np.atleast_2d(costs)
    seed, day = np.indices(costs.shape)
    found = {"policy": policy, "weight": weight, "seed": seed.ravel(), "day": day.ravel()}
    return pd.DataFrame(found | {"cost": costs.ravel()}).assign(
        **dict.fromkeys(comparison.COUNTS, 0.0)
    )


# -- cells --------------------------------------------------------------------------------


def test_a_cell_has_every_seed_on_every_test_day():
    cell = trained()
    assert list(zip(cell.days["seed"], cell.days["day"], strict=True)) == [
        (seed, day) for seed in (0, 1) for day in range(SIZES.test)
    ]
    assert set(cell.days["weight"]) == set(cell.curve["weight"]) == {0.6} == {cell.weight}
    assert cell.validation_objective == [0.0, 1.0]
    assert cell.curve["train"].iloc[0] == SIZES.train
    assert cell.curve["validation"].iloc[0] == SIZES.validation


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_takes_what_a_cell_gives(name):
    learner = LEARNERS[name]
    inspect.signature(learner.train).bind("env", "config", [0], "validation", records=1, progress=0)
    shorter = replace(learner.config, weight=0.1, **{learner.length: 3})
    assert shorter.weight == 0.1


def test_training_validation_and_test_days_never_meet():
    days = [experiments.environment(split, 3).days for split in ("train", "validation", "test")]
    for i, one in enumerate(days):
        for other in days[:i]:
            assert not (one.load[:, None] == other.load[None]).all(2).any()


def test_a_day_is_the_same_however_many_are_drawn():
    few, many = (experiments.environment("test", n).days for n in (2, 4))
    for name in ("load", "price", "import_kw"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:2])


def test_judged_rows_count_what_lies_outside_before_the_cut():
    class Greedy(TimeOfUse):
        """Asks for more than the battery has."""

        def act(self, env, state):
            return super().act(env, state) + 1000 * (state.t == 5)

    calm = experiments.judged(judging(), TimeOfUse(), "rule")
    assert (calm["outside"] == 0).all()
    wild = experiments.judged(judging(), Greedy(), "rule", 0.3, seed=2)
    # Battery power and CHP power; the status is on, which is allowed.
    assert (wild["outside"] == 2).all()
    assert set(wild["weight"]) == {0.3}
    assert list(wild["day"]) == list(range(SIZES.test))


def test_candidates_are_thinned_evenly():
    every = experiments.some_candidates(10_000)
    some = experiments.some_candidates(20)
    assert set(some) < set(every)
    assert 20 <= len(some) <= 30
    assert {one.floor_kw for one in some} == {one.floor_kw for one in every}
    with pytest.raises(InputError, match="candidates is 0"):
        experiments.some_candidates(0)


def test_costs_of_candidates_are_those_of_the_played_rule():
    numbers = [Numbers(20.0, 6.0, float("inf"), 10.0, 0.1), Numbers(-100.0, 1.0, 0.7, 30.0, 0.3)]
    found = experiments.rule_costs(numbers, SIZES)
    train = experiments.environment("train", SIZES.train)
    alone = experiments.judged(train, NetLoad(numbers[1]), "rule")
    np.testing.assert_allclose(found[1], alone["cost"], rtol=1e-5)


def test_a_bill_by_hours_is_that_of_the_length_of_a_step():
    env = experiments.environment("train", 2, "as_published")
    billed = experiments.billed_by_hours(env)
    costs = [experiments.judged(e, TimeOfUse(), "rule")["cost"] for e in (env, billed)]
    np.testing.assert_allclose(costs[0], 4 * costs[1], rtol=1e-5)


def test_perfect_foresight_costs_what_the_simulator_says_and_bounds_every_rule():
    plan = experiments.best_dispatch(0)
    (best,) = experiments.foresight_rows([plan])["cost"]
    assert best == pytest.approx(float(plan.cost[0]), abs=1e-4)
    bound = pd.Series([plan.bound])
    rules = pd.concat(
        experiments.judged(judging(), rule, "rule") for rule in (TimeOfUse(), HeatLed())
    )
    assert below_bound(rules, "cost", bound, 0.01) == []
    rules.loc[rules["day"].eq(0), "cost"] = plan.bound - 1
    assert below_bound(rules, "cost", bound, 0.01) == [0]


def test_predictive_control_plays_the_day_that_it_is_asked_for():
    found, seconds = experiments.predictive_day(1, horizon=2, train=30)
    assert list(found["day"]) == [1]
    assert found["outside"].sum() == 0
    assert seconds > 0


def test_a_scenario_plan_is_one_status_for_all_days():
    plan = experiments.status_plan(2, 0.3, gap=0.2)
    rule = experiments.scheduled(plan)
    assert len(rule.on) == 96
    assert list(rule.on) == list(plan.setpoint[1, :, 2] > 0.5)


def test_the_ten_units_cost_what_the_literature_says():
    found = experiments.ten_unit_check(gap=1e-3)
    assert found["cost"] == pytest.approx(found["published"], rel=1e-3)
    assert found["bound"] <= found["cost"]


def test_a_trace_balances_and_adds_up_to_the_cost_of_the_day():
    env = judging()
    trace = experiments.trace(env, HeatLed(), 2)
    supply = trace[["pv", "wind", "chp", "drawn", "lost"]].sum(axis=1) - trace["curtailed"]
    use = trace[["load", "battery", "sold"]].sum(axis=1)
    np.testing.assert_allclose(supply, use, atol=1e-3)
    cost = experiments.judged(env, HeatLed(), "rule")["cost"]
    assert trace["cost"].sum() == pytest.approx(cost[2], abs=1e-3)
    assert trace["soc"].iloc[0] == pytest.approx(0.5)
    steps = experiments.step_costs(env, HeatLed())
    np.testing.assert_allclose(steps[2], trace["cost"], atol=1e-5)


def test_extensions_have_a_row_per_seed_and_day():
    sizes = Sizes(train=2, validation=2, test=3)
    found = experiments.lagrangian(True, [0, 1], 1, sizes)
    assert list(found["seed"]) == [0, 1]
    assert (found["policy"] == "Lagrangian actor").all()
    team = experiments.coupled(False, 0, 1, sizes, count=2, common_kw=120.0)
    assert list(team["day"]) == [0, 1, 2]
    assert (team["policy"] == "a critic each").all()


# -- comparison ---------------------------------------------------------------------------

numbers = st.floats(-100, 1000)


@given(
    st.lists(numbers, min_size=2, max_size=60),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_counted_days_have_the_statistics_of_the_days_written_out(costs, seed, alpha):
    x = np.array(costs)
    counts = np.random.default_rng(seed).multinomial(len(x), np.full(len(x), 1 / len(x)), 3)
    found = comparison.weighted(x, counts.astype(float), alpha)
    for b, own in enumerate(counts):
        written = np.repeat(x, own)
        expected = [written.mean(), value_at_risk(written, alpha), cvar(written, alpha)]
        np.testing.assert_allclose(found[:, b], expected, rtol=1e-9, atol=1e-9)


def test_a_tail_that_reaches_further_than_usual_is_found():
    # The draw has the ten cheapest days only: the usual tail holds none of it.
    x = np.arange(1000.0)
    counts = np.zeros((1, 1000))
    counts[0, :10] = 100
    _, var, tail = comparison.weighted(x, counts, 0.95)[:, 0]
    assert (var, tail) == (9, 9)


def test_the_first_value_is_that_of_the_days_themselves():
    costs = np.random.default_rng(1).normal(200, 50, (3, 80))
    (one,) = comparison.resample(made_up("a", costs), draws=40).values()
    assert one.mean.shape == (41,)
    assert one.mean[0] == pytest.approx(costs.mean())
    assert one.cvar95[0] == pytest.approx(cvar(costs, 0.95).mean())
    assert one.var95[0] == pytest.approx(value_at_risk(costs, 0.95).mean())
    expected = risk_objective(costs, 0.3).mean()
    assert one.objective(0.3)[0] == pytest.approx(expected)
    low, high = interval(one.mean)[1:]
    assert low < costs.mean() < high


def test_policies_share_the_drawn_days():
    costs = np.random.default_rng(2).normal(200, 50, 100)
    table = pd.concat([made_up("a", 0.9 * costs), made_up("b", costs)])
    drawn = comparison.resample(table, draws=30)
    saved = less(drawn["a", 0.0].cvar95, drawn["b", 0.0].cvar95)
    # Ten per cent on every day are ten per cent in every draw, whichever days are drawn.
    np.testing.assert_allclose(saved, 10)


def test_seeds_are_drawn_too():
    table = made_up("a", np.array([[1.0] * 9, [3.0] * 9]))
    (one,) = comparison.resample(table, draws=200).values()
    assert interval(one.mean) == (2.0, 1.0, 3.0)


def test_results_list_every_metric_and_only_costs_have_intervals():
    table = pd.concat([made_up("a", [[1.0, 2.0, 9.0]]), made_up("a", [[2.0, 2.0, 2.0]], 0.3)])
    found = comparison.results(table, comparison.resample(table, draws=9), weight=0.3)
    assert list(found["weight"].unique()) == [0.0, 0.3]
    first = found[found["weight"].eq(0.0)].set_index("metric")
    assert first.loc["largest", "mean"] == 9
    assert first.loc["objective", "mean"] == pytest.approx(0.7 * 4 + 0.3 * 9)
    assert first["low"].notna().sum() == 4


def test_days_that_differ_are_refused_and_common_ones_kept():
    table = pd.concat([made_up("a", [[1.0, 2.0, 3.0]]), made_up("b", [[1.0, 2.0]])])
    with pytest.raises(InputError, match="different days"):
        comparison.resample(table, draws=3)
    both = comparison.common(table, [("a", 0.0), ("b", 0.0)])
    assert len(both) == 4
    with pytest.raises(InputError, match="no rows of policy a, weight 0.3"):
        comparison.rows(table, ("a", 0.3))
    apart = table[table["policy"].eq("a") | table["day"].eq(7)]
    moved = pd.concat([apart, made_up("b", [[1.0]]).assign(day=7)])
    with pytest.raises(InputError, match="no day in common"):
        comparison.common(moved, [("a", 0.0), ("b", 0.0)])
