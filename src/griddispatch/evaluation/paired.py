"""Judged rows made into arrays [seeds, days], and days and seeds drawn jointly for many of them.

A tidy table has one row per policy, setting, seed and day (or hour, or any other unit that every
seed is judged on). What is drawn once for all policies keeps their differences paired; see
`statistics`, whose bootstrap needs no more than `block`. `draw` is for statistics that are taken of
counted days, such as the CVaR.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.errors import InputError
from griddispatch.evaluation.statistics import DRAWS, LEVEL, Float, Interval


def rows(table: pd.DataFrame, **key: Any) -> pd.DataFrame:
    """Rows whose columns have the values of a key, such as policy="MPC", weight=0.3.

    Raises
    ------
    InputError
        There is none.
    """
    wanted = [table[column].eq(value) for column, value in key.items()]
    found = table[np.logical_and.reduce(wanted)]
    if found.empty:
        named = ", ".join(f"{column} {value}" for column, value in key.items())
        raise InputError(f"no rows of {named} in the table")
    return found


def block(found: pd.DataFrame, column: str, unit: str = "day") -> Float:
    """[seeds, days] of one column of one policy's rows, days being what the column `unit` counts.

    Raises
    ------
    InputError
        A seed lacks a day that another one has, or has it twice.
    """
    if found.duplicated(["seed", unit]).any():
        raise InputError(
            f"{found['policy'].iloc[0]}: the same {unit} stands twice; take one setting, and "
            "judge each once"
        )
    wide = found.pivot(index="seed", columns=unit, values=column).to_numpy(dtype=np.float64)
    if np.isnan(wide).any():
        who = found["policy"].iloc[0]
        raise InputError(f"{who}: seeds with different {unit}s; test all on all")
    return wide


class Draws(NamedTuple):
    """Draws with replacement; the first of each is no draw, but all days and seeds once.

    Attributes
    ----------
    counts
        [1 + draws, days] how often each day stands in a draw.
    seeds
        By number of seeds K: [1 + draws, K], those that a draw holds.
    """

    counts: Float
    seeds: dict[int, NDArray[np.int64]]

    def over_seeds(self, by_seed: Float) -> Float:
        """[..., 1 + draws] means over the drawn seeds of statistics [..., 1 + draws, K]."""
        pick = np.broadcast_to(self.seeds[by_seed.shape[-1]], by_seed.shape)
        return np.asarray(np.take_along_axis(by_seed, pick, -1).mean(-1), dtype=np.float64)


def draw(
    blocks: Collection[Float], judged: "pd.Series[Any]", draws: int = DRAWS, seed: int = 0
) -> Draws:
    """Draw days once for all blocks [seeds, days], and seeds once for all that have as many.

    judged is the column of days of the table that all the blocks come from.

    Raises
    ------
    InputError
        Two blocks have different days.
    """
    days = {block.shape[1] for block in blocks}
    if len(days) != 1 or judged.nunique() not in days:
        raise InputError("policies with different days cannot be drawn together; take common days")
    (n,) = days
    rng = np.random.default_rng(seed)
    seeds = {
        k: np.concatenate([np.arange(k)[None], rng.integers(k, size=(draws, k))])
        for k in sorted({len(block) for block in blocks})
    }
    counts = rng.multinomial(n, np.full(n, 1 / n), size=draws + 1).astype(np.float64)
    counts[0] = 1
    return Draws(counts, seeds)


def interval(drawn: Float, level: float = LEVEL) -> Interval:
    """Value and percentile interval of a statistic [1 + draws] of `Draws`."""
    low, high = np.quantile(drawn[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(drawn[0]), float(low), float(high))


def less(first: Float, second: Float) -> Interval:
    """By how much the first statistic lies below the second, in % of the second."""
    return interval(100 * (1 - first / second))


def below_bound(
    table: pd.DataFrame,
    column: str,
    bound: "pd.Series[float]",
    tolerance: float,
    unit: str = "day",
) -> list[Any]:
    """Days on which a policy stays below a lower bound of perfect foresight: there must be none.

    Parameters
    ----------
    table
        Rows of policies that the bound holds for.
    column
        What is bounded, such as the cost.
    bound
        By day, in the column's unit; days without a bound are left out.
    tolerance
        In the column's unit; simulators count in single precision.
    unit
        The column of days.
    """
    known = table[table[unit].isin(bound.index)]
    beaten = known[column] < known[unit].map(bound) - tolerance
    return sorted(known.loc[beaten, unit].unique().tolist())
