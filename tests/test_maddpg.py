"""MADDPG: the steps of its algorithm, and what it reaches in a small game."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from test_supply_load_game import small

from griddispatch.agents.maddpg import (
    MADDPG,
    PRESETS,
    Batch,
    CentralisedCritic,
    MADDPGConfig,
    train,
)
from griddispatch.errors import InputError
from griddispatch.evaluation import exploitability
from griddispatch.learning.networks import Streams
from griddispatch.learning.steps import set_lr
from griddispatch.optimization.game_equilibrium import equilibria

SHORT = MADDPGConfig(
    hidden=(16,),
    critic=(48, 48),
    rounds=200,
    batch=64,
    warmup=10,
    days=8,
    lr=1e-2,
    lr_end=1e-4,
    actor_share=1.0,
)
EASY = replace(small(), alpha=0.0, tau=0.03)  # nothing is missed: the low price is best for load


def team(**changes):
    """Three agents that see 2, 3 and 4 numbers and do 1, 2 and 1; two seeds."""
    config = replace(SHORT, **changes)
    return MADDPG(config, 5, [2, 3, 4], [1, 2, 1], [0, 1], torch.tanh)


def batch(seed=0):
    draw = torch.Generator().manual_seed(seed)

    def some(*widths):
        return [torch.randn(2, 6, n, generator=draw) for n in widths]

    (state, after), seen, actions = some(5, 5), some(2, 3, 4), some(1, 2, 1)
    return Batch(state, seen, actions, some(1, 1, 1), after, some(2, 3, 4))


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@cache
def trained():
    return train(EASY, SHORT, [0, 1], records=4)


def test_a_centralised_critic_answers_to_every_agent_and_an_independent_one_to_its_own():
    one = batch()
    for sees, expected in [(None, [True, True, True]), ([1], [False, True, False])]:
        critic = CentralisedCritic(5, [1, 2, 1], (8,), Streams([0, 1]), sees)
        before = critic(one.state, one.actions)
        assert before.shape == (2, 6, 1)
        for i, answers in enumerate(expected):
            moved = [a + (1.0 if j == i else 0.0) for j, a in enumerate(one.actions)]
            assert torch.equal(critic(one.state, moved), before) is not answers


def test_targets_are_the_reward_and_the_discounted_value_of_what_the_targets_do():
    learner, one = team(gamma=0.9), batch()
    actions = [torch.tanh(a(o)) for a, o in zip(learner.target_actors, one.seen_after)]
    for i, y in enumerate(learner._target_values(one)):
        future = learner.target_critics[i](one.after, actions)
        assert torch.allclose(y, one.rewards[i] + 0.9 * future)


def test_the_bonus_is_part_of_what_is_to_come():
    plain, paid = team(gamma=0.9), team(gamma=0.9)
    paid.bonus = lambda action: torch.ones_like(action[..., :1])
    for y, more in zip(plain._target_values(batch()), paid._target_values(batch())):
        assert torch.allclose(more, y + 0.9)


@pytest.mark.parametrize("others", ["current", "memory"])
def test_an_actor_follows_the_gradient_of_its_own_critic(others):
    # With critics held still, one small update must raise every actor's own value.
    learner, one = team(others=others), batch()
    set_lr(learner.critic_optimisers, 0.0)
    set_lr(learner.actor_optimisers, 1e-4)
    before = deepcopy(learner.actors)

    def values(actors):
        held = [torch.tanh(a(o)) for a, o in zip(before, one.seen)]
        beside = one.actions if others == "memory" else held
        own = [torch.tanh(a(o)) for a, o in zip(actors, one.seen)]
        every = ([own[j] if j == i else beside[j] for j in range(3)] for i in range(3))
        found = [q(one.state, actions) for q, actions in zip(learner.critics, every)]
        return torch.stack(found).detach().mean((2, 3))

    learner.update(one)
    assert (values(learner.actors) > values(before)).all()


def test_targets_follow_slowly():
    learner = team(tau=0.25)
    start = flat(learner.target_critics)
    learner.update(batch())
    expected = 0.75 * start + 0.25 * flat(learner.critics)
    assert torch.allclose(flat(learner.target_critics), expected, atol=1e-7)


def test_without_noise_actions_are_the_actors_answers_and_noise_moves_them():
    learner, seen = team(), batch().seen
    plain = learner.act(seen)
    assert all(torch.equal(a, b) for a, b in zip(plain, learner.act(seen)))
    assert all((a != b).any() for a, b in zip(plain, learner.act(seen, 0.5)))


def test_training_lowers_exploitability():
    curve = exploitability.over_training(EASY, trained())
    by_round = curve.groupby("round")["exploitability"].max()
    assert by_round.iloc[-1] < 0.25 * by_round.iloc[0]


def test_load_learns_that_the_low_price_is_best_where_nothing_is_missed():
    assert (trained().load[0, ..., 2] < 0.5).all()
    assert (trained().load[-1, ..., 2] > 0.8).all()


def test_the_distance_is_that_to_the_nearest_equilibrium_of_a_period():
    known = equilibria(small(), starts=4)
    p = np.stack([known[0].supply[-1], known[1].supply[0]])
    p[1] += [0.05, -0.05, 0]
    training = replace(trained(), supply=p[None, None])
    assert np.allclose(exploitability.distance(training, known), [[0, 0.05]], atol=1e-9)


def test_the_record_of_a_training_begins_before_learning_and_holds_strategies():
    training = trained()
    assert training.rounds.tolist() == [0, 50, 100, 150, 200]
    assert training.updates == SHORT.rounds - SHORT.warmup
    assert training.supply.shape == training.load.shape == (5, 2, 2, 3)
    assert np.allclose(training.supply.sum(-1), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_whatever_its_neighbours():
    config = replace(SHORT, rounds=30)
    alone, beside = (
        train(small(), config, [1], records=1),
        train(small(), config, [0, 1], records=1),
    )
    again = train(small(), config, [1], records=1)
    assert alone.supply.tobytes() == again.supply.tobytes()
    assert alone.load.tobytes() == again.load.tobytes()
    assert np.allclose(alone.supply[:, 0], beside.supply[:, 1], atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains(name):
    config = replace(PRESETS[name], rounds=4, warmup=1, batch=16, memory=200)
    training = train(small(), config, [3], records=1)
    assert training.updates == 3
    assert not np.array_equal(training.supply[0], training.supply[-1])


def test_the_price_probability_has_an_interval_over_the_seeds():
    game, training = EASY, trained()
    frame = exploitability.high_price(game, training)
    handed = exploitability.for_lower_level(game, training)
    assert np.allclose(frame["mean"], handed)
    reached = training.supply[-1][..., 0]
    assert (frame["low"] >= reached.min(0) - 1e-12).all()
    assert (frame["high"] <= reached.max(0) + 1e-12).all()
    assert (frame["low"] < frame["high"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, "must be positive"),
        ({"gamma": 1.0}, "gamma"),
        ({"warmup": -1}, "warmup"),
        ({"others": "nobody"}, "nobody"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SHORT, **change)


def test_a_training_needs_seeds_and_a_record():
    with pytest.raises(InputError, match="seeds"):
        train(small(), SHORT, [])
    with pytest.raises(InputError, match="records is 0"):
        train(small(), SHORT, [0], records=0)


def test_a_distance_needs_an_equilibrium_for_every_period():
    known = equilibria(small(), starts=2)
    with pytest.raises(InputError, match="every period"):
        exploitability.distance(trained(), known[:1])
