"""Cells of the regulation study, its comparisons, and the limit of the absolute error."""

import inspect
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from griddispatch.agents import deltanet, deltanet_ppo, regulation_monolithic, regulation_td3
from griddispatch.agents.regulation_rules import MeritOrder
from griddispatch.assets.regulation import preset
from griddispatch.data.regulation import synthesise
from griddispatch.envs.regulation_hours import DECISIONS, SIGNAL_STEPS
from griddispatch.errors import InputError
from griddispatch.evaluation import regulation_comparison as comparison
from griddispatch.evaluation import regulation_equivalence as equivalence
from griddispatch.evaluation import regulation_experiments as experiments
from griddispatch.evaluation.regulation_experiments import PLAIN, Setting, Sizes
from griddispatch.learning.training import Training

TINY = replace(deltanet.PRESETS["tuned"], updates=1, hours=2, window=5, window_end=5)
SIZES = Sizes(train=4, validation=1, test=2)


def rules_instead(env, config, seeds, validation, *, records, progress, **options):
    """Stand in for a learner and hand back what it was given, with a rule for each seed."""
    given = pd.DataFrame({"env": [env], "validation": [validation], **options, "seed": [seeds[0]]})
    return Training([MeritOrder() for _ in seeds], given)


LEARNERS = (
    deltanet.train_pathwise,
    deltanet_ppo.train,
    regulation_monolithic.train,
    regulation_td3.train,
    experiments.tune,
)


@cache
def trained():
    return experiments.train_and_test(rules_instead, "learner", PLAIN, TINY, [0, 1], SIZES)


@cache
def rule(setting=PLAIN):
    env = experiments.environment(setting, "test", SIZES.test)
    return experiments.judged(env, MeritOrder(), **experiments.label("rule", setting), seed=0)


def made_up(policy, values, *, column="objective", **changed):
    """Rows of a policy with these values [seeds, hours]."""
    values = np.atleast_2d(values)
    seed, hour = np.indices(values.shape)
    frame = pd.DataFrame({"seed": seed.ravel(), "hour": hour.ravel(), column: values.ravel()})
    return frame.assign(**(experiments.label(policy) | changed))


# -- cells --------------------------------------------------------------------------------


def test_a_cell_has_every_seed_on_every_test_hour():
    cell = trained()
    assert list(zip(cell.hours["seed"], cell.hours["hour"], strict=True)) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert len(cell.policies) == 2
    assert (cell.hours["violations"] == 0).all()
    assert (cell.hours["setpoints"] == 5 * DECISIONS).all()
    assert set(experiments.label("", PLAIN)) <= set(cell.hours) & set(cell.curve)


def test_training_validation_and_test_never_meet():
    signals = [
        experiments.environment(PLAIN, split, 2).hours.signal
        for split in ("train", "validation", "test")
    ]
    for i, one in enumerate(signals):
        for other in signals[:i]:
            assert not np.isclose(one, other).all(1).any()


def test_the_test_is_on_the_true_plant_whatever_is_believed():
    wrong = Setting(dead_time=2.0)
    learning = experiments.environment(wrong, "train", 1)
    test = experiments.environment(wrong, "test", 1)
    assert test.fleet == preset()
    assert test.believed == learning.believed == learning.fleet
    assert learning.fleet.dead_steps == tuple(2 * d for d in preset().dead_steps)
    assert experiments.environment(PLAIN, "test", 1).believed == preset()


@pytest.mark.parametrize(("factor", "ev"), [(0.0, 0), (0.5, 4), (1.5, 8)])
def test_believed_dead_times_are_rounded_up_to_what_the_model_knows(factor, ev):
    fleet = experiments.believed_fleet(preset(), factor)
    assert fleet.resources[0].dead_s == 20 * factor
    assert fleet.resources[3].dead_s == ev
    with pytest.raises(InputError, match="dead_time is -1"):
        experiments.believed_fleet(preset(), -1)


def test_an_order_names_every_resource_once_and_the_map_follows_it():
    env = experiments.environment(PLAIN, "train", 1)
    for name, order in experiments.ORDERS.items():
        assert sorted(order) == sorted(env.fleet.names)
        made = experiments.mapping(replace(PLAIN, order=name), env, nested=False)
        assert tuple(env.fleet.names[i] for i in made.order) == order
    assert experiments.mapping(Setting(balance="setpoints"), env, nested=False).nested
    with pytest.raises(InputError, match="no order"):
        experiments.mapping(Setting(order="by name"), env, nested=False)


@pytest.mark.parametrize("train", LEARNERS)
def test_every_learner_takes_what_a_cell_gives(train):
    given = {"records": 1, "progress": print}
    if train.__module__ in (deltanet.__name__, deltanet_ppo.__name__):
        given["mapping"] = None
    inspect.signature(train).bind("env", "config", [0], "validation", **given)


def test_a_setting_reaches_the_learner():
    setting = Setting(order="fast to slow", dead_time=2.0, signal="RegA", preview=True)
    cell = experiments.train_and_test(
        rules_instead, "rule", setting, TINY, [0], SIZES, factored=True
    )
    env, validation, mapping = cell.curve.iloc[0][["env", "validation", "mapping"]]
    assert mapping.order == (4, 3, 2, 1, 0)
    assert not mapping.nested
    assert env.preview
    assert validation.preview
    assert env.fleet.dead_steps[0] == 2 * preset().dead_steps[0]
    assert (len(env.hours), len(validation.hours), len(cell.hours)) == (4, 1, 2)
    np.testing.assert_array_equal(
        env.hours.signal, experiments.environment(Setting(signal="RegA"), "train", 4).hours.signal
    )


def test_changes_are_the_columns_that_differ():
    assert experiments.changes(replace(PLAIN, order="EV last")) == {"order": "EV last"}
    assert experiments.changes(replace(PLAIN, nested=True)) == {"nested": "yes"}
    assert experiments.changes(PLAIN) == {}


def test_the_preview_is_part_of_what_the_policy_sees():
    seen = [experiments.environment(Setting(preview=p), "test", 1).n_observations for p in (0, 1)]
    assert seen[1] == seen[0] + 10


def test_a_recorded_signal_is_cut_into_three_parts_in_time(tmp_path):
    hours = 12
    signal = np.sin(np.arange((hours - 1) * 1800 + SIGNAL_STEPS) / 50)
    file = tmp_path / "recorded.csv"
    pd.DataFrame({"signal": signal}).to_csv(file, index=False)
    parts = {s: experiments.recorded(str(file), s) for s in ("train", "validation", "test")}
    assert [len(p) for p in parts.values()] == [8, 2, 2]
    env = experiments.environment(Setting(signal=str(file)), "test", 2)
    np.testing.assert_allclose(env.hours.signal, parts["test"])
    np.testing.assert_allclose(parts["validation"][0], signal[8 * 1800 :][:SIGNAL_STEPS])
    with pytest.raises(InputError, match="2 hours; 3 are wanted"):
        experiments.environment(Setting(signal=str(file)), "test", 3)


def test_the_split_is_tuned_like_a_learner_is_trained():
    config = experiments.TuneConfig(evaluations=4, population=4, elite=2, hours=1)
    cell = experiments.train_and_test(
        experiments.tune, "Tuned split", PLAIN, config, [0], Sizes(1, 1, 1)
    )
    assert cell.curve.empty
    assert len(cell.policies) == len(cell.hours) == 1


def test_a_decision_takes_some_time():
    env = experiments.environment(PLAIN, "test", 1)
    assert 0 < experiments.decision_ms(env, MeritOrder(), rounds=5) < 1000


# -- comparison ---------------------------------------------------------------------------


def test_rows_are_those_of_one_setting():
    table = pd.concat([rule(), rule(replace(PLAIN, fleet="easy"))])
    assert len(comparison.rows(table, "rule")) == 2
    assert (comparison.rows(table, "rule", fleet="easy")["fleet"] == "easy").all()
    with pytest.raises(InputError, match="no rows of policy rule, fleet ev_stress"):
        comparison.rows(table, "rule", fleet="ev_stress")
    with pytest.raises(InputError, match="has no colour"):
        comparison.rows(table, "rule", colour="red")


def test_results_have_the_mean_inside_its_interval():
    found = comparison.results(trained().hours, ("objective", "total"), draws=50)
    assert list(found["metric"]) == ["objective", "total"]
    assert found["mean"].iloc[0] == pytest.approx(trained().hours["objective"].mean())
    assert ((found["low"] <= found["mean"]) & (found["mean"] <= found["high"])).all()


def test_a_paired_difference_forgets_what_makes_hours_hard():
    rng = np.random.default_rng(0)
    hard = rng.uniform(1, 10, 40)
    first, second = made_up("a", [0.9 * hard, 0.9 * hard]), made_up("b", hard)
    reduction = comparison.reduction(first, second, "objective", 200)
    np.testing.assert_allclose(reduction, 10, atol=1e-9)
    plus = made_up("a", hard + 1)
    np.testing.assert_allclose(comparison.difference(plus, second, "objective", 200), 1)


def test_policies_are_compared_on_the_hours_that_both_have():
    few, many = made_up("few", [1.0, 2.0]), made_up("many", [2.0, 4.0, 1000.0])
    assert comparison.reduction(few, many, "objective", 50).value == pytest.approx(50)
    with pytest.raises(InputError, match="no hour in common"):
        comparison.reduction(few, many[many["hour"] > 1], "objective", 50)


def test_no_violation_seen_gives_the_rule_of_three():
    none = made_up("a", np.zeros((2, 3)), column="violations").assign(setpoints=4500)
    found = comparison.violations(none)
    assert (found.outside, found.setpoints, found.hours) == (0, 27_000, 6)
    assert found.bound == pytest.approx(3 / 27_000)
    some = none.assign(violations=2.0)
    assert comparison.violations(some).outside == 54
    assert np.isnan(comparison.violations(some).bound)


# -- error and score ----------------------------------------------------------------------


def test_the_ratio_tends_to_one_on_regd_and_not_on_rega():
    ratios = equivalence.ratios(["RegD", "RegA"], 6)
    noise = ratios[ratios["error"].eq("noise")].pivot(index="size", columns="kind", values="mean")
    assert abs(noise.loc[0.005, "RegD"] - 1) < 0.02
    assert (noise["RegD"].diff().dropna() > 0).all()
    assert noise.loc[0.005, "RegA"] > 1.1
    assert ((ratios["low"] <= ratios["high"]) & (ratios["low"] > 1)).all()


def test_noise_has_the_wanted_size_and_stands_still_within_a_sample():
    signal = synthesise("RegD", 2, 0)
    error = equivalence.noisy(signal, 0.1) - signal
    np.testing.assert_allclose(error.std(1) / signal.std(1), 0.1, rtol=0.2)
    np.testing.assert_allclose(error[:, :5], error[:, :1].repeat(5, 1), atol=1e-12)


def test_a_lag_follows_its_exact_solution():
    step = np.concatenate([np.zeros((1, 1)), np.ones((1, 30))], axis=1)
    n = np.arange(31)
    np.testing.assert_allclose(equivalence.lagged(step, 10.0)[0], 1 - np.exp(-2 * n / 10))


def test_a_signal_that_stands_still_is_found():
    moving = synthesise("RegD", 2, 0)
    still = np.zeros_like(moving)
    assert equivalence.still_share(still) == 1
    assert equivalence.still_share(moving) < 0.05
    assert equivalence.still_share(np.concatenate([moving, still])) == pytest.approx(0.5, abs=0.03)


def test_perfect_foresight_knows_the_hour_that_the_policies_are_tested_on():
    exact = experiments.environment(PLAIN, "test", 2, torch.float64)
    one = experiments.environment(PLAIN, "test", 1, torch.float64)
    torch.testing.assert_close(exact.command[:, 0], one.command[:, 0])
