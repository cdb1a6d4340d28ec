"""Figures of the microgrid: its days, a day of dispatch, training, costs and their tail."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from griddispatch.data.microgrid import HOURS, MicrogridDays
from griddispatch.evaluation.risk_comparison import Key, rows
from griddispatch.reporting import figures
from griddispatch.reporting.figures import COLUMN, FULL
from griddispatch.reporting.palette import COLOUR, MICROGRID_FILL, MICROGRID_LINE, MICROGRID_MARKER
from griddispatch.risk_measures import ALPHA, cvar, value_at_risk


def look(policy: str) -> dict[str, Any]:
    """Colour and dash of a policy; a variant, named behind a comma, has its policy's colour."""
    base, _, variant = policy.partition(", λ")[0].partition(", ")
    dash = MICROGRID_LINE.get(variant or base, "-")
    return {"color": COLOUR.get(base, COLOUR["neutral"]), "linestyle": dash}


def marker(policy: str) -> str:
    """Marker of a policy, or of that of which it is a variant."""
    return MICROGRID_MARKER.get(policy.partition(", ")[0], "o")


def filled(policy: str) -> Any:
    """How a marker is filled: variants of a policy share its shape, but not this."""
    return MICROGRID_FILL.get(policy.partition(", ")[2], "full")


def days(drawn: MicrogridDays, shown: int) -> Figure:
    """Draw the middle 90 % of days, their median, and one day: weather, loads, price, limit."""
    panels = {
        "pv": "PV, kW",
        "wind": "wind, kW",
        "load": "electric load, kW",
        "heat": "heat load, kW",
        "price": "price, EUR/kWh",
        "import_kw": "import limit, kW",
    }
    hour = np.arange(drawn.steps) * HOURS / drawn.steps
    fig, axes = plt.subplots(2, 3, figsize=(FULL, 3.0), sharex=True)
    for ax, (field, title) in zip(axes.flat, panels.items(), strict=True):
        values = getattr(drawn, field)
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
        ax.fill_between(hour, low, high, color=COLOUR["net"], alpha=0.2, linewidth=0)
        ax.plot(hour, middle, color=COLOUR["net"], label="median, and middle 90 %")
        ax.plot(hour, values[shown], color=COLOUR["accent"], linewidth=0.9, label="one day")
        ax.set(ylabel=title, xlim=(0, HOURS), ylim=(0, None))
        ax.set_xticks(range(0, HOURS + 1, 6))
    for ax in axes[1]:
        ax.set_xlabel("hour of the day")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig


def clock(costs: np.ndarray) -> Figure:
    """Draw in which hours the worst 5 % of all steps lie; costs [D, T] of steps."""
    worst = costs >= value_at_risk(costs.ravel(), ALPHA)
    by_hour = worst.reshape(len(costs), HOURS, -1).sum((0, 2))
    fig, ax = plt.subplots(figsize=(COLUMN, 2.0))
    ax.bar(np.arange(HOURS) + 0.5, 100 * by_hour / by_hour.sum(), color=COLOUR["accent"])
    ax.set(xlabel="hour of the day", ylabel="share of the worst 5 %\nof steps, %", xlim=(0, HOURS))
    ax.set_xticks(range(0, HOURS + 1, 6))
    return fig


def dispatch(trace: pd.DataFrame) -> Figure:
    """Draw the electric and the heat balance of a day of `risk_experiments.trace`.

    What supplies is stacked upwards, what the battery, the export and curtailment take downwards.
    """
    fig, (top, middle, low) = plt.subplots(
        3, 1, figsize=(FULL, 5.0), sharex=True, height_ratios=(3, 2, 1.3)
    )
    given = trace["battery"].clip(upper=0).abs()
    supply = {
        "PV": trace["pv"],
        "wind": trace["wind"],
        "CHP": trace["chp"],
        "battery": given,
        "import": trace["drawn"],
        "lost": trace["lost"],
    }
    taken = {
        "battery": trace["battery"].clip(lower=0),
        "import": trace["sold"],
        "curtailed": trace["curtailed"],
    }
    _stack(top, trace["hour"], supply)
    _stack(top, trace["hour"], {name: -x for name, x in taken.items()}, named=("curtailed",))
    top.step(trace["hour"], trace["load"], color="black", linewidth=1, where="post", label="load")
    heat = {"CHP": trace["chp_heat"], "boiler": trace["boiler"], "lost": trace["cold"]}
    _stack(middle, trace["hour"], heat, named=("boiler",))
    middle.step(trace["hour"], trace["heat"], color="black", linewidth=1, where="post")
    low.step(trace["hour"], trace["price"], color=COLOUR["price"], where="post")
    other = low.twinx()
    other.plot(trace["hour"], 100 * trace["soc"], color=COLOUR["battery"])
    other.spines["right"].set_visible(True)
    other.grid(visible=False)
    other.set(ylim=(0, 100), ylabel="stored, %")
    other.yaxis.label.set_color(COLOUR["battery"])
    low.yaxis.label.set_color(COLOUR["price"])
    top.set_ylabel("electric power, kW\n(export below zero)")
    middle.set_ylabel("heat, kW")
    low.set(ylabel="EUR/kWh", xlabel="hour of the day", xlim=(0, HOURS), ylim=(0, None))
    low.set_xticks(range(0, HOURS + 1, 3))
    handles, labels = (
        a + b
        for a, b in zip(*(ax.get_legend_handles_labels() for ax in (top, middle)), strict=True)
    )
    fig.legend(handles, labels, loc="outside upper center", ncols=5)
    return fig


def _stack(
    ax: Axes, hour: "pd.Series[float]", parts: Mapping[str, Any], named: Sequence[str] | None = None
) -> None:
    """Stack powers; only those `named` get into the legend, by default all."""
    shown = [name if named is None or name in named else f"_{name}" for name in parts]
    colours = [COLOUR[name] for name in parts]
    ax.stackplot(hour, *parts.values(), labels=shown, colors=colours, linewidth=0, step="post")


def learning(curve: pd.DataFrame) -> Figure:
    """Draw J and CVaR on validation days over the share of the training that is over.

    `curve` has the columns of `Training.curve` and policy, one weight; a line is the mean over the
    seeds, its band reaches from the lowest to the highest.
    """
    fig, axes = plt.subplots(1, 2, figsize=(FULL, 2.6))
    titles = {"objective": "J on validation days, EUR/day", "cvar": "CVaR95 there, EUR/day"}
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for policy, own in curve.groupby("policy", sort=False):
            by = own.groupby("update")[column].agg(["mean", "min", "max"])
            part = by.index / max(by.index.max(), 1)
            line = look(str(policy)) | {"marker": marker(str(policy)), "markersize": 2.5}
            figures.band(ax, part, by["mean"], by["min"], by["max"], str(policy), **line)
        ax.set(xlabel="share of the training", ylabel=title)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4)
    return fig


def costs(table: pd.DataFrame, chosen: Sequence[Key]) -> Figure:
    """Draw the distribution of daily costs, a panel per policy, with mean, VaR and CVaR marked."""
    parts = {key: rows(table, key)["cost"].to_numpy() for key in chosen}
    every = np.concatenate(list(parts.values()))
    bins = np.linspace(every.min(), every.max(), 50)
    lines = ceil(len(parts) / 2)
    fig, axes = plt.subplots(
        lines, 2, figsize=(FULL, 0.6 + 1.2 * lines), sharex=True, sharey=True, squeeze=False
    )
    for ax, ((policy, weight), x) in zip(axes.flat, parts.items(), strict=False):
        colour, var = look(policy)["color"], float(value_at_risk(x, ALPHA))
        share = np.full(len(x), 100 / len(x))
        ax.hist(x, bins, weights=share, color=colour, alpha=0.35)
        ax.hist(x[x >= var], bins, weights=share[x >= var], color=colour)
        marks = {"mean": (float(x.mean()), ":"), "VaR95": (var, "--")}
        marks["CVaR95"] = (float(cvar(x, ALPHA)), "-")
        for label, (at, dash) in marks.items():
            ax.axvline(at, color="black", linestyle=dash, linewidth=0.9, label=label)
        ax.set_title(f"{policy}, λ = {weight:g}")
    for ax in axes[:, 0]:
        ax.set_ylabel("days, %")
    for ax in axes[-1]:
        ax.set_xlabel("cost of a day, EUR")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig


def frontier(results: pd.DataFrame) -> Figure:
    """Draw CVaR over mean with intervals; policies with several weights are lines, in their order.

    `results` has the columns of `risk_comparison.results`.
    """
    wide = results.pivot(
        index=["policy", "weight"], columns="metric", values=["mean", "low", "high"]
    )
    fig, ax = plt.subplots(figsize=(FULL, 3.4))
    for policy in results["policy"].unique():
        own = wide.loc[policy].sort_index()
        x, y = own["mean"]["mean"], own["mean"]["cvar95"]
        drawing = look(policy)
        ax.hlines(y, own["low"]["mean"], own["high"]["mean"], color=drawing["color"], alpha=0.3)
        ax.vlines(x, own["low"]["cvar95"], own["high"]["cvar95"], color=drawing["color"], alpha=0.3)
        drawing |= {"marker": marker(policy), "fillstyle": filled(policy), "linewidth": 0.9}
        ax.plot(x, y, label=policy, markersize=5, **drawing)
        if len(own) > 1:
            _name_ends(ax, x, y, drawing["color"])
    ax.set(xlabel="mean cost, EUR/day", ylabel="CVaR95 of the cost, EUR/day")
    fig.legend(loc="outside right upper")
    return fig


def _name_ends(ax: Axes, x: "pd.Series[float]", y: "pd.Series[float]", colour: str) -> None:
    # Of two weights one name is enough, and two would lie on each other where lines are short.
    for weight in x.index[[0, -1]] if len(x) > 2 else x.index[:1]:
        ax.annotate(
            f"λ {weight:g}",
            (x[weight], y[weight]),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=6,
            color=colour,
        )


def spike(traces: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw a day under several policies: price, CHP power, stored energy, cost so far."""
    fig, axes = plt.subplots(4, 1, figsize=(FULL, 5.0), sharex=True, height_ratios=(1, 1.3, 1, 1.6))
    first = next(iter(traces.values()))
    axes[0].step(first["hour"], first["price"], color=COLOUR["price"], where="post")
    for policy, trace in traces.items():
        line = look(policy) | {"linewidth": 1.0}
        axes[1].step(trace["hour"], trace["chp"], where="post", **line)
        axes[2].plot(trace["hour"], 100 * trace["soc"], **line)
        axes[3].plot(trace["hour"], trace["cost"].cumsum(), label=policy, **line)
    titles = ("price, EUR/kWh", "CHP, kW", "stored, %", "cost so far, EUR")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(ylabel=title, xlim=(0, HOURS))
    axes[0].set_ylim(0, None)
    axes[-1].set_xticks(range(0, HOURS + 1, 3))
    axes[-1].set_xlabel("hour of the day")
    handles, labels = axes[3].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig
