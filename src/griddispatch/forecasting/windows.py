"""What a forecaster may know at an issue step, and the form of its answer.

An issue at step i forecasts the 96 steps i, i + 1, ..., i + 95, at the start of step i. Known are

- the power of steps up to i - 1: the last day, and the values one day and one week before each
  target, which all lie before i because the horizon is one day;
- calendar and clear sky of the targets;
- the last run of the weather forecast made by then.

`Windows` is the only way from the data to a forecaster, so nothing later can leak: changing the
power from step i on changes no window of i.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from griddispatch.data.profiles import WEEK, Profiles
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError

Float = NDArray[np.float64]
Steps = NDArray[np.intp]
Mask = NDArray[np.bool_]

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MEDIAN = LEVELS.index(0.5)
CHUNK = 256  # issues at a time
_BRIGHT = 100.0  # W/m²; the ratio to a clear sky below it is noise
_RECENT = 4  # bright steps whose ratio is the latest news of the sky


class Forecaster(Protocol):
    """Quantiles for issue steps; made by a function or class method that fits on training days."""

    def forecast(self, data: Profiles, issues: Steps) -> Float:
        """[I, N, 96, Q] quantiles in kW at `LEVELS`; never crossing, zero for PV in the dark."""


@dataclass(frozen=True)
class Windows:
    """Inputs of I issues for N series, all powers divided by the capacity.

    past [I, 96, N] are the last day's powers, past_clear [I, 96, N] its clear-sky irradiance;
    day_before and week_before [I, 96, N] are lags of the targets; clear [I, 96, N] and seen
    [I, 96, N, V] clear-sky irradiance in kW/m² and weather forecast of the targets (irradiance in
    kW/m², temperature in 10 K); hour [I, 96] in 0 .. 24, weekday [I, 96] in 0 .. 6, season [I, 96]
    in 0 .. 1; dark [I, 96, N] where PV is certain to give nothing.
    """

    past: Float
    past_clear: Float
    day_before: Float
    week_before: Float
    clear: Float
    seen: Float
    hour: Float
    weekday: NDArray[np.intp]
    season: Float
    dark: Mask

    @classmethod
    def of(cls, data: Profiles, issues: Steps) -> "Windows":
        """Cut the windows of issue steps.

        Raises
        ------
        InputError
            An issue has no week behind it or no day ahead of it.
        """
        if len(issues) and not (issues.min() >= WEEK and issues.max() <= len(data.index) - DAY):
            raise InputError(
                f"{data.name}: issue steps run from {issues.min()} to {issues.max()}; each needs "
                f"{WEEK} steps before and {DAY} after, within 0 .. {len(data.index)}"
            )
        ahead = issues[:, None] + np.arange(DAY)
        behind = ahead - DAY
        power = data.power / data.capacity
        when = data.index[ahead.ravel()]
        seen = data.runs.seen(issues).astype(np.float64)
        seen *= np.array([0.001 if name == "irradiance" else 0.1 for name in data.runs.variables])
        return cls(
            past=power[behind],
            past_clear=data.clear[behind] / 1000,
            day_before=power[ahead - DAY],
            week_before=power[ahead - WEEK],
            clear=data.clear[ahead] / 1000,
            seen=seen,
            hour=(when.hour.to_numpy() + when.minute.to_numpy() / 60).reshape(ahead.shape),
            weekday=when.dayofweek.to_numpy().astype(np.intp).reshape(ahead.shape),
            season=(when.dayofyear.to_numpy() / 365.25).reshape(ahead.shape),
            dark=data.dark[ahead],
        )

    @property
    def sky(self) -> Float:
        """[I, N] power over clear-sky irradiance in the last bright steps: the latest sky."""
        bright = self.past_clear * 1000 >= _BRIGHT
        latest = bright & (bright[:, ::-1].cumsum(1)[:, ::-1] <= _RECENT)
        light = (self.past_clear * latest).sum(1)
        return np.asarray((self.past * latest).sum(1) / np.where(light > 0, light, 1.0))


def truth(data: Profiles, issues: Steps) -> Float:
    """[I, N, 96] what came, in kW; for training and scores only."""
    return data.power[issues[:, None] + np.arange(DAY)].transpose(0, 2, 1)


def lit(data: Profiles, issues: Steps) -> Mask:
    """[I, N, 96] what is scored: all of a load, and PV unless the sky is dark."""
    return ~data.dark[issues[:, None] + np.arange(DAY)].transpose(0, 2, 1)


def chunks(issues: Steps, size: int = CHUNK) -> Iterator[Steps]:
    """Issue steps in parts that fit into memory."""
    yield from (issues[k : k + size] for k in range(0, len(issues), size))


def finished(quantiles: Float, windows: Windows, data: Profiles) -> Float:
    """Quantiles [I, N, 96, Q] of a model in kW: in order, within 0 .. ceiling, zero in the dark.

    A sort is the rearrangement of Chernozhukov, Fernández-Val and Galichon, "Quantile and
    probability curves without crossing" (2010), which never makes the pinball loss larger.
    """
    ordered = np.sort(quantiles, axis=-1) * data.capacity[:, None, None]
    ordered[windows.dark.transpose(0, 2, 1)] = 0.0
    return np.asarray(ordered.clip(0, data.ceiling[:, None, None]))
