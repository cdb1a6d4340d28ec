"""What learners share: stacked networks, private streams, replay, shaping, the training record."""

import pytest
import torch
from feeders import made_up_days, small_feeder
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.agents.learning import random_start, shaped_reward, stored_value
from griddispatch.agents.replay import Replay
from griddispatch.envs.feeder import State
from griddispatch.envs.observations import observe
from griddispatch.errors import InputError
from griddispatch.learning.networks import StackedMLP, Streams, clip_per_agent, keep_best


def test_streams_depend_on_their_own_seed_only():
    alone, beside = Streams([7], "noise"), Streams([3, 7], "noise")
    assert torch.equal(alone.normal(5)[0], beside.normal(5)[1])
    assert not torch.equal(Streams([7], "noise").normal(5), Streams([7], "start").normal(5))


def test_stacked_network_is_each_network():
    stacked = StackedMLP((3, 8, 2), Streams([0, 1, 2]), output=torch.tanh)
    x = torch.randn(3, 5, 3)
    together = stacked(x)
    for k in range(3):
        alone = StackedMLP((3, 8, 2), Streams([99]), output=torch.tanh)
        alone.load_state_dict(stacked.agent(k))
        torch.testing.assert_close(alone(x[k : k + 1])[0], together[k])


def test_gradients_do_not_cross_agents():
    stacked = StackedMLP((3, 8, 1), Streams([0, 1]))
    stacked(torch.randn(2, 5, 3))[0].sum().backward()
    for p in stacked.parameters():
        assert p.grad is not None
        assert not p.grad[1].any()
        assert p.grad[0].any()


def test_clip_scales_only_the_agent_that_is_too_long():
    p = torch.nn.Parameter(torch.zeros(2, 3))
    p.grad = torch.tensor([[3.0, 4.0, 0.0], [0.3, 0.4, 0.0]])
    clip_per_agent([p], 1.0)
    torch.testing.assert_close(p.grad.norm(dim=1), torch.tensor([1.0, 0.5]))


def test_best_parameters_are_kept_agent_by_agent():
    network = StackedMLP((2, 1), Streams([0, 1]))
    best = keep_best(None, torch.tensor([1.0, 1.0]), network)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1)
    best = keep_best(best, torch.tensor([2.0, 0.0]), network)
    for name, p in network.state_dict().items():
        assert torch.equal(best.parameters[name][0], p[0])
        assert not torch.equal(best.parameters[name][1], p[1])
    assert best.score.tolist() == [2.0, 1.0]


def test_replay_gives_back_what_was_stored_and_forgets_the_oldest():
    replay = Replay(agents=2, capacity=6, batteries=1)
    for step in range(4):
        day = torch.tensor([step, step, 100 + step, 100 + step])
        state = State(day, torch.full((4,), step), torch.full((4, 1), 0.1 * step))
        after = State(day, state.t + 1, state.soc + 0.01)
        replay.add(state, torch.full((4, 1), float(step)), torch.full((4,), -float(step)), after)
    assert replay.size == 6
    drawn = replay.sample(50, Streams([0, 1]))
    assert set(drawn.state.day[:50].tolist()) <= {1, 2, 3}
    assert set(drawn.state.day[50:].tolist()) <= {101, 102, 103}
    step = drawn.state.t
    torch.testing.assert_close(drawn.action[:, 0], step.float())
    torch.testing.assert_close(drawn.reward, -step.float())
    torch.testing.assert_close(drawn.after.soc, drawn.state.soc + 0.01)
    assert torch.equal(drawn.after.t, step + 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_shaping_does_not_change_the_order_of_policies(seed):
    """Shaped minus real return is the same for every sequence of actions from one start."""
    feeder = small_feeder(days=made_up_days(2))
    g = torch.Generator().manual_seed(seed)
    differences = []
    for _ in range(2):
        state = feeder.reset()
        real, paid = torch.zeros(2), torch.zeros(2)
        for _ in range(feeder.steps):
            action = 2 * torch.rand(2, 2, generator=g) - 1
            after, reward, outcome = feeder.step(state, action)
            real = real + reward
            paid = paid + shaped_reward(feeder, outcome, after, reward)
            state = after
        differences.append(paid - real)
    torch.testing.assert_close(differences[0], differences[1])


def test_stored_energy_is_worth_nothing_after_the_day():
    feeder = small_feeder()
    state = feeder.reset()
    assert (stored_value(feeder, state) > 0).all()
    assert not stored_value(feeder, state._replace(t=state.t + feeder.steps)).any()


def test_random_starts_lie_within_the_limits_and_on_training_days():
    feeder = small_feeder()
    state = random_start(feeder, Streams([0, 1]), 100, random_soc=True)
    assert state.soc.min() >= 0.2
    assert state.soc.max() <= 0.8
    assert state.soc.std() > 0.1
    assert set(state.day.tolist()) == set(range(len(feeder.days)))


def test_an_unknown_price_information_is_an_error():
    with pytest.raises(InputError, match="history"):
        observe("tomorrow")
