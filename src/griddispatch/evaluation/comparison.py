"""Policies on the same days, compared with intervals.

The table behind a comparison has one row per policy, training data and information (a `Kind`),
scope, seed and date, with the columns of `rollout.evaluate`. Every policy must cover the same
dates of a scope; "Do nothing" and "Optimum" are the two ends of the scale. Policies that must end
the day at another state of charge have another optimum: they belong to another comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.errors import InputError
from griddispatch.evaluation import statistics
from griddispatch.evaluation.statistics import Interval

METRICS = ("reward", "profit", "penalty", "captured")

# EUR per day: how far the interior-point solution may stay below the true optimum.
SOLVER_TOLERANCE = 1e-3


class Kind(NamedTuple):
    """Which policy, trained on what, seeing what; empty where it does not apply."""

    policy: str
    primary: str = ""
    augmented: str = ""
    information: str = ""


IDLE, BEST = Kind("Do nothing"), Kind("Optimum")


@dataclass(frozen=True)
class Comparison:
    """A table as described above, and the number of bootstrap draws behind each interval.

    A column of `Kind` that the table does not have is empty for all policies.
    """

    days: pd.DataFrame
    draws: int = statistics.DRAWS

    def __post_init__(self) -> None:
        absent = {name: "" for name in Kind._fields if name not in self.days}
        days = self.days.assign(**absent)
        days[list(Kind._fields)] = days[list(Kind._fields)].fillna("")
        object.__setattr__(self, "days", days)
        for scope, part in days.groupby("scope"):
            wanted = set(part["date"])
            for (*kind, seed), own in part.groupby([*Kind._fields, "seed"]):
                if set(own["date"]) != wanted or own["date"].duplicated().any():
                    who = _named(Kind(*map(str, kind)))
                    raise InputError(
                        f"{who}, seed {seed}, has {len(own)} {scope} days where others have "
                        f"{len(wanted)}; compare the same days, each once"
                    )

    @property
    def kinds(self) -> list[Kind]:
        """Every kind, in the order of the table."""
        found = self.days[list(Kind._fields)].drop_duplicates()
        return [Kind(*row) for row in found.itertuples(index=False)]

    @property
    def scopes(self) -> list[str]:
        """Scopes in the order of the table."""
        return list(self.days["scope"].unique())

    def block(self, kind: Kind, scope: str, column: str) -> NDArray[np.float64]:
        """[seeds, days] of one column of one policy; InputError if it is not in the table."""
        part = self.days[self.days["scope"].eq(scope)]
        for name, value in kind._asdict().items():
            part = part[part[name].eq(value)]
        if part.empty:
            raise InputError(f"no {scope} days of {_named(kind)} in the table")
        wide = part.pivot_table(index="seed", columns="date", values=column)
        return wide.to_numpy(dtype=np.float64)

    def interval(self, kind: Kind, scope: str, metric: str) -> Interval:
        """Mean per day in EUR, or captured value in %, with its 95 % interval."""
        if metric != "captured":
            block = self.block(kind, scope, metric)
            return statistics.bootstrap(statistics.mean, block, draws=self.draws)
        blocks = (self.block(who, scope, "reward") for who in (kind, IDLE, BEST))
        return statistics.bootstrap(statistics.captured, *blocks, draws=self.draws)

    def results(self, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
        """One row per kind, scope and metric: mean, low, high."""
        return pd.DataFrame(
            [
                (*kind, scope, metric, *self.interval(kind, scope, metric))
                for kind in self.kinds
                for scope in self.scopes
                for metric in metrics
            ],
            columns=[*Kind._fields, "scope", "metric", "mean", "low", "high"],
        )

    def gain(self, first: Kind, second: Kind, scope: str) -> Interval:
        """Captured value of the first minus that of the second policy, paired by day, in points."""
        return self.mean_gain([(first, second)], scope)

    def mean_gain(self, pairs: Sequence[tuple[Kind, Kind]], scope: str) -> Interval:
        """Mean over pairs of the captured value of the first minus that of the second, in points.

        Days are drawn jointly for all pairs, and so are the seeds of policies that have as many.
        """

        def difference(*blocks: statistics.Float) -> statistics.Float:
            *policies, idle, best = blocks
            share = [statistics.captured(block, idle, best) for block in policies]
            return np.mean([a - b for a, b in zip(share[::2], share[1::2], strict=True)], axis=0)

        who = [kind for pair in pairs for kind in pair]
        blocks = (self.block(kind, scope, "reward") for kind in (*who, IDLE, BEST))
        return statistics.bootstrap(difference, *blocks, draws=self.draws)

    def days_beaten(self) -> list[str]:
        """Dates on which some policy earns more than the optimum, which must not be."""
        bound = self.days[self.days["policy"].eq(BEST.policy)].set_index("date")["reward"]
        above = self.days["reward"] > self.days["date"].map(bound) + SOLVER_TOLERANCE
        return sorted(self.days.loc[above, "date"].unique())


def _named(kind: Kind) -> str:
    return ", ".join(value for value in kind if value)


def verdict(gain: Interval) -> str:
    """Say what the interval of a difference allows: "more", "less" or "no clear difference"."""
    if gain.low > 0:
        return "more"
    return "less" if gain.high < 0 else "no clear difference"
