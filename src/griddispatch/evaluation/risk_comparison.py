"""Dispatchers of the microgrid on the same days: mean, VaR and CVaR with intervals.

The table behind a comparison has one row per policy, weight, seed and day, with the columns of
`risk_experiments.judged`. Intervals come from the bootstrap over seeds and days, crossed, drawn
jointly for all policies (`paired.draw`). Statistics of the same draw can therefore be subtracted or
divided: differences are paired. VaR and CVaR are taken for each seed on its own and then averaged:
they speak of the days of one trained policy, not of a mixture of policies.
"""

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

import numpy as np
import pandas as pd

from griddispatch.errors import InputError
from griddispatch.evaluation import paired
from griddispatch.evaluation.paired import interval
from griddispatch.evaluation.statistics import DRAWS, Float
from griddispatch.risk_measures import ALPHA

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


def rows(table: pd.DataFrame, key: Key) -> pd.DataFrame:
    """Rows of one policy with one weight.

    Raises
    ------
    InputError
        There is none.
    """
    return paired.rows(table, policy=key[0], weight=key[1])


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
    costs = {key: paired.block(rows(table, key), "cost") for key in keys(table)}
    drawn = paired.draw(costs.values(), table["day"], draws, seed)
    parts = [drawn.counts[first : first + _CHUNK] for first in range(0, draws + 1, _CHUNK)]
    found = {}
    for key, cost in costs.items():
        some = [np.stack([weighted(x, part, alpha) for x in cost], -1) for part in parts]
        found[key] = Drawn(*drawn.over_seeds(np.concatenate(some, 1)))  # of [3, 1 + draws, K]
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
