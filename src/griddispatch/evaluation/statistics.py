"""Intervals: the bootstrap over seeds and days, crossed.

A result of K seeds on D days varies for two reasons, the seed of the training and the day of the
test. Every seed is tested on every day, so seeds and days are drawn with replacement
independently and all their crossings are kept (Owen and Eckles, 2012, "Bootstrapping data arrays
of arbitrary order"). Policies compared with each other share the drawn days: the differences are
paired.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from griddispatch.errors import InputError

Float = NDArray[np.float64]
DRAWS = 4_000
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., Float],
    *arrays: Float,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of arrays [seeds, days] that share their days.

    Parameters
    ----------
    statistic
        Function of the arrays with a leading axis of draws, [draws, seeds, days] each, that
        returns [draws].
    arrays
        Each [K_i, D]: rows are seeds (one row for a policy without seeds), columns the same days.
        Arrays with the same number of rows share the drawn seeds as well.
    draws, level, seed
        Number of bootstrap samples, coverage of the interval, seed of the drawing.

    Raises
    ------
    InputError
        The arrays do not have the same number of days, or hold a value that is not finite.
    """
    data = [np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in arrays]
    days = data[0].shape[1]
    for a in data:
        if a.shape[1] != days:
            raise InputError(f"bootstrap: {a.shape[1]} days beside {days}; compare the same days")
        if not np.isfinite(a).all():
            raise InputError("bootstrap: a value is NaN or infinite; leave no day out silently")
    rng = np.random.default_rng(seed)
    day = rng.integers(days, size=(draws, 1, days))
    seeds = {k: rng.integers(k, size=(draws, k, 1)) for k in sorted({len(a) for a in data})}
    sample = statistic(*(a[seeds[len(a)], day] for a in data))
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    value = float(statistic(*(a[None] for a in data))[0])
    return Interval(value, float(low), float(high))


def mean(x: Float) -> Float:
    """[draws] mean over seeds and days of [draws, seeds, days]."""
    return x.mean((1, 2))


def captured(policy: Float, idle: Float, optimum: Float) -> Float:
    """[draws] captured value in % (`metrics.captured_value`) of rewards [draws, seeds, days]."""
    gain = mean(optimum) - mean(idle)
    return 100 * (mean(policy) - mean(idle)) / gain
