"""Controllers compared on the same days, and forecasters compared by their losses.

Daily costs follow each other: a cloudy day often follows a cloudy one, and the battery carries
energy over midnight. Intervals therefore come from the moving-block bootstrap (Künsch, "The
jackknife and the bootstrap for general stationary observations", 1989) with blocks of seven days,
and differences are paired: all controllers share the drawn days.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError
from griddispatch.evaluation.forecast_dispatch import BEST, Driven
from griddispatch.evaluation.forecast_experiments import Steps
from griddispatch.evaluation.forecasts import diebold_mariano, issue_losses
from griddispatch.evaluation.statistics import DRAWS, LEVEL, Float, Interval

BLOCK_DAYS = 7
WORTH = 0.02  # of the cost; a smaller gap is too small to be shared out

_NOT_SHOWN = ("cost", "solve ms")  # said otherwise; differs by run
NOTHING = Interval(np.nan, np.nan, np.nan)


def block_bootstrap(
    statistic: Callable[..., Float],
    *daily: Float,
    block: int = BLOCK_DAYS,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of daily series [D] that share their days.

    Parameters
    ----------
    statistic
        Function of the series with a leading axis of draws, [draws, D] each, that returns [draws].
    daily
        Values by day, in order of time.
    block
        Days in a row that are drawn together; blocks may overlap, and the last is cut.
    draws, level, seed
        Number of bootstrap samples, coverage of the interval, seed of the drawing.

    Raises
    ------
    InputError
        The series differ in length, are shorter than a block, or hold a value that is not finite.
    """
    data = [np.asarray(series, dtype=np.float64) for series in daily]
    days = len(data[0])
    for series in data:
        if series.shape != (days,):
            raise InputError(f"bootstrap: {len(series)} days beside {days}; compare the same days")
        if not np.isfinite(series).all():
            raise InputError("bootstrap: a value is NaN or infinite; leave no day out silently")
    if not 1 <= block <= days:
        raise InputError(f"bootstrap: {days} days hold no block of {block}; take more days")
    rng = np.random.default_rng(seed)
    first = rng.integers(days - block + 1, size=(draws, -(-days // block)))
    day = (first[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :days]
    sample = statistic(*(series[day] for series in data))
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    value = float(statistic(*(series[None] for series in data))[0])
    return Interval(value, float(low), float(high))


def daily_costs(driven: Sequence[Driven]) -> pd.DataFrame:
    """One row per case, controller and date: cost in EUR, settlement on the last day."""
    parts = []
    for d in driven:
        daily = d.run.daily()
        parts.append(
            pd.DataFrame(
                {
                    "case": d.job.case,
                    "controller": d.job.controller,
                    "date": daily.index,
                    "cost": daily.to_numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def of(daily: pd.DataFrame, case: str, controller: str) -> Float:
    """[D] daily costs of a controller in a case, in order of time.

    Raises
    ------
    InputError
        The table holds none.
    """
    found = daily[daily["case"].eq(case) & daily["controller"].eq(controller)]
    if found.empty:
        raise InputError(f"no days of {controller} under {case!r} in the table")
    return found.sort_values("date")["cost"].to_numpy(dtype=np.float64)


def cheaper(
    daily: pd.DataFrame, case: str, first: str, second: str, draws: int = DRAWS
) -> Interval:
    """By how much the cost of the first lies below that of the second, in % of the second."""

    def share(a: Float, b: Float) -> Float:
        return 100 * (1 - a.sum(1) / b.sum(1))

    pair = of(daily, case, first), of(daily, case, second)
    return block_bootstrap(share, *pair, block=_block(pair[0]), draws=draws)


def captured(
    daily: pd.DataFrame, case: str, who: str, reference: str, draws: int = DRAWS
) -> Interval:
    """Share in % of the way from the reference to perfect foresight that a controller goes.

    V = (J_ref - J) / (J_ref - J_PF), with the rolling horizon under perfect foresight as J_PF. It
    is not a number where the gap is below 2 % of the reference's cost: a small denominator makes
    any value.
    """
    own, ref, best = (of(daily, case, name) for name in (who, reference, BEST))
    if not ref.sum() - best.sum() > WORTH * abs(ref.sum()):
        return NOTHING

    def share(a: Float, b: Float, c: Float) -> Float:
        return 100 * (b.sum(1) - a.sum(1)) / (b.sum(1) - c.sum(1))

    return block_bootstrap(share, own, ref, best, block=_block(own), draws=draws)


def results(
    driven: Sequence[Driven], references: Sequence[str], draws: int = DRAWS
) -> pd.DataFrame:
    """One row per case and controller: the run's summary, cost per day, captured values.

    Returns
    -------
    table
        case, controller; cost, low, high in EUR per day; above, by how many % the cost exceeds that
        of perfect foresight, with its interval; "captured NAME" with low and high for each
        reference; and the other columns of `Run.summary`, but for times, which differ by run.
    """
    daily = daily_costs(driven)
    lines = []
    for d in driven:
        case, who = d.job.case, d.job.controller
        own = of(daily, case, who)
        cost = block_bootstrap(lambda x: x.mean(1), own, block=_block(own), draws=draws)
        above = cheaper(daily, case, who, BEST, draws)
        line: dict[str, object] = {"case": case, "controller": who}
        line |= dict(zip(("cost", "low", "high"), cost, strict=True))
        flipped = (-above.value, -above.high, -above.low)
        line |= dict(zip(("above", "above low", "above high"), flipped, strict=True))
        for reference in references:
            shared = captured(daily, case, who, reference, draws)
            names = (f"captured {reference}{end}" for end in ("", " low", " high"))
            line |= dict(zip(names, shared, strict=True))
        line |= {k: v for k, v in d.run.summary().items() if k not in _NOT_SHOWN}
        lines.append(line)
    return pd.DataFrame(lines)


def against(
    forecasts: Mapping[str, Float], data: Profiles, issues: Steps, who: str
) -> pd.DataFrame:
    """Diebold-Mariano tests of one forecaster against each other, by series.

    Parameters
    ----------
    forecasts
        Quantiles [I, N, 96, Q] in kW of equally spaced issues, in order of time.
    data, issues
        What came.
    who
        A name in `forecasts`.

    Returns
    -------
    table
        series, other, difference of the mean pinball loss in % of the capacity (negative: `who` is
        better), statistic, p.
    """
    spacing = int(np.median(np.diff(issues)))
    lags = -(-DAY // spacing)
    lines = []
    for n, series in enumerate(data.names):
        own = issue_losses(forecasts[who], data, issues, n)
        for other, quantiles in forecasts.items():
            if other == who:
                continue
            test = diebold_mariano(own, issue_losses(quantiles, data, issues, n), lags)
            share = 100 * test.difference / data.capacity[n]
            lines.append((series, other, share, test.statistic, test.p))
    return pd.DataFrame(lines, columns=["series", "other", "difference", "statistic", "p"])


def _block(series: Float) -> int:
    """Seven days, or all where a trial has fewer."""
    return min(BLOCK_DAYS, len(series))
