"""Figures and tables of the supply-load game."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray

from griddispatch.agents import maddpg
from griddispatch.envs.supply_load_game import HIGH, SupplyLoadGame
from griddispatch.errors import InputError
from griddispatch.evaluation.exploitability import gains
from griddispatch.optimization.game_equilibrium import Equilibrium
from griddispatch.reporting import figures
from griddispatch.reporting.figures import COLUMN
from griddispatch.reporting.palette import COLOUR
from griddispatch.reporting.tables import Column, write_table

Float = NDArray[np.float64]

REACH = 0.003  # exploitability per period that counts as an equilibrium
_SMALLEST = 1e-6  # where the logarithmic axis begins


def draw_exploitability(curves: Mapping[str, pd.DataFrame], reach: float = REACH) -> Figure:
    """Draw exploitability over training: a thin line per seed, a thick one for their median.

    Parameters
    ----------
    curves
        Frames of `exploitability.over_training`, keyed by the learner: `maddpg.NAME` and others.
    reach
        Where a strategy counts as near equilibrium, in the unit of prices.

    Raises
    ------
    InputError
        There is no curve.
    """
    if not curves:
        raise InputError("draw_exploitability: give one or more curves")
    fig, ax = plt.subplots(figsize=(COLUMN, 2.4))
    drawn = []
    for name, curve in curves.items():
        table = curve.pivot(index="round", columns="seed", values="exploitability")
        table = table.clip(lower=_SMALLEST)
        colour = COLOUR.get(name, COLOUR["neutral"])
        ax.plot(table.index, table, color=colour, linewidth=0.5, alpha=0.5)
        drawn += ax.plot(table.index, table.median(axis=1), color=colour, linewidth=1.6, label=name)
    last = max(int(curve["round"].max()) for curve in curves.values())
    drawn += ax.plot(
        [0, last], [reach] * 2, color=COLOUR["limit"], linestyle="--", linewidth=0.8, label="aim"
    )
    ax.set(yscale="log", xlabel="rounds", ylabel="exploitability per period")
    ax.set_xlim(0, last)
    figures.label_ends(ax, drawn)
    return fig


def draw_high_price(
    probability: Mapping[str, pd.DataFrame],
    equilibria: Sequence[Equilibrium],
    chosen: Equilibrium,
    corner: Float,
) -> Figure:
    """Draw p_H over the periods: learners, every equilibrium, and the corner of the printed game.

    Parameters
    ----------
    probability
        Frames of `exploitability.high_price`, keyed by the learner.
    equilibria
        All that are known, per period, as of `game_equilibrium.equilibria`.
    chosen
        The one of `game_equilibrium.principal`.
    corner
        [T] the probability of the printed game in its corner p_H = 1.
    """
    fig, ax = plt.subplots(figsize=(COLUMN, 2.6))
    period = np.arange(len(equilibria))
    ax.plot(period, corner, color=COLOUR["published"], linestyle="--", label="as printed, corner")
    for name, frame in probability.items():
        figures.band(ax, frame["period"], frame["mean"], frame["low"], frame["high"], name)
    found = np.concatenate([e.supply[:, HIGH] for e in equilibria])
    where = np.repeat(period, [len(e.supply) for e in equilibria])
    dots: dict[str, Any] = {"color": "black", "linestyle": "none", "marker": "o"}
    ax.plot(where, found, **dots, markerfacecolor="white", label="every equilibrium")
    ax.plot(period, chosen.supply[:, HIGH], **dots, label="its logit branch")
    ax.set(xlabel="period", ylabel="daily probability of the high price", ylim=(0, 1.02))
    ax.set_xticks(period, [str(t + 1) for t in period])
    fig.legend(loc="outside upper center", ncols=2)
    return fig


def strategies(
    game: SupplyLoadGame, training: maddpg.GameTraining, chosen: Equilibrium
) -> pd.DataFrame:
    """Per period: what MADDPG reached (mean, range over seeds), the equilibrium, exploitability.

    Columns: period (from 1), learned, learned_low, learned_high, equilibrium, difference (the
    largest of a seed), exploitability (mean over seeds), worst (seed). p_H throughout.
    """
    reached = training.supply[-1][..., HIGH]
    direct = chosen.supply[:, HIGH]
    left = gains(game, training.supply[-1], training.load[-1]).exploitability
    return pd.DataFrame(
        {
            "period": np.arange(1, game.periods + 1),
            "learned": reached.mean(0),
            "learned_low": reached.min(0),
            "learned_high": reached.max(0),
            "equilibrium": direct,
            "difference": np.abs(reached - direct).max(0),
            "exploitability": left.mean(0),
            "worst": left.max(0),
        }
    )


def write_strategies(frame: pd.DataFrame, name: str, caption: str) -> None:
    """Write `strategies` as a table; the interval is the range over seeds."""
    columns = {
        "period": Column("Period", digits=0),
        "learned": Column("MADDPG", digits=2, interval=("learned_low", "learned_high")),
        "equilibrium": Column("Equilibrium", digits=2),
        "difference": Column("Largest difference", digits=2),
        "exploitability": Column("Exploitability", "1/1000", digits=2, scale=1000),
        "worst": Column("Worst seed", "1/1000", digits=2, scale=1000),
    }
    write_table(frame, name, caption, columns)


def known_equilibria(
    game: SupplyLoadGame, found: Mapping[str, tuple[Float, Float]]
) -> pd.DataFrame:
    """Strategies of one period, repeated in all, with their payoffs and exploitability.

    Parameters
    ----------
    game
        A game; only its first period is told.
    found
        Pairs (p, q) of [J] strategies by name, as `mixed_equilibria` gives them, or the end of a
        training.
    """
    rows = []
    first = game.at([0])
    for name, (p, q) in found.items():
        p, q = first.check("supply", np.array([p])), first.check("load", np.array([q]))
        supply, load = first.utilities(p, q)
        rows.append(
            {
                "strategies": name,
                "p_high": float(p[0, HIGH]),
                "q_high": float(q[0, HIGH]),
                "supply": float(supply[0]),
                "load": float(load[0]),
                "exploitability": float(gains(first, p, q).exploitability[0]),
            }
        )
    return pd.DataFrame(rows)
