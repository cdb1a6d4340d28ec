"""Panels and tables of the world model: calibration, a day's one-step bands, scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from griddispatch.errors import InputError
from griddispatch.evaluation.statistics import Float, Interval
from griddispatch.evaluation.world_model import ALL, BANDS
from griddispatch.forecasting.demand_models import PERIODS, Mixture
from griddispatch.reporting.palette import COLOUR, MARKER
from griddispatch.reporting.tables import Column

_LEVELS = np.linspace(0, 1, 21)
_SHADES = (0.45, 0.2)  # of the bands, in the order of `BANDS`


def calibration(ax: Axes, levels: Mapping[str, Float]) -> None:
    """Draw how often what came lay below each predicted level, less that level, in points.

    A calibrated model stays at zero. The difference is drawn, because all models come so near to
    the diagonal that the share itself would not tell them apart.

    Parameters
    ----------
    ax
        Where to draw.
    levels
        PIT values of `evaluation.world_model.pit`, of any shape, by name of the model.

    Raises
    ------
    InputError
        A model has no PIT value, or one outside [0, 1].
    """
    ax.axhline(0, color="black", linewidth=0.7)
    for name, values in levels.items():
        own = np.sort(np.ravel(values))
        if not own.size or not (own[0] >= 0 and own[-1] <= 1):
            raise InputError(f"PIT values of {name}: give one or more, all within [0, 1]")
        share = np.searchsorted(own, _LEVELS, side="right") / own.size
        ax.plot(
            _LEVELS,
            100 * (share - _LEVELS),
            color=COLOUR.get(name, COLOUR["neutral"]),
            marker=MARKER.get(name, "."),
            label=name,
        )
    ax.set(xlabel="predicted level", ylabel="came below it, less level (points)")
    ax.set_xlim(0, 1)


def pit_histogram(ax: Axes, levels: Float, name: str, bins: int = 20) -> None:
    """Draw the histogram of PIT values; a calibrated model has equally high bars of density 1.

    Parameters
    ----------
    ax
        Where to draw.
    levels
        PIT values of any shape.
    name
        Of the model, for the colour.
    bins
        Number of bars.
    """
    ax.hist(
        np.ravel(levels),
        bins=bins,
        range=(0, 1),
        density=True,
        color=COLOUR.get(name, COLOUR["neutral"]),
        edgecolor="white",
        linewidth=0.4,
    )
    ax.axhline(1, color="black", linewidth=0.7)
    ax.set(xlabel="predicted level of what came", ylabel="density", xlim=(0, 1))
    ax.grid(axis="x", visible=False)


def day_band(ax: Axes, ahead: Mixture, came: Float, unit: Float, base: Float, name: str) -> None:
    """Draw the one-step bands of a day, each made when the periods before were known.

    Parameters
    ----------
    ax
        Where to draw.
    ahead
        Predictions [12, M] of one model for one day.
    came
        [12] what came, in the unit of the predictions.
    unit, base
        [12] kW that 1 of the unit stands for, and kW at zero; for relative demand both are the
        base load.
    name
        Of the model.

    Raises
    ------
    InputError
        The predictions or the day do not have 12 periods.
    """
    if ahead.mean.shape[:-1] != (PERIODS,) or np.shape(came) != (PERIODS,):
        raise InputError(
            f"a day's band takes [12, M] predictions and [12] demand, not "
            f"{tuple(ahead.mean.shape)} and {np.shape(came)}"
        )
    hour = np.arange(1, PERIODS + 1)
    colour = COLOUR.get(name, COLOUR["neutral"])
    for (band, ends), shade in zip(BANDS.items(), _SHADES, strict=True):
        low, high = (base + unit * ahead.quantile(level).numpy() for level in ends)
        ax.fill_between(
            hour, low, high, color=colour, alpha=shade, linewidth=0, label=f"{band} % band"
        )
    middle = base + unit * ahead.quantile(0.5).numpy()
    ax.plot(hour, middle, color=colour, label=f"{name}, median")
    ax.plot(hour, base + unit * came, color="black", marker=".", linewidth=0.8, label="came")
    ax.set(xlabel="period", ylabel="demand (kW)", xticks=hour[::2])


def skill_by_period(ax: Axes, scores: pd.DataFrame, reference: str) -> None:
    """Draw by how much each model's CRPS lies below that of the reference, period by period.

    Parameters
    ----------
    ax
        Where to draw.
    scores
        `evaluation.world_model.score_table`.
    reference
        Name of the model that is the zero line.

    Raises
    ------
    InputError
        The reference has no rows.
    """
    by = scores[scores["period"].ne(ALL)].pivot_table(
        index="period", columns="model", values="crps", sort=False
    )
    if reference not in by:
        raise InputError(f"no model {reference!r} among {', '.join(map(str, by.columns))}")
    ax.axhline(0, color="black", linewidth=0.7)
    for name in by.columns.drop(reference):
        gain = 100 * (1 - by[name] / by[reference])
        ax.plot(
            by.index + 1,
            gain,
            color=COLOUR.get(name, COLOUR["neutral"]),
            marker=MARKER.get(name, "."),
            label=name,
        )
    ax.set(xlabel="period", ylabel=f"CRPS below {reference} (%)")


def score_lines(
    scores: pd.DataFrame, skills: Mapping[str, Interval], models: Sequence[str]
) -> pd.DataFrame:
    """One line per model over all periods, with its skill; for `tables.write_table`.

    Parameters
    ----------
    scores
        `evaluation.world_model.score_table`.
    skills
        CRPS below the reference's in %, by model; the reference has none.
    models
        Names, in the order of the lines.

    Raises
    ------
    InputError
        A model has no scores.
    """
    whole = scores[scores["period"].eq(ALL)].set_index("model")
    for name in models:
        if name not in whole.index:
            raise InputError(f"no scores of {name!r}; there are {', '.join(whole.index)}")
    lines = whole.loc[list(models)].reset_index().drop(columns="period")
    none = Interval(np.nan, np.nan, np.nan)
    ends = np.array([skills.get(name, none) for name in models])
    return lines.assign(skill=ends[:, 0], skill_low=ends[:, 1], skill_high=ends[:, 2])


SCORE_COLUMNS = {
    "model": Column("Model"),
    "crps": Column("CRPS", "kW", digits=3),
    "skill": Column("CRPS below AR(1)", "%", digits=1, interval=("skill_low", "skill_high")),
    "nll": Column("NLL", "nats", digits=3),
    "coverage 50": Column("50 % band holds", "%", digits=1),
    "coverage 90": Column("90 % band holds", "%", digits=1),
    "width 90": Column("Width of 90 % band", "kW", digits=2),
}
"""How `score_lines` are printed."""
