"""Figures of the power-flow validation: the paper's Fig. 9, errors, and the way to the nose."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray

from griddispatch.reporting.figures import COLUMN, FULL
from griddispatch.reporting.palette import COLOUR

Float = NDArray[np.float64]
_DASHES = ("-", "--", "-.", ":")
_SMALLEST = 1e-9  # %, below which an error is rounding


def error_distribution(errors: Mapping[int, Float], claimed: float) -> Figure:
    """Draw the share of node voltages with a larger error, for errors in % per network.

    `claimed` is the mean error in % that a paper claims; a line marks it.
    """
    fig, ax = plt.subplots(figsize=(COLUMN, 2.2))
    for dash, (nodes, error) in zip(_DASHES, errors.items(), strict=False):
        ordered = np.maximum(np.sort(error, axis=None), _SMALLEST)
        share = np.linspace(1, 0, ordered.size, endpoint=False)
        ax.plot(ordered, share, linestyle=dash, color=COLOUR["Sweep"], label=f"{nodes} nodes")
    ax.axvline(claimed, color=COLOUR["published"])
    ax.text(0.8 * claimed, 0.5, "claimed mean", ha="right", color=COLOUR["published"])
    ax.set(xscale="log", xlim=(_SMALLEST, 4 * claimed))
    ax.set(xlabel="voltage error, %", ylabel="share of larger errors")
    ax.legend(loc="lower left")
    return fig


def voltage_comparison(
    nodes: NDArray[np.int64], cases: Mapping[str, tuple[Float, Float]], limit: float
) -> Figure:
    """Draw voltages by node and how far they are from the reference (the paper's Fig. 9).

    `cases` has (ours, reference) [N] in p.u. by name; the difference is in % of the reference.
    """
    fig, (top, bottom) = plt.subplots(
        2, 1, figsize=(COLUMN, 3.0), sharex=True, height_ratios=[2, 1]
    )
    frame = {"mfc": "none", "mew": 0.7, "color": COLOUR["pandapower"], "linestyle": "none"}
    looks = zip(cases.items(), ("o", "D"), (COLOUR["Sweep"], COLOUR["net"]), strict=False)
    top.plot([], [], "o", markersize=5, label="Newton-Raphson", **frame)
    for (name, (ours, reference)), mark, colour in looks:
        top.plot(nodes, reference, marker=mark, markersize=5 if mark == "o" else 4, **frame)
        look = {"marker": mark, "markersize": 2, "color": colour, "linestyle": "none"}
        top.plot(nodes, ours, label=name, **look)
        bottom.plot(nodes, 1e6 * 100 * (ours / reference - 1), **look)
    top.axhline(limit, color=COLOUR["limit"], linewidth=0.8)
    top.set_ylabel("voltage, p.u.")
    top.legend(loc="upper right", handletextpad=0.2)
    bottom.set(xlabel="node", ylabel="difference\n$10^{-6}$ %", xticks=[1, *range(5, 35, 5), 34])
    return fig


def loading_curves(curves: pd.DataFrame, limit: float) -> Figure:
    """Draw lowest voltage and iterations over the multiple of a load, one line per network.

    `curves` has the columns network, factor, v_min, iterations.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(FULL, 2.3))
    for dash, (nodes, curve) in zip(_DASHES, curves.groupby("network"), strict=False):
        look = {"linestyle": dash, "color": COLOUR["Sweep"], "label": f"{nodes} nodes"}
        left.plot(curve["factor"], curve["v_min"], **look)
        right.plot(curve["factor"], curve["iterations"], **look)
    left.axhline(limit, color=COLOUR["limit"], linewidth=0.8)
    left.set(xlabel="multiple of the load", ylabel="lowest voltage, p.u.", ylim=(0.35, 1.02))
    right.set(xlabel="multiple of the load", ylabel="iterations", yscale="log")
    right.set_yticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
    right.minorticks_off()
    left.legend(loc="lower left")
    return fig
