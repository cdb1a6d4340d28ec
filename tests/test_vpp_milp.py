"""Optimal unit commitment of the virtual power plant, rules and roll-outs."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from griddispatch.agents.vpp_rules import (
    PRIORITY_LIST,
    MarginRule,
    Numbers,
    candidate_costs,
    candidates,
    mean_demand,
    tune,
)
from griddispatch.assets.vpp import Plant, preset
from griddispatch.data.vpp_demand import BASE_KW, draw_days
from griddispatch.envs.vpp import Action, State, VirtualPowerPlant
from griddispatch.errors import InputError
from griddispatch.evaluation.vpp_rollout import play, summarise
from griddispatch.optimization.vpp_milp import (
    Replay,
    foresight,
    mean_plan,
    scenario_plan,
    solve,
)
from griddispatch.risk_measures import cvar

TRAIN = draw_days(300, 0, "train")
MEAN = mean_demand(TRAIN)
PRICES = np.linspace(0.3, 0.7, 12)


def make(count: int = 4, shift: str = "nominal", plant: Plant | None = None) -> VirtualPowerPlant:
    days = draw_days(count, 11, "validation", shift=shift)
    return VirtualPowerPlant(plant or preset(), days, p_high=PRICES, dtype=torch.float64)


@pytest.fixture(scope="module")
def optimum():
    env = make(4, "combined")
    return env, foresight(env, range(4))


class Random:
    """Feasible commitments and loads at random."""

    def __init__(self, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        rows = len(state.day)
        share = torch.rand(rows, 1, generator=self.rng)
        commit = (torch.rand(rows, 7, generator=self.rng) < share).to(env.dtype)
        load = 2 * torch.rand(rows, generator=self.rng, dtype=torch.float64) - 1
        return Action(env.allowed(state, commit), load.to(env.dtype))


def test_a_plan_costs_when_played_what_the_program_says(optimum):
    env, plans = optimum
    results = play(env, Replay.of(plans))
    np.testing.assert_allclose(results.cost, [p.cost[0] for p in plans], atol=1e-5)
    assert results.violations.sum() == 0
    for plan in plans:
        assert plan.bound <= plan.objective <= plan.bound * (1 + 5e-4)


def test_no_policy_beats_perfect_foresight_on_any_day(optimum):
    env, plans = optimum
    bounds = np.array([p.bound for p in plans])
    rules = [MarginRule(MEAN, Numbers(m, 0.9, 0.0)) for m in (0.0, 4.0, 8.0)]
    for dispatcher in (*rules, *(Random(seed) for seed in range(60))):
        assert (play(env, dispatcher).cost >= bounds).all()


def test_no_load_or_status_next_to_the_optimum_is_cheaper(optimum):
    env, plans = optimum
    best = play(env, Replay.of(plans)).cost
    plan, many = plans[0], 3000
    rng = np.random.default_rng(0)
    on = np.repeat(plan.on[None], many, 0)
    flips = rng.random(on.shape) < rng.choice([0.0, 0.02, 0.05], (many, 1, 1))
    noise = rng.normal(0, rng.choice([0.0, 0.01, 0.1], (many, 1)), (many, 12))
    load = np.clip(plan.load + noise, -1, 1)
    start = env.reset(torch.zeros(many, dtype=torch.int64))

    class Near:
        def act(self, env: VirtualPowerPlant, state: State) -> Action:
            wanted = torch.as_tensor(np.abs(on - flips)[:, state.t])
            return Action(wanted, torch.as_tensor(load[:, state.t]))

    # The program may stop within its gap, and sees discomfort through tangents.
    assert play(env, Near(), start).cost.min() >= plan.bound
    assert play(env, Near(), start).cost.min() >= best[0] * (1 - 4e-4)


def feasible(least_on: int, least_off: int) -> list[tuple[float, ...]]:
    """All status rows of 12 periods that keep the minimum times, off and free before."""
    rows = []
    for row in product((0.0, 1.0), repeat=12):
        changes = [0, *(t for t in range(1, 12) if row[t] != row[t - 1]), 12]
        runs = [(row[a], a, b) for a, b in pairwise(changes)]
        if all(
            b == 12 or (a == 0 and not on) or b - a >= (least_on if on else least_off)
            for on, a, b in runs
        ):
            rows.append(row)
    return rows


def test_the_optimum_is_that_of_an_enumeration_of_two_units():
    plant = replace(
        preset(),
        power_kw=(22.0, 16.0),
        unit_cost=(80.0, 95.0),
        min_up=(4, 3),
        min_down=(5, 4),
        start_cost=500.0,
    )
    env = make(3, plant=plant)
    first, second = feasible(4, 5), feasible(3, 4)
    table = torch.tensor(list(product(first, second))).double()  # [M, 2, 12]
    assert len(table) > 4000

    class Every:
        def act(self, env: VirtualPowerPlant, state: State) -> Action:
            return Action(table[:, :, state.t], torch.zeros(len(table), dtype=torch.float64))

    for day, plan in enumerate(foresight(env, range(3), move_load=False, gap=1e-7)):
        results = play(env, Every(), env.reset(torch.full((len(table),), day)))
        assert results.violations.sum() == 0
        assert plan.objective == pytest.approx(results.cost.min(), rel=1e-6)
        assert np.abs(plan.load).max() == 0


def test_moving_load_saves_a_little_unless_it_may_be_shed_for_nothing():
    published = replace(preset("as_published"), recourse=True)
    neutral = replace(preset(), shed_cost=2000.0)
    saved, taken = [], []
    for plant in (neutral, preset(), published):
        env = make(1, plant=plant)
        (moved,), (fixed,) = (foresight(env, [0], move_load=move) for move in (True, False))
        saved.append(1 - moved.objective / fixed.objective)
        taken.append(-BASE_KW @ moved.adjustment)
    assert -1e-3 <= saved[0] <= saved[1] <= 0.06
    assert saved[2] > 0.15
    assert taken[0] == pytest.approx(0, abs=1e-6)
    assert taken[2] > max(taken[1], 50)


def test_plans_for_scenarios_cost_what_they_cost_when_played():
    known = TRAIN.take(slice(0, 3))
    env = VirtualPowerPlant(preset(), known, dtype=torch.float64)
    plan = scenario_plan(env, known, move_load=False)
    np.testing.assert_allclose(play(env, Replay.of([plan])).cost, plan.cost, atol=1e-5)
    believed = mean_plan(env, known, move_load=False)
    assert plan.cost.mean() <= play(env, Replay.of([believed])).cost.mean() + 1e-6
    assert plan.bound >= np.mean([p.bound for p in foresight(env, range(3), move_load=False)]) - 1


def test_the_rules_forecast_follows_what_the_day_showed():
    env = make(6)
    rule = MarginRule(MEAN, Numbers(0.0, 1.0, 0.25), load=-0.5)
    state = env.reset()
    still = torch.zeros(6).double()
    mean = torch.as_tensor(BASE_KW[0] * (1 + MEAN[0] + env.response[0].item()))
    torch.testing.assert_close(rule.forecast_kw(env, state, still), mean.expand(6))
    for _ in range(3):
        state, _, _ = env.step(state, rule.act(env, state))
    errors = state.free[:, :3].numpy() - MEAN[:3]
    correction = 0.25 * (0.25 * errors[:, 0] + 0.75 * errors[:, 1]) + 0.75 * errors[:, 2]
    expected = 0.5 * state.expected.numpy()  # mean inertia, and a load action of 0
    relative = 1 + MEAN[3] + correction + env.response[3].item() + expected
    np.testing.assert_allclose(rule.forecast_kw(env, state, still), BASE_KW[3] * relative)


def test_the_margin_rule_is_feasible_covers_its_target_and_needs_fewer_units_without_margin():
    env = make(40, "combined")
    used = []
    for margin in (0.0, 8.0):
        rule, state = MarginRule(MEAN, Numbers(margin, 0.9, 0.0)), env.reset()
        used.append(0.0)
        for _ in range(12):
            action = rule.act(env, state)
            target = rule.forecast_kw(env, state, action.load) + margin
            _, must_off = env.must(state)
            most = (~must_off * env.power_kw).sum(1)
            got = action.commit @ env.power_kw
            assert bool((got >= torch.minimum(target, most) - 1e-9).all())
            state, _, outcome = env.step(state, action)
            assert int(outcome.violations.sum()) == 0
            used[-1] += float(got.sum())
    assert used[0] < used[1]


def test_rules_of_a_plant_without_recourse_plan_their_outputs():
    plant = preset("as_published")
    days = draw_days(300, 4, "test", model="published")
    mean = mean_demand(draw_days(300, 4, "train", model="published"))
    alone = VirtualPowerPlant(replace(plant, reserve_kw=0.0), days)
    with_reserve = VirtualPowerPlant(plant, days)
    tight = play(alone, MarginRule(mean)).balanced.mean()
    loose = play(with_reserve, MarginRule(mean)).balanced.mean()
    assert tight < 0.4
    assert loose > tight + 0.3


def test_nothing_is_made_on_another_device_than_that_of_the_environment():
    # A tensor made without a device would now be one without data, and cannot meet another.
    with torch.device("meta"):
        env = make(5)
        plan = mean_plan(env, TRAIN, move_load=False)
        for dispatcher in (MarginRule(MEAN, Numbers(4.0, 0.9, 0.25)), Replay.of([plan])):
            state = env.reset()
            action = dispatcher.act(env, state)
            state, _, _ = env.step(state, action)
            _, reward, _ = env.outcome_at(state, action, env.base_kw[:3])
            assert env.observe(state).device == reward.device == torch.device("cpu")
            assert bool(torch.isfinite(reward).all())


def test_tuning_takes_the_candidate_with_the_least_objective_on_the_given_days():
    envs = [make(60), make(60, "combined")]
    some = [Numbers(m, 0.9, 0.0) for m in (0.0, 5.0, 30.0)]
    mean = tune(envs, MEAN, lambda c: float(c.mean()), some)
    costs = np.stack([candidate_costs(env, MEAN, some) for env in envs])
    assert some.index(mean) == costs.mean(2).sum(0).argmin() == 1
    worst = tune(envs, MEAN, lambda c: -float(c.mean()), some)
    assert worst != mean
    np.testing.assert_allclose(costs[0, 1], play(envs[0], MarginRule(MEAN, some[1])).cost)
    assert PRIORITY_LIST in candidates(((0.0, 1.0), (0.0, 1.0), (0.0,)))


def test_rollouts_add_up():
    env = make(30, "combined")
    watched = []
    results = play(env, MarginRule(MEAN), watch=watched.append)
    assert len(watched) == 12
    np.testing.assert_allclose(results.parts.sum(1), results.cost)
    np.testing.assert_allclose(results.period_cost.sum(1), results.cost)
    reward = -250 * np.minimum(results.period_cost / 12_000, 1)
    np.testing.assert_allclose(results.reward, reward.sum(1))
    np.testing.assert_allclose(results.clipped, (results.period_cost > 12_000).mean(1))
    missing = np.stack([o.imbalance_kw for o in watched], 1)
    np.testing.assert_allclose(results.balanced, (np.abs(missing) <= 1).mean(1))
    np.testing.assert_allclose(results.shortage_kwh, np.clip(missing, 0, None).sum(1))
    assert results.clipped.max() > 0
    summary = summarise(results)
    assert summary.cvar10 == pytest.approx(np.sort(results.cost)[-3:].mean())
    assert summary.cvar10 == pytest.approx(float(cvar(results.cost, 0.9)))
    assert summary.mean == pytest.approx(results.cost.mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: foresight(e, [9]), "at least one of 0 .. 3"),
        (lambda e: solve(e, np.ones((2, 11))), r"give \[S, 12\]"),
        (lambda e: solve(make(plant=preset("as_published")), np.ones((1, 12))), "with recourse"),
        (lambda e: Replay(np.ones((1, 12, 7)), np.ones((2, 12))), "schedules have shapes"),
        (
            lambda e: Replay(np.ones((3, 12, 7)), np.zeros((3, 12))).act(e, e.reset()),
            "schedules for 3 days",
        ),
        (lambda e: MarginRule(MEAN, Numbers(-1.0, 0.0, 0.0)), "margin_kw >= 0"),
        (lambda e: MarginRule(MEAN, load=2.0), "load is 2.0"),
        (lambda e: tune([], MEAN, np.mean), "at least one environment"),
    ],
)
def test_wrong_input_is_explained(call, message):
    with pytest.raises(InputError, match=message):
        call(make())
