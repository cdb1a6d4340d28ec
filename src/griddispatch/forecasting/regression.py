"""Quantile regressions: linear, and boosted trees.

One model serves all series of a kind (PV, load). The linear one is fitted direct, apart for groups
of leads that widen with the lead (Koenker and Bassett, "Regression quantiles", 1978); the boosted
one takes the lead as an input (Friedman, "Greedy function approximation", 2001, with the pinball
loss).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.ensemble import HistGradientBoostingRegressor

from griddispatch.data.profiles import Kind, Profiles
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError
from griddispatch.forecasting.windows import LEVELS, Float, Steps, Windows, chunks, finished, truth

KINDS: tuple[Kind, ...] = ("pv", "load")
EDGES = (0, 1, 2, 4, 8, 16, 32, 64, DAY)  # leads at which a new linear model begins
_ISSUES = 4_000  # training issues that rows are drawn from
_LIT = 3.0  # rows to draw for one that is lit, in the darkest months
_FEWEST = 200
_WIDTHS = (1.0, 0.2, 0.04)  # of the kernel, in standard deviations of the residual
_NEWTON = 30
_SETTLED = 1e-7  # of the loss
_DAMPING = 1e-8  # for inputs that say the same
_SHORTEST = 1e-3  # of a Newton step
Inputs = Callable[[Windows, Profiles, int], Float]


@dataclass(frozen=True)
class Linear:
    """Coefficients [groups, Q, P] by kind."""

    coefficients: Mapping[Kind, Float]

    @classmethod
    def fit(cls, data: Profiles, rows: int = 6_000, seed: int = 0) -> "Linear":
        """Fit on at most `rows` randomly chosen targets of the training days for each group.

        Raises
        ------
        InputError
            The training days hold too few lit targets.
        """
        random = np.random.default_rng(seed)
        lines: dict[Kind, Float] = {}
        for kind in KINDS:
            drawn = _sample(data, kind, list(pairwise(EDGES)), rows, random, linear_inputs)
            lines[kind] = np.array([[quantile_line(x, y, q) for q in LEVELS] for x, y in drawn])
        return cls(lines)

    def forecast(self, data: Profiles, issues: Steps) -> Float:
        """[I, N, 96, Q] quantiles in kW."""
        parts = [np.empty((0, len(data.names), DAY, len(LEVELS)))]
        for part in chunks(issues):
            windows = Windows.of(data, part)
            parts.append(finished(self.of(windows, data), windows, data))
        return np.concatenate(parts)

    def of(self, windows: Windows, data: Profiles, levels: slice = slice(None)) -> Float:
        """[I, N, 96, Q] quantiles, or some of them, in shares of the capacity, as the lines say."""
        group = np.searchsorted(EDGES, np.arange(DAY), side="right") - 1
        count = len(range(*levels.indices(len(LEVELS))))
        made = np.empty((len(windows.hour), len(data.names), DAY, count))
        for kind in KINDS:
            for n in data.of(kind):
                x = linear_inputs(windows, data, n)
                lines = self.coefficients[kind][group][:, levels]
                made[:, n] = np.einsum("ikp,kqp->ikq", x, lines)
        return made


@dataclass(frozen=True)
class Boosted:
    """One ensemble of trees per kind and level."""

    models: Mapping[Kind, tuple[HistGradientBoostingRegressor, ...]]

    @classmethod
    def fit(cls, data: Profiles, rows: int = 60_000, trees: int = 120, seed: int = 0) -> "Boosted":
        """Fit on at most `rows` randomly chosen targets of the training days; errors as above."""
        random = np.random.default_rng(seed)
        models: dict[Kind, tuple[HistGradientBoostingRegressor, ...]] = {}
        for kind in KINDS:
            ((x, y),) = _sample(data, kind, [(0, DAY)], rows, random, tree_inputs)
            models[kind] = tuple(
                HistGradientBoostingRegressor(
                    loss="quantile",
                    quantile=q,
                    max_iter=trees,
                    learning_rate=0.08,
                    max_leaf_nodes=24,
                    min_samples_leaf=100,
                    l2_regularization=1.0,
                    early_stopping=False,
                    random_state=seed,
                ).fit(x, y)
                for q in LEVELS
            )
        return cls(models)

    def forecast(self, data: Profiles, issues: Steps) -> Float:
        """[I, N, 96, Q] quantiles in kW."""
        parts = [np.empty((0, len(data.names), DAY, len(LEVELS)))]
        for part in chunks(issues):
            windows = Windows.of(data, part)
            made = np.zeros((len(part), len(data.names), DAY, len(LEVELS)))
            for kind in KINDS:
                for n in data.of(kind):
                    lit = ~windows.dark[:, :, n]
                    x = tree_inputs(windows, data, n)[lit]
                    if len(x):
                        found = [model.predict(x) for model in self.models[kind]]
                        made[:, n][lit] = np.stack(found, axis=1)
            parts.append(finished(made, windows, data))
        return np.concatenate(parts)


def linear_inputs(windows: Windows, data: Profiles, n: int) -> Float:
    """[I, 96, P] inputs of the linear model for series n.

    All inputs for PV are proportional to light, so the spread of the quantiles is too.
    """
    clear, seen = windows.clear[:, :, n], windows.seen[:, :, n]
    day, week = windows.day_before[:, :, n], windows.week_before[:, :, n]
    one = np.ones_like(clear)
    if data.kinds[n] == "pv":
        sky = windows.sky[:, n, None] * one
        last = windows.past[:, -1, n, None] * one
        light = seen[:, :, 0]
        inputs = [
            one,
            clear,
            light,
            light * light,
            light * clear,
            sky * clear,
            sky * light,
            np.minimum(last, clear),
            day,
            windows.past.mean(1)[:, n, None] * clear,
        ]
        inputs += [seen[:, :, v] * light for v in range(1, seen.shape[2])]
        peers = data.of("pv")[1:]  # the first array is the reference
        inputs += [light * (n == other) for other in peers]
        return np.stack(inputs, axis=2)
    now, then = windows.past[:, -1, n, None], windows.past[:, 0, n, None]
    turn = 2 * np.pi * windows.hour / 24
    weekend = (windows.weekday >= 5).astype(np.float64)
    waves = [f(k * turn) for k in (1, 2) for f in (np.sin, np.cos)]
    alike = _same_kind_of_day(windows.weekday)
    inputs = [
        one,
        day * alike,
        day * (1 - alike),
        week,
        now * one,
        then * one,
        windows.past.mean(1)[:, n, None] * one,
        windows.past[:, -4:, n].mean(1)[:, None] * one,
        weekend,
        alike,
        *waves,
        *(weekend * wave for wave in waves[:2]),
        *(seen[:, :, v] for v in range(1, seen.shape[2])),
    ]
    return np.stack(inputs, axis=2)


def tree_inputs(windows: Windows, data: Profiles, n: int) -> Float:
    """[I, 96, P] inputs of the trees for series n; their splits find the products."""
    clear = windows.clear[:, :, n]
    one = np.ones_like(clear)
    past = windows.past[:, :, n]
    inputs = [
        np.arange(DAY) * one,
        windows.hour,
        windows.weekday.astype(np.float64),
        windows.season,
        clear,
        *np.moveaxis(windows.seen[:, :, n], 2, 0),
        windows.day_before[:, :, n],
        windows.week_before[:, :, n],
        past[:, -1:] * one,
        past[:, -4:].mean(1, keepdims=True) * one,
        past.mean(1, keepdims=True) * one,
        n * one,
    ]
    if data.kinds[n] == "pv":
        inputs += [windows.sky[:, n, None] * clear, windows.sky[:, n, None] * one]
    return np.stack(inputs, axis=2)


def _same_kind_of_day(weekday: NDArray[np.intp]) -> Float:
    """[...] 1 where the day before is of the same kind: a weekday, or a day of the weekend."""
    return ((weekday >= 5) == ((weekday - 1) % 7 >= 5)).astype(np.float64)


def _sample(
    data: Profiles,
    kind: Kind,
    groups: Sequence[tuple[int, int]],
    rows: int,
    random: np.random.Generator,
    inputs: Inputs,
) -> list[tuple[Float, Float]]:
    """Inputs [rows, P] and targets [rows] of lit targets, drawn at random for each group of leads.

    Rows of one issue are much alike, so few are taken of each, and many issues.
    """
    issues = np.sort(random.permutation(data.issues("train"))[:_ISSUES])
    cells = len(issues) * len(data.of(kind))
    x: list[list[Float]] = [[] for _ in groups]
    y: list[list[Float]] = [[] for _ in groups]
    for part in chunks(issues):
        windows, came = Windows.of(data, part), truth(data, part) / data.capacity[:, None]
        for n in data.of(kind):
            known = inputs(windows, data, int(n))
            for k, (low, high) in enumerate(groups):
                lit = ~windows.dark[:, low:high, n]
                lit &= random.random(lit.shape) < _LIT * rows / (cells * (high - low))
                x[k].append(known[:, low:high][lit])
                y[k].append(came[:, n, low:high][lit])
    made = []
    for k, (low, high) in enumerate(groups):
        count = sum(len(part) for part in y[k])
        if count < _FEWEST:
            raise InputError(
                f"{data.name}: {count} lit {kind} targets at leads {low} .. {high - 1} of the "
                f"training days; a regression needs {_FEWEST} or more, so take more days or rows"
            )
        kept = random.permutation(count)[:rows]
        made.append((np.concatenate(x[k])[kept], np.concatenate(y[k])[kept]))
    return made


def quantile_line(x: Float, y: Float, level: float) -> Float:
    """Coefficients [P] of the linear quantile of y [n] given x [n, P].

    The pinball loss is smoothed by a Gaussian kernel whose width shrinks (He, Pan, Tan and Zhou,
    "Smoothed quantile regression with large-scale inference", 2021), so Newton's method solves
    it in some milliseconds, where the exact linear program takes seconds.
    """
    scale = np.sqrt((x**2).mean(0))
    scale[scale == 0] = 1.0
    z = x / scale
    damping = _DAMPING * len(y) * np.eye(z.shape[1])
    b: Float = np.linalg.solve(z.T @ z + damping, z.T @ y)
    spread = float(np.std(y - z @ b)) + 1e-12
    for width in spread * np.array(_WIDTHS):

        def loss(c: Float, width: float = width) -> float:
            u = (y - z @ c) / width
            smooth = u * (level - ndtr(-u)) + np.exp(-u * u / 2) / np.sqrt(2 * np.pi)
            return float(width * smooth.sum())

        now = loss(b)
        for _ in range(_NEWTON):
            u = (y - z @ b) / width
            slope = z.T @ (ndtr(-u) - level)
            bend = (z * (np.exp(-u * u / 2) / (np.sqrt(2 * np.pi) * width))[:, None]).T @ z
            move = np.linalg.solve(bend + damping / width, slope)
            step = 1.0
            while step > _SHORTEST and loss(b - step * move) > now:
                step /= 2
            after = loss(b - step * move)
            if after >= now * (1 - _SETTLED):
                break
            b, now = b - step * move, after
    return b / scale
