"""Policies on the same days, compared with intervals.

The table behind a comparison has one row per policy, training set (`primary`, "" where there is
none), scope, seed and date, with the columns of `rollout.evaluate`. Every policy must cover the
same dates of a scope; "Do nothing" and "Optimum" are the two ends of the scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.errors import InputError
from griddispatch.evaluation import statistics
from griddispatch.evaluation.statistics import Interval

METRICS = ("reward", "profit", "penalty", "captured")
IDLE, BEST = "Do nothing", "Optimum"

# EUR per day: how far the interior-point solution may stay below the true optimum.
SOLVER_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Comparison:
    """A table as described above, and the number of bootstrap draws behind each interval."""

    days: pd.DataFrame
    draws: int = statistics.DRAWS

    def __post_init__(self) -> None:
        for scope, part in self.days.groupby("scope"):
            wanted = set(part["date"])
            for (policy, primary, seed), own in part.groupby(["policy", "primary", "seed"]):
                if set(own["date"]) != wanted or own["date"].duplicated().any():
                    raise InputError(
                        f"{policy} ({primary or 'no training set'}, seed {seed}) has "
                        f"{len(own)} {scope} days where others have {len(wanted)}; "
                        "compare the same days, each once"
                    )

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """Policy and training set, in the order of the table."""
        pairs = self.days[["policy", "primary"]].drop_duplicates()
        return list(pairs.itertuples(index=False, name=None))

    @property
    def scopes(self) -> list[str]:
        """Scopes in the order of the table."""
        return list(self.days["scope"].unique())

    def block(self, policy: str, primary: str, scope: str, column: str) -> NDArray[np.float64]:
        """[seeds, days] of one column of one policy; InputError if it is not in the table."""
        part = self.days[self.days["policy"].eq(policy) & self.days["primary"].eq(primary)]
        part = part[part["scope"].eq(scope)]
        if part.empty:
            raise InputError(f"no {scope} days of {policy!r} with training set {primary!r}")
        wide = part.pivot_table(index="seed", columns="date", values=column)
        return wide.to_numpy(dtype=np.float64)

    def interval(self, policy: str, primary: str, scope: str, metric: str) -> Interval:
        """Mean per day in EUR, or captured value in %, with its 95 % interval."""
        if metric != "captured":
            block = self.block(policy, primary, scope, metric)
            return statistics.bootstrap(statistics.mean, block, draws=self.draws)
        ends = (self.block(end, "", scope, "reward") for end in (IDLE, BEST))
        mine = self.block(policy, primary, scope, "reward")
        return statistics.bootstrap(statistics.captured, mine, *ends, draws=self.draws)

    def results(self, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
        """One row per policy, training set, scope and metric: mean, low, high."""
        return pd.DataFrame(
            [
                (policy, primary, scope, metric, *self.interval(policy, primary, scope, metric))
                for policy, primary in self.kinds
                for scope in self.scopes
                for metric in metrics
            ],
            columns=["policy", "primary", "scope", "metric", "mean", "low", "high"],
        )

    def gain(self, first: tuple[str, str], second: tuple[str, str], scope: str) -> Interval:
        """Captured value of the first minus that of the second policy, paired by day, in points."""

        def difference(
            one: statistics.Float, other: statistics.Float, *ends: statistics.Float
        ) -> statistics.Float:
            return statistics.captured(one, *ends) - statistics.captured(other, *ends)

        who = (first, second, (IDLE, ""), (BEST, ""))
        blocks = (self.block(*kind, scope, "reward") for kind in who)
        return statistics.bootstrap(difference, *blocks, draws=self.draws)

    def days_beaten(self) -> list[str]:
        """Dates on which some policy earns more than the optimum, which must not be."""
        bound = self.days[self.days["policy"].eq(BEST)].set_index("date")["reward"]
        above = self.days["reward"] > self.days["date"].map(bound) + SOLVER_TOLERANCE
        return sorted(self.days.loc[above, "date"].unique())


def verdict(gain: Interval) -> str:
    """Say what the interval of a difference allows: "more", "less" or "no clear difference"."""
    if gain.low > 0:
        return "more"
    return "less" if gain.high < 0 else "no clear difference"
