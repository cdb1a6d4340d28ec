"""Dispatchers of the microgrid on the same days: mean, VaR and CVaR with intervals.

The table behind a comparison has one row per policy, weight, seed and day, with the columns of
`risk_experiments.judged`. Intervals come from the bootstrap over seeds and days, crossed, as in
`statistics`: in each draw the days are drawn once, for all policies, and so are the seeds of
policies that have as many. Statistics of the same draw can therefore be subtracted or divided:
differences are paired. VaR and CVaR are taken for each seed on its own and then averaged: they
speak of the days of one trained policy, not of a mixture of policies.
"""

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

import numpy as np
import pandas as pd

from griddispatch.errors import InputError
from griddispatch.evaluation.risk_measures import ALPHA
from griddispatch.evaluation.statistics import DRAWS, LEVEL, Float, Interval

Key = tuple[str, float]
COUNTS = ("outside", "violations", "lost_kwh", "lost_heat_kwh", "import_kwh", "starts", "cycles")
_CHUNK = 500  # draws at a time
_ROUNDING = 1e-9  # as in `risk_measures`: 0.95 * 20 must count as 19


class Drawn(NamedTuple):
    """Statistics of one policy's cost in EUR per day, [1 + draws] each: the days, then the draws.

    Attributes
    ----------
    mean, var95, cvar95
        Means over the seeds.
    """

    mean: Float
    var95: Float
    cvar95: Float

    def objective(self, weight: float) -> Float:
        """[1 + draws] J = (1 - weight) mean + weight CVaR."""
        return (1 - weight) * self.mean + weight * self.cvar95


def block(found: pd.DataFrame, column: str = "cost") -> Float:
    """[seeds, days] of one column of one policy's rows.

    Raises
    ------
    InputError
        A seed lacks a day that another one has, or has it twice.
    """
    if found.duplicated(["seed", "day"]).any():
        raise InputError(f"{found['policy'].iloc[0]}: a day stands twice; take one weight")
    wide = found.pivot(index="seed", columns="day", values=column).to_numpy(dtype=np.float64)
    if np.isnan(wide).any():
        raise InputError(f"{found['policy'].iloc[0]}: seeds with different days; test all on all")
    return wide


def rows(table: pd.DataFrame, key: Key) -> pd.DataFrame:
    """Rows of one policy with one weight.

    Raises
    ------
    InputError
        There is none.
    """
    found = table[table["policy"].eq(key[0]) & table["weight"].eq(key[1])]
    if found.empty:
        raise InputError(f"no rows of {key[0]} with weight {key[1]} in the table")
    return found


def keys(table: pd.DataFrame) -> list[Key]:
    """Every policy with its weight, in the order of the table."""
    found = table[["policy", "weight"]].drop_duplicates()
    return [(str(policy), float(weight)) for policy, weight in found.to_numpy()]


def common(table: pd.DataFrame, of: Iterable[Key]) -> pd.DataFrame:
    """Rows of some policies, on the days that all of them have.

    Raises
    ------
    InputError
        There is no such day.
    """
    parts = [rows(table, key) for key in of]
    shared = set.intersection(*(set(part["day"]) for part in parts))
    if not shared:
        raise InputError("the policies were judged on no day in common")
    return pd.concat([part[part["day"].isin(shared)] for part in parts], ignore_index=True)


def resample(
    table: pd.DataFrame, draws: int = DRAWS, alpha: float = ALPHA, seed: int = 0
) -> dict[Key, Drawn]:
    """Draw days and seeds, jointly for all policies of a table.

    Raises
    ------
    InputError
        Two policies were judged on different days; see `common`.
    """
    costs = {key: block(rows(table, key)) for key in keys(table)}
    days = {cost.shape[1] for cost in costs.values()}
    if len(days) != 1 or len(set(table["day"])) not in days:
        raise InputError("policies with different days cannot be drawn together; take the common")
    (n,) = days
    rng = np.random.default_rng(seed)
    chosen = {
        k: np.concatenate([np.arange(k)[None], rng.integers(k, size=(draws, k))])
        for k in sorted({len(cost) for cost in costs.values()})
    }
    parts: dict[Key, list[Float]] = {key: [] for key in costs}
    for first in range(0, draws + 1, _CHUNK):
        size = min(_CHUNK, draws + 1 - first)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        if first == 0:
            counts[0] = 1
        for key, cost in costs.items():
            parts[key].append(np.stack([weighted(x, counts, alpha) for x in cost], -1))
    found = {}
    for key, some in parts.items():
        by_seed = np.concatenate(some, 1)  # [3, 1 + draws, K]
        pick = chosen[by_seed.shape[2]]
        found[key] = Drawn(*np.take_along_axis(by_seed, pick[None], 2).mean(2))
    return found


def weighted(costs: Float, counts: Float, alpha: float = ALPHA) -> Float:
    """[3, B] mean, VaR and CVaR of costs [n] in which cost i stands counts[b, i] times.

    They are those of `risk_measures` for samples of equal size.
    """
    order, n = np.argsort(costs), len(costs)
    total = counts.sum(1, keepdims=True)
    # Only the tail is needed, so only that is put in order; it seldom reaches twice as far.
    for most in (min(n, ceil(2 * (1 - alpha) * n) + 20), n):
        x, times = costs[order[n - most :]], counts[:, order[n - most :]]
        upto = total - times.sum(1, keepdims=True) + times.cumsum(1)
        rank = np.ceil(alpha * total - _ROUNDING).clip(min=1)
        if most == n or (upto[:, :1] < rank).all():
            break
    var = x[(upto < rank).sum(1)]
    beyond = np.clip(x - var[:, None], 0, None) * times
    tail = var + beyond.sum(1) / ((1 - alpha) * total[:, 0])
    return np.stack([counts @ costs / total[:, 0], var, tail])


def interval(drawn: Float, level: float = LEVEL) -> Interval:
    """Value and percentile interval of a statistic [1 + draws] that `resample` has drawn."""
    low, high = np.quantile(drawn[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(drawn[0]), float(low), float(high))


def less(first: Float, second: Float) -> Interval:
    """By how much the first statistic lies below the second, in % of the second."""
    return interval(100 * (1 - first / second))


def results(table: pd.DataFrame, drawn: dict[Key, Drawn], weight: float) -> pd.DataFrame:
    """One row per policy, weight and metric: mean, low, high.

    The metrics are mean, var95, cvar95, objective (J at `weight`) in EUR per day, with intervals;
    largest, the most expensive day of all seeds, and the daily means of `COUNTS` without any.
    """
    made = []
    for key, one in drawn.items():
        found = rows(table, key)
        for name in Drawn._fields:
            made.append((*key, name, *interval(getattr(one, name))))
        made.append((*key, "objective", *interval(one.objective(weight))))
        plain = {"largest": found["cost"].max()} | {name: found[name].mean() for name in COUNTS}
        made += [(*key, name, float(x), np.nan, np.nan) for name, x in plain.items()]
    return pd.DataFrame(made, columns=["policy", "weight", "metric", "mean", "low", "high"])


def below_bound(table: pd.DataFrame, bound: pd.Series, tolerance: float) -> list[int]:
    """Days on which a policy costs less than the lower bound of perfect foresight: there is none.

    Parameters
    ----------
    table
        Rows of all policies.
    bound
        EUR by day.
    tolerance
        EUR; the simulator counts in single precision.
    """
    known = table[table["day"].isin(bound.index)]
    beaten = known["cost"] < known["day"].map(bound) - tolerance
    return sorted(known.loc[beaten, "day"].unique().tolist())
