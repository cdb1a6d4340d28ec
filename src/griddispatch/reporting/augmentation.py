"""Figures of the data augmentation: measured days against generated ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from griddispatch.data.augmentation import Model
from griddispatch.data.series import Days
from griddispatch.reporting.figures import FULL
from griddispatch.reporting.palette import COLOUR

Array = NDArray[np.float64]

MEASURED, GENERATED, INDEPENDENT = COLOUR["load"], COLOUR["net"], COLOUR["accent"]
_BAND = (5, 95)  # %


def profiles(measured: Days, generated: Days, nodes: Sequence[int]) -> Figure:
    """Draw loads of some nodes, the PV of the feeder and the price over the day (Fig. 6).

    Lines are medians, bands reach from the 5th to the 95th percentile of the days.
    """
    rows = -(-(len(nodes) + 2) // 3)
    fig, axes = plt.subplots(rows, 3, figsize=(FULL, 1.55 * rows + 0.3), sharex=True, squeeze=False)
    panels: list[tuple[str, Array, Array]] = []
    for node in nodes:
        real, new = (d.load[:, :, d.nodes.index(node)] for d in (measured, generated))
        panels.append((f"load of node {node}, kW", real, new))
    panels.append(("PV of the feeder, kW", measured.pv.sum(2), generated.pv.sum(2)))
    panels.append(("price, EUR/MWh", measured.price, generated.price))
    hour = np.arange(measured.price.shape[1]) * measured.step_hours
    for ax, (title, real, new) in zip(axes.flat, panels, strict=False):
        for values, colour, style in ((real, MEASURED, "-"), (new, GENERATED, (0, (4, 1.2)))):
            low, high = np.percentile(values, _BAND, axis=0)
            ax.plot(hour, np.median(values, axis=0), color=colour, linestyle=style)
            ax.fill_between(hour, low, high, color=colour, alpha=0.16, linewidth=0)
            ax.plot(hour, low, hour, high, color=colour, linestyle=style, linewidth=0.5)
        ax.set(title=title, xlim=(0, 24), xticks=range(0, 25, 6))
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("hour (UTC)")
    _legend(fig, {"measured": MEASURED, "generated": GENERATED})
    return fig


def marginals(
    model: Model, generated: Days, picks: Sequence[tuple[str, int | None, int]]
) -> Figure:
    """Draw histograms and the mixture of chosen columns (Fig. 7).

    A pick is (quantity, node, step): quantity is "load", "pv" or "price", the node None for PV
    (that of the profile's largest node) and the price.
    """
    rows = -(-len(picks) // 3)
    fig, axes = plt.subplots(rows, 3, figsize=(FULL, 1.6 * rows + 0.3), squeeze=False)
    for ax, pick in zip(axes.flat, picks, strict=False):
        real, new, column = _column(model, generated, *pick)
        low, high = np.percentile(new, (0.2, 99.8))
        edges = np.linspace(min(real.min(), low), max(real.max(), high), 25)
        ax.hist(real, edges, density=True, color=MEASURED, alpha=0.35)
        ax.hist(new, edges, density=True, histtype="step", color=GENERATED)
        x = np.linspace(edges[0], edges[-1], 400)
        ax.plot(x, model.marginals.density(column, x), color=INDEPENDENT, linewidth=0.9)
        quantity, node, step = pick
        at = step * model.days.step_hours
        name = {"load": f"node {node}", "pv": "PV", "price": "price"}[quantity]
        unit = "EUR/MWh" if quantity == "price" else "kW"
        number = int(model.marginals.components[column])
        ax.set(title=f"{name}, {int(at):02d}:{round(at % 1 * 60):02d} (K = {number})", xlabel=unit)
        ax.set_yticks([])
    for ax in axes[:, 0]:
        ax.set_ylabel("density")
    for ax in axes.flat[len(picks) :]:
        ax.set_visible(False)
    _legend(fig, {"measured": MEASURED, "generated": GENERATED, "mixture": INDEPENDENT})
    return fig


def correlations(node: Mapping[str, Array], time: Mapping[str, Array]) -> Figure:
    """Draw correlations between nodes [N, N] and between steps [S, S], a column per name."""
    fig, axes = plt.subplots(2, len(node), figsize=(FULL, 4.5), squeeze=False)
    image = None
    for column, name in enumerate(node):
        look = {"vmin": 0.0, "vmax": 1.0, "cmap": "viridis", "origin": "lower"}
        nodes = len(node[name])
        axes[0, column].imshow(node[name], extent=(0.5, nodes + 0.5) * 2, **look)
        image = axes[1, column].imshow(time[name], extent=(0, 24) * 2, **look)
        axes[0, column].set(title=name, xlabel="node")
        axes[1, column].set(xlabel="hour (UTC)", xticks=range(0, 25, 6), yticks=range(0, 25, 6))
    for ax in axes.flat:
        ax.grid(visible=False)
    axes[0, 0].set_ylabel("node")
    axes[1, 0].set_ylabel("hour (UTC)")
    if image is not None:
        fig.colorbar(image, ax=axes, label="correlation of loads", shrink=0.6, extend="min")
    return fig


def quantiles(
    measured: Mapping[str, Array], generated: Mapping[str, Mapping[str, Array]]
) -> Figure:
    """Draw quantiles of daily quantities against those of the measured days.

    `measured` has the label of a panel and its values [D]; `generated` the same by method. On the
    diagonal the distributions are equal; the marks are 1 % to 99 %.
    """
    fig, axes = plt.subplots(1, len(measured), figsize=(FULL, 2.5), squeeze=False)
    share = np.concatenate([[1, 2.5], np.arange(5, 100, 5), [97.5, 99]])
    looks = ((GENERATED, "o"), (INDEPENDENT, "D"), (COLOUR["published"], "^"))
    for ax, (label, values) in zip(axes.flat, measured.items(), strict=True):
        x = np.percentile(values, share)
        for (name, sample), (colour, mark) in zip(generated.items(), looks, strict=False):
            y = np.percentile(sample[label], share)
            ax.plot(x, y, mark, color=colour, markersize=3, mfc="none", label=name)
        ax.axline((float(x[0]), float(x[0])), slope=1, color="black", linewidth=0.6)
        ax.set(title=label, xlabel="measured")
    axes[0, 0].set_ylabel("generated")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def _column(
    model: Model, generated: Days, quantity: str, node: int | None, step: int
) -> tuple[Array, Array, int]:
    """Return measured and generated values of one cell, and its column among the marginals."""
    block, place = model.block(quantity)
    channel = block.labels.index(node) if node is not None else 0
    if quantity == "price":
        cell = int(model.price_column[len(model.price_column) // 2 + step])
        new = generated.price[:, step]
    elif quantity == "pv":
        cell = step
        new = generated.pv[:, :, generated.nodes.index(block.labels[channel])][:, step]
    else:
        cell = step
        new = generated.load[:, step, channel]
    number = int(block.present.ravel()[: channel * block.present.shape[1] + cell].sum())
    return block.values[:, channel, cell], new, place.start + number


def _legend(fig: Figure, colours: Mapping[str, str]) -> None:
    """Name colours below the panels."""
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
