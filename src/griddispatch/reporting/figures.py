"""One look for every figure: sizes, colours, labels, intervals and files that never change.

A figure is drawn at the size at which it is printed (`COLUMN` or `FULL` wide, in inches), so that
8 pt here are 8 pt on paper. A name of `COLOUR` (an algorithm, a rule, a solver, a quantity) has the
same colour in every figure; names that share a figure stay apart for readers with protanopia
or deuteranopia too, and lines carry a marker or a dash pattern beside their colour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from numpy.typing import ArrayLike, NDArray

from griddispatch.errors import InputError
from griddispatch.pipeline import paths
from griddispatch.reporting.palette import COLOUR, LINE

# Sizes, in inches: one column and the full width of the paper.
COLUMN = 3.4
FULL = 7.0

MINUS = "\N{MINUS SIGN}"

DPI = 220  # of the PNG, which is for README and notebooks; the paper takes the SVG

_RC: Any = {  # keys are matplotlib's
    # text: matplotlib's own font, stored as outlines, looks the same on every machine
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",
    "svg.hashsalt": "griddispatch",
    # page
    "figure.figsize": (COLUMN, 2.2),
    "figure.constrained_layout.use": True,
    "savefig.bbox": None,
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
    # axes: only what carries meaning
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": COLOUR["grid"],
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    # data
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.prop_cycle": cycler(color=[COLOUR[n] for n in ("TD3", "PPO", "SAC", "Pathwise")]),
}


def style() -> None:
    """Set matplotlib's defaults for every figure of the project. Call it once per notebook."""
    mpl.rcParams.update(_RC)


def save(fig: Figure, name: str) -> Path:
    """Write `figures/<name>.svg` and `figures/<name>.png`; return the path of the SVG.

    The bytes depend on the drawing alone: no date, no version, no random ids. Where the files
    go is decided by `griddispatch.pipeline.paths`: a stage publishes them, a trial run by hand
    keeps them in `scratch/`.

    Raises
    ------
    InputError
        The name holds anything but letters, digits, `_` and `-`.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(
            f"figure name {name!r}: use letters, digits, _ and - only; the folder and the "
            "endings are added"
        )
    svg, png = paths.figures(f"{name}.svg"), paths.figures(f"{name}.png")
    # The salt is set here as well, for a figure that was drawn without `style()`.
    with mpl.rc_context({k: _RC[k] for k in ("svg.hashsalt", "svg.fonttype", "savefig.bbox")}):
        fig.savefig(svg, metadata={"Date": None, "Creator": None})
        fig.savefig(png, dpi=DPI, metadata={"Software": None})
    return svg


def band(
    ax: Axes, x: ArrayLike, mean: ArrayLike, low: ArrayLike, high: ArrayLike, name: str, **line: Any
) -> Line2D:
    """Draw a mean and its interval over x, in the colour of `name`; all arrays are [T].

    The interval is a pale band of the same colour. `line` goes to `Axes.plot`. The returned line
    carries `name` as its label, for a legend or for `label_ends`.
    """
    colour = COLOUR.get(name, COLOUR["neutral"])
    drawing = {"color": colour, "linestyle": LINE.get(name, "-"), "label": name, **line}
    ax.fill_between(x, low, high, color=drawing["color"], alpha=0.18, linewidth=0)
    (drawn,) = ax.plot(x, mean, **drawing)
    return drawn


def bars(ax: Axes, frame: pd.DataFrame, *, form: str = "{:.1f}") -> None:
    """Draw horizontal bars with intervals, one per row of `frame`, first row on top.

    `frame` has the columns name, mean, low, high; NaN bounds leave the bar without an interval. The
    value is printed beside each bar with `form`, so that nobody has to read it off the axis.
    """
    row = np.arange(len(frame))
    mean = frame["mean"].to_numpy(np.float64)
    low = frame["low"].fillna(frame["mean"]).to_numpy(np.float64)
    high = frame["high"].fillna(frame["mean"]).to_numpy(np.float64)
    colours = [COLOUR.get(name, COLOUR["neutral"]) for name in frame["name"]]
    ax.barh(row, mean, color=colours, height=0.66)
    ax.hlines(row, low, high, color="white", linewidth=2.2)
    ax.hlines(row, low, high, color="black", linewidth=0.8)
    for r in row:
        # Right of the bar, and of zero for a bar to the left: clear of names and bars alike.
        ax.annotate(
            form.format(mean[r]).replace("-", MINUS),
            (max(mean[r], high[r], 0.0), r),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    ax.axvline(0, color="black", linewidth=0.6)
    ax.set_yticks(row, list(frame["name"]))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    ax.margins(x=0.12)


def label_ends(
    ax: Axes,
    lines: Sequence[Line2D] | None = None,
    text: Mapping[str, str] | None = None,
    *,
    size: float = 7,
) -> list[Annotation]:
    """Write each line's label at its right end, in its colour, so that no two labels overlap.

    Call it last: it lays the figure out to learn how tall the axes are. Lines default to every
    line of `ax` with a label; `text` replaces a label by another text. Where ends lie too close,
    labels move apart just as far as needed and a hairline leads back to the line. None goes below
    the axes, where the ticks have their names.
    """
    if lines is None:
        lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    if not lines:
        return []
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    box = ax.get_window_extent()
    ends = np.array([_last_point(line) for line in lines])
    height = 1.25 * size / 72 * ax.figure.dpi / box.height
    place = ax.transAxes.inverted().transform(ax.transData.transform(ends))
    y = spread(place[:, 1], height, lowest=height / 2)
    labels = []
    for line, end, at in zip(lines, ends, y, strict=True):
        label = str(line.get_label())
        labels.append(
            ax.annotate(
                (text or {}).get(label, label),
                xy=(end[0], end[1]),
                xytext=(1.035, at),
                textcoords="axes fraction",
                color=line.get_color(),
                fontsize=size,
                va="center",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": line.get_color(),
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": 1,
                    "relpos": (0, 0.5),
                },
            )
        )
    return labels


def spread(wanted: ArrayLike, gap: float, lowest: float = -np.inf) -> NDArray[np.float64]:
    """Positions at least `gap` apart, in the order of `wanted` and as near to it as possible.

    Least squares under order constraints: after subtracting `gap` times the rank the
    problem is isotonic regression, solved by pooling neighbours that violate the order. None lies
    below `lowest`: with a bound, the best means are the same ones, cut off at it.
    """
    target = np.asarray(wanted, dtype=np.float64)
    order = np.argsort(target, kind="stable")
    shift = gap * np.arange(len(target))
    pools: list[tuple[float, int]] = []  # (mean, size), means rising
    for value in target[order] - shift:
        mean, size = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, count = pools.pop()
            mean = (before * count + mean * size) / (count + size)
            size += count
        pools.append((mean, size))
    placed = np.empty_like(target)
    means = np.maximum([m for m, _ in pools], lowest)
    placed[order] = np.repeat(means, [n for _, n in pools]) + shift
    return placed


def _last_point(line: Line2D) -> tuple[float, float]:
    x = np.asarray(line.get_xdata(orig=False), dtype=np.float64)
    y = np.asarray(line.get_ydata(orig=False), dtype=np.float64)
    last = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not last.size:
        raise InputError(
            f"line {line.get_label()!r} has no finite point to label; leave it out of the figure"
        )
    return float(x[last[-1]]), float(y[last[-1]])
