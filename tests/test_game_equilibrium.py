"""Best responses and equilibria of the supply-load game, and how far from one a strategy is."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_supply_load_game import SALES, mixtures, small

from griddispatch.envs.supply_load_game import PRESETS, published
from griddispatch.errors import InputError
from griddispatch.evaluation.exploitability import gains
from griddispatch.optimization import game_equilibrium
from griddispatch.optimization.game_equilibrium import (
    RESIDUAL,
    Equilibrium,
    best_load,
    best_supply,
    equilibria,
    matrices,
    mixed_equilibria,
    principal,
    pure_equilibria,
    settle,
    softmax_between,
)

NO_BONUS = pytest.mark.parametrize("tau", [0.0, 0.06])
weights = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda x: sum(x) > 0.1)


@cache
def found():
    return equilibria(small(), starts=6)


@NO_BONUS
@SALES
@settings(max_examples=25, deadline=None)
@given(weights, weights)
def test_no_strategy_of_either_side_beats_the_best_response(sales, tau, other, tried):
    game = small(sales, tau)
    other, tried = (np.tile(np.array(x) / sum(x), (2, 1)) for x in (other, tried))
    best = game.utilities(best_supply(game, other), other)[0]
    assert (best >= game.utilities(tried, other)[0] - 1e-9).all()
    best = game.utilities(other, best_load(game, other))[1]
    assert (best >= game.utilities(other, tried)[1] - 1e-9).all()


@NO_BONUS
@SALES
def test_a_best_response_is_a_strategy_that_beats_a_fine_grid(sales, tau):
    game = small(sales, tau)
    steps = np.arange(101)
    grid = np.array([(i, j, 100 - i - j) for i in steps for j in steps if i + j <= 100]) / 100
    grid = np.repeat(grid[:, None], 2, 1)
    other = mixtures(2, seed=3)
    p, q = best_supply(game, other), best_load(game, other)
    beside = np.broadcast_to(other, grid.shape)
    top = [game.utilities(grid, beside)[0].max(0), game.utilities(beside, grid)[1].max(0)]
    own = [game.utilities(p, other)[0], game.utilities(other, q)[1]]
    # never below the grid, and above it by no more than the grid's step can hide
    assert (np.array(own) >= np.array(top) - 1e-9).all()
    assert (np.array(own) <= np.array(top) + 2e-3).all()


def test_where_sales_are_linear_the_response_is_the_softmax_of_the_payoffs():
    game = small("product")
    q = mixtures(2)
    payoff = game.margin * game.requests[:, None] * q
    softmax = np.exp(payoff / game.tau)
    softmax /= softmax.sum(-1, keepdims=True)
    assert np.allclose(best_supply(game, q), softmax, atol=1e-10)


def test_a_softmax_within_bounds_keeps_them():
    low, high = np.array([0.25, 0.0, 0.25]), np.array([0.5, 0.25, 0.5])
    p = softmax_between(np.array([9.0, 0.0, 0.0]), low, high)
    assert p.sum() == pytest.approx(1)
    assert ((p >= low - 1e-12) & (p <= high + 1e-12)).all()
    assert p[0] == pytest.approx(0.5)


def test_equilibria_are_equilibria():
    game = small()
    for t, one in enumerate(found()):
        assert len(one.supply) >= 1
        assert one.residual.max() <= RESIDUAL
        for p, q in zip(one.supply, one.load):
            left = gains(game.at([t]), p[None], q[None])
            assert left.exploitability.max() < 1e-9


def test_equilibria_of_a_period_are_all_different_and_stand_in_order():
    for one in found():
        high = one.supply[:, 0]
        assert (np.diff(high) <= 0).all()
        for i, p in enumerate(one.supply):
            assert all(np.abs(p - other).max() > 1e-3 for other in one.supply[:i])


def test_the_logit_branch_ends_in_an_equilibrium_that_is_known():
    one = principal(small())
    assert one.residual.max() <= RESIDUAL
    for t, known in enumerate(found()):
        assert np.abs(known.supply - one.supply[t]).max(1).min() < 1e-4


def test_with_a_large_bonus_all_prices_are_nearly_alike():
    one = settle(replace(small(), tau=50.0), mixtures(2))
    assert np.abs(one.supply - 1 / 3).max() < 0.01
    assert np.abs(one.load - 1 / 3).max() < 0.01


def test_away_from_an_equilibrium_both_sides_gain():
    p = np.tile([0.05, 0.05, 0.9], (2, 1))
    left = gains(small(), p, p[:, ::-1].copy())
    assert (left.supply > 0.01).all()
    assert (left.load > 0.01).all()
    assert np.array_equal(left.exploitability, left.supply + left.load)


def test_the_printed_game_has_two_pure_equilibria_and_a_mixed_one():
    supply, load = (x[0] for x in matrices(published()))
    assert pure_equilibria(supply, load) == [(0, 0), (1, 1)]
    known = mixed_equilibria(supply, load)
    assert len(known) == 3
    for p, q in known:
        assert (p @ supply @ q >= (supply @ q).max() - 1e-9).all()
        assert (p @ load @ q >= (p @ load).max() - 1e-9).all()
    inner = next(q for _, q in known if q.max() < 0.99)
    # supply is indifferent: (.3 - .18) q_H = (.2 - .18) q_M
    assert np.allclose(inner, [1 / 7, 6 / 7, 0], atol=1e-9)


def test_pure_equilibria_of_the_printed_game_have_no_exploitability():
    game = published()
    for i, j in [(0, 0), (1, 1)]:
        p, q = (np.tile(np.eye(3)[k], (12, 1)) for k in (i, j))
        assert gains(game, p, q).exploitability.max() == pytest.approx(0, abs=1e-12)
    low = np.tile(np.eye(3)[2], (12, 1))
    assert gains(game, low, low).exploitability.min() > 0.1


def test_matching_pennies_has_one_equilibrium_and_no_pure_one():
    pennies = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert pure_equilibria(pennies, -pennies) == []
    ((p, q),) = mixed_equilibria(pennies, -pennies)
    assert np.allclose([p, q], 0.5)


@pytest.mark.parametrize("name", PRESETS)
def test_exploitability_takes_strategies_of_any_leading_shape(name):
    game = PRESETS[name]()
    p, q = mixtures(2, 3, 12), mixtures(2, 3, 12, seed=1)
    every = gains(game, p, q).exploitability
    assert every.shape == (2, 3, 12)
    assert np.allclose(every[1, 2], gains(game, p[1, 2], q[1, 2]).exploitability, atol=1e-12)


def test_a_game_without_bonus_cannot_be_settled():
    with pytest.raises(InputError, match="tau > 0"):
        settle(small(tau=0.0), mixtures(2))
    with pytest.raises(InputError, match="tau > 0"):
        principal(small(tau=0.0))


def test_equilibria_need_a_start():
    with pytest.raises(InputError, match="starts is 0"):
        equilibria(small(), starts=0)


def test_a_period_in_which_no_start_settles_is_named(monkeypatch):
    def unsettled(game, load):
        return Equilibrium(load, load, np.array([[0.0, 1.0]] * len(load)))

    monkeypatch.setattr(game_equilibrium, "settle", unsettled)
    with pytest.raises(InputError, match="none of 3 starts settled in period 1"):
        equilibria(small(), starts=3)
