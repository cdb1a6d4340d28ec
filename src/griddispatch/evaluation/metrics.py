"""Figures of merit, each defined once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar


def captured_value(policy: ArrayLike, idle: ArrayLike, optimum: ArrayLike) -> float:
    """Share of the achievable value that a policy captures, in %: idle = 0, optimum = 100.

    (sum policy - sum idle) / (sum optimum - sum idle) over the same days, where each argument
    holds the reward per day in EUR (profit minus penalty). A policy that does harm is negative.
    Unlike the bound printed in the RL-ADN paper, numerator and denominator belong to the same
    days. NaN if there was nothing to gain.
    """
    gain = np.sum(optimum) - np.sum(idle)
    if gain <= 0:
        return float("nan")
    return float(100 * (np.sum(policy) - np.sum(idle)) / gain)


class PrintedBound(NamedTuple):
    """Fit of |1 - constant / reward| to printed performance bounds, errors in points."""

    constant: float
    rms_points: float
    largest_points: float
    cells: int


def fit_printed_bound(reward: ArrayLike, bound_percent: ArrayLike) -> PrintedBound:
    """Least-squares constant a of bound = 100 |1 - a / reward| over the cells of a printed table.

    If it fits, the printed "performance bound" is a function of the reward alone, and so no ratio
    to the optimum of the test days, which would be proportional to the reward.
    """
    r, bound = np.asarray(reward, dtype=float), np.asarray(bound_percent, dtype=float)

    def misfit(a: float) -> NDArray[np.float64]:
        return np.asarray(bound - 100 * np.abs(1 - a / r))

    found = minimize_scalar(
        lambda a: float((misfit(a) ** 2).sum()), bounds=(0, float(r.min())), method="bounded"
    )
    error = misfit(found.x)
    rms = float(np.sqrt((error**2).mean()))
    return PrintedBound(float(found.x), rms, float(np.abs(error).max()), len(r))
