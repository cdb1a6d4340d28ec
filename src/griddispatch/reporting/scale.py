"""Figures of the study of size: captured value by network, and growth of time and memory."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from griddispatch.errors import InputError
from griddispatch.reporting.figures import FULL, label_ends
from griddispatch.reporting.palette import COLOUR, LINE, MARKER

# Steps by panel, and whose colour, marker and dash they have.
POWER_FLOW = {
    "Newton-Raphson": "pandapower",
    "Dense, gradient": "tensorpowerflow",
    "Dense": "Dense",
    "Sweep": "Sweep",
}
PATH = {
    "Nonlinear program": "Optimum",
    "Linear program": "MPC",
    "Pathwise training": "Pathwise",
    "TD3 training": "TD3",
    "Set-up": "Price threshold",
    "Environment step": "Do nothing",
}
UNITS = {
    "Newton-Raphson": "scenario",
    "Dense, gradient": "scenario",
    "Dense": "scenario",
    "Sweep": "scenario",
    "Nonlinear program": "day",
    "Linear program": "day",
    "Pathwise training": "update and seed",
    "TD3 training": "day and seed",
    "Set-up": "network",
    "Environment step": "step of one day",
}
"""What the seconds of a step are counted per."""


def captured_by_network(table: pd.DataFrame, policies: Sequence[str]) -> Figure:
    """Draw captured value with its interval for each policy over networks of growing size.

    `table` has the columns of `evaluation.scale.captured`; networks keep their order. Within a
    network the policies stand a little apart, so that no interval hides another.

    Raises
    ------
    InputError
        A policy is not in the table.
    """
    networks = list(table["network"].unique())
    fig, ax = plt.subplots(figsize=(FULL, 2.8))
    shifts = np.linspace(-0.15, 0.15, len(policies))
    for policy, shift in zip(policies, shifts, strict=True):
        own = table[table["policy"].eq(policy)].set_index("network")
        if own.empty:
            raise InputError(f"no policy {policy!r} in the table of captured values")
        own = own.reindex(networks)
        x = np.arange(len(networks)) + shift
        colour = COLOUR[policy]
        ax.vlines(x, own["low"], own["high"], color=colour, linewidth=0.9)
        ax.plot(
            x,
            own["captured"],
            color=colour,
            linewidth=0.9,
            marker=MARKER[policy],
            linestyle=LINE[policy],
            label=policy,
        )
    ax.axhline(100, color=COLOUR["Optimum"], linewidth=0.6)
    ax.axhline(0, color=COLOUR["Do nothing"], linewidth=0.6)
    nodes = table.drop_duplicates("network").set_index("network")["nodes"]
    ax.set_xticks(range(len(networks)), [f"{name}\n{nodes[name]} nodes" for name in networks])
    ax.set_ylabel("captured value, %")
    ax.grid(axis="x", visible=False)
    label_ends(ax)
    return fig


def growth_curves(timings: pd.DataFrame, exponents: pd.DataFrame) -> Figure:
    """Draw seconds and megabytes of each step over the number of nodes, both axes logarithmic.

    Parameters
    ----------
    timings
        Columns nodes, step, seconds, megabytes.
    exponents
        Columns step, quantity ("seconds" or "megabytes") and last, the exponent of growth between
        the two largest networks; a label names it.
    """
    fig, axes = plt.subplots(2, 2, figsize=(FULL, 5.0), sharex=True)
    titles = ("power flow", "environment, learners, optimum")
    for row, quantity in enumerate(("seconds", "megabytes")):
        own = exponents[exponents["quantity"].eq(quantity)].set_index("step")["last"]
        for ax, steps in zip(axes[row], (POWER_FLOW, PATH), strict=True):
            _lines(ax, timings, quantity, steps, own)
        axes[row, 0].set_ylabel(
            {"seconds": "processor time per unit, s", "megabytes": "peak of memory, MB"}[quantity]
        )
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    for ax in axes[1]:
        ax.set_xlabel("nodes")
    return fig


def _lines(
    ax: Axes, timings: pd.DataFrame, quantity: str, steps: dict[str, str], exponents: pd.Series
) -> None:
    ax.set(xscale="log", yscale="log")
    ax.margins(y=0.1)
    nodes = sorted(timings["nodes"].unique())
    ended = []
    for step, look in steps.items():
        part = timings[timings["step"].eq(step) & (timings[quantity] > 0)].sort_values("nodes")
        if part.empty:
            continue
        # Adding zero takes the sign from a power that is zero after rounding.
        power = f", $N^{{{round(exponents[step], 1) + 0.0}}}$" if step in exponents else ""
        style = {"color": COLOUR[look], "marker": MARKER[look], "linestyle": LINE[look]}
        (line,) = ax.plot(part["nodes"], part[quantity], label=f"{step}{power}", **style)
        if part["nodes"].iloc[-1] == nodes[-1]:
            ended.append(line)
            continue
        # From the right edge its label would need a leader across the other lines.
        ax.annotate(
            f"{step}{power}",
            (part["nodes"].iloc[-1], part[quantity].iloc[-1]),
            xytext=(0, 4),
            textcoords="offset points",
            color=COLOUR[look],
            fontsize=7,
            ha="center" if len(part) > 1 else "left",
        )
    ax.set_xticks(nodes, [str(n) for n in nodes])
    ax.minorticks_off()
    label_ends(ax, ended)
