"""Are generated days like measured ones? What they add up to, how they hang together, and a test.

The test is the energy test of Szekely and Rizzo, "Testing for equal distributions in high
dimension", InterStat 5, 2004. With the Euclidean distance |.| between days,

    E = 2 mean |x_i - y_j| - mean |x_i - x_j| - mean |y_i - y_j|

is zero only for equal distributions. Its p-value is the share of random relabellings of all days
with an E as large as the one seen.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from griddispatch.data.series import Days

Array = NDArray[np.float64]

PERMUTATIONS = 999
LEVEL = 0.05


class EnergyTest(NamedTuple):
    """Energy distance of two samples and its p-value."""

    distance: float
    p_value: float


def daily(days: Days) -> dict[str, Array]:
    """Return what a day adds up to, each [D].

    Energies are in MWh, the highest import without batteries and losses in kW, the mean price and
    the difference between the dearest and the cheapest step in EUR/MWh.
    """
    hours = days.step_hours
    import_kw = days.net_load.sum(2)
    return {
        "load energy": days.load.sum((1, 2)) * hours / 1000,
        "PV energy": days.pv.sum((1, 2)) * hours / 1000,
        "net energy": import_kw.sum(1) * hours / 1000,
        "peak import": import_kw.max(1),
        "mean price": days.price.mean(1),
        "price range": np.ptp(days.price, axis=1),
    }


def node_correlation(days: Days) -> Array:
    """[N, N] correlation between the loads of nodes at the same time, averaged over the steps.

    The mean of each step is taken out first, so it is not the common course of the day.
    """
    z = _standardised(days.load)
    return np.einsum("dsn,dsm->nm", z, z, optimize=True) / (z.shape[0] * z.shape[1])


def time_correlation(days: Days) -> Array:
    """[S, S] correlation between the loads of a node at two steps, averaged over the nodes."""
    z = _standardised(days.load)
    return np.einsum("dsn,dtn->st", z, z, optimize=True) / (z.shape[0] * z.shape[2])


def features(days: Days, reference: Days) -> Array:
    """[D, P] load, PV and price of every step, standardised by the days of `reference`.

    Each of the three has the same weight in a distance, however many nodes it has. PV is that of
    the whole feeder. A column that never changes in `reference` is left out.
    """
    parts = []
    for pick in (lambda d: d.load, lambda d: d.pv.sum(2), lambda d: d.price):
        rows, known = (pick(d).reshape(len(d), -1) for d in (days, reference))
        spread = known.std(0)
        varies = spread > 0
        scaled = (rows[:, varies] - known[:, varies].mean(0)) / spread[varies]
        parts.append(scaled / np.sqrt(max(varies.sum(), 1)))
    return np.concatenate(parts, axis=1)


def energy_distance(x: Array, y: Array) -> float:
    """Energy distance E of two samples [n, P] and [m, P], without pairs of a day with itself.

    Its mean is zero for equal distributions, at any size of the samples, so it may be negative.
    """
    n, m = len(x), len(y)
    within_x = _distances(x, x).sum() / (n * (n - 1))
    within_y = _distances(y, y).sum() / (m * (m - 1))
    return float(2 * _distances(x, y).mean() - within_x - within_y)


def energy_test(x: Array, y: Array, seed: int, permutations: int = PERMUTATIONS) -> EnergyTest:
    """Test whether x [n, P] and y [m, P] have one distribution."""
    n, total = len(x), len(x) + len(y)
    pooled = np.concatenate([x, y])
    between = _distances(pooled, pooled)
    random = np.random.default_rng(seed)
    member = np.zeros((1 + permutations, total))
    member[0, :n] = 1
    for row in member[1:]:
        row[random.permutation(total)[:n]] = 1
    to_first, to_rest = member @ between, (1 - member) @ between
    inside = (to_first * member).sum(1) / (n * (n - 1))
    outside = (to_rest * (1 - member)).sum(1) / ((total - n) * (total - n - 1))
    energy = 2 * (to_first * (1 - member)).sum(1) / (n * (total - n)) - inside - outside
    # The labelling that was seen is one of them; rounding must not put it above itself.
    return EnergyTest(float(energy[0]), float((energy >= energy[0] - 1e-12).mean()))


def power(x: Array, y: Array, size: int, draws: int, seed: int) -> float:
    """Share of tests that tell `size` random rows of x from y, at the level of 5 %.

    With x as the truth and y with a known fault it says what a test of so few days can see; with x
    and y alike it should give the level.
    """
    random = np.random.default_rng(seed)
    tests = [
        energy_test(x[random.choice(len(x), size, replace=False)], y, seed + draw, 199)
        for draw in range(draws)
    ]
    return float(np.mean([test.p_value <= LEVEL for test in tests]))


def _standardised(values: Array) -> Array:
    """[D, ...] with mean 0 and variance 1 over the days; zero where nothing changes."""
    centred = values - values.mean(0)
    spread = values.std(0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def _distances(x: Array, y: Array) -> Array:
    """Euclidean distances [len(x), len(y)] between rows."""
    square = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    # The distance of a row to itself is zero but for rounding.
    return np.sqrt(np.where(square > 1e-9, square, 0.0))
