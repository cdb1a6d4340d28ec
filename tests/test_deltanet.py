"""DeltaNet's policy: no weights lead outside the limits, and its likelihood is the right one."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_regulation_map import any_state, environment

from griddispatch.agents.deltanet_policy import DeltaNet, FactoredPolicy, PolicyConfig
from griddispatch.agents.interval_map import IntervalMap
from griddispatch.agents.regulation_networks import (
    WIDEST,
    Draws,
    Whitening,
    beta_shape,
    log_beta,
    soft_cut,
    whitening,
)
from griddispatch.assets.regulation import preset
from griddispatch.envs.regulation import TOLERANCE, Regulation
from griddispatch.envs.regulation_hours import SIGNAL_STEPS, draw_hours
from griddispatch.errors import InputError
from griddispatch.learning.networks import Streams

HALVES = slice(0, 4), slice(4, 8)
SMALL = PolicyConfig(hidden=(12, 12), head=8)
TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@cache
def inputs(dtype=torch.float64):
    return whitening(environment("hard", dtype), hours=8)


def policy_of(env, mapping=None, seeds=(0,), size=1.0, config=SMALL):
    """Random networks; `size` multiplies all weights, the linear map's from +-0.1 on."""
    made = FactoredPolicy(
        config, mapping or IntervalMap.of(env), inputs(env.dtype), list(seeds)
    ).requires_grad_(False)
    streams = Streams(seeds, "test")
    for p in (made.linear, made.bias):
        p += 0.1 * (2 * streams.uniform(*p.shape[1:]).to(p) - 1)
    for p in made.parameters():
        p *= size
    return made


def some_states(env, seed=0, rows=64):
    state = any_state(env, torch.Generator().manual_seed(seed))
    parts = (x[:rows] if isinstance(x, torch.Tensor) else x for x in state)
    return type(state)(*parts)


def orders(env, generator):
    """All three balances, the last in any order."""
    order = tuple(torch.randperm(env.n_actions, generator=generator).tolist())
    return (
        IntervalMap.of(env),
        IntervalMap.of(env, nested=False),
        IntervalMap.of(env, "setpoints", order=order),
    )


@TYPES
@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**31),
    size=st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
    noise=st.sampled_from([None, 0.05, 0.28]),
)
def test_no_weights_lead_outside_the_limits(dtype, seed, size, noise):
    """10 examples of 1000 states, 3 maps, 2 precisions: 60 000 decisions, edges among them."""
    env, generator = environment("hard", dtype), torch.Generator().manual_seed(seed)
    state = any_state(env, generator)
    low, high = env.feasible_interval(state)
    for mapping in orders(env, generator):
        policy = policy_of(env, mapping, [seed % 1000], size)
        explored = () if noise is None else (noise, Draws([seed]))
        choice = policy.decide(env, state, *explored)
        assert torch.isfinite(choice.setpoint).all()
        assert (low <= choice.setpoint).all()
        assert (choice.setpoint <= high).all()


@TYPES
def test_a_saturated_command_stays_inside_the_limits_all_hour(dtype):
    fleet = preset("hard")
    up, time = np.ones(SIGNAL_STEPS), np.arange(SIGNAL_STEPS)
    signal = np.stack([up, -up, np.sign(np.sin(time / 9)), np.sign(np.sin(time / 60))])
    hours = draw_hours(fleet, 4, 0, "train", signal=signal)
    env = Regulation(fleet, hours, dtype=dtype)
    policy = policy_of(env, seeds=range(2), size=20.0)
    state = env.reset(torch.arange(4).repeat(2))
    while state.t < 250:  # the battery is empty, or full, long before
        state, _, outcome = env.step(state, policy.decide(env, state).setpoint)
        assert (outcome.excess <= TOLERANCE * 2 * env.constants.power).all()
    window = env.window_table
    place = (state.energy - window.empty[249, state.hour])[:, -1] / 0.8
    assert place[0] < 0.05 < 0.95 < place[1]


class Given:
    """Draws that are known beforehand: factor by factor, y [K, B, M]."""

    def __init__(self, y):
        self.y = iter(y.unbind(2))

    def beta(self, alpha, beta):
        return next(self.y)


def chosen(policy, now, y):
    """[B, M] what the factors choose in MW, as a function of the fractions y [B, M]."""
    setpoint = policy.choose(now, 0.1, Given(y[None])).setpoint
    share = policy.config.delta_mw * (2 * y[:, :1] - 1)
    return torch.cat([share, setpoint[:, list(policy.mapping.order[:-1])]], 1)


@pytest.mark.parametrize("nested", [True, False])
def test_the_jacobian_of_the_intervals_cancels_in_the_ratio(nested):
    env = environment("hard", torch.float64)
    mapping = IntervalMap.of(env, nested=nested)
    state = some_states(env, 3, 16)
    old, new = (policy_of(env, mapping, [seed]) for seed in (0, 1))
    choice = old.decide(env, state, 0.2, Draws([0]))
    ratio, densities = new.log_probability(choice, 0.2) - old.log_probability(choice, 0.2), []
    for policy in (old, new):
        jacobian = torch.autograd.functional.jacobian(
            lambda y, policy=policy: chosen(policy, policy.read(env, state), y).sum(0), choice.y[0]
        ).transpose(0, 1)  # [B, M, M], rows are what was chosen
        # Each choice depends on the fractions before it only ...
        assert jacobian.triu(1).abs().max() == 0
        own = jacobian.diagonal(dim1=1, dim2=2)
        # ... and on its own in proportion to the width of its interval.
        M, power = env.n_actions, env.constants.power
        width = choice.told[0, :, :, M + 1] - choice.told[0, :, :, M]
        unit = torch.cat([power.new_tensor([SMALL.delta_mw]), power[:-1]])
        assert torch.allclose(own, width * unit, atol=1e-9)
        free = own > 1e-9  # an interval that is a point has no density
        log_width = torch.where(free, own.clamp(min=1e-9).log(), 0)
        densities.append((policy.log_probability(choice, 0.2)[0] - log_width).sum(1))
    assert ratio.abs().max() > 0.1
    assert torch.allclose(densities[1] - densities[0], ratio[0].sum(1), atol=1e-8)


def test_likelihoods_of_stored_choices_are_those_of_the_moment_they_were_made():
    env = environment("hard", torch.float64)
    policy, noise, seen = policy_of(env, seeds=(4, 5)), 0.2, []

    class Watched(Draws):
        def beta(self, alpha, beta):
            y = super().beta(alpha, beta)
            seen.append(log_beta(y, alpha, beta))
            return y

    choice = policy.decide(env, some_states(env), noise, Watched([4, 5]))
    assert torch.allclose(policy.log_probability(choice, noise), torch.stack(seen, 2))


def test_beta_densities_are_those_of_scipy():
    rng = np.random.default_rng(0)
    y, alpha, beta = rng.uniform(0.01, 0.99, 50), rng.uniform(1, 60, 50), rng.uniform(1, 60, 50)
    found = log_beta(*(torch.as_tensor(x) for x in (y, alpha, beta)))
    assert np.allclose(found, stats.beta.logpdf(y, alpha, beta))


def test_exploration_has_the_wanted_mode_and_spread():
    for noise in (0.05, 0.25):
        alpha, beta = (float(x) for x in beta_shape(torch.tensor(0.5).double(), noise))
        assert stats.beta.std(alpha, beta) == pytest.approx(noise)
        alpha, beta = beta_shape(torch.tensor([0.0, 0.2, 1.0]), noise)
        mode = (alpha - 1) / (alpha + beta - 2)
        assert torch.allclose(mode, torch.tensor([0.0, 0.2, 1.0]))
    assert stats.uniform.std() == pytest.approx(WIDEST)
    shape = torch.full((2, 4000), 3.0).double(), torch.full((2, 4000), 5.0).double()
    y = Draws([0, 1]).beta(*shape)
    assert stats.kstest(y[0], stats.beta(3, 5).cdf).pvalue > 0.01
    assert not torch.equal(y[0], y[1])
    assert torch.equal(y[1], Draws([1]).beta(shape[0][:1], shape[1][:1])[0])


def test_the_soft_cut_is_straight_in_the_middle_and_ends_in_the_interval():
    low, high = torch.tensor(-2.0).double(), torch.tensor(6.0).double()
    aim = torch.tensor([-1e9, 2.0, 1e9]).double()
    assert soft_cut(aim, low, high, 4.0).tolist() == [0.0, 0.5, 1.0]
    aim = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    soft_cut(aim, low, high, 4.0).backward()
    assert float(aim.grad) == pytest.approx(1 / 8)  # that of (aim - low) / (high - low)
    assert torch.isfinite(soft_cut(aim, low, low, 4.0))  # an interval that is a point


def test_whitened_observations_are_uncorrelated():
    env = environment("hard", torch.float64)
    centre, matrix = inputs()
    assert matrix.shape == (env.n_observations, env.n_observations)
    state, rows = env.reset(torch.arange(8)), []
    rng = np.random.default_rng(1)
    mapping = IntervalMap.of(env, nested=False)
    wander = 0
    while state.t < 400:
        wander = 0.98 * wander + 0.2 * torch.from_numpy(rng.standard_normal((8, 4)))
        rows.append((env.observe(state) - centre) @ matrix)
        state, _, _ = env.step(state, mapping.act(env, state, torch.sigmoid(wander)))
    spread = torch.cat(rows).std(0)
    raw = torch.cat(rows) @ torch.linalg.inv(matrix)
    # Directions of the raw observation differ by factors of thousands, whitened ones by few.
    live = spread > 0.1
    assert live.float().mean() > 0.7
    assert spread[live].max() / spread[live].min() < 60 < raw.std(0).max() / raw.std(0).min()


@TYPES
def test_a_saved_dispatcher_decides_as_before(dtype, tmp_path):
    env = environment("hard", dtype)
    order = (2, 0, 1, 4, 3)
    before = policy_of(env, IntervalMap.of(env, "setpoints", order=order), (7, 8)).agent(1)
    torch.save(before.saved, tmp_path / "policy.pt")
    after = DeltaNet.load(torch.load(tmp_path / "policy.pt", weights_only=True))
    assert after.policy.mapping == before.policy.mapping
    assert after.policy.config == SMALL
    state = some_states(env)
    assert torch.equal(after.act(env, state), before.act(env, state))


def test_agents_side_by_side_decide_as_alone():
    env = environment("hard", torch.float64)
    state = some_states(env, rows=8)
    both = policy_of(env, seeds=(1, 2)).decide(env, some_states(env, rows=8)).setpoint
    rows = (type(state)(*(x[a] if torch.is_tensor(x) else x for x in state)) for a in HALVES)
    for seed, half, own in zip((1, 2), HALVES, rows, strict=True):
        alone = policy_of(env, seeds=(seed,)).agent(0)
        assert torch.allclose(alone.act(env, own), both[half], atol=1e-12)


def test_a_policy_that_makes_no_sense_is_refused():
    env = environment("hard", torch.float64)
    for values, message in (
        ({"hidden": (8, 0)}, "hidden"),
        ({"activation": "cosine"}, "activation"),
        ({"delta_mw": -1.0}, "delta_mw"),
        ({"sharpness": 0.0}, "sharpness"),
    ):
        with pytest.raises(InputError, match=message):
            PolicyConfig(**values)
    other = FactoredPolicy(SMALL, IntervalMap((0, 1, 2)), Whitening(*inputs()), [0])
    with pytest.raises(InputError, match="orders 3 resources, the fleet has 5"):
        other.decide(env, env.reset())
