"""Scores of one-step predictions of demand: log score, CRPS, PIT, coverage, skill.

All take mixtures of normal densities, so every score is exact; nothing is sampled. Predictions are
[K, N, 12, M] (seeds, days, periods, components) and what came is [N, 12].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from griddispatch.errors import InputError
from griddispatch.evaluation.statistics import Float, Interval, bootstrap
from griddispatch.forecasting.demand_models import (
    PERIODS,
    Carried,
    DemandModel,
    Mixture,
    checked,
)
from griddispatch.learning.networks import Streams

BANDS = {"50": (0.25, 0.75), "90": (0.05, 0.95)}  # %: lower and upper level
ALL = -1  # stands for all periods
_CHUNK = 64  # days at a time; the CRPS looks at all pairs of components


def nll(ahead: Mixture, came: Float) -> Float:
    """[K, N, 12] negative logarithm of the density of what came, in nats with the unit given."""
    x = _came(ahead, came)
    return (-_double(ahead).log_density(x)).numpy()


def crps(ahead: Mixture, came: Float) -> Float:
    """[K, N, 12] continuous ranked probability score, in the unit of the demand.

    With A(m, v) = E |m + sqrt(v) n| for a standard normal n, the score of a mixture is
    sum_i w_i A(x - m_i, v_i) - 1/2 sum_ij w_i w_j A(m_i - m_j, v_i + v_j) (Grimit, Gneiting,
    Berrocal and Johnson, "The continuous ranked probability score for circular variables and its
    application to mesoscale forecast ensemble verification", 2006).
    """
    x, exact = _came(ahead, came), _double(ahead)
    parts = []
    for days in torch.arange(x.shape[1]).split(_CHUNK):
        w, m, s = (a[:, days] for a in exact)
        near = (w * _distance(x[:, days, :, None] - m, s)).sum(-1)
        apart = _distance(
            m[..., :, None] - m[..., None, :],
            torch.hypot(s[..., :, None], s[..., None, :]),
        )
        within = torch.einsum("...i,...ij,...j->...", w, apart, w)
        parts.append(near - within / 2)
    return torch.cat(parts, 1).numpy()


def pit(ahead: Mixture, came: Float) -> Float:
    """[K, N, 12] probability integral transform: the predicted probability of at most what came."""
    x = _came(ahead, came)
    return _double(ahead).level(x).numpy()


def coverage(levels: Float) -> dict[str, float]:
    """Share of PIT values within the central bands of `BANDS`, in 0 .. 1."""
    return {
        name: float(((levels >= low) & (levels <= high)).mean())
        for name, (low, high) in BANDS.items()
    }


def score_table(forecasts: Mapping[str, Mixture], came: Float, unit: Float) -> pd.DataFrame:
    """Scores by model and period, and over all periods.

    Parameters
    ----------
    forecasts
        Predictions by name of the model, [K, N, 12, M]; K may differ.
    came
        [N, 12] what came.
    unit
        [12] kW that 1 of the predictions stands for in each period (the base load for relative
        demand, ones for kW).

    Returns
    -------
    table
        model; period 0 .. 11, and -1 for all; nll in nats (density per kW), crps in kW, coverage 50
        and coverage 90 in %, width 50 and width 90 (mean width of the bands) in kW; means over
        seeds and days.

    Raises
    ------
    InputError
        A shape does not fit, or a value is not finite.
    """
    rows = []
    kw = _unit(unit)
    for name, ahead in forecasts.items():
        score, ranked, levels = (
            nll(ahead, came) + np.log(kw),
            crps(ahead, came) * kw,
            pit(ahead, came),
        )
        exact = _double(ahead)
        width = {
            band: (exact.quantile(high) - exact.quantile(low)).numpy() * kw
            for band, (low, high) in BANDS.items()
        }
        for period in (*range(len(kw)), ALL):
            part = np.s_[..., period] if period != ALL else np.s_[...]
            row: dict[str, Any] = {"model": name, "period": period}
            row |= {"nll": score[part].mean(), "crps": ranked[part].mean()}
            row |= {f"coverage {b}": 100 * x for b, x in coverage(levels[part]).items()}
            row |= {f"width {b}": w[part].mean() for b, w in width.items()}
            rows.append(row)
    return pd.DataFrame(rows)


def skill(first: Float, reference: Float, unit: Float) -> Interval:
    """By how much the mean score of a model lies below that of another, in %, with its interval.

    Parameters
    ----------
    first, reference
        Scores [K, N, 12] of both on the same days (`crps`); K may differ. Days are drawn jointly.
    unit
        [12] kW that 1 of the score stands for in each period.

    Raises
    ------
    InputError
        The days differ, or a score is not finite.
    """
    kw = _unit(unit)

    def gain(own: Float, other: Float) -> Float:
        return 100 * (1 - own.mean((1, 2)) / other.mean((1, 2)))

    return bootstrap(gain, *((score * kw).mean(2) for score in (first, reference)))


def lead_crps(
    model: DemandModel, days: Float, streams: Streams, *, seen: int = 0, draws: int = 50
) -> Float:
    """[K, N, 12 - seen] CRPS of imagined rests of days, by lead; the multi-step counterpart.

    It is estimated without bias from `draws` imagined days: mean |x - y| less half the mean
    distance of two different draws (Gneiting and Raftery, "Strictly proper scoring rules,
    prediction, and estimation", 2007). The first lead estimates what `crps` has exactly.

    Parameters
    ----------
    model, days
        Fitted model; what came, [N, 12].
    streams
        K generators for the draws.
    seen
        Periods of the day that the model has seen.
    draws
        Imagined days for each day, 2 or more.

    Raises
    ------
    InputError
        The days are not valid; seen or draws is out of range.
    """
    came = torch.as_tensor(checked(days), dtype=torch.float32)
    if not 0 <= seen < came.shape[1] or draws < 2:
        raise InputError(f"seen is {seen}, draws {draws}; seen 0 .. 11, draws 2 or more")
    state = model.start(len(came))
    for t in range(seen):
        state = model.update(state, came[:, t].expand(model.seeds, -1))
    many = Carried(state.t, state.memory.repeat_interleave(draws, 1))
    drawn = model.imagine(many, streams).view(model.seeds, len(came), draws, -1).double()
    order = torch.arange(1, draws + 1, dtype=torch.float64)
    # Sorted, the mean distance of two different draws is one weighted sum.
    weight = 2 * (2 * order - draws - 1) / (draws * (draws - 1))
    apart = torch.einsum("knsl,s->knl", drawn.sort(2).values, weight)
    near = (drawn - came[None, :, None, seen:]).abs().mean(2)
    return (near - apart / 2).numpy()


def _unit(unit: Float) -> Float:
    kw = np.asarray(unit, dtype=np.float64)
    if kw.shape != (PERIODS,) or not (kw > 0).all():
        raise InputError(f"unit has shape {kw.shape}; give {PERIODS} positive numbers of kW")
    return kw


def _distance(m: Tensor, s: Tensor) -> Tensor:
    """E |m + s n| for a standard normal n."""
    z = m / s
    density = torch.exp(-z.square() / 2) / np.sqrt(2 * np.pi)
    return m * (2 * torch.special.ndtr(z) - 1) + 2 * s * density


def _double(ahead: Mixture) -> Mixture:
    return Mixture(*(a.detach().double() for a in ahead))


def _came(ahead: Mixture, came: Float) -> Tensor:
    x = torch.as_tensor(np.asarray(came, dtype=np.float64))
    if x.shape != ahead.mean.shape[1:3]:
        raise InputError(
            f"what came has shape {tuple(x.shape)}; the predictions are for "
            f"{tuple(ahead.mean.shape[1:3])}"
        )
    if not torch.isfinite(x).all():
        raise InputError("what came holds NaN or infinite demand; leave the day out")
    return x.expand(ahead.mean.shape[:3])
