"""Figures and tables that the notebooks about policies share: the paper's Fig. 4, 5 and Table 3."""

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
from griddispatch.reporting.figures import COLOUR, COLUMN, FULL, LINE, MARKER, band, label_ends
from griddispatch.reporting.tables import Column, write_table

_DASHES = (":", "--", "-")
_PANELS = {"reward": "reward", "profit": "profit", "penalty": "voltage penalty"}
_UNIT = {"reward": "EUR/day", "profit": "EUR/day", "penalty": "EUR/day", "captured": "%"}


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


def captured_values(results: pd.DataFrame) -> Figure:
    """Draw the captured value of each policy with its interval, one panel per scope.

    `results` has the columns of `Comparison.results`; its first row is drawn on top.
    """
    part = results[results["metric"].eq("captured")]
    part = part[~part["policy"].isin(["Do nothing", "Optimum"])]
    scopes = list(part["scope"].unique())
    fig, axes = plt.subplots(1, len(scopes), figsize=(FULL, 2.4), sharey=True)
    for ax, scope in zip(axes, scopes, strict=True):
        rows = part[part["scope"].eq(scope)].reset_index(drop=True)
        for y, line in rows.iterrows():
            colour = COLOUR.get(line["policy"], COLOUR["published"])
            ax.hlines(y, line["low"], line["high"], color=colour)
            ax.plot(line["mean"], y, MARKER.get(line["policy"], "o"), color=colour)
        ax.set_yticks(rows.index, [_named(line) for _, line in rows.iterrows()])
        ax.axvline(100, color=COLOUR["Optimum"], linewidth=0.8)
        ax.axvline(0, color=COLOUR["Do nothing"], linewidth=0.8)
        ax.set(xlabel=f"captured value on {scope} days, %", ylim=(len(rows) - 0.5, -0.5))
        ax.set_title("optimum", loc="right", fontsize=7)
    return fig


def write_results(results: pd.DataFrame, name: str, caption: str) -> None:
    """Write `Comparison.results` as a table with one line per policy and training set."""
    scopes = list(results["scope"].unique())
    metrics = [metric for metric in results["metric"].unique() if metric != "reward"]
    wide = results.pivot_table(
        index=["policy", "primary"],
        columns=["scope", "metric"],
        values=["mean", "low", "high"],
    )
    lines = results[["policy", "primary"]].drop_duplicates()
    wide = wide.loc[pd.MultiIndex.from_frame(lines)]  # in the order of `results`
    wide.columns = wide.columns.map(lambda key: f"{key[1]} {key[2]} {key[0]}")
    columns = {"policy": Column("Policy"), "primary": Column("Training set")}
    for scope in scopes:
        for metric in metrics:
            key = f"{scope} {metric}"
            ends = (f"{key} low", f"{key} high")
            columns[f"{key} mean"] = Column(f"{scope}: {metric}", _UNIT[metric], interval=ends)
    write_table(wide.reset_index(), name, caption, columns)


def _named(line: pd.Series) -> str:
    return f"{line['policy']} ({line['primary']})" if line["primary"] else str(line["policy"])


def _steps(ax: Axes, edges: np.ndarray, values: np.ndarray, **look: object) -> None:
    """Draw values [S] that hold between edges [S + 1]."""
    ax.step(edges, np.append(values, values[-1]), where="post", **look)  # type: ignore[arg-type]
