"""The world model: variational recurrent network, GRU mixture, their training."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from griddispatch.errors import InputError
from griddispatch.forecasting.demand_models import PERIODS, Linear, Scale, one_step
from griddispatch.forecasting.world_model import VRNN, fit_gru, fit_vrnn, kl, prior_points
from griddispatch.forecasting.world_model_training import Settings, StackedGRU
from griddispatch.learning.networks import Streams

SMALL = Settings(hidden=8, width=8, latent=2, components=8, updates=6, batch=16, checks=2)
QUICK = Settings(
    hidden=8, width=8, latent=1, components=8, updates=250, batch=64, rate=1e-2, checks=2
)
each_fit = pytest.mark.parametrize("fit", [fit_vrnn, fit_gru], ids=["VRNN", "GRU"])


def days_of_two_kinds(days=400, seed=0):
    """[days, 12] flat days at about 8 or about 12, each as likely as the other."""
    rng = np.random.default_rng(seed)
    level = rng.choice([8.0, 12.0], size=(days, 1))
    return level + 0.3 * rng.standard_normal((days, PERIODS))


@pytest.fixture(scope="module")
def trained():
    days = days_of_two_kinds()
    held = days_of_two_kinds(100, seed=1)
    return {fit: fit(days, held, [0, 1], QUICK) for fit in (fit_vrnn, fit_gru)}


def test_the_divergence_is_that_of_torch_and_never_negative():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, 3, generator=g) for _ in range(2))
    sa, sb = (0.1 + torch.rand(50, 3, generator=g) for _ in range(2))
    wanted = kl_divergence(Independent(Normal(a, sa), 1), Independent(Normal(b, sb), 1))
    torch.testing.assert_close(kl(a, sa, b, sb), wanted)
    assert (kl(a, sa, b, sb) >= 0).all()
    assert torch.equal(kl(a, sa, a, sa), torch.zeros(50))


def test_the_cell_is_that_of_torch():
    cell, twin = StackedGRU(3, 4, Streams([0])), torch.nn.GRUCell(3, 4)
    with torch.no_grad():
        twin.weight_ih.copy_(cell.from_input[0].T)
        twin.weight_hh.copy_(cell.from_memory[0].T)
        twin.bias_ih.copy_(cell.input_bias[0, 0])
        twin.bias_hh.copy_(cell.memory_bias[0, 0])
        x, h = torch.randn(1, 5, 3), torch.randn(1, 5, 4)
        torch.testing.assert_close(cell(x, h)[0], twin(x[0], h[0]))


@pytest.mark.parametrize(("count", "latent"), [(8, 1), (64, 2), (32, 4)])
def test_prior_points_have_mean_zero_and_about_unit_variance(count, latent):
    points = prior_points(count, latent)
    assert points.shape == (count, latent)
    assert points.mean(0).abs().max() < 1e-6
    assert float(points.square().mean()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(points, prior_points(count, latent))


def test_the_bound_lies_below_the_likelihood_of_a_day(trained):
    # One period, so that nothing but z is hidden: log E_prior p(x | z) is at least the bound.
    model, draws = trained[fit_vrnn].alone(0), 50
    y = model.scale.scaled(torch.as_tensor(days_of_two_kinds(100, seed=3)))[None]
    with torch.no_grad():
        fit, divergence = model.bound(y.repeat(1, draws, 1), Streams([0], "test"))
        exact = model.with_points(4_096)._predict(model.start(100)).log_density(y[..., 0])
    assert (divergence >= 0).all()
    gap = exact.mean() - (fit - divergence)[0, :, 0].view(draws, 100).mean(1)
    error = float(gap.std()) / draws**0.5
    # It is a bound, up to the error of 50 draws of z, and not an empty one.
    assert -3 * error < float(gap.mean()) < 0.5
    assert error < 0.05


@each_fit
def test_a_trained_model_tells_the_kinds_of_days_apart(trained, fit):
    came = np.array([[8.0] * PERIODS, [12.0] * PERIODS])
    ahead = one_step(trained[fit], came)
    # Before anything is seen both kinds are likely; after a period or two only one is.
    assert ahead.spread[..., 0].min() > 1.5
    assert ahead.spread[..., 3:].max() < 0.8
    torch.testing.assert_close(ahead.centre[:, 0, 3:], torch.full((2, 9), 8.0), atol=0.5, rtol=0)
    torch.testing.assert_close(ahead.centre[:, 1, 3:], torch.full((2, 9), 12.0), atol=0.5, rtol=0)


@each_fit
def test_training_lowers_the_loss_on_other_days(trained, fit):
    held = days_of_two_kinds(100, seed=1)
    model = trained[fit]
    first = type(model)(QUICK, [0, 1], model.scale)
    y = model.scale.scaled(torch.as_tensor(held))
    assert (model.validation_loss(y) < first.validation_loss(y) - 0.5).all()


@each_fit
def test_imagined_days_keep_to_one_kind(trained, fit):
    model = trained[fit]
    made = model.imagine(model.start(600), Streams([0, 1], "imagined"))
    assert made.shape == (2, 600, PERIODS)
    level = made.mean(2)
    # About 8 or about 12, and both do occur; kinds that changed by period would give .1.
    assert float(((level - 8).abs().minimum((level - 12).abs()) < 1).double().mean()) > 0.7
    assert 0.3 < float((level > 10).double().mean()) < 0.7
    again = model.imagine(model.start(600), Streams([0, 1], "imagined"))
    assert torch.equal(made, again)


@each_fit
def test_constant_demand_is_predicted(fit):
    days = np.tile(np.linspace(10.0, 21.0, PERIODS), (64, 1))
    ahead = one_step(fit(days, days, [0], SMALL), days[:2])
    assert ahead.centre[0].numpy() == pytest.approx(days[:2], rel=0.01)


@each_fit
def test_what_comes_later_does_not_change_a_prediction(trained, fit):
    days = days_of_two_kinds(20, seed=5)
    other = days.copy()
    other[:, 5:] = np.random.default_rng(0).permuted(other[:, 5:], axis=0) + 1
    before, after = (one_step(trained[fit], d) for d in (days, other))
    for a, b in zip(before, after):
        assert torch.equal(a[:, :, :6], b[:, :, :6])
    assert not torch.allclose(before.centre[:, :, 6], after.centre[:, :, 6])


@each_fit
def test_predictions_are_mixtures_of_the_shape_that_was_asked_for(trained, fit):
    model = trained[fit]
    state = model.start(7)
    ahead = model.predict(state)
    assert all(a.shape[:2] == (2, 7) and a.ndim == 3 for a in ahead)
    torch.testing.assert_close(ahead.weight.sum(-1), torch.ones(2, 7))
    assert (ahead.sd > 0).all()
    assert not ahead.mean.requires_grad
    state = model.update(state, torch.full((2, 7), 10.0))
    assert state.t == 1
    assert state.memory.shape[:2] == (2, 7)


@each_fit
def test_the_same_seed_gives_the_same_bytes_whatever_its_neighbours(fit):
    days = days_of_two_kinds(80)
    torch.manual_seed(0)
    first = fit(days, days, [3, 4], SMALL)
    torch.manual_seed(1)
    second = fit(days, days, [3, 4], SMALL)
    for name, p in first.state_dict().items():
        assert torch.equal(p, second.state_dict()[name])
    single = fit(days, days, [4], SMALL)
    for name, p in first.alone(1).state_dict().items():
        torch.testing.assert_close(p, single.state_dict()[name], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(next(first.alone(0).parameters()), next(first.alone(1).parameters()))


@each_fit
def test_a_model_alone_predicts_as_it_does_among_others(trained, fit):
    days = days_of_two_kinds(9, seed=2)
    among, alone = one_step(trained[fit], days), one_step(trained[fit].alone(1), days)
    torch.testing.assert_close(alone.centre[0], among.centre[1])
    assert set(trained[fit].alone(1).history["seed"]) == {1}
    with pytest.raises(InputError, match="no model 2 among 2"):
        trained[fit].alone(2)


def test_few_points_of_the_prior_serve_for_mean_and_spread(trained):
    days = days_of_two_kinds(20, seed=2)
    many, few = (one_step(trained[fit_vrnn].with_points(n), days) for n in (128, 8))
    assert few.mean.shape[-1] == 8
    torch.testing.assert_close(few.centre, many.centre, atol=0.2, rtol=0)
    torch.testing.assert_close(few.spread, many.spread, atol=0.2, rtol=0)
    with pytest.raises(InputError, match="components even"):
        trained[fit_vrnn].with_points(5)


@each_fit
def test_the_weights_of_the_best_check_are_kept(trained, fit):
    held = days_of_two_kinds(100, seed=1)
    model = trained[fit]
    loss = model.validation_loss(model.scale.scaled(torch.as_tensor(held)))
    best = model.history.groupby("seed")["loss"].min()
    assert loss.numpy() == pytest.approx(best.to_numpy(), abs=1e-5)


@each_fit
def test_bad_days_and_seeds_are_refused(fit):
    days = days_of_two_kinds(20)
    broken = days.copy()
    broken[1, 2] = np.inf
    with pytest.raises(InputError, match="day 1, period 2 is inf"):
        fit(broken, days, [0], SMALL)
    with pytest.raises(InputError, match="day 1, period 2 is inf"):
        fit(days, broken, [0], SMALL)
    with pytest.raises(InputError, match=r"shape \(20, 5\)"):
        fit(days[:, :5], days, [0], SMALL)
    with pytest.raises(InputError, match="needs a seed"):
        fit(days, days, [], SMALL)


@each_fit
def test_demand_that_does_not_fit_the_memory_is_refused(trained, fit):
    model = trained[fit]
    with pytest.raises(InputError, match="NaN or infinite"):
        model.update(model.start(2), torch.full((2, 2), float("inf")))
    with pytest.raises(InputError, match=r"shape \(1, 2\)"):
        model.update(model.start(2), torch.zeros(1, 2))


@pytest.mark.parametrize(
    "wrong",
    [{"hidden": 0}, {"components": 7}, {"rate": 0.0}, {"warmup": 1.0}, {"warmup": -0.1}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="must be"):
        Settings(**wrong)


def test_the_warm_up_weighs_the_divergence():
    days = days_of_two_kinds(30)
    model = VRNN(Settings(hidden=8, width=8, latent=2, warmup=0.5), [0], Scale.of(days))
    y = model.scale.scaled(torch.as_tensor(days))[None]
    with torch.no_grad():
        fit, divergence = (a.mean() for a in model.bound(y, Streams([0])))
        for part, weight in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)):
            loss = model.loss(y, part, Streams([0]))
            torch.testing.assert_close(loss[0], weight * divergence - fit)


def test_a_day_type_gains_on_the_reference_that_knows_none(trained):
    # A sanity check of the direction: AR(1) cannot see that a high day stays high after a dip.
    days, came = days_of_two_kinds(), days_of_two_kinds(300, seed=7)
    came[:, 4] = 10.0
    ahead = {"VRNN": trained[fit_vrnn], "AR(1)": Linear(days)}
    wrong = {
        name: np.abs(one_step(model, came).centre.mean(0).numpy() - came)[:, 5].mean()
        for name, model in ahead.items()
    }
    assert wrong["VRNN"] < wrong["AR(1)"]
