"""Figures of policies: how they learn (Fig. 4), act (Fig. 5), and how long it takes (Fig. 8)."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from griddispatch.envs.feeder import Feeder
from griddispatch.evaluation.rollout import Rollout
from griddispatch.reporting.figures import COLUMN, FULL, band, label_ends
from griddispatch.reporting.palette import COLOUR, LINE

_DASHES = (":", "--", "-")
_PANELS = {"reward": "reward", "profit": "profit", "penalty": "voltage penalty"}


def training_curves(curve: pd.DataFrame, name: str, primaries: Sequence[str]) -> Figure:
    """Draw reward, profit and penalty over training, one line per training set (Fig. 4).

    Parameters
    ----------
    curve
        Columns of `Training.curve`, and primary.
    name
        The algorithm, which gives the colour; the training sets are its shades.
    primaries
        Training sets, from the palest to the darkest line. The band reaches from the lowest to the
        highest seed.
    """
    fig, axes = plt.subplots(1, len(_PANELS), figsize=(FULL, 2.3))
    shades = np.linspace(0.45, 1.0, len(primaries))
    for ax, (quantity, title) in zip(axes, _PANELS.items(), strict=True):
        for primary, dash, shade in zip(primaries, cycle(_DASHES), shades, strict=False):
            own = curve[curve["primary"].eq(primary)]
            part = own.groupby("episode")[quantity].agg(["mean", "min", "max"])
            colour = tuple(1 - shade * (1 - c) for c in to_rgb(COLOUR[name]))
            look = {"color": colour, "linestyle": dash, "label": primary}
            band(ax, part.index, part["mean"], part["min"], part["max"], name, **look)
        ax.set(xlabel="days of training per agent", title=f"{title}, EUR/day", xlim=(0, None))
    label_ends(axes[-1])
    return fig


def dispatch_day(runs: Mapping[str, Rollout], feeder: Feeder, node: int) -> Figure:
    """Draw price, power and state of charge of one battery over one day (Fig. 5).

    Parameters
    ----------
    runs
        Rollouts of the policies on `feeder`, by name.
    feeder
        The environment on that single day.
    node
        Where the battery stands.
    """
    battery = feeder.storage.nodes.index(node)
    hour = np.arange(feeder.steps + 1) * feeder.hours
    fig, axes = plt.subplots(3, 1, figsize=(COLUMN, 3.6), sharex=True)
    _steps(axes[0], hour, feeder.price[0].numpy(), color=COLOUR["price"])
    axes[0].set_ylabel("price\nEUR/MWh")
    for name, run in runs.items():
        look = {"color": COLOUR[name], "linestyle": LINE[name], "label": name}
        _steps(axes[1], hour, run.power_kw[0, :, battery].numpy(), **look)
        axes[2].plot(hour, run.soc[0, :, battery].numpy(), **look)
    axes[1].set_ylabel("charging\nkW")
    axes[2].set(ylabel="state of\ncharge", xlabel=f"hour of {feeder.days.dates[0]} (UTC)")
    axes[2].set(xlim=(0, 24), xticks=range(0, 25, 4))
    label_ends(axes[2])
    return fig


def learning_curves(curve: pd.DataFrame) -> Figure:
    """Draw reward, profit and penalty of several learners over the share of training (Fig. 4).

    `curve` has the columns of `Training.curve`, and policy; bands from the lowest to the highest
    seed.
    """
    fig, axes = plt.subplots(1, len(_PANELS), figsize=(FULL, 2.3))
    for ax, (quantity, title) in zip(axes, _PANELS.items(), strict=True):
        for name, own in curve.groupby("policy", sort=False):
            part = own.groupby("episode")[quantity].agg(["mean", "min", "max"])
            share = 100 * part.index / part.index.max()
            band(ax, share, part["mean"], part["min"], part["max"], str(name))
        ax.set(xlabel="training done, %", title=f"{title}, EUR/day", xlim=(0, 100))
    label_ends(axes[-1])
    return fig


def training_times(slices: pd.DataFrame) -> Figure:
    """Draw the hours of a whole training with either power flow, by algorithm (Fig. 8).

    `slices` has the columns policy, backend and hours.
    """
    wide = slices.pivot_table(index="policy", columns="backend", values="hours", sort=False)
    fig, ax = plt.subplots(figsize=(COLUMN, 2.2))
    width = 0.8 / len(wide.columns)
    for i, backend in enumerate(wide.columns):
        x = np.arange(len(wide)) + (i - (len(wide.columns) - 1) / 2) * width
        ax.bar(x, wide[backend], width, color=COLOUR[backend], label=backend)
        for at, hours in zip(x, wide[backend], strict=True):
            ax.annotate(
                f"{hours:.2f}",
                (at, hours),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=6,
            )
    ax.set_xticks(range(len(wide)), list(wide.index))
    ax.set_ylabel("training as printed,\nhours per agent")
    ax.grid(axis="x", visible=False)
    fig.legend(loc="outside upper center", ncols=len(wide.columns))
    return fig


def _steps(ax: Axes, edges: np.ndarray, values: np.ndarray, **look: object) -> None:
    """Draw values [S] that hold between edges [S + 1]."""
    ax.step(edges, np.append(values, values[-1]), where="post", **look)  # type: ignore[arg-type]
