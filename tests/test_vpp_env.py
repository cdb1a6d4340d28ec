"""The virtual power plant: balance, signs, minimum times, gradients, the PettingZoo face."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from griddispatch.assets.vpp import Plant, preset
from griddispatch.data.vpp_demand import BASE_KW, DemandDays, draw_days
from griddispatch.envs import vpp_observation as seen
from griddispatch.envs.vpp import COSTS, Action, VirtualPowerPlant
from griddispatch.envs.vpp_parallel import ParallelVirtualPowerPlant
from griddispatch.envs.vpp_reward import clipped, displayed, published_cap
from griddispatch.errors import InputError

DAYS = draw_days(24, 7, "test", shift="combined")
PRICES = np.linspace(0.2, 0.8, 12)
COEFFICIENTS = (
    "start_cost",
    "no_load",
    "reserve_up",
    "reserve_down",
    "shortage",
    "surplus",
    "shed_cost",
    "discomfort",
    "comfort_cost",
)


def make(plant: Plant | None = None, days: DemandDays = DAYS) -> VirtualPowerPlant:
    return VirtualPowerPlant(plant or preset(), days, p_high=PRICES, dtype=torch.float64)


def random_actions(env: VirtualPowerPlant, seed: int, rows: int = len(DAYS)) -> list[Action]:
    rng = torch.Generator().manual_seed(seed)
    actions = []
    for _ in range(env.steps):
        commit, load = torch.rand(rows, 7, generator=rng), torch.rand(rows, generator=rng)
        share = torch.rand(rows, 7, generator=rng).double()
        output = None if env.plant.recourse else share * env.power_kw
        bits = (commit < torch.rand(rows, 1, generator=rng)).double()
        actions.append(Action(bits, 2 * load.double() - 1, output))
    return actions


def played(env: VirtualPowerPlant, actions: list[Action]):
    state, outcomes, states, rewards = env.reset(), [], [], []
    for action in actions:
        states.append(state)
        state, reward, outcome = env.step(state, action)
        outcomes.append(outcome)
        rewards.append(reward)
    return outcomes, [*states, state], torch.stack(rewards, 1)


@pytest.mark.parametrize("name", ["repaired", "as_published"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_power_balances_at_every_step_within_all_limits(name, seed):
    env = make(preset(name))
    outcomes, states, rewards = played(env, random_actions(env, seed))
    for o, state, reward in zip(outcomes, states, rewards.T):
        supply = o.output_kw.sum(1) + o.reserve_kw + o.shortage_kw - o.surplus_kw
        torch.testing.assert_close(supply, o.demand_kw, atol=1e-9, rtol=0)
        assert bool((o.reserve_kw.abs() <= env.plant.reserve_kw).all())
        assert bool((o.output_kw >= 0.4 * env.power_kw * o.on - 1e-9).all())
        assert bool((o.output_kw <= env.power_kw * o.on + 1e-9).all())
        assert bool((o.shortage_kw * o.surplus_kw == 0).all())
        # Nothing is missing while reserve is left.
        left = env.plant.reserve_kw - o.reserve_kw.abs()
        assert bool((left * (o.shortage_kw + o.surplus_kw) <= 1e-9).all())
        torch.testing.assert_close(sum(getattr(o, c) for c in COSTS), o.cost)
        torch.testing.assert_close(-o.cost, reward)
        controlled = (o.demand_kw - o.free_kw) / env.base_kw[state.t]
        dry = o.demand_kw == 0
        assert bool(((controlled.abs() <= 0.4 + 1e-9) | dry).all())


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_no_unit_ever_breaks_a_minimum_time(seed):
    env = make()
    outcomes, _, _ = played(env, random_actions(env, seed))
    on = torch.stack([o.on for o in outcomes], 2).numpy()  # [B, 7, 12]
    assert 0.2 < on.mean() < 0.9
    for status in on.reshape(-1, 7, 12):
        for unit, row in enumerate(status):
            changes = [0, *(np.flatnonzero(np.diff(row)) + 1), 12]
            for start, end in pairwise(changes):
                least = env.plant.min_up[unit] if row[start] else env.plant.min_down[unit]
                # The units were off and free before the day; its end cuts the last run.
                if end < 12 and (start > 0 or row[start]):
                    assert end - start >= least


def test_forbidden_commitments_are_counted_and_allowed_ones_are_not():
    env = make()
    wanted = random_actions(env, 3)
    outcomes, states, _ = played(env, wanted)
    counted = torch.stack([o.violations for o in outcomes])
    assert counted.sum() > 0
    masked = [
        action._replace(commit=env.allowed(state, action.commit))
        for action, state in zip(wanted, states)
    ]
    again, _, _ = played(env, masked)
    assert sum(int(o.violations.sum()) for o in again) == 0
    for o, other in zip(outcomes, again):
        torch.testing.assert_close(o.cost, other.cost)


@given(
    seed=st.integers(0, 1000),
    field=st.sampled_from((*COEFFICIENTS, "unit_cost")),
    more=st.floats(0.01, 300.0),
    name=st.sampled_from(("repaired", "as_published")),
)
@settings(max_examples=25, deadline=None)
def test_raising_any_cost_never_raises_a_reward(seed, field, more, name):
    plant = preset(name)
    value = getattr(plant, field)
    dearer = (value[0], value[1] + more, *value[2:]) if field == "unit_cost" else value + more
    env = make(plant)
    actions = random_actions(env, seed)
    _, _, before = played(env, actions)
    _, _, after = played(make(replace(plant, **{field: dearer})), actions)
    assert bool((after <= before + 1e-9).all())


@pytest.mark.parametrize("field", [c for c in COEFFICIENTS if c != "comfort_cost"])
def test_every_cost_counts(field):
    plant = preset()
    env = make(plant)
    actions = random_actions(env, 5)
    cost = played(env, actions)[2].sum()
    dearer = replace(plant, **{field: getattr(plant, field) + 10})
    assert played(make(dearer), actions)[2].sum() < cost


def test_published_signs_pay_for_starting_and_running():
    plant = replace(preset("as_published"), published_signs=True)
    env = make(plant)
    actions = random_actions(env, 5)
    dearer = make(replace(plant, start_cost=plant.start_cost + 100))
    assert played(dearer, actions)[2].sum() > played(env, actions)[2].sum()
    costs = [torch.stack([o.cost for o in played(e, actions)[0]]).sum() for e in (env, dearer)]
    assert costs[1] > costs[0]


def test_shedding_is_free_as_published_and_is_charged_in_the_repaired_plant():
    results = {}
    for name in ("repaired", "as_published"):
        env = make(replace(preset(name), recourse=True))
        for load in (0.0, -0.75):
            rows = torch.full((len(DAYS),), load, dtype=torch.float64)
            actions = [Action(torch.ones(len(DAYS), 7).double(), rows)] * 12
            outcomes, _, _ = played(env, actions)
            taken = sum(-env.base_kw[t] * o.adjustment for t, o in enumerate(outcomes))
            results[name, load] = sum(o.comfort for o in outcomes).mean(), taken.mean()
    assert results["as_published", -0.75][0] == 0
    assert results["repaired", 0.0] == (0, 0)
    comfort, taken = results["repaired", -0.75]
    assert taken > 60
    assert comfort >= 95 * taken


def test_the_load_follows_its_action_with_the_inertia_of_the_day():
    days = DemandDays(
        np.tile(BASE_KW, (2, 1)), np.array([0.4, 0.6]), np.zeros(2, np.int64), np.zeros((2, 12))
    )
    env = VirtualPowerPlant(preset(), days, dtype=torch.float64)
    action = Action(torch.ones(2, 7).double(), torch.full((2,), -0.5).double())
    state, _, first = env.step(env.reset(), action)
    _, _, second = env.step(state, action)
    torch.testing.assert_close(first.adjustment, torch.tensor([-0.12, -0.08]).double())
    torch.testing.assert_close(second.adjustment, torch.tensor([-0.168, -0.128]).double())
    torch.testing.assert_close(second.demand_kw, 10 * (1 + second.adjustment))


def test_what_is_seen_tells_nothing_of_inertia_kind_or_demand_to_come():
    env = make()
    other = DemandDays(
        np.concatenate([DAYS.demand_kw[:, :5], DAYS.demand_kw[::-1, 5:]], 1),
        DAYS.kappa,
        DAYS.kind[::-1].copy(),
        DAYS.event,
    )
    actions = random_actions(env, 2)
    views = []
    for days in (DAYS, other):
        one = make(days=days)
        _, states, _ = played(one, actions)
        views.append([one.observe(s) for s in states])
    for t in range(6):
        torch.testing.assert_close(views[0][t], views[1][t], rtol=0, atol=0)
    assert not torch.equal(views[0][6], views[1][6])


def test_demand_is_seen_without_expected_control_and_prices():
    env = make()
    still = [Action(torch.ones(len(DAYS), 7).double(), torch.zeros(len(DAYS)).double())] * 12
    _, states, _ = played(env, still)
    view = env.observe(states[12])
    torch.testing.assert_close(view[:, seen.DEMAND], torch.as_tensor(DAYS.relative))
    assert view.shape == (len(DAYS), seen.OBSERVATIONS)
    assert bool((view[:, seen.PERIOD] == 0).all())
    assert bool((env.observe(states[4])[:, seen.PRICE] == PRICES[4]).all())


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_merit_order_is_the_cheapest_dispatch(seed):
    env = make()
    rng = np.random.default_rng(seed)
    on = torch.as_tensor(rng.random((1, 7)) < 0.7).double()
    low, high = float((0.4 * on @ env.power_kw)[0]), float((on @ env.power_kw)[0])
    target = torch.tensor([low + rng.random() * (high - low)]).double()
    best = env.merit_order(on, target)
    torch.testing.assert_close(best.sum(1), target)
    tried = torch.as_tensor(rng.random((4000, 7))) * 0.6 + 0.4
    outputs = tried * on * env.power_kw
    share = (target - low) / (outputs.sum(1) - low).clamp(min=1e-9)
    outputs = 0.4 * on * env.power_kw + share[:, None] * (outputs - 0.4 * on * env.power_kw)
    fit = (outputs <= env.power_kw * on + 1e-9).all(1)
    assert fit.any()
    assert bool((outputs[fit] @ env.unit_cost >= float((best @ env.unit_cost)[0]) - 1e-6).all())


def test_gradients_are_those_of_differences_and_pass_straight_through():
    env = make()
    state = env.reset()
    for action in random_actions(env, 1)[:3]:
        state, _, _ = env.step(state, action)
    rng = torch.Generator().manual_seed(0)
    commit = (0.2 + 0.6 * torch.rand(len(DAYS), 7, generator=rng).double()).requires_grad_()
    load = (torch.rand(len(DAYS), generator=rng).double() - 0.5).requires_grad_()
    delta = torch.zeros(len(DAYS), dtype=torch.float64, requires_grad=True)

    def reward(c, a, d):
        return env.step(state, Action(c, a), d)[1].sum()

    assert torch.autograd.gradcheck(reward, (commit, load, delta))
    logits = torch.zeros(len(DAYS), 7, dtype=torch.float64, requires_grad=True)
    total = torch.zeros(())
    state = env.reset()
    for _ in range(12):
        p = torch.sigmoid(logits)
        bits = (torch.rand(p.shape, generator=rng) < 0.5).double()
        state, paid, _ = env.step(state, Action(bits + p - p.detach(), load))
        total = total + paid.sum()
    total.backward()
    assert bool(torch.isfinite(logits.grad).all())
    assert bool((logits.grad != 0).any(0).all())


def test_another_demand_is_what_a_step_with_that_demand_does():
    env = make()
    state = env.reset()
    for action in random_actions(env, 1)[:4]:
        state, _, _ = env.step(state, action)
    action = random_actions(env, 2)[4]
    delta = 0.2 * env.base_kw[4] * torch.tensor([-1, -0.5, 0, 0.5, 1]).double()
    after, reward, outcome = env.outcome_at(state, action, delta)
    views = env.observe(after).view(len(DAYS), 5, -1)
    for m in range(5):
        alone, paid, _ = env.step(state, action, delta[m])
        torch.testing.assert_close(reward[:, m], paid)
        torch.testing.assert_close(views[:, m], env.observe(alone))
    same = torch.ones(views.shape[2], dtype=torch.bool)
    same[seen.demand_column(4)] = False
    assert bool((views[:, :, same] == views[:, :1, same]).all())
    assert bool((views[:, 1:, ~same] > views[:, :-1, ~same]).all())
    assert len(outcome.cost) == 5 * len(DAYS)


def test_the_displayed_reward_lies_between_its_ends_and_says_what_it_clips():
    cost = np.array([0.0, 6000.0, 12_000.0, 20_000.0])
    np.testing.assert_allclose(displayed(cost, 12_000), [0, -125, -250, -250])
    np.testing.assert_array_equal(clipped(cost, 12_000), [False, False, False, True])
    assert published_cap(np.arange(101.0)) == 99


@pytest.mark.filterwarnings("ignore:.*seed.*:UserWarning")
def test_the_pettingzoo_face_passes_the_api_test_and_plays_the_same_costs():
    env = VirtualPowerPlant(preset(), DAYS)
    face = ParallelVirtualPowerPlant(env)
    parallel_api_test(face, num_cycles=30)
    face.reset(options={"day": 3})
    state = env.reset(torch.tensor([3]))
    for t in range(12):
        bits = np.array([1, 1, t % 2, 0, 0, 1, 1], dtype=np.int8)
        load = np.array([0.3], dtype=np.float32)
        views, paid, over, _, infos = face.step({"supply": bits, "load": load})
        action = Action(torch.as_tensor(bits).float()[None], torch.as_tensor(load))
        state, reward, outcome = env.step(state, action)
        assert paid["supply"] == paid["load"] == pytest.approx(float(reward))
        assert infos["load"]["violations"] == int(outcome.violations)
        np.testing.assert_array_equal(views["supply"], env.observe(state)[0].numpy())
        assert over["load"] == (t == 11)
    assert face.agents == []
    with pytest.raises(InputError, match="call reset"):
        face.step({"supply": bits, "load": load})


def test_the_pettingzoo_face_draws_the_same_days_from_the_same_seed():
    face = ParallelVirtualPowerPlant(VirtualPowerPlant(preset(), DAYS))
    drawn = []
    for _ in range(2):
        _, infos = face.reset(seed=4)
        drawn.append([infos["load"]["day"], *(face.reset()[1]["load"]["day"] for _ in range(5))])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1
    with pytest.raises(InputError, match="no action of agent 'load'"):
        face.step({"supply": np.ones(7)})


def fresh(commit: float = 1.0, load: float = 0.0) -> Action:
    return Action(
        torch.full((len(DAYS), 7), commit).double(), torch.full((len(DAYS),), load).double()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.step(e.reset(), fresh(commit=1.2)), "give commit in"),
        (lambda e: e.step(e.reset(), fresh(load=float("nan"))), "none of them NaN"),
        (lambda e: e.step(e.reset(), fresh()._replace(load=torch.zeros(3))), "action has shapes"),
        (lambda e: e.step(e.reset()._replace(t=12), fresh()), "the day is over"),
        (lambda e: e.reset(torch.tensor([99])), "outside 0 .. 23"),
        (
            lambda e: make(preset("as_published")).step(e.reset(), fresh()),
            "output exactly where the plant has no recourse",
        ),
        (lambda e: ParallelVirtualPowerPlant(make(preset("as_published"))), "with recourse"),
        (lambda e: preset("printed"), "no preset 'printed'"),
        (lambda e: Plant(min_up=(1, 2)), "min_up has 2 units"),
        (lambda e: Plant(shortage=-1.0), "shortage is -1"),
        (lambda e: Plant(control=1.0), "control < 1"),
        (lambda e: Plant(display_cap=0.0), "display_cap > 0"),
        (lambda e: displayed(1.0, 0.0), "give a positive cost"),
        (lambda e: published_cap([]), "at least one period"),
    ],
)
def test_wrong_input_is_explained(call, message):
    with pytest.raises(InputError, match=message):
        call(make())
