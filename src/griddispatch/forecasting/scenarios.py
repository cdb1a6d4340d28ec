"""Scenarios from quantile forecasts: a Gaussian copula over series and leads, then few of many.

The quantiles say how each hour and series may turn out, not which belong together. The copula is
the correlation of the normal scores of past PIT values over series x lead (Pinson, Madsen, Nielsen,
Papaefthymiou and Klöckl, "From probabilistic forecasts to statistical scenarios of short-term wind
power production", 2009). Of the paths drawn, k medoids stay, each with the weight of those nearest
to it (Kaufman and Rousseeuw, "Finding groups in data", 1990).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError
from griddispatch.forecasting.windows import LEVELS, Float

PATHS = 200
KEPT = 10
_HOUR = 4  # steps; paths are compared by their hourly means
_SMALLEST = 1e-6  # eigenvalue of a correlation
_ROUNDS = 10


class Paths(NamedTuple):
    """PV and load [W, 96] in kW, summed over their series, and weights [W] that sum to 1."""

    pv: Float
    load: Float
    weight: Float


@dataclass(frozen=True)
class Copula:
    """Levels [S, N, 96] in 0 .. 1 of S paths that belong together.

    pv [N] says which series are PV, ceiling [N] the most that a path may reach in kW.

    The levels are drawn once and serve every issue (common random numbers), so that one decision
    differs from the next by its forecast and not by its luck.
    """

    levels: Float
    pv: NDArray[np.bool_]
    ceiling: Float

    @classmethod
    def fit(
        cls,
        pit: Float,
        scored: NDArray[np.bool_],
        data: Profiles,
        paths: int = PATHS,
        seed: int = 0,
    ) -> "Copula":
        """Estimate from PIT values and draw.

        Parameters
        ----------
        pit
            [I, N, 96] PIT values of past issues, as of `evaluation.forecasts.pit`.
        scored
            [I, N, 96] those that say something; PV in the dark does not.
        data
            Which series are PV, and their ceilings.
        paths, seed
            Number of paths, and the seed of their drawing.

        Raises
        ------
        InputError
            There are too few issues or paths.
        """
        if len(pit) < DAY or paths < 1:
            raise InputError(
                f"{len(pit)} issues and {paths} paths make no copula; give {DAY} issues or more"
            )
        root = correlation_root(pit, scored)
        normal = np.random.default_rng(seed).standard_normal((paths, len(root))) @ root.T
        pv = np.zeros(len(data.names), dtype=np.bool_)
        pv[data.of("pv")] = True
        return cls(ndtr(normal).reshape(paths, *pit.shape[1:]), pv, data.ceiling)

    def draw(self, quantiles: Float) -> Float:
        """Paths [S, N, 96] in kW from quantiles [N, 96, Q] of one issue."""
        return values_at(quantiles, self.levels).clip(max=self.ceiling[:, None])

    def scenarios(self, quantiles: Float, kept: int = KEPT) -> Paths:
        """Few paths of one issue, PV and load each summed."""
        drawn = self.draw(quantiles)
        return reduced(drawn[:, self.pv].sum(1), drawn[:, ~self.pv].sum(1), kept)

    def total(self, quantiles: Float) -> Float:
        """[I, 96, Q] quantiles of the summed PV, from quantiles [I, N, 96, Q] of all series."""
        made = [np.quantile(self.draw(q)[:, self.pv].sum(1), LEVELS, axis=0) for q in quantiles]
        return np.moveaxis(np.array(made), 1, 2)


def correlation_root(pit: Float, scored: NDArray[np.bool_]) -> Float:
    """Root [N 96, N 96] of the correlation of normal scores over series x lead.

    Each pair of columns takes the issues in which both are scored; a pair that never is has none.
    The nearest matrix without negative eigenvalues, scaled back to a unit diagonal, is meant.
    """
    inside = scored.reshape(len(scored), -1).astype(np.float64)
    z = ndtri(pit.clip(0.001, 0.999)).reshape(len(pit), -1) * inside
    power = (z * z).T @ inside
    size = np.sqrt(np.maximum(power * power.T, 1e-12))
    both = np.where(inside.T @ inside > 1, (z.T @ z) / size, 0.0)
    np.fill_diagonal(both, 1.0)
    value, vector = np.linalg.eigh(both)
    root = vector * np.sqrt(value.clip(min=_SMALLEST))
    return np.asarray(root / np.sqrt((root**2).sum(1, keepdims=True)))


def values_at(quantiles: Float, level: Float) -> Float:
    """Values [count, N, 96] at levels in 0 .. 1, linear between the quantiles [N, 96, Q].

    Beyond the outer quantiles the slope of the last pair goes on, but not below zero.
    """
    first, last = quantiles[..., :2], quantiles[..., -2:]
    knots = np.concatenate(
        [2 * first[..., :1] - first[..., 1:], quantiles, 2 * last[..., 1:] - last[..., :1]], axis=-1
    )
    at = np.array([0.0, *LEVELS, 1.0])
    right = np.searchsorted(at, level).clip(1, len(at) - 1)
    share = (level - at[right - 1]) / (at[right] - at[right - 1])
    series, lead = np.ogrid[: level.shape[1], : level.shape[2]]
    low, high = knots[series, lead, right - 1], knots[series, lead, right]
    return np.asarray((low + share * (high - low)).clip(min=0))


def reduced(pv: Float, load: Float, kept: int) -> Paths:
    """Keep k medoids of equally likely paths [S, 96], by the distance of their hourly means.

    Raises
    ------
    InputError
        There are fewer paths than are to be kept.
    """
    if not 1 <= kept <= len(pv):
        raise InputError(f"{kept} of {len(pv)} paths cannot be kept")
    hourly = np.concatenate([x.reshape(len(x), -1, _HOUR).mean(2) for x in (pv, load)], axis=1)
    square = (hourly**2).sum(1)
    far = np.sqrt(np.maximum(square[:, None] + square - 2 * hourly @ hourly.T, 0))
    nearest = np.full(len(pv), np.inf)
    chosen: list[int] = []
    for _ in range(kept):  # each new medoid lowers the sum of distances most
        gain = np.minimum(far, nearest[:, None]).sum(0)
        gain[chosen] = np.inf
        chosen.append(int(gain.argmin()))
        nearest = np.minimum(nearest, far[:, chosen[-1]])
    medoids = np.array(chosen)
    for _ in range(_ROUNDS):
        owner = far[:, medoids].argmin(1)
        groups = [np.flatnonzero(owner == k) for k in range(kept)]
        moved = np.array([g[far[np.ix_(g, g)].sum(0).argmin()] for g in groups])
        if (moved == medoids).all():
            break
        medoids = moved
    weight = np.bincount(far[:, medoids].argmin(1), minlength=kept) / len(pv)
    return Paths(pv[medoids], load[medoids], weight)


def robust(quantiles: Float, pv: NDArray[np.bool_]) -> Paths:
    """One cautious path: every PV at its quantile .1, every load at .9 (quantiles [N, 96, Q])."""
    low, high = (quantiles[..., LEVELS.index(q)] for q in (0.1, 0.9))
    return Paths(low[pv].sum(0)[None], high[~pv].sum(0)[None], np.ones(1))
