"""The supply-load game: in each period two sides choose among three prices of energy.

Supply spreads n offers over the prices by shares p, load spreads its requests by shares q, and the
requests at the prices are k ~ Mult(m_t, q). A share is a mixed strategy and a period stands alone:
nothing that is chosen in one changes another. With prices c, marginal cost beta_t, the bonus of
a strategy's entropy H and x(p, k) = clip(.9 - n p / max(k, 1), 0, .9)^2 for a lack of offers,

    U_S = sum_i (c_i - beta_t) E sold(p_i, k_i) / unit + tau H(p)
    U_L = -sum_i q_i (c_i + alpha E x(p_i, k_i)) + tau H(q).

`published` has the game as it is printed: sold = p k, beta = .18 and m = n = 8 in every period, no
bonus. Its periods are all the same and supply is paid for requests that meet no offer. `repaired`
sells min(n p, k), lets requests and marginal cost follow the hours, counts supply's payoff per
offer, and adds the bonus (McKelvey and Palfrey, "Quantal response equilibria for normal form
games", 1995). Either k_i alone is binomial, so all expectations here are sums, not samples.
"""

from dataclasses import dataclass, replace
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from griddispatch.data.vpp_demand import BASE_KW
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

SIDES = ("supply", "load")
PRICES = (0.3, 0.2, 0.1)  # high, medium, low
HIGH = 0  # place of the high price
FACTORS = (0.12, 0.08, 0.15, 0.25, 0.62, 0.88, 0.95, 0.92, 0.88, 0.73, 0.45, 0.18)
CAPACITY = 100  # offers of a day, N
LARGEST_LACK = 0.9
_STRATEGY_ROUNDING = 1e-5  # what single precision leaves of a sum of shares


@dataclass(frozen=True, eq=False)
class SupplyLoadGame:
    """The game of T periods with J prices.

    Raises
    ------
    InputError
        A value is out of range, or two arrays do not have the same periods.
    """

    prices: Float
    """[J] c, per unit of energy, the high price first."""
    offers: int
    """n, per period."""
    requests: Int
    """[T] m_t."""
    factors: Float
    """[T] f_t in [0, 1], how dear an hour is."""
    base_kw: Float
    """[T] base load."""
    marginal_cost: Float
    """[T] beta_t, in the unit of the prices."""
    sales: Literal["product", "minimum"]
    """What is sold at a price: p k as printed, or min(n p, k)."""
    unit: float = 1.0
    """By which supply's payoff is divided."""
    alpha: float = 0.99
    """Weight of a lack of offers."""
    tau: float = 0.0
    """Weight of the entropy of the own strategy."""
    hour_in_price: bool = False
    """Whether the probability of a high price is multiplied by the hour's factor, as printed."""

    def __post_init__(self) -> None:
        periods = {len(self.requests), len(self.factors), len(self.base_kw)}
        if periods != {len(self.marginal_cost)} or self.periods == 0 or len(self.prices) < 2:
            raise InputError(
                "supply-load game: requests, factors, base_kw and marginal_cost need one value per "
                "period, and prices at least two"
            )
        if self.offers < 1 or self.requests.min() < 1:
            raise InputError("supply-load game: offers and requests must be 1 or more per period")
        if self.sales not in ("product", "minimum"):
            raise InputError(f"supply-load game: sales is {self.sales!r}; take product or minimum")
        if not (self.tau >= 0 and self.alpha >= 0 and self.unit > 0):
            raise InputError(
                "supply-load game: tau and alpha must not be negative, and unit must be positive; "
                f"they are {self.tau}, {self.alpha}, {self.unit}"
            )
        numbers = (self.prices, self.factors, self.base_kw, self.marginal_cost)
        if not all(np.isfinite(x).all() for x in numbers):
            raise InputError("supply-load game: a price, factor, base load or cost is not finite")

    @property
    def periods(self) -> int:
        """T."""
        return len(self.requests)

    def at(self, periods: ArrayLike) -> "SupplyLoadGame":
        """The game of some of its periods [C]; one may stand there several times."""
        arrays = ("requests", "factors", "base_kw", "marginal_cost")
        index = np.asarray(periods)
        return replace(self, **{name: getattr(self, name)[index] for name in arrays})

    @property
    def counts(self) -> Int:
        """[M + 1] numbers of requests, 0 .. M, where M is the largest m_t."""
        return np.arange(int(self.requests.max()) + 1)

    @property
    def features(self) -> Float:
        """[T, 2] what a policy sees of a period: f_t, and the base load over its largest value."""
        return np.stack([self.factors, self.base_kw / self.base_kw.max()], 1)

    @property
    def margin(self) -> Float:
        """[T, J] supply's payoff per unit sold, c_i - beta_t over the unit of payoffs."""
        return (self.prices - self.marginal_cost[:, None]) / self.unit

    def sold(self, p: Float, k: Float | Int) -> Float:
        """Energy that is sold at shares p of offers and k requests; arrays that broadcast."""
        if self.sales == "product":
            return p * k
        return np.minimum(self.offers * p, k)

    def lack(self, p: Float, k: Float | Int) -> Float:
        """x(p, k) in [0, .81] at shares p of offers and k requests; arrays that broadcast."""
        met = self.offers * p / np.maximum(k, 1)
        return np.clip(LARGEST_LACK - met, 0, LARGEST_LACK) ** 2

    def chance(self, q: Float) -> Float:
        """[..., T, J, M + 1] probability of 0 .. M requests at a price of share q [..., T, J].

        Counts above a period's m_t have none.
        """
        counts = self.counts
        ways = np.array([[comb(m, k) for k in counts.tolist()] for m in self.requests.tolist()])
        rest = np.maximum(self.requests[:, None] - counts, 0)
        shape = (*q.shape, len(counts))
        taken = np.broadcast_to(rest[:, None], shape)
        return (
            ways[:, None] * _powers(q, shape) * np.take_along_axis(_powers(1 - q, shape), taken, -1)
        )

    def expected_sales(self, p: Float, q: Float) -> Float:
        """[..., T, J] expected energy sold at strategies [..., T, J]."""
        return (self.chance(q) * self.sold(p[..., None], self.counts)).sum(-1)

    def expected_lack(self, p: Float, q: Float) -> Float:
        """[..., T, J] expected x at strategies [..., T, J]."""
        return (self.chance(q) * self.lack(p[..., None], self.counts)).sum(-1)

    def utilities(self, p: Float, q: Float) -> tuple[Float, Float]:
        """[..., T] expected U_S and U_L at strategies [..., T, J], with the bonus.

        Raises
        ------
        InputError
            A strategy has another shape, or is no distribution.
        """
        p, q = self.check("supply", p), self.check("load", q)
        supply, load = self._paid(q, self.expected_sales(p, q), self.expected_lack(p, q))
        return supply + self.tau * entropy(p), load + self.tau * entropy(q)

    def realised(self, p: Float, q: Float, k: Float | Int) -> tuple[Float, Float]:
        """[..., T] U_S and U_L, without the bonus, once k [..., T, J] requests have come."""
        return self._paid(q, self.sold(p, k), self.lack(p, k))

    def _paid(self, q: Float, sold: Float, lack: Float) -> tuple[Float, Float]:
        cost = q * (self.prices + self.alpha * lack)
        return (self.margin * sold).sum(-1), -cost.sum(-1)

    def draw(self, q: Float, uniform: Float) -> Int:
        """[..., T, J] requests k ~ Mult(m_t, q) made of uniform numbers [..., T, M] in [0, 1)."""
        edges = q.cumsum(-1)[..., :-1]
        price = (uniform[..., None] >= edges[..., None, :]).sum(-1)
        asked = np.arange(uniform.shape[-1]) < self.requests[:, None]
        return ((price[..., None] == np.arange(len(self.prices))) & asked[..., None]).sum(-2)

    def high_price_probability(self, p: Float) -> Float:
        """[..., T] P_high of a day at supply's strategies [..., T, J], for the lower level.

        As printed, clip(.8 p_H f_t + .2 f_t, .05, .95). In the repaired game the hours are in the
        costs and in the requests, hence in p_H: P_high = p_H, and a further f_t would count the
        hour twice.

        Raises
        ------
        InputError
            As of `utilities`.
        """
        high = self.check("supply", p)[..., HIGH]
        if self.hour_in_price:
            high = np.clip(0.8 * high * self.factors + 0.2 * self.factors, 0.05, 0.95)
        return high

    def check(self, side: str, strategy: ArrayLike) -> Float:
        """A strategy [..., T, J] as an array, if it is one.

        Raises
        ------
        InputError
            It has another shape, or is no distribution over the prices in some period.
        """
        made = np.asarray(strategy, np.float64)
        shape = (self.periods, len(self.prices))
        if made.shape[-2:] != shape:
            raise InputError(f"strategy of {side} has shape {made.shape}; it needs [..., *{shape}]")
        good = (made >= 0).all(-1) & (np.abs(made.sum(-1) - 1) <= _STRATEGY_ROUNDING)
        if not good.all():
            period = int(np.argwhere(~good)[0][-1])
            raise InputError(
                f"strategy of {side} in period {period} is no distribution; give shares from 0 "
                "that add up to 1"
            )
        return made


def _powers(x: Float, shape: tuple[int, ...]) -> Float:
    """[..., n] x to the powers 0 .. n - 1; many times faster than `**`."""
    made = np.ones(shape)
    made[..., 1:] = x[..., None]
    return made.cumprod(-1)


def entropy(p: Float) -> Float:
    """[...] Shannon entropy in nats of distributions [..., J]."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def published(base_kw: ArrayLike = BASE_KW) -> SupplyLoadGame:
    """The game as it is printed; base_kw [12] enters the features only."""
    base, factors = np.asarray(base_kw, np.float64), np.array(FACTORS)
    offers = CAPACITY // len(factors)
    return SupplyLoadGame(
        prices=np.array(PRICES),
        offers=offers,
        requests=np.full(len(factors), offers),
        factors=factors,
        base_kw=base,
        marginal_cost=np.full(len(factors), 0.18),
        sales="product",
        hour_in_price=True,
    )


def repaired(base_kw: ArrayLike = BASE_KW) -> SupplyLoadGame:
    """The game with its hours told apart; base_kw [12] is the base load in kW.

    Requests are in proportion to the base load, as many as offers in the mean period.

    Raises
    ------
    InputError
        A base load is not positive, or so small that a period has no request.
    """
    base, factors = np.asarray(base_kw, np.float64), np.array(FACTORS)
    if not (base > 0).all():
        raise InputError("supply-load game: base_kw must be positive in every period")
    offers = CAPACITY // len(factors)
    return SupplyLoadGame(
        prices=np.array(PRICES),
        offers=offers,
        requests=np.rint(offers * base / base.mean()).astype(np.int64),
        factors=factors,
        base_kw=base,
        marginal_cost=0.05 + 0.17 * factors,
        sales="minimum",
        unit=float(offers),
        tau=0.06,
    )


PRESETS = {"published": published, "repaired": repaired}
