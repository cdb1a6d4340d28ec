import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from griddispatch.envs.microgrid_reward import tail_mean
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import frontier
from griddispatch.risk_measures import cvar, published_cvar, risk_objective, value_at_risk

COSTS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60)
LEVELS = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])


def normal(n=200_000):
    return norm.ppf((np.arange(n) + 0.5) / n)


def test_the_tail_of_a_normal_distribution_is_its_closed_form():
    assert value_at_risk(normal()) == pytest.approx(1.6449, abs=1e-4)
    assert cvar(normal()) == pytest.approx(norm.pdf(norm.ppf(0.95)) / 0.05, abs=1e-4)
    assert cvar(normal()) == pytest.approx(2.0627, abs=1e-4)


def test_the_published_index_averages_the_wrong_side():
    assert published_cvar(normal()) == pytest.approx(0.1086, abs=1e-4)
    assert published_cvar(normal()) < value_at_risk(normal())


@pytest.mark.parametrize(
    ("costs", "alpha", "var", "tail"),
    [
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0, 3.5),
        ([4.0, 1.0, 3.0, 2.0], 0.75, 3.0, 4.0),
        ([0.0, 0.0, 0.0, 10.0], 0.5, 0.0, 5.0),
        # The worst 15 % of ten: 10 in full, and half of 9.
        (np.arange(1.0, 11.0), 0.85, 9.0, (10 + 0.5 * 9) / 1.5),
        (np.arange(1.0, 21.0), 0.95, 19.0, 20.0),
        ([7.0], 0.95, 7.0, 7.0),
    ],
)
def test_small_samples_as_computed_by_hand(costs, alpha, var, tail):
    assert value_at_risk(costs, alpha) == pytest.approx(var)
    assert cvar(costs, alpha) == pytest.approx(tail)


def test_the_tail_is_the_smallest_value_of_the_program_that_defines_it():
    costs = np.random.default_rng(1).gamma(2.0, 30.0, 37)
    thresholds = np.unique(costs)
    beyond = np.maximum(costs - thresholds[:, None], 0).mean(1)
    assert cvar(costs, 0.9) == pytest.approx((thresholds + beyond / 0.1).min())


@given(COSTS, LEVELS, st.floats(-50, 50), st.floats(0, 20))
def test_the_tail_moves_and_scales_with_the_costs(costs, alpha, shift, scale):
    x = np.array(costs)
    assert cvar(x + shift, alpha) == pytest.approx(cvar(x, alpha) + shift, abs=1e-6)
    assert cvar(scale * x, alpha) == pytest.approx(scale * cvar(x, alpha), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1), LEVELS)
def test_the_tail_is_subadditive_and_monotone(pairs, alpha):
    x, y = np.array(pairs).T
    assert cvar(x + y, alpha) <= cvar(x, alpha) + cvar(y, alpha) + 1e-6
    assert cvar(x, alpha) <= cvar(np.maximum(x, y), alpha) + 1e-9


@given(COSTS, LEVELS)
def test_the_tail_lies_between_the_quantile_and_the_largest_cost(costs, alpha):
    tail = cvar(costs, alpha)
    assert value_at_risk(costs, alpha) - 1e-9 <= tail <= max(costs) + 1e-9
    assert np.mean(costs) <= tail + 1e-9


def test_several_samples_are_judged_row_by_row():
    x = np.random.default_rng(0).normal(size=(3, 4, 50))
    assert cvar(x).shape == (3, 4)
    assert cvar(x)[1, 2] == cvar(x[1, 2])


def test_the_objective_joins_mean_and_tail():
    x = np.arange(100.0)
    assert risk_objective(x, 0.0) == x.mean()
    assert risk_objective(x, 1.0) == cvar(x)
    assert risk_objective(x, 0.3) == pytest.approx(x.mean() + 0.3 * (cvar(x) - x.mean()))


def test_the_published_penalty_takes_the_same_tail():
    x = np.random.default_rng(2).normal(size=1000)
    inverted = tail_mean(torch.as_tensor(x), 0.95, "inverted")
    assert float(inverted) == pytest.approx(float(published_cvar(x)))
    assert float(tail_mean(torch.as_tensor(x), 0.95, "fixed")) == pytest.approx(float(cvar(x)))


def test_a_frontier_trades_the_mean_for_the_tail():
    calm, wild = np.full(100, 12.0), np.r_[np.full(95, 10.0), np.full(5, 40.0)]
    chosen = frontier(np.stack([wild, calm]), (0.0, 0.3))
    assert [c.candidate for c in chosen] == [0, 1]
    assert chosen[0].mean == pytest.approx(11.5)
    assert chosen[0].cvar == pytest.approx(40.0)
    assert chosen[1].objective == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cvar([]), "at least one"),
        (lambda: cvar([1.0, float("nan")]), "finite"),
        (lambda: value_at_risk([1.0], 1.0), "alpha is 1.0"),
        (lambda: published_cvar([1.0], 0.0), "alpha is 0.0"),
        (lambda: risk_objective([1.0], 1.5), "weight of the CVaR is 1.5"),
        (lambda: frontier(np.zeros(3)), "candidates, days"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
