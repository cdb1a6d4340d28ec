"""Models of a day's demand: mixtures, scale, the linear ones, and the face that all share."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, MixtureSameFamily, Normal

from griddispatch.errors import InputError
from griddispatch.forecasting.demand_models import (
    PERIODS,
    Carried,
    Linear,
    Mixture,
    Scale,
    one_step,
)
from griddispatch.learning.networks import Streams


def some_mixture(seed=0, shape=(2, 5), parts=3):
    g = torch.Generator().manual_seed(seed)
    weight = torch.softmax(torch.randn(*shape, parts, generator=g), -1).double()
    mean = 3 * torch.randn(*shape, parts, generator=g).double()
    return Mixture(weight, mean, 0.2 + torch.rand(*shape, parts, generator=g).double())


def walks(days=4_000, memory=0.8, seed=0):
    """[days, 12] an AR(1) process of variance one around a profile."""
    rng = np.random.default_rng(seed)
    x = np.empty((days, PERIODS))
    x[:, 0] = rng.standard_normal(days)
    for t in range(1, PERIODS):
        x[:, t] = memory * x[:, t - 1] + (1 - memory**2) ** 0.5 * rng.standard_normal(days)
    return 20 + np.arange(PERIODS) + 2 * x


def test_density_centre_and_spread_are_those_of_torch():
    ahead = some_mixture()
    twin = MixtureSameFamily(Categorical(ahead.weight), Normal(ahead.mean, ahead.sd))
    x = torch.linspace(-4, 4, 10).double().view(2, 5)
    torch.testing.assert_close(ahead.log_density(x), twin.log_prob(x))
    torch.testing.assert_close(ahead.level(x), twin.cdf(x))
    torch.testing.assert_close(ahead.centre, twin.mean)
    torch.testing.assert_close(ahead.spread, twin.stddev)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_a_quantile_has_its_level(seed, level):
    ahead = some_mixture(seed)
    reached = ahead.level(ahead.quantile(level))
    torch.testing.assert_close(reached, torch.full_like(reached, level), atol=1e-6, rtol=0)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, float("nan")])
def test_a_quantile_outside_0_and_1_is_refused(level):
    with pytest.raises(InputError, match="level of a quantile"):
        some_mixture().quantile(level)


def test_samples_have_the_mean_and_spread_of_the_mixture():
    one = some_mixture(shape=(2, 1))
    ahead = Mixture(*(a.expand(2, 40_000, -1) for a in one))
    drawn = ahead.sample(Streams([0, 1], "test"))
    assert drawn.shape == (2, 40_000)
    torch.testing.assert_close(drawn.mean(1), one.centre[:, 0], atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(1), one.spread[:, 0], atol=0.05, rtol=0)


def test_the_scale_gives_training_days_mean_0_and_deviation_1():
    days = walks()
    y = Scale.of(days).scaled(torch.as_tensor(days))
    torch.testing.assert_close(y.mean(0), torch.zeros(PERIODS), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(PERIODS), atol=1e-4, rtol=0)


def test_one_lag_finds_the_memory_of_an_autoregression():
    ahead = one_step(Linear(walks(20_000)), walks(1, seed=1))
    # Innovations of an AR(1) with memory .8 and standard deviation 2.
    torch.testing.assert_close(ahead.spread[0, 0, 1:], torch.full((11,), 1.2), atol=0.03, rtol=0)
    torch.testing.assert_close(ahead.spread[0, 0, 0], torch.tensor(2.0), atol=0.05, rtol=0)


def test_one_lag_forgets_all_but_the_last_period_and_eleven_do_not():
    days = walks(2_000)
    days[:, 6] = days[:, 0] + 0.1 * days[:, 6]
    changed = days[:5].copy()
    changed[:, 0] += 1
    for lags, same in ((1, True), (11, False)):
        model = Linear(days, lags)
        before, after = (one_step(model, d).centre[:, :, 6] for d in (days[:5], changed))
        assert torch.allclose(before, after) is same


def test_linear_models_predict_constant_demand():
    days = np.tile(np.arange(10.0, 22.0), (30, 1))
    for lags in (1, 11):
        ahead = one_step(Linear(days, lags), days[:2])
        assert ahead.centre[0].numpy() == pytest.approx(days[:2], rel=1e-5)
        assert ahead.spread.max() < 1e-3


def test_the_memory_of_a_linear_model_is_carried_for_every_seed():
    model = Linear(walks(200), lags=11, seeds=3)
    state = model.start(4)
    for t in range(PERIODS):
        assert state.t == t
        assert model.predict(state).centre.shape == (3, 4)
        state = model.update(state, torch.full((3, 4), 20.0 + t))
    with pytest.raises(InputError, match="period 12 of a day of 12"):
        model.predict(state)
    with pytest.raises(InputError, match="period 12 of a day of 12"):
        model.update(state, torch.zeros(3, 4))


def test_an_update_does_not_change_the_memory_it_was_given():
    model = Linear(walks(200))
    state = model.start(2)
    model.update(state, torch.full((1, 2), 25.0))
    assert torch.equal(state.memory, model.start(2).memory)


def test_imagined_days_are_alike_to_those_of_training():
    days = walks(4_000)
    model = Linear(days, lags=1)
    made = model.imagine(model.start(4_000), Streams([0], "test"))[0].double().numpy()
    assert made.shape == (4_000, PERIODS)
    assert made.mean(0) == pytest.approx(days.mean(0), abs=0.15)
    assert np.corrcoef(made.T) == pytest.approx(np.corrcoef(days.T), abs=0.08)


def test_the_rest_of_a_day_is_imagined_from_its_memory():
    model = Linear(walks(4_000))
    state = model.start(500)
    for t in range(PERIODS - 1):
        state = model.update(state, torch.full((1, 500), 20.0 + t + 4))
    rest = model.imagine(state, Streams([0], "test"))
    assert rest.shape == (1, 500, 1)
    # Two standard deviations above the profile before, so 1.6 of them after.
    assert float(rest.mean()) == pytest.approx(31 + 0.8 * 4, abs=0.2)


@pytest.mark.parametrize(
    ("came", "message"),
    [
        (torch.full((1, 2), float("nan")), "NaN or infinite"),
        (torch.zeros(1, 3), r"shape \(1, 3\)"),
        (torch.zeros(2), r"shape \(2,\)"),
    ],
)
def test_demand_that_does_not_fit_is_refused(came, message):
    model = Linear(walks(100))
    with pytest.raises(InputError, match=message):
        model.update(model.start(2), came)


def test_days_that_cannot_be_used_are_refused():
    broken = walks(50)
    broken[3, 4] = np.nan
    with pytest.raises(InputError, match="day 3, period 4 is nan"):
        Linear(broken)
    with pytest.raises(InputError, match=r"shape \(50, 11\)"):
        Linear(walks(50)[:, :11])
    with pytest.raises(InputError, match="13 or more"):
        Linear(walks(12), lags=11)
    with pytest.raises(InputError, match="lags is 0"):
        Linear(walks(50), lags=0)
    with pytest.raises(InputError, match=r"shape \(2, 3\)"):
        one_step(Linear(walks(50)), np.zeros((2, 3)))


def test_a_carried_memory_of_no_period_is_refused():
    model = Linear(walks(50))
    with pytest.raises(InputError, match="period -1"):
        model.predict(Carried(-1, model.start(1).memory))
