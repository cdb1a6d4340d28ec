"""Sixteen panels of the virtual power plant, each alone or all in one figure.

A policy has one colour; a variant of it, named behind a comma, has another dash and marker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from griddispatch.data.vpp_demand import BASE_KW, PERIODS, SHIFTS
from griddispatch.envs.vpp import COSTS
from griddispatch.evaluation.statistics import Float
from griddispatch.evaluation.vpp_experiments import Watched
from griddispatch.reporting import figures, world_model
from griddispatch.reporting.figures import COLUMN, FULL
from griddispatch.reporting.palette import COLOUR, MARKER, VARIANT_LINES, VARIANT_MARKS

_SMALL = 5.6  # pt, in the figure of all panels
_PERIOD = np.arange(1, PERIODS + 1)
_COST = {
    "energy": ("energy", COLOUR["load"]),
    "no_load": ("no load", COLOUR["published"]),
    "starts": ("starts", COLOUR["supply"]),
    "reserve": ("reserve", COLOUR["battery"]),
    "shortage": ("shortage", COLOUR["limit"]),
    "surplus": ("surplus", COLOUR["wind"]),
    "comfort": ("comfort", COLOUR["price"]),
}
_SHARE = LinearSegmentedColormap.from_list("share", ["white", COLOUR["supply"]])


def look(policy: str, others: Sequence[str] = ()) -> dict[str, Any]:
    """Colour, dash and marker of a policy among others of the same figure."""
    base, _, variant = policy.partition(", ")
    found = {"color": COLOUR.get(base, COLOUR["neutral"]), "linestyle": "-"}
    found["marker"] = MARKER.get(base, "p")
    if variant:
        family = [name for name in others if name.startswith(f"{base}, ")]
        place = family.index(policy) if policy in family else 0
        found["linestyle"] = VARIANT_LINES[place % len(VARIANT_LINES)]
        found["marker"] = VARIANT_MARKS[place % len(VARIANT_MARKS)]
    return found


@dataclass(frozen=True)
class Study:
    """What the panels show.

    Attributes
    ----------
    curve
        Training: policy, seed, update, reward, balanced (%), adjustment (%), comfort (periods per
        day), loss.
    played, stiff
        Test days of DROMARL and of the variant that has no inertia in its load actor.
    p_high, response
        [12] probability of the high price; relative answer of the customers to it.
    kappa, kappa_hat
        [D] inertia of the customers on the test days, and what the load actor made of it.
    demand
        [D, 12] kW of demand without control, by shift.
    parts
        Mean cost of a day in thousands, a row per policy and a column per part of `COSTS`.
    shifted
        `vpp_comparison.results` of the policies over which shifts are drawn.
    levels
        PIT values by demand model.
    """

    curve: pd.DataFrame
    played: Watched
    stiff: Watched
    p_high: Float
    response: Float
    kappa: Float
    kappa_hat: Float
    demand: Mapping[str, Float]
    parts: pd.DataFrame
    shifted: pd.DataFrame
    levels: Mapping[str, Float]


def _over_training(column: str, label: str) -> Callable[[Axes, Study], None]:
    def draw(ax: Axes, study: Study) -> None:
        names = list(study.curve["policy"].unique())
        for policy in names:
            own = study.curve[study.curve["policy"].eq(policy)].dropna(subset=[column])
            by = own.groupby("update")[column].agg(["mean", "min", "max"])
            part = by.index / max(by.index.max(), 1)
            line = look(policy, names) | {"markersize": 2}
            figures.band(ax, part, by["mean"], by["min"], by["max"], policy, **line)
        ax.set(xlabel="share of the training", ylabel=label, xlim=(0, 1))

    return draw


def _periods(ax: Axes, label: str) -> None:
    ax.set(xlabel="period", ylabel=label, xlim=(0.5, PERIODS + 0.5))
    ax.set_xticks(_PERIOD[::2])


def _spread(ax: Axes, values: Float, colour: str, name: str, **line: Any) -> None:
    """Mean over days [D, 12], and the middle 90 %."""
    low, high = np.quantile(values, [0.05, 0.95], axis=0)
    ax.fill_between(_PERIOD, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(_PERIOD, values.mean(0), color=colour, label=name, **line)


def _generation(ax: Axes, study: Study) -> None:
    played = study.played
    given = played.output_kw.sum(-1) + played.reserve_kw
    _spread(ax, played.demand_kw, COLOUR["demand"], "demand")
    ax.plot(_PERIOD, given.mean(0), "--", color=COLOUR["supply"], label="generation")
    running = (played.on * np.max(played.output_kw, (0, 1))).sum(-1)
    ax.plot(_PERIOD, running.mean(0), ":", color=COLOUR["supply"], label="capacity on")
    _periods(ax, "kW")
    ax.set_ylim(0, None)


def _price(ax: Axes, study: Study) -> None:
    ax.step(_PERIOD, study.p_high, where="mid", color=COLOUR["price"], label="P(high)")
    _periods(ax, "P(high price)")
    ax.set_ylim(0, 1)
    other = ax.twinx()
    other.plot(_PERIOD, study.played.demand_kw.mean(0), color=COLOUR["load"])
    other.plot(_PERIOD, BASE_KW, ":", color=COLOUR["load"])
    other.spines["right"].set_visible(True)
    other.grid(visible=False)
    other.set(ylabel="load, kW", ylim=(0, 50))
    other.yaxis.label.set_color(COLOUR["load"])
    ax.yaxis.label.set_color(COLOUR["price"])
    # Named once, by the axis that has the legend.
    ax.plot([], [], color=COLOUR["load"], label="load")
    ax.plot([], [], ":", color=COLOUR["load"], label="base")


def _change(ax: Axes, study: Study) -> None:
    _spread(ax, 100 * study.played.adjustment, COLOUR["demand"], "load actor")
    ax.plot(_PERIOD, 100 * study.response, "--", color=COLOUR["price"], label="prices")
    ax.axhline(0, color="black", linewidth=0.6)
    _periods(ax, "change of load, %")


def _units(ax: Axes, study: Study) -> None:
    share = study.played.on.mean(0).T
    shown = ax.imshow(
        100 * share, aspect="auto", cmap=_SHARE, vmin=0, vmax=100, origin="lower",
        extent=(0.5, PERIODS + 0.5, 0.5, len(share) + 0.5),
    )  # fmt: skip
    _periods(ax, "unit")
    ax.set_yticks(range(1, len(share) + 1))
    ax.grid(visible=False)
    bar = ax.figure.colorbar(shown, ax=ax, pad=0.03, fraction=0.06, aspect=25)
    bar.ax.set_title("days, %", fontsize="small", loc="center", pad=3)
    bar.outline.set_visible(False)


def _adjustment_change(ax: Axes, study: Study) -> None:
    for name, played, dash in (
        ("with inertia", study.played, "-"),
        ("without", study.stiff, "--"),
    ):
        before = np.pad(played.adjustment[:, :-1], ((0, 0), (1, 0)))
        step = 100 * np.abs(played.adjustment - before).mean(0)
        ax.plot(_PERIOD, step, dash, color=COLOUR["demand"], marker="o", markersize=2, label=name)
    _periods(ax, "|step of the change|, %")
    ax.set_ylim(0, None)


def _response(ax: Axes, study: Study) -> None:
    asked = 40 * study.played.load
    ax.plot(_PERIOD, asked.mean(0), "--", color=COLOUR["neutral"], label="asked for")
    _spread(ax, 100 * study.played.adjustment, COLOUR["demand"], "came")
    ax.axhline(0, color="black", linewidth=0.6)
    _periods(ax, "change of load, %")


def _inertia(ax: Axes, study: Study) -> None:
    ax.plot(study.kappa, study.kappa_hat, ".", color=COLOUR["demand"], markersize=2, alpha=0.5)
    ends = [study.kappa.min(), study.kappa.max()]
    ax.plot(ends, ends, color="black", linewidth=0.6, label="equal")
    ax.set(xlabel="inertia of the customers", ylabel="inertia in the actor", ylim=(0, 1))


def _volatility(ax: Axes, study: Study) -> None:
    for (shift, demand), dash in zip(study.demand.items(), ("-", "--", ":"), strict=False):
        ax.plot(_PERIOD, demand.std(0), dash, color=COLOUR["load"], label=shift)
    controlled = study.played.demand_kw.std(0)
    ax.plot(_PERIOD, controlled, ":", color=COLOUR["demand"], label="controlled")
    _periods(ax, "sd of the demand, kW")
    ax.set_ylim(0, None)


def _costs(ax: Axes, study: Study) -> None:
    y = np.arange(len(study.parts))[::-1]
    left = np.zeros(len(y))
    for part in COSTS:
        name, colour = _COST[part]
        values = study.parts[part].to_numpy()
        ax.barh(y, values, left=left, color=colour, label=name, height=0.45, align="edge")
        left += values
    # Names stand inside, over their bars, where they need no margin.
    ax.set_yticks([])
    for at, name in zip(y, study.parts.index, strict=True):
        ax.text(0, at + 0.45, name, fontsize="small", va="bottom", ha="left")
    ax.set_ylim(-0.5, len(y))
    ax.set_xlabel("cost of a day, thousands")
    ax.grid(axis="y", visible=False)


def _shifts(ax: Axes, study: Study) -> None:
    names = list(study.shifted["policy"].unique())
    at = {shift: i for i, shift in enumerate(SHIFTS)}
    own = study.shifted[study.shifted["metric"].eq("reward") & study.shifted["shift"].isin(at)]
    for k, policy in enumerate(names):
        part = own[own["policy"].eq(policy)]
        x = part["shift"].map(at) + 0.1 * (k - (len(names) - 1) / 2)
        line = look(policy, names) | {"linewidth": 0.8, "markersize": 2.5}
        ax.vlines(x, part["low"], part["high"], color=line["color"], linewidth=0.8)
        ax.plot(x, part["mean"], label=policy, **line)
    ax.set_xticks(range(len(at)), [s.replace("sigma", "σ").replace("x", "×") for s in at])
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_ylabel("reward of a day")


def _calibration(ax: Axes, study: Study) -> None:
    world_model.calibration(ax, study.levels)
    for line in ax.get_lines():
        line.set_markersize(2)
    ax.set_ylabel("came below, points")


POLICIES, OWN, NONE = "policies", "own", "none"  # what legend a panel has
Panel = tuple[str, str, str, Callable[[Axes, Study], None]]
PANELS: tuple[Panel, ...] = (
    ("reward", "reward", POLICIES, _over_training("reward", "reward of a day")),
    ("balance", "balance rate", POLICIES, _over_training("balanced", "periods within 1 kW, %")),
    ("adjustment", "load adjustment", POLICIES, _over_training("adjustment", "mean |change|, %")),
    ("comfort", "comfort violations", POLICIES, _over_training("comfort", "periods per day")),
    ("losses", "losses", POLICIES, _over_training("loss", "critic loss")),
    ("generation", "generation and demand", OWN, _generation),
    ("price", "price probability and load", OWN, _price),
    ("demand_change", "demand change", OWN, _change),
    ("units", "units on and off", NONE, _units),
    ("adjustment_change", "change of the adjustment", OWN, _adjustment_change),
    ("response", "demand response", OWN, _response),
    ("inertia", "inertia", OWN, _inertia),
    ("volatility", "demand volatility", OWN, _volatility),
    ("costs", "cost breakdown", OWN, _costs),
    ("shifts", "reward over shifts", POLICIES, _shifts),
    ("calibration", "model calibration", OWN, _calibration),
)
"""Name of the file, title, kind of legend, and drawing of each panel."""


def panel(study: Study, number: int) -> Figure:
    """Draw one of the sixteen panels, 1 .. 16, alone."""
    _, title, legend, draw = PANELS[number - 1]
    fig, ax = plt.subplots(figsize=(COLUMN, 2.5))
    draw(ax, study)
    ax.set_title(title)
    handles, labels = ax.get_legend_handles_labels()
    if legend != NONE:
        columns = 2 if legend == POLICIES else min(4, len(labels))
        fig.legend(handles, labels, loc="outside upper center", ncols=columns)
    return fig


def save_each(study: Study) -> None:
    """Write every panel alone as `figures/14_panel_NN_name`."""
    for number, (name, *_) in enumerate(PANELS, 1):
        fig = panel(study, number)
        figures.save(fig, f"14_panel_{number:02}_{name}")
        plt.close(fig)


def every_panel(study: Study) -> Figure:
    """Draw all sixteen panels on one page, with the policies named once at the top."""
    small: Any = {
        "font.size": _SMALL,
        "axes.labelsize": _SMALL,
        "xtick.labelsize": _SMALL,
        "ytick.labelsize": _SMALL,
        "axes.labelpad": 1.5,
        "xtick.major.pad": 1.5,
        "ytick.major.pad": 1.5,
        "xtick.major.size": 2,
        "ytick.major.size": 2,
        "lines.linewidth": 0.9,
        "lines.markersize": 2.5,
    }
    with plt.rc_context(small):
        fig, axes = plt.subplots(4, 4, figsize=(FULL, 8.2))
        named: dict[str, Any] = {}
        for i, (ax, (_, title, legend, draw)) in enumerate(zip(axes.flat, PANELS, strict=True)):
            draw(ax, study)
            handles, labels = ax.get_legend_handles_labels()
            if legend == POLICIES:
                named |= dict(zip(labels, handles, strict=True))
            elif legend == OWN:
                _above(ax, handles, labels)
            ax.set_title(f"{i + 1}  {title}", fontsize=7, pad=16)
        fig.legend(
            list(named.values()), list(named), loc="outside upper center", ncols=4, fontsize=6.5
        )
    return fig


def _above(ax: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    columns = len(labels) if len(labels) < 4 else (len(labels) + 1) // 2
    named = ax.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=columns,
        fontsize=_SMALL - 0.5, borderaxespad=0.1, handlelength=1.2, handletextpad=0.3,
        columnspacing=0.7, labelspacing=0.15, borderpad=0.1,
    )  # fmt: skip
    named.set_in_layout(False)  # the title's distance has room for it
