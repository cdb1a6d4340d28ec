"""The picture of an answer: prices and net load, powers, states of charge, voltages, at once.

Its place on the page is fixed beforehand, because laying a figure out takes longer than drawing it,
and the panel draws one for each change.
"""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from griddispatch.envs.feeder import VOLTAGE_BAND
from griddispatch.reporting.figures import FULL, MINUS
from griddispatch.reporting.palette import COLOUR, LINE
from griddispatch.reporting.panel import Answer

Float = NDArray[np.float64]

_HEIGHT = 4.3  # inches
_PLACE = {"left": 0.058, "right": 0.985, "bottom": 0.09, "top": 0.85, "wspace": 0.2, "hspace": 0.24}
_NAMED = 6  # batteries; beyond that a legend of nodes says little
_TITLE = 1.0  # of the height of the axes
_DPI = 140  # of the panel's picture


def empty() -> Figure:
    """Return a figure that `draw` can fill, again and again. `figures.style` comes first."""
    fig = Figure(figsize=(FULL, _HEIGHT))
    fig.set_layout_engine("none")
    FigureCanvasAgg(fig)
    (market, charge), (power, voltage) = fig.subplots(2, 2, sharex=True, gridspec_kw=_PLACE)
    behind = market.twinx()
    # A place for each title: otherwise it is looked for at every drawing.
    grey = COLOUR["neutral"]
    market.set_title("price, EUR/MWh", y=_TITLE, color=COLOUR["price"])
    market.set_title("net load, MW", y=_TITLE, loc="right", color=COLOUR["load"])
    charge.set_title("state of charge, %", y=_TITLE)
    power.set_title("power of the batteries, kW", y=_TITLE)
    power.set_title("above 0: charging", y=_TITLE, loc="right", color=grey)
    voltage.set_title("voltage, p.u.", y=_TITLE)

    behind.tick_params(axis="y", labelcolor=COLOUR["load"])
    behind.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    behind.grid(visible=False)
    behind.spines[["right"]].set_visible(True)
    market.set_zorder(behind.get_zorder() + 1)
    market.patch.set_visible(False)
    market.set(xlim=(0, 24), xticks=range(0, 25, 4))
    charge.set_ylim(0, 100)
    voltage.set_yticks([1 - VOLTAGE_BAND, 1, 1 + VOLTAGE_BAND])
    for ax in (power, voltage):
        ax.set_xlabel("hour of the day (UTC)")
    return fig


def draw(fig: Figure, answer: Answer) -> Figure:
    """Draw an answer into a figure made by `empty`, in place of what is there."""
    for drawn in (*fig.texts, *fig.legends):
        drawn.remove()
    for ax in fig.axes:
        for artist in (*ax.lines, *ax.collections, *ax.patches):
            artist.remove()
    market, charge, power, voltage, behind = fig.axes
    feeder = answer.feeder
    hour = np.arange(feeder.steps + 1) * feeder.hours
    shades = list(plt.get_cmap("YlOrBr")(np.linspace(0.32, 0.85, feeder.n_actions)))

    _market(market, behind, hour, answer)
    _powers(power, hour, answer, shades)
    _charge(charge, hour, answer, shades)
    _voltages(voltage, hour, answer, shades)
    _headline(fig, answer)
    return fig


def png(fig: Figure) -> bytes:
    """Return the picture of a figure made by `empty`, quickly."""
    canvas = fig.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    fig.set_dpi(_DPI)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "png", compress_level=1)
    return stream.getvalue()


def _headline(fig: Figure, answer: Answer) -> None:
    """Say above the panels what is played, what it brings, and what the colours mean."""
    setting, numbers = answer.setting, answer.numbers
    storage, share = setting.storage, numbers["captured"]
    count = f"{len(storage)} \N{MULTIPLICATION SIGN} " if len(storage) > 1 else ""
    size = f"{count}{_sizes(storage.power_kw)} kW, {_sizes(storage.capacity_kwh)} kWh"
    brings = [
        f"profit {euro(numbers['profit'])}",
        f"voltage penalty {euro(numbers['penalty'])}",
        "nothing to gain" if np.isnan(share) else f"{percent(share)} of the optimum",
    ]
    left, right = _PLACE["left"], _PLACE["right"]
    fig.text(left, 0.985, f"{setting.policy}, {setting.date}", fontweight="bold", va="top")
    fig.text(right, 0.985, "   ".join(brings), ha="right", va="top")
    size = f"{size}; price spread \N{MULTIPLICATION SIGN} {setting.spread:g}"
    fig.text(left, 0.940, size, fontsize=7, color=COLOUR["neutral"], va="top")
    handles = [h for ax in (fig.axes[1], fig.axes[3]) for h in ax.get_legend_handles_labels()[0]]
    fig.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(right + 0.008, 0.950),
        ncols=len(handles),
        fontsize=6.5,
        columnspacing=1.0,
        handlelength=1.5,
        handletextpad=0.4,
        borderaxespad=0.0,
        borderpad=0.0,
    )


def euro(value: float) -> str:
    """Return an amount with two decimals and a real minus."""
    return f"{value:.2f} EUR".replace("-", MINUS)


def percent(value: float) -> str:
    """Return a share without decimals and with a real minus."""
    return f"{value:.0f} %".replace("-", MINUS)


def _sizes(value: float | tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in np.atleast_1d(value))


def _market(ax: Axes, behind: Axes, hour: Float, answer: Answer) -> None:
    """Prices, and behind them the net load with batteries (line) and without (grey)."""
    feeder = answer.feeder
    load = feeder.net_load[0].sum(1).numpy() / 1000
    power = answer.run.power_kw[0].sum(1).numpy() / 1000
    behind.fill_between(hour, _held(load), step="post", color=COLOUR["grid"], alpha=0.8, lw=0)
    _steps(behind, hour, load + power, color=COLOUR["load"], lw=0.9)
    behind.set_ylim(min(0.0, 1.1 * float(load.min())), 1.8 * float(load.max()))

    price = feeder.price[0].numpy()
    if answer.setting.spread != 1:
        _steps(ax, hour, answer.published_price, color=COLOUR["price"], alpha=0.35, lw=0.9)
    _steps(ax, hour, price, color=COLOUR["price"])
    published = answer.published_price
    low, high = min(0.0, published.min(), price.min()), max(published.max(), price.max())
    ax.set_ylim(low - 0.04 * (high - low), high + 0.08 * (high - low))


def _powers(ax: Axes, hour: Float, answer: Answer, shades: Sequence[Float]) -> None:
    """Powers stacked by battery, what charges above zero, and the sum of the optimum's."""
    power, best = (run.power_kw[0].numpy() for run in (answer.run, answer.optimum))
    for sign in (1, -1):
        parts = np.maximum(sign * power, 0)
        edges = sign * np.concatenate([np.zeros((len(power), 1)), parts.cumsum(1)], axis=1)
        for m, shade in enumerate(shades):
            low, high = _held(edges[:, m]), _held(edges[:, m + 1])
            ax.fill_between(hour, low, high, step="post", color=shade, lw=0)
    _steps(ax, hour, best.sum(1), color=COLOUR["Optimum"], linestyle=LINE["Optimum"], lw=0.9)
    ax.axhline(0, color="black", lw=0.6)
    reach = 1.12 * max(200.0, np.abs(power.sum(1)).max(), np.abs(best.sum(1)).max())
    ax.set_ylim(-reach, reach)


def _charge(ax: Axes, hour: Float, answer: Answer, shades: Sequence[Float]) -> None:
    """State of charge of each battery, its limits, and the mean of the optimum's."""
    storage, soc = answer.setting.storage, 100 * answer.run.soc[0].numpy()
    for m, shade in enumerate(shades):  # batteries that do the same stay visible
        label = f"{'' if m else 'node '}{storage.nodes[m]}" if len(storage) <= _NAMED else "_"
        ax.plot(hour, soc[:, m], color=shade, lw=1.2 + 2.4 * (1 - m / len(storage)), label=label)
    best = 100 * answer.optimum.soc[0].mean(1).numpy()
    ax.plot(hour, best, color=COLOUR["Optimum"], linestyle=LINE["Optimum"], lw=0.9, label="optimum")
    limits = storage.limits(answer.feeder.price)
    for limit in (limits.soc_min.min(), limits.soc_max.max()):
        ax.axhline(100 * float(limit), color=COLOUR["limit"], lw=0.6)


def _voltages(ax: Axes, hour: Float, answer: Answer, shades: Sequence[Float]) -> None:
    """Voltages of the battery nodes, the range of all nodes, and the lowest without batteries."""
    at, low = answer.feeder.at.tolist(), 1 - VOLTAGE_BAND
    every, idle = answer.voltage, answer.idle_voltage
    ax.fill_between(
        hour,
        _held(every.min(1)),
        _held(every.max(1)),
        step="post",
        color=COLOUR["net"],
        alpha=0.16,
        lw=0,
        label="all nodes",
    )
    for node, shade in zip(at, shades, strict=True):
        _steps(ax, hour, every[:, node], color=shade, lw=1.0)
    look = {"color": COLOUR["neutral"], "linestyle": LINE["Do nothing"], "lw": 1.0}
    _steps(ax, hour, idle[:, at].min(1), label="lowest, idle batteries", **look)
    floor = min(low - 0.012, float(idle.min()) - 0.004, float(every.min()) - 0.004)
    roof = max(1 + VOLTAGE_BAND + 0.008, float(every.max()) + 0.004)
    ax.axhspan(floor, low, color=COLOUR["limit"], alpha=0.1, lw=0)
    ax.axhspan(1 + VOLTAGE_BAND, roof, color=COLOUR["limit"], alpha=0.1, lw=0)
    for limit in (low, 1 + VOLTAGE_BAND):
        ax.axhline(limit, color=COLOUR["limit"], lw=0.6)
    ax.set_ylim(floor, roof)


def _steps(ax: Axes, hour: Float, values: Float, **look: object) -> None:
    """Draw values [S] that hold between the edges `hour` [S + 1]."""
    ax.step(hour, _held(values), where="post", **look)  # type: ignore[arg-type]


def _held(values: Float) -> Float:
    """[S + 1] values [S], the last one twice: each holds to the end of its step."""
    return np.append(values, values[-1])
