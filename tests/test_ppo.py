"""PPO: advantages, sibling baseline, clipped objective, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from feeders import made_up_days, small_feeder
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.agents import ppo
from griddispatch.agents.learning import Actor, shaped_reward
from griddispatch.envs.observations import observe
from griddispatch.errors import InputError

SHORT = replace(ppo.PRESETS["tuned"], episodes=48, environments=8, batch=192, hidden=(16, 16))


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1)


def test_advantages_of_a_day_worked_out_by_hand():
    """gamma = 1/2, lambda = 1/2; delta = (2 + 3 - 1, 4 + 1 - 6, 8 - 2) = (4, -1, 6)."""
    found = ppo.advantages(column(2, 4, 8), column(1, 6, 2), 0.5, 0.5)
    # backwards: 6; -1 + 6/4 = 0.5; 4 + 0.5/4 = 4.125
    torch.testing.assert_close(found, column(4.125, 0.5, 6))


@settings(max_examples=50, deadline=None)
@given(
    steps=st.integers(1, 7),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_advantages_are_the_weighted_sum_of_all_later_surprises(steps, gamma, lam, seed):
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, steps))
    after = np.append(value[1:], 0)
    delta = reward + gamma * after - value
    brute = [
        sum((gamma * lam) ** ahead * delta[t + ahead] for ahead in range(steps - t))
        for t in range(steps)
    ]
    found = ppo.advantages(column(*reward), column(*value), gamma, lam)
    torch.testing.assert_close(found, column(*brute))


@settings(max_examples=25, deadline=None)
@given(gamma=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_with_lambda_one_value_and_advantage_are_the_discounted_return(gamma, seed):
    """Whatever the critic says."""
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, 6))
    returns = [sum(gamma**i * r for i, r in enumerate(reward[t:])) for t in range(6)]
    found = ppo.advantages(column(*reward), column(*value), gamma, 1.0)
    torch.testing.assert_close(found + column(*value), column(*returns))


@settings(max_examples=25, deadline=None)
@given(days=st.integers(1, 4), siblings=st.integers(2, 5), seed=st.integers(0, 10_000))
def test_siblings_have_zero_mean_at_every_step_and_keep_their_differences(days, siblings, seed):
    advantage = torch.randn(
        2, 3, days * siblings, 2, generator=torch.Generator().manual_seed(seed)
    ).double()
    found = ppo.less_siblings(advantage, siblings)
    for first in range(0, days * siblings, siblings):
        copies = slice(first, first + siblings)
        mean = found[:, :, copies].mean(2)
        torch.testing.assert_close(mean, torch.zeros_like(mean))
        before, now = advantage[:, :, copies], found[:, :, copies]
        torch.testing.assert_close(
            now[:, :, 1:] - now[:, :, :1], before[:, :, 1:] - before[:, :, :1]
        )


def test_a_day_without_copies_keeps_its_advantage():
    advantage = torch.randn(2, 3, 4, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ppo.less_siblings(advantage, 1), advantage)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [
        (1.3, 1.0, False),  # good, and already more likely by more than the clip
        (0.7, -1.0, False),  # bad, and already less likely
        (0.7, 1.0, True),
        (1.3, -1.0, True),
        (1.1, 1.0, True),
        (0.9, -1.0, True),
    ],
)
def test_the_clipped_objective_is_flat_exactly_where_a_step_went_far_enough(
    ratio, advantage, moves
):
    log_ratio = torch.tensor(ratio, dtype=torch.float64).log().requires_grad_()
    ppo.clipped_objective(log_ratio, torch.tensor(advantage, dtype=torch.float64), 0.2).backward()
    expected = ratio * advantage if moves else 0.0
    assert log_ratio.grad is not None
    assert log_ratio.grad.item() == pytest.approx(expected)


@pytest.mark.parametrize("shaping", [False, True])
def test_a_battery_answers_for_everything_but_the_trades_of_the_others(shaping):
    """What the other battery does moves the reward of the first through the voltages only."""
    feeder = small_feeder(sigma=0.0)
    state = feeder.reset()
    state = state._replace(t=state.t + 40)
    both = torch.tensor([0.6, -0.5]).expand(len(state.day), 2)
    alone = both * torch.tensor([1.0, 0.0])
    answered, paid = [], []
    for action in (both, alone):
        after, reward, outcome = feeder.step(state, action)
        pay = shaped_reward(feeder, outcome, after, reward) if shaping else reward
        answered.append(ppo.battery_rewards(feeder, outcome, after, pay, shaping))
        paid.append(pay)
    torch.testing.assert_close(answered[0][:, 0], answered[1][:, 0])
    torch.testing.assert_close(answered[0].sum(1), paid[0])
    torch.testing.assert_close(answered[1][:, 1], torch.zeros_like(paid[1]))
    assert answered[0][:, 1].abs().min() > 0


def test_the_penalty_is_held_against_every_battery():
    paid_for = {}
    for sigma in (0.0, 400.0):
        feeder = small_feeder(sigma=sigma, days=made_up_days(load_kw=400.0))
        state = feeder.reset()
        state = state._replace(t=state.t + 72)
        after, reward, outcome = feeder.step(state, torch.ones(len(state.day), 2))
        paid_for[sigma] = ppo.battery_rewards(feeder, outcome, after, reward, shaping=False)
    assert outcome.penalty.max() > 0
    held = (paid_for[0.0] - paid_for[400.0]).T
    torch.testing.assert_close(held, outcome.penalty.expand(2, -1))


def test_training_learns_and_the_same_seed_gives_the_same_bytes():
    feeder = small_feeder(observation=observe("history"))
    validation = feeder.on(made_up_days(4, seed=1))
    first = ppo.train(feeder, SHORT, [0, 1], validation, records=2)
    again = ppo.train(feeder, SHORT, [0, 1], validation, records=2)
    assert first.curve.equals(again.curve)
    for a, b in zip(first.policies, again.policies):
        for name, p in a.saved["parameters"].items():
            assert torch.equal(p, b.saved["parameters"][name])
    by_episode = first.curve.groupby("episode")["validation"].mean()
    assert by_episode.iloc[-1] > by_episode.iloc[0] + 1
    assert first.updates == 6 * SHORT.epochs * 4
    assert first.memory_bytes > 0


def test_a_seed_does_not_depend_on_its_neighbours():
    feeder = small_feeder(observation=observe("history"))
    few = replace(SHORT, episodes=16)
    alone = ppo.train(feeder, few, [5])
    beside = ppo.train(feeder, few, [5, 6, 7])
    near = beside.policies[0].saved["parameters"]
    for name, p in alone.policies[0].saved["parameters"].items():
        torch.testing.assert_close(near[name], p, rtol=1e-3, atol=1e-4)


def test_the_actor_never_sees_the_prices_to_come():
    """Other prices in the evening change no action of the morning, privileged critic or not."""
    known = made_up_days(2)
    feeder = small_feeder(days=known, observation=observe("history"))
    policy = ppo.train(feeder, replace(SHORT, episodes=8), [0]).policies[0]
    other = made_up_days(2)
    other.price[:, 50:] += 100.0
    state = feeder.reset()
    state = state._replace(t=state.t + 40)
    assert torch.equal(policy.act(feeder, state), policy.act(feeder.on(other), state))


def test_paper_preset_runs_learns_its_sigma_and_a_saved_actor_acts_alike():
    feeder = small_feeder()
    config = replace(ppo.PRESETS["paper"], episodes=6, environments=2, batch=192, hidden=(8, 8, 8))
    training = ppo.train(feeder, config, [0])
    policy = training.policies[0]
    state = feeder.reset()
    action = policy.act(feeder, state)
    assert action.abs().max() <= 1
    assert torch.equal(Actor.load(policy.saved).act(feeder, state), action)
    assert training.updates == 3 * config.epochs
    fixed = ppo.train(feeder, replace(config, noise_end=1.0), [0])
    assert not fixed.curve["reward"].equals(training.curve["reward"])


def test_environments_that_are_no_multiple_of_siblings_are_an_error():
    with pytest.raises(InputError, match="multiple of siblings"):
        ppo.train(small_feeder(), replace(SHORT, environments=12), [0])
