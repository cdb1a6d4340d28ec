"""Drawings of frequency regulation: signals, an hour of dispatch, stored energy, the policy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from griddispatch.assets.regulation_resources import DISPATCH_S, STEP_S, SUBSTEPS, Battery
from griddispatch.envs.regulation import Regulation
from griddispatch.evaluation.regulation_rollout import Trace
from griddispatch.reporting.figures import FULL
from griddispatch.reporting.palette import COLOUR, LINE


def signals(samples: Mapping[str, np.ndarray]) -> Figure:
    """Draw an hour of each signal, [n] every 2 s, one panel below the other."""
    fig, axes = plt.subplots(len(samples), 1, figsize=(FULL, 1.1 * len(samples)), sharex=True)
    for ax, (name, signal) in zip(np.atleast_1d(axes), samples.items(), strict=True):
        minutes = np.arange(len(signal)) * STEP_S / 60
        ax.plot(minutes, signal, color=COLOUR["neutral"], linewidth=0.8)
        ax.axhline(0, color="black", linewidth=0.5)
        ax.set(ylim=(-1.05, 1.05), ylabel=name, xlim=(0, 60))
    np.atleast_1d(axes)[-1].set_xlabel("time, min")
    return fig


def stacked(trace: Trace, env: Regulation) -> Figure:
    """Draw what each resource delivers in the first hour of a trace, and the command.

    Resources that give power are stacked upwards, those that take it downwards.
    """
    minutes = np.arange(trace.power.shape[1]) * STEP_S / 60
    names = env.fleet.names
    planned = env.schedule[0].double().cpu().numpy()
    power, command = trace.power[0] - planned, trace.command[0] - planned.sum()
    fig, ax = plt.subplots(figsize=(FULL, 2.5))
    look: dict[str, Any] = {"colors": [COLOUR[n] for n in names], "linewidth": 0}
    ax.stackplot(minutes, power.clip(min=0).T, labels=names, **look)
    ax.stackplot(minutes, power.clip(max=0).T, **look)
    ax.plot(minutes, command, color="black", linewidth=0.7, label="command")
    ax.set(xlabel="time, min", ylabel="power, MW", xlim=(0, 60))
    fig.legend(loc="outside upper center", ncols=len(names) + 1)
    return fig


def zoomed(
    traces: Mapping[str, Trace], env: Regulation, start_min: float, minutes: float = 5.0
) -> Figure:
    """Draw command and delivered power of some policies, and below it their errors.

    All traces are of the same hours; the first is drawn, from `start_min` on.
    """
    first, count = round(start_min * 60 / STEP_S), round(minutes * 60 / STEP_S)
    part = slice(first, first + count)
    at = start_min + np.arange(count) * STEP_S / 60
    planned = float(env.schedule[0].sum())
    fig, (top, low) = plt.subplots(2, 1, figsize=(FULL, 3.4), sharex=True)
    command = next(iter(traces.values())).command[0, part] - planned
    top.plot(at, command, color=COLOUR["published"], linewidth=2.4, label="command")
    for name, trace in traces.items():
        power = trace.power[0, part].sum(1) - planned
        own = look(name)
        top.plot(at, power, linewidth=0.9, label=name, **own)
        low.plot(at, power - command, linewidth=0.9, **own)
    low.axhline(0, color="black", linewidth=0.5)
    top.set(ylabel="power, MW", xlim=(at[0], at[-1]))
    low.set(ylabel="power $-$ command, MW", xlabel="time, min")
    fig.legend(loc="outside upper center", ncols=len(traces) + 1)
    return fig


def energies(traces: Mapping[str, Trace], env: Regulation) -> Figure:
    """Draw the stored energy of the storages in the first hour of the traces, in its limits."""
    stores = env.fleet.storages
    dead = env.fleet.dead_steps[len(env.fleet.generators) :]
    fig, axes = plt.subplots(1, len(stores), figsize=(FULL, 2.3))
    for s, (ax, store) in enumerate(zip(np.atleast_1d(axes), stores, strict=True)):
        count = env.steps + 1
        late = dead[s] // SUBSTEPS
        minutes = (np.arange(count) + late) * DISPATCH_S / 60
        low, high = (
            bounds[0, late : late + count, s]
            for bounds in (env.hours.empty_mwh, env.hours.full_mwh)
        )
        for bound in (low, high):
            ax.plot(minutes, bound, color=COLOUR["limit"], linewidth=1.0)
        ax.fill_between(minutes, low, high, color=COLOUR["grid"], alpha=0.5, linewidth=0)
        for name, trace in traces.items():
            ax.plot(minutes, trace.energy[0, :, s], label=name, **look(name))
        title = store.name if isinstance(store, Battery) else f"{store.name}, since arrival"
        ax.set(xlabel="time, min", ylabel="energy, MWh", title=title, xlim=(0, 60))
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig


def look(policy: str) -> dict[str, Any]:
    """Colour and dashes of a policy; what stands behind a comma is a variant of it."""
    base, _, variant = (policy, "", "") if policy in COLOUR else policy.partition(", ")
    dashes = _VARIANT.get(variant, LINE.get(base, "-"))
    return {"color": COLOUR.get(base, COLOUR["neutral"]), "linestyle": dashes}


_VARIANT: dict[str, Any] = {"absolute": (0, (1, 1)), "clipped": (0, (2.5, 1))}


def architecture(env: Regulation) -> Figure:
    """Draw the factored policy for the resources of an environment, slow to fast."""
    names = env.fleet.names
    fig, ax = plt.subplots(figsize=(FULL, 2.9))
    ax.set(xlim=(-0.5, 100.5), ylim=(0, 41))
    ax.axis("off")
    grey, width = COLOUR["neutral"], 11.2
    _box(ax, 0, 14, 9.5, 13, "state $s$\n\nwhitened\ninputs", grey)
    _box(ax, 13, 14, 8.5, 13, "trunk\n\none for\nall heads", grey)
    _arrow(ax, (9.5, 20.5), (13, 20.5))
    left = 26.0
    places = [left + (width + 1.2) * i for i in range(len(names) + 1)]
    factors = ["target", *names]
    for i, (x, name) in enumerate(zip(places, factors, strict=True)):
        colour, last = COLOUR.get(name, grey), i == len(names)
        told = "g = u + δ" if i == 0 else f"[$l_{i}$, $h_{i}$]"
        chosen = "δ" if i == 0 else f"$a_{i}$"
        if not last:
            _box(ax, x, 29, width, 8, f"head {i}\nBeta: $y_{i}$", colour)
            ax.annotate("", (x + width / 2, 37), (x + width / 2, 39.2), arrowprops=_ARROW)
            _arrow(ax, (x + width / 2, 29), (x + width / 2, 25))
        within = f"{told}\nthe rest" if last else told if i == 0 else f"{told}\n∩ room left"
        _box(ax, x, 16, width, 9, f"{name}\n{within}", colour, fill=True)
        _arrow(ax, (x + width / 2, 16), (x + width / 2, 11.5))
        ax.text(x + width / 2, 9.4, chosen, ha="center", va="center", fontsize=9)
        if i:
            _arrow(ax, (places[i - 1] + width, 20.5), (x, 20.5))
    end = places[-2] + width / 2
    ax.plot([17.25, 17.25, end], [27, 39.2, 39.2], color=grey, linewidth=0.7)
    _box(ax, left, 0.5, places[-1] + width - left, 5.6, _PLANT, grey)
    for x in places[1:]:
        _arrow(ax, (x + width / 2, 8), (x + width / 2, 6.1))
    ax.plot([left, 4.75, 4.75], [3.3, 3.3, 12.4], color=grey, linewidth=0.7)
    _arrow(ax, (4.75, 12.4), (4.75, 14))
    ax.text(14, 1.2, "next state", ha="center", fontsize=7)
    return fig


_PLANT = "plant: ramps, dead times, lags, stored energy; no set-point needs to be cut"
_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "color": COLOUR["neutral"], "linewidth": 0.7}


def _box(
    ax: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str,
    colour: str,
    *,
    fill: bool = False,
) -> None:
    shape = FancyBboxPatch(
        (x, y),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=1",
        edgecolor=colour,
        facecolor=colour if fill else "none",
        alpha=0.18 if fill else 1.0,
    )
    ax.add_patch(shape)
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=6.2)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate("", end, start, arrowprops=_ARROW)
