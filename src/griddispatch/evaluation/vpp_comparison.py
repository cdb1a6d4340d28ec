"""Dispatchers of the virtual power plant on the same days, under shifts, with intervals.

The table behind a comparison has one row per policy, shift, seed and day, with the columns of
`vpp_experiments.judged`. Day k is made of the same random numbers under every shift, so days are
drawn once for all policies and all shifts, and seeds once for all policies that have as many
(`paired.draw`). Statistics of the same draw can be subtracted or
divided: differences between policies and slopes over a shift are paired. The CVaR is taken for each
seed on its own and then averaged.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from griddispatch.errors import InputError
from griddispatch.evaluation import paired
from griddispatch.evaluation.comparison import verdict
from griddispatch.evaluation.paired import interval, less
from griddispatch.evaluation.risk_comparison import weighted
from griddispatch.evaluation.statistics import DRAWS, Float, Interval

Key = tuple[str, str]  # policy, shift
Drawn = dict[str, Float]  # metric: [1 + draws], the days themselves and then the draws
ALPHA = 0.9  # CVaR10: the mean of the worst 10 % of days
FORESIGHT = "Perfect foresight"
COST = ("mean", "cvar10")  # both of the column "cost"
SLOPES = {
    "sigma": {"nominal": 0.0, "sigma x1.5": 0.5, "sigma x2": 1.0},
    "mean": {"nominal": 0.0, "mean +10 %": 1.0, "mean +20 %": 2.0},
}
"""Where the shifts of a family stand: sigma in +100 %, the mean in +10 %."""


def rows(table: pd.DataFrame, key: Key) -> pd.DataFrame:
    """Rows of a policy under a shift.

    Raises
    ------
    InputError
        There is none.
    """
    return paired.rows(table, policy=key[0], shift=key[1])


def keys(table: pd.DataFrame) -> list[Key]:
    """Every policy with each of its shifts, in the order of the table."""
    found = table[["policy", "shift"]].drop_duplicates()
    return [(str(policy), str(shift)) for policy, shift in found.to_numpy()]


def metrics(table: pd.DataFrame) -> list[str]:
    """The columns that are numbers of a day, but for the cost, which has statistics of its own."""
    known = ("policy", "shift", "seed", "day", "cost")
    return [str(column) for column in table.columns if column not in known]


def resample(table: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> dict[Key, Drawn]:
    """Draw days and seeds, jointly for all policies and shifts of a table.

    Each has "mean" and "cvar10" of the cost, and the means of all `metrics`.

    Raises
    ------
    InputError
        Two policies were judged on different days.
    """
    found = {key: rows(table, key) for key in keys(table)}
    costs = {key: paired.block(own, "cost") for key, own in found.items()}
    chosen = paired.draw(costs.values(), table["day"], draws, seed)
    counts, n = chosen.counts, table["day"].nunique()
    drawn = {}
    for key, own in found.items():
        cost = costs[key]
        tail = np.stack([weighted(x, counts, ALPHA)[2] for x in cost], -1)
        by_seed = {"mean": counts @ cost.T / n, "cvar10": tail}
        by_seed |= {name: counts @ paired.block(own, name).T / n for name in metrics(table)}
        drawn[key] = {name: chosen.over_seeds(x) for name, x in by_seed.items()}
    return drawn


def slope(drawn: Mapping[Key, Drawn], policy: str, family: str, metric: str) -> Float:
    """[1 + draws] least-squares slope of a statistic over a family of `SLOPES`."""
    at = SLOPES[family]
    x = np.array(list(at.values())) - np.mean(list(at.values()))
    y = np.stack([drawn[policy, shift][metric] for shift in at])
    return np.asarray(x @ y / (x @ x), dtype=np.float64)


def results(drawn: Mapping[Key, Drawn]) -> pd.DataFrame:
    """One row per policy, shift and metric: mean, low, high, with 95 % intervals.

    Beside the shifts stand the families of `SLOPES` with slopes of "mean" and "cvar10", for
    policies that were judged under all of their shifts.
    """
    made: list[tuple[Any, ...]] = [
        (*key, name, *interval(x)) for key, one in drawn.items() for name, x in one.items()
    ]
    for policy in dict.fromkeys(policy for policy, _ in drawn):
        for family, at in SLOPES.items():
            if all((policy, shift) in drawn for shift in at):
                made += [
                    (
                        policy,
                        f"slope of {family}",
                        name,
                        *interval(slope(drawn, policy, family, name)),
                    )
                    for name in COST
                ]
    return pd.DataFrame(made, columns=["policy", "shift", "metric", "mean", "low", "high"])


def difference(
    drawn: Mapping[Key, Drawn], first: str, second: str, shift: str, metric: str
) -> dict[str, Any]:
    """A paired difference under one shift, as a row with value, low, high and a verdict.

    "mean" and "cvar10" say by how much, in %, the first policy lies below the second; every other
    metric by how much it lies above it, in its own unit.
    """
    a, b = drawn[first, shift][metric], drawn[second, shift][metric]
    found = less(a, b) if metric in COST else interval(a - b)
    named = {"first": first, "second": second, "shift": shift, "metric": metric}
    return named | found._asdict() | {"verdict": verdict(found)}


def above(drawn: Mapping[Key, Drawn], policy: str, bound: str, shift: str) -> Interval:
    """By how much the mean cost of a policy lies above that of a bound, in % of the bound."""
    return interval(100 * (drawn[policy, shift]["mean"] / drawn[bound, shift]["mean"] - 1))


def radius_table(validation: pd.DataFrame, premium: float) -> pd.DataFrame:
    """Which robustness to take, from validation days alone.

    Parameters
    ----------
    validation
        Rows as of the table with the columns radius and carried, which name a candidate; radius 0,
        which is not robust, must be among them.
    premium
        Largest rise of the nominal mean over that of candidate 0 that is paid, in %.

    Returns
    -------
    One row per candidate: nominal (mean cost), premium in %, tail (CVaR10, mean over all shifts but
    the nominal one and over seeds), and chosen, True for the smallest tail within the premium.

    Raises
    ------
    InputError
        There is no candidate 0.
    """
    lines = []
    for (radius, carried), own in validation.groupby(["radius", "carried"], sort=True):
        named = own.assign(policy="candidate")
        tails = [
            np.mean(
                [
                    weighted(x, np.ones((1, len(x))), ALPHA)[2, 0]
                    for x in paired.block(rows(named, key), "cost")
                ]
            )
            for key in keys(named)
            if key[1] != "nominal"
        ]
        nominal = own.loc[own["shift"].eq("nominal"), "cost"].mean()
        named_by = {"radius": radius, "carried": carried}
        lines.append(named_by | {"nominal": nominal, "tail": float(np.mean(tails))})
    made = pd.DataFrame(lines)
    if not made["radius"].eq(0).any():
        raise InputError("radius 0 is not among the candidates; the premium is counted from it")
    neutral = float(made.loc[made["radius"].eq(0), "nominal"].iloc[0])
    made.insert(3, "premium", 100 * (made["nominal"] / neutral - 1))
    best = made.loc[made["premium"] <= premium, "tail"].idxmin()
    return made.assign(chosen=made.index == best)


def correlation(estimate: Float, truth: Float, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Correlation over days of an estimate [seeds, days] with the truth [days], mean over seeds.

    A constant estimate knows nothing: its correlation counts as 0.
    """
    rng = np.random.default_rng(seed)
    k, n = estimate.shape
    days = np.concatenate([np.arange(n)[None], rng.integers(n, size=(draws, n))])
    seeds = np.concatenate([np.arange(k)[None], rng.integers(k, size=(draws, k))])
    y = truth[days] - truth[days].mean(1, keepdims=True)
    by_seed = []
    for x in estimate:
        own = x[days] - x[days].mean(1, keepdims=True)
        scale = np.sqrt((own**2).sum(1) * (y**2).sum(1))
        by_seed.append(np.where(scale > 1e-12, (own * y).sum(1) / np.where(scale > 0, scale, 1), 0))
    return interval(np.take_along_axis(np.stack(by_seed, -1), seeds, 1).mean(1))
