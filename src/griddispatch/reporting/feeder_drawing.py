"""A radial feeder drawn as its one-line diagram: trunk along the middle, laterals on both sides.

The column of a node is its distance from the slack node in branches; its row comes from a tidy-tree
placement with contours (in the spirit of Reingold and Tilford, "Tidier Drawings of Trees", IEEE
Trans. Software Eng. SE-7(2), 1981). Branches join neighbouring columns only and the order of
subtrees is the same in every column, so that no two branches cross, whatever the tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from numpy.typing import ArrayLike, NDArray

from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.reporting.figures import FULL
from griddispatch.reporting.palette import COLOUR

Float = NDArray[np.float64]

# Low voltages orange, nominal pale, high voltages blue: apart for every kind of colour vision.
VOLTAGE_MAP = LinearSegmentedColormap.from_list(
    "voltage", ["#8C2D04", "#E67E22", "#F7F0E6", "#5BA3D9", "#08306B"], bad=COLOUR["grid"]
)


@dataclass
class _Placed:
    """A subtree whose root stands at (0, 0). Keys are columns of the network."""

    rows: dict[int, int]
    columns: dict[int, int]
    # The outline: the highest and the lowest row in each column from the root on.
    top: list[int]
    bottom: list[int]


def tree_layout(network: Network) -> Float:
    """Places [N, 2] of the nodes: branches from the slack node (x) and row (y, 0 = trunk).

    The trunk is the longest path from the slack node. Each lateral goes to the side where it
    reaches less far out, to the emptier side where both are equal.

    Raises
    ------
    InputError
        The network has a loop.
    """
    order, parent, _ = network.tree
    children: dict[int, list[int]] = {int(i): [] for i in order}
    for place in range(1, len(order)):
        children[int(order[parent[place]])].append(int(order[place]))
    depth = dict.fromkeys(children, 0)  # branches below a node
    placed: dict[int, _Placed] = {}
    for node in map(int, order[::-1]):
        ways = sorted(children[node], key=lambda c: -depth[c])
        depth[node] = 1 + depth[ways[0]] if ways else 0
        placed[node] = _join(node, [placed.pop(c) for c in ways])
    whole = placed[int(network.slack)]
    return np.array(
        [[whole.columns[i], whole.rows[i]] for i in range(network.n_nodes)], dtype=np.float64
    )


def branch_routes(network: Network, place: Float, knee: float = 0.3) -> Float:
    """Polylines [E, 3, 2] of the branches, each from its end nearer to the slack node.

    A branch leaves its node straight and runs level for the last `knee` columns. At each x its
    row is the same mixture of the rows of its two ends as for every other branch between these
    columns: branches in order at both ends are in order all the way, so none cross. No
    branch comes nearer than `knee` (<= 0.5) to a node that it does not join.
    """
    ends = place[np.column_stack([network.from_bus, network.to_bus])]
    ends = np.take_along_axis(ends, ends[:, :, :1].argsort(axis=1), axis=1)
    return np.stack([ends[:, 0], ends[:, 1] - (knee, 0.0), ends[:, 1]], axis=1)


def draw_feeder(
    network: Network,
    ax: Axes | None = None,
    *,
    batteries: Iterable[int] = (),
    voltage: ArrayLike | None = None,
    limits: tuple[float, float] = (0.95, 1.05),
    width: float = FULL,
) -> Axes:
    """Draw a radial feeder: numbered nodes, branches, the slack node and the batteries.

    Parameters
    ----------
    network
        A radial network.
    ax
        Where to draw; without it a figure of the given width and a fitting height is made.
    batteries
        Node numbers; they are drawn as squares.
    voltage
        Magnitudes [N] in p.u., by column of the network; adds colours and a colour bar.
    limits
        The voltages at the two ends of the colour bar, in p.u.; values outside have the colour of
        the nearer end.
    width
        Of the new figure, in inches.

    Returns
    -------
    Axes
        Its `figure` goes to `figures.save`.

    Raises
    ------
    InputError
        The network has a loop, a battery stands at no node, or `voltage` has another length than
        the network.
    """
    place = tree_layout(network)
    holds_battery = np.zeros(network.n_nodes, dtype=bool)
    holds_battery[[network.position(b) for b in batteries]] = True
    if ax is None:
        rows = float(np.ptp(place[:, 1]))
        height = 0.34 * rows + (1.0 if voltage is None else 1.15)
        _, ax = plt.subplots(figsize=(width, height))
    size, knee = _fit(ax, place)
    routes = branch_routes(network, place, knee)
    ax.add_collection(LineCollection(list(routes), colors=COLOUR["neutral"], linewidths=1.0))
    handles = _draw_nodes(
        ax, network, place, size, holds_battery, _fill(network, holds_battery, voltage, limits)
    )
    _frame(ax, place)
    if voltage is None:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
    else:
        _colour_bar(ax, limits)
    return ax


def _draw_nodes(
    ax: Axes,
    network: Network,
    place: Float,
    size: float,
    holds_battery: NDArray[np.bool_],
    fill: Float,
) -> list[PathCollection]:
    """Draw shapes and numbers; return the shapes that want a line in the legend."""
    is_slack = np.arange(network.n_nodes) == network.slack
    handles = []
    for label, shape, chosen in (
        ("node", "o", ~holds_battery & ~is_slack),
        ("slack node", "D", is_slack & ~holds_battery),
        ("battery", "s", holds_battery),
    ):
        drawn = ax.scatter(
            place[chosen, 0],
            place[chosen, 1],
            s=(size * (0.85 if shape == "D" else 1.0)) ** 2,
            marker=shape,
            c=fill[chosen],
            edgecolors="black",
            linewidths=1.2 if shape == "s" else 0.6,
            label=label,
            zorder=2,
        )
        if chosen.any() and shape != "o":
            handles.append(drawn)
    for (x, y), number, colour in zip(place, network.nodes, fill, strict=True):
        text = str(number)
        ax.text(
            x,
            y,
            text,
            ha="center",
            va="center_baseline",
            fontsize=size * min(0.62, 1.38 / len(text)),
            color=_readable_on(colour),
            zorder=3,
        )
    return handles


def _join(node: int, ways: list[_Placed]) -> _Placed:
    """Put a node before its deepest subtree and hang the other subtrees above and below it."""
    whole = _Placed({node: 0}, {node: 0}, [0], [0])
    for number, way in enumerate(ways):
        shift = 0
        if number > 0:
            up = 1 + max(t - b for t, b in zip(whole.top[1:], way.bottom, strict=False))
            down = -1 + min(b - t for b, t in zip(whole.bottom[1:], way.top, strict=False))
            above, below = (sum(sign * r > 0 for r in whole.rows.values()) for sign in (1, -1))
            up_is_nearer = (max(way.top) + up, above) <= (-min(way.bottom) - down, below)
            shift = up if up_is_nearer else down
        _hang(whole, way, shift)
        # A branch over several rows keeps them free of nodes of earlier laterals.
        whole.top[0] = max(whole.top[0], shift - 1)
        whole.bottom[0] = min(whole.bottom[0], shift + 1)
    return whole


def _hang(whole: _Placed, way: _Placed, shift: int) -> None:
    whole.rows.update({i: r + shift for i, r in way.rows.items()})
    whole.columns.update({i: c + 1 for i, c in way.columns.items()})
    for distance, (top, bottom) in enumerate(zip(way.top, way.bottom, strict=True), start=1):
        if distance == len(whole.top):
            whole.top.append(top + shift)
            whole.bottom.append(bottom + shift)
        else:
            whole.top[distance] = max(whole.top[distance], top + shift)
            whole.bottom[distance] = min(whole.bottom[distance], bottom + shift)


def _fill(
    network: Network,
    battery: NDArray[np.bool_],
    voltage: ArrayLike | None,
    limits: tuple[float, float],
) -> Float:
    """Colours [N, 4] of the nodes."""
    if voltage is not None:
        value = np.asarray(voltage, dtype=np.float64)
        if value.shape != (network.n_nodes,):
            raise InputError(
                f"voltage has shape {value.shape}; network {network.name} needs one value for "
                f"each of its {network.n_nodes} nodes, in the order of network.nodes"
            )
        return np.asarray(VOLTAGE_MAP(Normalize(*limits, clip=True)(value)))
    colours = np.tile(to_rgba("white"), (network.n_nodes, 1))
    colours[battery] = to_rgba(COLOUR["battery"])
    colours[network.slack] = to_rgba("black")
    return colours


def _fit(ax: Axes, place: Float) -> tuple[float, float]:
    """Diameter of a node in points, and the knee that keeps branches clear of nodes."""
    box = ax.get_window_extent()
    points = np.array([box.width, box.height]) * 72 / ax.figure.dpi
    column, row = points / (np.ptp(place, axis=0) + np.array([1.0, 1.4]))
    size = min(0.66 * column, 0.66 * row, 11.0)
    return float(size), float((size / 2 + 1) / column)


def _readable_on(colour: Float) -> str:
    """Black or white, whichever has more contrast (relative luminance of WCAG 2, simplified)."""
    luminance = float(np.dot(colour[:3] ** 2.2, (0.2126, 0.7152, 0.0722)))
    return "white" if luminance < 0.18 else "black"


def _frame(ax: Axes, place: Float) -> None:
    ax.set_axis_off()
    (left, low), (right, high) = place.min(axis=0), place.max(axis=0)
    ax.set_xlim(left - 0.5, right + 0.5)
    ax.set_ylim(low - 0.7, high + 0.7)


def _colour_bar(ax: Axes, limits: tuple[float, float]) -> None:
    bar = ax.figure.colorbar(
        ScalarMappable(Normalize(*limits), VOLTAGE_MAP),
        ax=ax,
        orientation="horizontal",
        shrink=0.5,
        aspect=40,
        pad=0.02,
        extend="both",
    )
    bar.set_label("voltage (p.u.)")
