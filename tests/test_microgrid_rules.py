from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from griddispatch.agents.microgrid_rules import (
    HeatLed,
    NetLoad,
    Numbers,
    PublishedRule,
    Scheduled,
    TimeOfUse,
    candidate_costs,
    candidates,
)
from griddispatch.assets.microgrid import preset
from griddispatch.data.microgrid import draw_days
from griddispatch.envs.microgrid import Microgrid
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import frontier, play, summarise
from griddispatch.risk_measures import cvar

NEVER = float("inf")
GRID = (10.0, 30.0, 60.0, NEVER), (1.0, 6.0), (0.7, NEVER), (10.0, 30.0), (0.1, 0.3)
SMALL = candidates(GRID)


@cache
def environment(name="rec", split="train", count=200):
    plant = preset(name)
    return Microgrid(plant, draw_days(count, 0, split, scenario=name, steps=plant.steps))


@pytest.mark.parametrize("name", ["rec", "as_published"])
@pytest.mark.parametrize(
    "rule",
    [PublishedRule(), TimeOfUse(), HeatLed(), NetLoad(Numbers(20.0, 6.0, 0.7, 30.0, 0.3))],
    ids=["published", "time of use", "heat-led", "net load"],
)
def test_no_rule_asks_for_what_cannot_be_done(name, rule):
    worst = []
    env = environment(name)
    results = play(env, rule, watch=lambda o: worst.append(float(o.excess.max())))
    # The heat-led unit of the published plant is asked to start, which its ramp forbids.
    assert max(worst) == 0.0
    assert np.isfinite(results.cost).all()


def test_rules_do_what_their_names_say():
    env = environment()
    off, heat = play(env, TimeOfUse()), play(env, HeatLed())
    assert off.starts.max() == off.chp_kwh.max() == 0.0
    assert (heat.starts == 1).all()
    never = play(env, NetLoad(Numbers(NEVER, 1.0, NEVER, 10.0, 0.1)))
    np.testing.assert_array_equal(never.cost, off.cost)
    assert play(env, PublishedRule()).starts.mean() > 1


def test_a_plan_is_followed_as_far_as_the_ramps_let_it():
    env = environment()
    on = tuple(8 <= t < 60 for t in range(96))
    status = []
    results = play(env, Scheduled(on), watch=lambda o: status.append(o.setpoint[:, 2]))
    table = torch.stack(status, 1).bool()
    assert (table[:, :60] == torch.tensor(on[:60])).all()
    assert not table[:, -1].any()
    assert (results.starts == 1).all()
    np.testing.assert_array_equal(
        play(env, Scheduled((False,) * 96)).cost, play(env, TimeOfUse()).cost
    )


def test_the_price_starts_the_unit_where_the_net_load_does_not():
    env = environment()
    results = play(env, NetLoad(Numbers(NEVER, 1.0, 0.7, 10.0, 0.1)))
    spiky = env.days.price.max(1) >= 0.7
    np.testing.assert_array_equal(results.starts > 0, spiky)
    assert 0 < spiky.mean() < 0.5


def test_candidates_cost_what_each_of_them_costs_alone():
    env = environment()
    costs = candidate_costs(env, SMALL)
    assert costs.shape == (len(SMALL), 200)
    for n in (0, len(SMALL) - 1):
        np.testing.assert_allclose(costs[n], play(env, NetLoad(SMALL[n])).cost, rtol=1e-5)


def test_candidates_leave_out_only_what_makes_no_difference():
    env = Microgrid(preset(), environment().days.take(slice(0, 40)))
    every = [Numbers(*values) for values in product(*GRID)]
    assert len(SMALL) < len(every)
    some, all_of_them = (candidate_costs(env, rules).round(2) for rules in (SMALL, every))
    np.testing.assert_array_equal(np.unique(some, axis=0), np.unique(all_of_them, axis=0))


def test_the_default_is_worth_hedging_and_the_printed_prices_are_not():
    env, fresh = environment(), environment(split="validation")
    chosen = frontier(candidate_costs(env, SMALL), (0.0, 0.6))
    neutral, averse = (SMALL[c.candidate] for c in chosen)
    plain, hedged = (play(fresh, NetLoad(n)).cost for n in (neutral, averse))
    off = play(fresh, TimeOfUse()).cost
    assert cvar(hedged) < 0.9 * cvar(off)
    assert hedged.mean() > plain.mean()
    # At the printed prices the heat-led unit is better on both, so the risk has no price.
    printed = environment("as_printed_prices", "validation")
    heat, off = (summarise(play(printed, rule)) for rule in (HeatLed(), TimeOfUse()))
    assert heat.mean < off.mean
    assert heat.cvar95 < off.cvar95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NetLoad(), "at least one"),
        (lambda: NetLoad(Numbers(1.0, 1.0, 1.0, torch.nan, 0.1)), "none of them NaN"),
        (lambda: play(environment(), Scheduled((True,) * 24)), "plan has 24 steps"),
        (lambda: candidate_costs(environment(), []), "at least one"),
        (lambda: play(environment(), NetLoad(*SMALL[:3])), "cannot be split among 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
