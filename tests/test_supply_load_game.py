"""The supply-load game: its payoffs against brute force, its draws, what it refuses."""

from dataclasses import replace
from itertools import product
from math import factorial, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.envs.supply_load_game import (
    FACTORS,
    PRESETS,
    SupplyLoadGame,
    entropy,
    published,
    repaired,
)
from griddispatch.errors import InputError

SALES = pytest.mark.parametrize("sales", ["product", "minimum"])


def small(sales="minimum", tau=0.06):
    """Two periods, three offers, up to four requests."""
    return SupplyLoadGame(
        prices=np.array([0.3, 0.2, 0.1]),
        offers=3,
        requests=np.array([2, 4]),
        factors=np.array([0.2, 0.9]),
        base_kw=np.array([10.0, 20.0]),
        marginal_cost=np.array([0.05, 0.18]),
        sales=sales,
        unit=3.0,
        tau=tau,
    )


def mixtures(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(3), shape)


def by_enumeration(game, p, q):
    """Payoffs of one pair of strategies [T, 3]: every outcome of Mult(m, q), as in the text."""
    found = np.zeros((2, game.periods))
    for t, m in enumerate(game.requests):
        for k in product(range(m + 1), repeat=3):
            if sum(k) != m:
                continue
            ways = factorial(m) / prod(factorial(n) for n in k)
            chance = ways * prod(q[t, i] ** k[i] for i in range(3))
            for i in range(3):
                offered = game.offers * p[t, i]
                sold = p[t, i] * k[i] if game.sales == "product" else min(offered, k[i])
                lack = min(max(0.9 - offered / max(k[i], 1), 0), 0.9) ** 2
                earned = (game.prices[i] - game.marginal_cost[t]) * sold / game.unit
                found[0, t] += chance * earned
                found[1, t] -= chance * q[t, i] * (game.prices[i] + game.alpha * lack)
        for side, own in enumerate((p, q)):
            found[side, t] -= game.tau * sum(x * np.log(x) for x in own[t])
    return found


@SALES
def test_expected_payoffs_are_those_of_every_outcome_enumerated(sales):
    game = small(sales)
    for p, q in zip(mixtures(5, 2), mixtures(5, 2, seed=1)):
        assert np.allclose(game.utilities(p, q), by_enumeration(game, p, q), atol=1e-12)


@SALES
def test_mean_payoffs_of_drawn_requests_come_near_the_expected_ones(sales):
    game = small(sales, tau=0.0)
    p, q = mixtures(2), mixtures(2, seed=1)
    k = game.draw(q, np.random.default_rng(0).random((40_000, 2, 4)))
    assert (k.sum(-1) == game.requests).all()
    assert np.allclose(k.mean(0), game.requests[:, None] * q, atol=0.03)
    paid = np.stack(game.realised(p, q, k)).mean(1)
    assert np.allclose(paid, game.utilities(p, q), atol=3e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_chances_of_the_numbers_of_requests_add_up_to_one(name):
    game = PRESETS[name]()
    q = mixtures(12)
    chance = game.chance(q)
    assert np.allclose(chance.sum(-1), 1)
    assert np.allclose((chance * game.counts).sum(-1), game.requests[:, None] * q)


def test_the_printed_game_is_the_same_in_every_period():
    game = published()
    paid = game.utilities(np.repeat(mixtures(1), 12, 0), np.repeat(mixtures(1, seed=1), 12, 0))
    assert np.ptp(paid, axis=1).max() == 0
    assert game.offers == 8


def test_the_repaired_game_has_its_requests_follow_the_base_load():
    game = repaired()
    assert game.requests.tolist() == [4, 4, 4, 7, 9, 11, 12, 11, 10, 9, 7, 6]
    assert np.allclose(game.marginal_cost, 0.05 + 0.17 * np.array(FACTORS))


def test_what_is_sold_in_the_repaired_game_meets_an_offer_and_a_request():
    game, rng = repaired(), np.random.default_rng(0)
    p, k = rng.random(1000), rng.integers(0, 12, 1000)
    sold = game.sold(p, k)
    assert (sold <= k).all()
    assert (sold <= game.offers * p + 1e-12).all()


def test_in_the_corner_the_printed_price_probability_is_the_hours_factor_alone():
    corner = np.broadcast_to([1.0, 0.0, 0.0], (12, 3))
    assert np.allclose(published().high_price_probability(corner), FACTORS)


def test_the_repaired_price_probability_is_the_share_of_the_high_price():
    p = mixtures(6, 12)
    assert np.array_equal(repaired().high_price_probability(p), p[..., 0])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda x: sum(x) > 0.1))
def test_entropy_is_largest_where_all_prices_are_alike(weights):
    p = np.array(weights) / sum(weights)
    assert -1e-12 <= entropy(p) <= np.log(3) + 1e-12


def test_periods_can_be_taken_out_and_repeated():
    game, p, q = small(), mixtures(2), mixtures(2, seed=1)
    taken = game.at([1, 1, 0])
    every = np.array(game.utilities(p, q))
    assert np.allclose(taken.utilities(p[[1, 1, 0]], q[[1, 1, 0]]), every[:, [1, 1, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offers": 0}, "offers and requests"),
        ({"requests": np.array([0, 4])}, "offers and requests"),
        ({"requests": np.array([1])}, "one value per period"),
        ({"sales": "auction"}, "auction"),
        ({"tau": -1.0}, "tau and alpha"),
        ({"unit": 0.0}, "unit must be positive"),
        ({"marginal_cost": np.array([np.nan, 0.1])}, "not finite"),
    ],
)
def test_a_game_with_a_wrong_number_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(small(), **change)


def test_a_base_load_of_zero_is_refused():
    with pytest.raises(InputError, match="base_kw"):
        repaired(np.zeros(12))


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (np.full((3, 3), 1 / 3), "shape"),
        (np.full((2, 3), 0.5), "period 0"),
        (np.array([[1, 0, 0], [2, -1, 0.0]]), "period 1"),
    ],
)
def test_what_is_no_strategy_is_refused(strategy, message):
    game = small()
    with pytest.raises(InputError, match=message):
        game.utilities(strategy, mixtures(2))
    with pytest.raises(InputError, match="supply"):
        game.high_price_probability(strategy)
