import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from griddispatch.agents.interval_map import IntervalMap, place
from griddispatch.assets.ev_fleet import Vehicles, draw_envelopes
from griddispatch.assets.regulation import Fleet, Window, preset
from griddispatch.assets.regulation_resources import STEP_S, Battery, EVFleet, Generator
from griddispatch.envs.regulation import Regulation
from griddispatch.envs.regulation_hours import DECISIONS, SIGNAL_STEPS, draw_hours
from griddispatch.errors import InputError
from griddispatch.evaluation.regulation_rollout import judge, play

HOUR = 1 / 3600


@cache
def hours(name="hard", count=4, seed=0, split="train"):
    return draw_hours(preset(name), count, seed, split)


def environment(name="hard", count=4, **options):
    return Regulation(preset(name), hours(name, count), **{"dtype": torch.float64, **options})


class Wild:
    """Anywhere in the feasible intervals, often at their ends, for long or for a moment."""

    def __init__(self, seed=0, nested=False):
        self.generator = torch.Generator().manual_seed(seed)
        self.nested, self.y = nested, None

    def act(self, env, state):
        new = torch.rand(len(state.hour), env.n_actions, generator=self.generator).to(env.dtype)
        if self.y is None:
            self.y = new.round()
        change = torch.rand(new.shape, generator=self.generator) < 0.02
        self.y = torch.where(change, new.round() if state.t % 3 else new, self.y)
        low, high = env.feasible_interval(state)
        if not self.nested:
            return place(low, high, self.y)
        return IntervalMap.of(env).act(env, state, self.y[:, 1:])


def audit(env, trace):
    """Largest excess over every physical limit, from the delivered power and nothing else."""
    fleet, H = env.fleet, len(trace.power)
    worst = {}
    power = np.concatenate([np.repeat(trace_start(env)[:, None], 1, 1), trace.power], 1)
    for i, r in enumerate(fleet.resources):
        if isinstance(r, Generator):
            worst[r.name, "band"] = np.abs(power[..., i]).max() - r.band_mw
            jump = np.abs(np.diff(power[..., i], axis=1)).max()
            worst[r.name, "ramp"] = jump - r.ramp / 100 * r.capacity_mw / 60 * STEP_S
    first = len(fleet.generators)
    for s, r in enumerate(fleet.storages):
        p = trace.power[..., first + s]
        inside = np.where(p > 0, p / r.eta_discharge, p * r.eta_charge) * STEP_S * HOUR
        energy = env.hours.start_mwh[:, [s]] - inside.cumsum(1)
        at = slice(1, DECISIONS + 1)
        low, high = env.hours.empty_mwh[:, at, s], env.hours.full_mwh[:, at, s]
        worst[r.name, "empty"] = (low - energy[:, 1::2]).max()
        worst[r.name, "full"] = (energy[:, 1::2] - high).max()
        limit = np.repeat(env.hours.power_mw[:, :DECISIONS, s], 2, axis=1)
        worst[r.name, "power"] = (np.abs(p) - limit).max()
    assert len(env.hours) == H
    return worst


def trace_start(env):
    return env.schedule.double().numpy()


@pytest.mark.parametrize("name", ["hard", "easy", "ev_stress"])
def test_no_limit_is_ever_broken_by_any_choice_inside_the_intervals(name):
    env = environment(name, 64)  # 64 hours of 1800 steps: 115 200 steps
    trace = play(env, Wild())
    assert trace.excess.max() == 0
    for what, excess in audit(env, trace).items():
        assert excess <= 1e-9, what
    # The test would see a violation: the ends of the storages are reached.
    w = env.window_table
    place = (trace.energy[:, 1:, -1] - w.empty[..., -1].T.numpy()) / 0.8
    if name != "easy":
        assert place.min() < 1e-9
        assert place.max() > 0.9


@pytest.mark.parametrize("lag_s", [6.0, 30.0])
def test_a_battery_with_lag_and_dead_time_keeps_its_limits(lag_s):
    fleet = preset().changed("BESS", lag_s=lag_s, dead_s=8.0)
    env = Regulation(fleet, draw_hours(fleet, 8, 1, "train"), dtype=torch.float64)
    trace = play(env, Wild(1))
    for what, excess in audit(env, trace).items():
        assert excess <= 1e-9, what
    assert trace.energy[..., -1].min() < 0.12  # of 1 MWh; the lower limit is 0.1


def test_energy_ahead_of_the_dead_time_is_that_of_the_delivered_power():
    env = environment("hard", 4)
    trace = play(env, Wild(2))
    for s, (r, dead) in enumerate(zip(env.fleet.storages, env.fleet.dead_steps[3:])):
        p = trace.power[..., 3 + s]
        inside = np.where(p > 0, p / r.eta_discharge, p * r.eta_charge) * STEP_S * HOUR
        delivered = env.hours.start_mwh[:, s] - inside.sum(1)
        ahead = trace.energy[:, DECISIONS - dead // 2, s]
        np.testing.assert_allclose(ahead, delivered, atol=1e-10)


def test_one_megawatt_for_an_hour_draws_one_megawatt_hour_over_the_efficiency():
    fleet = Fleet((Battery("store", 10, 10, soc_initial=(0.5, 0.5)),))
    env = Regulation(fleet, draw_hours(fleet, 1, 0, "train"), dtype=torch.float64)
    state = env.reset()
    for _ in range(DECISIONS):
        state, _, _ = env.step(state, torch.ones(1, 1, dtype=torch.float64))
    assert float(state.energy) == pytest.approx(5 - 1 / 0.95)


def test_a_generator_answers_after_its_dead_time_with_its_lag():
    env = environment()
    state = env.reset()
    rest = env.schedule[0]
    setpoint = state.setpoint.clone()
    setpoint[:, 0] += 1.0
    powers = []
    for _ in range(20):
        state, _, outcome = env.step(state, setpoint)
        powers += outcome.power[0, :, 0].tolist()
    expected = [0.0] * 10 + [1 - 0.8**n for n in range(1, 31)]
    np.testing.assert_allclose(np.array(powers) - float(rest[0]), expected, atol=1e-12)


def test_reward_and_cost_are_what_the_text_says():
    env = environment()
    trace = play(env, Wild(3, nested=True))
    total = trace.power.sum(2)
    error = np.abs(total - trace.command).reshape(len(total), -1, 2).mean(2)
    before = np.concatenate([trace_start(env)[:, None], trace.setpoint[:, :-1]], 1)
    miles = np.abs(trace.setpoint - before) @ [3, 1.5, 4, 5, 2]
    output = trace.power[..., 4].reshape(len(total), -1, 2)  # the battery has no dead time
    wear = 15 * np.abs(output).sum(2) * STEP_S * HOUR
    np.testing.assert_allclose(trace.cost, miles + wear, rtol=1e-9)
    np.testing.assert_allclose(trace.reward, -error / 100 - 0.002 * (miles + wear), rtol=1e-9)
    result = judge(env, trace)
    np.testing.assert_allclose(result.objective, -trace.reward.mean(1))


@pytest.mark.parametrize("name", ["thermal", "hydro", "LNG", "EV", "BESS"])
def test_a_dearer_resource_never_raises_a_reward(name):
    env = environment()
    dear = preset().changed(name, cost=9.0)
    other = Regulation(dear, hours(), dtype=torch.float64)
    state = env.reset()
    wild, lower = Wild(4), False
    for _ in range(30):
        setpoint = wild.act(env, state)
        _, expensive, _ = other.step(state, setpoint)
        state, cheap, _ = env.step(state, setpoint)
        assert (expensive <= cheap + 1e-12).all()
        lower |= bool((expensive < cheap).any())
    assert lower


def test_violations_are_counted_before_they_are_cut_back():
    env = environment()

    class Raw:
        def act(self, env, state):
            a = env.feasible_interval(state)[1].clone()
            a[:, 4] += 1.0  # one of five resources, 1 MW too far
            return a

    trace = play(env, Raw())
    result = judge(env, trace)
    np.testing.assert_allclose(result.violations, 200)
    np.testing.assert_allclose(result.excess, 3600)
    assert max(audit(env, trace).values()) <= 1e-9  # what is carried out keeps the limits


def test_same_seed_same_bytes_and_rows_do_not_know_each_other():
    again = draw_hours(preset(), 4, 0, "train")
    for name in (f.name for f in dataclasses.fields(again)):
        assert getattr(again, name).tobytes() == getattr(hours(), name).tobytes()
    env = environment()
    state = env.reset(torch.tensor([2, 0]))
    setpoint = state.setpoint + 0.3
    one, reward, _ = env.step(state, setpoint)
    alone = env.reset(torch.tensor([0]))
    other, single, _ = env.step(alone, setpoint[1:])
    assert torch.equal(one.energy[1:], other.energy)
    assert torch.equal(reward[1:], single)
    late = env.reset()._replace(t=DECISIONS - 50)
    first = play(env, Wild(5), late).reward.tobytes()
    assert first == play(env, Wild(5), late).reward.tobytes()


def test_splits_and_seeds_never_share_an_hour():
    seen = [hours("hard", 4, seed, split) for seed in (0, 1) for split in ("train", "validation")]
    seen.append(hours("hard", 4, 0, "test"))
    rows = np.concatenate([h.signal[:, :3] for h in seen])
    assert len(np.unique(rows, axis=0)) == len(rows)
    more = draw_hours(preset(), 6, 0, "train")
    assert np.array_equal(more.take([0, 1, 2, 3]).full_mwh, hours().full_mwh)


def test_gradients_are_those_of_finite_differences():
    env = environment()
    steps, h = 12, 1e-5
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(steps, 4, 4, generator=generator, dtype=torch.float64) * 0.6 + 0.2
    table = IntervalMap.of(env)

    def total(y):
        state, reward = env.reset(), 0.0
        for now in y:
            state, r, _ = env.step(state, table.act(env, state, now))
            reward = reward + r.sum()
        return reward

    leaf = y.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(leaf), leaf)
    direction = torch.randn(6, *y.shape, generator=generator, dtype=torch.float64)
    for d in direction:
        slope = (total(y + h * d) - total(y - h * d)) / (2 * h)
        assert float((gradient * d).sum()) == pytest.approx(float(slope), rel=1e-4)
    assert (gradient[0].abs().sum(0) > 0).all()


def test_the_set_point_for_an_energy_is_found_exactly():
    fleet = Fleet((Battery("store", 50, 1, lag_s=5.0, eta_charge=0.8, eta_discharge=0.7),))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 1, generator=generator, dtype=torch.float64) * 5
    a = torch.randn(500, 1, generator=generator, dtype=torch.float64) * 5
    drawn = torch.zeros_like(x)
    now = x
    for step in range(400):  # two steps of a, then zero until the output has died away
        now = now + 0.4 * ((a if step < 2 else 0) - now)
        drawn += torch.where(now > 0, now / 0.7, now * 0.8) * STEP_S * HOUR
    torch.testing.assert_close(fleet.setpoint_for(drawn, x), a, atol=1e-9, rtol=0)


def test_an_interval_is_empty_for_no_energy_inside_an_envelope():
    env = environment("ev_stress", 64)
    late = env.fleet.dead_steps[3] // 2
    table = env.window_table
    for t in range(0, DECISIONS, 29):
        window = Window(*(w[t] for w in table))
        for bound in (env.hours.empty_mwh, env.hours.full_mwh):
            energy = torch.stack([torch.tensor(bound[:, t + late, 0]), window.empty[:, 1]], 1)
            least, most = window.empty, window.full
            # Whatever the rated power reaches, it reaches the envelope of the next 4 s.
            reach = window.high[:, 3:] * 4 * HOUR
            assert (energy - reach / 0.95 <= most + 1e-12).all()
            assert (energy + reach * 0.95 >= least - 1e-12).all()


def test_the_envelope_of_a_fleet_is_that_of_its_vehicles():
    one = Vehicles(count=1, soc_arrival=(0.5, 0.5), start_hour=(22.0, 22.0))
    seen = 0
    drawn = draw_envelopes(one, 30, (0,), minutes=62)
    for h in range(30):
        if (drawn.power_mw[h] == 0.007).all():  # connected all the time
            width = drawn.high_mwh[h] - drawn.low_mwh[h]
            assert width.min() >= 0
            assert width.max() <= 0.06 * 0.75 + 1e-12
            seen += 1
    assert seen > 10
    many = draw_envelopes(Vehicles(), 5, (1,))
    rise = np.diff(many.low_mwh, axis=1) * 60
    fall = -np.diff(many.high_mwh, axis=1) * 60
    assert (rise <= 0.95 * many.power_mw + 1e-9).all()
    assert (fall <= many.power_mw / 0.95 + 1e-9).all()
    assert (many.low_mwh < many.high_mwh).all()
    assert (many.low_mwh[:, 0] < many.start_mwh).all()


def test_a_preview_shows_the_signal_that_comes():
    plain, told = environment(), environment(preview=True)
    assert told.n_observations == plain.n_observations + 10
    state = plain.reset()._replace(t=7)
    extra = told.observe(state)[:, plain.n_observations - 30 + 13 : 23]
    np.testing.assert_allclose(extra, hours().signal[:, 16:35:2])


def test_an_observation_knows_what_is_on_its_way():
    env = environment()
    state = env.reset()
    wild = Wild(6)
    for _ in range(20):
        state, _, _ = env.step(state, wild.act(env, state))
    seen = env.observe(state)
    believed = env.delivered(state)
    after, _, outcome = env.step(state, state.output)
    torch.testing.assert_close(outcome.power.mean(1)[:, :4], believed[:, :4])
    torch.testing.assert_close(seen[:, 23] * 100, believed.sum(1))
    assert after.t == 21
    assert torch.isfinite(seen).all()


def test_a_wrong_belief_about_a_dead_time_shows_in_the_tracking_only():
    slow = preset().changed("hydro", dead_s=20.0)
    env = Regulation(slow, hours(), believed=preset(), dtype=torch.float64)
    state = env.reset()
    setpoint = state.setpoint.clone()
    setpoint[:, 1] += 1.0
    powers, beliefs = [], []
    for _ in range(6):
        state, _, outcome = env.step(state, setpoint)
        powers.append(float(outcome.power[0, 1, 1]))
        beliefs.append(float(env.delivered(state)[0, 1]))
    assert powers[4] == 0 < powers[5]
    assert beliefs[1] > 0
    assert play(env, Wild()).excess.max() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Generator("g", 100, 20, -1, 0, 5, 1), "g: ramp must be positive; it is -1"),
        (lambda: Generator("g", 100, 120, 1, 0, 5, 1), "0 < band_mw <= capacity_mw"),
        (lambda: Generator("g", 100, 20, 1, 3, 5, 1), "multiple of 2 s"),
        (lambda: Generator("g", 100, 20, 1, 0, 0, 1), "lag_s must be positive"),
        (lambda: Battery("b", 1, 1, soc_min=0.9, soc_max=0.1), "soc_min <= soc_initial"),
        (lambda: Battery("b", 1, 1, dead_s=2.0), "multiple of 4 s"),
        (lambda: Battery("b", 1, 1, eta_charge=1.1), "efficiencies"),
        (lambda: Battery("b", 1, -1), "energy_mwh must be positive"),
        (lambda: EVFleet("e", Vehicles(), lag_s=4), "needs lag_s <= 2"),
        (lambda: Vehicles(soc_min=0.9), "soc_min <= soc_arrival"),
        (lambda: Vehicles(count=0), "count"),
        (lambda: Vehicles(soc_departure=1.0), "soc_departure"),
        (lambda: Vehicles(eta_discharge=0), "efficiencies"),
        (lambda: Vehicles(tightness=0), "tightness"),
        (lambda: Fleet((Battery("b", 1, 1), Battery("b", 1, 1))), "must differ"),
        (lambda: Fleet((Generator("g", 100, 20, 1, 0, 5, 1),)), "at least one storage"),
        (lambda: preset("soft"), "hard, easy or ev_stress"),
        (lambda: preset().changed("nuclear", cost=1), "no resource 'nuclear'"),
        (lambda: draw_hours(preset(), 1, 0, "dev"), "no split 'dev'"),
        (lambda: draw_hours(preset(), 0, 0, "train"), "count >= 1"),
        (
            lambda: draw_hours(preset(), 1, 0, "train", signal=np.ones((1, 1800))),
            "give .hours, 1822.",
        ),
        (
            lambda: draw_hours(preset(), 1, 0, "train", signal=np.full((1, SIGNAL_STEPS), 1.5)),
            "outside .-1, 1.",
        ),
        (
            lambda: draw_hours(preset(), 2, 0, "train", signal=np.ones((1, SIGNAL_STEPS))),
            "has 1 hours; 2 are wanted",
        ),
        (lambda: environment(capacity_mw=0), "capacity_mw > 0"),
        (
            lambda: Regulation(Fleet((Battery("b", 1, 1),)), hours()),
            "drawn for another fleet",
        ),
        (lambda: environment().reset(torch.tensor([4])), "outside 0 .. 3"),
        (lambda: environment().step(environment().reset(), torch.zeros(4, 3)), "shape .4, 3."),
        (
            lambda: environment().step(environment().reset(), torch.full((4, 5), torch.nan)),
            "not a finite number",
        ),
        (
            lambda: environment().step(environment().reset()._replace(t=900), torch.zeros(4, 5)),
            "hour is over",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
