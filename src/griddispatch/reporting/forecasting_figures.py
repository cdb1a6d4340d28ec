"""Figures of the study of dispatch with forecasts: fans, reliability, attention, weeks, costs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from griddispatch.data.profiles import Kind, Profiles
from griddispatch.evaluation.closed_loop import Run
from griddispatch.evaluation.forecasts import BANDS, pit
from griddispatch.forecasting.tft import Look
from griddispatch.forecasting.tft_inputs import HOURS
from griddispatch.forecasting.windows import LEVELS, MEDIAN, Float, Steps, lit, truth
from griddispatch.optimization.mpc_plant import DAY, STEP_H
from griddispatch.reporting.figures import FULL
from griddispatch.reporting.palette import COLOUR, MARKER

_LEADS = np.arange(DAY) * STEP_H


def fans(quantiles: Float, data: Profiles, issue: int, name: str) -> Figure:
    """Draw the forecast of one issue for every series, and what came.

    Parameters
    ----------
    quantiles
        [N, 96, Q] in kW.
    data, issue
        What came; the step at which the forecast was made.
    name
        Of the forecaster.
    """
    came = truth(data, np.array([issue]))[0]
    count = len(data.names)
    rows = -(-count // 3)
    fig, axes = plt.subplots(
        rows, min(count, 3), figsize=(FULL, 0.5 + 1.55 * rows), sharex=True, squeeze=False
    )
    colour = COLOUR.get(name, COLOUR["neutral"])
    for ax, series, q, y in zip(axes.ravel(), data.names, quantiles, came, strict=False):
        for (band, (low, high)), alpha in zip(BANDS.items(), (0.45, 0.2), strict=True):
            edges = q[:, LEVELS.index(low)], q[:, LEVELS.index(high)]
            label = f"{band} % band"
            ax.fill_between(_LEADS, *edges, color=colour, alpha=alpha, linewidth=0, label=label)
        ax.plot(_LEADS, q[:, MEDIAN], color=colour, label=f"{name}, median")
        ax.plot(_LEADS, y, color="black", linewidth=0.8, linestyle=(0, (4, 1)), label="came")
        ax.set_title(series)
    for ax in axes.ravel()[count:]:
        ax.set_visible(False)
    for ax in axes.ravel()[max(0, count - axes.shape[1]) : count]:
        ax.set_xlabel("lead, h")
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("kW")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4)
    return fig


def reliability(forecasts: Mapping[str, Float], data: Profiles, issues: Steps) -> Figure:
    """Draw how often what came lay below each quantile, over its level; PV and load apart.

    A forecaster on the line is calibrated. Only lit targets count.
    """
    came, scored = truth(data, issues), lit(data, issues)
    fig, axes = plt.subplots(1, 2, figsize=(FULL, 2.9), sharey=True)
    kinds: tuple[Kind, ...] = ("pv", "load")
    for ax, kind, title in zip(axes, kinds, ("PV", "load"), strict=True):
        at = data.of(kind)
        mask = scored[:, at]
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.7)
        for name, quantiles in forecasts.items():
            below = (came[:, at, :, None] <= quantiles[:, at])[mask].mean(0)
            ax.plot(LEVELS, below, color=COLOUR[name], marker=MARKER[name], label=name)
        ax.set(title=title, xlabel="level of the quantile")
    axes[0].set_ylabel("share that came below it")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig


def pit_histograms(forecasts: Mapping[str, Float], data: Profiles, issues: Steps) -> Figure:
    """Draw histograms of the PIT values, PV above load, a panel per forecaster.

    The bins lie between the levels of the quantiles, the finest that quantiles can tell apart. A
    calibrated forecaster has density 1 in each; a hump says that its bands are too wide, a trough
    that they are too narrow, a slope that it is biased. Only lit targets count.
    """
    came, scored = truth(data, issues), lit(data, issues)
    edges = np.array([0.0, *LEVELS, 1.0])
    fig = plt.figure(figsize=(FULL, 3.4))
    axes = fig.subplots(2, len(forecasts), sharex=True, sharey=True, squeeze=False)
    kinds: tuple[Kind, ...] = ("pv", "load")
    for row, kind, title in zip(axes, kinds, ("PV", "load"), strict=True):
        at = data.of(kind)
        for ax, (name, quantiles) in zip(row, forecasts.items(), strict=True):
            levels = pit(quantiles[:, at], came[:, at])[scored[:, at]]
            density, _ = np.histogram(levels, edges, density=True)
            ax.stairs(density, edges, fill=True, color=COLOUR[name], alpha=0.75)
            ax.axhline(1, color="black", linewidth=0.7)
            ax.set(xlim=(0, 1), xticks=(0, 0.5, 1))
        row[0].set_ylabel(f"density, {title}")
    for ax, name in zip(axes[0], forecasts, strict=True):
        ax.set_title(name)
    fig.supxlabel("PIT value")
    return fig


def attention(looks: Mapping[Kind, Look]) -> Figure:
    """Draw the weights of variables, PV beside load, and the attention of four leads."""
    fig, axes = plt.subplots(2, 2, figsize=(FULL, 4.6), height_ratios=(1.25, 1))
    titles = {"pv": "PV", "load": "load"}
    shades = {"pv": COLOUR["pv"], "load": COLOUR["load"]}
    for ax, group, head in zip(axes[0], ("past", "ahead"), ("past", "known ahead"), strict=True):
        for k, (kind, look) in enumerate(looks.items()):
            part = look.variables[look.variables["group"].eq(group)]
            row = np.arange(len(part)) + 0.38 * (k - 0.5)
            ax.barh(row, 100 * part["weight"], 0.36, color=shades[kind], label=titles[kind])
        ax.set_yticks(range(len(part)), list(part["variable"]))
        ax.set(xlabel="weight, %", title=f"inputs, {head}")
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    axes[0, 1].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    hours = np.arange(2 * HOURS) - HOURS
    hues = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, 4))
    for ax, (kind, look) in zip(axes[1], looks.items(), strict=True):
        for lead, hue in zip((0, 5, 11, 23), hues, strict=True):
            line = 100 * look.attention[lead]
            ax.plot(hours, line, color=hue, linewidth=0.9, label=f"lead {lead + 1} h")
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set(xlabel="hours from the issue", title=f"attention, {titles[kind]}", ylim=(0, None))
    axes[1, 0].set_ylabel("weight, %")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def week(run: Run, price: pd.Series, days: int = 7) -> Figure:
    """Draw the first days of a run: PV and load, grid and battery, stored energy and price.

    `price` in EUR/kWh is indexed by time.
    """
    s = run.steps.iloc[: days * DAY]
    x = pd.DatetimeIndex(s.index).tz_localize(None)
    fig, axes = plt.subplots(3, 1, figsize=(FULL, 4.6), sharex=True)
    served = s["load"] - s["cut"] - s["later"] + s["caught_up"]
    axes[0].fill_between(x, s["pv"], color=COLOUR["pv"], alpha=0.5, linewidth=0, label="PV")
    axes[0].plot(x, s["load"], color=COLOUR["load"], linewidth=0.7, label="load")
    moved = {"color": COLOUR["accent"], "linewidth": 0.7, "linestyle": (0, (3, 1))}
    axes[0].plot(x, served, label="load served", **moved)
    axes[1].plot(x, s["grid"], color=COLOUR["net"], linewidth=0.9, label="grid (+ = import)")
    battery = {"color": COLOUR["battery"], "linewidth": 0.9}
    axes[1].plot(x, s["battery"], label="battery (+ = charging)", **battery)
    axes[1].axhline(0, color="black", linewidth=0.5)
    axes[2].fill_between(x, s["energy"], color=COLOUR["battery"], alpha=0.4, linewidth=0)
    axes[2].set_ylabel("stored, kWh")
    other = axes[2].twinx()
    other.step(x, price.reindex(s.index), color=COLOUR["price"], linewidth=0.8, where="post")
    other.set_ylabel("price, EUR/kWh", color=COLOUR["price"])
    other.set_ylim(0, None)
    other.grid(visible=False)
    for ax in axes[:2]:
        ax.set_ylabel("kW")
        ax.legend(loc="upper left", bbox_to_anchor=(0, 1.22), ncols=3)
    axes[2].set_xticks(x[::DAY], [day.strftime("%a %d %b") for day in x[::DAY]])
    axes[2].tick_params(axis="x", labelrotation=0)
    for label in axes[2].get_xticklabels():
        label.set_horizontalalignment("left")
    return fig


def costs(results: pd.DataFrame, cases: Sequence[str]) -> Figure:
    """Draw how far each controller's cost lies above perfect foresight, a panel per case.

    `results` as of `forecast_comparison.results`. Controllers without storage lie far off and are
    written at the edge where they leave the axis.
    """
    shown = results[~results["controller"].isin(("No storage",))]
    names = list(shown["controller"].unique())
    fig, axes = plt.subplots(
        1, len(cases), figsize=(FULL, 0.7 + 0.19 * len(names)), sharey=True, squeeze=False
    )
    for ax, case in zip(axes[0], cases, strict=True):
        part = shown[shown["case"].eq(case)].set_index("controller")
        for y, name in enumerate(names):
            if name in part.index:
                line = part.loc[name]
                colour = _colour(name)
                ax.hlines(y, line["above low"], line["above high"], color=colour)
                ax.plot(line["above"], y, "o", color=colour)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set(title=case, xlabel="above perfect foresight, %", ylim=(len(names) - 0.5, -0.5))
    axes[0, 0].set_yticks(range(len(names)), names)
    return fig


def skill_and_value(points: pd.DataFrame, x: str = "CRPS, % of the peak") -> Figure:
    """Draw cost above perfect foresight over the error of the forecast, a mark per forecaster.

    Parameters
    ----------
    points
        Columns data, forecaster, way ("P50" or "stochastic"), error, above.
    x
        What the error is.
    """
    sets = list(points["data"].unique())
    fig, axes = plt.subplots(1, len(sets), figsize=(FULL, 2.5), squeeze=False)
    for ax, name in zip(axes[0], sets, strict=True):
        part = points[points["data"].eq(name)]
        for who, own in part.groupby("forecaster", sort=False):
            for way, one in own.groupby("way", sort=False):
                full = way == "stochastic"
                face = COLOUR[str(who)] if full else "white"
                ax.plot(
                    one["error"],
                    one["above"],
                    linestyle="none",
                    marker=MARKER[str(who)],
                    color=COLOUR[str(who)],
                    markerfacecolor=face,
                    markersize=5,
                    label=f"{who}, {way}",
                )
        ax.set(title=name, xlabel=x)
    axes[0, 0].set_ylabel("cost above perfect foresight, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4)
    return fig


def sensitivity(table: pd.DataFrame) -> Figure:
    """Draw cost over the length of the horizon and over the time between solutions.

    `table` has the columns what ("horizon" or "interval"), hours, controller, cost in EUR per day.
    """
    fig, axes = plt.subplots(1, 2, figsize=(FULL, 2.3), sharey=True)
    titles = {"horizon": "length of the horizon, h", "interval": "time between solutions, h"}
    for ax, (what, title) in zip(axes, titles.items(), strict=True):
        part = table[table["what"].eq(what)]
        for (name, own), mark in zip(part.groupby("controller", sort=False), "os", strict=False):
            colour = COLOUR["accent"] if mark == "o" else "black"
            ax.plot(own["hours"], own["cost"], color=colour, marker=mark, label=str(name))
        ax.set(xlabel=title, xscale="log")
        ax.set_xticks(
            sorted(part["hours"].unique()), [f"{h:g}" for h in sorted(set(part["hours"]))]
        )
        ax.minorticks_off()
    axes[0].set_ylabel("cost, EUR/day")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig


def _colour(controller: str) -> str:
    """Colour of the forecaster that a controller relies on."""
    return COLOUR.get(controller.partition(",")[0], COLOUR["neutral"])
