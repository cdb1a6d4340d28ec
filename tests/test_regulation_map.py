from functools import cache
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.agents.interval_map import IntervalMap
from griddispatch.assets.regulation import preset
from griddispatch.envs.regulation import TOLERANCE, Regulation, State
from griddispatch.envs.regulation_hours import DECISIONS, draw_hours
from griddispatch.errors import InputError

ROWS = 1000  # states per example


@cache
def environment(name, dtype):
    return Regulation(preset(name), draw_hours(preset(name), 20, 0, "train"), dtype=dtype)


def edgy(generator, *shape):
    """Uniform in [0, 1], a third of them at either end exactly."""
    u = torch.rand(*shape, generator=generator, dtype=torch.float64)
    pick = torch.randint(3, shape, generator=generator)
    return torch.where(pick == 0, u, (pick == 1).double())


def any_state(env, generator):
    """Return states that the limits allow: any output in the band, any energy in the envelope."""
    t = int(torch.randint(DECISIONS, (), generator=generator))
    hour = torch.randint(len(env.hours), (ROWS,), generator=generator)
    first, power = len(env.fleet.generators), env.constants.power.double()
    line = (2 * edgy(generator, ROWS, env.depth, env.n_actions) - 1) * power
    line[..., first:] *= 0.9
    place = edgy(generator, ROWS, len(env.fleet.storages))
    late = [d // 2 for d in env.fleet.dead_steps[first:]]
    bounds = [
        torch.stack([torch.tensor(b[:, t + k, s]) for s, k in enumerate(late)], 1)[hour]
        for b in (env.hours.empty_mwh, env.hours.full_mwh)
    ]
    energy = torch.lerp(bounds[0], bounds[1], place)
    kind = env.dtype
    return State(hour, t, line.to(kind), line[:, -1].to(kind), energy.to(kind))


STATES = settings(max_examples=18)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["hard", "easy", "ev_stress"])
@STATES
@given(seed=st.integers(0, 2**31))
def test_no_state_and_no_policy_leads_outside_the_limits(name, dtype, seed):
    """18 examples of 1000 states, times 6 cases: 108 000 states, all balances in each."""
    env, generator = environment(name, dtype), torch.Generator().manual_seed(seed)
    state = any_state(env, generator)
    low, high = env.feasible_interval(state)
    assert (low <= high).all()
    y = edgy(generator, ROWS, env.n_actions - 1).to(dtype)
    # Corrections far beyond the capacity saturate the command.
    delta = 300 * (2 * edgy(generator, ROWS) - 1).to(dtype)
    order = torch.randperm(env.n_actions, generator=generator).tolist()
    tolerance = TOLERANCE * 2 * env.constants.power
    for made in (
        IntervalMap.of(env),
        IntervalMap.of(env, nested=False),
        IntervalMap.of(env, "setpoints", order=tuple(order)),
    ):
        a = made.act(env, state, y, delta)
        assert ((a - high).clamp(min=0) <= tolerance).all()
        assert ((low - a).clamp(min=0) <= tolerance).all()
        after, _, outcome = env.step(state, a)
        assert (outcome.excess <= tolerance).all()
        window = env.window_table
        hour, t = state.hour, state.t
        size = torch.finfo(dtype).eps * 16 * (1 + after.energy.abs())  # MWh, rounding of a sum
        assert (after.energy >= window.empty[t][hour] - size).all()
        assert (after.energy <= window.full[t][hour] + size).all()
        assert (a.abs() <= window.high[t][hour] + 1e-3 * (dtype == torch.float32) + 1e-9).all()


@STATES
@given(seed=st.integers(0, 2**31))
def test_set_points_sum_to_the_target_where_the_resources_reach_it(seed):
    generator = torch.Generator().manual_seed(seed)
    env = environment("hard", torch.float64)
    state = any_state(env, generator)
    low, high = env.feasible_interval(state)
    share = edgy(generator, ROWS)
    target = low.sum(1) + share * (high - low).sum(1)
    y = edgy(generator, ROWS, env.n_actions - 1)
    for order in list(permutations(range(5)))[::17]:
        made = IntervalMap.of(env, "setpoints", order=order)
        a = made.setpoints(made.divide(low, high, target, env.delivered(state)), y)
        torch.testing.assert_close(a.sum(1), target, atol=1e-10, rtol=0)
        assert ((low <= a) & (a <= high)).all()
    saturated = made.setpoints(made.divide(low, high, target + 1e3, env.delivered(state)), y)
    torch.testing.assert_close(saturated, high, atol=1e-10, rtol=0)


def test_the_last_resource_fills_the_gap_to_what_is_delivered():
    env = environment("easy", torch.float64)
    made, state = IntervalMap.of(env), env.reset()
    generator = torch.Generator().manual_seed(0)
    met = 0
    for _ in range(40):
        a = made.act(env, state, 0.5 + 0 * torch.rand(20, 4, generator=generator).double())
        low, high = env.feasible_interval(state)
        state, _, outcome = env.step(state, a)
        free = (a[:, 4] > low[:, 4] + 1e-9) & (a[:, 4] < high[:, 4] - 1e-9)
        # The prediction is the mean of the two steps; the command of the first is what is known.
        gap = outcome.power.sum(2).mean(1) - outcome.command[:, 0]
        torch.testing.assert_close(gap[free], 0 * gap[free], atol=1e-9, rtol=0)
        met += int(free.sum())
    assert met > 400


def test_resources_without_dead_time_count_with_their_set_point():
    env = environment("hard", torch.float64)
    made = IntervalMap.of(env, order=(4, 0, 1, 2, 3))  # the battery first, the fleet last
    state = env.reset()
    low, high = env.feasible_interval(state)
    target = torch.zeros(20, dtype=torch.float64)
    a = made.setpoints(
        made.divide(low, high, target, env.delivered(state)), torch.ones(20, 4).double()
    )
    others = a[:, 4] + env.delivered(state)[:, :3].sum(1)
    expected = torch.minimum(torch.maximum(-others, low[:, 3]), high[:, 3])
    torch.testing.assert_close(a[:, 3], expected)


def test_gradients_flow_to_every_fraction_that_is_free():
    env = environment("hard", torch.float64)
    y = torch.full((20, 4), 0.5, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    (IntervalMap.of(env, nested=False).act(env, env.reset(), y) @ weight).sum().backward()
    assert torch.isfinite(y.grad).all()
    assert (y.grad.abs().sum(0) > 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IntervalMap((0, 0, 1)), "each resource once"),
        (lambda: IntervalMap((0, 1), "power"), "balance 'power'"),
        (lambda: IntervalMap((0, 1), "setpoints", nested=False), "only with nested"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
