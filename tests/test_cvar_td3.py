from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.agents import cvar_td3
from griddispatch.agents.cvar_td3 import (
    PRESETS,
    PRINTED,
    TD3,
    CVaRTD3Config,
    Potential,
    quantile_error,
    train,
)
from griddispatch.agents.cvar_td3_claims import memory_bytes, milliseconds, penalty_gradient
from griddispatch.agents.microgrid_policy import (
    MicrogridActor,
    PolicyConfig,
    StackedPolicy,
    answer_of,
    clone,
)
from griddispatch.agents.microgrid_rules import NetLoad, Numbers
from griddispatch.assets.microgrid import preset
from griddispatch.data.microgrid import draw_days
from griddispatch.envs.microgrid import Microgrid
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import play
from griddispatch.learning.networks import Streams
from griddispatch.risk_measures import cvar, risk_objective

TINY = {
    "rounds": 2,
    "environments": 4,
    "greedy": 2,
    "warmup": 1,
    "batch": 16,
    "replay": 200,
    "critic": (8,),
    "clone_updates": 4,
    "frozen": 10,
}
TEACHER = Numbers(20.0, 6.0, 0.7, 30.0, 0.3)


@cache
def environment(split="train", count=8):
    """Days of 24 hours in 24 steps: a quarter of the work."""
    plant = replace(preset(), steps=24, step_hours=1.0, billed_hours=1.0)
    return Microgrid(plant, draw_days(count, 0, split, steps=24))


def tiny(name, **changes):
    config = PRESETS[name]
    return replace(config, policy=replace(config.policy, hidden=(8,)), **{**TINY, **changes})


def stacked(seeds=(0,), **policy):
    config = PolicyConfig(hidden=(8,), **policy)
    return StackedPolicy(config, environment().n_observations, Streams(list(seeds), "weights"))


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "as_published"])
def test_every_method_trains_and_keeps_the_limits(name):
    result = train(environment(), tiny(name), [3, 5], environment("validation", 4), records=2)
    assert list(result.curve.columns) == [
        "seed",
        "update",
        "episodes",
        "seconds",
        "mean",
        "cvar",
        "objective",
        "violations",
    ]
    assert list(result.curve.seed) == [3, 5] * 3
    assert result.updates == 24 == result.curve["update"].max()
    excess = []
    for policy in result.policies:
        play(environment("validation", 4), policy, watch=lambda o: excess.append(o.excess.max()))
    assert max(excess) == 0


def test_the_published_preset_plays_the_published_plant_and_breaks_its_limits():
    plant = preset("as_published")
    env = Microgrid(plant, draw_days(4, 0, "train", scenario="as_published", steps=24))
    config = replace(PRESETS["as_published"], rounds=3, warmup=1, batch=8, replay=100)
    result = train(env, config, [0], records=1)
    assert play(env, result.policies[0]).violations.mean() > 1
    assert (config.policy.hidden, config.critic, config.tau) == ((256, 256), (256, 256), 0.005)
    assert {name: getattr(PRESETS["as_published"], name) for name in PRINTED} == PRINTED


def test_the_best_policies_on_validation_days_are_returned():
    validation = environment("validation", 30)
    result = train(environment(), tiny("ru", rounds=3), [0, 1], validation, records=3)
    for seed, policy in enumerate(result.policies):
        cost = play(validation, policy).cost
        mine = result.curve[result.curve.seed == seed]
        best = mine.loc[mine.objective.idxmin()]
        found = (cost.mean(), cvar(cost), risk_objective(cost, 0.3))
        np.testing.assert_allclose(found, [best["mean"], best["cvar"], best.objective], rtol=1e-4)


@pytest.mark.parametrize("name", ["ru", "ru cloned", "ru discrete"])
def test_a_seed_does_not_depend_on_its_neighbours_or_the_run(name):
    config = tiny(name, teacher=TEACHER) if name == "ru cloned" else tiny(name)
    first, other = (p.saved["parameters"] for p in train(environment(), config, [4, 7]).policies)
    alone = train(environment(), config, [7]).policies[0].saved["parameters"]
    for name, value in other.items():
        torch.testing.assert_close(alone[name], value, rtol=1e-4, atol=1e-5)
    again = train(environment(), config, [4, 7]).policies[0].saved["parameters"]
    assert all(torch.equal(again[name], first[name]) for name in first)


@pytest.mark.parametrize("name", ["ru", "ru discrete", "td3"])
def test_a_saved_policy_decides_as_before(name):
    env = environment("validation", 4)
    policy = train(environment(), tiny(name), [0]).policies[0]
    loaded = MicrogridActor.load(policy.saved)
    assert loaded.saved["config"] == policy.saved["config"]
    np.testing.assert_array_equal(play(env, loaded).cost, play(env, policy).cost)


def test_a_policy_counts_the_cost_of_its_day_and_asks_for_every_step():
    env = environment()
    actor = stacked().agent(0)
    steps, state = [], env.reset()
    while state.t < env.steps:
        setpoint = actor.act(env, state)
        so_far = actor.so_far
        steps.append(so_far)
        state, reward, _ = env.step(state, setpoint)
        total = so_far - reward
    np.testing.assert_allclose(total, play(env, stacked().agent(0)).cost, rtol=1e-5)
    assert (steps[0] == 0).all()
    assert (steps[5] != 0).all()
    with pytest.raises(InputError, match="asked for step 7 without step 6"):
        actor.act(env, state._replace(t=7))


def test_what_the_day_has_cost_can_change_a_decision():
    env, policy = environment(), stacked()
    state = env.reset()
    cheap, dear = (policy.seen(env, state, torch.full((8,), c)) for c in (0.0, 300.0))
    assert not torch.equal(policy(cheap), policy(dear))
    blind = stacked(sees_cost=False)
    assert blind.seen(env, state, torch.zeros(8)).shape[2] == env.n_observations


# -- what is paid -------------------------------------------------------------------------


def numbers_of(costs, potential):
    """[1, T, 6] numbers of the transitions of a day."""
    cost, b = (torch.tensor(x, dtype=torch.float64) for x in (costs, [*potential, 0.0]))
    so_far = torch.cumsum(cost, 0) - cost
    going = torch.arange(len(cost)) < len(cost) - 1
    parts = [cost, so_far, b[:-1], b[1:], torch.zeros_like(cost), going.double()]
    return torch.stack(parts, 1)[None]


@cache
def paid_for_risk():
    learner = TD3(tiny("ru"), environment(), [0])
    learner.policy.double()
    return learner


euros = st.floats(-50, 150, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(euros, euros), min_size=2, max_size=6), euros, st.floats(0, 1))
def test_the_reward_of_a_day_sums_to_the_objective_of_rockafellar_and_uryasev(steps, eta, weight):
    costs, potential = (list(map(float, x)) for x in zip(*steps, strict=True))
    learner = paid_for_risk()
    learner.config = replace(learner.config, weight=weight)
    learner.policy.eta.fill_(eta)
    paid = float(learner.reward(numbers_of(costs, potential)).sum()) * learner.config.unit

    def f(c):
        return (1 - weight) * c + weight / 0.05 * max(c - eta, 0)

    assert paid == pytest.approx(f(potential[0]) - f(sum(costs)), abs=1e-6)


def test_stored_transitions_are_paid_anew_when_eta_moves():
    learner = TD3(tiny("ru"), environment(), [0])
    numbers = numbers_of([50.0, 60.0, 70.0], [0.0, 0.0, 0.0]).float()
    learner.policy.eta.fill_(1000.0)
    far = learner.reward(numbers)[0, :, 0] * 10
    torch.testing.assert_close(far, -0.7 * torch.tensor([50.0, 60.0, 70.0]))
    learner.policy.eta.fill_(100.0)
    near = learner.reward(numbers)[0, :, 0] * 10
    torch.testing.assert_close(near - far, -6 * torch.tensor([0.0, 10.0, 70.0]))


def test_eta_is_the_quantile_of_the_last_rounds():
    learner = TD3(tiny("ru", recent=2), environment(), [0, 1])
    rounds = [100 * Streams([0, 1]).uniform(20) + shift for shift in (500, 0, 10)]
    for cost in rounds:
        learner.move_eta(cost)
    expected = np.quantile(torch.cat(rounds[1:], 1).numpy(), 0.95, axis=1)
    np.testing.assert_allclose(learner.policy.eta, expected, rtol=1e-5)


def test_the_potential_is_what_the_rest_of_the_day_costs():
    env = environment()
    b, state = Potential(env), env.reset()
    never = Numbers(np.inf, 1.0, np.inf, 10.0, 0.1)
    np.testing.assert_allclose(b(state), play(env, NetLoad(never)).cost.mean(), rtol=1e-5)
    full = state._replace(energy_kwh=state.energy_kwh + 10)
    np.testing.assert_allclose(b(state) - b(full), 10 * env.plant.end_value_eur, rtol=1e-4)
    assert (b(state._replace(t=env.steps)) == 0).all()


@pytest.mark.parametrize("index", ["inverted", "fixed"])
def test_a_penalty_on_past_costs_has_no_gradient_at_all(index):
    env, policy = environment(), stacked()
    past = torch.linspace(0, 20, 60)
    assert penalty_gradient(env, policy, past, index=index) == 0.0
    assert penalty_gradient(env, policy, past, window="present", index=index) > 1e-6
    assert penalty_gradient(env, policy, past, window="through", index=index) > 1e-6


def test_the_quantile_loss_is_smallest_at_the_quantiles():
    n = cvar_td3.QUANTILES
    y = torch.linspace(0, 100, 2001)[None, :, None]
    true = 100 * (torch.arange(n) + 0.5) / n

    def loss(found):
        return float(quantile_error(found.expand(1, 2001, n), y).mean())

    assert all(loss(true) < loss(true + shift) for shift in (-8, 8))
    assert loss(true) < loss(torch.full((n,), 50.0))


def test_the_better_of_two_values_is_the_status():
    learner = TD3(tiny("ru discrete"), environment(), [0])
    judge = learner.policy.judge
    for status, sign in ((0, -1), (1, 1)):
        with torch.no_grad():
            judge.biases[-1].copy_(100 * torch.eye(2)[status])
        seen = torch.rand(1, 5, environment().n_observations + 1)
        assert (learner.policy(seen)[..., 2] == sign).all()


# -- imitation ----------------------------------------------------------------------------


def test_an_answer_is_found_for_every_feasible_setpoint():
    env = environment()
    policy, state, streams = stacked(start_hours=None), environment().reset(), Streams([1])
    for _ in range(env.steps):
        answer = 2 * streams.uniform(8, 3) - 1
        done = policy.setpoint(env, state, answer)
        again = policy.setpoint(env, state, answer_of(env, state, done)[None])
        torch.testing.assert_close(again, done, atol=2e-3, rtol=1e-4)
        state, _, _ = env.step(state, done)


def test_a_clone_does_nearly_what_the_rule_does():
    env = environment()
    rule, policy = NetLoad(TEACHER), stacked((0, 1))

    def distance(policy):
        costs = [play(env, policy.agent(k)).cost - play(env, rule).cost for k in range(2)]
        return np.abs(costs).mean(1)

    before = distance(policy)
    clone(policy, env, TEACHER, [0, 1], 240)
    assert (distance(policy) < 0.5 * before).all()


# -- claims and errors --------------------------------------------------------------------


def test_memory_and_time_are_measured():
    env, config = environment(), tiny("ru", replay=500)
    rows = TD3(config, env, [0]).memory.rows
    assert memory_bytes(500, env, config) == rows.numel() * rows.element_size()
    timing = milliseconds(env, config, 3)
    assert min(timing) > 0
    with pytest.raises(InputError, match="repeats is 0"):
        milliseconds(env, config, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"replay": 2},
        {"weight": 1.5},
        {"alpha": 1.0},
        {"gamma": 0.0},
        {"objective": "cvar"},
        {"greedy": 0},
        {"policy": PolicyConfig(sees_cost=False)},
        {"discrete": True, "objective": "quantile"},
        {"discrete": True, "policy": PolicyConfig(start_hours=None)},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(InputError, match="TD3"):
        CVaRTD3Config(**changes)


@pytest.mark.parametrize("changes", [{"start_hours": (24,)}, {"scale": 0.0}, {"hidden": (0,)}])
def test_policies_that_make_no_sense_are_refused(changes):
    with pytest.raises(InputError, match="policy"):
        PolicyConfig(**changes)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_that_make_no_agents_are_refused(seeds):
    with pytest.raises(InputError, match="seeds are"):
        train(environment(), tiny("ru"), seeds)


def test_the_gradient_of_a_penalty_needs_past_costs_and_a_known_window():
    with pytest.raises(InputError, match="past has shape"):
        penalty_gradient(environment(), stacked(), torch.zeros(0))
    with pytest.raises(InputError, match="window 'all'"):
        penalty_gradient(environment(), stacked(), torch.ones(3), window="all")
