"""Scores of quantile forecasts: pinball, CRPS, coverage, width, PIT, skill, Diebold-Mariano.

All take quantiles [..., Q] at levels [Q] and what came [...]. A mask leaves out what is no test of
a forecast, as PV in the dark; means are over what is left.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError
from griddispatch.forecasting.windows import LEVELS, lit, truth

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

BANDS = {"50": (0.25, 0.75), "90": (0.05, 0.95)}  # %: lower and upper level
LEADS = {"first hour": (0, 4), "1-6 h": (4, 24), "6-24 h": (24, DAY), "all": (0, DAY)}


def pinball(quantiles: Float, came: Float, levels: Sequence[float] = LEVELS) -> Float:
    """[..., Q] pinball loss of each quantile, in the unit of the values.

    Raises
    ------
    InputError
        The shapes do not fit.
    """
    q = _levels(quantiles, came, levels)
    over = came[..., None] - quantiles
    return np.maximum(q * over, (q - 1) * over)


def crps(quantiles: Float, came: Float, levels: Sequence[float] = LEVELS) -> Float:
    """[...] continuous ranked probability score: twice the integral of the pinball loss by level.

    The integral is by trapezoids between the levels and to the ends 0 and 1, where the loss is 0
    (Gneiting and Ranjan, "Comparing density forecasts using threshold- and quantile-weighted
    scoring rules", 2011).
    """
    loss = pinball(quantiles, came, levels)
    ends = np.concatenate([[0.0], np.asarray(levels), [1.0]])
    return np.asarray(loss @ (ends[2:] - ends[:-2]))


def pit(quantiles: Float, came: Float, levels: Sequence[float] = LEVELS) -> Float:
    """[...] probability integral transform: level of what came, linear between the quantiles.

    Outside the outer quantiles only the side is known; the middle of the tail stands for it.
    """
    q = _levels(quantiles, came, levels)
    value = came[..., None]
    below = (quantiles <= value).sum(-1)
    low = np.take_along_axis(quantiles, np.clip(below - 1, 0, None)[..., None], -1)[..., 0]
    high = np.take_along_axis(quantiles, np.clip(below, None, len(q) - 1)[..., None], -1)[..., 0]
    at = np.where(high > low, (came - low) / np.where(high > low, high - low, 1.0), 0.5)
    ends = np.concatenate([q[:1] / 2, q, (1 + q[-1:]) / 2])
    inside = (below > 0) & (below < len(q))
    first, last = ends[below], ends[np.clip(below + 1, None, len(q) + 1)]
    outer = np.where(below == 0, q[0] / 2, (1 + q[-1]) / 2)
    return np.where(inside, first + at * (last - first), outer)


class DieboldMariano(NamedTuple):
    """Mean loss difference (first less second), its statistic, and the two-sided p."""

    difference: float
    statistic: float
    p: float


def diebold_mariano(first: Float, second: Float, lags: int) -> DieboldMariano:
    """Test whether two loss series [T] of overlapping forecasts differ in mean.

    Diebold and Mariano, "Comparing predictive accuracy" (1995), with the variance of Newey and
    West (1987) over `lags` lags and the t distribution, as Harvey, Leybourne and Newbold (1997)
    advise.

    Parameters
    ----------
    first, second
        Losses of the same issues, in order of time; a negative difference favours the first.
    lags
        Lags of the variance; at least the number of issues that a horizon overlaps.

    Raises
    ------
    InputError
        The series differ in length, are too short for the lags, or are one and the same.
    """
    if np.shape(first) != np.shape(second) or np.ndim(first) != 1:
        raise InputError(f"losses have shapes {np.shape(first)} and {np.shape(second)}")
    d = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if not 0 <= lags < len(d) - 1:
        raise InputError(f"{len(d)} losses are too few for {lags} lags; take more issues")
    e = d - d.mean()
    variance = e @ e
    for k in range(1, lags + 1):
        variance += 2 * (1 - k / (lags + 1)) * (e[k:] @ e[:-k])
    if not variance > 0:
        raise InputError("the two losses do not differ in any issue; there is nothing to test")
    statistic = d.mean() / np.sqrt(variance) * len(d)
    p = 2 * stdtr(len(d) - 1, -abs(statistic))
    return DieboldMariano(float(d.mean()), float(statistic), float(p))


def score_table(
    forecasts: Mapping[str, Float], data: Profiles, issues: NDArray[np.intp], reference: str
) -> pd.DataFrame:
    """Scores per forecaster, series and group of leads.

    Parameters
    ----------
    forecasts
        Quantiles [I, N, 96, Q] in kW by name.
    data, issues
        What came.
    reference
        The forecaster that the skill is against.

    Returns
    -------
    table
        pinball and crps in % of the capacity, coverage and width (% of the capacity) of both bands,
        and skill = 1 - pinball / pinball of the reference.

    Raises
    ------
    InputError
        The reference is not among the forecasts, or a shape does not fit.
    """
    if reference not in forecasts:
        raise InputError(f"no forecaster {reference!r} among {sorted(forecasts)}")
    came, scored = truth(data, issues), lit(data, issues)
    rows = []
    for name, quantiles in forecasts.items():
        loss, ranked = pinball(quantiles, came).mean(-1), crps(quantiles, came)
        for n, series in enumerate(data.names):
            unit = 100 / data.capacity[n]
            for leads, (low, high) in LEADS.items():
                part = np.s_[:, n, low:high]
                mask = scored[part]
                row = {
                    "forecaster": name,
                    "series": series,
                    "leads": leads,
                    "pinball": unit * loss[part][mask].mean(),
                    "crps": unit * ranked[part][mask].mean(),
                }
                for band, (lower, upper) in BANDS.items():
                    q = quantiles[part][mask]
                    a, b = q[:, LEVELS.index(lower)], q[:, LEVELS.index(upper)]
                    y = came[part][mask]
                    row[f"coverage {band}"] = ((y >= a) & (y <= b)).mean()
                    row[f"width {band}"] = unit * (b - a).mean()
                rows.append(row)
    table = pd.DataFrame(rows)
    base = table[table["forecaster"] == reference].set_index(["series", "leads"])["pinball"]
    keys = pd.MultiIndex.from_frame(table[["series", "leads"]])
    return table.assign(skill=1 - table["pinball"].to_numpy() / base.reindex(keys).to_numpy())


def issue_losses(quantiles: Float, data: Profiles, issues: NDArray[np.intp], n: int) -> Float:
    """[I] mean pinball loss of each issue for series n, over its lit targets; NaN without any."""
    loss = pinball(quantiles[:, n], truth(data, issues)[:, n]).mean(-1)
    mask = lit(data, issues)[:, n]
    count = mask.sum(1)
    return np.asarray((loss * mask).sum(1) / np.where(count, count, np.nan))


def _levels(quantiles: Float, came: Float, levels: Sequence[float]) -> Float:
    q = np.asarray(levels, dtype=np.float64)
    if quantiles.shape != (*came.shape, len(q)):
        raise InputError(
            f"quantiles have shape {quantiles.shape}; what came has {came.shape} and there are "
            f"{len(q)} levels"
        )
    return q
