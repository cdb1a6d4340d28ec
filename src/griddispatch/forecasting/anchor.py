"""What is known before any network: a point for every series and lead, and a unit for its errors.

The point of PV is the forecast irradiance times a yield, that of a load the mean profile of a
weekday or of a day of the weekend. A network that begins there has to learn what is left: how the
latest sky and the latest load go on, when a forecast is too high, how wide the bands are.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from griddispatch.data.profiles import Profiles
from griddispatch.data.weather import DAY
from griddispatch.forecasting.windows import Float, Steps, Windows, truth

_EVERY = 7  # steps between the issues that it is estimated from
_FAINT = 0.05  # kW/m² of clear sky; ratios below it are noise
_HIGHEST = 1.5  # of a clear sky
_PER_HOUR = 4


@dataclass(frozen=True)
class Anchor:
    """Estimated on training days; powers are in shares of the capacity.

    yields [N] is PV power per kW/m² of forecast irradiance; profile [2, 96, N] the mean load by
    kind of day (weekday, weekend) and step of the day; size [N] the mean absolute error of the
    point, of PV per kW/m² of clear sky.
    """

    yields: Float
    profile: Float
    size: Float

    @classmethod
    def fit(cls, data: Profiles) -> "Anchor":
        """Estimate on the training days."""
        issues = data.issues("train", _EVERY)
        windows = Windows.of(data, issues)
        came = truth(data, issues) / data.capacity[:, None]
        light, pv = windows.seen[..., 0].transpose(0, 2, 1), data.of("pv")
        yields = np.zeros(len(data.names))
        yields[pv] = came[:, pv].sum((0, 2)) / light[:, pv].sum((0, 2))
        first = cls(yields, _profile(data), np.ones(len(data.names)))
        point, unit = first.ahead(windows, data)
        wrong = np.abs(came - point) / unit
        lit = ~windows.dark.transpose(0, 2, 1)
        return replace(first, size=(wrong * lit).sum((0, 2)) / lit.sum((0, 2)))

    def ahead(self, windows: Windows, data: Profiles) -> tuple[Float, Float]:
        """[I, N, 96] the point, and the unit of its errors: a load's is the same at all leads.

        The unit of PV is in proportion to the clear sky.
        """
        point = self.yields[:, None] * windows.seen[..., 0].transpose(0, 2, 1)
        unit = np.ones_like(point)
        pv, load = data.of("pv"), data.of("load")
        point[:, load] = self._usual(windows.hour, windows.weekday)[:, load]
        unit[:, pv] = np.maximum(windows.clear.transpose(0, 2, 1)[:, pv], _FAINT)
        return point, unit * self.size[:, None]

    def behind(self, windows: Windows, data: Profiles) -> tuple[Float, Float]:
        """[I, N, 96] how far the powers of the last day, and of a week before, lay from the usual.

        A load's is its mean profile, in units of the size; PV's is told by `sky`.
        """
        yesterday = (windows.weekday - 1) % 7
        clear = windows.clear.transpose(0, 2, 1), windows.past_clear.transpose(0, 2, 1)
        power = windows.week_before.transpose(0, 2, 1), windows.past.transpose(0, 2, 1)
        week, day = (
            (x - self._usual(windows.hour, weekday)) / self.size[:, None]
            for x, weekday in zip(power, (windows.weekday, yesterday), strict=True)
        )
        pv = data.of("pv")
        for made, x, light in zip((week, day), power, clear, strict=True):
            made[:, pv] = sky(x[:, pv] / self.yields[pv, None], light[:, pv])
        return day, week

    def latest(self, windows: Windows, data: Profiles) -> Float:
        """[I, N] the same for the last hour, of PV for the last bright one."""
        day, _ = self.behind(windows, data)
        found = day[:, :, -_PER_HOUR:].mean(2)
        pv = data.of("pv")
        found[:, pv] = sky(windows.sky[:, pv] / self.yields[pv], np.ones(len(pv)))
        return found

    def _usual(self, hour: Float, weekday: NDArray[np.intp]) -> Float:
        """[I, N, 96] the mean profile at hours [I, 96] of weekdays [I, 96]; zero for PV."""
        step = np.rint(hour * _PER_HOUR).astype(np.intp)
        made = self.profile[(weekday >= 5).astype(np.intp), step]
        return np.asarray(made.transpose(0, 2, 1))


def sky(light: Float, clear: Float) -> Float:
    """Light over that of a clear sky, from -1 (none) over 1 (all of it) to 2."""
    return 2 * (light / np.maximum(clear, _FAINT)).clip(max=_HIGHEST) - 1


def _profile(data: Profiles) -> Float:
    """[2, 96, N] mean load of training days; that of all days where one kind is missing."""
    steps: Steps = data.steps("train")
    power = (data.power[steps] / data.capacity).reshape(-1, DAY, len(data.names))
    free = data.index[steps[::DAY]].dayofweek.to_numpy() >= 5
    kinds = [power[kind] if kind.any() else power for kind in (~free, free)]
    made = np.stack([days.mean(0) for days in kinds])
    made[..., data.of("pv")] = 0.0
    return made
