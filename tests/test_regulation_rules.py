from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from griddispatch.agents.regulation_rules import (
    PARAMETERS,
    FrequencySplit,
    MeritOrder,
    ProRata,
    split_rewards,
    tuned_split,
)
from griddispatch.assets.regulation import preset
from griddispatch.envs.regulation import Regulation
from griddispatch.envs.regulation_hours import draw_hours
from griddispatch.errors import InputError
from griddispatch.evaluation.regulation_rollout import judge, play
from griddispatch.optimization.regulation_lp import Replay, foresight

SHORT = 75  # decisions that the linear program is tried on, 5 minutes
RULES = {
    "capacity": ProRata(),
    "ramp": ProRata("ramp"),
    "merit order": MeritOrder(),
    "split": FrequencySplit.untuned(),
}


@cache
def environment(dtype=torch.float64, **options):
    hours = draw_hours(preset(), 3, 0, "validation")
    return Regulation(preset(), hours, dtype=dtype, **options)


@cache
def results():
    env = environment()
    return {name: play(env, rule) for name, rule in RULES.items()}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_keeps_all_limits_and_follows_the_command(name):
    result = judge(environment(), results()[name])
    assert result.violations.max() == 0
    assert result.excess.max() == 0
    assert result.total.min() > 0.7  # no answer at all has 1/3
    assert (result.useful <= result.mileage + 1e-9).all()


def test_cheap_resources_move_before_dear_ones():
    env = environment()
    state = env.reset()
    a = MeritOrder().act(env, state)
    low, high = env.feasible_interval(state)
    up = env.command[0, :, 0] > a.sum(1) + 1e-6  # the rest could not be placed at all
    torch.testing.assert_close(a[up], high[up])
    full = ((a - high).abs() < 1e-9) | ((a - low).abs() < 1e-9)
    cheap_first = [1, 4, 0, 2, 3]
    for cheap, dear in pairwise(cheap_first):
        rest = torch.minimum(torch.maximum(torch.zeros_like(low), low), high)
        moved = (a[:, dear] - rest[:, dear]).abs() > 1e-9
        assert full[moved, cheap].all()


def test_pro_rata_shares_by_what_can_be_ramped_in_a_minute():
    env = environment()
    wild = env.feasible_interval(env.reset())
    a = ProRata("ramp").act(env, env.reset()) - env.schedule
    # Thermal can move 12 MW in a minute, the battery 10 MW: the first is held by its reach.
    assert (a[:, 0].abs() <= 2 + 1e-9).all()
    free = (a[:, 4] + env.schedule[:, 4] < wild[1][:, 4]) & (a[:, 4] > wild[0][:, 4])
    regulation = env.command[0, :, 0] - env.schedule.sum(1)
    expected = regulation * 10 / (12 + 25 + 23.4 + 7 + 10)
    torch.testing.assert_close(a[free, 4], expected[free])


def test_candidates_side_by_side_are_what_each_is_alone():
    env = environment()
    start = torch.tensor([[p.start for p in PARAMETERS]], dtype=torch.float64)
    other = start + 0.1
    together = split_rewards(env, torch.cat([start, other]))
    reward = results()["split"].reward.mean()
    assert together[0] == pytest.approx(reward, rel=1e-9)
    assert together[1] != together[0]


def test_tuning_improves_the_split_and_repeats_itself():
    env = environment(torch.float32)
    options = {"population": 12, "elite": 3, "hours": 1, "seed": 1}
    lines, again = [], []
    rule = tuned_split(env, evaluations=24, **options, progress=lines.append)
    tuned_split(env, evaluations=12, **options, progress=again.append)
    assert len(lines) == 2
    assert lines[:1] == again
    better = split_rewards(env, torch.cat([FrequencySplit.untuned().values, rule.values]))
    assert better[1] > better[0]


def test_no_rule_beats_perfect_foresight_on_the_same_hour():
    env = environment()
    found = [foresight(env, h, SHORT) for h in range(3)]
    for h, best in enumerate(found):
        assert best.bound <= best.objective
        for name, trace in results().items():
            assert -trace.reward[h, :SHORT].mean() > best.bound, name
    # The environment agrees with the linear program about what its schedule does.
    setpoint = np.stack([f.setpoint for f in found])
    rest = np.repeat(setpoint[:, -1:], env.steps - SHORT, axis=1)
    trace = play(env, Replay(np.concatenate([setpoint, rest], 1)))
    # Where it wastes no energy by charging and discharging at once, that is.
    honest = [h for h in range(3) if trace.excess[h, :SHORT].max() < 1e-3]
    assert honest
    for h, best in ((h, found[h]) for h in honest):
        assert -trace.reward[h, :SHORT].mean() == pytest.approx(best.objective, rel=1e-3)
        assert trace.cost[h, :SHORT].sum() == pytest.approx(best.cost, rel=1e-2)


def test_a_dearer_mileage_never_lowers_the_bound():
    cheap = foresight(environment(), 0, 20)
    dear = foresight(environment(mileage_weight=0.01), 0, 20)
    assert dear.objective > cheap.objective
    assert dear.cost < cheap.cost


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProRata("price"), "'capacity' or 'ramp'"),
        (lambda: FrequencySplit(torch.zeros(1, 3)), "see PARAMETERS"),
        (lambda: tuned_split(environment(), evaluations=3), "elite <= population"),
        (lambda: foresight(environment(), 3), "outside 0 .. 2"),
        (lambda: foresight(environment(), 0, 0), "1 .. 900"),
        (lambda: foresight(environment(mileage_weight=0.0), 0), "at least 1e-05"),
        (
            lambda: Replay(np.zeros((1, 900, 5))).act(environment(), environment().reset()),
            "for 1 hours",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
