"""Learners of frequency regulation: their gradients, their random numbers, what they leave."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_deltanet import SMALL, inputs, policy_of
from test_regulation_map import environment

from griddispatch.agents import deltanet, deltanet_ppo, regulation_monolithic, regulation_td3
from griddispatch.agents.deltanet_policy import DeltaNet, FactoredPolicy
from griddispatch.agents.interval_map import IntervalMap
from griddispatch.agents.regulation_monolithic import (
    Clipped,
    Monolithic,
    MonolithicPolicy,
    MonolithicPolicyConfig,
)
from griddispatch.agents.regulation_networks import Draws
from griddispatch.agents.regulation_ppo import PPOConfig, rewards
from griddispatch.agents.regulation_training import (
    AHEAD,
    Recorder,
    carry_out,
    next_hours,
    signal_ahead,
    violations,
)
from griddispatch.errors import InputError
from griddispatch.learning.memory import Memory
from griddispatch.learning.networks import Streams
from griddispatch.learning.training import check_seeds

QUICK_PPO = {"hours": 8, "siblings": 2, "window": 10, "batch": 20, "critic": (8,)}
RAW = MonolithicPolicyConfig(hidden=(12,))
LEARNERS = {
    "pathwise": (
        deltanet.train_pathwise,
        replace(
            deltanet.PRESETS["tuned"], policy=SMALL, updates=4, hours=4, window=8, window_end=12
        ),
    ),
    "PPO": (
        deltanet_ppo.train,
        replace(deltanet_ppo.PRESETS["tuned"], policy=SMALL, rounds=3, **QUICK_PPO),
    ),
    "monolithic PPO": (
        regulation_monolithic.train,
        replace(regulation_monolithic.PRESETS["increments"], policy=RAW, rounds=3, **QUICK_PPO),
    ),
    "monolithic TD3": (
        regulation_td3.train,
        replace(
            regulation_td3.PRESETS["absolute"],
            policy=replace(RAW, actions="absolute", bounded=True),
            critic=(8,),
            rounds=6,
            window=5,
            hours=4,
            warmup=1,
            batch=16,
            replay=64,
        ),
    ),
}
each_learner = pytest.mark.parametrize(("train", "config"), LEARNERS.values(), ids=LEARNERS)


@pytest.fixture(autouse=True)
def _whitened_once(monkeypatch):
    """The whitening plays hours, which takes longer than these trainings."""
    for module in (deltanet, deltanet_ppo, regulation_monolithic, regulation_td3):
        monkeypatch.setattr(module, "whitening", lambda env: inputs(env.dtype))


def task(dtype=torch.float64):
    return environment("hard", dtype)


def parameters(policy):
    return policy.saved["parameters"]


def early_objective(env, act, steps=60):
    """Mean of J over the first minutes of all hours."""
    state, total = env.reset(), 0.0
    with torch.no_grad():
        while state.t < steps:
            state, reward, _ = env.step(state, act(env, state))
            total -= float(reward.mean()) / steps
    return total


@each_learner
def test_a_seed_gives_the_same_bytes_alone_and_beside_others(train, config):
    both = train(task(), config, [3, 5])
    again = train(task(), config, [3, 5])
    alone = train(task(), config, [5])
    for name, p in parameters(both.policies[1]).items():
        assert torch.equal(p, parameters(again.policies[1])[name]), name
        assert torch.allclose(p, parameters(alone.policies[0])[name], atol=1e-7), name
    first, second = (parameters(policy) for policy in both.policies)
    assert not torch.equal(first["linear"], second["linear"])
    assert both.updates == again.updates > 0
    assert set(both.curve.seed) == {3, 5}


@each_learner
def test_every_weight_is_trained(train, config):
    trained = train(task(), config, [0]).policies[0]
    if isinstance(trained, DeltaNet):
        start = FactoredPolicy(SMALL, trained.policy.mapping, inputs(), [0])
    else:
        start = MonolithicPolicy(config.policy, 5, inputs(), [0])
    for name, p in start.state_dict().items():
        fixed = name in ("centre", "matrix")  # the whitening
        assert torch.equal(p, parameters(trained)[name]) == fixed, name


@each_learner
def test_trained_dispatchers_survive_a_file(train, config, tmp_path):
    policy = train(task(torch.float32), config, [0]).policies[0]
    torch.save(policy.saved, tmp_path / "policy.pt")
    kind = type(policy)
    assert kind in (DeltaNet, Monolithic)
    loaded = kind.load(torch.load(tmp_path / "policy.pt", weights_only=True))
    env = task(torch.float32)
    assert torch.equal(loaded.act(env, env.reset()), policy.act(env, env.reset()))


@pytest.mark.parametrize("balance", ["delivered", "setpoints"])
def test_the_pathwise_gradient_is_that_of_finite_differences(balance):
    env = task()
    policy = policy_of(env, IntervalMap.of(env, balance)).requires_grad_(True)

    def mean_reward(steps=12):
        state, total = env.reset(torch.arange(3)), 0.0
        while state.t < steps:
            choice = policy.decide(env, state)
            state, reward, _ = carry_out(env, state, choice.setpoint, choice.limits)
            total = total + reward.mean() / steps
        return total

    mean_reward().backward()
    checked = 0
    for k, (name, p) in enumerate(policy.named_parameters()):
        direction = Streams([k], "direction").normal(*p.shape)[0].to(p)
        direction /= direction.norm()
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                p.add_(step * direction)
                values.append(float(mean_reward()))
            p.add_(1e-6 * direction)
        slope = (values[0] - values[1]) / 2e-6
        assert float((p.grad * direction).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-8), name
        checked += abs(slope) > 1e-6
    assert checked >= 5


@pytest.mark.parametrize("learner", ["PPO", "pathwise"])
def test_a_tiny_budget_already_helps_and_violates_nothing(learner):
    env = task(torch.float32)
    free = IntervalMap.of(env, nested=False)
    untrained = FactoredPolicy(SMALL, free, inputs(env.dtype), [0]).agent(0)
    train, config = LEARNERS[learner]
    if learner == "PPO":
        config = replace(config, rounds=10, hours=32, window=15, batch=120, lr=2e-2)
    else:
        config = replace(config, updates=10, hours=8, window=15, window_end=15, lr=2e-2)
    trained = train(env, config, [0], mapping=free)
    after, before = (early_objective(env, p.act) for p in (trained.policies[0], untrained))
    assert after < 0.95 * before
    assert (trained.curve.violations == 0).all()


def test_a_monolithic_agent_is_fined_for_what_it_wants_not_for_what_is_carried_out():
    env = task()
    policy = MonolithicPolicy(replace(RAW, actions="absolute"), 5, inputs(), [0])
    choice = policy.decide(env, env.reset(), 0.5, Draws([0]))
    _, reward, outcome = carry_out(env, env.reset(), choice.setpoint, choice.limits)
    low, high = env.feasible_interval(env.reset())
    wanted = choice.setpoint
    excess = (wanted - high).clamp(min=0) + (low - wanted).clamp(min=0)
    assert (excess > 0).any()
    assert torch.allclose(outcome.excess, excess)
    outside = excess > 1e-6 * 2 * env.constants.power
    assert torch.equal(violations(env, outcome), outside.double().mean(1))
    clipped = Clipped(policy.agent(0))
    _, _, held = env.step(env.reset(), clipped.act(env, env.reset()))
    assert (held.excess == 0).all()
    # The parts that a resource is paid differ from the whole by what the others cost directly.
    config = replace(regulation_monolithic.PRESETS["absolute"], penalty=2.0)
    cost = env.mileage_weight * outcome.mileage * env.constants.cost + 2 / 100 * excess
    whole = reward - 2 / 100 * excess.sum(1)
    paid = rewards(env, config, policy, reward, outcome)
    for i in range(5):
        others = cost.sum(1) - cost[:, i]
        assert torch.allclose(paid[:, i], whole + others)
    assert torch.allclose(
        rewards(env, replace(config, per_factor=False), policy, reward, outcome), whole[:, None]
    )


def test_the_factored_policy_pays_no_factor_for_the_last_resource_alone():
    env, policy = task(), policy_of(task(), IntervalMap.of(task(), order=(4, 3, 2, 1, 0)))
    state = env.reset()
    _, reward, outcome = env.step(state, policy.decide(env, state).setpoint)
    cost = env.mileage_weight * outcome.mileage * env.constants.cost
    paid = rewards(env, PPOConfig(), policy, reward, outcome)
    own = cost[:, [4, 3, 2, 1]]
    assert torch.allclose(paid[:, 0], reward + own.sum(1))
    assert torch.allclose(paid[:, 1:], paid[:, :1] - own)


def test_increments_start_at_the_last_set_point_and_absolute_actions_at_the_plan():
    env, power = task(), task().constants.power
    state = env.reset()._replace(setpoint=torch.full((20, 5), 2.0, dtype=torch.float64))
    z = torch.tensor([[3.0, 0.5, 0.0, -0.5, -3.0]], dtype=torch.float64).expand(1, 20, 5)
    size = z[0].clamp(-1, 1)
    for actions, base, step in (
        ("absolute", env.schedule, power),
        ("increments", 2.0, torch.minimum(power, env.constants.reach)),
    ):
        policy = MonolithicPolicy(replace(RAW, actions=actions), 5, inputs(), [0])
        policy.mean = lambda seen: z
        assert torch.allclose(policy.decide(env, state).setpoint, base + step * size)


def test_the_best_policies_on_validation_hours_are_returned_agent_by_agent(monkeypatch):
    env, policy = task(), policy_of(task(), seeds=(0, 1))
    scores = iter([[5.0, 1.0], [3.0, 2.0], [4.0, 3.0]])
    monkeypatch.setattr(
        "griddispatch.agents.regulation_training.greedy_score",
        lambda *args: torch.tensor([next(scores), [0.0, 0.0]]),
    )
    lines = []
    recorder = Recorder(env, env, policy, [0, 1], 2, True, lines.append)
    for update in range(1, 6):
        with torch.no_grad():
            policy.bias.fill_(float(update))
        recorder.end_update(update, update == 5)
    training = recorder.training(5)
    # Records after 2, 4 and 5 updates; lowest J of the agents at the second and the first.
    assert [float(p.policy.bias.mean()) for p in training.policies] == [4.0, 2.0]
    assert training.curve.validation.tolist() == [5, 1, 3, 2, 4, 3]
    assert training.curve["update"].tolist() == [2, 2, 4, 4, 5, 5]
    assert len(lines) == 3


def test_a_record_counts_validation_and_training():
    env, config = task(torch.float32), LEARNERS["monolithic PPO"][1]
    hours = env.on(env.hours.take(slice(0, 2)))
    curve = regulation_monolithic.train(env, config, [0], hours, records=1).curve.iloc[-1]
    assert curve.decisions == 3 * 10 * 8
    assert 0 < curve.objective < 1
    assert 0 < curve.validation < 1
    assert 0 < curve.violations < 1000


def test_play_goes_on_until_the_hour_ends_and_siblings_share_an_hour():
    env, streams = task(), Streams([0, 1], "start")
    state = next_hours(env, None, streams, 6, 3)
    hour = state.hour.view(2, 2, 3)
    assert (hour == hour[..., :1]).all()
    assert next_hours(env, state, streams, 6, 3) is state
    over = state._replace(t=env.steps)
    assert next_hours(env, over, streams, 6, 3).t == 0


def test_critics_see_the_signal_of_the_next_minute():
    env = task()
    state = env.reset(torch.tensor([4, 7]))._replace(t=10)
    ahead = signal_ahead(env, state, 2)
    expected = env.hours.signal[[4, 7], 22 : 22 + 2 * AHEAD : 2]
    assert np.allclose(ahead[:, 0], expected)
    late = signal_ahead(env, state._replace(t=899), 2)[:, 0]
    assert np.allclose(late[:, -1], env.hours.signal[[4, 7], -1])


def test_the_memory_keeps_the_last_transitions_of_each_agent():
    memory = Memory(2, 4, (1, 2), torch.zeros((), dtype=torch.float64))
    for k in range(3):
        row = torch.full((2, 2, 1), float(k), dtype=torch.float64)
        row[1] += 10
        memory.add(row, row.expand(-1, -1, 2) + 100)
    assert memory.size == 4
    first, second = memory.sample(200, Streams([0, 1], "replay"))
    assert first[0].unique().tolist() == [1, 2]  # the oldest is overwritten
    assert first[1].unique().tolist() == [11, 12]
    assert torch.equal(second, first.expand(-1, -1, 2) + 100)


def test_td3_updates_follow_the_steps_of_the_algorithm():
    config = replace(LEARNERS["monolithic TD3"][1], policy_delay=2, tau=0.5)
    learner = regulation_td3.TD3(config, task(), [0])
    widths = learner.memory.widths
    streams = Streams([0], "rows")
    learner.memory.add(*(streams.normal(32, w).double().clamp(-1, 1) for w in widths))
    actor, target = deepcopy(learner.actor), deepcopy(learner.target_critics)
    learner.update()  # the first changes the critics only
    assert all(map(torch.equal, actor.parameters(), learner.actor.parameters()))
    assert all(map(torch.equal, target.parameters(), learner.target_critics.parameters()))
    before = deepcopy(learner.critics)
    learner.update()
    assert not torch.equal(actor.linear, learner.actor.linear)
    assert not torch.equal(before[0].weights[0], learner.critics[0].weights[0])
    middle = (target[0].weights[0] + learner.critics[0].weights[0]) / 2
    assert torch.allclose(learner.target_critics[0].weights[0], middle)


def test_td3_never_takes_the_end_of_an_hour_for_the_start_of_another(monkeypatch):
    env, stored = task(), []
    late = env.reset(torch.arange(4))._replace(t=env.steps - 3)
    monkeypatch.setattr(
        regulation_td3,
        "next_hours",
        lambda env, state, start, hours: late if state is None else env.reset(torch.arange(4)),
    )
    monkeypatch.setattr(Memory, "add", lambda self, *parts: stored.append(parts))
    config = replace(LEARNERS["monolithic TD3"][1], rounds=1, window=6, warmup=9)
    regulation_td3.train(env, config, [0])
    # Three decisions to the end, three of new hours: 2 + 2 have one behind them.
    assert len(stored) == 4
    for before, _, _, after in stored:
        # The signal in 8 s, seen now, is the signal in 4 s as it is seen at the next decision.
        ahead, later = before[..., -AHEAD:], after[..., -AHEAD:]
        assert torch.equal(ahead[..., 1:], later[..., :-1])


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (deltanet.PRESETS["tuned"], {"updates": 0}, "updates"),
        (deltanet.PRESETS["tuned"], {"lr_end": 1.0}, "lr_end"),
        (deltanet_ppo.PRESETS["tuned"], {"hours": 30}, "multiple of siblings"),
        (deltanet_ppo.PRESETS["tuned"], {"gamma": 1.0}, "gamma"),
        (deltanet_ppo.PRESETS["tuned"], {"noise": 0.3}, "0.289"),
        (deltanet_ppo.PRESETS["tuned"], {"noise_end": 0.0}, "noise_end"),
        (regulation_monolithic.PRESETS["absolute"], {"penalty": -1.0}, "penalty"),
        (regulation_td3.PRESETS["absolute"], {"replay": 3}, "replay"),
        (RAW, {"actions": "relative"}, "'absolute' or 'increments'"),
    ],
)
def test_settings_out_of_range_are_refused(config, changes, message):
    with pytest.raises(InputError, match=message):
        replace(config, **changes)


def test_seeds_that_make_no_agents_are_refused():
    for seeds in ([], [1, 1], [-1]):
        with pytest.raises(InputError, match="seeds are"):
            check_seeds(seeds)
    with pytest.raises(InputError, match="seeds are"):
        regulation_td3.train(task(), LEARNERS["monolithic TD3"][1], [])
