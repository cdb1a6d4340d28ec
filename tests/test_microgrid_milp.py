import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from griddispatch.agents.microgrid_rules import HeatLed, NetLoad, Numbers, TimeOfUse
from griddispatch.assets.microgrid import CHP, Plant, preset
from griddispatch.data.microgrid import Scenario, draw_days
from griddispatch.envs.microgrid import Microgrid
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import play
from griddispatch.optimization.microgrid_milp import Replay, foresight, scenario_plan, solve
from griddispatch.optimization.microgrid_mpc import Forecast, Predictive
from griddispatch.risk_measures import risk_objective

WILD = Scenario(spike_rate=0.06, derating_rate=0.05)  # events on almost every day


@cache
def hourly(count=8, split="train"):
    """A plant of 24 hours: quick to solve, with all rows of the one of 96 steps."""
    chp = CHP(ramp_kw=20.0, start_kw=30.0, stop_kw=30.0, start_eur=8.0, min_up=3, min_down=4)
    plant = Plant(chp=chp, steps=24, step_hours=1.0, billed_hours=1.0)
    drawn = draw_days(count, 0, split, scenario=WILD, steps=24)
    return Microgrid(plant, drawn, dtype=torch.float64)


@cache
def plans():
    return foresight(hourly(), range(8), gap=1e-6)


class AtRandom:
    def __init__(self, seed):
        self.generator, self.on = torch.Generator().manual_seed(seed), None

    def act(self, env, state):
        draw = torch.rand(len(state.day), 4, generator=self.generator, dtype=env.dtype)
        self.on = draw[:, 3] < 0.5 if self.on is None else self.on ^ (draw[:, 3] < 0.1)
        status = self.on.to(env.dtype)
        return env.placed(state, torch.stack([2 * draw[:, 0] - 1, draw[:, 1], status], 1))


def test_a_schedule_costs_in_the_environment_what_the_program_says():
    env = hourly()
    found = np.concatenate([p.cost for p in plans()])
    outcomes = []
    played = play(env, Replay(np.concatenate([p.setpoint for p in plans()])), watch=outcomes.append)
    np.testing.assert_allclose(played.cost, found, atol=1e-6)
    assert max(float(o.excess.max()) for o in outcomes) < 1e-6
    assert played.starts.sum() > 0  # the rows of the unit play a part
    assert played.starts.max() <= 4


def test_a_day_of_quarter_hours_replays_exactly_and_beats_the_rules():
    env = Microgrid(preset(), draw_days(1, 0, "train"), dtype=torch.float64)
    (plan,) = foresight(env, [0], gap=1e-3)
    played = play(env, Replay(plan.setpoint))
    assert played.cost[0] == pytest.approx(plan.cost[0], abs=1e-6)
    assert 0 <= plan.objective - plan.bound <= 1.01e-3 * plan.objective
    for rule in (TimeOfUse(), HeatLed(), NetLoad(Numbers(20.0, 6.0, 0.7, 30.0, 0.3))):
        assert play(env, rule).cost[0] > plan.bound


def test_no_dispatch_at_random_costs_less_than_the_bound():
    bound = np.array([p.bound for p in plans()])
    for seed in range(6):
        assert (play(hourly(), AtRandom(seed)).cost > bound).all()


def test_the_worth_of_a_tighter_plant_is_lower():
    env = hourly()
    tight = dataclasses.replace(env.plant.chp, ramp_kw=5.0, start_kw=10.0, stop_kw=10.0)
    other = Microgrid(dataclasses.replace(env.plant, chp=tight), env.days, dtype=torch.float64)
    (slow,) = foresight(other, [0], gap=1e-6)
    assert slow.cost[0] > plans()[0].cost[0] - 1e-6
    (locked,) = foresight(
        Microgrid(
            dataclasses.replace(env.plant, chp=dataclasses.replace(tight, start_eur=1e4)),
            env.days,
            dtype=torch.float64,
        ),
        [0],
    )
    assert locked.setpoint[..., 2].max() == 0.0


def test_a_plan_for_several_days_weighs_mean_and_tail():
    env, days = hourly(), range(8)
    neutral, averse = (scenario_plan(env, days, w, 0.75, gap=1e-6) for w in (0.0, 0.9))
    assert np.ptp(neutral.setpoint[..., 2], axis=0).max() == 0  # one status for all days
    for plan, weight in ((neutral, 0.0), (averse, 0.9)):
        assert plan.objective == pytest.approx(risk_objective(plan.cost, weight, 0.75), abs=1e-6)
    assert risk_objective(averse.cost, 0.9, 0.75) <= risk_objective(neutral.cost, 0.9, 0.75) + 1e-3
    assert neutral.cost.mean() <= averse.cost.mean() + 1e-3
    alone = np.array([p.bound for p in plans()])
    assert neutral.cost.mean() >= alone.mean() - 1e-6


def test_control_with_a_perfect_forecast_is_perfect_foresight():
    env = hourly()
    one = env.on(env.days.take([2]))
    forecast = Forecast(env.days.take([2] * 30))
    played = play(one, Predictive(forecast, gap=1e-6))
    assert played.cost[0] == pytest.approx(plans()[2].cost[0], rel=1e-4)


def test_control_sees_no_further_than_its_forecast():
    env = hourly()
    forecast = Forecast(hourly(60).days)
    played = play(env.on(env.days.take([0, 1])), Predictive(forecast, horizon=6))
    best = np.array([p.bound for p in plans()[:2]])
    assert (played.cost > best).all()
    assert played.violations.sum() <= 24


def test_a_forecast_is_the_mean_of_what_follows():
    days = draw_days(400, 0, "train", steps=24)
    forecast = Forecast(days)
    mean = forecast.mean
    np.testing.assert_allclose(forecast.ahead(10, mean[10]), mean[10:])
    windy = mean[10].copy()
    windy[1] += 10
    ahead = forecast.ahead(10, windy)
    np.testing.assert_allclose(ahead[0], windy)
    gain = ahead[:, 1] - mean[10:, 1]
    assert 5 < gain[1] < 10  # the wind lasts
    assert 0 < gain[-1] < gain[1]  # not for ever
    seen = np.stack([days.wind[:, 10], days.wind[:, 11]])
    slope = np.cov(seen)[0, 1] / seen[0].var()
    assert gain[1] == pytest.approx(10 * slope, rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: foresight(hourly(), [8]), "at least one of 0 .. 7"),
        (lambda: foresight(hourly(), []), "at least one of 0 .. 7"),
        (lambda: foresight(published(), [0]), "take the preset rec"),
        (lambda: foresight(cheap_loss(), [0]), "lost load must cost more"),
        (lambda: scenario_plan(hourly(), [0], 1.2, 0.9), "weight in"),
        (lambda: solve(hourly(), hourly().reset(), np.zeros((1, 24, 6))), "one row"),
        (lambda: play(hourly(), Replay(np.zeros((2, 24, 3)))), "schedules for 2 days"),
        (lambda: Forecast(hourly().days), "a forecast from 8 days"),
        (lambda: Predictive(Forecast(hourly(60).days), horizon=0), "horizon >= 1"),
        (lambda: play(published(), Predictive(Forecast(draw_days(30, 0, "train")))), "has 96 st"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def published():
    plant = preset("as_published")
    return Microgrid(plant, draw_days(2, 0, "train", scenario="as_published", steps=24))


def cheap_loss():
    plant = dataclasses.replace(preset(), lost_load_eur=0.1)
    return Microgrid(plant, draw_days(2, 0, "train"))
