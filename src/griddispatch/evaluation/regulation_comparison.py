"""Regulation policies on the same hours, compared with intervals.

The table behind a comparison has one row per policy, setting, seed and test hour, with the columns
of `regulation_experiments.judged`. Intervals come from the bootstrap over seeds and hours, crossed
(`statistics`); differences are paired, since all policies meet the same hours.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from griddispatch.errors import InputError
from griddispatch.evaluation import paired, statistics
from griddispatch.evaluation.paired import block
from griddispatch.evaluation.regulation_experiments import PLAIN, label
from griddispatch.evaluation.statistics import Float, Interval

KEYS = ("policy", *asdict(PLAIN))
METRICS = (
    "total",
    "correlation",
    "delay",
    "precision",
    "l1",
    "objective",
    "useful",
    "cost",
    "violations",
    "excess",
    "energy_error",
)
UNIT = "hour"  # what a policy is judged on
UNSEEN = 3.0  # rule of three: none seen in n, at most 3 / n with a confidence of 95 %


class Violations(NamedTuple):
    """How many of n set-points lay outside their limits, and an upper bound on their share.

    bound is 3 / n where none was seen (Hanley and Lippman-Hand, "If nothing goes wrong, is
    everything all right?", JAMA 249, 1983), and NaN otherwise. It takes set-points for independent;
    `hours` of play say how many there are of those that are.
    """

    outside: int
    setpoints: int
    hours: int
    bound: float


def rows(table: pd.DataFrame, policy: str, **changed: Any) -> pd.DataFrame:
    """Rows of a policy in the plain setting with some columns changed.

    Raises
    ------
    InputError
        There is no such row, or no such column in a setting.
    """
    wanted = label(policy)
    if unknown := set(changed) - set(wanted):
        raise InputError(f"a setting has no {', '.join(sorted(unknown))}; it has {', '.join(KEYS)}")
    return paired.rows(table, **(wanted | changed))


def results(
    table: pd.DataFrame, metrics: Sequence[str] = METRICS, draws: int = statistics.DRAWS
) -> pd.DataFrame:
    """One row per policy, setting and metric: mean, low, high, in the order of the table."""
    made = []
    for key, found in table.groupby(list(KEYS), sort=False):
        for metric in metrics:
            values = block(found, metric, UNIT)
            interval = statistics.bootstrap(statistics.mean, values, draws=draws)
            made.append((*key, metric, *interval))
    return pd.DataFrame(made, columns=[*KEYS, "metric", "mean", "low", "high"])


def reduction(
    first: pd.DataFrame, second: pd.DataFrame, column: str, draws: int = statistics.DRAWS
) -> Interval:
    """By how much the mean of the first lies below that of the second, in % of the second.

    Parameters
    ----------
    first, second
        `rows` of two policies. Where one was judged on fewer hours, both keep to those.
    column, draws
        What is compared, and the number of bootstrap samples.

    Raises
    ------
    InputError
        They have no hour in common.
    """

    def share(a: Float, b: Float) -> Float:
        return 100 * (1 - statistics.mean(a) / statistics.mean(b))

    return statistics.bootstrap(share, *_paired(first, second, column), draws=draws)


def difference(
    first: pd.DataFrame, second: pd.DataFrame, column: str, draws: int = statistics.DRAWS
) -> Interval:
    """Mean of the first minus that of the second; parameters as of `reduction`."""

    def less(a: Float, b: Float) -> Float:
        return statistics.mean(a) - statistics.mean(b)

    return statistics.bootstrap(less, *_paired(first, second, column), draws=draws)


def _paired(first: pd.DataFrame, second: pd.DataFrame, column: str) -> tuple[Float, Float]:
    common = set(first[UNIT]) & set(second[UNIT])
    if not common:
        raise InputError("the two policies were judged on no hour in common")
    kept = (part[part[UNIT].isin(common)] for part in (first, second))
    a, b = (block(part, column, UNIT) for part in kept)
    return a, b


def violations(found: pd.DataFrame) -> Violations:
    """Count the violations of a policy's rows, over all its seeds and hours."""
    setpoints = int(found["setpoints"].sum())
    outside = round(float((found["violations"] * found["setpoints"]).sum()) / 1000)
    bound = UNSEEN / setpoints if outside == 0 else np.nan
    return Violations(outside, setpoints, len(found), bound)
