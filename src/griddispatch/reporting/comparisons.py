"""Figures and tables of comparisons: the paper's Table 3, and who captures what."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from griddispatch.evaluation.comparison import BEST, IDLE, Kind
from griddispatch.evaluation.metrics import PrintedBound
from griddispatch.reporting.figures import COLUMN, FULL
from griddispatch.reporting.palette import COLOUR, LINE, MARKER
from griddispatch.reporting.tables import Column, write_table

LEARNERS = ("DDPG", "TD3", "SAC", "PPO", "Pathwise")
_HEAD = {
    "policy": "Policy",
    "primary": "Training set",
    "augmented": "Generated",
    "information": "Prices known",
}
_PRINTED = {
    "printed_reward": Column("Printed reward"),
    "printed_bound": Column("Printed bound", "%"),
}
_UNIT = {"reward": "EUR/day", "profit": "EUR/day", "penalty": "EUR/day", "captured": "%"}


def captured_values(results: pd.DataFrame) -> Figure:
    """Draw the captured value of each policy with its interval, one panel per scope.

    `results` has the columns of `Comparison.results`; its first row is drawn on top.
    """
    part = results[results["metric"].eq("captured")]
    part = part[~part["policy"].isin([IDLE.policy, BEST.policy])]
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


def captured_by(
    results: pd.DataFrame,
    groups: Sequence[tuple[str, pd.Series]],
    rule: str,
    title: str,
    beside: Sequence[str] = (),
) -> Figure:
    """Draw each learner's captured value over groups of rows, such as the settings of Table 3.

    Parameters
    ----------
    results
        Columns of `Comparison.results`.
    groups
        The name of each place on the axis, and which rows of `results` belong there.
    rule
        A policy without learning, drawn as a line across.
    title
        What the groups are, for the axis.
    beside
        Policies that are drawn like the learners, and after them.
    """
    part = results[results["metric"].eq("captured")]
    scopes = list(part["scope"].unique())
    learners = [name for name in (*LEARNERS, *beside) if part["policy"].eq(name).any()]
    fig, axes = plt.subplots(len(scopes), 1, figsize=(FULL, 1.9 * len(scopes)), sharex=True)
    for ax, scope in zip(axes, scopes, strict=True):
        here = part[part["scope"].eq(scope)]
        for i, name in enumerate(learners):
            shift = 0.7 * (i - (len(learners) - 1) / 2) / len(learners)
            mine = here[here["policy"].eq(name)]
            found = [(x, mine[own[mine.index]]) for x, (_, own) in enumerate(groups)]
            rows = pd.concat([row.assign(x=x + shift) for x, row in found])
            ax.vlines(rows["x"], rows["low"], rows["high"], color=COLOUR[name])
            ax.plot(rows["x"], rows["mean"], MARKER[name], color=COLOUR[name], label=name)
        level = float(here[here["policy"].eq(rule)]["mean"].iloc[0])
        look: dict[str, Any] = {"color": COLOUR[rule], "linestyle": LINE[rule], "linewidth": 0.9}
        ax.axhline(level, label=rule, zorder=1, **look)
        ax.set_ylabel(f"captured value,\n{scope} days, %")
        ax.set_xticks(range(len(groups)), [name for name, _ in groups])
        ax.grid(axis="x", visible=False)
    axes[-1].set_xlabel(title)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig


def printed_bound(printed: pd.DataFrame, bound: PrintedBound) -> Figure:
    """Draw printed bounds over printed rewards, the fitted |1 - a / R|, and a ratio to an optimum.

    `printed` has the columns algorithm, reward and bound_percent.
    """
    fig, ax = plt.subplots(figsize=(COLUMN, 2.3))
    paid, claimed = (printed[name].to_numpy(float) for name in ("reward", "bound_percent"))
    reward = np.linspace(paid.min(), paid.max(), 200)
    formula = 100 * np.abs(1 - bound.constant / reward)
    ax.plot(reward, formula, color=COLOUR["neutral"], label=f"|1 - {bound.constant:.2f} / R|")
    ratio = (paid @ claimed) / (paid @ paid)
    look: dict[str, Any] = {"color": COLOUR["published"], "linestyle": ":"}
    ax.plot(reward, ratio * reward, label="best ratio", **look)
    for name, own in printed.groupby("algorithm"):
        marks: dict[str, Any] = {
            "color": COLOUR[str(name)],
            "marker": MARKER[str(name)],
            "linestyle": "none",
        }
        ax.plot(own["reward"], own["bound_percent"], label=str(name), **marks)
    ax.set(xlabel="printed reward R", ylabel="printed bound, %")
    ax.legend(loc="lower right", ncols=2)
    return fig


def write_results(results: pd.DataFrame, name: str, caption: str) -> None:
    """Write `Comparison.results` as a table with one line per kind of policy.

    Columns printed_reward and printed_bound, if there are any, stand beside the measured ones.
    """
    scopes = list(results["scope"].unique())
    metrics = list(results["metric"].unique())
    printed = [key for key in _PRINTED if key in results]
    keys = [*Kind._fields, *printed]
    lines = results[keys].drop_duplicates().reset_index(drop=True)
    columns = {key: Column(title) for key, title in _HEAD.items()}
    for scope in scopes:
        for metric in metrics:
            key = f"{scope} {metric}"
            ends = (f"{key} low", f"{key} high")
            columns[f"{key} mean"] = Column(f"{scope}: {metric}", _UNIT[metric], interval=ends)
            own = results[results["scope"].eq(scope) & results["metric"].eq(metric)]
            named = {end: f"{key} {end}" for end in ("mean", "low", "high")}
            own = own[[*Kind._fields, *named]].rename(columns=named)
            lines = lines.merge(own, on=list(Kind._fields), how="left")
    columns |= {key: _PRINTED[key] for key in printed}
    write_table(lines, name, caption, columns)


def _named(line: pd.Series) -> str:
    return f"{line['policy']} ({line['primary']})" if line["primary"] else str(line["policy"])
