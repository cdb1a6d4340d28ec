from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.agents.microgrid_extensions import (
    CoupledConfig,
    Coupling,
    LagrangianConfig,
    neighbours,
    team_costs,
    train_coupled,
    train_lagrangian,
)
from griddispatch.agents.microgrid_pathwise import PRESETS, PathwiseConfig, train
from griddispatch.agents.microgrid_policy import PolicyConfig, StackedPolicy, start_steps
from griddispatch.agents.microgrid_starts import (
    branch_weights,
    play_every_start,
    play_sampled,
    quantile,
    true_saving,
)
from griddispatch.assets.microgrid import preset
from griddispatch.data.microgrid import draw_days
from griddispatch.envs.microgrid import Microgrid
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import play
from griddispatch.learning.networks import StackedMLP, Streams

SMALL = PolicyConfig(hidden=(8,), start_hours=(0, 6, 18))


@cache
def environment(split="train", count=8, dtype=torch.float32, start_eur=50.0):
    """Days of 24 hours in 24 steps: a quarter of the work."""
    plant = replace(preset(), steps=24, step_hours=1.0, billed_hours=1.0)
    plant = replace(plant, chp=replace(plant.chp, start_eur=start_eur))
    return Microgrid(plant, draw_days(count, 0, split, steps=24), dtype=dtype)


def tiny(start, **changes):
    few = {"updates": 3, "days": 8, "siblings": 4, "survey_days": 4, "survey_every": 2}
    return replace(PRESETS[start], **{"policy": SMALL, "judge_days": 8, **few, **changes})


def policy_with_judge(seeds=(0,), config=SMALL):
    n = environment().n_observations
    judge = StackedMLP((n + 3, 8, 2), Streams(list(seeds), "judge"), "silu")
    return StackedPolicy(config, n, Streams(list(seeds), "weights"), judge)


def always(policy, status):
    """The judge says so, in every state."""
    with torch.no_grad():
        policy.judge.biases[-1].copy_(100 * torch.eye(2)[int(status)])
    return policy


# -- start times --------------------------------------------------------------------------


def test_the_branches_are_what_playing_them_one_by_one_gives():
    env, policy = environment(), policy_with_judge((0, 1))
    with torch.no_grad():
        played = play_every_start(env, policy, env.reset(torch.arange(8).repeat(2)))
    assert played.cost.shape == (2, 4, 8)
    assert played.shown.shape == (2, 3, 8, env.n_observations + 3)
    for status, branch in ((False, 0), (True, 1)):
        for k in range(2):
            cost = play(env, always(policy, status).agent(k)).cost
            np.testing.assert_allclose(played.cost[k, branch], cost, rtol=1e-4)
    evening = policy_with_judge((0, 1), replace(SMALL, start_hours=(18,)))
    cost = play(env, always(evening, True).agent(0)).cost
    np.testing.assert_allclose(played.cost[0, 3], cost, rtol=1e-4)


def test_the_chp_starts_in_its_hours_only_and_stays_on():
    env = environment()
    assert start_steps(env, SMALL) == {0, 6, 18}
    policy = always(policy_with_judge(config=replace(SMALL, start_hours=(6,))), True).agent(0)
    on = []
    play(env, policy, watch=lambda o: on.append(o.setpoint[:, 2]))
    expected = (torch.arange(24) >= 6).float()[:, None].expand(-1, 8)
    assert torch.equal(torch.stack(on), expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_the_probabilities_of_all_branches_sum_to_one(start):
    weight = branch_weights(torch.tensor(start, dtype=torch.float64)[None, :, None])
    assert weight.shape == (1, len(start) + 1, 1)
    assert weight.min() >= 0
    assert float(weight.sum()) == pytest.approx(1)
    assert float(weight[0, 1]) == pytest.approx(start[0])


def test_what_a_start_saves_is_counted_against_what_waiting_leads_to():
    f = torch.tensor([10.0, 7.0, 4.0, 12.0])[None, :, None]  # never; then three start times
    never = torch.zeros(1, 3, 1, dtype=torch.bool)
    assert true_saving(f, never).flatten().tolist() == [3.0, 6.0, -2.0]
    last = torch.tensor([False, False, True])[None, :, None]
    assert true_saving(f, last).flatten().tolist() == [5.0, 8.0, -2.0]
    both = torch.tensor([False, True, True])[None, :, None]
    assert true_saving(f, both).flatten().tolist() == [-3.0, 8.0, -2.0]


def test_the_weighted_quantile_is_that_of_repeated_costs():
    cost = torch.tensor([[5.0, 1.0, 3.0, 9.0]])
    weight = torch.tensor([[2.0, 1.0, 0.0, 1.0]])
    for alpha, expected in ((0.2, 1.0), (0.5, 5.0), (0.7, 5.0), (0.8, 9.0), (1.0, 9.0)):
        assert float(quantile(cost, weight, alpha)) == expected


def test_the_gradient_of_the_cost_is_that_of_finite_differences():
    env, policy = environment(dtype=torch.float64), policy_with_judge().double()
    weight = policy.actor.weights[0]

    def cost():
        state = env.reset(torch.arange(8))
        return play_sampled(env, policy, state, Streams([3]), 5.0, blind=0.5).cost.mean()

    (found,) = torch.autograd.grad(cost(), [weight])
    direction = found / found.norm()
    h = 1e-6
    with torch.no_grad():
        weight.add_(h * direction)
        above = cost()
        weight.sub_(2 * h * direction)
        below = cost()
    assert float((above - below) / (2 * h)) == pytest.approx(float(found.norm()), rel=1e-3)


def test_start_times_are_drawn_as_probable_as_the_logit_says():
    env, policy = environment(), StackedPolicy(SMALL, 14, Streams([0]))
    state = env.reset(torch.zeros(400, dtype=torch.int64))
    with torch.no_grad():
        policy.actor.weights[-1][..., 2] = 0
        policy.actor.biases[-1][..., 2] = 1.0
        played = play_sampled(env, policy, state, Streams([0]), 5.0)
    p = 1 / (1 + np.exp(-1.0))
    each = np.array([p, (1 - p) * p, (1 - p) ** 2 * p, (1 - p) ** 3])
    found = [
        float(torch.isclose(played.log_q[0].exp(), torch.tensor(x).float()).float().mean())
        for x in each
    ]
    np.testing.assert_allclose(found, each, atol=0.06)


# -- trainings ----------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["enumerated", "sampled"])
def test_a_start_is_learned_where_it_pays_and_only_there(start):
    starts = {}
    for price in (500.0, 0.0):
        env = environment(start_eur=price)
        env = Microgrid(replace(env.plant, gas_eur=0.055 if price else 0.0), env.days)
        hours = replace(SMALL, start_hours=(0,))
        config = tiny(start, policy=hours, updates=16, days=16, lr=0.1, lr_judge=0.1)
        policy = train(env, config, [0], records=1).policies[0]
        starts[price] = play(env, policy).starts.mean()
    assert starts == {500.0: 0.0, 0.0: 1.0}


@pytest.mark.parametrize("start", ["enumerated", "sampled"])
def test_a_seed_does_not_depend_on_its_neighbours_or_the_run(start):
    first, other = (
        p.saved["parameters"] for p in train(environment(), tiny(start), [4, 7]).policies
    )
    alone = train(environment(), tiny(start), [7]).policies[0].saved["parameters"]
    for name, value in other.items():
        torch.testing.assert_close(alone[name], value, rtol=1e-3, atol=1e-4)
    again = train(environment(), tiny(start), [4, 7]).policies[0].saved["parameters"]
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_powers_are_learned_through_the_simulator():
    env = environment()
    curve = train(env, tiny("enumerated", updates=20, weight=0.0), [0, 1], records=1).curve
    before, after = (curve[curve["update"] == u].objective.to_numpy() for u in (0, 20))
    assert (after < before - 1).all()
    np.testing.assert_allclose(curve.objective, curve["mean"])


@pytest.mark.parametrize(
    "changes",
    [
        {"updates": 0},
        {"weight": -0.1},
        {"alpha": 1.0},
        {"start": "guessed"},
        {"policy": PolicyConfig(start_hours=None)},
        {"start": "sampled", "siblings": 1},
        {"start": "sampled", "siblings": 7},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(InputError, match="pathwise"):
        PathwiseConfig(**changes)


# -- constraint-aware actor ---------------------------------------------------------------


def test_a_multiplier_makes_the_actor_ask_for_less_that_cannot_be():
    env = environment()
    config = LagrangianConfig(hidden=(8,), updates=40, days=8)
    aware = train_lagrangian(env, config, [0, 1], env)
    unaware = train_lagrangian(env, replace(config, learned=False), [0, 1], env)
    assert (unaware.multiplier == 0).all()
    assert (aware.multiplier > 0).all()
    assert (aware.cut < 0.8 * unaware.cut).all()
    with pytest.raises(InputError, match="Lagrangian"):
        LagrangianConfig(rate=0.0)


# -- coupled microgrids -------------------------------------------------------------------


def coupling(common_kw=120.0, count=2):
    env = environment()
    return Coupling(env.plant, env.days, count, common_kw)


def test_neighbours_have_their_own_weather_and_one_price():
    days = environment().days
    both = neighbours(days, 2)
    assert len(both) == 16
    np.testing.assert_array_equal(both.price[8:], days.price)
    np.testing.assert_array_equal(both.load[8:12], days.load[4:])
    assert not np.array_equal(both.load[8:], both.load[:8])
    with pytest.raises(InputError, match="9 microgrids"):
        neighbours(days, 9)


def test_the_team_pays_for_its_common_connection_only():
    one = coupling()
    env = one.env
    state = env.reset(one.rows(torch.arange(8)))
    assert torch.equal(state.day.view(2, 8)[1], torch.arange(8, 16))
    _, _, outcome = env.step(state, torch.zeros(16, 3))
    price = env.now(state)[:8, 4]

    def cost(drawn, given, limit):
        flows = outcome._replace(
            import_kw=torch.tensor(drawn).repeat_interleave(8),
            export_kw=torch.tensor(given).repeat_interleave(8),
        )
        own = outcome.cost.view(2, 8).sum(0)
        return coupling(limit).team_cost(flows) - own

    plant = env.plant
    torch.testing.assert_close(cost([30.0, 20.0], [0.0, 0.0], 50.0), torch.zeros(8))
    saved = cost([30.0, 0.0], [0.0, 20.0], 50.0)
    torch.testing.assert_close(saved, -20 * (price - plant.export_eur), rtol=1e-4, atol=1e-3)
    lost = cost([30.0, 25.0], [0.0, 0.0], 50.0)
    torch.testing.assert_close(lost, 5 * (plant.lost_load_eur - price), rtol=1e-4, atol=1e-3)
    with pytest.raises(InputError, match="common_kw is -1"):
        coupling(-1.0)


@pytest.mark.parametrize("shared", [True, False])
def test_coupled_microgrids_learn_with_one_critic_or_one_each(shared):
    config = CoupledConfig(
        shared=shared,
        policy=replace(SMALL, sees_cost=False),
        critic=(8,),
        rounds=3,
        environments=4,
        warmup=1,
        batch=16,
        replay=200,
    )
    policies = [train_coupled(coupling(), config, 0) for _ in range(2)]
    costs = [team_costs(coupling(), p) for p in policies]
    assert costs[0].shape == (8,)
    assert torch.equal(*costs)
    untrained = StackedPolicy(config.policy, 14, Streams([0, 1], "weights"))
    assert not torch.equal(team_costs(coupling(), untrained), costs[0])


def test_a_tight_connection_costs_the_team():
    policy = StackedPolicy(replace(SMALL, sees_cost=False), 14, Streams([0, 1], "weights"))
    wide, tight = (team_costs(coupling(limit), policy) for limit in (500.0, 40.0))
    assert (tight >= wide - 1e-3).all()
    assert tight.mean() > wide.mean() + 10


def test_coupled_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="coupled"):
        CoupledConfig(rounds=0)
