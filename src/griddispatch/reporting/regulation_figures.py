"""Figures of the regulation study: policies, training, ablations, the limit of the l1 error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from griddispatch.evaluation.regulation_experiments import ORDERS
from griddispatch.reporting import figures
from griddispatch.reporting.figures import COLUMN, FULL
from griddispatch.reporting.palette import COLOUR, MARKER
from griddispatch.reporting.regulation_hours import look


def policies(results: pd.DataFrame, metrics: Sequence[tuple[str, str]]) -> Figure:
    """Draw policies with their intervals, one panel per metric, first row on top.

    Parameters
    ----------
    results
        Columns of `regulation_comparison.results`, one setting.
    metrics
        Pairs of a metric and what stands on its axis.
    """
    names = list(results["policy"].unique())
    size = (FULL, 0.5 + 0.19 * len(names))
    fig, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True)
    for ax, (metric, title) in zip(np.atleast_1d(axes), metrics, strict=True):
        part = results[results["metric"].eq(metric)].set_index("policy").loc[names]
        for y, (name, line) in enumerate(part.iterrows()):
            _interval(ax, y, line, str(name))
        ax.set(xlabel=title, ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(range(len(names)), names)
    return fig


def learning(curve: pd.DataFrame) -> Figure:
    """Draw objective and violations of training over the share of it that is over.

    `curve` has the columns of `Training.curve` and policy; a line is the mean over the seeds. Where
    violations stay zero, the line lies on the axis.
    """
    fig, axes = plt.subplots(1, 2, figsize=(FULL, 2.4))
    titles = {
        "validation": "J on validation hours",
        "validation_violations": "violations per 1000",
    }
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for name, own in curve.groupby("policy", sort=False):
            by = own.groupby("update")[column].agg(["mean", "min", "max"])
            part = by.index / by.index.max()
            line = look(str(name)) | {"marker": _marker(str(name)), "markersize": 2.5}
            figures.band(ax, part, by["mean"], by["min"], by["max"], str(name), **line)
        ax.set(xlabel="share of the training", ylabel=title)
    axes[0].set_yscale("log")
    axes[1].set_ylim(0, None)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig


def error_and_score(hours: pd.DataFrame) -> Figure:
    """Draw 1 - S over l1 / 3 of every tested hour: one mark is one hour of one policy.

    `hours` has the columns policy, seed, hour, total, relative; `relative` is |e|_1 / |u|_1. On the
    line both ways to judge agree.
    """
    fig, ax = plt.subplots(figsize=(COLUMN, 2.8))
    ends = np.array([hours["relative"].min(), hours["relative"].max()]) / 3
    ax.plot(ends, ends, color="black", linewidth=0.7, label="1 $-$ S = |e| / 3|u|")
    for name, own in hours.groupby("policy", sort=False):
        marks: dict[str, Any] = {"color": look(str(name))["color"], "marker": _marker(str(name))}
        ax.plot(
            own["relative"] / 3,
            1 - own["total"],
            linestyle="none",
            markersize=2,
            alpha=0.6,
            label=str(name),
            **marks,
        )
    ax.set(xlabel="$|e|_1$ / 3 $|u|_1$", ylabel="1 $-$ S", xscale="log", yscale="log")
    fig.legend(loc="outside upper center", ncols=2)
    return fig


def ablation(results: pd.DataFrame, title: str) -> Figure:
    """Draw J of variants of one policy, in the order of the table; `variant` names them."""
    part = results[results["metric"].eq("objective")].reset_index(drop=True)
    fig, ax = plt.subplots(figsize=(COLUMN, 0.6 + 0.24 * len(part)))
    for y, (_, line) in enumerate(part.iterrows()):
        _interval(ax, y, line, line["policy"])
    ax.set_yticks(part.index, part["variant"])
    ax.set(xlabel=title, ylim=(len(part) - 0.5, -0.5))
    return fig


def orders(results: pd.DataFrame) -> Figure:
    """Draw J for each order of the factors; rows as of `regulation_comparison.results`."""
    named = results.assign(variant=results["order"].map(lambda o: f"{o}\n{' '.join(ORDERS[o])}"))
    fig = ablation(named, "J")
    fig.set_size_inches(COLUMN, 0.6 + 0.36 * len(named["variant"].unique()))
    return fig


def dead_times(results: pd.DataFrame) -> Figure:
    """Draw J and violations over the believed dead time, a line per policy."""
    fig, axes = plt.subplots(1, 2, figsize=(FULL, 2.2))
    shown = {"objective": "J", "violations": "violations per 1000"}
    for ax, (metric, title) in zip(axes, shown.items(), strict=True):
        part = results[results["metric"].eq(metric)].sort_values("dead_time")
        for name, own in part.groupby("policy", sort=False):
            line = look(str(name)) | {"marker": _marker(str(name))}
            figures.band(
                ax, own["dead_time"], own["mean"], own["low"], own["high"], str(name), **line
            )
        ax.axvline(1, color=COLOUR["neutral"], linewidth=0.6)
        ax.set(xlabel="believed dead time / true one", ylabel=title)
    axes[1].set_ylim(0, None)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig


def settings(results: pd.DataFrame) -> Figure:
    """Draw J by setting, one place per setting; `setting` names it, policies stand side by side."""
    part = results[results["metric"].eq("objective")]
    places, names = list(part["setting"].unique()), list(part["policy"].unique())
    fig, ax = plt.subplots(figsize=(COLUMN, 2.3))
    for i, name in enumerate(names):
        own = part[part["policy"].eq(name)]
        x = own["setting"].map(places.index) + 0.18 * (i - (len(names) - 1) / 2)
        colour = look(name)["color"]
        ax.vlines(x, own["low"], own["high"], color=colour)
        ax.plot(x, own["mean"], _marker(name), color=colour, label=name)
    ax.set_xticks(range(len(places)), places)
    ax.set_ylabel("J")
    ax.set_ylim(0, None)
    ax.grid(axis="x", visible=False)
    fig.legend(loc="outside upper center", ncols=2)
    return fig


def theorem(ratios: pd.DataFrame) -> Figure:
    """Draw the ratio of `regulation_equivalence.ratios` over noise and over lags."""
    fig, axes = plt.subplots(1, 2, figsize=(FULL, 2.3), sharey=True)
    titles = {"noise": "error / signal (standard deviations)", "lag": "lag of the response, s"}
    for ax, (error, title) in zip(axes, titles.items(), strict=True):
        part = ratios[ratios["error"].eq(error)]
        for (kind, own), style in zip(part.groupby("kind", sort=False), _KINDS, strict=False):
            figures.band(ax, own["size"], own["mean"], own["low"], own["high"], str(kind), **style)
        ax.axhline(1, color="black", linewidth=0.7)
        ax.set(xlabel=title, xscale="log")
    axes[0].set_ylabel("(1 $-$ S) / ($|e|_1$ / 3 $|u|_1$)")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig


_KINDS: tuple[dict[str, Any], ...] = (
    {"color": COLOUR["net"], "marker": "o"},
    {"color": COLOUR["accent"], "marker": "s", "linestyle": (0, (5, 1.2))},
    {"color": COLOUR["neutral"], "marker": "^", "linestyle": (0, (1, 1))},
)


def _interval(ax: Axes, y: float, line: "pd.Series[Any]", name: str) -> None:
    colour = look(name)["color"]
    ax.hlines(y, line["low"], line["high"], color=colour)
    ax.plot(line["mean"], y, _marker(name), color=colour)


def _marker(policy: str) -> str:
    base = policy if policy in MARKER else policy.partition(",")[0]
    return MARKER.get(base, "o")
