"""DDPG, TD3 and SAC: the loop they share, the update of each, and what a training leaves behind."""

from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import pytest
import torch
from feeders import made_up_days, small_feeder

from griddispatch.agents import ddpg, off_policy, sac, td3
from griddispatch.agents.learning import Actor
from griddispatch.agents.off_policy import View, q_value
from griddispatch.agents.replay import Replay
from griddispatch.data.series import Days
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.observations import observe
from griddispatch.learning.networks import Streams
from griddispatch.learning.steps import descend, regression_error
from griddispatch.learning.training import Training

ALGORITHMS = [ddpg, td3, sac]
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda m: m.NAME)


def hourly(days: Days) -> Days:
    """Every fourth step, as steps of an hour: a day of 24 is quick to train on."""
    tables = {name: getattr(days, name)[:, ::4] for name in ("load", "pv", "reactive", "price")}
    return replace(days, **tables, step_hours=1.0)


def hourly_feeder(days: Days | None = None) -> Feeder:
    days = hourly(days or made_up_days())
    return small_feeder(days=days, observation=observe("history"))


def short(algorithm: ModuleType, **changes: Any) -> Any:
    settings = {
        "episodes": 24,
        "environments": 8,
        "warmup_episodes": 8,
        "updates_per_step": 2,
        "tau": 0.1,
        "noise_hold": 1,
        "batch": 32,
        "hidden": (16, 16),
        "replay": 2_000,
    }
    return replace(algorithm.PRESETS["tuned"], **{**settings, **changes})


def parameters(training: Training, agent: int = 0) -> dict[str, torch.Tensor]:
    return training.policies[agent].saved["parameters"]


def some_batch(feeder: Feeder, agents: int, **changes: Any) -> tuple[View, off_policy.Batch]:
    """A view with the given settings, and a batch of one day played at random."""
    view = View(feeder, agents, replace(td3.PRESETS["tuned"], **changes))
    replay, streams = Replay(agents, 500, feeder.n_actions), Streams(range(agents), "a day")
    state = feeder.reset(torch.zeros(agents, dtype=torch.int64))
    for _ in range(feeder.steps):
        action = 4 * streams.uniform(feeder.n_actions) - 2
        after, reward, _ = feeder.step(state, action.clamp(-1, 1))
        replay.add(state, action.clamp(-1, 1), reward, after)
        state = after
    return view, view.draw(replay, 64, streams)


# -- whole trainings ---------------------------------------------------------------------------


@each_algorithm
def test_training_learns_and_returns_the_best_policy_on_validation_days(algorithm):
    feeder = hourly_feeder()
    validation = feeder.on(hourly(made_up_days(4, seed=1)))
    training = algorithm.train(feeder, short(algorithm, episodes=64), [3], validation)
    tried = training.curve["validation"]
    assert tried.max() > tried.iloc[0] + 5
    state, total = validation.reset(), torch.zeros(4, dtype=torch.float64)
    for _ in range(validation.steps):
        state, reward, _ = validation.step(state, training.policies[0].act(validation, state))
        total += reward
    assert float(total.mean()) == pytest.approx(tried.max(), rel=1e-5)


@each_algorithm
def test_the_same_seed_gives_the_same_bytes(algorithm):
    feeder = hourly_feeder()
    first, again = (algorithm.train(feeder, short(algorithm), [0, 1]) for _ in range(2))
    assert first.curve.equals(again.curve)
    for agent in (0, 1):
        for name, p in parameters(first, agent).items():
            assert torch.equal(p, parameters(again, agent)[name])


@each_algorithm
def test_a_seed_does_not_depend_on_its_neighbours(algorithm):
    feeder = hourly_feeder()
    alone = algorithm.train(feeder, short(algorithm), [5])
    beside = algorithm.train(feeder, short(algorithm), [6, 5, 7])
    for name, p in parameters(alone).items():
        torch.testing.assert_close(parameters(beside, 1)[name], p, rtol=1e-3, atol=1e-4)


@each_algorithm
def test_preset_as_printed_runs_and_a_saved_actor_acts_alike(algorithm):
    feeder = small_feeder()
    config = replace(
        algorithm.PRESETS["paper"],
        episodes=3,
        warmup_episodes=1,
        hidden=(8, 8, 8),
        batch=16,
        replay=500,
    )
    training = algorithm.train(feeder, config, [0])
    policy = training.policies[0]
    state = feeder.reset()
    action = policy.act(feeder, state)
    assert action.shape == (len(feeder.days), 2)
    assert action.abs().max() <= 1
    assert torch.equal(Actor.load(policy.saved).act(feeder, state), action)
    assert training.updates == 2 * feeder.steps


def test_training_sees_no_other_day_than_those_of_its_feeder():
    """A feeder whose other days are poisoned trains to the same bytes."""
    days = made_up_days(6)
    kept = days.select(days.dates[:4])
    a = td3.train(hourly_feeder(kept), short(td3), [0])
    poisoned = made_up_days(6)
    poisoned.load[4:] = 1e3
    poisoned.price[4:] = 1e6
    b = td3.train(hourly_feeder(poisoned.select(days.dates[:4])), short(td3), [0])
    assert a.curve.equals(b.curve)


# -- settings ----------------------------------------------------------------------------------


@each_algorithm
def test_table_2_of_the_paper(algorithm):
    printed = algorithm.PRESETS["paper"]
    assert (printed.gamma, printed.lr, printed.lr_end) == (0.995, 6e-4, 6e-4)
    assert (printed.batch, printed.replay, printed.episodes) == (512, 400_000, 1_000)
    assert (printed.hidden, printed.tau) == ((256, 256, 256), 0.005)
    added = ("shaping", "random_soc", "privileged_critic", "keep_best")
    assert not any(getattr(printed, name) for name in added)


def test_printed_settings_name_all_that_are_shared():
    assert set(off_policy.PRINTED) == {field.name for field in fields(off_policy.OffPolicyConfig)}


# -- parts -------------------------------------------------------------------------------------


def test_the_actor_does_not_see_what_is_ahead():
    feeder = small_feeder(observation=observe("history"))
    plain = View(feeder, 1, replace(td3.PRESETS["tuned"], privileged_critic=False))
    view = View(feeder, 1, td3.PRESETS["tuned"])
    assert view.n_actor == plain.n_actor == feeder.n_observations
    assert view.n_critic == plain.n_critic + 24


def test_a_batch_tells_where_the_day_is_over():
    feeder = hourly_feeder()
    _, batch = some_batch(feeder, 2)
    last = 2 * (feeder.steps - 1) / feeder.steps - 1  # the share of the day, first in `observe`
    over = batch.now.actor[..., 0] == torch.tensor(last)
    assert over.any()
    assert torch.equal(~batch.going[..., 0], over)


def test_an_optimiser_changes_its_own_parameters_only():
    critic, actor = (torch.nn.Parameter(torch.ones(2, 1, 1)) for _ in range(2))
    optimiser = torch.optim.SGD([actor], lr=1.0)
    descend((critic * actor).expand(2, 4, 1), optimiser, None)
    assert critic.grad is None
    torch.testing.assert_close(actor.detach(), torch.zeros(2, 1, 1))


def test_huber_error_is_squared_near_zero_and_linear_far_away():
    zero, near, far = torch.zeros(1), torch.full((1,), 0.1), torch.full((1,), 100.0)
    assert float(regression_error(near, zero, 0.5)) == pytest.approx(0.1**2 / (2 * 0.5))
    assert float(regression_error(far, zero, 0.5)) == pytest.approx(100 - 0.5 / 2)
    assert float(regression_error(far, zero, None)) == pytest.approx(100**2)


def test_density_of_the_squashed_policy():
    """Beside torch's own transformed distribution."""
    feeder = small_feeder()
    learner = sac.SAC(short(sac), feeder, [0, 1])
    seen = torch.randn(2, 7, feeder.n_observations, generator=torch.Generator().manual_seed(0))
    eps = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        action, log_density = learner.policy(seen, eps)
        mean, log_spread = learner.actor(seen).chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_spread.exp())
    squash = torch.distributions.TanhTransform(cache_size=1)
    same = torch.distributions.TransformedDistribution(normal, [squash])
    x = mean + log_spread.exp() * eps
    torch.testing.assert_close(action, squash(x))
    expected = same.log_prob(squash(x)).sum(-1, keepdim=True)
    torch.testing.assert_close(log_density, expected, rtol=1e-4, atol=1e-4)


def test_temperature_rises_while_the_policy_is_too_certain():
    feeder = small_feeder()
    for entropy, sign in ((5.0, 1), (-50.0, -1)):
        config = short(sac, entropy=entropy, entropy_end=entropy)
        learner = sac.SAC(config, feeder, [0])
        _, batch = some_batch(feeder, 1)
        before = learner.log_alpha.detach().clone()
        learner.update(batch)
        assert sign * float(learner.log_alpha.detach() - before) > 0


def test_td3_changes_the_actor_and_the_targets_at_every_second_update():
    feeder = small_feeder()
    learner = td3.TD3(short(td3), feeder, [0])
    _, batch = some_batch(feeder, 1)
    for changes in (False, True, False):
        before = [
            p.clone() for n in (learner.actor, learner.target_critics) for p in n.parameters()
        ]
        learner.update(batch)
        now = [p for n in (learner.actor, learner.target_critics) for p in n.parameters()]
        assert all(torch.equal(a, b) != changes for a, b in zip(before, now))


def test_ddpg_target_is_the_value_of_the_target_actor():
    """Where the day goes on; y is found from one step of plain gradient descent on the critic."""
    feeder = small_feeder()
    learner = ddpg.DDPG(short(ddpg, huber=None, gradient_clip=None), feeder, [0])
    _, batch = some_batch(feeder, 1)
    with torch.no_grad():
        future = q_value(
            learner.target_critic, batch.after, learner.target_actor(batch.after.actor)
        )
        y = batch.reward + batch.going * future
        error = q_value(learner.critic, batch.now, batch.action) - y
    bias = learner.critic.biases[-1]
    before = bias.detach().clone()
    learner.critic_optimiser = torch.optim.SGD(learner.critic.parameters(), lr=1e-3)
    learner.update(batch)
    torch.testing.assert_close(bias - before, -1e-3 * 2 * error.mean((1, 2))[:, None, None])
