"""Forecasters that need no regression: persistence and the seasonal naive.

Both give a point, the median; the other quantiles are those of its errors on the training days. PV
errors are taken relative to the clear sky, so a band narrows towards dusk as the power does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY
from griddispatch.forecasting.windows import (
    LEVELS,
    MEDIAN,
    Float,
    Steps,
    Windows,
    chunks,
    finished,
    truth,
)

_EVERY = 7  # steps between the issues that errors are taken from; passes through all times of day
_FAINT = 0.1  # kW/m² of clear sky; relative errors below it are noise
Point = Callable[[Windows, Profiles], Float]


def latest_sky(windows: Windows, data: Profiles) -> Float:
    """[I, N, 96] persistence: the sky stays as in its last bright hour, the load as a day before.

    A load held at its last value for a day would be a straw man.
    """
    point = windows.day_before.transpose(0, 2, 1).copy()
    pv = data.of("pv")
    point[:, pv] = windows.sky[:, pv, None] * windows.clear.transpose(0, 2, 1)[:, pv]
    return point


def last_season(windows: Windows, data: Profiles) -> Float:
    """[I, N, 96] seasonal naive: PV as a day before, load as a week before."""
    point = windows.day_before.transpose(0, 2, 1).copy()
    load = data.of("load")
    point[:, load] = windows.week_before.transpose(0, 2, 1)[:, load]
    return point


@dataclass(frozen=True)
class Naive:
    """A point and the quantiles of its errors, [N, 24, Q], by hour of lead."""

    point: Point
    errors: Float

    def forecast(self, data: Profiles, issues: Steps) -> Float:
        """[I, N, 96, Q] quantiles in kW."""
        parts = [np.empty((0, len(data.names), DAY, len(LEVELS)))]
        for part in chunks(issues):
            windows = Windows.of(data, part)
            spread = np.repeat(self.errors, DAY // 24, axis=1)[None]
            middle = self.point(windows, data)[..., None]
            band = middle + _scale(windows, data)[..., None] * spread
            parts.append(finished(band, windows, data))
        return np.concatenate(parts)


def persistence(data: Profiles) -> Naive:
    """Fit the errors of persistence on the training days."""
    return _fit(data, latest_sky)


def seasonal_naive(data: Profiles) -> Naive:
    """Fit the errors of the seasonal naive on the training days."""
    return _fit(data, last_season)


def _fit(data: Profiles, point: Point) -> Naive:
    issues = data.issues("train", _EVERY)
    windows = Windows.of(data, issues)
    scale = _scale(windows, data)
    wrong = truth(data, issues) / data.capacity[:, None] - point(windows, data)
    pv = np.zeros((len(data.names), 1), dtype=np.bool_)
    pv[data.of("pv")] = True
    relative = np.where(pv & (scale < _FAINT), np.nan, wrong / np.maximum(scale, _FAINT))
    by_hour = relative.reshape(len(issues), len(data.names), 24, -1)
    pooled = np.moveaxis(by_hour, 0, 2).reshape(len(data.names), 24, -1)
    errors = np.moveaxis(np.nanquantile(pooled, LEVELS, axis=2), 0, 2)
    errors[..., MEDIAN] = 0.0
    return Naive(point, np.sort(errors, axis=2))


def _scale(windows: Windows, data: Profiles) -> Float:
    """[I, N, 96] size of the errors: clear-sky irradiance in kW/m² for PV, 1 for a load."""
    scale = np.ones((len(windows.clear), len(data.names), DAY))
    pv = data.of("pv")
    scale[:, pv] = windows.clear.transpose(0, 2, 1)[:, pv]
    return scale
