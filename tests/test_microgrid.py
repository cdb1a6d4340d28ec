import dataclasses
from functools import cache
from itertools import groupby

import numpy as np
import pytest
import torch

from griddispatch.assets.microgrid import CHP, Battery, Plant, preset
from griddispatch.data.microgrid import draw_days
from griddispatch.envs.microgrid import Microgrid, State
from griddispatch.envs.microgrid_observation import published_observation
from griddispatch.envs.microgrid_reward import PublishedReward
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import play

F64 = torch.float64


@cache
def days(name="rec", count=40, steps=96):
    return draw_days(count, 3, "train", scenario=name, steps=steps)


def environment(name="rec", count=40, **options):
    plant = preset(name)
    return Microgrid(plant, days(name, count, plant.steps), **{"dtype": F64, **options})


class Wild:
    """Anything at all: far outside the intervals, at their ends, switching now and then."""

    def __init__(self, seed=0, inside=False):
        self.generator, self.inside = torch.Generator().manual_seed(seed), inside
        self.on = None

    def act(self, env, state):
        rows = len(state.day)
        draw = torch.rand(rows, 4, generator=self.generator).to(env.dtype)
        if self.on is None:
            self.on = draw[:, 3] < 0.5
        self.on = self.on ^ (draw[:, 3] < 0.1)
        battery = (2.4 * draw[:, 0] - 1.2).clamp(-1, 1)
        chp = (1.6 * draw[:, 1] - 0.3).clamp(0, 1)
        if self.inside:
            return env.placed(state, torch.stack([battery, chp, self.on.to(env.dtype)], 1))
        return torch.stack([120 * battery, 110 * chp, self.on.to(env.dtype)], 1)


def watched(env, dispatcher):
    outcomes = []
    play(env, dispatcher, watch=outcomes.append)
    return outcomes


def course(outcomes, name):
    return torch.stack([getattr(o, name) for o in outcomes], 1).numpy()


@pytest.mark.parametrize("name", ["rec", "as_printed_prices", "as_published"])
@pytest.mark.parametrize("inside", [False, True])
def test_energy_and_heat_balance_at_every_step(name, inside):
    env = environment(name)
    for o in watched(env, Wild(inside=inside)):
        pv, wind, load, heat, _, limit = env.now(o.state).unbind(1)
        battery, chp, _ = o.setpoint.unbind(1)
        supply = pv + wind - o.curtailed_kw + chp + o.import_kw + o.lost_kw
        assert float((supply - load - battery - o.export_kw).abs().max()) < 1e-11
        made = env.plant.chp.heat_ratio * chp
        warmth = made + o.boiler_kw + o.lost_heat_kw - heat - o.dumped_kw
        assert float(warmth.abs().max()) < 1e-11
        flows = (o.curtailed_kw, o.import_kw, o.lost_kw, o.export_kw, o.boiler_kw, o.dumped_kw)
        assert all(bool((flow >= 0).all()) for flow in flows)
        assert bool((o.curtailed_kw <= pv + wind + 1e-11).all())
        assert bool((o.import_kw <= limit).all())
        assert bool((o.export_kw <= env.plant.export_kw).all())
        assert not bool(((o.import_kw > 0) & (o.export_kw > 0)).any())


@pytest.mark.parametrize("inside", [False, True])
def test_every_limit_holds_whatever_is_asked_for(inside):
    env = environment()
    outcomes = watched(env, Wild(seed=4, inside=inside))
    chp, battery = env.plant.chp, env.plant.battery
    power = course(outcomes, "setpoint")
    on, p, b = power[..., 2], power[..., 1], power[..., 0]
    assert ((p >= 10 * on - 1e-9) & (p <= 80 * on + 1e-9)).all()
    before, status = (np.pad(x[:, :-1], ((0, 0), (1, 0))) for x in (p, on))
    start, stop = (on > status), (on < status)
    assert (p - before <= chp.ramp_kw * status + chp.start_kw * start + 1e-9).all()
    assert (before - p <= chp.ramp_kw * on + chp.stop_kw * stop + 1e-9).all()
    for row in on:
        runs = [(s, len(list(run))) for s, run in groupby(row)]
        assert all(length >= 2 for _, length in runs[1:-1])
    last = np.pad(b[:, :-1], ((0, 0), (1, 0)))
    assert (b.clip(0) <= last.clip(0) + battery.ramp_kw + 1e-9).all()
    assert (-b.clip(max=0) <= -last.clip(max=0) + battery.ramp_kw + 1e-9).all()
    energy = 50 + 0.25 * np.cumsum(0.95 * b.clip(0) + b.clip(max=0) / 0.95, axis=1)
    assert energy.min() >= 10 - 1e-9
    assert energy.max() <= 90 + 1e-9
    assert start.any()
    assert stop.any()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_fractions_never_violate_an_interval(dtype):
    env = environment(dtype=dtype)
    outcomes = watched(env, Wild(seed=1, inside=True))
    assert float(course(outcomes, "excess").max()) == 0.0


def test_a_violation_is_counted_before_it_is_cut():
    env = environment(count=2)
    state, reward, o = env.step(env.reset(), torch.tensor([[60.0, 30.0, 1.0], [-3.0, 10.0, 1.0]]))
    assert o.setpoint[:, 1].tolist() == [10.0, 10.0]  # the first step after a start
    assert o.setpoint[:, 0].tolist() == [10.0, -3.0]  # the battery's ramp
    assert o.excess.tolist() == [[50.0, 20.0, 0.0], [0.0, 0.0, 0.0]]
    assert o.violations.tolist() == [2, 0]
    assert o.started.tolist() == [1.0, 1.0]
    _, _, o = env.step(state, torch.tensor([[0.0, 0.0, 0.0], [0.0, 10.0, 1.0]]))
    assert o.started.tolist() == [0.0, 0.0]
    assert o.excess[:, 2].tolist() == [1.0, 0.0]  # on for one step only: it may not stop yet
    assert o.setpoint[:, 2].tolist() == [1.0, 1.0]
    assert reward.shape == (2,)


def test_the_cost_of_a_step_as_computed_by_hand():
    env = environment(count=1)
    now = torch.tensor([6.0, 4.0, 70.0, 84.0, 0.2, 30.0], dtype=F64)
    env.exogenous[0, 0] = now
    _, reward, o = env.step(env.reset(), torch.tensor([[-8.0, 10.0, 1.0]]))
    # 70 kW less 10 of PV and wind, 10 of the CHP, 8 of the battery: 42, of which 30 are to be had.
    assert o.import_kw.item() == pytest.approx(30.0)
    assert o.lost_kw.item() == pytest.approx(12.0)
    assert o.boiler_kw.item() == pytest.approx(72.0)
    assert o.voltage.item() == pytest.approx(1 - 0.04 * 0.3)
    fuel = 0.055 * (10 / 0.35 + 72 / 0.9)
    assert o.cost.item() == pytest.approx(0.25 * (0.2 * 30 + fuel + 3 * 12) + 50)
    assert reward.item() == -o.cost.item()
    assert o.violations.item() == 1  # the lost load


def test_the_day_ends_with_the_worth_of_the_battery():
    env = environment(count=1)
    state = env.reset()._replace(t=95, energy_kwh=torch.tensor([80.0], dtype=F64))
    _, _, with_stock = env.step(state, torch.zeros(1, 3))
    bare = Microgrid(dataclasses.replace(env.plant, end_value_eur=0.0), env.days, dtype=F64)
    _, _, without = bare.step(state, torch.zeros(1, 3))
    assert (without.cost - with_stock.cost).item() == pytest.approx(0.12 * 30)
    with pytest.raises(InputError, match="the day is over"):
        env.step(state._replace(t=96), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("power", "on", "held", "expected"),
    [
        (0.0, False, 1, (True, False)),
        (0.0, False, 2, (True, True)),
        (10.0, True, 1, (False, True)),
        (10.0, True, 2, (True, True)),
        (10.5, True, 9, (False, True)),
    ],
)
def test_when_the_status_may_change(power, on, held, expected):
    given = torch.tensor([power]), torch.tensor([on]), torch.tensor([held])
    off, may_on = CHP().may_switch(*given)
    assert (off.item(), may_on.item()) == expected


def test_the_published_unit_can_never_start_and_the_repaired_one_can():
    always = torch.tensor([[0.0, 80.0, 1.0]])
    for name, starts in (("as_published", 0), ("rec", 1)):
        env = environment(name, count=2)
        state, powers = env.reset(), []
        for _ in range(24):
            state, _, o = env.step(state, always.expand(2, 3))
            powers.append(o.setpoint[0, 1].item())
        assert int(state.on.sum()) == 2 * starts
        assert max(powers) == (80.0 if starts else 0.0)
    assert powers.index(80.0) == 14  # 3.5 hours after the first step


def test_the_published_grid_set_point_changes_nothing():
    env = environment("as_published")
    state = env.reset()
    one = env.step(state, env.scaled(torch.tensor([[0.3, 0.5, -1.0]]).expand(40, 3)))
    other = env.step(state, env.scaled(torch.tensor([[0.3, 0.5, 1.0]]).expand(40, 3)))
    assert all(torch.equal(a, b) for a, b in zip(one[2][1:], other[2][1:], strict=True))
    scaled = env.scaled(torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.0, -1.0]]))
    assert scaled.tolist() == [[50.0, 80.0, 100.0], [-50.0, 0.0, -80.0]]


def test_the_published_ramp_can_force_a_full_battery_to_charge():
    energy, power = torch.tensor([90.0]), torch.tensor([50.0])
    low, high = Battery(ramp_both=True).interval(energy, power, 0.25)
    assert (low.item(), high.item()) == (0.0, 0.0)  # the ramp asks for 40 or more
    low, high = Battery().interval(energy, power, 0.25)
    assert (low.item(), high.item()) == (-10.0, 0.0)


def test_the_published_bill_leaves_out_the_length_of_a_step():
    env = environment("as_published", count=3)
    hourly = Microgrid(dataclasses.replace(env.plant, billed_hours=0.25), env.days, dtype=F64)
    wrong, right = (e.step(e.reset(), torch.zeros(3, 3))[2].cost for e in (env, hourly))
    torch.testing.assert_close(wrong, 4 * right)


def test_the_battery_neither_floods_the_grid_nor_charges_from_lost_load():
    env = environment(count=1)
    env.exogenous[0, 0] = torch.tensor([60.0, 40.0, 5.0, 50.0, 0.1, 100.0], dtype=F64)
    state = env.reset()._replace(
        chp_kw=torch.tensor([80.0], dtype=F64),
        battery_kw=torch.tensor([-50.0], dtype=F64),
        on=torch.tensor([True]),
    )
    _, _, o = env.step(state, torch.tensor([[-50.0, 80.0, 1.0]]))
    assert o.setpoint[0, 0].item() == -5.0  # 80 + 5 kW go into 5 kW of load and 80 of export
    assert o.curtailed_kw.item() == 100.0
    env.exogenous[0, 0] = torch.tensor([0.0, 0.0, 60.0, 50.0, 0.1, 40.0], dtype=F64)
    _, _, o = env.step(env.reset(), torch.tensor([[9.0, 0.0, 0.0]]))
    assert o.setpoint[0, 0].item() == 0.0
    assert o.excess[0, 0].item() == 9.0


def test_cost_is_differentiable_in_the_set_points():
    env = environment(count=3)
    state = env.reset()._replace(
        chp_kw=torch.full((3,), 40.0, dtype=F64),
        on=torch.ones(3, dtype=torch.bool),
    )

    def cost(continuous):
        total, at = 0.0, state
        for k in range(3):
            wanted = torch.cat([continuous[:, k], torch.ones(3, 1, dtype=F64)], 1)
            at, reward, _ = env.step(at, wanted)
            total = total - reward
        return total + env.plant.end_value_eur * at.energy_kwh

    inside = torch.tensor([[3.0, 41.0], [-2.0, 43.0], [6.0, 39.0]], dtype=F64)
    x = inside.expand(3, 3, 2).clone().requires_grad_()
    assert torch.autograd.gradcheck(cost, x)


def test_a_day_does_not_depend_on_its_neighbours():
    env = environment()
    together = play(env, HalfWay()).cost
    alone = play(env.on(env.days.take([7])), HalfWay()).cost
    assert alone[0] == together[7]


class HalfWay:
    def act(self, env, state):
        return env.placed(state, env.observe(state)[:, :3].clamp(0, 1))


def test_observations_show_what_the_next_step_depends_on():
    env, printed = environment(), environment(observation=published_observation)
    assert (env.n_observations, printed.n_observations) == (14, 10)
    assert environment("as_published").n_observations == 10
    state = env.reset()._replace(on=torch.ones(40, dtype=torch.bool))
    running = state._replace(chp_kw=state.chp_kw + 60, held=torch.ones_like(state.held))
    assert torch.equal(printed.observe(state), printed.observe(running))
    assert not torch.equal(env.observe(state), env.observe(running))
    assert float(env.observe(state)[:, :13].abs().max()) <= 4.0


@pytest.mark.parametrize("index", ["inverted", "fixed"])
def test_a_penalty_on_past_costs_has_no_gradient(index):
    env = environment("as_published", count=5)
    past = torch.randn(5, 1000, generator=torch.Generator().manual_seed(0), dtype=F64).exp()
    state = env.reset()

    def gradient(reward):
        x = torch.tensor([[4.0, 0.0, 0.0]], dtype=F64).expand(5, 3).clone().requires_grad_()
        _, _, o = env.step(state, x)
        value = reward(o, past)
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    plain, slope = gradient(PublishedReward(risk_weight=0.0))
    penalised, same = gradient(PublishedReward(index=index))
    assert torch.equal(slope, same)
    assert bool((plain != penalised).all())
    _, other = gradient(PublishedReward(index=index, with_present=True))
    assert not torch.equal(slope, other)


def test_the_present_cost_weighs_almost_nothing_among_a_thousand():
    env = environment("as_published", count=1)
    x = torch.tensor([[4.0, 0.0, 0.0]], dtype=F64, requires_grad=True)
    _, _, o = env.step(env.reset(), x)
    past = torch.zeros(1, 999, dtype=F64)  # so the present cost is the worst
    reward = PublishedReward(index="fixed", with_present=True, battery_weight=0.0)(o, past)
    weight = torch.autograd.grad(reward.sum(), o.cost)[0].item()
    assert weight == pytest.approx(-1 - 0.3 * (1 / 50 - 1 / 1000))


def test_a_reward_without_history_has_no_penalty():
    env = environment(count=2)
    _, _, o = env.step(env.reset(), torch.tensor([[25.0, 0.0, 0.0], [5.0, 0.0, 0.0]]))
    reward = PublishedReward(violation_weight=7.0)(o, torch.zeros(2, 0, dtype=F64))
    expected = -o.cost - 7.0 * torch.tensor([1.0, 0.0]) - 0.1 * torch.tensor([10.0, 5.0]) / 50
    torch.testing.assert_close(reward, expected.to(F64))


def step_with(setpoint):
    env = environment(count=2)
    return env.step(env.reset(), setpoint)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preset("best"), "no preset 'best'"),
        (lambda: CHP(eta=float("nan")), "chp: eta is nan"),
        (lambda: CHP(minimum_kw=90.0), "minimum_kw <= power_kw"),
        (lambda: CHP(min_up=0), "min_up"),
        (lambda: Battery(soc_initial=0.95), "soc_initial"),
        (lambda: Battery(eta_charge=1.2), "efficiencies"),
        (lambda: Battery(ramp_kw=0.0), "must be positive"),
        (lambda: Plant(gas_eur=-1.0), "gas_eur is -1.0"),
        (lambda: Plant(boiler_eta=0.0), "boiler_eta"),
        (lambda: Plant(export_kw=20.0), "must fit into export_kw"),
        (lambda: step_with(torch.zeros(2, 2)), "battery, CHP, status"),
        (lambda: step_with(torch.full((2, 3), torch.nan)), "not a finite number"),
        (lambda: environment().reset(torch.tensor([40])), "outside 0 .. 39"),
        (lambda: Microgrid(preset("as_published"), days()), "draw them with steps=24"),
        (lambda: Microgrid(Plant(import_kw=90.0), days()), "the plant 90"),
        (lambda: PublishedReward(index="upper"), "'inverted' or 'fixed'"),
        (lambda: PublishedReward(alpha=1.0), "alpha in"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_state_is_kept_by_nobody():
    env = environment(count=4)
    state = env.reset()
    copy = State(*(v.clone() if isinstance(v, torch.Tensor) else v for v in state))
    wanted = torch.tensor([[5.0, 10.0, 1.0]]).expand(4, 3)
    first = env.step(state, wanted)[2].cost
    second = env.step(copy, wanted)[2].cost
    assert torch.equal(first, second)
