"""Equilibria of the supply-load game, solved directly: no learning, no sampling.

Best responses are global. What supply sells is piecewise linear in its shares, so in each cell
between the kinks the best strategy has the closed form of a softmax within bounds, and the best
cell wins. Load's payoff is a sum of one polynomial per share, which need not be concave: a grid
over all its strategies finds the best neighbourhood, and finer grids around it close in.

An equilibrium is a fixed point of load's answer to supply's answer. `equilibria` looks for all of
them from many starts; `principal` follows the one branch that leads from strategies at random
(tau large) down to the game's tau, the usual choice where there are several (McKelvey and Palfrey,
1995; Turocy, "A dynamic homotopy interpretation of the logistic quantal response equilibrium
correspondence", 2005). Without a bonus the game between one price for all offers and one price for
all requests is a bimatrix game, whose equilibria are enumerated.
"""

from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from griddispatch.envs.supply_load_game import SupplyLoadGame, entropy
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

RESIDUAL = 1e-6  # distance of load's answer to an equilibrium, at most
_TINY = 1e-9
_BISECTIONS = 48
_COARSE = 60  # steps from 0 to 1 of the first grid over load's strategies
_REACH = 6  # steps of a finer grid to each side; it is four times as fine as the one before
_ZOOMS = 12
_DAMPING = 0.4
_DAMPED = 8  # damped rounds before Newton's
_ROUNDS = 40
_PROBE = 1e-5  # of the differences in Newton's method
_RANDOM_TAU = 1.0  # strategies are nearly uniform at this weight of the bonus
_BRANCH = 12  # steps from there to the game's
_APART = 1e-3  # strategies that are two equilibria


# Best responses ------------------------------------------------------------------------------


def best_supply(game: SupplyLoadGame, q: Float) -> Float:
    """[..., T, J] the strategy of supply that maximises U_S against load's q [..., T, J].

    Raises
    ------
    InputError
        q is no strategy.
    """
    q = game.check("load", q)
    pieces = game.offers if game.sales == "minimum" else 1
    edges = np.arange(pieces + 1) / pieces
    at_edge = [game.expected_sales(np.full_like(q, edge), q) for edge in edges]
    value = game.margin[:, :, None] * np.stack(at_edge, -1)  # [..., T, J, edges]
    price = np.arange(q.shape[-1])
    if game.tau == 0:  # a corner of a cell is best
        corner = _shares(pieces, q.shape[-1])
        best = value[..., price, corner].sum(-1).argmax(-1)
        return edges[corner[best]]
    cell = _cells(pieces, q.shape[-1])
    slope = (np.diff(value) * pieces)[..., price, cell]  # [..., T, cells, J]
    p = softmax_between(slope / game.tau, edges[cell], edges[cell + 1])
    paid = (value[..., price, cell] + slope * (p - edges[cell])).sum(-1)
    best = (paid + game.tau * entropy(p)).argmax(-1)
    return np.take_along_axis(p, best[..., None, None], -2)[..., 0, :]


def softmax_between(z: Float, low: Float, high: Float) -> Float:
    """[..., J] the p with low <= p <= high that maximises z p + H(p): exp(z - mu), cut to bounds.

    With bounds 0 and 1 this is the softmax of z. low must sum to less than 1, high to 1 or more.
    """
    above = z.min(-1, keepdims=True)  # every share at its upper bound
    below = z.max(-1, keepdims=True) + 40
    for _ in range(_BISECTIONS):
        mu = (above + below) / 2
        too_much = np.exp(np.minimum(z - mu, 0)).clip(low, high).sum(-1, keepdims=True) > 1
        above, below = np.where(too_much, mu, above), np.where(too_much, below, mu)
    p = np.exp(np.minimum(z - below, 0)).clip(low, high)
    return p / p.sum(-1, keepdims=True)


def best_load(game: SupplyLoadGame, p: Float) -> Float:
    """[..., T, J] the strategy of load that maximises U_L against supply's p [..., T, J].

    Raises
    ------
    InputError
        p is no strategy.
    """
    p = game.check("supply", p)
    price = np.arange(p.shape[-1])
    lack = game.alpha * game.lack(p[..., None], game.counts)
    every = _shares(_COARSE, p.shape[-1])
    share = np.broadcast_to(np.arange(_COARSE + 1) / _COARSE, (*p.shape, _COARSE + 1))
    paid = _load_terms(game, lack, share)
    q = every[paid[..., price, every].sum(-1).argmax(-1)] / _COARSE
    side = np.arange(-_REACH, _REACH + 1)
    near = _sides(p.shape[-1])
    step = 1 / _COARSE
    for _ in range(_ZOOMS):
        step /= 4
        share = q[..., None] + step * side
        share[np.abs(share) < step / 2] = 0  # a share of nothing, but for rounding
        paid = _load_terms(game, lack, share.clip(0, 1))
        paid[(share < 0) | (share > 1)] = -np.inf
        best = near[paid[..., price, near].sum(-1).argmax(-1)]
        q = np.take_along_axis(share, best[..., None], -1)[..., 0]
    return q / q.sum(-1, keepdims=True)


def _load_terms(game: SupplyLoadGame, lack: Float, share: Float) -> Float:
    """[..., T, J, S] what each price adds to U_L if load's share of it is one of S shares.

    lack [..., T, J, M + 1] is alpha x at each number of requests.
    """
    q = np.moveaxis(share, -1, 0)
    expected = (game.chance(q) * lack).sum(-1)
    bonus = -game.tau * np.log(np.where(q > 0, q, 1))
    return np.moveaxis(q * (bonus - game.prices - expected), 0, -1)


@cache
def _shares(parts: int, prices: int) -> Int:
    """[n, J] every way to share `parts` equal parts among the prices."""
    first = np.array(list(product(range(parts + 1), repeat=prices - 1)))
    first = first[first.sum(1) <= parts]
    return np.concatenate([first, parts - first.sum(1, keepdims=True)], 1)


@cache
def _cells(pieces: int, prices: int) -> Int:
    """[n, J] places of the pieces whose box holds strategies: low ends below 1, high ends above."""
    every = np.array(list(product(range(pieces), repeat=prices)))
    total = every.sum(1)
    return every[(total < pieces) & (total + prices > pieces)]


@cache
def _sides(prices: int) -> Int:
    """[n, J] places in -_REACH .. _REACH of changes that add up to nothing."""
    first = np.array(list(product(range(-_REACH, _REACH + 1), repeat=prices - 1)))
    first = first[np.abs(first.sum(1)) <= _REACH]
    return np.concatenate([first, -first.sum(1, keepdims=True)], 1) + _REACH


# Equilibria with a bonus ---------------------------------------------------------------------


class Equilibrium(NamedTuple):
    """Strategies [..., T, J] of the two sides, and how far they are from their best responses.

    supply is the best response to load; residual [..., T] is the largest difference between load's
    shares and its best response to supply.
    """

    supply: Float
    load: Float
    residual: Float


def settle(game: SupplyLoadGame, load: Float) -> Equilibrium:
    """The equilibria [..., T, J] that are reached from load's strategies [..., T, J].

    Damped best responses come near, Newton's method makes them exact; where it stalls, damped steps
    go on. `Equilibrium.residual` says whether it worked.

    Raises
    ------
    InputError
        The game has no bonus, so that answers jump, or load is no strategy.
    """
    if game.tau == 0:
        raise InputError("settle needs a game with tau > 0; enumerate the equilibria of the others")
    q = game.check("load", load)
    shape, period = q.shape, np.broadcast_to(np.arange(game.periods), q.shape[:-1]).ravel()
    q = q.reshape(-1, shape[-1]).copy()
    away = _away(game.at(period), q)
    for _ in range(_DAMPED):
        q += _DAMPING * away
        away = _away(game.at(period), q)
    going = np.arange(len(q))
    for _ in range(_ROUNDS):
        going = going[np.abs(away[going]).max(1) > RESIDUAL / 10]
        if not len(going):
            break
        q[going], away[going] = _newton(game.at(period[going]), q[going], away[going])
    q = q.reshape(shape)
    p = best_supply(game, q)
    return Equilibrium(p, q, np.abs(best_load(game, p) - q).max(-1))


def _away(game: SupplyLoadGame, q: Float) -> Float:
    """[T, J] load's answer to supply's answer to q, less q: zero in equilibrium."""
    return best_load(game, best_supply(game, q)) - q


def _newton(game: SupplyLoadGame, q: Float, away: Float) -> tuple[Float, Float]:
    """A step of Newton's method where it comes nearer to `_away` = 0, else a damped one."""
    free = q.shape[1] - 1
    ahead = np.concatenate([np.eye(free), -np.ones((free, 1))], 1)  # [free, J], sums of 0
    slopes = [(_away(game, np.abs(q + _PROBE * d)) - away)[:, :free] / _PROBE for d in ahead]
    full = -np.linalg.solve(np.stack(slopes, -1), away[:, :free, None])[..., 0] @ ahead
    room = (0.5 * q / np.maximum(-full, _TINY * q)).min(1).clip(max=1)
    end = q + full * room[:, None]
    left = _away(game, end)
    worse = np.abs(left).max(1) > 0.9 * np.abs(away).max(1)
    end[worse] = q[worse] + _DAMPING * away[worse]
    if worse.any():
        left[worse] = _away(game.at(np.flatnonzero(worse)), end[worse])
    return end, left


def equilibria(game: SupplyLoadGame, starts: int = 24, seed: int = 0) -> list[Equilibrium]:
    """Every equilibrium that is found from random starts: per period an Equilibrium of [n, J].

    They stand in the order of falling p_H; starts that did not settle are left out.

    Raises
    ------
    InputError
        starts is not positive, none of them settles in some period, or as of `settle`.
    """
    if starts < 1:
        raise InputError(f"starts is {starts}; give 1 or more")
    rng = np.random.default_rng(seed)
    found = settle(game, rng.dirichlet(np.ones(len(game.prices)), (starts, game.periods)))
    made = []
    for t in range(game.periods):
        own = [e for e in zip(*(part[:, t] for part in found), strict=True) if e[2] <= RESIDUAL]
        apart: list[tuple[Float, Float, float]] = []
        for one in sorted(own, key=lambda e: -e[0][0]):
            if all(np.abs(one[0] - other[0]).max() > _APART for other in apart):
                apart.append(one)
        if not apart:
            raise InputError(f"none of {starts} starts settled in period {t}; give more starts")
        made.append(Equilibrium(*(np.array(part) for part in zip(*apart, strict=True))))
    return made


def principal(game: SupplyLoadGame) -> Equilibrium:
    """The equilibrium [T, J] at the end of the branch that starts at uniform strategies.

    Raises
    ------
    InputError
        As of `settle`.
    """
    q = np.full((game.periods, len(game.prices)), 1 / len(game.prices))
    if game.tau == 0:
        return settle(game, q)
    for tau in np.geomspace(max(_RANDOM_TAU, game.tau), game.tau, _BRANCH):
        found = settle(replace(game, tau=float(tau)), q)
        q = found.load
    return found


# Equilibria of the bimatrix game -------------------------------------------------------------


def matrices(game: SupplyLoadGame) -> tuple[Float, Float]:
    """[T, J, J] U_S and U_L if supply puts all offers at price i and load all requests at j."""
    size = len(game.prices)
    pure = np.eye(size)
    i, j = np.repeat(np.arange(size), size), np.tile(np.arange(size), size)
    every = (np.repeat(pure[k][:, None], game.periods, 1) for k in (i, j))
    paid = game.utilities(*every)
    supply, load = (x.T.reshape(game.periods, size, size) for x in paid)
    return supply, load


def pure_equilibria(supply: Float, load: Float) -> list[tuple[int, int]]:
    """Places (i, j) in matrices [J, J] from which neither side gains by another price."""
    best = (supply >= supply.max(0) - _TINY) & (load >= load.max(1, keepdims=True) - _TINY)
    return [(int(i), int(j)) for i, j in np.argwhere(best)]


def mixed_equilibria(supply: Float, load: Float) -> list[tuple[Float, Float]]:
    """Equilibria (p, q) of matrices [J, J], pure ones included, one per pair of supports.

    For each pair of supports two linear programs look for strategies with just these supports
    that leave the other side indifferent between the prices of its own and no better elsewhere.
    """
    size = len(supply)
    subsets = [s for n in range(1, size + 1) for s in combinations(range(size), n)]
    found = []
    for own, other in product(subsets, subsets):
        q = _indifferent(supply, own, other)
        p = _indifferent(load.T, other, own)
        if p is not None and q is not None:
            found.append((p, q))
    return found


def _indifferent(payoff: Float, rows: tuple[int, ...], columns: tuple[int, ...]) -> Float | None:
    """[J] the mixture of just these columns under which just these rows of [J, J] are best."""
    size = len(payoff)
    # Unknowns: the mixture, the value of the best rows, and the smallest share, to be maximised.
    value, smallest = size, size + 1
    equal, unequal = np.zeros((len(rows) + 1, size + 2)), np.zeros((2 * size, size + 2))
    equal[: len(rows), :size], equal[: len(rows), value] = payoff[list(rows)], -1
    equal[-1, :size] = 1
    unequal[:size, :size], unequal[:size, value] = payoff, -1
    for k in columns:
        unequal[size + k, k], unequal[size + k, smallest] = -1, 1
    bounds = [(0, 1 if k in columns else 0) for k in range(size)] + [(None, None), (0, 1)]
    cost = np.zeros(size + 2)
    cost[smallest] = -1
    right = np.append(np.zeros(len(rows)), 1.0)
    solved = linprog(cost, unequal, np.zeros(2 * size), equal, right, bounds)
    if solved.status != 0 or solved.x[smallest] < _TINY:
        return None
    return solved.x[:size]
